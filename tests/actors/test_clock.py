"""Waiting by a stack's clock: conditions, promises, and the clock that is driven by hand."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from packhorse import Timeout
from packhorse.actors.clock import SYSTEM_CLOCK, Condition, Promise
from packhorse.actors.inbox import Inbox
from packhorse.actors.mailbox import Mailbox
from packhorse.testing import ManualClock

from .helpers import SignallingClock, finished, in_background

if TYPE_CHECKING:
    pass


def test_a_condition_that_holds_does_not_wait() -> None:
    condition = Condition(SYSTEM_CLOCK)
    with condition:
        assert condition.wait_for(lambda: True, None)


def test_a_deadline_that_has_passed_does_not_wait() -> None:
    condition = Condition(SYSTEM_CLOCK)
    with condition:
        assert not condition.wait_for(lambda: False, SYSTEM_CLOCK.now())
        assert not condition.wait_for(lambda: False, SYSTEM_CLOCK.now() - 1)


def test_everyone_who_waits_is_woken_and_looks_for_himself() -> None:
    clock = SignallingClock()
    condition = Condition(clock)
    allowed: set[int] = set()
    woken: list[int] = []

    def wait(number: int) -> None:
        with condition:
            condition.wait_for(lambda: number in allowed, None)
            woken.append(number)

    threads = [in_background(lambda number=number: wait(number)) for number in range(3)]  # type: ignore[misc] # bound early
    for _ in threads:
        assert clock.sleeping.acquire(timeout=20)
    with condition:
        allowed.add(1)
        condition.notify_all()
    assert finished(threads[1])
    assert woken == [1]
    with condition:
        allowed.update({0, 2})
        condition.notify_all()
    assert all(finished(thread) for thread in threads)
    assert sorted(woken) == [0, 1, 2]


def test_waiting_gives_the_condition_free_and_takes_it_again() -> None:
    clock = SignallingClock()
    condition = Condition(clock)
    held_again: list[bool] = []
    done = threading.Event()

    def wait() -> None:
        with condition:
            condition.wait_for(done.is_set, None)
            held_again.append(True)

    thread = in_background(wait)
    assert clock.sleeping.acquire(timeout=20)
    with condition:  # free, though the other thread is inside its `with`
        done.set()
        condition.notify_all()
        assert held_again == []
    assert finished(thread)


def test_a_wait_ends_when_the_clock_reaches_its_deadline() -> None:
    clock = SignallingClock()
    condition = Condition(clock)
    results: list[bool] = []

    def wait() -> None:
        with condition:
            results.append(condition.wait_for(lambda: False, clock.now() + 5))

    thread = in_background(wait)
    assert clock.sleeping.acquire(timeout=20)
    clock.advance(4.9)
    assert results == []
    clock.advance(0.1)
    assert finished(thread)
    assert results == [False]


def test_an_interrupted_wait_holds_the_condition_again() -> None:
    class Interrupting(ManualClock):
        def wait(self, token: threading.Lock, deadline: float | None) -> None:
            del token, deadline
            raise KeyboardInterrupt

    condition = Condition(Interrupting())
    with pytest.raises(KeyboardInterrupt), condition:
        condition.wait_for(lambda: False, None)
    assert finished(in_background(condition.__enter__))


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
