"""Waiting by a stack's clock: conditions, promises, and the clock that is driven by hand."""

# pyright: reportPrivateUsage=false
# The reason: it holds the lock of a promise.
from __future__ import annotations

import threading
from typing import Any

import pytest

from packhorse import Timeout
from packhorse.actors.clock import SYSTEM_CLOCK, Condition, Promise, deadline_after
from packhorse.actors.inbox import Inbox
from packhorse.actors.mailbox import Mailbox
from packhorse.testing import ManualClock

from .helpers import SignallingClock, finished, in_background


def test_what_is_there_is_not_waited_for() -> None:
    assert Condition(SYSTEM_CLOCK).wait_for(lambda: "here", None) == "here"


def test_a_deadline_that_has_passed_is_not_waited_for() -> None:
    condition = Condition(SYSTEM_CLOCK)
    assert condition.wait_for(lambda: None, SYSTEM_CLOCK.now()) is None
    assert condition.wait_for(lambda: None, SYSTEM_CLOCK.now() - 1) is None


def test_everyone_who_waits_is_woken_and_looks_for_himself() -> None:
    clock = SignallingClock()
    condition = Condition(clock)
    allowed: set[int] = set()
    woken: list[int] = []

    def wait(number: int) -> None:
        condition.wait_for(lambda: number in allowed or None, None)
        woken.append(number)

    threads = [in_background(lambda number=number: wait(number)) for number in range(3)]  # type: ignore[misc] # bound early
    for _ in threads:
        assert clock.sleeping.acquire(timeout=20)
    with condition.lock:
        allowed.add(1)
        condition.notify_all()
    assert finished(threads[1])
    assert woken == [1]
    with condition.lock:
        allowed.update({0, 2})
        condition.notify_all()
    assert all(finished(thread) for thread in threads)
    assert sorted(woken) == [0, 1, 2]


def test_the_lock_is_held_while_looking_and_free_while_waiting() -> None:
    clock = SignallingClock()
    condition = Condition(clock)
    looked: list[bool] = []
    done = threading.Event()

    def look() -> bool | None:
        looked.append(in_background_acquires(condition.lock))
        return done.is_set() or None

    thread = in_background(lambda: condition.wait_for(look, None))
    assert clock.sleeping.acquire(timeout=20)
    with condition.lock:
        done.set()
        condition.notify_all()
        assert looked == [False], "it cannot look while the lock is held here"
    assert finished(thread)
    assert looked == [False, False]


def in_background_acquires(lock: threading.RLock) -> bool:
    """Tell whether another thread gets the lock at once."""
    got: list[bool] = []

    def take() -> None:
        got.append(lock.acquire(blocking=False))
        if got[0]:
            lock.release()

    assert finished(in_background(take))
    return got[0]


def test_a_wait_ends_when_the_clock_reaches_its_deadline() -> None:
    clock = SignallingClock()
    condition = Condition(clock)
    results: list[None] = []
    thread = in_background(lambda: results.append(condition.wait_for(lambda: None, clock.now() + 5)))
    assert clock.sleeping.acquire(timeout=20)
    clock.advance(4.9)
    assert results == []
    clock.advance(0.1)
    assert finished(thread)
    assert results == [None]


def test_an_interrupted_wait_leaves_nothing_behind() -> None:
    class Interrupting(ManualClock):
        def wait(self, token: threading.Lock, deadline: float | None) -> None:
            del token, deadline
            raise KeyboardInterrupt

    condition = Condition(Interrupting())
    with pytest.raises(KeyboardInterrupt):
        condition.wait_for(lambda: None, None)
    assert in_background_acquires(condition.lock)
    condition.notify_all()


def test_whoever_holds_the_lock_already_does_not_wait() -> None:
    """A signal handler or a finalizer, in the middle of what it interrupts: nobody could change anything."""
    condition = Condition(SYSTEM_CLOCK)
    with condition.lock:
        assert condition.wait_for(lambda: None, None) is None
        assert condition.wait_for(lambda: 1, None) == 1
    assert in_background_acquires(condition.lock)


@pytest.mark.parametrize(
    ("timeout", "error"), [("1", TypeError), (True, TypeError), (float("nan"), ValueError)], ids=["str", "bool", "nan"]
)
def test_a_timeout_that_is_no_number_is_refused(timeout: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="a timeout is a number of seconds, or None for ever, not"):
        deadline_after(SYSTEM_CLOCK, timeout)


def test_a_timeout_becomes_a_deadline() -> None:
    clock = ManualClock(1000.0)
    assert deadline_after(clock, None) is None
    assert deadline_after(clock, 2) == 1002.0
    assert deadline_after(clock, float("inf")) == float("inf")


def test_a_forked_promise_has_the_value_it_is_given_though_its_lock_was_held() -> None:
    promise: Promise[int] = Promise(SYSTEM_CLOCK)
    held = promise._condition.lock
    assert finished(in_background(held.acquire))
    promise.orphan(1)
    assert promise.get(0) == 1


def test_a_promise_gives_its_value_to_everyone() -> None:
    promise: Promise[str] = Promise(SYSTEM_CLOCK)
    got: list[str] = []
    threads = [in_background(lambda: got.append(promise.get(20))) for _ in range(3)]
    assert not promise.kept
    promise.keep("value")
    assert all(finished(thread) for thread in threads)
    assert got == ["value"] * 3
    assert promise.kept


def test_the_first_word_of_a_promise_stands() -> None:
    kept: Promise[int] = Promise(SYSTEM_CLOCK)
    kept.keep(1)
    kept.keep(2)
    kept.fail(RuntimeError())
    assert kept.get(0) == 1
    failed: Promise[int] = Promise(SYSTEM_CLOCK)
    failed.fail(ValueError("first"))
    failed.keep(1)
    with pytest.raises(ValueError, match="first"):
        failed.get(0)


def test_a_promise_that_is_not_kept_in_time_says_how_long_it_was_waited_for() -> None:
    promise: Promise[int] = Promise(SYSTEM_CLOCK)
    with pytest.raises(Timeout, match="0"):
        promise.get(0)


def test_an_error_that_is_raised_often_does_not_grow() -> None:
    promise: Promise[int] = Promise(SYSTEM_CLOCK)
    error = ValueError()
    promise.fail(error)

    def depth() -> int:
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - it is the very one
            promise.get(0)
        assert caught.value is error
        frames, trace = 0, error.__traceback__
        while trace is not None:
            frames, trace = frames + 1, trace.tb_next
        return frames

    first = depth()
    assert depth() == first


def test_the_manual_clock_stops_at_every_deadline_in_order() -> None:
    clock = SignallingClock()
    start = clock.now()
    order: list[float] = []
    mailboxes = [Mailbox(str(number), clock) for number in range(3)]

    def node(mailbox: Mailbox, deadline: float) -> None:
        inbox = Inbox(mailbox)
        inbox.deadline = deadline
        inbox.get()
        order.append(clock.now() - start)
        mailbox.close()

    threads = [
        in_background(lambda mailbox=mailbox, wait=wait: node(mailbox, start + wait))  # type: ignore[misc] # bound early
        for mailbox, wait in zip(mailboxes, (3.0, 1.0, 2.0), strict=True)
    ]
    clock.advance(10)
    assert all(finished(thread) for thread in threads)
    assert order == [1.0, 2.0, 3.0]
    assert clock.now() == start + 10


def test_settling_waits_for_what_one_node_makes_another_do() -> None:
    clock = ManualClock()
    first, second = Mailbox("first", clock), Mailbox("second", clock)
    done: list[str] = []

    def pass_on() -> None:
        inbox = Inbox(first)
        inbox.get()
        second.put("item")
        inbox.get()
        first.close()

    def note() -> None:
        inbox = Inbox(second)
        inbox.get()
        done.append("handled")
        inbox.get()
        second.close()

    threads = [in_background(pass_on), in_background(note)]
    clock.settle()
    first.put("item")
    clock.settle()
    assert done == ["handled"]
    first.abort()
    second.abort()
    assert all(finished(thread) for thread in threads)


def test_time_stands_still_between_advances() -> None:
    clock = ManualClock(start=5.0)
    assert clock.now() == 5.0
    clock.advance(0.25)
    clock.settle()
    assert clock.now() == 5.25
