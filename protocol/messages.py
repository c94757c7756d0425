"""What the two halves of a peer tell each other.

The sending half of a stack is split between `Numbering` (the usender) and `Redelivery` (the resender), the receiving
half between `Receiving` (the ureceiver) and `Confirmations` (the confirmer). They share nothing and are joined only by
these messages, so a simulation that carries them about tests the split that runs.

Three habits:

- messages carry *runs*, not packages: consecutive packages of one target travel together;
- a *number* is a package id that never wraps (see `header`); only what comes off the wire is a 24-bit *id*;
- every message about one target's numbering carries its *life*. A life begins with a peer's first package and ends when
  the peer fails or is forgotten; what speaks of an older life is not mistaken for news. What concerns who is behind an
  address carries the *series* of the numbering, which unlike its life travels (see `identity`).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from .address import Address
from .errors import FailureReason
from .packages import OutPackage

__all__ = [
    "Acknowledged",
    "Confirmed",
    "Datagrams",
    "Dropped",
    "Failed",
    "Flush",
    "Forgotten",
    "Grant",
    "Left",
    "Listen",
    "Received",
    "Refuse",
    "Refused",
    "Restarted",
    "Revive",
    "Sent",
    "StillHere",
    "ToConfirm",
    "Unknown",
]


class Datagrams(msgspec.Struct, frozen=True):
    """Any half -> dsender: datagrams for one target, to be sent in this order.

    `numbers` are those of the packages in them, for traces only. `mark` is that of the last `Sent` they belong to, 0 if
    to none.
    """

    target: Address
    datagrams: list[bytes]
    numbers: Sequence[int] = ()
    mark: int = 0


class Left(msgspec.Struct, frozen=True):
    """dsender -> Redelivery: everything up to this mark has been sent, the last of it at this time."""

    mark: int
    time: float


class Listen(msgspec.Struct, frozen=True):
    """Redelivery -> dreceiver -> sreceiver -> Redelivery: come back behind everything that had arrived at this time."""

    time: float


class Sent(msgspec.Struct, frozen=True):
    """Numbering -> Redelivery: these datagrams got the numbers from `first` on and are about to be sent.

    `before` is how many bytes were sent to the target, in reliable datagrams, before these. Each should be sent in
    `eager` copies. `series` is that of the numbering, 0 if it is not introduced. `mark` counts these messages, for
    `Left`; 0 if there will be none.
    """

    target: Address
    life: int
    first: int
    datagrams: list[bytes]
    before: int
    time: float
    eager: int = 1
    series: int = 0
    mark: int = 0


class Revive(msgspec.Struct, frozen=True):
    """Numbering -> Redelivery: the user sends again to a peer that had failed; `life` is the new one.

    `next` is the number its next package will get, `before` as in `Sent`. The packages given up go first; the answer is
    a `Grant`, or `Unknown` if the peer was forgotten meanwhile.
    """

    target: Address
    life: int
    next: int
    before: int


class Dropped(msgspec.Struct, frozen=True):
    """Numbering -> Redelivery, in answer to `Failed`: the packages of that life that still waited for a number."""

    target: Address
    life: int
    packages: list[OutPackage]


class Forgotten(msgspec.Struct, frozen=True):
    """Numbering -> Redelivery: the target's numbering is over, for this reason; these packages had no number yet."""

    target: Address
    life: int
    packages: list[OutPackage]
    reason: FailureReason = FailureReason.FORGOTTEN


class Flush(msgspec.Struct, frozen=True):
    """Numbering -> Redelivery: say when, for every target, all numbers below its mark are confirmed or given up.

    `marks` maps each target to its life and mark. `token` comes back unchanged.
    """

    marks: dict[Address, tuple[int, int]]
    token: object


class Grant(msgspec.Struct, frozen=True):
    """Redelivery -> Numbering: numbers below `limit` may be given, while no more than `budget` bytes were sent in all.

    Both are absolute, so the latest grant heals any lost one.
    """

    target: Address
    life: int
    limit: int
    budget: int


class Failed(msgspec.Struct, frozen=True):
    """Redelivery -> Numbering: the peer has failed and this life is over; answer with `Dropped`."""

    target: Address
    life: int


class Unknown(msgspec.Struct, frozen=True):
    """Redelivery -> Numbering: nothing is known of the target any more; if `next` is still right, start at 0."""

    target: Address
    life: int
    next: int


class Acknowledged(msgspec.Struct, frozen=True):
    """Redelivery -> Numbering: the target knows this numbering; packages carry `hint`, and count from `base`, now.

    `by` is the target's mark, None if it has no identity, and will never know it.
    """

    target: Address
    series: int
    hint: int
    by: int | None
    base: int


class Restarted(msgspec.Struct, frozen=True):
    """Receiving, Redelivery -> Numbering: the target knows nothing of what was sent to it; begin a new numbering.

    `by` is the mark of its present life, None if it has none. Redelivery says which series it means; if the target has
    only forgotten us, the reason is not RESTARTED.
    """

    target: Address
    by: int | None
    series: int = 0
    reason: FailureReason = FailureReason.RESTARTED


class Confirmed(msgspec.Struct, frozen=True):
    """sreceiver -> Redelivery: one control datagram arrived, listing these ids."""

    source: Address
    ids: Sequence[int]
    time: float
    echo: int = 0


class Refused(msgspec.Struct, frozen=True):
    """sreceiver -> Redelivery: the source does not know who sends packages with this hint; `by` is its mark."""

    source: Address
    hint: int
    by: int
    time: float


class Received(msgspec.Struct, frozen=True):
    """dreceiver -> Receiving: datagrams of packages from one source, as one receive brought them.

    They lie in `buffer` one behind the other, each `size` bytes long; only the last may be shorter.
    """

    source: Address
    size: int
    buffer: bytes
    time: float

    @property
    def count(self) -> int:
        """How many datagrams there are."""
        return -(-len(self.buffer) // self.size)


class ToConfirm(msgspec.Struct, frozen=True):
    """Receiving -> Confirmations: ids to confirm, in order of arrival; none to acknowledge an introduction.

    `urgent` says that something arrived doubled or out of order, so that the sender may be about to send again.
    """

    source: Address
    ids: list[int]
    urgent: bool
    time: float
    echo: int = 0


class Refuse(msgspec.Struct, frozen=True):
    """Receiving -> Confirmations: tell the source that packages with this hint are not known; `by` is our mark."""

    source: Address
    hint: int
    by: int


class StillHere(msgspec.Struct, frozen=True):
    """Receiving -> Confirmations: the user is slow and packages of these sources wait; tell them that we live."""

    sources: list[Address]
