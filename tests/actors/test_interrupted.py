"""What comes in the middle of things: Ctrl-C, signal handlers, finalizers, and threads that were left behind.

Where a moment cannot be met, it is made: by an object that stands in for another and does then what happens there.
"""

# pyright: reportPrivateUsage=false
# The reason: the moments are inside.
from __future__ import annotations

import threading
from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest

from packhorse import Full, InPackage, OutPackage, Peers, Reliability, Timeout
from packhorse.actors.admission import MAX_WAITING, Admission
from packhorse.actors.clock import SYSTEM_CLOCK
from packhorse.actors.ends import PackageEnd
from packhorse.actors.handles import PackageSender
from packhorse.actors.inbox import Inbox
from packhorse.actors.mailbox import Mailbox
from packhorse.actors.messages import Batch
from packhorse.actors.resolver import Resolver
from packhorse.testing import ManualClock

from .helpers import SignallingClock, finished, in_background

HERE = ("10.0.0.1", 1)


def package(data: bytes = b"x") -> OutPackage:
    return OutPackage(data, Reliability.UNORDERED, Peers.PLAYERS, HERE)


def received(data: bytes) -> InPackage:
    return InPackage(data, Reliability.UNORDERED, Peers.PLAYERS, HERE, 0.0)


class Gate:
    """An admission with a mailbox that nobody reads, and a handle in front of it."""

    def __init__(self) -> None:
        self.mailbox = Mailbox("usender", SYSTEM_CLOCK)
        self.admission = Admission(self.mailbox, SYSTEM_CLOCK)
        core: Any = SimpleNamespace(admission=self.admission, resolver=Resolver(("127.0.0.1", 1)), carry=None)
        self.sender = PackageSender(core, "usender")


class Parking:
    """A reader's bed, from which the first call is interrupted."""

    def __init__(self) -> None:
        self.calls = 0

    def ready(self) -> bool:
        return False

    def park(self, deadline: float | None) -> bool:
        return deadline is None

    def unpark(self) -> None:
        self.calls += 1
        if self.calls == 1:
            raise KeyboardInterrupt


class Interrupting(ManualClock):
    """Whoever waits by it is interrupted."""

    def wait(self, token: threading.Lock, deadline: float | None) -> None:
        del token, deadline
        raise KeyboardInterrupt


# Ctrl-C.


def test_a_reader_is_woken_though_whoever_wakes_it_is_interrupted() -> None:
    parking = Parking()
    mailbox = Mailbox("node", SYSTEM_CLOCK, parking=parking)
    mailbox.idle = True
    with pytest.raises(KeyboardInterrupt):
        mailbox.put("item")
    assert parking.calls == 2


def test_an_interrupted_send_costs_no_ticket() -> None:
    gate = Gate()
    gate.sender.send(package())
    lane = gate.admission.lanes[HERE]
    ticket = lane.ticket

    def taken_and_interrupted() -> int:
        ticket()
        raise KeyboardInterrupt

    lane.ticket = taken_and_interrupted
    with pytest.raises(KeyboardInterrupt):
        gate.sender.send(package())
    lane.ticket = ticket
    assert gate.admission.waiting(HERE) == len(gate.mailbox) == 1


def test_what_an_interrupted_send_many_has_let_in_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate()
    enter, packages = gate.admission._enter, [package(b"%d" % number) for number in range(5)]

    def enter_or_interrupt(one: OutPackage) -> bool:
        if one is packages[3]:
            raise KeyboardInterrupt
        return enter(one)

    monkeypatch.setattr(gate.admission, "_enter", enter_or_interrupt)
    with pytest.raises(KeyboardInterrupt):
        gate.sender.send_many(packages)
    assert list(gate.mailbox.items) == packages[:3]
    assert gate.admission.waiting(HERE) == 3


def test_an_interrupted_receive_leaves_the_end_to_others() -> None:
    end = PackageEnd(Interrupting())
    with pytest.raises(KeyboardInterrupt):
        end.recv(None)
    assert finished(in_background(lambda: end.put_all([received(b"x")])))
    assert end.recv(0).data == b"x"


# In the thread that holds the lock already, as a signal handler or a finalizer may be.


def test_a_sender_may_be_used_and_closed_in_the_middle_of_a_send() -> None:
    gate = Gate()
    seen: list[str] = []

    def handler() -> None:
        with gate.admission._condition.lock:
            gate.sender.send(package())
            gate.sender.send_many([package()] * (MAX_WAITING - gate.admission.waiting(HERE)))
            for timeout in (0, None):
                try:
                    gate.sender.send(package(), timeout)
                except (Full, Timeout) as error:
                    seen.append(type(error).__name__)
            gate.admission.close()

    assert finished(in_background(handler))
    assert seen == ["Full", "Timeout"], "it cannot wait: nobody could make room"


def test_a_receiver_does_not_wait_in_the_middle_of_a_receive() -> None:
    end = PackageEnd(SYSTEM_CLOCK)
    seen: list[object] = []

    def handler() -> None:
        with end._condition.lock:
            try:
                end.recv(None)
            except Timeout as error:
                seen.append(error)
            end.close()

    assert finished(in_background(handler))
    assert len(seen) == 1


# Between two steps that hold no lock.


class Shorter(deque[Any]):
    """Has one item less than it says: somebody takes one after it was counted."""

    def __len__(self) -> int:
        return super().__len__() + 1


@pytest.mark.parametrize("asked", [False, True], ids=["data", "asks too"])
def test_what_is_taken_back_while_a_batch_is_taken_costs_nothing_else(*, asked: bool) -> None:
    mailbox = Mailbox("usender", SYSTEM_CLOCK)
    mailbox._asks_put += asked
    mailbox.items = Shorter(["a", "b", "c"])
    assert mailbox.take() == ["a", "b", "c"]
    assert mailbox.take() is None
    assert mailbox.data_next is not asked, "what is counted only does no harm"


def test_what_a_receive_takes_without_the_lock_costs_another_nothing() -> None:
    end = PackageEnd(SYSTEM_CLOCK)
    end._returned.extend([received(b"1"), received(b"2")])
    end._packages = Shorter()
    assert [one.data for one in end.recv_many(10, 0)] == [b"1", b"2"]


def test_what_is_taken_back_is_that_object_and_not_one_like_it() -> None:
    mailbox = Mailbox("usender", SYSTEM_CLOCK)
    on, off, on_again = package(b"on"), package(b"off"), package(b"on")
    mailbox.items.extend([on, off, on_again])
    assert mailbox.take_back(on_again)
    assert [one is other for one, other in zip(mailbox.items, [on, off], strict=True)] == [True, True]
    assert not mailbox.take_back(on_again)
    mailbox.items.append(on)
    assert mailbox.take_back(on)
    assert list(mailbox.items) == [on, off], "the one that was put last"


# A reader that hung, was left behind, and goes on.


class Feed:
    """Holds whoever asks how full it is, once."""

    name = "feed"

    def __init__(self) -> None:
        self.asked, self.go_on = threading.Event(), threading.Event()

    def over_capacity(self, feeder: Mailbox) -> bool:
        del feeder
        if not self.asked.is_set():
            self.asked.set()
            assert self.go_on.wait(20)
        return False


def test_a_reader_that_was_left_behind_takes_nothing_from_its_successor() -> None:
    mailbox, feed, got = Mailbox("node", SYSTEM_CLOCK), Feed(), list[Any]()
    hung = Inbox(mailbox, (feed,))
    thread = in_background(lambda: got.append(hung.get().message))
    assert feed.asked.wait(20)
    assert hung.fence()
    mailbox.put("item")
    feed.go_on.set()
    assert finished(thread)
    assert type(got[0]) is not Batch
    successor = Inbox(mailbox)
    assert list(successor.get().message) == ["item"]


class SignallingNodes(SignallingClock):
    """Says when a node is about to sleep."""

    def rest(self, token: threading.Lock, deadline: float | None) -> None:
        self.sleeping.release()
        super().rest(token, deadline)


def test_a_wake_up_that_a_reader_left_behind_has_taken_reaches_its_successor() -> None:
    clock = SignallingNodes()
    mailbox, got = Mailbox("node", clock), list[Any]()
    left_behind, successor = Inbox(mailbox), Inbox(mailbox)
    threads = [in_background(left_behind.get)]
    assert clock.sleeping.acquire(timeout=20)
    left_behind.sealed = True
    threads.append(in_background(lambda: got.append(list(successor.get().message))))
    assert clock.sleeping.acquire(timeout=20)
    mailbox.put("item")
    assert finished(threads[1])
    assert got == [["item"]]
    mailbox.wake()  # which of the two the first wake-up woke is the system's choice
    assert finished(threads[0])
