"""What is done for a whole run at once is what the plain rules do for one package after the other."""

# pyright: reportPrivateUsage=false
# The reason: it compares the tables of both ways.
from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from packhorse.protocol import Address, InPackage, OutPackage, Peers, Reliability
from packhorse.protocol.header import HEADER_SIZE, ID_MASK, count_up, ids_of_run, pack_header, unwrap, unwrap_all
from packhorse.protocol.messages import Grant, Received
from packhorse.protocol.numbering import Numbering
from packhorse.protocol.receiving import Receiving
from packhorse.protocol.runs import by_target

from .helpers import UNORDERED, A, B, datagram

LIMITS = st.integers(0, 40)


def _package(
    data: bytes, reliability: Reliability, peers: Peers, target: Address, lifetime: float | None
) -> OutPackage:
    return OutPackage(data, reliability, peers, target, lifetime if reliability else None)


PACKAGES = st.lists(
    st.builds(
        _package,
        data=st.integers(1, 3).map(bytes),
        reliability=st.sampled_from(Reliability),
        peers=st.sampled_from(Peers),
        target=st.sampled_from([A, A, A, B]),
        lifetime=st.sampled_from([None, None, None, 5.0]),
    ),
    min_size=1,
    max_size=60,
)


def _numbered(numbering: Numbering) -> dict[Any, list[tuple[int, bytes, int]]]:
    """Return what was sent to each target: id, data and first byte, in order of ids; unreliable ones apart."""
    sent: dict[Any, list[tuple[int, bytes, int]]] = {}
    for run in numbering.to_dsender:
        for one in run.datagrams:
            key = (run.target, one[0] & 0x60 != 0)
            sent.setdefault(key, []).append((int.from_bytes(one[1:HEADER_SIZE], "big"), one[HEADER_SIZE:], one[0]))
    return {key: sorted(numbered) for key, numbered in sent.items()}


def _send(packages: list[OutPackage], limit: int, *, runs: bool) -> Numbering:
    numbering = Numbering(window=8)
    at = 0
    while at < len(packages):
        behind = numbering.send_run(packages, at, 0.0) if runs else at
        if behind == at:
            numbering.send(packages[at], 0.0)
            behind = at + 1
        at = behind
    for target in (A, B):
        known = numbering._targets.get(target)
        if known is not None:
            numbering.granted(Grant(target, known.life, limit, 10_000), 1.0)
    return numbering


@given(PACKAGES, LIMITS)
def test_packages_sent_in_runs_get_what_they_get_one_by_one(packages: list[OutPackage], limit: int) -> None:
    one_by_one, in_runs = _send(packages, limit, runs=False), _send(packages, limit, runs=True)
    plain, runs = _numbered(one_by_one), _numbered(in_runs)
    assert {key: [number for number, _, _ in numbered] for key, numbered in plain.items()} == {
        key: [number for number, _, _ in numbered] for key, numbered in runs.items()
    }
    assert one_by_one.waiting == in_runs.waiting
    assert one_by_one.released == in_runs.released
    if all(package.reliability is Reliability.SEMI_ORDERED for package in packages):
        assert runs == plain  # others may change places among themselves, which the next test looks at


@given(
    st.lists(
        st.one_of(
            st.sampled_from([A, B]),
            st.builds(Grant, target=st.sampled_from([A, B]), life=st.just(1), limit=LIMITS, budget=st.just(0)),
            st.just("anything else"),
        ),
        max_size=30,
    )
)
def test_targets_are_brought_together_and_each_keeps_its_order(drawn: list[Any]) -> None:
    items: list[Any] = [
        OutPackage(place.to_bytes(2, "big"), UNORDERED, Peers.PLAYERS, one) if one in (A, B) else one
        for place, one in enumerate(drawn)
    ]
    ordered = by_target(items)
    assert sorted(map(repr, ordered)) == sorted(map(repr, items))
    for between, before in zip(_parts(ordered), _parts(items), strict=True):
        packages = [item for item in between if isinstance(item, OutPackage)]
        grants = [item for item in between if isinstance(item, Grant)]
        assert between == grants + packages
        assert grants == [item for item in before if isinstance(item, Grant)]
        for target in (A, B):
            own = [item.data for item in packages if item.target == target]
            assert own == [item.data for item in before if isinstance(item, OutPackage) and item.target == target]
        assert sum(one.target != other.target for one, other in pairwise(packages)) <= 1


def _parts(items: list[Any]) -> list[list[Any]]:
    """Split items at those that nothing goes past."""
    parts: list[list[Any]] = [[]]
    for item in items:
        if isinstance(item, str):
            parts.append([])
        else:
            parts[-1].append(item)
    return parts


@given(PACKAGES)
def test_only_packages_that_may_arrive_in_any_order_change_places(packages: list[OutPackage]) -> None:
    packages = [OutPackage(bytes([place]) * len(p.data), p.reliability, p.peers, A) for place, p in enumerate(packages)]
    numbering = _send(packages, 1000, runs=True)
    place = {package.data: place for place, package in enumerate(packages)}
    order = [(place[data], flags & 0x60) for _, data, flags in _numbered(numbering).get((A, True), [])]
    for at, (one, flags) in enumerate(order):
        if flags == Reliability.SEMI_ORDERED:
            assert all(before < one for before, _ in order[:at]), "something sent later has a lower id"
            assert all(behind > one for behind, _ in order[at + 1 :]), "something sent before has a higher id"


@given(
    st.lists(st.tuples(st.integers(0, 12), st.sampled_from(Reliability), st.integers(1, 6)), max_size=12),
    st.sampled_from([0, ID_MASK - 6]),
)
def test_runs_are_received_like_single_packages(runs: list[tuple[int, Reliability, int]], base: int) -> None:
    plain, fast = Receiving(), Receiving()
    for receiving in (plain, fast):
        receiving.received(Received(A, 5, datagram(0), 0.0))
        receiving._sources[A].next = base
    for offset, reliability, length in runs:
        datagrams = [pack_header(reliability, Peers.SERVER, base + offset + place) + b"x" for place in range(length)]
        datagrams[-1] = datagrams[-1][:HEADER_SIZE] if offset % 3 == 0 else datagrams[-1]  # the last may be shorter
        for one in datagrams:
            plain.received(Received(A, len(one), one, 1.0))
        fast.received(Received(A, len(datagrams[0]), b"".join(datagrams), 1.0))
    assert fast.to_user == plain.to_user
    assert [(run.ids, run.urgent) for run in fast.to_confirmer] == [(run.ids, run.urgent) for run in plain.to_confirmer]
    assert fast._sources[A] == plain._sources[A]


@given(st.lists(st.integers(0, ID_MASK), max_size=20), st.integers(0, 1 << 30))
def test_ids_are_unwrapped_together_as_one_by_one(ids: list[int], near: int) -> None:
    assert list(unwrap_all(ids, near)) == [unwrap(wire_id, near) for wire_id in ids]


@given(st.lists(st.integers(0, ID_MASK), min_size=1, max_size=400), st.integers(0, 3), st.integers(0, 3))
def test_the_ids_of_a_run_are_read_together_as_one_by_one(ids: list[int], size: int, last: int) -> None:
    datagrams = [datagram(wire_id, bytes(size)) for wire_id in ids]
    datagrams[-1] = datagrams[-1][: HEADER_SIZE + min(size, last)]
    assert list(ids_of_run(b"".join(datagrams), HEADER_SIZE + size)) == ids


@given(
    st.integers(0, ID_MASK) | st.integers(0xF0, 0x110) | st.integers(0xFFF0, 0x10010),
    st.integers(1, 300),
    st.integers(0, 5),
    st.none() | st.tuples(st.integers(0, 299), st.integers(0, ID_MASK)),
)
def test_ids_that_count_up_are_known_by_their_bytes(
    first: int, count: int, size: int, other: tuple[int, int] | None
) -> None:
    ids = [first + place & ID_MASK for place in range(count)]
    if other is not None and other[0] < count:
        ids[other[0]] = other[1]
    run = b"".join(pack_header(Reliability.UNORDERED, Peers.PLAYERS, one) + bytes(size) for one in ids)
    expected = ids == list(range(first, first + count))
    assert count_up(run, HEADER_SIZE + size, count, first) == expected


def test_a_run_of_received_packages_is_handed_over_whole() -> None:
    receiving = Receiving()
    receiving.received(Received(A, 5, b"".join(datagram(number, bytes([number])) for number in range(3)), 7.0))
    assert receiving.to_user == [InPackage(bytes([number]), UNORDERED, Peers.PLAYERS, A, 7.0) for number in range(3)]
