"""The header, ids on the circle, and confirmations as bytes."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from packhorse.protocol import MAX_DATAGRAM, MAX_PAYLOAD, Peers, Reliability
from packhorse.protocol.header import (
    ID_MASK,
    KINDS,
    MAX_CONFIRMED,
    Kind,
    pack_confirmation,
    pack_header,
    unpack_confirmation,
    unpack_header,
    unwrap,
)

HALF = 0x800000
ids = st.integers(0, ID_MASK)


def test_sizes_are_those_of_the_wire() -> None:
    assert (MAX_DATAGRAM, MAX_PAYLOAD, MAX_CONFIRMED) == (508, 504, 168)


@given(st.sampled_from(Reliability), st.sampled_from(Peers), ids, st.binary(max_size=MAX_PAYLOAD))
def test_what_is_packed_is_unpacked(reliability: Reliability, peers: Peers, number: int, data: bytes) -> None:
    header = pack_header(reliability, peers, number)
    assert len(header) == 4
    assert KINDS[header[0]] is Kind.PACKAGE
    assert unpack_header(header + data) == (reliability, peers, number)


@pytest.mark.parametrize(
    ("reliability", "peers", "number", "header"),
    [
        (Reliability.SEMI_ORDERED, Peers.SERVER, 107907, "5001a583"),
        (Reliability.UNRELIABLE, Peers.PLAYERS, 0, "00000000"),
        (Reliability.UNRELIABLE, Peers.SERVER, 1, "10000001"),
        (Reliability.UNORDERED, Peers.PLAYERS, 0xFFFFFF, "20ffffff"),
        (Reliability.UNORDERED, Peers.SERVER, 0x1000000, "30000000"),
        (Reliability.SEMI_ORDERED, Peers.PLAYERS, 0x1000001, "40000001"),
    ],
)
def test_headers_are_those_of_the_wire_specification(
    reliability: Reliability, peers: Peers, number: int, header: str
) -> None:
    assert pack_header(reliability, peers, number).hex() == header


@given(st.integers(0, 0x0F), st.sampled_from(Reliability), st.sampled_from(Peers), ids)
def test_reserved_bits_are_ignored(reserved: int, reliability: Reliability, peers: Peers, number: int) -> None:
    header = bytearray(pack_header(reliability, peers, number))
    header[0] |= reserved
    assert KINDS[header[0]] is Kind.PACKAGE
    assert unpack_header(bytes(header)) == (reliability, peers, number)


def test_the_first_byte_decides_what_a_datagram_is() -> None:
    for flags in range(256):
        bits = f"{flags:08b}"
        if bits[0] == "1":
            kinds = {"10000000": Kind.CONTROL, "10000001": Kind.PACKAGE, "10000010": Kind.CONTROL}
            expected = kinds.get(bits, Kind.INVALID)
        else:
            expected = Kind.INVALID if bits[1:3] == "11" else Kind.PACKAGE
        assert KINDS[flags] is expected, bits
    assert len(KINDS) == 256


@given(st.lists(ids, max_size=MAX_CONFIRMED), st.binary(max_size=2), st.binary(min_size=3, max_size=3))
def test_a_confirmation_keeps_its_ids_in_order_and_ignores_fragments_and_its_own_id(
    confirmed: list[int], fragment: bytes, own_id: bytes
) -> None:
    packed = pack_confirmation(confirmed)
    assert packed[:4].hex() == "80000000"
    assert len(packed) == 4 + 3 * len(confirmed) <= MAX_DATAGRAM
    assert unpack_confirmation(packed) == confirmed
    assert unpack_confirmation(packed[:1] + own_id + packed[4:] + fragment) == confirmed


def test_the_confirmation_of_the_wire_specification() -> None:
    assert pack_confirmation([1238, 17, 2443]).hex() == "800000000004d600001100098b"


def test_a_full_confirmation_is_a_full_datagram() -> None:
    full = list(range(0xFFFF00, 0xFFFF00 + MAX_CONFIRMED))
    assert len(pack_confirmation(full)) == MAX_DATAGRAM
    assert unpack_confirmation(pack_confirmation(full)) == full


@given(st.integers(0, 1 << 60), st.integers(-HALF, HALF - 1))
@example(0xFFFFFF, 1)
@example(0x1000000, -1)
@example(0, -1)
@example(0, HALF - 1)
@example(1 << 40, -HALF)
def test_an_id_becomes_the_nearest_number(near: int, distance: int) -> None:
    number = near + distance
    assert unwrap(number & ID_MASK, near) == number


@given(ids, st.integers(0, 1 << 60))
def test_no_other_number_with_that_id_is_nearer(wire_id: int, near: int) -> None:
    number = unwrap(wire_id, near)
    assert number & ID_MASK == wire_id
    assert abs(number - near) <= HALF


def test_an_id_half_the_circle_away_lies_in_the_past() -> None:
    assert unwrap(HALF, 0) == -HALF
    assert unwrap(HALF + 5, 0x1000005) == HALF + 5
