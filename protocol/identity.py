"""Who is behind an address: the extension by which two packhorse stacks notice that the other was started anew.

The rules (protocol/README.md has them in full):

- every stack has a 64-bit *identity* for its life, most of it random, and every numbering that it begins has a number
  of its own, its *series*, whose low four bits count the introductions that answer a refusal;
- an *introduction* goes ahead of the first packages of a numbering and says both, the hint below, and a *checksum* of
  each of these packages. The receiver answers with an *echo* in its confirmations: whose numbering they confirm, which
  life of the receiver does so, and the *hint* that packages should carry from then on;
- a package's hint is the low four bits of its flags: 0 is no hint (an original), 8 to 15 the sender's choice until it
  has seen an echo, 1 to 7 the receiver's, which differs from those of older lives. With the receiver's hint ids are
  counted from a *base* that differs between lives;
- with the sender's hint only packages are taken whose checksum was in an introduction: those of other lives may have
  the same hint and id;
- where a source was known by another life, or sent what nobody knows, only the receiver's hint is taken, since a dead
  life never learns it, and the echo says so; but not if all of that has the hint of the first introduction, which it
  may have overtaken;
- a package whose hint is unknown is not taken, and *refused*: its sender introduces itself, or begins a new numbering;
- a numbering of which packages were taken is not begun a second time. When it is introduced again, after it was
  forgotten or another took its place, the answer is its old echo: its sender uses the hint in it, is refused, and
  begins another numbering.

Originals ignore the bits of hint and echo, and drop introductions and refusals.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from math import inf
from typing import TYPE_CHECKING, Final
from zlib import crc32

from .header import HEADER_SIZE, ID_MASK, ID_SIZE, INTRODUCTION, REFUSAL, TAIL_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "CHOSEN",
    "NOBODY",
    "SPURNED",
    "VOUCHED",
    "Acquaintance",
    "Verdict",
    "base_of",
    "choose_hint",
    "introduction",
    "make_identity",
    "mark_of",
    "mark_of_numbering",
    "pack_echo",
    "read_echo",
    "read_introduction",
    "read_refusal",
    "refusal",
    "unpack_echo",
    "vouching",
]

HINT_BITS: Final = 0x0F
IDENTITY_BITS: Final = 64
INTRODUCTION_SIZE: Final = HEADER_SIZE + IDENTITY_BITS // 8 + 1
CHECKSUM_SIZE: Final = 4
VOUCHED: Final = 64
"""Packages whose checksums go into one introduction, at most."""
EXPECTED: Final = 256
"""Checksums of packages that may still come, per source, at most."""
CHOSEN: Final = 8
"""The least hint that a sender chooses by itself."""
ASSIGNED: Final = 7
"""The highest hint that a receiver assigns."""
SPURNED: Final = 8
"""Added to the hint in an echo: packages with the sender's own hint are not taken."""
MARK_BITS: Final = 10
MARK: Final = (1 << MARK_BITS) - 1
TAIL_BITS: Final = 8 * TAIL_SIZE
"""Bits of the mark of a numbering beyond those of a stack."""
LATE: Final = 60.0
"""Seconds for which packages of older lives may come late."""
FORMER: Final = 4
"""Former identities that are remembered per source, so that their late introductions are known for what they are."""
ATTEMPT_BITS: Final = 4
MAX_ATTEMPT: Final = (1 << ATTEMPT_BITS) - 1
SLOT: Final = 0.25
"""Seconds for which the hint that senders choose stays the same."""
MARK_SLOT: Final = 0.05
"""Seconds for which the marks of stacks that are started stay the same: less than it takes to kill a program and start
another one."""
STRIDE: Final = 97
"""Slots between the marks of two stacks that a program starts at the same time."""
SPREAD: Final = 0x9E3779B1
"""A large odd number, whose multiples spread well."""
NOBODY: Final = -1
"""In place of a mark: a program without an identity."""
NONE_TAKEN: Final = -1
"""In place of a hint: packages are taken with none."""


def choose_hint(identity: int, series: int, now: float) -> int:
    """Return the hint of a numbering that begins now, until it is acknowledged.

    Numberings that begin shortly one after the other should have different ones. So it goes by the time, by the series,
    and by the first three bits of the identity, which count the stacks of a program.
    """
    return CHOSEN + (int(now / SLOT) + (series >> ATTEMPT_BITS) + (identity >> IDENTITY_BITS - 3)) % 8


def mark_of(identity: int) -> int:
    """Return what an echo says of who sends it."""
    return identity & MARK


def mark_of_numbering(identity: int, series: int) -> int:
    """Return what an echo says of the numbering that it is about."""
    return identity + (series >> ATTEMPT_BITS) & (1 << MARK_BITS + TAIL_BITS) - 1


def base_of(identity: int, series: int, by: int) -> int:
    """Return what is added to the ids of packages that carry the receiver's hint; `by` is its mark.

    So a package of another life, if it has the right hint by chance, is far from where it could be taken for a new one.
    """
    return ((identity >> 24) ^ ((series >> ATTEMPT_BITS) + 1 + by * SPREAD) * SPREAD >> 8) & ID_MASK


def make_identity(random: Callable[[], float], serial: int, now: float) -> int:
    """Return an identity for a stack that is started now, in a program that has had `serial` others before.

    All of it is random but for three bits of the serial, and the mark: that goes by the time and by the serial, so two
    lives of a peer have different ones if the second begins within 50 s of the first.
    """
    bits = IDENTITY_BITS - 3
    mark = int(now / MARK_SLOT) + serial * STRIDE & MARK
    return (serial & 7) << bits | int(random() * 2**32) << 32 & (1 << bits) - 1 | int(random() * 2**32) & ~MARK | mark


def checksum_of(package: bytes) -> bytes:
    """Return what an introduction says of a package that follows it; `package` is the whole datagram."""
    return crc32(package).to_bytes(CHECKSUM_SIZE, "big")


def vouching(packages: Sequence[bytes]) -> bytes:
    """Return what an introduction says of the packages, whole datagrams with the sender's own hint, that follow it."""
    return b"".join(map(checksum_of, packages))


def introduction(identity: int, series: int, chosen: int, packages: Sequence[bytes] = ()) -> bytes:
    """Make an introduction.

    Args:
        identity: who we are.
        series: which numbering.
        chosen: the hint of its packages until it is acknowledged.
        packages: datagrams that follow with this hint, at most `VOUCHED`.
    """
    header = (INTRODUCTION << 24 | series).to_bytes(HEADER_SIZE, "big")
    who = identity.to_bytes(IDENTITY_BITS // 8, "big") + bytes([chosen])
    return header + who + vouching(packages)


def read_introduction(datagram: bytes) -> tuple[int, int, int, bytes] | None:
    """Read identity, series, chosen hint, and checksums back to back; None if it is no introduction, or cut off."""
    more = len(datagram) - INTRODUCTION_SIZE
    if datagram[0] != INTRODUCTION or more < 0 or more % CHECKSUM_SIZE:
        return None
    identity = int.from_bytes(datagram[HEADER_SIZE : INTRODUCTION_SIZE - 1], "big")
    chosen = datagram[INTRODUCTION_SIZE - 1] & HINT_BITS
    return identity, int.from_bytes(datagram[1:HEADER_SIZE], "big"), chosen, datagram[INTRODUCTION_SIZE:]


def refusal(hint: int, by: int) -> bytes:
    """Make the answer to packages with an unknown hint; `by` is our own mark."""
    return bytes([REFUSAL]) + pack_echo(hint, 0, by).to_bytes(3, "big")


def read_refusal(datagram: bytes) -> tuple[int, int]:
    """Return the hint that is refused, and the mark of who does so."""
    hint, _, by = unpack_echo(int.from_bytes(datagram[1:HEADER_SIZE], "big"))
    return hint, by


def pack_echo(hint: int, mark: int, by: int) -> int:
    """Make an echo: hint, perhaps with `SPURNED`, the mark of the confirmed numbering, and that of who confirms.

    What of the mark has no room in the id bytes of a header, its high bits, travels as `header.pack_confirmation` says.
    """
    return mark >> MARK_BITS << 24 | hint << 2 * MARK_BITS | (mark & MARK) << MARK_BITS | by


def read_echo(datagram: bytes) -> int:
    """Read the echo of a confirmation; 0 if it has none: one has both parts."""
    echo = int.from_bytes(datagram[1:HEADER_SIZE], "big")
    if not echo or (len(datagram) - HEADER_SIZE) % ID_SIZE != TAIL_SIZE:
        return 0
    return int.from_bytes(datagram[-TAIL_SIZE:], "big") << 24 | echo


def unpack_echo(echo: int) -> tuple[int, int, int]:
    """Return hint, mark and by of an echo."""
    mark = echo >> 24 << MARK_BITS | echo >> MARK_BITS & MARK
    return echo >> 2 * MARK_BITS & HINT_BITS, mark, echo & MARK


class Verdict(Enum):
    """What an introduction is to the receiver."""

    KNOWN = auto()
    """Of the numbering that is known."""
    LATE = auto()
    """Of one that is over."""
    TAKEN = auto()
    """Of one that is over, and of which packages were taken; see `Acquaintance.ended`."""
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
        ended: the hint of the numbering that was just introduced, if the verdict was `TAKEN`.
    """

    hint: int = 0
    identity: int | None = None
    series: int = 0
    last: int = 1
    ended: int = 0
    takes_chosen: bool = False
    _taken: int = 0
    """The hint of the last numbering if it is over and packages of it were taken, else 0."""
    _chosen: int = NONE_TAKEN
    """The sender's own hint."""
    _expected: bytes = b""
    """Checksums of packages with that hint which may be taken, back to back, the latest last."""
    _stale: dict[int, float] = field(default_factory=dict[int, float])
    """Hints that we assigned to older numberings, or did not know, and when that ended or happened."""
    _strange_at: float = -inf
    """When packages of another life than the present one were last heard of."""
    _early: int = NONE_TAKEN
    """The hint of packages that may have overtaken their introduction, if nothing else strange was heard of."""
    _former: dict[int, tuple[int, int]] = field(default_factory=dict[int, tuple[int, int]])
    """The last series of former identities, and the hint of its numbering if packages of it were taken, else 0."""

    def introduced(
        self, identity: int, series: int, chosen: int, now: float, *, seen: bool, checksums: bytes = b""
    ) -> Verdict:
        """Judge an introduction, and assign a hint if a new numbering begins.

        Args:
            identity: who it is.
            series: which numbering.
            chosen: the hint of its packages until it is acknowledged.
            now: the time in seconds.
            seen: whether packages of the present numbering were taken.
            checksums: of the packages with the chosen hint that follow.
        """
        known, taken = self.series, self._taken
        if identity != self.identity:
            known, taken = self._former.get(identity, (series - 1, 0))
        same = series >> ATTEMPT_BITS == known >> ATTEMPT_BITS
        if identity == self.identity and self.hint > 0 and same:
            self.series = max(self.series, series)
            self._expect(checksums)
            return Verdict.KNOWN
        if same and taken:
            self.ended = taken
            return Verdict.TAKEN
        ahead = series - known & ID_MASK
        if ahead > ID_MASK // 2 or (not ahead and identity != self.identity):
            return Verdict.LATE
        verdict = Verdict.BEGINS
        if (self.identity is not None and identity != self.identity) or (self.hint == 0 and seen):
            verdict = Verdict.RESTARTED
        self.retire(now, seen=seen)
        if identity != self.identity:
            self._remember_former()
        self._former.pop(identity, None)
        self.identity, self.series, self._taken = identity, series, 0
        self._chosen = chosen
        self.takes_chosen = chosen >= CHOSEN and (chosen == self._early or now - self._strange_at >= LATE)
        self._early = NONE_TAKEN
        self._expect(checksums)
        self.hint = self.last = self._next_hint(now)
        return verdict

    def takes(self, datagram: bytes) -> bool:
        """Tell whether a package with a hint belongs to the present numbering."""
        hint = datagram[0] & HINT_BITS
        return hint == self.hint or (self.takes_chosen and hint == self._chosen and self._is_expected(datagram))

    def refuses(self, hint: int, now: float) -> bool:
        """Tell whether the sender of a package that is not taken should be told so.

        It need not when it is the hint that the known sender chose: that one goes on introducing itself.
        """
        if hint == self._chosen:
            return False
        alone = hint == self._early or (self.identity is None and now - self._strange_at >= LATE)
        self._early = hint if alone and hint >= CHOSEN else NONE_TAKEN
        self._strange_at = now
        self._stale[hint] = now  # assigned to a later numbering, it would be hit by this refusal if that is late
        return True

    def retire(self, now: float, *, seen: bool, plain: bool = False) -> None:
        """End the present numbering; from now on packages are taken with no hint, or none at all.

        Args:
            now: the time in seconds.
            seen: whether packages of it were taken.
            plain: whether packages without a hint are taken.
        """
        if self.hint > 0:
            self._stale[self.hint] = self._strange_at = now
            self._taken = self.hint if seen else 0
        self.takes_chosen, self._chosen, self._expected = False, NONE_TAKEN, b""
        self.hint = 0 if plain else NONE_TAKEN
        if plain and self.identity is not None:
            self._remember_former()
            self.identity = None

    def _expect(self, checksums: bytes) -> None:
        """Expect packages with these checksums."""
        if self.takes_chosen and checksums not in self._expected:
            self._expected = (self._expected + checksums)[-EXPECTED * CHECKSUM_SIZE :]

    def _is_expected(self, datagram: bytes) -> bool:
        checksum = checksum_of(datagram)
        place = self._expected.find(checksum)
        while place % CHECKSUM_SIZE and place > 0:  # it lies across two others
            place = self._expected.find(checksum, place + 1)
        return place >= 0

    def _remember_former(self) -> None:
        if self.identity is not None:
            self._former[self.identity] = self.series, self._taken
        if len(self._former) > FORMER:
            del self._former[next(iter(self._former))]

    def _next_hint(self, now: float) -> int:
        """Return the next hint that no older numbering had lately; if all are stale, the one that is so for longest."""
        order = [(self.last + step) % ASSIGNED + 1 for step in range(ASSIGNED)]
        stale = {hint: self._stale.get(hint, -inf) for hint in order}
        return next((hint for hint in order if now - stale[hint] >= LATE), min(order, key=stale.__getitem__))
