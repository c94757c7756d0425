"""The receiving half of a peer: which sources are known, and who makes room for a stranger.

The rules (protocol/README.md has them in full):

- a source with nothing kept is forgotten after `MEMORY` of silence and a `MARGIN` on top;
- at most `max_peers` are known. For one more the source goes that was *idle* longest; if none is, there is no room. A
  source is idle when nothing can be under way: `TOO_OLD` after its last package, or if it has holes or kept packages,
  `MEMORY` and `MARGIN` after it;
- a package of a known source costs nothing here. A source is looked at when it may have been silent for long, and when
  a stranger comes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import Final

from .address import Address
from .ageing import Ageing
from .header import unwrap
from .identity import Acquaintance
from .packages import InPackage
from .redelivery import MEMORY

__all__ = ["MARGIN", "MAX_HOLES", "MAX_PEERS", "TOO_OLD", "Source", "Sources"]

MARGIN: Final = 60.0
"""Seconds by which the receiving half outlives the sending half: as long as a package may stay unconfirmed."""
TOO_OLD: Final = 120.0
"""Seconds after which no package is sent again: by `policy.LONGEST` every one is confirmed or has failed."""
MAX_PEERS: Final = 16384
MAX_HOLES: Final = 1024
LOOKS: Final = 64
"""Sources that are looked at, at most, to make room for a stranger."""


@dataclass(slots=True)
class Source:
    """What is known of a source."""

    heard: float
    next: int | None = None
    """The number after the highest one seen; None before the first."""
    holes: dict[int, None] = field(default_factory=dict[int, None])
    """Missing numbers below `next`, in ascending order (they are only ever added at the upper end)."""
    kept: dict[int, InPackage] = field(default_factory=dict[int, InPackage])
    kept_order: list[int] = field(default_factory=list[int])
    """The numbers in `kept`, as a heap."""
    who: Acquaintance = field(default_factory=Acquaintance)
    echo: int = 0
    """What confirmations of the present numbering carry."""
    base: int = 0
    """What ids of packages with the assigned hint are ahead of their numbers."""
    old: int = 0
    """All duplicates below this number first came over `TOO_OLD` ago; only of a source without hints."""
    getting_old: int = 0
    """The next value of `old`."""
    old_at: float = inf
    """When it will be."""
    duplicates: int = 0

    def idle_at(self) -> float:
        """Return when nothing will be under way any more, should nothing more come."""
        return self.heard + (MEMORY + MARGIN if self.holes or self.kept else TOO_OLD)

    def begin_anew(self) -> None:
        """Forget the numbering."""
        self.next = None
        self.echo = self.base = 0
        self.holes.clear()
        self.kept.clear()
        self.kept_order.clear()
        self.old = self.getting_old = 0

    def continues(self, wire_id: int) -> bool:
        """Tell whether an id is new and acceptable in the present numbering."""
        if self.next is None:
            return False
        number = unwrap(wire_id, self.next)
        return number in self.holes or 0 <= number - self.next <= MAX_HOLES - len(self.holes)

    def is_too_old(self, wire_id: int, time: float) -> bool:
        """Tell whether a package is a duplicate of one that first came too long ago, and could begin a numbering."""
        expected = self.next or 0
        if time >= self.old_at or self.old_at == inf:
            self.old = expected if time - self.heard >= TOO_OLD else self.getting_old
            self.getting_old = expected
            self.old_at = time + TOO_OLD
        number = unwrap(wire_id, expected)
        return number < self.old and number not in self.holes and wire_id <= MAX_HOLES


class Sources(dict[Address, Source]):
    """The sources that are known.

    Args:
        max_peers: how many there may be at a time.

    Attributes:
        kept: how many packages are kept of all of them; whoever keeps one counts it.
        holes: how many holes all of them have, likewise.
        evicted: how many idle ones were forgotten for others so far.
        gone: those that were forgotten, and why, for whoever takes note of it.
    """

    def __init__(self, max_peers: int) -> None:
        super().__init__()
        self.kept = 0
        self.holes = 0
        self.evicted = 0
        self.gone: list[tuple[Address, str]] = []
        self._max_peers = max_peers
        self._recent: Ageing[Address] = Ageing()
        """Sources by when they may be silent for `TOO_OLD`."""
        self._silent: Ageing[Address] = Ageing()
        """Sources that were when last looked at, by when they may be forgotten. Each source is here or there."""

    def add(self, address: Address, source: Source) -> bool:
        """Know one more source, if there is or can be made room; return whether there is."""
        if not self._make_room(source.heard):
            return False
        self[address] = source
        self._recent.add(address, source.heard + TOO_OLD)
        return True

    def renew(self, now: float, *, times: bool) -> None:
        """Count anew, and if `times`, forget when each was to be looked at."""
        if times:
            self._recent, self._silent = Ageing(), Ageing()
            for address in self:
                self._recent.add(address, now + TOO_OLD)
        self.holes = sum(len(known.holes) for known in self.values())
        self.kept = sum(len(known.kept) for known in self.values())

    def deadline(self) -> float | None:
        """Return when `tick` wants to be called next, or None."""
        # Whether a source is idle matters only to a stranger, so nobody is woken for that.
        recent, silent = self._recent.deadline(), self._silent.deadline()
        first = inf if recent is None else recent - TOO_OLD + MEMORY + MARGIN
        first = first if silent is None else min(first, silent)
        return None if first == inf else first

    def tick(self, now: float) -> None:
        """Forget sources that were silent for long."""
        self._recent.collect(now, lambda address: self._fall_silent(address, now))
        self._silent.collect(now, lambda address: self._forget(address, now))

    def _fall_silent(self, address: Address, now: float) -> float | None:
        """Move a source to the silent ones if it is; return when to look again."""
        heard = self[address].heard
        if now < heard + TOO_OLD:
            return heard + TOO_OLD
        self._silent.add(address, heard + MEMORY + MARGIN)
        return None

    def _forget(self, address: Address, now: float) -> float | None:
        """Forget a silent source if it is time; return when to look again."""
        source = self[address]
        if now < source.heard + TOO_OLD:
            self._recent.add(address, source.heard + TOO_OLD)
            return None
        forget_at = source.heard + MEMORY + MARGIN
        if now < forget_at:
            return forget_at
        if source.kept:
            return now + MEMORY + MARGIN
        self._remove(address, source, "silence")
        return None

    def _make_room(self, now: float) -> bool:
        """Forget the source that was idle longest, if one is; return whether there is room now."""
        if len(self) < self._max_peers:
            return True
        self._recent.collect(now, lambda address: self._fall_silent(address, now))
        for _ in range(LOOKS):
            first = self._silent.pop()
            if first is None:
                return False
            address = first[1]
            source = self[address]
            idle_at, forget_at = source.idle_at(), source.heard + MEMORY + MARGIN
            if now < idle_at:
                self._recent.add(address, min(idle_at, now + TOO_OLD))  # its holes may be filled by then
            elif first[0] != forget_at:  # something came since
                self._silent.add(address, forget_at)
            else:
                self._remove(address, source, "room")
                self.evicted += 1
                return True
        return False

    def _remove(self, address: Address, source: Source, why: str) -> None:
        self.kept -= len(source.kept)
        self.holes -= len(source.holes)
        del self[address]
        self.gone.append((address, why))
