"""How numberings are introduced to their targets, and who has acknowledged them: the sending half's side of `identity`.

The rules:

- the introduction goes ahead of whatever is sent again, until the target acknowledges it or confirms something without
  an echo, as an original does;
- the target is a *stranger* when it cannot know this numbering: when it refuses a hint that it has assigned, echoes as
  another life than the one that acknowledged, or changes between having an identity and not having one;
- until it is acknowledged, an introduction says which packages follow it, since the target takes no others with our own
  hint;
- a refusal of our own hint says that the introduction was lost, or taken for a late one. It is answered by the next
  attempt, once per round trip, and with what can have been refused: the packages of the last attempt, not what followed
  since;
- when the target says that it spurns our own hint, what was sent with it goes out once more;
- when it acknowledges the numbering but confirms nothing, what left with the introduction is lost or has overtaken it,
  and the refusal may be lost too. Then the oldest package goes out once more: a lone one would wait for its timeout
  otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from .address import Address
from .header import HEADER_SIZE, ID_MASK
from .identity import (
    CHOSEN,
    HINT_BITS,
    MAX_ATTEMPT,
    NOBODY,
    SPURNED,
    VOUCHED,
    base_of,
    introduction,
    mark_of_numbering,
    unpack_echo,
    vouching,
)
from .messages import Datagrams, Refused

__all__ = ["Answer", "Introducing", "Restarts", "introduce"]

REFUSED_AGAIN: Final = 0.001
"""Seconds that a refusal is taken to have needed, at least; the first one may have needed any time."""
LONGEST: Final = 1.0
"""Seconds that a refusal is taken to have needed, at most; it may be about what was sent long after the
introduction."""
TOO_SOON: Final = 0.75
"""Share of the time that the last refusal took, in which another one is about the same packages."""


REMEMBERED: Final = 1024
"""Peers of which it is remembered which life of theirs was reported last."""


def introduce(outgoing: list[Datagrams], target: Address, introducing: bytes, packages: Sequence[bytes]) -> None:
    """Have an introduction go ahead of packages that come next.

    The last one vouches for them too, if it has not left yet and has room for them.
    """
    ahead, last = outgoing[-2:] if len(outgoing) > 1 else (None, None)
    if (
        ahead is not None
        and last is not None
        and last.target == ahead.target == target
        and ahead.datagrams[0].startswith(introducing)
        and len(last.datagrams) + len(packages) <= VOUCHED
    ):
        ahead.datagrams[0] += vouching(packages)
    else:
        outgoing.append(Datagrams(target, [introducing + vouching(packages)]))


class Restarts:
    """Which life of each peer was reported last, so that none is reported twice; of the latest peers only."""

    def __init__(self) -> None:
        self._marks: dict[Address, int] = {}

    def last(self, peer: Address) -> int | None:
        """Return the mark of the life that was reported last."""
        return self._marks.get(peer)

    def is_news(self, peer: Address, by: int | None) -> bool:
        """Tell whether the life with this mark is news, and note it; one without a mark always is."""
        if by is None:
            return True
        before = self._marks.pop(peer, None)
        self._marks[peer] = by
        if len(self._marks) > REMEMBERED:
            del self._marks[next(iter(self._marks))]
        return by != before


class Answer(Enum):
    """What a control datagram says of a numbering."""

    OURS = auto()
    """It is about this numbering."""
    ACKNOWLEDGED = auto()
    """The same, and the first of that kind."""
    SPURNED = auto()
    """The same, and nothing was taken so far."""
    PLAIN = auto()
    """The same, by one without an identity."""
    LATE = auto()
    """It is about another one, or old."""
    LOST = auto()
    """The target has not taken the introduction."""
    STRANGER = auto()
    """Who answers knows nothing of this numbering; see `Introducing.stranger`."""


@dataclass(slots=True)
class Introducing:
    """What is known of who knows a numbering.

    Attributes:
        identity: our own.
        series: of the numbering.
        hint: what packages carry.
        introduced_at: when it was last introduced.
        base: what ids are ahead of numbers, once it is acknowledged.
        by: the mark of the target's life that has acknowledged it.
        stranger: the mark of a life that has not.
    """

    identity: int
    series: int
    hint: int
    introduced_at: float
    base: int = 0
    by: int | None = None
    stranger: int = NOBODY
    _plain: bool = False
    """It confirms without an echo: it has no identity."""
    _attempt: int = 0
    _refused_after: float = 0.0

    def confirmed(self, echo: int, *, awaited: bool) -> Answer:
        """Judge a confirmation by its echo.

        Args:
            echo: see `identity`.
            awaited: whether any of its ids is unconfirmed.
        """
        hint, mark, by = unpack_echo(echo)
        spurned, hint = hint & SPURNED, hint & ~SPURNED
        if not hint:  # no echo; originals ignore these bits
            if self.by is not None and awaited:
                self.stranger = NOBODY
                return Answer.STRANGER
            first, self._plain = awaited and not self._plain, self._plain or awaited
            return Answer.PLAIN if first else Answer.OURS
        if mark != mark_of_numbering(self.identity, self.series):
            return Answer.LATE
        if self._plain or (self.by is not None and (hint, by) != (self.hint, self.by)):
            self.stranger = by
            return Answer.STRANGER
        if self.by is not None:
            return Answer.OURS
        self.hint, self.by = hint, by
        self.base = base_of(self.identity, self.series, by)
        return Answer.SPURNED if spurned else Answer.ACKNOWLEDGED

    def refused(self, refused: Refused) -> Answer:
        """Judge a refusal; LOST counts as the next attempt."""
        if refused.hint != self.hint:
            return Answer.LATE
        if self._plain or self._known:
            self.stranger = refused.by
            return Answer.STRANGER
        took = refused.time - self.introduced_at
        if took < TOO_SOON * self._refused_after:
            return Answer.LATE
        self._refused_after = min(max(REFUSED_AGAIN, took), LONGEST)
        self._attempt = min(self._attempt + 1, MAX_ATTEMPT)
        return Answer.LOST

    def refused_until(self, now: float) -> float:
        """Return when the last packages were sent that a refusal may be about which came now; see `TOO_SOON`."""
        return now - TOO_SOON * (now - self.introduced_at)

    def ahead(self, now: float, packages: Sequence[bytes]) -> list[bytes]:
        """Return what goes ahead of packages that are sent again; they carry the hint in use already."""
        if self._plain or self._known:
            return []
        self.introduced_at = now
        series = self.series + self._attempt
        return [
            introduction(self.identity, series, self.hint, packages[start : start + VOUCHED])
            for start in range(0, len(packages), VOUCHED)
        ]

    @property
    def _known(self) -> bool:
        """Whether the target has known the numbering: it acknowledged it, or once assigned its hint, as we forgot."""
        return self.by is not None or 0 < self.hint < CHOSEN

    def with_hint(self, numbers: Sequence[int], datagrams: Sequence[bytes]) -> list[bytes]:
        """Return packages with the hint that is in use now, and with the ids that go with it."""
        return [
            datagram if datagram[0] & HINT_BITS == self.hint else self._dress(number, datagram)
            for number, datagram in zip(numbers, datagrams, strict=True)
        ]

    def _dress(self, number: int, datagram: bytes) -> bytes:
        header = (datagram[0] & ~HINT_BITS | self.hint) << 24 | number + self.base & ID_MASK
        return header.to_bytes(HEADER_SIZE, "big") + datagram[HEADER_SIZE:]
