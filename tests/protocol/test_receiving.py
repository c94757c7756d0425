"""The receiving half, first part: what is new, what is delivered when, what is refused."""

# pyright: reportPrivateUsage=false
# The reason: counters are set near the wrap, tables are counted.
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packhorse.protocol import InPackage, Peers, Reliability
from packhorse.protocol.header import pack_header
from packhorse.protocol.messages import Received, ToConfirm
from packhorse.protocol.receiving import MAX_HOLES, MAX_KEPT, Receiving
from packhorse.protocol.redelivery import MEMORY
from packhorse.protocol.sources import MARGIN

from .helpers import SEMI_ORDERED, UNORDERED, UNRELIABLE, A, B, datagram


class Receiver:
    """A `Receiving` and what it hands out, by number."""

    def __init__(self) -> None:
        self.receiving = Receiving()

    def take(
        self, number: int, reliability: Reliability = UNORDERED, *, time: float = 1.0, source: tuple[str, int] = A
    ) -> list[int]:
        """Take a package whose data is its number; return the numbers delivered."""
        data = number.to_bytes(3, "big")
        sent = datagram(number, data, reliability)
        self.receiving.received(Received(source, len(sent), sent, time))
        delivered = [int.from_bytes(package.data, "big") for package in self.receiving.to_user]
        self.receiving.to_user.clear()
        return delivered

    def confirmed(self) -> list[int]:
        ids = [number for message in self.receiving.to_confirmer for number in message.ids]
        self.receiving.to_confirmer.clear()
        return ids


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


def test_a_package_is_handed_out_as_it_came() -> None:
    receiving = Receiving()
    sent = pack_header(SEMI_ORDERED, Peers.SERVER, 0) + b"data"
    receiving.received(Received(A, len(sent), sent, 7.5))
    assert receiving.to_user == [InPackage(b"data", SEMI_ORDERED, Peers.SERVER, A, 7.5)]
    assert receiving.to_confirmer == [ToConfirm(A, [0], urgent=False, time=7.5)]


def test_an_empty_payload_is_accepted() -> None:
    receiving = Receiving()
    for number, reliability in [(0, UNORDERED), (1, SEMI_ORDERED), (0, UNRELIABLE)]:
        receiving.received(Received(A, 4, datagram(number, b"", reliability), 1.0))
    assert [package.data for package in receiving.to_user] == [b"", b"", b""]
    assert [message.ids for message in receiving.to_confirmer] == [[0, 1]]


def test_a_run_is_taken_apart_and_its_last_datagram_may_be_shorter() -> None:
    receiving = Receiving()
    buffer = datagram(0, b"abc") + datagram(1, b"def") + datagram(2, b"g")
    receiving.received(Received(A, 7, buffer, 1.0))
    assert [package.data for package in receiving.to_user] == [b"abc", b"def", b"g"]
    assert receiving.to_confirmer == [ToConfirm(A, [0, 1, 2], urgent=False, time=1.0)]


def test_unreliable_packages_are_delivered_as_they_come_and_not_confirmed(receiver: Receiver) -> None:
    assert [receiver.take(number, UNRELIABLE) for number in (5, 5, 0xFFFFFF)] == [[5], [5], [0xFFFFFF]]
    assert receiver.confirmed() == []


def test_a_duplicate_is_confirmed_again_and_not_delivered_again(receiver: Receiver) -> None:
    assert [receiver.take(number) for number in (0, 0, 1, 0)] == [[0], [], [1], []]
    assert receiver.confirmed() == [0, 0, 1, 0]
    assert receiver.receiving.duplicates == 2


def test_an_unordered_package_overtakes_and_a_semi_ordered_one_waits_for_what_was_sent_before(
    receiver: Receiver,
) -> None:
    arrivals = [(2, SEMI_ORDERED), (4, UNORDERED), (3, SEMI_ORDERED), (1, UNORDERED), (6, SEMI_ORDERED)]
    assert [receiver.take(*arrival) for arrival in arrivals] == [[], [4], [], [1], []]
    assert receiver.receiving.kept == 3
    assert receiver.take(0) == [0, 2, 3]
    assert receiver.take(5) == [5, 6]
    assert receiver.receiving.kept == 0
    assert receiver.confirmed() == [2, 4, 3, 1, 6, 0, 5]


def test_a_kept_package_that_comes_again_is_a_duplicate(receiver: Receiver) -> None:
    assert [receiver.take(1, SEMI_ORDERED), receiver.take(1, SEMI_ORDERED), receiver.take(0)] == [[], [], [0, 1]]
    assert receiver.confirmed() == [1, 1, 0]


def test_kept_packages_come_out_in_the_order_they_were_sent(receiver: Receiver) -> None:
    for number in (5, 2, 4, 1, 3):
        assert receiver.take(number, SEMI_ORDERED) == []
    assert receiver.take(0, SEMI_ORDERED) == [0, 1, 2, 3, 4, 5]


def test_sources_have_nothing_to_do_with_each_other(receiver: Receiver) -> None:
    assert receiver.take(1, SEMI_ORDERED, source=A) == []
    assert receiver.take(0, source=B) == [0]
    assert receiver.take(0, source=A) == [0, 1]


def test_the_first_id_of_a_source_may_skip_1024_but_not_more(receiver: Receiver) -> None:
    assert receiver.take(1025) == []
    assert receiver.confirmed() == []
    assert receiver.receiving.refused == 1
    assert [receiver.take(number) for number in (1024, 1025, 0, 1026)] == [[1024], [1025], [0], [1026]]
    assert receiver.confirmed() == [1024, 1025, 0, 1026]


@pytest.mark.parametrize("first", [0xFFFFFF, 0x800000, 0x800001, 0x7FFFFF])
def test_the_first_id_of_a_source_is_judged_against_zero(receiver: Receiver, first: int) -> None:
    assert receiver.take(first) == []
    assert receiver.confirmed() == []
    assert receiver.take(0) == [0]


def test_holes_are_counted_all_together(receiver: Receiver) -> None:
    assert receiver.take(600) == [600]
    assert receiver.take(600 + 425 + 1) == [], "1025 holes"
    assert receiver.take(600 + 424 + 1) == [1025], "1024 holes"
    assert receiver.take(1027) == []
    assert receiver.take(3) == [3]
    assert receiver.take(1027) == [1027]
    assert receiver.confirmed() == [600, 1025, 3, 1027]


def test_what_was_refused_is_new_when_it_comes_again(receiver: Receiver) -> None:
    assert receiver.take(MAX_HOLES + 1, SEMI_ORDERED) == []
    for number in range(MAX_HOLES + 1):
        assert receiver.take(number) == [number]
    assert receiver.take(MAX_HOLES + 1, SEMI_ORDERED) == [MAX_HOLES + 1]
    assert receiver.receiving.duplicates == 0


def test_only_so_many_packages_are_kept_and_further_ones_are_refused(receiver: Receiver) -> None:
    for number in range(1, MAX_KEPT + 1):
        assert receiver.take(number, SEMI_ORDERED) == []
    receiver.confirmed()
    assert receiver.take(MAX_KEPT + 1, SEMI_ORDERED) == []
    assert receiver.confirmed() == []
    assert receiver.receiving.refused == 1
    assert receiver.take(MAX_KEPT + 2, UNORDERED) == [MAX_KEPT + 2], "unordered ones need not be kept"
    assert receiver.take(0) == list(range(MAX_KEPT + 1))
    assert receiver.take(MAX_KEPT + 1, SEMI_ORDERED) == [MAX_KEPT + 1]


def _run_up_to(receiver: Receiver, number: int) -> None:
    """Make `number` the next one that A's packages are expected to have."""
    receiver.take(0)
    receiver.receiving._sources[A].next = number
    receiver.confirmed()


def test_ids_wrap(receiver: Receiver) -> None:
    _run_up_to(receiver, 0xFFFFFE)
    assert [receiver.take(number) for number in (0xFFFFFE, 0xFFFFFF, 0, 1, 0xFFFFFF)] == [
        [0xFFFFFE],
        [0xFFFFFF],
        [0],
        [1],
        [],
    ]
    assert receiver.confirmed() == [0xFFFFFE, 0xFFFFFF, 0, 1, 0xFFFFFF]


def test_a_lost_last_id_before_the_wrap_holds_back_what_was_sent_after_it(receiver: Receiver) -> None:
    _run_up_to(receiver, 0xFFFFFF)
    assert receiver.take(0, SEMI_ORDERED) == [], "the original counts one short and delivers it"
    assert receiver.take(1, UNORDERED) == [1]
    assert receiver.take(2, SEMI_ORDERED) == []
    assert receiver.take(0xFFFFFF, UNORDERED) == [0xFFFFFF, 0, 2]


def test_the_1024_rule_counts_across_the_wrap(receiver: Receiver) -> None:
    _run_up_to(receiver, 0xFFFFFF)
    assert receiver.take(1024) == []
    assert receiver.take(1023) == [1023]
    assert receiver.receiving.refused == 1


def _urgent(receiver: Receiver) -> list[tuple[list[int], bool]]:
    return [(message.ids, message.urgent) for message in receiver.receiving.to_confirmer]


def test_what_came_doubled_or_out_of_order_is_urgent(receiver: Receiver) -> None:
    for number in (0, 1, 3, 2, 4, 4, 5):
        receiver.take(number)
    assert _urgent(receiver) == [([0, 1], False), ([3, 2], True), ([4], False), ([4], True), ([5], False)]


def test_ids_of_one_run_carry_the_time_of_the_oldest() -> None:
    receiver = Receiver()
    receiver.take(0, time=1.0)
    receiver.take(1, time=2.0)
    receiver.take(0, time=3.0, source=B)
    assert receiver.receiving.to_confirmer == [
        ToConfirm(A, [0, 1], urgent=False, time=1.0),
        ToConfirm(B, [0], urgent=False, time=3.0),
    ]


def test_forgetting_a_source_drops_what_is_kept_and_starts_at_zero(receiver: Receiver) -> None:
    receiver.take(0)
    receiver.take(2, SEMI_ORDERED)
    receiver.receiving.forget(A)
    receiver.receiving.forget(B)
    assert receiver.receiving.kept == 0
    assert receiver.take(0) == [0]
    assert receiver.take(1, SEMI_ORDERED) == [1]
    assert receiver.take(2) == [2]


# Forgetting after long silence: the sender forgets after MEMORY, we after MEMORY + MARGIN.


def _sources(receiver: Receiver) -> int:
    return len(receiver.receiving._sources)


def test_a_silent_source_is_forgotten_at_the_end_of_the_margin(receiver: Receiver) -> None:
    receiver.take(0, time=100.0)
    assert receiver.receiving.deadline() == 100.0 + MEMORY + MARGIN
    receiver.receiving.tick(100.0 + MEMORY + MARGIN - 0.001)
    assert _sources(receiver) == 1
    receiver.receiving.tick(100.0 + MEMORY + MARGIN)
    assert _sources(receiver) == 0
    assert receiver.receiving.deadline() is None


def test_a_source_that_was_heard_again_is_looked_at_exactly_when_it_may_be_forgotten(receiver: Receiver) -> None:
    receiver.take(0, time=100.0)
    receiver.take(1, time=400.0)
    receiver.receiving.tick(100.0 + MEMORY + MARGIN)
    assert receiver.receiving.deadline() == 400.0 + MEMORY + MARGIN
    receiver.receiving.tick(400.0 + MEMORY + MARGIN)
    assert _sources(receiver) == 0


def test_a_source_is_never_forgotten_while_something_of_it_is_kept(receiver: Receiver) -> None:
    receiver.take(1, SEMI_ORDERED, time=0.0)
    for time in (660.0, 1320.0, 5000.0):
        receiver.receiving.tick(time)
    assert receiver.take(0, time=5001.0) == [0, 1]
    receiver.receiving.tick(6000.0)
    assert _sources(receiver) == 0


def test_unreliable_packages_make_no_source() -> None:
    receiver = Receiver()
    receiver.take(0, UNRELIABLE)
    assert _sources(receiver) == 0
    assert receiver.receiving.deadline() is None


@pytest.mark.parametrize("silence", [MEMORY, MEMORY + 30, MEMORY + MARGIN + 100])
def test_within_the_margin_what_would_be_a_duplicate_begins_a_new_numbering(receiver: Receiver, silence: float) -> None:
    for number in range(3):
        receiver.take(number, time=0.0)
    assert receiver.take(0, time=silence) == [0]
    assert receiver.take(2, SEMI_ORDERED, time=silence) == []
    assert receiver.take(1, time=silence) == [1, 2]


def test_within_the_margin_what_would_be_refused_begins_a_new_numbering(receiver: Receiver) -> None:
    receiver.take(0, time=0.0)
    receiver.receiving._sources[A].next = 0x900000  # ids near 0 are nearer ahead of it than behind
    assert receiver.take(1, time=MEMORY - 1) == []
    assert receiver.receiving.refused == 1
    receiver.receiving._sources[A].heard = 0.0
    assert receiver.take(1, time=MEMORY) == [1]
    assert receiver.take(0, SEMI_ORDERED, time=MEMORY) == [0]


def test_within_the_margin_what_continues_is_taken_as_going_on(receiver: Receiver) -> None:
    for number in range(3):
        receiver.take(number, time=0.0)
    assert receiver.take(3, SEMI_ORDERED, time=MEMORY + 1) == [3]


def test_before_the_margin_a_duplicate_is_a_duplicate(receiver: Receiver) -> None:
    receiver.take(0, time=0.0)
    assert receiver.take(0, time=MEMORY - 0.001) == []


def test_a_hole_that_fills_after_long_silence_is_new(receiver: Receiver) -> None:
    receiver.take(1, SEMI_ORDERED, time=0.0)
    assert receiver.take(0, time=MEMORY + 10) == [0, 1]


@given(
    st.lists(st.sampled_from([UNORDERED, SEMI_ORDERED]), min_size=1, max_size=40),
    st.integers(0xFFFFD0, 0xFFFFFF),
    st.data(),
)
def test_whatever_the_order_and_however_often_packages_come_each_is_delivered_once_and_in_its_place(
    kinds: list[Reliability], start: int, data: st.DataObject
) -> None:
    receiver = Receiver()
    _run_up_to(receiver, start)
    arrivals = data.draw(st.lists(st.integers(0, len(kinds) - 1), max_size=60)) + data.draw(
        st.permutations(range(len(kinds)))
    )
    delivered: list[int] = []
    for index in arrivals:
        came = receiver.take((start + index) & 0xFFFFFF, kinds[index])
        delivered += [(number - start) & 0xFFFFFF for number in came]
    assert sorted(delivered) == list(range(len(kinds)))
    for position, index in enumerate(delivered):
        if kinds[index] is SEMI_ORDERED:
            assert set(range(index)) <= set(delivered[:position])
    assert receiver.confirmed() == [(start + index) & 0xFFFFFF for index in arrivals]
    assert receiver.receiving.kept == 0
