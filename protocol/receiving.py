"""The receiving half of a peer, first part: what is new and what may be delivered (the ureceiver's state).

The rules (protocol/README.md has them in full):

- unreliable packages are delivered as they come;
- of each source the *next* expected number is kept, and the *holes* below it. A number at or above next opens holes for
  what it skipped; one that fills a hole is new; any other is a duplicate;
- a package that would make more than 1024 holes is refused: not delivered, not confirmed. The first package of a source is
  judged as if 0 had been expected;
- everything new or doubled is confirmed, the doubled because its confirmation may be what was lost;
- an unordered package that is new is delivered at once, a semi-ordered one as soon as no hole is left below it. Until then
  it is *kept*; at most 1024 are kept per source, then further ones are refused;
- a source with nothing kept is forgotten after `MEMORY` of silence and a `MARGIN` on top. Senders forget after
  `MEMORY` and then start at 0, so within the margin what would be a duplicate or refused begins a new numbering;
- at most `max_peers` are known. For one more the source goes that was *idle* longest; if none is, the stranger is turned away: not
  delivered, not confirmed, not remembered. A source is idle when nothing can be under way: `SETTLED` after its last package, or if it has
  holes or kept packages, `MEMORY` and `MARGIN` after it;
- all sources together may have so many holes and kept packages. Beyond that each may still have a `FEW`.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from .ageing import Ageing
from .header import HEADER_SIZE, ID_MASK, Reliability, ids_of_run, unpack_header, unwrap
from .messages import Received, ToConfirm
from .packages import InPackage
from .redelivery import MEMORY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .address import Address

__all__ = ["MARGIN", "MAX_HOLES", "MAX_KEPT", "MAX_PEERS", "Receiving"]

MAX_HOLES: Final = 1024
MAX_KEPT: Final = 1024
MARGIN: Final = 60.0
"""Seconds by which the receiving half outlives the sending half: as long as a package may stay unconfirmed."""
MAX_PEERS: Final = 16384
SETTLED: Final = 120.0
"""Seconds after which no package is sent again that has left no hole: every one has failed by 60."""
ALL_HOLES: Final = 256 * 1024
ALL_KEPT: Final = 32 * 1024
FEW: Final = 4
"""Holes, and kept packages, that a source may have however many the others have."""
LOOKS: Final = 64
"""Sources that are looked at, at most, to make room for a stranger."""


@dataclass(slots=True)
class _Source:
    heard: float
    next: int | None = None
    """The number after the highest one seen; None before the first."""
    holes: dict[int, None] = field(default_factory=dict[int, None])
    """Missing numbers below `next`, in ascending order (they are only ever added at the upper end)."""
    kept: dict[int, InPackage] = field(default_factory=dict[int, InPackage])
    kept_order: list[int] = field(default_factory=list[int])
    """The numbers in `kept`, as a heap."""

    def idle_at(self) -> float:
        """Return when nothing will be under way any more, should nothing more come."""
        return self.heard + (MEMORY + MARGIN if self.holes or self.kept else SETTLED)


class Receiving:
    """Tells new packages from duplicates and puts semi-ordered ones in order.

    Every package is judged first; then state and outputs change together.

    Args:
        max_peers: how many sources may be known at a time.

    Attributes:
        to_user: packages to deliver. They must be passed on before `to_confirmer`, or a crash in between could lose
            what was confirmed.
        to_confirmer: ids to confirm.
        refused: how many packages were refused so far.
        duplicates: how many packages came again so far.
        kept: how many packages are kept at the moment.
        holes: how many holes there are at the moment.
        evicted: how many idle sources were forgotten for others so far.
        turned_away: how many packages of strangers were not taken so far because no source was idle.
    """

    def __init__(self, *, max_peers: int = MAX_PEERS) -> None:
        self.to_user: list[InPackage] = []
        self.to_confirmer: list[ToConfirm] = []
        self.refused = 0
        self.duplicates = 0
        self.kept = 0
        self.holes = 0
        self.evicted = 0
        self.turned_away = 0
        self._max_peers = max_peers
        self._sources: dict[Address, _Source] = {}
        self._ageing: Ageing[Address] = Ageing()
        """Sources by when they will be idle, or sooner."""
        self._idle: Ageing[Address] = Ageing()
        """Sources that were idle when last looked at, by when they are to be forgotten. Each source is here or there."""

    def received(self, received: Received) -> None:
        """Take a run of datagrams, all of which are packages."""
        buffer, size = received.buffer, received.size
        if len(buffer) <= size:
            self._package(received.source, buffer, received.time)
        elif not self._run(received):
            for start in range(0, len(buffer), size):
                self._package(received.source, buffer[start : start + size], received.time)

    def _run(self, received: Received) -> bool:
        """Take a run at once, if it is what runs usually are: alike, in order, and with nothing missing before it.

        That does what `_package` would do with one after the other, and nothing else. Returns whether it was such a run.
        """
        buffer, size, address, time = received.buffer, received.size, received.source, received.time
        flags = buffer[0]
        kinds = buffer[::size]
        if kinds.count(flags) != len(kinds):
            return False
        reliability, peers, wire_id = unpack_header(buffer)
        source = None
        if reliability is not Reliability.UNRELIABLE:
            source = self._sources.get(address)
            if source is None or source.holes or source.next is None or time - source.heard >= MEMORY:
                return False
            ids = ids_of_run(buffer, size)
            if wire_id != source.next & ID_MASK or ids != tuple(range(wire_id, wire_id + len(ids))):
                return False
        packages = [
            InPackage(buffer[start : start + size - HEADER_SIZE], reliability, peers, address, time)
            for start in range(HEADER_SIZE, len(buffer) + 1, size)
        ]
        self.to_user += packages
        if source is not None:
            source.heard = time
            source.next = (source.next or 0) + len(packages)
            self._confirm(address, range(wire_id, wire_id + len(packages)), time, urgent=False)
        return True

    def forget(self, source: Address) -> None:
        """Forget the numbering of a source; what is kept of it is dropped, its next package is judged against 0."""
        forgotten = self._sources.get(source)
        if forgotten is not None:
            self._restart(forgotten)

    def deadline(self) -> float | None:
        """Return when `tick` wants to be called next, or None."""
        settle, forget = self._ageing.deadline(), self._idle.deadline()
        return settle if forget is None else forget if settle is None else min(settle, forget)

    def tick(self, now: float) -> None:
        """Note which sources are idle, and forget those that were silent for long."""
        self._ageing.collect(now, lambda address: self._settle(address, now))
        self._idle.collect(now, lambda address: self._forget(address, now))

    def _settle(self, address: Address, now: float) -> float | None:
        """Move a source to the idle ones if it is; return when to look again."""
        source = self._sources[address]
        idle_at = source.idle_at()
        if now < idle_at:
            return min(idle_at, now + SETTLED)  # its holes may be filled by then
        self._idle.add(address, source.heard + MEMORY + MARGIN)
        return None

    def _forget(self, address: Address, now: float) -> float | None:
        """Forget an idle source if it is time; return when to look again."""
        source = self._sources[address]
        if now < source.idle_at():
            self._ageing.add(address, source.idle_at())
            return None
        forget_at = source.heard + MEMORY + MARGIN
        if now < forget_at:
            return forget_at
        if source.kept:
            return now + MEMORY + MARGIN
        self._remove(address, source)
        return None

    def _make_room(self, now: float) -> bool:
        """Forget the source that was idle longest, if one is; return whether there is room now."""
        if len(self._sources) < self._max_peers:
            return True
        for _ in range(LOOKS):
            first = self._idle.pop()
            if first is None:
                return False
            address = first[1]
            source = self._sources[address]
            forget_at = source.heard + MEMORY + MARGIN
            if now < source.idle_at():
                self._ageing.add(address, source.idle_at())
            elif first[0] != forget_at:  # something came since
                self._idle.add(address, forget_at)
            else:
                self._remove(address, source)
                self.evicted += 1
                return True
        return False

    def _remove(self, address: Address, source: _Source) -> None:
        self._restart(source)
        del self._sources[address]

    def renew(self, source: Address | None, now: float) -> None:
        """Make anew what is known of a source, or of all if None, because handling it crashes again and again.

        Next number, holes and kept packages stay, since they were confirmed: nothing is lost. Everything else is rebuilt.
        """
        chosen = list(self._sources) if source is None else [known for known in self._sources if known == source]
        for address in chosen:
            old = self._sources[address]
            holes = dict.fromkeys(sorted(number for number in old.holes if number < (old.next or 0)))
            fresh = _Source(now, old.next, holes, dict(old.kept), sorted(old.kept))
            self._sources[address] = fresh
            self._release(fresh)
        if source is None:
            self._ageing, self._idle = Ageing(), Ageing()
            for address in self._sources:
                self._ageing.add(address, now + SETTLED)
        self.holes = sum(len(known.holes) for known in self._sources.values())
        self.kept = sum(len(known.kept) for known in self._sources.values())

    def _package(self, address: Address, datagram: bytes, time: float) -> None:
        reliability, peers, wire_id = unpack_header(datagram)
        package = InPackage(datagram[HEADER_SIZE:], reliability, peers, address, time)
        if reliability is Reliability.UNRELIABLE:
            self.to_user.append(package)
            return
        source = self._sources.get(address)
        if source is None:
            if wire_id > self._most_holes(wire_id):
                self.refused += 1
                return
            if not self._make_room(time):
                self.turned_away += 1
                return
            source = self._sources[address] = _Source(time)
            self._ageing.add(address, time + SETTLED)
        elif time - source.heard >= MEMORY and not self._continues(source, wire_id):
            self._restart(source)
        source.heard = time
        number = wire_id if source.next is None else unwrap(wire_id, source.next)
        self._reliable(source, number, wire_id, package)

    def _continues(self, source: _Source, wire_id: int) -> bool:
        """Tell whether the id is new and acceptable in the source's present numbering."""
        if source.next is None:
            return False
        number = unwrap(wire_id, source.next)
        return number in source.holes or 0 <= number - source.next <= MAX_HOLES - len(source.holes)

    def _restart(self, source: _Source) -> None:
        self.kept -= len(source.kept)
        self.holes -= len(source.holes)
        source.next = None
        source.holes.clear()
        source.kept.clear()
        source.kept_order.clear()

    def _reliable(self, source: _Source, number: int, wire_id: int, package: InPackage) -> None:
        holes, expected = source.holes, source.next or 0
        if number < expected and number not in holes:
            self.duplicates += 1
            self._confirm(package.source, (wire_id,), package.time, urgent=True)
            return
        skipped = range(expected, number)
        if skipped and len(holes) + len(skipped) > self._most_holes(len(skipped)):
            self.refused += 1
            return
        lowest = next(iter(holes), expected)
        keep = package.reliability is Reliability.SEMI_ORDERED and number > lowest
        if keep and len(source.kept) >= (MAX_KEPT if self.kept < ALL_KEPT else FEW):
            self.refused += 1
            return
        urgent = bool(skipped) or number < expected
        if number >= expected:
            holes.update(dict.fromkeys(skipped))
            self.holes += len(skipped)
            source.next = number + 1
        else:
            del holes[number]
            self.holes -= 1
        if keep:
            source.kept[number] = package
            heapq.heappush(source.kept_order, number)
            self.kept += 1
        else:
            self.to_user.append(package)
            if number == lowest:
                self._release(source)
        self._confirm(package.source, (wire_id,), package.time, urgent=urgent)

    def _most_holes(self, more: int) -> int:
        """Return how many holes a source may have, should it get so many more."""
        return MAX_HOLES if self.holes + more <= ALL_HOLES else FEW

    def _release(self, source: _Source) -> None:
        """Deliver what was kept below the lowest hole."""
        order = source.kept_order
        end = next(iter(source.holes), source.next or 0)
        while order and order[0] < end:
            self.to_user.append(source.kept.pop(heapq.heappop(order)))
            self.kept -= 1

    def _confirm(self, source: Address, ids: Sequence[int], time: float, *, urgent: bool) -> None:
        run = self.to_confirmer[-1] if self.to_confirmer else None
        if run is not None and run.source == source and run.urgent == urgent:
            run.ids.extend(ids)
        else:
            self.to_confirmer.append(ToConfirm(source, list(ids), urgent, time))
