"""Who is behind an address: the extension by which two packhorse stacks notice that the other was started anew.

The rules (protocol/README.md has them in full):

- every stack has a random 64-bit *identity* for its life, and every numbering that it begins has a number of its own, its *series*, whose low
  four bits count the introductions that answer a refusal;
- an *introduction* goes ahead of the first packages of a numbering and says both, and the hint below. The receiver answers with an *echo* in its
  confirmations: whose numbering they confirm, which life of the receiver does so, and the *hint* that packages should carry from then on;
- a package's hint is the low four bits of its flags: 0 is no hint (an original), 8 to 15 the sender's choice until it has seen an echo, 1 to 7
  the receiver's, which differs from those of older lives. With the receiver's hint ids are counted from a *base* that differs between lives;
- a package whose hint is unknown is not taken, and *refused*: its sender introduces itself, or begins a new numbering;
- where a source was known by another life, or sent what nobody knows, only the receiver's hint is taken.

Originals ignore the bits of hint and echo, and drop introductions and refusals.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from math import inf
from typing import TYPE_CHECKING, Final

from .header import HEADER_SIZE, ID_MASK, INTRODUCTION, REFUSAL

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "NOBODY",
    "Acquaintance",
    "Verdict",
    "base_of",
    "choose_hint",
    "introduction",
    "make_identity",
    "mark_of",
    "pack_echo",
    "read_echo",
    "read_introduction",
    "refusal",
    "unpack_echo",
]

HINT_BITS: Final = 0x0F
IDENTITY_BITS: Final = 64
INTRODUCTION_SIZE: Final = HEADER_SIZE + IDENTITY_BITS // 8 + 1
CHOSEN: Final = 8
"""The least hint that a sender chooses by itself."""
ASSIGNED: Final = 7
"""The highest hint that a receiver assigns."""
MARK_BITS: Final = 10
MARK: Final = (1 << MARK_BITS) - 1
LATE: Final = 60.0
"""Seconds for which packages of older lives may come late."""
FORMER: Final = 4
"""Former identities that are remembered per source, so that their late introductions are known for what they are."""
CHOSEN_FOR: Final = 1.0
"""Seconds after an introduction in which packages with the sender's own hint are taken."""
ATTEMPT_BITS: Final = 4
MAX_ATTEMPT: Final = (1 << ATTEMPT_BITS) - 1
SLOT: Final = 0.25
"""Seconds for which the hint that senders choose stays the same: less than it takes to start a program."""
SPREAD: Final = 0x9E3779B1
"""A large odd number, whose multiples spread well."""
NOBODY: Final = -1
"""In place of a mark: a program without an identity."""
NONE_TAKEN: Final = -1
"""In place of a hint: packages are taken with none."""


def choose_hint(identity: int, series: int, now: float) -> int:
    """Return the hint of a numbering that begins now, until it is acknowledged.

    Numberings that begin shortly one after the other should have different ones. So it goes by the time, by the series, and by the
    first three bits of the identity, which count the stacks of a program.
    """
    return CHOSEN + (int(now / SLOT) + (series >> ATTEMPT_BITS) + (identity >> IDENTITY_BITS - 3)) % 8


def mark_of(identity: int, series: int = 0) -> int:
    """Return what an echo says of a numbering, or of a stack (series 0)."""
    return (identity + (series >> ATTEMPT_BITS)) & MARK


def base_of(identity: int, series: int, by: int) -> int:
    """Return what is added to the ids of packages that carry the receiver's hint; `by` is its mark.

    So a package of another life, if it has the right hint by chance, is far from where it could be taken for a new one.
    """
    return ((identity >> 24) ^ ((series >> ATTEMPT_BITS) + 1 + by * SPREAD) * SPREAD >> 8) & ID_MASK


def make_identity(random: Callable[[], float], serial: int) -> int:
    """Return a random identity for the stack of a program that has had `serial` others before."""
    bits = IDENTITY_BITS - 3
    return (serial & 7) << bits | int(random() * 2**32) << 32 & (1 << bits) - 1 | int(random() * 2**32)


def introduction(identity: int, series: int, chosen: int) -> bytes:
    """Make an introduction; `chosen` is the hint of packages that are not acknowledged yet."""
    header = INTRODUCTION << 24 | series
    return header.to_bytes(HEADER_SIZE, "big") + identity.to_bytes(IDENTITY_BITS // 8, "big") + bytes([chosen])


def read_introduction(datagram: bytes) -> tuple[int, int, int] | None:
    """Read identity, series and chosen hint; None if it is not an introduction, or not as long as one."""
    if datagram[0] != INTRODUCTION or len(datagram) != INTRODUCTION_SIZE:
        return None
    identity = int.from_bytes(datagram[HEADER_SIZE:-1], "big")
    return identity, int.from_bytes(datagram[1:HEADER_SIZE], "big"), datagram[-1] & HINT_BITS


def refusal(hint: int, by: int) -> bytes:
    """Make the answer to packages with an unknown hint; `by` is our own mark."""
    return bytes([REFUSAL]) + pack_echo(hint, 0, by).to_bytes(3, "big")


def pack_echo(hint: int, mark: int, by: int) -> int:
    """Make an echo: the assigned hint, the mark of the numbering that is confirmed, and that of who confirms."""
    return hint << 2 * MARK_BITS | mark << MARK_BITS | by


def read_echo(datagram: bytes) -> int:
    """Read the echo of a confirmation or a refusal; 0 if it has none."""
    return int.from_bytes(datagram[1:HEADER_SIZE], "big")


def unpack_echo(echo: int) -> tuple[int, int, int]:
    """Return hint, mark and by of an echo."""
    return echo >> 2 * MARK_BITS, echo >> MARK_BITS & MARK, echo & MARK


class Verdict(Enum):
    """What an introduction is to the receiver."""

    KNOWN = auto()
    """Of the numbering that is known."""
    LATE = auto()
    """Of one that is over."""
    BEGINS = auto()
    """Of a new numbering, by one who was known or by one who comes for the first time."""
    RESTARTED = auto()
    """Of a new numbering, by another life than the one that was known."""


@dataclass(slots=True)
class Acquaintance:
    """What the receiving half knows of who is behind a source.

    Attributes:
        hint: what packages of the present numbering carry; 0 while the source gives none.
        identity: of the present life, or of the last one that introduced itself.
        series: of its numbering.
        takes_chosen: whether packages with the sender's own hint may be taken.
        last: the hint that was assigned last; to begin with any, but another one in each of our own lives.
    """

    hint: int = 0
    identity: int | None = None
    series: int = 0
    last: int = 1
    takes_chosen: bool = False
    _chosen: int = NONE_TAKEN
    """The sender's own hint."""
    _chosen_until: float = -inf
    _stale: dict[int, float] = field(default_factory=dict[int, float])
    """Hints that we assigned to older numberings, or did not know, and when that ended or happened."""
    _strange_at: float = -inf
    """When packages of another life than the present one were last heard of."""
    _former: dict[int, int] = field(default_factory=dict[int, int])
    """The last series of former identities."""

    def introduced(self, identity: int, series: int, chosen: int, now: float, *, seen: bool) -> Verdict:
        """Judge an introduction, and assign a hint if a new numbering begins.

        Args:
            identity: who it is.
            series: which numbering.
            chosen: the hint of its packages until it is acknowledged.
            now: the time in seconds.
            seen: whether packages of the source were taken before.
        """
        ahead = (
            series - (self.series if identity == self.identity else self._former.get(identity, series - 1)) & ID_MASK
        )
        if identity == self.identity and self.hint > 0 and series >> ATTEMPT_BITS == self.series >> ATTEMPT_BITS:
            self.series = max(self.series, series)
            self._chosen_until = now + CHOSEN_FOR
            return Verdict.KNOWN
        if ahead > ID_MASK // 2 or (not ahead and identity != self.identity):
            return Verdict.LATE
        verdict = Verdict.BEGINS
        if (self.identity is not None and identity != self.identity) or (self.hint == 0 and seen):
            verdict = Verdict.RESTARTED
        self.retire(now)
        if identity != self.identity:
            self._remember_former()
        self._former.pop(identity, None)
        self.identity, self.series = identity, series
        self._chosen, self._chosen_until = chosen, now + CHOSEN_FOR
        self.takes_chosen = now - self._strange_at >= LATE and chosen >= CHOSEN
        self.hint = self.last = self._next_hint(now)
        return verdict

    def takes(self, hint: int, now: float) -> bool:
        """Tell whether a package with this hint, which is not 0, belongs to the present numbering."""
        if hint == self.hint:
            # Whoever uses the assigned hint will not send anything with its own any more.
            self.takes_chosen = False
            return True
        return self.takes_chosen and hint == self._chosen and now < self._chosen_until

    def refuses(self, hint: int, now: float) -> bool:
        """Tell whether the sender of a package that is not taken should be told so.

        It need not when it is the hint that the known sender chose: that one goes on introducing itself.
        """
        if hint == self._chosen:
            return False
        self._strange_at = now
        self._stale[hint] = now  # assigned to a later numbering, it would be hit by this refusal if that is late
        return True

    def retire(self, now: float, *, plain: bool = False) -> None:
        """End the present numbering; from now on packages are taken with no hint, or none at all."""
        if self.hint > 0:
            self._stale[self.hint] = self._strange_at = now
        self.takes_chosen = False
        self._chosen = NONE_TAKEN
        self.hint = 0 if plain else NONE_TAKEN
        if plain and self.identity is not None:
            self._remember_former()
            self.identity = None

    def _remember_former(self) -> None:
        if self.identity is not None:
            self._former[self.identity] = self.series
        if len(self._former) > FORMER:
            del self._former[next(iter(self._former))]

    def _next_hint(self, now: float) -> int:
        """Return the next hint that no older numbering had lately; if all are stale, the one that is so for longest."""
        order = [(self.last + step) % ASSIGNED + 1 for step in range(ASSIGNED)]
        stale = {hint: self._stale.get(hint, -inf) for hint in order}
        return next((hint for hint in order if now - stale[hint] >= LATE), min(order, key=stale.__getitem__))
