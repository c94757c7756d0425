"""A source that introduces itself, as the receiving half meets it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from packhorse.protocol import Peers, Reliability
from packhorse.protocol.header import pack_header
from packhorse.protocol.identity import SPURNED, base_of, introduction, mark_of, unpack_echo
from packhorse.protocol.messages import Received

from .helpers import SEMI_ORDERED, UNORDERED, A

if TYPE_CHECKING:
    from collections.abc import Sequence

    from packhorse.protocol.receiving import Receiving

US, ONE, TWO = 7, 1 << 40, 2 << 40
FIRST = 0x10
"""The first series of a stack."""


def introduce(
    receiving: Receiving,
    identity: int = ONE,
    series: int = FIRST,
    *,
    chosen: int = 8,
    now: float = 0.0,
    numbers: Sequence[int] = range(4),
) -> int:
    """Let an introduction of these packages arrive; return the hint it is acknowledged with, 0 if it is not."""
    kinds = (UNORDERED, SEMI_ORDERED)
    packages = [datagram_of(kind, number, chosen) for number in numbers for kind in kinds]
    arrive(receiving, introduction(identity, series, chosen, packages), now)
    echo = receiving.to_confirmer[-1].echo if receiving.to_confirmer else 0
    receiving.to_confirmer.clear()
    return unpack_echo(echo)[0] & ~SPURNED


def datagram_of(reliability: Reliability, number: int, hint: int, base: int = 0) -> bytes:
    return pack_header(reliability, Peers.PLAYERS, number + base, hint) + bytes([number])


def arrive(receiving: Receiving, datagram: bytes, now: float = 0.0) -> None:
    receiving.received(Received(A, len(datagram), datagram, now))


def take(
    receiving: Receiving,
    hint: int,
    *numbers: int,
    identity: int = ONE,
    series: int = FIRST,
    now: float = 0.0,
    reliability: Reliability = UNORDERED,
) -> list[int]:
    """Let packages arrive as their sender would send them; return which were delivered."""
    base = base_of(identity, series, mark_of(US)) if 0 < hint < 8 else 0
    for number in numbers:
        arrive(receiving, datagram_of(reliability, number, hint, base), now)
    delivered = [package.data[0] for package in receiving.to_user]
    receiving.to_user.clear()
    return delivered
