"""What is kept of one peer that packages are sent to, for `redelivery` and `giving_up`.

The rules:

- a peer is active until it fails. It is failing while `Numbering` hands over the backlog, failed once everything was
  reported, and active again when the user sends to it again;
- what is unconfirmed is *pending* until it was reported;
- what was given up stays unconfirmed: when the peer is active again it goes first. Nothing is reported twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from math import inf
from typing import Any

from .address import Address
from .congestion import Room
from .errors import FailureReason
from .header import HEADER_SIZE, unpack_header
from .introducing import Introducing
from .packages import OutPackage
from .unconfirmed import Recovery

__all__ = ["Peer", "Phase"]


class Phase(Enum):
    """How a peer stands."""

    ACTIVE = auto()
    FAILING = auto()
    """Given up; waiting for `Numbering` to hand over the backlog."""
    FAILED = auto()
    """Reported; what was given up waits for a `Revive`."""


@dataclass(slots=True)
class Peer:
    """One peer. Times in seconds.

    Attributes:
        life: of the numbering; see `messages`.
        heard: when its last control datagram arrived, or else when it was first sent to.
        sent: when anything was last sent to it.
        recovery: what is unconfirmed, and when it is sent again.
        room: how far `Numbering` may go.
        phase: how it stands.
        reason: why it failed.
        look_at: when the next timer goes off.
        listening: a timeout is due, but perhaps not everything is handled that has arrived (see `lateness`).
        introducing: who knows the numbering; None if it is not introduced.
        resent: how many datagrams were sent to it again so far.
    """

    life: int
    heard: float
    sent: float
    recovery: Recovery
    room: Room
    phase: Phase = Phase.ACTIVE
    reason: FailureReason = FailureReason.SILENT
    look_at: float = inf
    listening: bool = False
    introducing: Introducing | None = None
    resent: int = 0

    @property
    def pending(self) -> int:
        """How many packages wait for confirmation or for being reported."""
        return 0 if self.phase is Phase.FAILED else len(self.recovery.unconfirmed)

    def silent_at(self, silence: float) -> float:
        """Return when the peer will have failed, if it stays silent for so long."""
        return max(self.heard, self.recovery.oldest_sent) + silence

    def give_up(self, target: Address) -> tuple[list[int], list[OutPackage]]:
        """Fail the peer; return numbers and packages of what was not reported yet, in order, as reported now."""
        self.phase = Phase.FAILED
        known, reported = {**self.recovery.unconfirmed, **self.recovery.held}, self.recovery.reported
        numbers = [number for number in sorted(known) if number not in reported]
        packages: list[OutPackage] = []
        for number in numbers:
            reported[number] = None
            reliability, peers, _ = unpack_header(known[number])
            packages.append(OutPackage(known[number][HEADER_SIZE:], reliability, peers, target))
        return numbers, packages

    def figures(self) -> dict[str, Any]:
        """Return what users are told of it. May be called from another thread."""
        return {
            "resent": self.resent,
            "lost": self.recovery.lost,
            "rtt": self.recovery.round_trip.smoothed,
            "window": self.room.controller.window,
            "in_flight": len(self.recovery.unconfirmed),
        }
