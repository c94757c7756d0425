"""The gate in front of usender: how much may wait, and what happens to those who find no room."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from packhorse import Closed, Full, OutPackage, Peers, Reliability, StackFailed, Timeout
from packhorse.actors import admission as module
from packhorse.actors.admission import LANES, MAX_WAITING, Admission
from packhorse.actors.clock import SYSTEM_CLOCK
from packhorse.actors.mailbox import BATCH_LIMIT, Mailbox
from packhorse.actors.messages import FlushAll, Forget
from packhorse.protocol.header import MAX_PAYLOAD

from .helpers import SignallingClock

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = ("10.0.0.1", 1)
THERE = ("10.0.0.2", 2)


@pytest.fixture
def clock() -> SignallingClock:
    return SignallingClock()


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox("usender", SYSTEM_CLOCK)  # nobody reads it, and the manual clock would wait for that


@pytest.fixture
def gate(mailbox: Mailbox, clock: SignallingClock) -> Admission:
    return Admission(mailbox, clock)


def packages(count: int, to: tuple[str, int] = HERE, data: bytes = b"x") -> list[OutPackage]:
    return [OutPackage(data, Reliability.UNORDERED, Peers.PLAYERS, to)] * count


class Blocked:
    """A call in a thread of its own, of which is known that it sleeps."""

    def __init__(self, clock: SignallingClock, call: Callable[[], Any]) -> None:
        self.raised: BaseException | None = None

        def run() -> None:
            try:
                call()
            except BaseException as error:  # noqa: BLE001 - looked at by the test
                self.raised = error

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()
        assert clock.sleeping.acquire(timeout=20)

    def ends(self) -> BaseException | None:
        self._thread.join(20)
        assert not self._thread.is_alive()
        return self.raised


def test_packages_go_into_the_mailbox_in_order(gate: Admission, mailbox: Mailbox) -> None:
    sent = [OutPackage(b"%d" % number, Reliability.UNORDERED, Peers.PLAYERS, HERE) for number in range(10)]
    gate.send(sent[:5], None)
    gate.send(sent[5:], 0)
    assert mailbox.waiting() == sent
    assert gate.waiting(HERE) == 10


def test_so_many_packages_of_one_target_may_wait(gate: Admission) -> None:
    gate.send(packages(MAX_WAITING), 0)
    assert MAX_WAITING == 1024
    with pytest.raises(Full, match=r"1024 packages for \('10\.0\.0\.1', 1\) wait already"):
        gate.send(packages(1), 0)
    assert gate.waiting(HERE) == MAX_WAITING


def test_a_full_target_holds_up_no_other(gate: Admission) -> None:
    gate.send(packages(MAX_WAITING), 0)
    gate.send(packages(MAX_WAITING, THERE), 0)
    assert gate.waiting(THERE) == MAX_WAITING


def test_so_many_bytes_may_wait_in_all(gate: Admission, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    assert module.MAX_WAITING_BYTES == 64 * 1024 * 1024
    assert module.MAX_WAITING_IN_ALL * MAX_PAYLOAD <= module.MAX_WAITING_BYTES
    monkeypatch.setattr(module, "MAX_WAITING_IN_ALL", BATCH_LIMIT + 3)  # a batch may be being handled
    gate.release({}, 0)
    gate.send(packages(3), 0)
    with pytest.raises(Full, match=r"0 packages for .*, 3 in all"):
        gate.send(packages(1, THERE), 0)
    mailbox.take()
    gate.release({}, 3)
    with pytest.raises(Full):
        gate.send(packages(1, THERE), 0)
    gate.release({HERE: 1}, 1)
    with pytest.raises(Full):
        gate.send(packages(3, THERE), 0)
    assert len(mailbox) == 2


def test_what_finds_no_room_leaves_what_was_before_it_sent(gate: Admission, mailbox: Mailbox) -> None:
    with pytest.raises(Full):
        gate.send(packages(MAX_WAITING + 5), 0)
    assert len(mailbox) == MAX_WAITING


def test_a_blocked_sender_goes_on_when_there_is_room(gate: Admission, clock: SignallingClock, mailbox: Mailbox) -> None:
    gate.send(packages(MAX_WAITING), None)
    blocked = Blocked(clock, lambda: gate.send(packages(1), None))
    gate.release({HERE: 1}, 0)
    assert blocked.ends() is None
    assert len(mailbox) == MAX_WAITING + 1
    assert gate.waiting(HERE) == MAX_WAITING


def test_what_is_released_twice_makes_no_more_room(gate: Admission) -> None:
    gate.send(packages(1), 0)
    for _ in range(3):
        gate.release({HERE: 1, THERE: 1}, 0)
    gate.send(packages(MAX_WAITING), 0)
    with pytest.raises(Full):
        gate.send(packages(1), 0)
    assert (gate.waiting(HERE), gate.waiting(THERE)) == (MAX_WAITING, 0)


def test_a_sender_blocked_by_what_others_send_goes_on_when_that_is_less(
    gate: Admission, clock: SignallingClock, mailbox: Mailbox
) -> None:
    gate.send(packages(3), None)
    gate.brim = 3
    blocked = Blocked(clock, lambda: gate.send(packages(1, THERE), None))
    mailbox.take()
    gate.release({HERE: 3}, 0)
    assert blocked.ends() is None
    assert gate.waiting(THERE) == len(mailbox) == 1


def test_a_blocked_sender_waits_for_its_own_target(gate: Admission, clock: SignallingClock) -> None:
    gate.send(packages(MAX_WAITING), None)
    gate.send(packages(MAX_WAITING, THERE), None)
    blocked = Blocked(clock, lambda: gate.send(packages(1), None))
    gate.release({THERE: 1}, 0)
    assert not clock.sleeping.acquire(blocking=False)
    assert gate.waiting(HERE) == MAX_WAITING
    gate.release({HERE: 1}, 0)
    assert blocked.ends() is None


def test_a_blocked_sender_gives_up_after_its_timeout(gate: Admission, clock: SignallingClock) -> None:
    gate.send(packages(MAX_WAITING), None)
    blocked = Blocked(clock, lambda: gate.send(packages(1), 3.0))
    clock.advance(2.9)
    assert blocked.raised is None
    clock.advance(0.2)
    raised = blocked.ends()
    assert isinstance(raised, Timeout)
    assert "within 3.0 seconds" in str(raised)
    assert gate.waiting(HERE) == MAX_WAITING


def test_the_timeout_of_many_packages_is_for_all_of_them(
    gate: Admission, clock: SignallingClock, mailbox: Mailbox
) -> None:
    gate.send(packages(MAX_WAITING), None)
    blocked = Blocked(clock, lambda: gate.send(packages(3), 3.0))
    clock.advance(2.0)
    gate.release({HERE: 1}, 0)
    assert clock.sleeping.acquire(timeout=20)
    clock.advance(1.1)
    assert isinstance(blocked.ends(), Timeout)
    assert len(mailbox) == MAX_WAITING + 1


@pytest.mark.parametrize("error", [None, StackFailed("gave up")])
def test_a_blocked_sender_is_woken_when_the_gate_closes(
    gate: Admission, clock: SignallingClock, error: Exception | None
) -> None:
    gate.send(packages(MAX_WAITING), None)
    blocked = [Blocked(clock, lambda: gate.send(packages(1), None)) for _ in range(3)]
    gate.close(error)
    assert {type(one.ends()) for one in blocked} == {Closed if error is None else StackFailed}


def test_a_closed_gate_admits_nothing(gate: Admission, mailbox: Mailbox) -> None:
    gate.close()
    for use in (lambda: gate.send(packages(1), None), lambda: gate.send(packages(1), 0), gate.flush):
        with pytest.raises(Closed):
            use()
    assert len(mailbox) == 0


def test_a_failure_shows_even_after_closing_and_is_not_covered_up(gate: Admission) -> None:
    gate.close()
    gate.close(StackFailed("gave up"))
    gate.close()
    gate.close(Closed("the stack has ended"))
    with pytest.raises(StackFailed):
        gate.send(packages(1), None)


def test_an_error_that_is_raised_often_does_not_grow(gate: Admission) -> None:
    gate.close()

    def depth() -> int:
        with pytest.raises(Closed) as caught:
            gate.send(packages(1), None)
        frames, trace = 0, caught.value.__traceback__
        while trace is not None:
            frames, trace = frames + 1, trace.tb_next
        return frames

    first = depth()
    assert depth() == first


def test_a_flush_stands_behind_what_was_admitted(gate: Admission, mailbox: Mailbox) -> None:
    gate.send(packages(1), None)
    promise = gate.flush()
    gate.send(packages(1), None)
    assert [type(item) for item in mailbox.waiting()] == [OutPackage, FlushAll, OutPackage]
    flush = mailbox.waiting()[1]
    flush.promise.keep(None)
    assert promise.get(0) is None


def test_whoever_waits_for_a_flush_hears_of_the_end(gate: Admission, clock: SignallingClock) -> None:
    blocked = Blocked(clock, lambda: gate.flush().get())
    gate.end(Closed("the stack has ended"))
    assert isinstance(blocked.ends(), Closed)


def test_forgetting_stands_behind_what_was_admitted(gate: Admission, mailbox: Mailbox) -> None:
    gate.send(packages(1), None)
    gate.forget(HERE)
    assert mailbox.waiting()[1:] == [Forget(HERE)]


def test_of_targets_that_have_nothing_waiting_only_some_are_remembered(gate: Admission) -> None:
    gate.send(packages(3), 0)
    for port in range(1, 5 * LANES):
        target = ("10.0.0.3", port)
        gate.send(packages(1, target), 0)
        gate.release({target: 1}, 0)
        assert len(gate.lanes) <= LANES
    assert gate.waiting(HERE) == 3
