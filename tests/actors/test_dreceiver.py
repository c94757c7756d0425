"""What one receive brings, many datagrams at a time, and what dreceiver makes of it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from packhorse.actors.dreceiver import MANY, RECEIVES, ROOM, DReceiver, by_kind, kind_of
from packhorse.actors.inbox import Inbox
from packhorse.actors.mailbox import Mailbox
from packhorse.actors.messages import Batch, Readable
from packhorse.actors.node import Station
from packhorse.protocol.header import KINDS, Kind
from packhorse.protocol.lateness import PATIENCE
from packhorse.protocol.messages import Listen, Received
from packhorse.testing import ManualClock

from .helpers import quiet

PEER = ("10.0.0.2", 2)
PACKAGE, CONTROL, INVALID = 0x20, 0x80, 0xFF


def run(size: int, *flags: int, last: int | None = None) -> bytes:
    """Make datagrams of a size with these first bytes; the last may be shorter."""
    datagrams = [bytes([flag]).ljust(size, b"\1") for flag in flags]
    if last is not None:
        datagrams[-1] = datagrams[-1][:last]
    return b"".join(datagrams)


# All at once, and one after the other.


@given(
    st.sampled_from([1, 3, 4, 5, 64, 507, 508, 509, 1000]),
    st.lists(
        st.one_of(st.sampled_from([PACKAGE, PACKAGE, CONTROL, INVALID]), st.integers(0, 255)), min_size=1, max_size=70
    ),
    st.integers(1, 1000),
)
@example(64, [PACKAGE] * 64, 64)
@example(64, [PACKAGE] * 3, 3)
@example(64, [PACKAGE, CONTROL], 7)
@example(509, [PACKAGE, PACKAGE], 508)
@example(509, [PACKAGE], 508)
@example(3, [CONTROL, CONTROL], 2)
@example(1, [CONTROL], 1)
def test_a_whole_buffer_is_what_its_datagrams_are(size: int, flags: list[int], last: int) -> None:
    buffer = run(size, *flags, last=min(last, size))
    plainly = [buffer[start : start + size] for start in range(0, len(buffer), size)]
    parts = by_kind(size, buffer)
    taken = [
        (kind, part[start : start + part_size])
        for kind, part_size, part in parts
        for start in range(0, len(part), part_size)
    ]
    assert taken == [(kind_of(datagram), datagram) for datagram in plainly]
    assert all(one != other for (one, _, _), (other, _, _) in pairwise(parts)), "as few as can be"
    assert all(part_size <= len(part) for _, part_size, part in parts)


def test_every_first_byte_means_the_same_alone_and_among_others() -> None:
    for flags in range(256):
        assert kind_of(run(4, flags)) is KINDS[flags]
        assert [kind for kind, _, _ in by_kind(4, run(4, flags, flags))] == [KINDS[flags]]


@pytest.mark.parametrize(
    ("length", "kind"),
    [(0, Kind.INVALID), (3, Kind.INVALID), (4, Kind.PACKAGE), (508, Kind.PACKAGE), (509, Kind.INVALID)],
)
def test_the_length_counts(length: int, kind: Kind) -> None:
    assert kind_of(bytes(length)) is kind


# The node, run by hand.


class Source:
    """A transport that brings what the test says."""

    def __init__(self) -> None:
        self.overflowed = 0
        self.arrived: list[Any] = []
        self.asked = 0
        self.on_receive: Callable[[], None] = lambda: None

    def receive(self) -> Any:
        self.asked += 1
        self.on_receive()
        return self.arrived.pop(0) if self.arrived else None


class Stopwatch:
    """As much of a clock as a node without a thread needs."""

    time = 0.0

    def now(self) -> float:
        return self.time


class Hand:
    """A dreceiver without a thread."""

    def __init__(self) -> None:
        self.clock = Stopwatch()
        clock: Any = self.clock
        self.source = Source()
        self.outlets = {name: Mailbox(name, ManualClock()) for name in ("ureceiver", "sreceiver")}
        mailbox = Mailbox("dreceiver", ManualClock())
        station = Station[None](
            name="dreceiver",
            mailbox=mailbox,
            state=None,
            feeds=(),
            outlets=self.outlets,
            clock=clock,
            logger=quiet(ManualClock()).tracer(),
        )
        self.counts = station.counters
        self.inbox = Inbox(mailbox)
        transport: Any = self.source
        self.node = DReceiver(station, self.inbox, 0, lambda _: None, transport=transport)

    def read(self, *arrived: Any, slept: bool = False) -> None:
        self.source.arrived += arrived
        self.inbox.slept = slept
        self.node.on_receive(Readable())

    def ask(self, question: Listen) -> None:
        """Let a question wait in the mailbox, and be handled."""
        self.inbox.slept = True
        self.node.on_receive(Batch([question]))

    def asks_itself(self) -> Any:
        """Take what waits in its own mailbox."""
        return self.inbox.mailbox.take()

    def out(self, name: str) -> list[Any]:
        return self.outlets[name].take() or []  # type: ignore[return-value] # there are no envelopes in it


@pytest.fixture
def hand() -> Hand:
    return Hand()


def test_a_run_stays_one_message(hand: Hand) -> None:
    buffer = run(64, *[PACKAGE] * 64, last=20)
    hand.read((PEER, 64, buffer))
    assert hand.out("ureceiver") == [Received(PEER, 64, buffer, 0.0)]
    assert hand.counts["datagrams"] == 64


def test_a_confirmation_behind_packages_splits_off(hand: Hand) -> None:
    buffer = run(64, *[PACKAGE] * 9, CONTROL, last=7)
    hand.read((PEER, 64, buffer))
    assert hand.out("ureceiver") == [Received(PEER, 64, buffer[:-7], 0.0)]
    assert hand.out("sreceiver") == [Received(PEER, 7, buffer[-7:], 0.0)]
    assert hand.counts["datagrams"] == 10


def test_bad_datagrams_of_a_run_are_counted_one_by_one_and_harm_no_other(hand: Hand) -> None:
    buffer = run(64, PACKAGE, INVALID, INVALID, PACKAGE, PACKAGE, last=3)
    hand.read((PEER, 64, buffer))
    assert [one.count for one in hand.out("ureceiver")] == [1, 1]
    assert (hand.counts["datagrams"], hand.counts["dropped"], hand.counts["dropped.invalid"]) == (2, 3, 3)


def test_a_run_from_port_zero_is_dropped_whole(hand: Hand) -> None:
    hand.read((("10.0.0.2", 0), 64, run(64, *[PACKAGE] * 5, CONTROL)))
    assert not hand.out("ureceiver")
    assert not hand.out("sreceiver")
    assert hand.counts["dropped.port_zero"] == 6


def test_room_is_counted_in_packages(hand: Hand) -> None:
    full = [(PEER, 8, run(8, *[PACKAGE] * 64))] * (ROOM // 64)
    for start in range(0, len(full), RECEIVES):
        hand.read(*full[start : start + RECEIVES])
    assert hand.outlets["ureceiver"].weight == ROOM
    hand.read((PEER, 8, run(8, PACKAGE, PACKAGE)), (PEER, 7, run(7, CONTROL)))
    assert hand.counts["dropped.no_room"] == 2
    assert len(hand.outlets["sreceiver"]) == 1
    hand.outlets["ureceiver"].weight_taken += 64
    hand.read((PEER, 8, run(8, PACKAGE, PACKAGE)))
    assert hand.counts["dropped.no_room"] == 2


def test_what_nobody_reads_any_more_takes_no_room(hand: Hand) -> None:
    hand.outlets["ureceiver"].close()
    for _ in range(ROOM // 64 + 1):
        hand.read((PEER, 8, run(8, *[PACKAGE] * 64)))
    assert hand.counts["dropped.no_room"] == 0


def test_after_a_sleep_the_first_one_is_handed_on_at_once(hand: Hand) -> None:
    one = (PEER, 8, run(8, PACKAGE))
    hand.read(one, one, slept=True)
    assert hand.source.asked == 1
    hand.read(slept=False)
    assert hand.source.asked == 3, "without a sleep it is asked for all there is"
    assert len(hand.out("ureceiver")) == 2


def test_one_of_many_is_no_reason_to_hurry(hand: Hand) -> None:
    hand.read((PEER, 8, run(8, *[PACKAGE] * MANY)), (PEER, 8, run(8, PACKAGE)), slept=True)
    assert [one.count for one in hand.out("ureceiver")] == [MANY, 1]


def test_under_load_it_hands_on_now_and_then(hand: Hand) -> None:
    hand.read(*[(PEER, 8, run(8, PACKAGE))] * (RECEIVES + 1))
    assert len(hand.out("ureceiver")) == RECEIVES


def test_left_behind_it_takes_nothing_from_its_successor(hand: Hand) -> None:
    hand.source.on_receive = hand.inbox.seal  # it hangs here until it is left behind
    hand.read(*[(PEER, 5, run(5, PACKAGE))] * 3)
    assert len(hand.source.arrived) == 2


def test_each_is_stamped_when_it_was_received(hand: Hand) -> None:
    """A confirmation must not seem older than a package that was sent while dreceiver read on."""

    def second_passes() -> None:
        hand.clock.time += 1.0

    hand.source.on_receive = second_passes
    hand.read((PEER, 7, run(7, CONTROL)), (PEER, 7, run(7, CONTROL)))
    assert [one.time for one in hand.out("sreceiver")] == [1.0, 2.0]


def test_a_question_is_passed_on_behind_everything_that_has_arrived(hand: Hand) -> None:
    hand.source.arrived += [(PEER, 7, run(7, CONTROL)), (PEER, 8, run(8, PACKAGE)), (PEER, 7, run(7, CONTROL))]
    hand.ask(Listen(0.0))
    assert [type(item) for item in hand.out("sreceiver")] == [Received, Received, Listen]
    assert len(hand.out("ureceiver")) == 1
    hand.ask(Listen(1.0))
    assert hand.out("sreceiver") == [Listen(1.0)]


def test_a_question_waits_while_more_has_arrived_than_is_read_at_once(hand: Hand) -> None:
    hand.source.arrived += [(PEER, 7, run(7, CONTROL))] * (RECEIVES + 1)
    hand.ask(Listen(0.0))
    assert len(hand.out("sreceiver")) == RECEIVES, "without the question"
    assert hand.asks_itself() == [Listen(0.0)]
    hand.ask(Listen(0.0))
    assert [type(item) for item in hand.out("sreceiver")] == [Received, Listen]
    assert hand.asks_itself() is None


def test_a_question_that_counts_as_answered_is_dropped(hand: Hand) -> None:
    hand.source.arrived += [(PEER, 7, run(7, CONTROL))] * RECEIVES
    hand.clock.time = PATIENCE
    hand.ask(Listen(0.0))
    assert len(hand.out("sreceiver")) == RECEIVES
    assert hand.asks_itself() is None


def test_what_the_system_lost_is_published(hand: Hand) -> None:
    hand.source.overflowed = 7
    hand.read((PEER, 8, run(8, PACKAGE)))
    assert hand.counts["overflowed"] == 7
