"""Subscribers: real Pykka actors that are told everything, and that may die at any moment."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pykka
import pytest
from pykka.messages import ProxyCall

from packhorse import Closed, InPackage, Peers, Reliability, Timeout
from packhorse.actors.clock import SYSTEM_CLOCK
from packhorse.actors.ends import CAPACITY, ErrorEnd, PackageEnd
from packhorse.actors.mailbox import Mailbox
from packhorse.actors.subscription import UNHANDLED
from packhorse.protocol.errors import FailureReason, PeerFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def package(number: int) -> InPackage:
    return InPackage(b"%d" % number, Reliability.UNORDERED, Peers.PLAYERS, ("10.0.0.1", 1), 0.0)


def packages(count: int, first: int = 0) -> list[InPackage]:
    return [package(number) for number in range(first, first + count)]


def numbers(items: list[InPackage]) -> list[int]:
    return [int(item.data) for item in items]


class Subscriber(pykka.ThreadingActor):
    """Notes what it handles; dies over the package with the fatal number."""

    def __init__(self, fatal: int | None = None) -> None:
        super().__init__()
        self.fatal = fatal
        self.handled: list[InPackage] = []
        self.failures: list[Any] = []
        self.enough = threading.Event()
        self.enough_is = 0
        self.ended = threading.Event()

    def _actor_loop(self) -> None:
        super()._actor_loop()
        self.ended.set()

    def on_receive(self, message: Any) -> None:
        assert isinstance(message, InPackage)
        self.handled.append(message)
        if int(message.data) == self.fatal:
            raise RuntimeError("the subscriber's own fault")
        if len(self.handled) == self.enough_is:
            self.enough.set()

    def on_failure(self, exception_type: Any, exception_value: Any, traceback: Any) -> None:
        del exception_value, traceback
        self.failures.append(exception_type)

    def hold(self, entered: threading.Event, go_on: threading.Event) -> None:
        entered.set()
        go_on.wait(20)


class Started:
    """A subscriber together with its ref."""

    def __init__(self, fatal: int | None = None, enough: int = 0) -> None:
        self.ref = Subscriber.start(fatal)
        actor = self.ref._actor_weakref()
        assert actor is not None
        self.actor = actor
        self.actor.enough_is = enough

    def block(self) -> Callable[[], None]:
        """Let the subscriber hang in a handler; returns what lets it go on."""
        entered, go_on = threading.Event(), threading.Event()
        self.ref.tell(ProxyCall(attr_path=("hold",), args=(entered, go_on), kwargs={}))
        assert entered.wait(20)
        return go_on.set

    def handled(self) -> list[int]:
        return numbers(self.actor.handled)

    def stop(self) -> None:
        self.ref.stop()
        assert self.actor.ended.wait(20)


@pytest.fixture
def end() -> Iterator[PackageEnd]:
    end = PackageEnd(SYSTEM_CLOCK)
    yield end
    end.close()


def received(end: PackageEnd, count: int) -> list[int]:
    """Take `count` packages that wait or will wait because a subscriber died."""
    got: list[InPackage] = []
    while len(got) < count:
        got += end.recv_many(count - len(got), 20)
    with pytest.raises(Timeout):
        end.recv(0)
    return numbers(got)


def test_everything_is_told_in_order_what_waits_already_first(end: PackageEnd) -> None:
    subscriber = Started(enough=3000)
    end.put_all(packages(1000))
    end.subscribe(subscriber.ref)
    for start in range(1000, 3000, 10):
        end.put_all(packages(10, start))
    assert subscriber.actor.enough.wait(20)
    assert subscriber.handled() == list(range(3000))
    subscriber.stop()


def test_at_most_so_many_are_unhandled_in_the_inbox(end: PackageEnd) -> None:
    subscriber = Started(enough=3000)
    go_on = subscriber.block()
    end.subscribe(subscriber.ref)
    end.put_all(packages(3000))
    inbox: Any = subscriber.ref.actor_inbox
    told = [envelope for envelope in inbox.queue if envelope.reply_to is None]
    assert len(told) == UNHANDLED == 1024
    feeder = Mailbox("ureceiver", SYSTEM_CLOCK)
    assert 3000 - UNHANDLED > CAPACITY
    assert end.over_capacity(feeder)
    go_on()
    assert subscriber.actor.enough.wait(20)
    assert subscriber.handled() == list(range(3000))
    assert not end.over_capacity(feeder)
    subscriber.stop()


def test_a_subscribers_own_messages_keep_their_places(end: PackageEnd) -> None:
    subscriber = Started()
    end.subscribe(subscriber.ref)
    end.put_all(packages(10))
    assert len(subscriber.ref.proxy().handled.get()) == 10
    subscriber.stop()


def test_a_subscriber_that_raises_dies_as_always_and_the_rest_waits_for_recv(end: PackageEnd) -> None:
    subscriber = Started(fatal=4)
    go_on = subscriber.block()
    end.subscribe(subscriber.ref)
    end.put_all(packages(10))
    go_on()
    assert received(end, 5) == [5, 6, 7, 8, 9]
    assert subscriber.actor.ended.wait(20)
    assert subscriber.handled() == [0, 1, 2, 3, 4]
    assert subscriber.actor.failures == [RuntimeError]
    end.put_all(packages(1))
    assert received(end, 1) == [0], "nobody is told any more"


def test_a_subscriber_stopped_in_the_middle_leaves_the_rest(end: PackageEnd) -> None:
    subscriber = Started()
    go_on = subscriber.block()
    end.subscribe(subscriber.ref)
    end.put_all(packages(5))
    stopping = subscriber.ref.stop(block=False)
    end.put_all(packages(5, 5))
    go_on()
    assert stopping.get(timeout=20) is True
    assert received(end, 5) == [5, 6, 7, 8, 9]
    assert subscriber.handled() == [0, 1, 2, 3, 4]
    assert subscriber.actor.ended.wait(20)


def test_one_that_waits_in_recv_is_woken_when_the_subscriber_dies(end: PackageEnd) -> None:
    subscriber = Started(fatal=0)
    go_on = subscriber.block()
    end.subscribe(subscriber.ref)
    end.put_all(packages(3))
    got: list[InPackage] = []
    thread = threading.Thread(target=lambda: got.append(end.recv(20)))
    thread.start()
    go_on()
    thread.join(20)
    assert numbers(got) == [1]
    assert subscriber.actor.ended.wait(20)


def test_a_dead_subscriber_gets_nothing(end: PackageEnd) -> None:
    subscriber = Started()
    subscriber.stop()
    end.put_all(packages(3))
    end.subscribe(subscriber.ref)
    assert received(end, 3) == [0, 1, 2]
    end.put_all(packages(1))
    assert received(end, 1) == [0], "nobody is told any more"


def test_a_subscriber_that_died_idle_leaves_what_comes_afterwards(end: PackageEnd) -> None:
    subscriber = Started(enough=1)
    end.subscribe(subscriber.ref)
    end.put_all(packages(1))
    assert subscriber.actor.enough.wait(20)
    subscriber.stop()
    end.put_all(packages(2, 1))
    assert received(end, 2) == [1, 2]


def test_a_new_subscriber_replaces_the_old_one(end: PackageEnd) -> None:
    old, new = Started(enough=2), Started(enough=2)
    end.subscribe(old.ref)
    end.put_all(packages(2))
    end.subscribe(new.ref)
    end.put_all(packages(2, 2))
    assert old.actor.enough.wait(20)
    assert new.actor.enough.wait(20)
    old.stop()
    end.put_all(packages(1, 4))
    new.stop()
    assert (old.handled(), new.handled()) == ([0, 1], [2, 3, 4])


def test_what_a_replaced_subscriber_leaves_is_told_to_its_successor(end: PackageEnd) -> None:
    old, new = Started(fatal=1), Started(enough=2)
    go_on = old.block()
    end.subscribe(old.ref)
    end.put_all(packages(4))
    end.subscribe(new.ref)
    go_on()
    assert new.actor.enough.wait(20)
    assert (old.handled(), new.handled()) == ([0, 1], [2, 3])
    assert old.actor.ended.wait(20)
    new.stop()


def test_after_unsubscribing_packages_wait_for_recv(end: PackageEnd) -> None:
    subscriber = Started()
    end.subscribe(subscriber.ref)
    end.unsubscribe()
    end.put_all(packages(2))
    assert received(end, 2) == [0, 1]
    subscriber.stop()


def test_a_closed_end_takes_no_subscriber(end: PackageEnd) -> None:
    subscriber = Started()
    end.close()
    with pytest.raises(Closed):
        end.subscribe(subscriber.ref)
    subscriber.stop()


def test_what_waits_is_still_told_after_the_stack_has_ended(end: PackageEnd) -> None:
    subscriber = Started(enough=UNHANDLED + 500)
    go_on = subscriber.block()
    end.subscribe(subscriber.ref)
    end.put_all(packages(UNHANDLED + 500))
    end.end()
    go_on()
    assert subscriber.actor.enough.wait(20)
    assert subscriber.handled() == list(range(UNHANDLED + 500))
    subscriber.stop()


def test_failures_can_be_subscribed_too() -> None:
    got: list[PeerFailed] = []
    told = threading.Event()

    class Listener(pykka.ThreadingActor):
        def on_receive(self, message: Any) -> None:
            got.append(message)
            told.set()

    errors = ErrorEnd(SYSTEM_CLOCK)
    ref = Listener.start()
    errors.subscribe(ref)
    failure = PeerFailed(("10.0.0.1", 1), FailureReason.SILENT)
    errors.put(failure)
    assert told.wait(20)
    assert got[0].target == failure.target
    thread_before = threading.enumerate()
    ref.stop()
    for thread in thread_before:
        if thread.name.startswith("Listener"):
            thread.join(20)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("way_to_die", ["raise", "stop"])
def test_nothing_is_lost_or_doubled_when_a_subscriber_dies_while_it_is_told(end: PackageEnd, way_to_die: str) -> None:
    rounds, each = 150, 40
    begun: list[int] = []
    taken: list[int] = []
    for number in range(rounds):
        first = number * each
        subscriber = Started(fatal=first + number % each if way_to_die == "raise" else None)
        end.subscribe(subscriber.ref)

        def feed(first: int = first) -> None:
            for start in range(first, first + each, 2):
                end.put_all(packages(2, start))

        feeder = threading.Thread(target=feed)
        feeder.start()
        if way_to_die == "stop":
            subscriber.ref.stop(block=False)
        feeder.join(20)
        assert subscriber.actor.ended.wait(20)
        begun += subscriber.handled()
        rest = numbers(end.drain())
        assert rest == sorted(rest)
        taken += rest
    while len(begun) + len(taken) < rounds * each:
        taken.append(int(end.recv(20).data))
    assert sorted(begun + taken) == list(range(rounds * each))


@pytest.mark.usefixtures("hasty")
def test_nothing_is_lost_or_doubled_along_a_line_of_short_lived_subscribers(end: PackageEnd) -> None:
    """Each subscriber dies over a package or is replaced while packages keep coming."""
    total = 6000
    begun: list[int] = []

    def feed() -> None:
        for start in range(0, total, 3):
            end.put_all(packages(3, start))

    feeder = threading.Thread(target=feed)
    feeder.start()
    subscribers = [Started(fatal=number) for number in range(0, total, 200)]
    for subscriber in subscribers:
        end.subscribe(subscriber.ref)
    feeder.join(20)
    for subscriber in subscribers:
        subscriber.stop()
        begun += subscriber.handled()
    while len(begun) < total:
        begun += numbers(end.recv_many(total, 20))
    assert sorted(begun) == list(range(total))
