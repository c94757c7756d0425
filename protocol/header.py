"""The four bytes in front of every datagram, and ids on the circle.

| bits of the first byte | meaning                                                                      |
|------------------------|------------------------------------------------------------------------------|
| `1000_0000`            | control datagram; the byte must then be exactly `0x80`, or one of `identity` |
| `0110_0000`            | reliability: 00 unreliable, 01 unordered, 10 semi-ordered, 11 invalid        |
| `0001_0000`            | set: for the server; clear: for the other players                            |
| `0000_1111`            | a hint at who sends it (see `identity`); an original sends 0 and ignores it  |

Three bytes of big-endian id follow. Ids wrap from 0xFFFFFF to 0 and are compared on the circle: the nearer way round
wins. Inside packhorse a reliable package has a *number* that never wraps; its id is the number's low 24 bits. The
circle matters only where an id comes in: `unwrap` turns it into the nearest number, and from there `<` is enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from struct import Struct
from typing import Final

__all__ = [
    "CONTROL",
    "HEADER_SIZE",
    "ID_MASK",
    "INTRODUCTION",
    "KINDS",
    "MAX_CONFIRMED",
    "MAX_DATAGRAM",
    "MAX_PAYLOAD",
    "REFUSAL",
    "TAIL_SIZE",
    "Kind",
    "Peers",
    "Reliability",
    "count_up",
    "ids_of_run",
    "pack_confirmation",
    "pack_header",
    "unpack_confirmation",
    "unpack_header",
    "unwrap",
    "unwrap_all",
]

HEADER_SIZE: Final = 4
"""Bytes before the payload."""
MAX_DATAGRAM: Final = 508
"""Bytes of the largest datagram that no network has to fragment (wire specification)."""
MAX_PAYLOAD: Final = MAX_DATAGRAM - HEADER_SIZE
"""Bytes of the largest payload: 504."""
ID_SIZE: Final = 3
TAIL_SIZE: Final = 2
"""Bytes behind the ids of a control datagram, where it has any."""
ID_MASK: Final = 0xFFFFFF
HALF_CIRCLE: Final = 0x800000
MAX_CONFIRMED: Final = MAX_PAYLOAD // ID_SIZE
"""Ids that fit one control datagram: 168."""

CONTROL: Final = 0x80
INTRODUCTION: Final = 0x81
REFUSAL: Final = 0x82
RELIABILITY_BITS: Final = 0x60
PEERS_BIT: Final = 0x10


class Reliability(IntEnum):
    """What is promised of a package. The values are the bits on the wire."""

    UNRELIABLE = 0x00
    """May be lost, doubled or reordered."""
    UNORDERED = 0x20
    """Delivered exactly once, in any order."""
    SEMI_ORDERED = 0x40
    """Delivered exactly once, after every reliable package that was sent to the same target before it."""


class Peers(IntEnum):
    """Who a package is for. The values are the bits on the wire; the meaning is the application's."""

    PLAYERS = 0x00
    """The other players."""
    SERVER = 0x10
    """The server."""


class Kind(IntEnum):
    """What a datagram is, judged by its first byte."""

    INVALID = 0
    PACKAGE = 1
    """For the receiving half: a package, or an introduction, which has its place in line with them."""
    CONTROL = 2
    """For the sending half: a confirmation, or a refusal."""


def _kind(flags: int) -> Kind:
    if flags & CONTROL:
        return {CONTROL: Kind.CONTROL, INTRODUCTION: Kind.PACKAGE, REFUSAL: Kind.CONTROL}.get(flags, Kind.INVALID)
    return Kind.INVALID if flags & RELIABILITY_BITS == RELIABILITY_BITS else Kind.PACKAGE


KINDS: Final = tuple(_kind(flags) for flags in range(256))
"""The kind of a datagram for every value of its first byte."""

_RELIABILITIES: Final = {member.value: member for member in Reliability}
_PROMISES: Final = tuple(
    (_RELIABILITIES.get(flags & RELIABILITY_BITS, Reliability.UNRELIABLE), Peers(flags & PEERS_BIT))
    for flags in range(256)
)
"""Reliability and peers of a package for every value of its first byte."""
_COUNTING: Final = bytes(range(256))
_WIDE: Final = tuple(Struct(f">{count}I") for count in range(MAX_CONFIRMED + 1))
"""Struct of so many ids in 4 bytes each, by their count."""


def pack_header(reliability: Reliability, peers: Peers, number: int, hint: int = 0) -> bytes:
    """Make the header of a package; only the low 24 bits of `number` travel. For `hint` see `identity`."""
    return ((reliability | peers | hint) << 24 | number & ID_MASK).to_bytes(HEADER_SIZE, "big")


def unpack_header(datagram: bytes) -> tuple[Reliability, Peers, int]:
    """Read reliability, peers and id from a datagram whose kind is `Kind.PACKAGE`."""
    reliability, peers = _PROMISES[datagram[0]]
    return reliability, peers, int.from_bytes(datagram[1:HEADER_SIZE], "big")


def pack_confirmation(ids: Sequence[int], echo: int = 0) -> bytes:
    """Make one control datagram that confirms at most `MAX_CONFIRMED` ids; with none it says only "I live".

    For `echo` see `identity`; originals send 0. Its low 24 bits go into the header and the rest behind the ids, where
    originals ignore it too: with an echo there is room for one id less.
    """
    wide = _WIDE[len(ids)].pack(*ids)
    narrow = bytearray(ID_SIZE * len(ids))
    for place in range(ID_SIZE):
        narrow[place::ID_SIZE] = wide[place + 1 :: 4]
    header = (CONTROL << 24 | echo & ID_MASK).to_bytes(HEADER_SIZE, "big")
    return header + narrow + (echo >> 24).to_bytes(TAIL_SIZE, "big") if echo else header + narrow


def unpack_confirmation(datagram: bytes) -> list[int]:
    """Read the ids that a control datagram confirms; a trailing fragment of 1 or 2 bytes is ignored."""
    return list(_ids(datagram[HEADER_SIZE:], ID_SIZE, 0))


def ids_of_run(buffer: bytes, size: int) -> Sequence[int]:
    """Read the ids of package datagrams that lie back to back, each `size` bytes long; only the last may be shorter."""
    return _ids(buffer, size, 1)


def count_up(buffer: bytes, size: int, count: int, first: int) -> bool:
    """Tell whether the ids of so many package datagrams (see `ids_of_run`) count up from `first`."""
    if int.from_bytes(buffer[1:HEADER_SIZE], "big") != first:
        return False
    low = first & 0xFF
    if low + count <= len(_COUNTING):
        # Only the lowest byte counts; that takes a third of the time.
        return buffer[3::size] == _COUNTING[low : low + count] and buffer[2::size].count(buffer[2]) == count == buffer[
            1::size
        ].count(buffer[1])
    return ids_of_run(buffer, size) == tuple(range(first, first + count))


def _ids(data: bytes, stride: int, offset: int) -> Sequence[int]:
    """Read ids that lie `stride` bytes apart; all at once, which is several times quicker than one by one."""
    count = (len(data) - offset - ID_SIZE) // stride + 1
    wide = bytearray(4 * count)
    for place in range(ID_SIZE):
        wide[place + 1 :: 4] = data[offset + place :: stride][:count]
    return (_WIDE[count] if count < len(_WIDE) else Struct(f">{count}I")).unpack(wide)


def unwrap(wire_id: int, near: int) -> int:
    """Return the number closest to `near` whose low 24 bits are `wire_id`.

    The result may be negative, which stands for an id before the very first one.
    """
    return near + ((wire_id - near + HALF_CIRCLE) & ID_MASK) - HALF_CIRCLE


def unwrap_all(wire_ids: Sequence[int], near: int) -> Sequence[int]:
    """Return the numbers closest to `near` of several ids; see `unwrap`."""
    turns, low = near & ~ID_MASK, near & ID_MASK
    if wire_ids and (max(wire_ids) < low + HALF_CIRCLE if low < HALF_CIRCLE else low - HALF_CIRCLE <= min(wire_ids)):
        # None of them lies across the point where ids begin anew; at the other end of the circle they cannot.
        return wire_ids if not turns else [turns + wire_id for wire_id in wire_ids]
    return [unwrap(wire_id, near) for wire_id in wire_ids]
