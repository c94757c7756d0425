"""Forged sources: how many peers are known, who goes for a new one, and who never does."""

# pyright: reportPrivateUsage=false
# The reason: it looks into the tables to see that they stay small.
from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packhorse.protocol import ConfirmPolicy, Reliability
from packhorse.protocol.confirmations import Confirmations
from packhorse.protocol.messages import Received, ToConfirm
from packhorse.protocol.receiving import MAX_HOLES, Receiving
from packhorse.protocol.redelivery import MEMORY
from packhorse.protocol.sources import MARGIN, TOO_OLD

from .helpers import SEMI_ORDERED, UNORDERED, datagram

FORGET = MEMORY + MARGIN


def peer(number: int) -> tuple[str, int]:
    return f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 5


class Host:
    """A `Receiving` with room for few peers."""

    def __init__(self, max_peers: int) -> None:
        self.receiving = Receiving(max_peers=max_peers)

    def take(self, source: int, number: int, time: float, reliability: Reliability = UNORDERED) -> int:
        """Take a package; return how many were delivered, after seeing that as many or more were confirmed."""
        self.receiving.tick(time)
        one = datagram(number, b"x", reliability)
        self.receiving.received(Received(peer(source), len(one), one, time))
        delivered = len(self.receiving.to_user)
        assert delivered == 0 or self.receiving.to_confirmer
        self.receiving.to_user.clear()
        return delivered

    def confirms(self) -> bool:
        """Tell whether anything was to be confirmed since the last time."""
        some = bool(self.receiving.to_confirmer)
        self.receiving.to_confirmer.clear()
        return some

    @property
    def known(self) -> set[int]:
        return {number for number in range(1000) if peer(number) in self.receiving._sources}


def test_a_stranger_takes_the_place_of_the_peer_that_was_idle_longest() -> None:
    host = Host(3)
    for source in (1, 2, 3):
        host.take(source, 0, float(source))
    host.take(1, 1, 10.0)  # so 2 was idle longest
    assert host.take(4, 0, 200.0) == 1
    assert host.known == {1, 3, 4}
    assert host.take(5, 0, 200.0) == 1
    assert host.known == {1, 4, 5}
    assert (host.receiving.evicted, host.receiving.turned_away) == (2, 0)


def test_a_peer_that_comes_back_from_idleness_is_idle_no_more() -> None:
    host = Host(3)
    for source in (1, 2, 3):
        host.take(source, 0, float(source))
    host.receiving.tick(300.0)
    host.take(1, 1, 300.0)
    host.take(2, 1, 301.0)
    assert [host.take(source, 0, 302.0) for source in (4, 5)] == [1, 0]
    assert host.known == {1, 2, 4}
    assert host.take(5, 0, 300.0 + TOO_OLD) == 1
    assert host.known == {2, 4, 5}


@pytest.mark.parametrize(
    ("packages", "safe_for"),
    [
        ([(0, UNORDERED)], TOO_OLD),
        ([(0, UNORDERED), (0, UNORDERED)], TOO_OLD),
        ([(1, UNORDERED)], FORGET),
        ([(1, SEMI_ORDERED)], FORGET),
        ([(1, SEMI_ORDERED), (0, UNORDERED)], TOO_OLD),
    ],
    ids=["recent", "duplicate", "hole", "kept", "filled"],
)
def test_a_stranger_never_takes_the_place_of_a_peer_with_something_under_way(
    packages: list[tuple[int, Reliability]], safe_for: float
) -> None:
    host = Host(1)
    for number, reliability in packages:
        host.take(1, number, 100.0, reliability)
    host.confirms()
    for time in (100.0, 100.0 + safe_for / 2, 100.0 + safe_for - 0.1):
        assert host.take(2, 0, time) == 0
        assert not host.confirms(), "its sender is to try again"
        assert host.known == {1}
    assert (host.receiving.evicted, host.receiving.turned_away) == (0, 3)
    assert host.take(2, 0, 100.0 + safe_for) == 1
    assert host.known == {2}
    assert (host.receiving.kept, host.receiving.holes) == (0, 0)


def test_peers_with_traffic_go_on_while_strangers_flood() -> None:
    host = Host(10)
    delivered = dict.fromkeys(range(5), 0)
    for second in range(400):
        for source in delivered:
            delivered[source] += host.take(source, second, float(second), SEMI_ORDERED)
        for forged in range(20):
            host.take(100 + second * 20 + forged, 0, float(second))
    assert set(delivered.values()) == {400}
    assert host.receiving.evicted == 5 * 3, "strangers push out one another, once they are idle"


def test_a_peer_that_was_pushed_out_is_a_stranger_like_any_other() -> None:
    host = Host(1)
    host.take(1, 0, 0.0)
    host.take(2, 0, TOO_OLD)
    assert host.take(1, 1, TOO_OLD + 1) == 0
    assert host.take(1, 0, 2 * TOO_OLD) == 1
    assert host.receiving.evicted == 2


def test_of_a_stranger_whose_first_package_is_refused_nothing_is_remembered() -> None:
    host = Host(1)
    assert host.take(1, MAX_HOLES + 1, 0.0) == 0
    assert host.known == set()
    assert host.receiving.deadline() is None
    assert host.take(2, MAX_HOLES, 0.0) == 1


def test_idle_peers_are_still_forgotten_by_the_time() -> None:
    host = Host(10)
    for source in range(5):
        host.take(source, 0, float(source))
    host.take(0, 1, 100.0)
    host.receiving.tick(4.0 + FORGET)
    assert host.known == {0}
    assert host.receiving.deadline() == 100.0 + FORGET
    host.receiving.tick(100.0 + FORGET)
    assert (host.known, host.receiving.deadline(), host.receiving.evicted) == (set(), None, 0)


def test_what_is_made_anew_has_its_place_and_its_time() -> None:
    host = Host(2)
    host.take(1, 0, 0.0)
    host.take(2, 1, 0.0)
    host.receiving.tick(TOO_OLD)
    host.receiving.renew(None, TOO_OLD)
    assert host.receiving.holes == 1
    assert host.take(3, 0, TOO_OLD + 1) == 0
    assert host.take(3, 0, TOO_OLD * 2) == 1
    assert host.known == {2, 3}


@given(
    st.lists(
        st.tuples(
            st.integers(0, 6),
            st.integers(0, 4),
            st.sampled_from([UNORDERED, SEMI_ORDERED]),
            st.sampled_from([0.0, 1.0, 50.0, 119.0, 121.0, 300.0, 661.0]),
        ),
        max_size=60,
    )
)
def test_whatever_comes_the_table_is_bounded_and_nobody_busy_goes(
    arrivals: list[tuple[int, int, Reliability, float]],
) -> None:
    host, time = Host(3), 0.0
    receiving = host.receiving
    for source, number, reliability, step in arrivals:
        time += step
        receiving.tick(time)
        before = dict(receiving._sources)
        evicted = receiving.evicted
        host.take(source, number, time, reliability)
        gone = [known for address, known in before.items() if address not in receiving._sources]
        assert len(gone) == receiving.evicted - evicted <= 1
        assert all(known.idle_at() <= time for known in gone)
        if gone and not gone[0].kept:  # those that kept something longer than that go later
            assert gone[0].heard == min(
                known.heard for known in before.values() if known.idle_at() <= time and not known.kept
            )
        assert len(receiving._sources) <= 3
        looked_at = [key for _, _, key in receiving._sources._recent._heap + receiving._sources._silent._heap]
        assert sorted(looked_at) == sorted(receiving._sources), "each has one entry in all"


def test_forged_sources_take_no_more_memory_than_those_that_may_be_known() -> None:
    most = 500
    receiving, confirmations = Receiving(max_peers=most), Confirmations(ConfirmPolicy(), max_peers=most)
    one = datagram(0)
    tracemalloc.start()
    try:
        for forged in range(10_000):
            now = forged / 1000
            receiving.received(Received(peer(forged), len(one), one, now))
            receiving.to_user.clear()
            for message in receiving.to_confirmer:
                confirmations.add(message)
            receiving.to_confirmer.clear()
            confirmations.tick(now)
            confirmations.to_dsender.clear()
            receiving.tick(now)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(receiving._sources) == most
    assert receiving.turned_away == 10_000 - most
    assert peak < most * 1280


def test_confirmations_remember_no_more_sources_than_may_be_known() -> None:
    confirmations = Confirmations(ConfirmPolicy(), max_peers=3)
    for number in range(100):
        confirmations.add(ToConfirm(peer(number), [0], urgent=number % 2 == 0, time=1.0))
        assert len(confirmations._waiting) <= 3
        assert len(confirmations._due) <= 3
        assert len(confirmations._recent) <= 3
    confirmations.tick(1.1)
    assert sorted(run.target for run in confirmations.to_dsender) == sorted(peer(number) for number in range(100))
