"""The receiving half of a peer, first part: what is new and what may be delivered (the ureceiver's state).

The rules (protocol/README.md has them in full):

- unreliable packages are delivered as they come;
- of each source the *next* expected number is kept, and the *holes* below it. A number at or above next opens holes for
  what it skipped; one that fills a hole is new; any other is a duplicate;
- a package that would make more than 1024 holes is refused: not delivered, not confirmed. The first package of a source
  is judged as if 0 had been expected;
- everything new or doubled is confirmed, the doubled because its confirmation may be what was lost;
- an unordered package that is new is delivered at once, a semi-ordered one as soon as no hole is left below it. Until
  then it is *kept*; at most 1024 are kept per source, then further ones are refused;
- a source with nothing kept is forgotten after `MEMORY` of silence and a `MARGIN` on top. Senders forget after
  `MEMORY` and then start at 0, so within the margin what would be a duplicate or refused begins a new numbering;
- packages belong to a numbering that was introduced, which their hint tells (see `identity`): one with a hint that
  nobody knows is not taken, but may be held until its introduction comes (see `early`). A new introduction begins a new
  numbering; by another life than the one before it is a restart, which is told;
- of a source without hints, a duplicate that first came over `TOO_OLD` ago is the first package after a restart;
- how many sources are known at a time, and who makes room for a stranger, says `sources`. Who is turned away is not
  delivered, not confirmed, not remembered;
- all sources together may have so many holes and kept packages. Beyond that each may still have a `FEW`.
"""

from __future__ import annotations

import heapq
from math import inf
from typing import TYPE_CHECKING, Any, Final

from .early import Early
from .header import CONTROL, HEADER_SIZE, ID_MASK, Reliability, count_up, unpack_header, unwrap
from .identity import (
    CHOSEN,
    HINT_BITS,
    NOBODY,
    SPURNED,
    Acquaintance,
    Verdict,
    base_of,
    mark_of,
    mark_of_numbering,
    pack_echo,
    read_introduction,
)
from .messages import Received, Refuse, Restarted, ToConfirm
from .notes import Note, taken, which
from .packages import InPackage
from .redelivery import MEMORY
from .sources import MAX_HOLES, MAX_PEERS, Source, Sources

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .address import Address

__all__ = ["MAX_HOLES", "MAX_KEPT", "Receiving"]

MAX_KEPT: Final = 1024
ALL_HOLES: Final = 256 * 1024
ALL_KEPT: Final = 32 * 1024
FEW: Final = 4
"""Holes, and kept packages, that a source may have however many the others have."""


class Receiving:
    """Tells new packages from duplicates and puts semi-ordered ones in order.

    Every package is judged first; then state and outputs change together.

    Args:
        identity: of our own stack; None takes hints and introductions for nothing, as an original does.
        max_peers: how many sources may be known at a time.

    Attributes:
        to_user: packages to deliver. They must be passed on before `to_confirmer`, or a crash in between could lose
            what was confirmed.
        to_confirmer: ids to confirm.
        to_refuse: sources whose packages were not taken, for `Confirmations` too.
        to_usender: sources that were restarted, for `Numbering`.
        refused: how many packages were refused so far.
        strange: how many packages and introductions were not taken because they belong to no numbering that is known.
        duplicates: how many packages came again so far.
        turned_away: how many packages of strangers were not taken so far because no source was idle.
    """

    notes: list[Note] | None = None

    def __init__(self, identity: int | None = None, *, max_peers: int = MAX_PEERS) -> None:
        self.to_user: list[InPackage] = []
        self.to_confirmer: list[ToConfirm] = []
        self.to_refuse: list[Refuse] = []
        self._refusing: set[Refuse] = set()
        self.to_usender: list[Restarted] = []
        self.refused = 0
        self.strange = 0
        self.duplicates = 0
        self._identity = identity
        self.turned_away = 0
        self._sources = Sources(max_peers)
        self._early = Early()

    @property
    def kept(self) -> int:
        """How many packages are kept at the moment."""
        return self._sources.kept

    @property
    def holes(self) -> int:
        """How many holes there are at the moment."""
        return self._sources.holes

    @property
    def evicted(self) -> int:
        """How many idle sources were forgotten for others so far."""
        return self._sources.evicted

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

        That does what `_package` would do with one after the other. Returns whether it was such a run.
        """
        buffer, size, address, time = received.buffer, received.size, received.source, received.time
        flags, count = buffer[0], received.count
        if flags & CONTROL or buffer[::size].count(flags) != count:
            return False
        reliability, peers, wire_id = unpack_header(buffer)
        source, first = None, wire_id
        if reliability is not Reliability.UNRELIABLE:
            source = self._sources.get(address)
            if source is None or source.holes or source.next is None or time - source.heard >= MEMORY:
                return False
            if (self._identity is not None and flags & HINT_BITS != source.who.hint) or time >= source.old_at:
                return False
            first = source.next & ID_MASK
            if first + count > ID_MASK or not count_up(buffer, size, count, first + source.base & ID_MASK):
                return False
        packages = [
            InPackage(buffer[start : start + size - HEADER_SIZE], reliability, peers, address, time)
            for start in range(HEADER_SIZE, len(buffer) + 1, size)
        ]
        self.to_user += packages
        if self.notes is not None:
            self.notes += taken(packages, range(first, first + count))
        if source is not None:
            source.heard = time
            source.next = (source.next or 0) + count
            self._confirm(address, source.echo, range(first, first + count), time, urgent=False)
        return True

    def forget(self, source: Address) -> None:
        """Forget the numbering of a source; what is kept of it is dropped, its next package is judged against 0.

        A source that introduced itself has to do that again before its packages are taken.
        """
        forgotten = self._sources.get(source)
        if forgotten is not None:
            seen = forgotten.next is not None
            self._restart(forgotten)
            if forgotten.who.hint:
                forgotten.who.retire(forgotten.heard, seen=seen)

    def deadline(self) -> float | None:
        """Return when `tick` wants to be called next, or None."""
        return self._sources.deadline()

    def tick(self, now: float) -> None:
        """Forget sources that were silent for long."""
        self._sources.tick(now)
        if self._sources.gone:
            self._note_gone()

    def peers(self) -> list[tuple[Address, dict[str, Any]]]:
        """Return what came from each source. May be called from another thread."""
        return [
            (address, {"received": (source.next or 0) - len(source.holes), "duplicates": source.duplicates})
            for address, source in list(self._sources.items())
        ]

    def renew(self, source: Address | None, now: float) -> None:
        """Make anew what is known of a source, or of all if None, because handling it crashes again and again.

        Next number, holes and kept packages stay, since they were confirmed. Everything else is rebuilt.
        """
        chosen = list(self._sources) if source is None else [known for known in self._sources if known == source]
        for address in chosen:
            old = self._sources[address]
            holes = dict.fromkeys(sorted(number for number in old.holes if number < (old.next or 0)))
            fresh = Source(now, old.next, holes, dict(old.kept), sorted(old.kept), old.who, old.echo, old.base)
            self._sources[address] = fresh
            self._release(fresh)
        self._sources.renew(now, times=source is None)

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
        source = self._sources.get(address)
        hint = 0 if self._identity is None else datagram[0] & HINT_BITS
        if source is None:
            if not hint and wire_id > self._most_holes(wire_id):
                self.refused += 1
                self._note("package:refused", source=address, **which([wire_id]), trigger="holes")
                return
            source = self._meet(address, time, stranger=bool(hint))
            if source is None:
                self._note("package:refused", source=address, **which([wire_id]), trigger="room")
                return
        if not (hint or source.who.hint) and time - source.heard >= MEMORY and not source.continues(wire_id):
            self._restart(source)
        if self._identity is not None:
            if not self._recognised(address, source, datagram, wire_id, time):
                return
            wire_id = wire_id - source.base & ID_MASK if datagram[0] & HINT_BITS == source.who.hint else wire_id
        source.heard = time
        number = wire_id if source.next is None else unwrap(wire_id, source.next)
        self._reliable(source, number, wire_id, package)

    def _recognised(self, address: Address, source: Source, datagram: bytes, wire_id: int, time: float) -> bool:
        """Tell whether a package is of its source's present numbering, or begins one that needs no introduction."""
        hint = datagram[0] & HINT_BITS
        if not hint:
            self._plain(address, source, wire_id, time)
        elif not source.who.takes(datagram):
            if source.who.refuses(hint, time):
                self._refuse(address, hint)
            else:
                self.strange += 1
            if hint >= CHOSEN:
                self._early.hold(address, datagram, time)
            return False
        return True

    def _meet(self, address: Address, time: float, *, stranger: bool = False) -> Source | None:
        """Remember a source from now on, if there is room."""
        last = 1 if self._identity is None else self._identity % 7 + 1
        source = Source(time, who=Acquaintance(last=last))
        if not self._sources.add(address, source):
            self.turned_away += 1
            return None
        if stranger and self._identity is not None:
            source.who.retire(time, seen=False)
        self._note_gone()
        self._note("peer:first_seen", source=address)
        return source

    def _introduced(self, address: Address, datagram: bytes, time: float) -> None:
        """Take an introduction: acknowledge it, and begin a new numbering if it is one."""
        introduction = read_introduction(datagram)
        if self._identity is None or introduction is None:
            self.strange += 1
            return
        identity, series, chosen, checksums = introduction
        source = self._sources.get(address) or self._meet(address, time)
        if source is None:
            return
        seen = source.next is not None
        verdict = source.who.introduced(identity, series, chosen, time, seen=seen, checksums=checksums)
        if verdict is Verdict.LATE:
            # Should its sender live all the same, it is to introduce itself once more.
            self._refuse(address, chosen)
            return
        if verdict is Verdict.TAKEN:
            ended = pack_echo(source.who.ended | SPURNED, mark_of_numbering(identity, series), mark_of(self._identity))
            self._confirm(address, ended, (), time, urgent=True)
            return
        if verdict is not Verdict.KNOWN:
            self._restart(source)
            source.heard = time
            source.old_at = inf
            by = mark_of(self._identity)
            source.base = base_of(identity, series, by)
            spurned = 0 if source.who.takes_chosen else SPURNED
            source.echo = pack_echo(source.who.hint | spurned, mark_of_numbering(identity, series), by)
        if verdict is Verdict.RESTARTED:
            self.to_usender.append(Restarted(address, mark_of(identity)))
        self._confirm(address, source.echo, (), time, urgent=not source.who.takes_chosen)
        for early in self._early.take(address, time, source.who.takes):
            self._package(address, early, time)

    def _refuse(self, address: Address, hint: int) -> None:
        """Leave alone what belongs to no numbering that is known, and tell its sender so, once per batch."""
        self.strange += 1
        refuse = Refuse(address, hint, mark_of(self._identity or 0))
        if not self.to_refuse:
            self._refusing.clear()
        if refuse not in self._refusing:
            self._refusing.add(refuse)
            self.to_refuse.append(refuse)

    def _plain(self, address: Address, source: Source, wire_id: int, time: float) -> None:
        """See whether a package without a hint is the first of another program."""
        who = source.who
        if who.hint:
            told, by = who.identity is not None, NOBODY
            who.retire(time, seen=source.next is not None, plain=True)
        else:
            told, by = source.is_too_old(wire_id, time), None
            if not told:
                return
        self._restart(source)
        source.old_at = inf
        if told:
            self.to_usender.append(Restarted(address, by))

    def _restart(self, source: Source) -> None:
        self._sources.kept -= len(source.kept)
        self._sources.holes -= len(source.holes)
        source.begin_anew()

    def _reliable(self, source: Source, number: int, wire_id: int, package: InPackage) -> None:
        holes, expected = source.holes, source.next or 0
        if number < expected and number not in holes:
            self.duplicates += 1
            source.duplicates += 1
            self._note("package:duplicated", source=package.source, **which([number]))
            self._confirm(package.source, source.echo, (wire_id,), package.time, urgent=True)
            return
        skipped = range(expected, number)
        if skipped and len(holes) + len(skipped) > self._most_holes(len(skipped)):
            self.refused += 1
            self._note("package:refused", source=package.source, **which([number]), trigger="holes")
            if source.echo:
                # No packhorse stack goes so far. It may go by our former life, so it should hear of the present one.
                self._confirm(package.source, source.echo, (), package.time, urgent=True)
            return
        lowest = next(iter(holes), expected)
        keep = package.reliability is Reliability.SEMI_ORDERED and number > lowest
        if keep and len(source.kept) >= (MAX_KEPT if self._sources.kept < ALL_KEPT else FEW):
            self.refused += 1
            self._note("package:refused", source=package.source, **which([number]), trigger="kept")
            return
        urgent = bool(skipped) or number < expected
        if number >= expected:
            holes.update(dict.fromkeys(skipped))
            self._sources.holes += len(skipped)
            source.next = number + 1
        else:
            del holes[number]
            self._sources.holes -= 1
            source.old, source.getting_old = min(source.old, number), min(source.getting_old, number)
        if self.notes is not None:
            self.notes += taken([package], [number], kept=keep)
        if keep:
            source.kept[number] = package
            heapq.heappush(source.kept_order, number)
            self._sources.kept += 1
        else:
            self.to_user.append(package)
            if number == lowest:
                self._release(source)
        self._confirm(package.source, source.echo, (wire_id,), package.time, urgent=urgent)

    def _most_holes(self, more: int) -> int:
        """Return how many holes a source may have, should it get so many more."""
        return MAX_HOLES if self._sources.holes + more <= ALL_HOLES else FEW

    def _release(self, source: Source) -> None:
        """Deliver what was kept below the lowest hole."""
        order = source.kept_order
        end = next(iter(source.holes), source.next or 0)
        while order and order[0] < end:
            number = heapq.heappop(order)
            package = source.kept.pop(number)
            self.to_user.append(package)
            self._sources.kept -= 1
            if self.notes is not None:
                self.notes += taken([package], [number])[1:]

    def _note_gone(self) -> None:
        for address, trigger in self._sources.gone:
            self._note("peer:forgotten", source=address, trigger=trigger)
        self._sources.gone.clear()

    def _note(self, event: str, **fields: Any) -> None:
        if self.notes is not None:
            self.notes.append((event, fields))

    def _confirm(self, source: Address, echo: int, ids: Sequence[int], time: float, *, urgent: bool) -> None:
        run = self.to_confirmer[-1] if self.to_confirmer else None
        if run is not None and run.source == source and run.urgent == urgent and run.echo == echo:
            run.ids.extend(ids)
        else:
            self.to_confirmer.append(ToConfirm(source, list(ids), urgent, time, echo))
