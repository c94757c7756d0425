"""Supervisor: each restart type and each way to die, what restarts keep, backing off, giving up."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING, Any

import pykka
import pytest

from packhorse.actors import ChildSpec, Death, DeathReason, GaveUp, Status, Strategy
from packhorse.actors import supervisor as supervision

from .supervising import WAIT, Bug, House, in_thread

if TYPE_CHECKING:
    from collections.abc import Callable

HANG = 4.0


def _by_tell(house: House) -> None:
    house.crash("a")


def _by_exit(house: House) -> None:
    house.crash("a", SystemExit(3))


def _by_exit_in_an_ask(house: House) -> None:
    with pytest.raises(Exception, match="SystemExit"):
        house.child("a").proxy().die(SystemExit(3)).get(timeout=WAIT)


def _by_keyboard(house: House) -> None:
    house.crash("a", KeyboardInterrupt())


def _in_on_start(house: House) -> None:
    house.book.plan("start", "a", Bug("start"))
    house.proxy.terminate_child("a").get(timeout=WAIT).get(timeout=WAIT)
    house.proxy.restart_child("a").get(timeout=WAIT)


def _exit_in_on_start(house: House) -> None:
    house.book.plan("start", "a", SystemExit(3))
    house.proxy.terminate_child("a").get(timeout=WAIT).get(timeout=WAIT)
    house.proxy.restart_child("a").get(timeout=WAIT)


def _in_on_stop(house: House) -> None:
    house.book.plan("stop", "a", Bug("stop"))
    house.do("a", "end")


def _stopped_by_ref(house: House) -> None:
    assert house.child("a").stop(timeout=WAIT) is True


def _stopped_by_itself(house: House) -> None:
    house.do("a", "end")


def _hang_in_a_handler(house: House) -> None:
    house.do("a", "hang")
    house.clock.advance(2 * HANG)


def _hang_in_on_start(house: House) -> None:
    house.book.hangs.add(("start", "a"))
    house.proxy.terminate_child("a").get(timeout=WAIT).get(timeout=WAIT)
    house.proxy.restart_child("a").get(timeout=WAIT)
    house.clock.advance(2 * HANG)


CRASHES: dict[str, tuple[Callable[[House], None], DeathReason]] = {
    "raising tell": (_by_tell, DeathReason.HANDLER),
    "SystemExit": (_by_exit, DeathReason.EXIT),
    "SystemExit in an ask": (_by_exit_in_an_ask, DeathReason.EXIT),
    "KeyboardInterrupt": (_by_keyboard, DeathReason.HANDLER),
    "on_start": (_in_on_start, DeathReason.START),
    "SystemExit in on_start": (_exit_in_on_start, DeathReason.EXIT),
    "on_stop": (_in_on_stop, DeathReason.STOP),
    "hang in a handler": (_hang_in_a_handler, DeathReason.HANG),
    "hang in on_start": (_hang_in_on_start, DeathReason.HANG),
}
STOPS: dict[str, tuple[Callable[[House], None], DeathReason]] = {
    "stop by ref": (_stopped_by_ref, DeathReason.STOPPED),
    "stop by itself": (_stopped_by_itself, DeathReason.STOPPED),
}


def last_death(house: House, label: str) -> Death:
    death = house.info(label).last_death
    assert death is not None
    return death


@pytest.mark.parametrize("restart", ["permanent", "transient"])
@pytest.mark.parametrize(("die", "reason"), CRASHES.values(), ids=CRASHES)
def test_who_crashes_is_restarted(
    house: House, restart: str, die: Callable[[House], None], reason: DeathReason
) -> None:
    house.start(house.spec("a", restart=restart, hang_after=HANG), "b")
    die(house)
    house.clock.settle()
    assert house.running() == ["a", "b"]
    assert house.child("a").ask("hello", timeout=WAIT) == "hello"
    assert last_death(house, "a").reason is reason
    assert house.book.of("start").count("start b") == 1


@pytest.mark.parametrize(("die", "reason"), STOPS.values(), ids=STOPS)
def test_a_permanent_child_that_was_stopped_is_restarted(
    house: House, die: Callable[[House], None], reason: DeathReason
) -> None:
    house.start("a")
    die(house)
    house.clock.settle()
    assert house.running() == ["a"]
    assert house.child("a").ask("hello", timeout=WAIT) == "hello"
    assert last_death(house, "a").reason is reason


@pytest.mark.parametrize(("die", "reason"), STOPS.values(), ids=STOPS)
def test_a_transient_child_that_was_stopped_has_ended_and_keeps_its_spec(
    house: House, die: Callable[[House], None], reason: DeathReason
) -> None:
    house.start(house.spec("a", restart="transient"))
    ref = house.child("a")
    die(house)
    house.clock.settle()
    assert house.info("a").status is Status.ENDED
    assert not ref.is_alive()
    assert last_death(house, "a").reason is reason


@pytest.mark.parametrize("die", [die for die, _ in [*CRASHES.values(), *STOPS.values()]], ids=[*CRASHES, *STOPS])
def test_a_temporary_child_is_never_restarted_and_its_spec_goes_with_it(
    house: House, die: Callable[[House], None]
) -> None:
    if "on_start" in die.__name__:
        name = die.__name__
        house.book.plan("start", "a", SystemExit(3) if "exit" in name else Bug())
        if "hang" in name:
            house.book.plan("start", "a")
            house.book.hangs.add(("start", "a"))
        house.start(house.spec("a", restart="temporary", hang_after=HANG), "b")
        house.clock.advance(2 * HANG)
    else:
        house.start(house.spec("a", restart="temporary", hang_after=HANG), "b")
        die(house)
    house.clock.settle()
    assert [info.id for info in house.proxy.which_children().get()] == ["b"]


def test_an_ask_that_raises_kills_nothing(house: House) -> None:
    house.start("a")
    with pytest.raises(Bug):
        house.child("a").proxy().die(Bug()).get(timeout=WAIT)
    assert house.info("a").restarts == 0


def test_system_exit_in_a_child_leaves_other_actors_of_the_program_alone(house: House) -> None:
    house.start("a")
    bystander = pykka.ThreadingActor.start()
    house.crash("a", SystemExit(1))
    assert bystander.is_alive()
    bystander.stop()


def test_a_constructor_that_raises_is_tried_again(house: House) -> None:
    house.book.plan("make", "a", Bug("first"), Bug("second"))
    house.start("a")
    house.clock.advance(1.0)
    assert house.running() == ["a"]
    assert last_death(house, "a").reason is DeathReason.CONSTRUCTOR
    assert house.info("a").restarts == 2


def test_a_constructor_that_exits_is_a_crash_like_any_other(house: House) -> None:
    house.book.plan("make", "a", SystemExit(1))
    house.start("a")
    assert house.running() == ["a"]
    assert last_death(house, "a").reason is DeathReason.EXIT


def test_a_factory_that_makes_something_else_is_told_in_the_death_notice(house: House) -> None:
    house.start(ChildSpec("a", lambda: 5), intensity=0)  # type: ignore[arg-type,return-value]
    assert house.ended()


def test_a_thread_that_cannot_be_started_is_tried_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.start("a")
    start = threading.Thread.start
    refused: list[str] = []

    def refusing(thread: threading.Thread) -> None:
        if thread.name == "a" and not refused:
            refused.append(thread.name)
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refusing)
    house.crash("a")
    house.clock.advance(1.0)
    assert refused == ["a"]
    assert house.running() == ["a"]
    assert last_death(house, "a").reason is DeathReason.THREAD
    assert house.child("a").ask("hello", timeout=WAIT) == "hello"


# What restarts keep.


def test_refs_and_proxies_from_before_a_crash_work_after_it(house: House) -> None:
    house.start("a")
    ref = house.child("a")
    proxy = ref.proxy()
    for _ in range(3):
        house.crash("a")
        house.clock.advance(1.0)
        assert ref.ask(1, timeout=WAIT) == 1
        assert proxy.label.get(timeout=WAIT) == "a"
    assert house.child("a") is ref
    assert house.info("a").restarts == 3


def test_what_waited_when_a_child_crashed_is_handled_by_the_next_in_order(house: House) -> None:
    house.start("a")
    ref = house.child("a")
    ref.proxy().die.defer(Bug())
    for number in range(50):
        ref.tell(number)
    assert ref.proxy().seen.get(timeout=WAIT) == list(range(50))


def test_asks_wait_while_a_child_waits_for_its_restart(house: House) -> None:
    house.start("a")
    house.crash("a")
    house.crash("a")
    ref = house.child("a")
    assert house.info("a").status is Status.RESTARTING
    future = ref.ask("waits", block=False)
    ref.tell("too")
    house.clock.advance(1.0)
    assert future.get(timeout=WAIT) == "waits"
    assert ref.proxy().seen.get(timeout=WAIT) == ["waits", "too"]


def test_what_the_constructor_tells_its_actor_comes_first(house: House) -> None:
    from .supervising import Worker  # noqa: PLC0415 - only here

    class Eager(Worker):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.actor_ref.tell("from the constructor")

    house.start(ChildSpec("a", lambda: Eager(house.book, "a")))
    ref = house.child("a")
    ref.tell("later")
    assert ref.proxy().seen.get(timeout=WAIT) == ["from the constructor", "later"]


def test_the_ref_to_hand_out_is_the_one_that_stays_valid(house: House) -> None:
    house.start("a")
    assert house.child("a").proxy().stable_ref.get(timeout=WAIT) is house.child("a")


def test_refs_of_an_incarnation_die_with_it(house: House) -> None:
    house.start("a")
    own = house.child("a")._actor_weakref().actor_ref  # type: ignore[union-attr]
    house.crash("a")
    assert not own.is_alive()
    with pytest.raises(pykka.ActorDeadError):
        own.ask("anyone?", timeout=WAIT)


def test_children_are_not_in_pykkas_registry(house: House) -> None:
    house.start("a", "b")
    assert pykka.ActorRegistry.get_all() == [house.ref]


# Backing off and giving up.


def test_the_first_restart_follows_at_once_and_later_ones_ever_more_slowly(house: House) -> None:
    house.book.plan("start", "a", *[Bug() for _ in range(6)])
    house.start("a")
    house.clock.advance(5.0)
    times = [time for (what, _), time in zip(house.book.events, house.book.times, strict=True) if what == "start"]
    waits = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert waits == pytest.approx([0.0, 0.01, 0.02, 0.04, 0.08, 0.16])


@pytest.mark.parametrize("intensity", [0, 1, 3])
def test_one_restart_more_than_the_intensity_within_the_period_and_it_gives_up(house: House, intensity: int) -> None:
    house.start("a", "b", intensity=intensity, period=10.0)
    for _ in range(intensity):
        house.crash("a")
        house.clock.advance(1.0)
    assert house.running() == ["a", "b"]
    house.child("a").proxy().die.defer(Bug("one too many"))
    assert house.ended()
    assert not house.ref.is_alive()
    assert house.book.of("stop") == ["stop b"]


def test_crashes_outside_the_period_do_not_count(house: House) -> None:
    house.start("a", intensity=1, period=10.0)
    for _ in range(5):
        house.crash("a")
        house.clock.advance(11.0)
    assert house.info("a").restarts == 5


def test_each_child_has_an_intensity_of_its_own(house: House) -> None:
    house.start("a", "b", "c", intensity=1, period=10.0)
    for label in "abc":
        house.crash(label)
    assert house.running() == ["a", "b", "c"]


@pytest.mark.parametrize("luck", [0.0, 0.5, 0.999])
def test_a_crash_loop_is_over_within_the_period_whatever_the_jitter(house: House, luck: float) -> None:
    house.book.plan("start", "a", *[Bug() for _ in range(supervision.INTENSITY + 1)])
    house.start("a", random=lambda: luck)
    house.clock.advance(supervision.PERIOD)
    assert house.ended()
    assert len(house.book.of("start")) == supervision.INTENSITY + 1


def test_whoever_waits_for_a_child_is_answered_when_its_supervisor_gives_up(house: House) -> None:
    house.start("a", intensity=0)
    ref = house.child("a")
    raised: list[BaseException] = []

    def until_dead() -> None:
        try:
            while True:
                ref.ask("hello", timeout=WAIT)
        except pykka.ActorDeadError as error:
            raised.append(error)

    asking = in_thread(until_dead)
    ref.proxy().die.defer(Bug())
    assert house.ended()
    asking.join(WAIT)
    assert len(raised) == 1


def test_a_supervisor_that_gave_up_says_so_in_its_own_death_notice(house: House) -> None:
    inner = ChildSpec(
        "inner",
        lambda: supervision.Supervisor([house.spec("a")], clock=house.clock, intensity=0),
        restart="transient",
        shutdown=None,
    )
    house.start(inner, strategy=Strategy.ONE_FOR_ONE)
    house.child("inner").proxy().child("a").get(timeout=WAIT).proxy().die.defer(Bug("why"))
    house.clock.settle()
    death = last_death(house, "inner")
    assert isinstance(death.cause, GaveUp)
    assert isinstance(death.cause.__cause__, Bug)
    assert house.running() == ["inner"]
