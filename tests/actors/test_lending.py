"""Soft puts, and batches that are handled by the thread that put them while the node's own sleeps."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import pytest

from packhorse.actors.inbox import Inbox
from packhorse.actors.mailbox import Mailbox
from packhorse.actors.messages import Batch, Crashed, Death
from packhorse.actors.node import Node, Station
from packhorse.testing import ManualClock

from .helpers import finished, in_background, quiet

NAP = 0.01


class Reader:
    """Reads a mailbox in a thread of its own until it is told to stop, and notes what it gets and when."""

    def __init__(self, clock: ManualClock, *, nap: float = NAP) -> None:
        self.clock = clock
        self.mailbox = Mailbox("node", clock, nap=nap)
        self.got: list[tuple[float, Any]] = []
        self._thread = in_background(self._read)
        clock.settle()

    def _read(self) -> None:
        inbox = Inbox(self.mailbox)
        while not self.mailbox.aborted:
            message = inbox.get().message
            if type(message) is Batch:
                self.got.append((self.clock.now(), list(message)))
                inbox.batch_done()
        self.mailbox.close()

    def close(self) -> None:
        self.mailbox.abort()
        assert finished(self._thread)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(0.0)


@pytest.fixture
def reader(clock: ManualClock) -> Iterator[Reader]:
    reader = Reader(clock)
    yield reader
    reader.close()


def test_a_soft_put_wakes_a_reader_that_would_sleep_too_long(clock: ManualClock, reader: Reader) -> None:
    clock.advance(NAP)
    reader.mailbox.put_softly([1])
    reader.mailbox.wake_by(5.0)
    clock.settle()
    assert reader.got == [(NAP, [1])]


def test_a_reader_that_naps_is_not_woken_by_soft_puts_and_finds_them_after_its_nap(
    clock: ManualClock, reader: Reader
) -> None:
    reader.mailbox.put_all(["hard"])
    clock.settle()
    for number in range(3):
        reader.mailbox.put_softly([number])
        reader.mailbox.wake_by(clock.now() + 2 * NAP)
    clock.settle()
    assert reader.got == [(0.0, ["hard"])]
    clock.advance(NAP)
    assert reader.got[1:] == [(NAP, [0, 1, 2])]


def test_a_soft_put_that_is_needed_sooner_than_the_nap_ends_wakes_the_reader(
    clock: ManualClock, reader: Reader
) -> None:
    reader.mailbox.put_all(["hard"])
    clock.settle()
    reader.mailbox.put_softly([1])
    reader.mailbox.wake_by(clock.now() + NAP / 2)
    clock.settle()
    assert reader.got[1:] == [(0.0, [1])]


def test_an_idle_reader_naps_once_and_then_sleeps_for_good(clock: ManualClock, reader: Reader) -> None:
    reader.mailbox.put_all(["hard"])
    clock.advance(NAP)
    reader.mailbox.put_softly([1])
    clock.advance(100.0)
    assert reader.got == [(0.0, ["hard"])], "nobody said by when"
    reader.mailbox.wake_by(clock.now() + 1.0)
    clock.settle()
    assert reader.got[1:] == [(100.0 + NAP, [1])]


def test_soft_puts_that_are_too_many_hold_nobody_back_until_the_reader_looks_by_itself(
    clock: ManualClock, reader: Reader
) -> None:
    clock.advance(NAP)
    feeder = Mailbox("feeder", ManualClock())
    reader.mailbox.put_softly(range(reader.mailbox.capacity + 1))
    assert reader.got == []
    reader.mailbox.over_capacity(feeder)
    clock.settle()
    assert [len(batch) for _, batch in reader.got] == [reader.mailbox.capacity + 1]
    feeder.close()


class Worker(Node[None]):
    """Notes which thread handles what, and does what the test says over an item."""

    handlers: ClassVar[Mapping[type, str]] = {int: "_handle_int"}

    def __init__(self, station: Station[None], inbox: Inbox, generation: int, report: Callable[[Death], None]) -> None:
        super().__init__(station, inbox, generation, report)
        self.handled: list[tuple[int, threading.Thread]] = []
        self.broken: set[int] = set()
        self.entered = threading.Event()
        self.go_on = threading.Event()

    def _handle_int(self, item: int, now: float) -> None:
        del now
        if item in self.broken:
            raise SystemExit(item)
        if item < 0:
            self.entered.set()
            assert self.go_on.wait(20)
        self.handled.append((item, threading.current_thread()))


class Place:
    """A started `Worker` whose mailbox lends it."""

    def __init__(self, clock: ManualClock, *, lends: bool = True) -> None:
        self.clock = clock
        self.mailbox = Mailbox("node", clock, lends=lends)
        self.deaths: list[Death] = []
        station: Station[None] = Station(
            name="node",
            mailbox=self.mailbox,
            state=None,
            feeds=(),
            outlets={},
            clock=clock,
            logger=quiet(clock).tracer(),
        )
        self.ref = Worker.start(station, Inbox(self.mailbox), 0, self._report)
        self.worker: Any = station.incarnation
        clock.settle()

    def put(self, items: list[int]) -> None:
        self.mailbox.put_softly(items)
        self.mailbox.handle_here()

    def threads(self, *items: int) -> list[threading.Thread]:
        """In which threads these items were handled."""
        handled = dict(self.worker.handled)
        return [handled[item] for item in items]

    def close(self) -> None:
        if not self.deaths:
            self.mailbox.stop()
        assert finished(self.worker.thread)

    def _report(self, death: Death) -> None:
        self.deaths.append(death)
        self.mailbox.close()


@pytest.fixture
def place(clock: ManualClock) -> Iterator[Place]:
    place = Place(clock)
    yield place
    place.close()


def test_whoever_puts_handles_the_batch_while_the_node_sleeps(place: Place) -> None:
    place.put([1, 2])
    assert place.threads(1, 2) == [threading.current_thread()] * 2


def test_a_mailbox_that_does_not_lend_has_everything_handled_by_its_own_node(clock: ManualClock) -> None:
    place = Place(clock, lends=False)
    place.put([1])
    clock.settle()
    assert place.threads(1) == [place.worker.thread]
    place.close()


def test_what_comes_while_somebody_handles_a_batch_is_left_to_the_node(place: Place, clock: ManualClock) -> None:
    other = in_background(lambda: place.put([-1]))
    assert place.worker.entered.wait(20)
    place.put([2])
    assert 2 not in dict(place.worker.handled), "two threads in one node"
    place.worker.go_on.set()
    assert finished(other)
    clock.settle()
    assert [item for item, _ in place.worker.handled] == [-1, 2]
    assert place.threads(-1, 2) == [other, place.worker.thread]


def test_an_ask_is_answered_by_the_nodes_own_thread_and_in_its_place(place: Place, clock: ManualClock) -> None:
    handled = place.ref.proxy().handled
    place.put([1])
    assert [item for item, _ in handled.get(timeout=20)] in ([], [1])
    clock.settle()
    assert [item for item, _ in place.worker.handled] == [1]


def test_a_crash_in_another_thread_is_the_nodes_own_and_spares_that_thread(place: Place) -> None:
    place.worker.broken.add(2)
    place.put([1, 2, 3])  # SystemExit stays out of this thread
    assert finished(place.worker.thread)
    (death,) = place.deaths
    assert (death.phase, death.poisoned, type(death.cause)) == ("run", 2, SystemExit)
    assert [item for item, _ in place.worker.handled] == [1]
    assert list(place.mailbox.waiting()) == [3]


def test_a_crash_gives_the_rest_of_the_batch_back_to_the_next_incarnation(clock: ManualClock) -> None:
    mailbox = Mailbox("node", clock, lends=True)
    inbox = Inbox(mailbox)
    asleep = threading.Event()

    def handle(batch: Batch) -> None:
        for item in batch:
            assert item != 2

    def read() -> None:
        asleep.set()
        message = inbox.get().message
        assert type(message) is Crashed
        assert isinstance(message.error, AssertionError)
        inbox.seal()
        clock.left()

    inbox.handler = handle
    thread = in_background(read)
    assert asleep.wait(20)
    clock.settle()
    mailbox.put_softly([1, 2, 3])
    mailbox.handle_here()
    assert finished(thread)
    assert inbox.poisoned == 2
    assert mailbox.waiting() == [3]


def test_a_stop_is_not_overtaken_by_lent_work(place: Place, clock: ManualClock) -> None:
    place.mailbox.stop()
    place.put([1])
    clock.settle()
    assert finished(place.worker.thread)
    assert [death.cause for death in place.deaths] == [None]


@pytest.mark.parametrize("writers", [2, 4])
def test_many_writers_lose_nothing_and_keep_their_order(writers: int) -> None:
    place = Place(ManualClock(0.0))

    def write(writer: int) -> None:
        for number in range(1000):
            place.put([writer * 10_000 + number])

    threads = [in_background(lambda writer=writer: write(writer)) for writer in range(writers)]  # type: ignore[misc] # bound early
    assert all(finished(thread) for thread in threads)
    place.clock.settle()
    items = [item for item, _ in place.worker.handled]
    for writer in range(writers):
        assert [item % 10_000 for item in items if item // 10_000 == writer] == list(range(1000))
    place.close()
