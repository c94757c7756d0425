"""Watchdog: who hangs is found, who works or sleeps is left in peace, and nobody is woken for nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from packhorse.actors import DeathReason
from packhorse.actors.inbox import Inbox
from packhorse.actors.mailbox import Mailbox
from packhorse.actors.watchdog import LOOKS, Watchdog
from packhorse.testing import ManualClock

from .supervising import WAIT

if TYPE_CHECKING:
    from .supervising import House

LIMIT = 4.0
STEP = LIMIT / LOOKS


class Guarded:
    """One inbox and its watchdog."""

    def __init__(self) -> None:
        self.woken = 0
        self.now = 100.0
        self.watchdog = Watchdog(self._wake)
        self.inbox = Inbox(Mailbox("a", ManualClock()))
        self.watchdog.watch(self.inbox, LIMIT)
        self.watchdog.schedule(self.now)

    def _wake(self) -> None:
        self.woken += 1
        self.watchdog.schedule(self.now)

    def look(self, seconds: float = STEP) -> list[Inbox]:
        self.now += seconds
        return self.watchdog.look(self.now)


@pytest.fixture
def guarded() -> Guarded:
    return Guarded()


def test_who_makes_no_progress_for_the_limit_hangs(guarded: Guarded) -> None:
    looks = [guarded.look() for _ in range(LOOKS + 1)]
    assert looks == [[]] * LOOKS + [[guarded.inbox]]


def test_who_makes_progress_now_and_then_does_not_hang(guarded: Guarded) -> None:
    for _ in range(50):
        for _ in range(LOOKS - 1):
            assert guarded.look() == []
        guarded.inbox.beats += 1


def test_who_sleeps_does_not_hang_and_nobody_looks(guarded: Guarded) -> None:
    guarded.inbox.parked = True
    assert guarded.look() == []
    assert guarded.watchdog.look_at is None
    assert not guarded.watchdog.armed


def test_waking_up_arms_the_watchdog_again_once(guarded: Guarded) -> None:
    guarded.inbox.parked = True
    guarded.look()
    guarded.inbox.parked = False
    assert not guarded.inbox.watch.armed
    guarded.inbox.watch.arm()
    assert guarded.woken == 1
    assert guarded.inbox.watch.armed
    looks = [guarded.look() for _ in range(LOOKS + 1)]
    assert looks[-1] == [guarded.inbox]


def test_looks_in_between_do_not_count(guarded: Guarded) -> None:
    found = [guarded.look(STEP / 10) for _ in range(LOOKS * 10 - 1)]
    assert found == [[]] * (LOOKS * 10 - 1)


def test_a_process_that_stood_still_hangs_nowhere(guarded: Guarded) -> None:
    for _ in range(LOOKS):
        assert guarded.look() == []
    assert guarded.look(3600.0) == []
    for _ in range(LOOKS - 1):
        assert guarded.look() == []
    assert guarded.look() == [guarded.inbox]


def test_each_has_a_limit_of_its_own(guarded: Guarded) -> None:
    patient = Inbox(Mailbox("b", ManualClock()))
    guarded.watchdog.watch(patient, 3 * LIMIT)
    found: list[Inbox] = []
    for _ in range(3 * LOOKS):
        found += guarded.look()
    assert set(found) == {guarded.inbox}
    assert guarded.look()[-1] is patient


def test_one_that_is_forgotten_is_looked_after_no_more(guarded: Guarded) -> None:
    guarded.watchdog.forget(guarded.inbox)
    guarded.watchdog.forget(guarded.inbox)
    assert [guarded.look() for _ in range(3 * LOOKS)] == [[]] * (3 * LOOKS)
    guarded.watchdog.schedule(guarded.now)
    assert guarded.watchdog.look_at is None


# In a supervisor.


def test_an_idle_supervisor_makes_no_wake_ups(house: House) -> None:
    house.start(*[house.spec(label, hang_after=LIMIT) for label in "abc"])
    house.child("a").ask("hello", timeout=WAIT)
    house.clock.advance(2 * LIMIT)
    supervisor = house.ref._actor_weakref()
    assert supervisor is not None
    inboxes = [supervisor._inbox, *(child.inbox for child in supervisor._children.values())]
    before = [inbox.beats for inbox in inboxes if inbox is not None]
    assert len(before) == 4
    assert supervisor._inbox.deadline is None
    house.clock.advance(3600.0)
    assert [inbox.beats for inbox in inboxes if inbox is not None] == before


def test_one_look_per_interval_while_somebody_works(house: House) -> None:
    house.start(house.spec("a", hang_after=LIMIT))
    house.clock.advance(2 * LIMIT)
    supervisor = house.ref._actor_weakref()
    assert supervisor is not None
    ref = house.child("a")
    before = supervisor._inbox.beats
    for _ in range(1000):
        ref.tell("work")
    house.clock.settle()
    house.clock.advance(LIMIT)
    assert supervisor._inbox.beats - before <= 3  # armed, looked, and perhaps looked once more


def test_a_hang_is_found_though_the_child_was_idle_for_long(house: House) -> None:
    house.start(house.spec("a", hang_after=LIMIT), "b")
    house.clock.advance(3600.0)
    house.do("a", "hang")
    house.clock.advance(LIMIT + 2 * STEP)
    death = house.info("a").last_death
    assert death is not None
    assert death.reason is DeathReason.HANG
    assert "made no progress for 4.0 s" in str(death.cause)
    assert house.child("a").ask("hello", timeout=WAIT) == "hello"


def test_without_a_limit_a_child_may_take_its_time(house: House) -> None:
    house.start("a")
    house.do("a", "hang")
    house.clock.advance(3600.0)
    assert house.info("a").restarts == 0
    house.book.release()
    assert house.child("a").ask("hello", timeout=WAIT) == "hello"


def test_asks_behind_a_hang_are_answered_by_the_next_incarnation(house: House) -> None:
    house.start(house.spec("a", hang_after=LIMIT))
    house.do("a", "hang")
    futures = [house.child("a").ask(number, block=False) for number in range(10)]
    house.clock.advance(2 * LIMIT)
    assert [future.get(timeout=WAIT) for future in futures] == list(range(10))


def test_hanging_again_and_again_ends_the_supervisor(house: House) -> None:
    house.start(house.spec("a", hang_after=1.0), intensity=2, period=60.0)
    for _ in range(3):
        house.do("a", "hang")
        house.clock.advance(2.0)
    assert house.ended()


def test_a_branch_that_hangs_takes_its_children_along_and_is_replaced(house: House) -> None:
    from functools import partial  # noqa: PLC0415 - only here

    from packhorse.actors import ChildSpec, Supervisor  # noqa: PLC0415 - only here

    class Stuck(Supervisor):
        def get_stuck(self) -> None:
            house.book.hang()

    branch = ChildSpec("s", partial(Stuck, [house.spec("b")], clock=house.clock), shutdown=None, hang_after=LIMIT)
    house.start(branch)
    inner = house.child("s")
    old = inner.proxy().child("b").get(timeout=WAIT)
    inner.proxy().get_stuck.defer()
    house.clock.settle()
    house.clock.advance(2 * LIMIT)
    assert house.info("s").restarts == 1
    assert not old.is_alive()
    assert inner.proxy().child("b").get(timeout=WAIT).ask("hello", timeout=WAIT) == "hello"
