"""One input is many receives, one behind the other, in a world of its own: what a few hundred datagrams do together.

A run must do what its packages would do one by one, so they are given to a second receiving half that way.
"""

# pyright: reportPrivateUsage=false
# The reason: the two halves must be alike, also inside.
from __future__ import annotations

from typing import Final

from packhorse import Reliability
from packhorse.protocol.header import MAX_DATAGRAM
from packhorse.protocol.messages import Received
from packhorse.protocol.receiving import Receiving

from .world import PEERS, US, World

__all__ = ["take"]

SOURCES: Final = (*PEERS, ("10.0.0.3", 3), ("10.0.0.4", 0))
STEPS: Final = (0.0, 0.001, 0.3, 2.0, 19.0, 61.0, 130.0, 601.0)
"""Seconds between two receives."""
MOST: Final = 2
"""Sources that the receiving half may know: one less than there are."""


class _Twins(World):
    """A world with a second receiving half, which sees no runs."""

    def __init__(self) -> None:
        super().__init__(MOST)
        self.plain = Receiving(US, max_peers=MOST)
        for peer in PEERS:
            for reliability in (Reliability.UNORDERED, Reliability.SEMI_ORDERED, Reliability.SEMI_ORDERED):
                self.send(peer, reliability)
        self.carry()

    def take(self, received: Received) -> None:
        super().take(received)
        for at in range(0, len(received.buffer), received.size):
            one = received.buffer[at : at + received.size]
            self.plain.received(Received(received.source, len(one), one, received.time))

    def carry(self) -> None:
        plain = self.plain
        assert self.receiving.to_usender == plain.to_usender
        assert self.receiving.to_user == plain.to_user, "a run does what its packages do"
        plain.tick(self.now)
        super().carry()
        for outputs in (plain.to_user, plain.to_confirmer, plain.to_refuse, plain.to_usender):
            outputs.clear()

    def check(self) -> None:
        super().check()
        assert self.receiving._sources == self.plain._sources
        assert (self.receiving.evicted, self.receiving.turned_away) == (self.plain.evicted, self.plain.turned_away)
        assert len(self.redelivery._timers) <= 64


def take(data: bytes) -> int:
    """Read `data` as receives, each who and when, the size of a datagram, how many (1 byte each), and their bytes.

    Odd sizes stand for sizes around the limit of a datagram. Returns how many datagrams it was.
    """
    world = _Twins()
    at = 0
    while at + 3 <= len(data):
        who, size, count = data[at], data[at + 1], data[at + 2] % 32
        size = MAX_DATAGRAM - 6 + size % 16 if size > 240 else max(1, size % 32)
        buffer = data[at + 3 : at + 3 + size * count]
        at += 3 + len(buffer)
        world.now += STEPS[who >> 2 & 7]
        world.receive(SOURCES[who & 3], size if count else 1, buffer)
        world.carry()
        world.check()
    return world.datagrams
