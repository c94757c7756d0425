"""The user's receiving ends: taking, waiting, states, merging of failures."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from packhorse import (
    Closed,
    FailureReason,
    InPackage,
    OutPackage,
    PeerFailed,
    Peers,
    Reliability,
    StackFailed,
    Timeout,
)
from packhorse.actors import ends
from packhorse.actors.clock import SYSTEM_CLOCK
from packhorse.actors.ends import CAPACITY, ErrorEnd, PackageEnd
from packhorse.actors.inbox import Inbox
from packhorse.actors.mailbox import Mailbox

from .helpers import SignallingClock, finished, in_background

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = ("10.0.0.1", 1)
THERE = ("10.0.0.2", 2)


def package(number: int) -> InPackage:
    return InPackage(b"%d" % number, Reliability.UNORDERED, Peers.PLAYERS, HERE, 0.0)


def packages(count: int, first: int = 0) -> list[InPackage]:
    return [package(number) for number in range(first, first + count)]


def failure(target: tuple[str, int] = HERE, *datas: bytes, reason: FailureReason = FailureReason.SILENT) -> PeerFailed:
    return PeerFailed(
        target, reason, [OutPackage(data, Reliability.UNORDERED, Peers.PLAYERS, target) for data in datas]
    )


@pytest.fixture
def end() -> PackageEnd:
    return PackageEnd(SYSTEM_CLOCK)


@pytest.fixture
def errors() -> ErrorEnd:
    return ErrorEnd(SYSTEM_CLOCK)


# Taking.


def test_packages_are_taken_in_the_order_they_came(end: PackageEnd) -> None:
    end.put_all(packages(3))
    end.put_all(packages(3, 3))
    assert end.recv(0) == package(0)
    assert end.recv_many(2, 0) == packages(2, 1)
    assert end.drain() == packages(3, 3)
    assert end.drain() == []


def test_recv_many_takes_what_is_there_and_does_not_wait_for_more(end: PackageEnd) -> None:
    end.put_all(packages(3))
    assert end.recv_many(100, None) == packages(3)


def test_nothing_came_within_the_timeout() -> None:
    clock = SignallingClock()
    end = PackageEnd(clock)
    raised: list[BaseException] = []

    def receive() -> None:
        try:
            end.recv(2.5)
        except Timeout as error:
            raised.append(error)

    thread = in_background(receive)
    assert clock.sleeping.acquire(timeout=20)
    clock.advance(2.4)
    assert raised == []
    clock.advance(0.2)
    assert finished(thread)
    assert "2.5 seconds" in str(raised[0])


def test_a_timeout_of_zero_does_not_wait(end: PackageEnd) -> None:
    with pytest.raises(Timeout):
        end.recv(0)


def test_a_package_wakes_the_one_who_waits() -> None:
    clock = SignallingClock()
    end = PackageEnd(clock)
    got: list[InPackage] = []
    thread = in_background(lambda: got.append(end.recv(None)))
    assert clock.sleeping.acquire(timeout=20)
    end.put_all([package(1)])
    assert finished(thread)
    assert got == [package(1)]


def test_of_many_receivers_each_package_has_one() -> None:
    end = PackageEnd(SYSTEM_CLOCK)
    got: list[InPackage] = []

    def receive() -> None:
        try:
            while True:
                got.extend(end.recv_many(3, None))
        except Closed:
            pass

    threads = [in_background(receive) for _ in range(4)]
    for start in range(0, 5000, 10):
        end.put_all(packages(10, start))
    end.end()
    assert all(finished(thread) for thread in threads)
    assert sorted(int(one.data) for one in got) == list(range(5000))


# States.


def test_what_waits_can_be_taken_after_the_stack_has_ended(end: PackageEnd) -> None:
    end.put_all(packages(1))
    end.end()
    assert end.recv(None) == package(0)
    with pytest.raises(Closed, match="ended"):
        end.recv(None)


def test_what_waits_can_be_taken_after_the_stack_has_failed(end: PackageEnd) -> None:
    cause = RuntimeError("the reason")
    end.put_all(packages(1))
    end.fail(cause)
    assert end.recv(None) == package(0)
    with pytest.raises(StackFailed) as caught:
        end.recv(None)
    assert caught.value.__cause__ is cause
    assert end.drain() == []


def test_a_closed_end_gives_nothing_though_something_waits(end: PackageEnd) -> None:
    end.put_all(packages(2))
    end.close()
    assert end.drain() == []
    with pytest.raises(Closed, match="closed"):
        end.recv(None)
    end.put_all(packages(2))
    assert end.drain() == []


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (("end", "fail"), "ended"),
        (("fail", "end"), "gave up"),
        (("end", "close"), "was closed"),
        (("fail", "close"), "was closed"),
        (("close", "end"), "was closed"),
        (("close", "fail"), "was closed"),
        (("close", "close"), "was closed"),
    ],
)
def test_which_state_shows(end: PackageEnd, steps: tuple[str, ...], expected: str) -> None:
    for step in steps:
        if step == "fail":
            end.fail(RuntimeError())
        else:
            getattr(end, step)()
    with pytest.raises((Closed, StackFailed), match=expected):
        end.recv(0)


def give_up(end: PackageEnd) -> None:
    end.fail(RuntimeError())


@pytest.mark.parametrize("leave", [PackageEnd.close, PackageEnd.end, give_up])
def test_everyone_who_waits_is_woken_when_nothing_more_can_come(leave: Callable[[PackageEnd], None]) -> None:
    clock = SignallingClock()
    end = PackageEnd(clock)
    raised: list[type[BaseException]] = []

    def receive() -> None:
        try:
            end.recv(None)
        except (Closed, StackFailed) as error:
            raised.append(type(error))

    threads = [in_background(receive) for _ in range(3)]
    for _ in threads:
        assert clock.sleeping.acquire(timeout=20)
    leave(end)
    assert all(finished(thread) for thread in threads)
    assert len(raised) == 3


# Room.


def test_a_full_end_says_so_and_wakes_its_feeder_when_there_is_room(end: PackageEnd) -> None:
    feeder = Mailbox("ureceiver", SYSTEM_CLOCK)
    end.put_all(packages(CAPACITY))
    assert not end.over_capacity(feeder)
    end.put_all(packages(1))
    assert end.over_capacity(feeder)
    feeder.put("data")
    got: list[Any] = []
    thread = in_background(lambda: got.append(Inbox(feeder, (end,)).get()))
    end.recv(0)
    assert finished(thread)


@pytest.mark.parametrize("make_room", [PackageEnd.drain, PackageEnd.close])
def test_room_is_also_made_by(end: PackageEnd, make_room: Callable[[PackageEnd], Any]) -> None:
    feeder = Mailbox("ureceiver", SYSTEM_CLOCK)
    feeder.put("data")
    end.put_all(packages(2 * CAPACITY))
    assert end.over_capacity(feeder)
    thread = in_background(lambda: Inbox(feeder, (end,)).get())
    make_room(end)
    assert finished(thread)
    assert not end.over_capacity(feeder)


def test_a_feeder_that_was_told_to_stop_is_not_held_back(end: PackageEnd) -> None:
    """A user who never reads must not keep a stack from ending."""
    feeder = Mailbox("ureceiver", SYSTEM_CLOCK)
    feeder.put("data")
    end.put_all(packages(2 * CAPACITY))
    thread = in_background(lambda: Inbox(feeder, (end,)).get())
    feeder.stop()
    assert finished(thread)


def test_closing_while_others_take_and_feed_raises_nothing() -> None:
    for _ in range(200):
        end = PackageEnd(SYSTEM_CLOCK)
        feeder = Mailbox("ureceiver", SYSTEM_CLOCK)
        end.put_all(packages(CAPACITY + 2))
        raised: list[BaseException] = []
        barrier = threading.Barrier(3)

        def run(
            work: Callable[[], Any],
            barrier: threading.Barrier = barrier,
            raised: list[BaseException] = raised,
        ) -> None:
            barrier.wait(20)
            try:
                for _ in range(5):
                    work()
            except Closed:
                pass
            except BaseException as error:  # noqa: BLE001 - whatever it is, it is a bug
                raised.append(error)

        works: list[Callable[[], Any]] = [
            end.close,
            lambda end=end: end.recv(0),  # type: ignore[misc] # bound early
            lambda end=end, feeder=feeder: end.over_capacity(feeder),  # type: ignore[misc] # bound early
        ]
        threads = [in_background(lambda work=work: run(work)) for work in works]  # type: ignore[misc] # bound early
        assert all(finished(thread) for thread in threads)
        assert raised == []


# Failures.


def test_failures_of_different_targets_are_handed_out_oldest_first(errors: ErrorEnd) -> None:
    errors.put(failure(HERE, b"1"))
    errors.put(failure(THERE, b"2"))
    assert errors.recv(0).target == HERE
    assert errors.recv(0).target == THERE


def test_a_second_failure_of_a_target_merges_into_the_unread_one(errors: ErrorEnd) -> None:
    errors.put(failure(HERE, b"1", b"2"))
    errors.put(failure(THERE, b"x"))
    errors.put(failure(HERE, b"3", reason=FailureReason.CLOSED))
    merged = {one.target: one for one in errors.drain()}
    assert [one.data for one in merged[HERE].unconfirmed] == [b"1", b"2", b"3"]
    assert merged[HERE].count == 3
    assert merged[HERE].reason is FailureReason.CLOSED
    assert merged[THERE].count == 1


def test_a_failure_after_one_that_was_read_stands_alone(errors: ErrorEnd) -> None:
    errors.put(failure(HERE, b"1"))
    errors.drain()
    errors.put(failure(HERE, b"2"))
    assert [one.data for one in errors.recv(0).unconfirmed] == [b"2"]


def test_payloads_are_kept_up_to_a_limit_and_beyond_it_counted(
    errors: ErrorEnd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ends, "MAX_PAYLOADS", 10)
    errors.put(failure(HERE, b"1234", b"5678"))
    errors.put(failure(THERE, b"abc", b"d"))
    errors.put(failure(HERE, b"e", b"f", b"g"))
    merged = {one.target: one for one in errors.drain()}
    assert [one.data for one in merged[HERE].unconfirmed] == [b"1234", b"5678", b"e", b"f"]
    assert merged[HERE].count == 5
    assert merged[THERE].unconfirmed == ()
    assert merged[THERE].count == 2
    errors.put(failure(HERE, b"0123456789"))
    assert len(errors.recv(0).unconfirmed) == 1


def test_sixteen_mebibytes_of_payloads_are_kept() -> None:
    assert ends.MAX_PAYLOADS == 16 * 1024 * 1024


def test_unread_failures_are_left_for_whoever_closes_the_stack(errors: ErrorEnd) -> None:
    errors.put(failure(HERE, b"1"))
    errors.close()
    errors.put(failure(THERE, b"2"))
    assert errors.drain() == []
    assert [one.target for one in errors.leftovers()] == [HERE, THERE]
    assert errors.leftovers() == []


def test_many_failures_nobody_reads_take_one_slot_each(errors: ErrorEnd) -> None:
    for _ in range(1000):
        for target in (HERE, THERE):
            errors.put(failure(target, b"x"))
    assert [one.count for one in errors.drain()] == [1000, 1000]
