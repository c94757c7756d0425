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
- packages belong to a numbering that was introduced, which their hint tells (see `identity`): one with a hint that nobody knows is not
  taken. A new introduction begins a new numbering; by another life than the one before it is a restart, which is told;
- of a source without hints, a duplicate that first came over `TOO_OLD` ago is the first package after a restart.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Any, Final

from .ageing import Ageing
from .header import CONTROL, HEADER_SIZE, ID_MASK, Reliability, ids_of_run, unpack_header, unwrap
from .identity import HINT_BITS, NOBODY, Acquaintance, Verdict, base_of, mark_of, pack_echo, read_introduction
from .messages import Received, Refuse, Restarted, ToConfirm
from .notes import Note, taken, which
from .packages import InPackage
from .redelivery import MEMORY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .address import Address

__all__ = ["MARGIN", "MAX_HOLES", "MAX_KEPT", "Receiving"]

MAX_HOLES: Final = 1024
MAX_KEPT: Final = 1024
MARGIN: Final = 60.0
"""Seconds by which the receiving half outlives the sending half: as long as a package may stay unconfirmed."""
TOO_OLD: Final = 120.0
"""Seconds after which no package is sent again: every one has failed by 60."""


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


class Receiving:
    """Tells new packages from duplicates and puts semi-ordered ones in order.

    Every package is judged first; then state and outputs change together.

    Args:
        identity: of our own stack; None takes hints and introductions for nothing, as an original does.

    Attributes:
        to_user: packages to deliver. They must be passed on before `to_confirmer`, or a crash in between could lose
            what was confirmed.
        to_confirmer: ids to confirm.
        to_refuse: sources whose packages were not taken, for `Confirmations` too.
        to_usender: sources that were restarted, for `Numbering`.
        refused: how many packages were refused so far.
        strange: how many packages and introductions were not taken because they belong to no numbering that is known.
        duplicates: how many packages came again so far.
        kept: how many packages are kept at the moment.
    """

    notes: list[Note] | None = None

    def __init__(self, identity: int | None = None) -> None:
        self.to_user: list[InPackage] = []
        self.to_confirmer: list[ToConfirm] = []
        self.to_refuse: list[Refuse] = []
        self.to_usender: list[Restarted] = []
        self.refused = 0
        self.strange = 0
        self.duplicates = 0
        self.kept = 0
        self._identity = identity
        self._sources: dict[Address, _Source] = {}
        self._ageing: Ageing[Address] = Ageing()

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
        if flags & CONTROL or kinds.count(flags) != len(kinds):
            return False
        reliability, peers, wire_id = unpack_header(buffer)
        source, first = None, 0
        if reliability is not Reliability.UNRELIABLE:
            source = self._sources.get(address)
            if source is None or source.holes or source.next is None or time - source.heard >= MEMORY:
                return False
            if (self._identity is not None and flags & HINT_BITS != source.who.hint) or time >= source.old_at:
                return False
            ids = ids_of_run(buffer, size)
            first = source.next & ID_MASK
            if wire_id != first + source.base & ID_MASK or ids != tuple(range(wire_id, wire_id + len(ids))):
                return False
            if first + len(ids) > ID_MASK:
                return False
        packages = [
            InPackage(buffer[start : start + size - HEADER_SIZE], reliability, peers, address, time)
            for start in range(HEADER_SIZE, len(buffer) + 1, size)
        ]
        self.to_user += packages
        if self.notes is not None:
            number = wire_id if source is None else first
            self.notes += taken(packages, range(number, number + len(packages)))
        if source is not None:
            source.heard = time
            source.next = (source.next or 0) + len(packages)
            self._confirm(address, source.echo, range(first, first + len(packages)), time, urgent=False)
        return True

    def forget(self, source: Address) -> None:
        """Forget the numbering of a source; what is kept of it is dropped, its next package is judged against 0.

        A source that introduced itself has to do that again before its packages are taken.
        """
        forgotten = self._sources.get(source)
        if forgotten is not None:
            self._restart(forgotten)
            if forgotten.who.hint:
                forgotten.who.retire(forgotten.heard)

    def deadline(self) -> float | None:
        """Return when `tick` wants to be called next, or None."""
        return self._ageing.deadline()

    def tick(self, now: float) -> None:
        """Forget sources that were silent for long."""

        def look(address: Address) -> float | None:
            source = self._sources[address]
            forget_at = source.heard + MEMORY + MARGIN
            if now < forget_at:
                return forget_at
            if source.kept:
                return now + MEMORY + MARGIN
            del self._sources[address]
            self._note("peer:forgotten", source=address, trigger="silence")
            return None

        self._ageing.collect(now, look)

    def peers(self) -> list[tuple[Address, dict[str, Any]]]:
        """Return what came from each source. May be called from another thread."""
        return [
            (address, {"received": (source.next or 0) - len(source.holes), "duplicates": source.duplicates})
            for address, source in list(self._sources.items())
        ]

    def renew(self, source: Address | None, now: float) -> None:
        """Make anew what is known of a source, or of all if None, because handling it crashes again and again.

        Next number, holes and kept packages stay, since they were confirmed: nothing is lost. Everything else is rebuilt.
        """
        chosen = list(self._sources) if source is None else [known for known in self._sources if known == source]
        for address in chosen:
            old = self._sources[address]
            holes = dict.fromkeys(sorted(number for number in old.holes if number < (old.next or 0)))
            fresh = _Source(now, old.next, holes, dict(old.kept), sorted(old.kept), old.who, old.echo, old.base)
            self._sources[address] = fresh
            self._release(fresh)
        if source is None:
            self._ageing = Ageing()
            for address in self._sources:
                self._ageing.add(address, now + MEMORY + MARGIN)
        self.kept = sum(len(known.kept) for known in self._sources.values())

    def _package(self, address: Address, datagram: bytes, time: float) -> None:
        if datagram[0] & CONTROL:
            self._introduced(address, datagram, time)
            return
        reliability, peers, wire_id = unpack_header(datagram)
        package = InPackage(datagram[HEADER_SIZE:], reliability, peers, address, time)
        if reliability is Reliability.UNRELIABLE:
            self.to_user.append(package)
            if self.notes is not None:
                self.notes += taken([package], [wire_id])
            return
        source = self._sources.get(address) or self._meet(address, time, stranger=bool(datagram[0] & HINT_BITS))
        if not source.who.hint and time - source.heard >= MEMORY and not self._continues(source, wire_id):
            self._restart(source)
        if self._identity is not None:
            if not self._recognised(address, source, datagram[0] & HINT_BITS, wire_id, time):
                return
            wire_id = wire_id - source.base & ID_MASK if datagram[0] & HINT_BITS == source.who.hint else wire_id
        source.heard = time
        number = wire_id if source.next is None else unwrap(wire_id, source.next)
        self._reliable(source, number, wire_id, package)

    def _recognised(self, address: Address, source: _Source, hint: int, wire_id: int, time: float) -> bool:
        """Tell whether a package belongs to the present numbering of its source, or begins one that needs no introduction."""
        if not hint:
            self._plain(address, source, wire_id, time)
        elif not source.who.takes(hint, time):
            if source.who.refuses(hint, time):
                self._refuse(address, hint)
            else:
                self.strange += 1
            return False
        return True

    def _meet(self, address: Address, time: float, *, stranger: bool = False) -> _Source:
        last = 1 if self._identity is None else self._identity % 7 + 1
        source = self._sources[address] = _Source(time, who=Acquaintance(last=last))
        if stranger and self._identity is not None:
            source.who.retire(time)
        self._ageing.add(address, time + MEMORY + MARGIN)
        self._note("peer:first_seen", source=address)
        return source

    def _introduced(self, address: Address, datagram: bytes, time: float) -> None:
        """Take an introduction: acknowledge it, and begin a new numbering if it is one."""
        introduction = read_introduction(datagram)
        if self._identity is None or introduction is None:
            self.strange += 1
            return
        identity, series, chosen = introduction
        source = self._sources.get(address) or self._meet(address, time)
        verdict = source.who.introduced(identity, series, chosen, time, seen=source.next is not None)
        if verdict is Verdict.LATE:
            # Should its sender live all the same, it is to introduce itself once more.
            self._refuse(address, chosen)
            return
        if verdict is not Verdict.KNOWN:
            self._restart(source)
            source.heard = time
            source.old_at = inf
            by = mark_of(self._identity)
            source.base = base_of(identity, series, by)
            source.echo = pack_echo(source.who.hint, mark_of(identity, series), by)
        if verdict is Verdict.RESTARTED:
            self.to_usender.append(Restarted(address, mark_of(identity)))
            self._note("peer:restarted", source=address, trigger="introduction")
        self._confirm(address, source.echo, (), time, urgent=not source.who.takes_chosen)

    def _refuse(self, address: Address, hint: int) -> None:
        """Leave alone what belongs to no numbering that is known, and tell its sender so, once per batch."""
        self.strange += 1
        refuse = Refuse(address, hint, mark_of(self._identity or 0))
        if refuse not in self.to_refuse:
            self.to_refuse.append(refuse)

    def _plain(self, address: Address, source: _Source, wire_id: int, time: float) -> None:
        """See whether a package without a hint is the first of another program."""
        who = source.who
        if who.hint:
            told, by = who.identity is not None, NOBODY
            who.retire(time, plain=True)
        else:
            told, by = self._is_too_old(source, wire_id, time), None
            if not told:
                return
        self._restart(source)
        source.old_at = inf
        if told:
            self.to_usender.append(Restarted(address, by))
            self._note("peer:restarted", source=address, trigger="numbering")

    @staticmethod
    def _is_too_old(source: _Source, wire_id: int, time: float) -> bool:
        """Tell whether a package is a duplicate of one that first came too long ago, and could begin a numbering."""
        expected = source.next or 0
        if time >= source.old_at or source.old_at == inf:
            source.old = expected if time - source.heard >= TOO_OLD else source.getting_old
            source.getting_old = expected
            source.old_at = time + TOO_OLD
        number = unwrap(wire_id, expected)
        return number < source.old and number not in source.holes and wire_id <= MAX_HOLES

    def _continues(self, source: _Source, wire_id: int) -> bool:
        """Tell whether the id is new and acceptable in the source's present numbering."""
        if source.next is None:
            return False
        number = unwrap(wire_id, source.next)
        return number in source.holes or 0 <= number - source.next <= MAX_HOLES - len(source.holes)

    def _restart(self, source: _Source) -> None:
        self.kept -= len(source.kept)
        source.next = None
        source.echo = source.base = 0
        source.holes.clear()
        source.kept.clear()
        source.kept_order.clear()
        source.old = source.getting_old = 0

    def _reliable(self, source: _Source, number: int, wire_id: int, package: InPackage) -> None:
        holes, expected = source.holes, source.next or 0
        if number < expected and number not in holes:
            self.duplicates += 1
            source.duplicates += 1
            self._note("package:duplicated", source=package.source, **which([number]))
            self._confirm(package.source, source.echo, (wire_id,), package.time, urgent=True)
            return
        skipped = range(expected, number)
        if len(holes) + len(skipped) > MAX_HOLES:
            self.refused += 1
            self._note("package:refused", source=package.source, **which([number]), trigger="holes")
            if source.echo:
                # No packhorse stack goes so far. Its base may be that of our former life, so it should hear of the present one.
                self._confirm(package.source, source.echo, (), package.time, urgent=True)
            return
        lowest = next(iter(holes), expected)
        keep = package.reliability is Reliability.SEMI_ORDERED and number > lowest
        if keep and len(source.kept) >= MAX_KEPT:
            self.refused += 1
            self._note("package:refused", source=package.source, **which([number]), trigger="kept")
            return
        urgent = bool(skipped) or number < expected
        if number >= expected:
            holes.update(dict.fromkeys(skipped))
            source.next = number + 1
        else:
            del holes[number]
            source.old, source.getting_old = min(source.old, number), min(source.getting_old, number)
        if self.notes is not None:
            self.notes += taken([package], [number], kept=keep)
        if keep:
            source.kept[number] = package
            heapq.heappush(source.kept_order, number)
            self.kept += 1
        else:
            self.to_user.append(package)
            if number == lowest:
                self._release(source)
        self._confirm(package.source, source.echo, (wire_id,), package.time, urgent=urgent)

    def _release(self, source: _Source) -> None:
        """Deliver what was kept below the lowest hole."""
        order = source.kept_order
        end = next(iter(source.holes), source.next or 0)
        while order and order[0] < end:
            number = heapq.heappop(order)
            package = source.kept.pop(number)
            self.to_user.append(package)
            self.kept -= 1
            if self.notes is not None:
                self.notes += taken([package], [number])[1:]

    def _note(self, event: str, **fields: Any) -> None:
        if self.notes is not None:
            self.notes.append((event, fields))

    def _confirm(self, source: Address, echo: int, ids: Sequence[int], time: float, *, urgent: bool) -> None:
        run = self.to_confirmer[-1] if self.to_confirmer else None
        if run is not None and run.source == source and run.urgent == urgent and run.echo == echo:
            run.ids.extend(ids)
        else:
            self.to_confirmer.append(ToConfirm(source, list(ids), urgent, time, echo))
