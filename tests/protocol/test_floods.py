"""Floods: whatever a peer, or whoever pretends to be one, sends in any number, tables stay within their limits."""

# pyright: reportPrivateUsage=false
# The reason: it looks into the tables to see that they stay small.
from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

import pytest

from packhorse import ResendPolicy
from packhorse.protocol import FailureReason, Reliability
from packhorse.protocol import receiving as receiving_module
from packhorse.protocol.header import ID_MASK, MAX_CONFIRMED
from packhorse.protocol.identity import mark_of_numbering, pack_echo
from packhorse.protocol.messages import Confirmed, Forgotten, Received, Restarted, Sent
from packhorse.protocol.receiving import ALL_HOLES, ALL_KEPT, FEW, MAX_HOLES, MAX_KEPT, Receiving
from packhorse.protocol.redelivery import Redelivery

from .helpers import SEMI_ORDERED, UNORDERED, A, B, datagram
from .resending import Resender

if TYPE_CHECKING:
    from collections.abc import Iterator

    from packhorse.protocol import Address


class Memory:
    """What was allocated since the test began."""

    @property
    def peak(self) -> int:
        return tracemalloc.get_traced_memory()[1]


@pytest.fixture
def memory() -> Iterator[Memory]:
    tracemalloc.start()
    yield Memory()
    tracemalloc.stop()


def take(
    receiving: Receiving, number: int, kind: Reliability = UNORDERED, *, source: Address = A, data: bytes = b"x"
) -> list[bytes]:
    """Take a package; return what is delivered then."""
    one = datagram(number, data, kind)
    receiving.received(Received(source, len(one), one, 1.0))
    delivered = [package.data for package in receiving.to_user]
    receiving.to_user.clear()
    receiving.to_confirmer.clear()
    return delivered


# Packages.


def test_packages_behind_a_hole_that_never_fills_are_kept_up_to_the_limit_and_then_refused(memory: Memory) -> None:
    receiving = Receiving()
    for number in range(1, 5000):
        assert take(receiving, number, SEMI_ORDERED, data=number.to_bytes(504, "big")) == []
    assert receiving.kept == len(receiving._sources[A].kept) == MAX_KEPT
    assert len(receiving._sources[A].kept_order) == MAX_KEPT
    assert (receiving.holes, receiving.refused) == (1, 5000 - 1 - MAX_KEPT)
    assert memory.peak < MAX_KEPT * 1024
    delivered = take(receiving, 0, data=bytes(504))
    assert [int.from_bytes(data, "big") for data in delivered] == list(range(MAX_KEPT + 1))
    assert take(receiving, MAX_KEPT + 1, SEMI_ORDERED) == [b"x"], "what was refused comes again"


def test_jumps_of_ids_make_no_more_holes_than_the_limit(memory: Memory) -> None:
    receiving = Receiving()
    for jump in range(5000):
        take(receiving, jump * 7919 & ID_MASK)
    assert receiving.holes == len(receiving._sources[A].holes) <= MAX_HOLES
    for number in range(1, 5000, 2):
        take(receiving, number, source=B)
    assert len(receiving._sources[B].holes) == MAX_HOLES
    assert memory.peak < 2 * MAX_HOLES * 128


def test_all_sources_together_have_a_limit_of_holes_and_each_may_have_a_few(memory: Memory) -> None:
    receiving = Receiving()
    for source in range(1000):
        take(receiving, MAX_HOLES, source=("10.0.0.3", source + 1))
    assert receiving.holes == ALL_HOLES
    assert receiving.refused == 1000 - ALL_HOLES // MAX_HOLES
    assert len(receiving._sources) == ALL_HOLES // MAX_HOLES, "who was refused is not remembered"
    assert memory.peak < ALL_HOLES * 128
    assert take(receiving, FEW) == [b"x"], "one with few losses still gets through"
    assert take(receiving, FEW + 2) == []
    for number in range(FEW):
        assert take(receiving, number) == [b"x"]
    assert receiving.holes == ALL_HOLES
    for source in range(1000):
        receiving.forget(("10.0.0.3", source + 1))
    assert receiving.holes == 0
    assert take(receiving, FEW + 1 + MAX_HOLES) == [b"x"]


def test_all_sources_together_have_a_limit_of_kept_packages_and_each_may_have_a_few(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = 4 * MAX_KEPT
    assert limit < ALL_KEPT
    monkeypatch.setattr(receiving_module, "ALL_KEPT", limit)
    receiving = Receiving()
    full = limit // MAX_KEPT
    for source in range(full + 4):
        for number in range(1, MAX_KEPT + 1):
            take(receiving, number, SEMI_ORDERED, source=("10.0.0.3", source + 1))
    assert receiving.kept == limit + 4 * FEW
    assert memory.peak < limit * 512
    assert [take(receiving, number, SEMI_ORDERED) for number in range(1, FEW + 3)] == [[]] * (FEW + 2)
    assert len(take(receiving, 0, SEMI_ORDERED)) == FEW + 1
    assert take(receiving, FEW + 1, SEMI_ORDERED) == [b"x"], "what comes in order is never kept"
    assert receiving.kept == limit + 4 * FEW


def test_unreliable_packages_and_duplicates_leave_nothing_behind(memory: Memory) -> None:
    receiving = Receiving()
    take(receiving, 0)
    for number in range(5000):
        take(receiving, number, Reliability.UNRELIABLE, source=("10.0.0.3", number + 1))
        take(receiving, 0)
    assert set(receiving._sources) == {A}
    assert receiving.duplicates == 5000
    assert memory.peak < 256 * 1024, "a source takes 1 KB"


# Confirmations.


def test_confirmations_of_ids_that_were_never_sent_change_nothing(memory: Memory) -> None:
    resender = Resender()
    redelivery = resender.redelivery
    resender.sent(0, 5)
    recovery = resender.recovery()
    timers = len(redelivery._timers)
    for flood in range(1000):
        first = 100 + flood * MAX_CONFIRMED
        ids = [number & ID_MASK for number in range(first, first + MAX_CONFIRMED)]
        redelivery.confirmed(Confirmed(A, ids, resender.now))
    assert sorted(recovery.unconfirmed) == [0, 1, 2, 3, 4]
    assert (redelivery.pending, redelivery.to_dsender, redelivery.failures) == (5, [], [])
    assert (recovery.held, recovery.reported, recovery._copies, recovery.lost) == ({}, {}, {}, 0)
    assert recovery.round_trip.smoothed is None, "nothing was measured"
    assert len(redelivery._timers) == timers
    assert len(redelivery.to_usender) <= 1
    assert memory.peak < 256 * 1024


def test_confirmations_of_peers_that_were_never_sent_to_are_nobodys(memory: Memory) -> None:
    resender = Resender()
    redelivery = resender.redelivery
    ids = list(range(MAX_CONFIRMED))
    for source in range(5000):
        redelivery.confirmed(Confirmed((f"10.0.{source >> 8}.{source & 255}", 7), ids, resender.now))
    assert (redelivery._peers, redelivery._timers, redelivery.to_usender) == ({}, [], [])
    assert redelivery.deadline() is None
    assert memory.peak < 64 * 1024


def test_what_was_confirmed_may_be_confirmed_for_ever(memory: Memory) -> None:
    resender = Resender()
    redelivery = resender.redelivery
    resender.sent(0, 100)
    for _ in range(500):
        redelivery.confirmed(Confirmed(A, list(range(50)) * 3, resender.now))
    assert sorted(resender.recovery().unconfirmed) == list(range(50, 100))
    assert redelivery.pending == 50
    assert len(redelivery._timers) <= 4
    assert memory.peak < 256 * 1024


def test_a_peer_that_is_another_one_again_and_again_leaves_nothing_behind(memory: Memory) -> None:
    us = 0x0123456789ABCDEF
    redelivery = Redelivery(ResendPolicy(), lambda: 0.5, identity=us)
    for life in range(1, 1000):
        now, series = life / 100, life << 4
        packages = [datagram(number, life.to_bytes(504, "big"), UNORDERED) for number in range(8)]
        redelivery.sent(Sent(A, life, 0, packages, before=0, time=now, series=series))
        for by in (1, 2):
            redelivery.confirmed(Confirmed(A, [], now, pack_echo(3, mark_of_numbering(us, series), by)))
        assert redelivery.to_usender.pop() == Restarted(A, 2, series, FailureReason.RESTARTED)
        redelivery.forgotten(Forgotten(A, life, [], FailureReason.RESTARTED))
        redelivery.tick(now)
        for output in (redelivery.to_usender, redelivery.to_dsender, redelivery.failures):
            output.clear()
    assert memory.peak < 500_000


def test_a_flood_of_confirmations_does_not_keep_a_peer_alive_whose_packages_never_arrive() -> None:
    resender = Resender()
    resender.sent(0, 1)
    redelivery = resender.redelivery
    failed_at = None
    for tenth in range(1, 1000):
        now = resender.now + tenth / 10
        redelivery.confirmed(Confirmed(A, [77], now))
        redelivery.tick(now)
        redelivery.to_dsender.clear()
        if any(type(message).__name__ == "Failed" for message in redelivery.to_usender):
            failed_at = tenth / 10
            break
        redelivery.to_usender.clear()
    assert failed_at is not None
    assert 60 <= failed_at <= 62
