"""Merging the logs of any number of stacks: one clock, and one story for each package.

The rules:

- clocks are joined by the wall clock that `stack:started` tells. Where that shows a package that arrived before it was
  sent, or a confirmation before what it confirms, one of the two clocks is shifted by what the exchanges say in both
  directions, as NTP does (RFC 5905: half the difference of the shortest ways there and back). Only packages that were
  sent once count (Karn): of others nobody knows which copy arrived;
- a `target` or `source` is the stack that is bound to it; or the one bound to its port at every address (0.0.0.0); or
  what an alias says. What has no log stays an address;
- both ends are joined by (source, target, id). Ids are used again, after 2^24 packages or when a numbering began anew:
  what is logged belongs to the latest package with that id so far, and another `package:numbered` (or, without the
  sender's log, another `package:received`) begins the next one.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, pairwise
from math import inf
from typing import Any, Final, cast

from ..protocol.header import HALF_CIRCLE, ID_MASK
from .packages import Package, Step, value
from .reading import Log, Record, Stack, TraceError, written

__all__ = ["Trace", "merge"]

OUTGOING: Final = frozenset(
    (
        "package:numbered",
        "transport:datagram_sent",
        "recovery:package_lost",
        "recovery:package_resent",
        "recovery:package_confirmed",
        "package:given_up",
    )
)
"""Events about packages that their sender logs."""
INCOMING: Final = frozenset(
    ("package:received", "package:kept", "package:delivered", "package:duplicated", "package:refused")
)
"""Events about packages that their receiver logs."""
LATE: Final = 1.0
"""Seconds by which a sender's event may seem to follow its receiver's and still be about the same package."""
NEGLIGIBLE: Final = 1e-6
"""Seconds; clocks are not read more exactly than this."""

_ORDER: Final = {name: place for place, name in enumerate(("package:numbered", "transport:datagram_sent"))}
"""What comes first of events at the very same time."""


class Trace:
    """What the logs say together.

    Attributes:
        log: the files.
        stacks: those that logged.
        records: every event, in the order of the shared clock.
        packages: every package, in the order in which they appear.
        notes: what the user should know about the merging.
        start: when the first event was.
    """

    def __init__(self, log: Log, aliases: Mapping[str, str]) -> None:
        self.log = log
        self.stacks = log.stacks
        self.notes: list[str] = []
        self._aliases = aliases
        self._resolved: dict[str, list[Stack]] = {}
        self._take_wall_clocks()
        self._label()
        self._build(inf)
        self._correct_clocks()
        self._build(LATE)
        self.start = self.records[0].at

    # Who is who.

    def stack_at(self, address: str, time: float) -> Stack | None:
        """Return the stack that an address stood for at a time of the shared clock; None without a log of it."""
        stacks = self._resolve(address)
        begun = [stack for stack in stacks if stack.records[0].at <= time + LATE]
        if begun:
            return max(begun, key=lambda stack: stack.records[0].at)
        return stacks[0] if stacks else None

    def named(self, address: str) -> str:
        """Return how the stack at an address is shown."""
        stacks = self._resolve(address)
        return stacks[0].label if stacks else self._aliases.get(address, address)

    def _resolve(self, address: str) -> list[Stack]:
        """Return the stacks, one after the other, that an address stands for."""
        stacks = self._resolved.get(address)
        if stacks is None:
            stacks = self._resolved[address] = self._look_up(address)
        return stacks

    def _look_up(self, address: str) -> list[Stack]:
        wanted = self._aliases.get(address, address)
        exact = [stack for stack in self.stacks if wanted in (stack.address, stack.file)]
        if exact:
            return exact
        port = wanted.rpartition(":")[2]
        everywhere = [stack for stack in self.stacks if stack.address in (f"0.0.0.0:{port}", f"[::]:{port}")]
        aliased = {stack.file for alias in self._aliases.values() for stack in self.stacks if alias == stack.file}
        left = [stack for stack in everywhere if stack.file not in aliased]
        for one, other in pairwise(sorted(left, key=lambda stack: stack.records[0].at)):
            if one.file != other.file and other.records[0].at < one.records[-1].at:
                self.notes.append(
                    f"port {port} is bound in {one.file} and in {other.file} at the same time: "
                    f"to say which of them {address} is, "
                    f"add --alias {address}={one.file}"
                )
                return []
        return left

    def _label(self) -> None:
        """Find out how to show each stack: as its peers call it, if it is bound to every address and they agree."""
        called: defaultdict[Stack, set[str]] = defaultdict(set)
        addresses: set[str] = set()
        for record in chain.from_iterable(stack.records for stack in self.stacks):
            addresses.add(written(record.data.get("target")))
            addresses.add(written(record.data.get("source")))
        for address in addresses - {""}:
            for stack in self._resolve(address):
                called[stack].add(address)
        strangers = sorted(address for address in addresses - {""} if not self._resolve(address))
        if strangers and len(self.stacks) > 1 and not called:
            self.notes.append(
                f"none of these stacks has another's address for its peer. "
                f"If {' and '.join(strangers[:2])} are those of a relay "
                f"between them, say whom it stands for: --alias {strangers[0]}=ADDRESS, one of "
                f"{', '.join(stack.address for stack in self.stacks)}"
            )
        bound = Counter((stack.address, stack.file) for stack in self.stacks)
        files = Counter(address for address, _ in bound)
        for stack in self.stacks:
            names = called[stack]
            stack.label = stack.address or stack.name
            if stack.address.startswith(("0.0.0.0:", "[::]:")):
                if len(names) == 1:
                    stack.label = min(names)
                elif files[stack.address] > 1:
                    stack.label = f"{stack.address} in {stack.file}"

    # Clocks.

    def _take_wall_clocks(self) -> None:
        known = [stack.unix for stack in self.stacks if stack.unix is not None]
        for stack in self.stacks:
            # Without a wall clock the best guess is that the stacks are processes of one machine, whose clock they
            # share.
            stack.offset = stack.unix if stack.unix is not None else known[0] if known else 0.0

    def _correct_clocks(self) -> None:
        """Shift clocks, from one stack to the next, where the exchanges of two show an order that cannot be."""
        shortest = self._shortest_ways()
        settled: set[Stack] = set()
        for first in sorted(self.stacks, key=lambda stack: -len(stack.records)):
            if first in settled:
                continue
            settled.add(first)
            waiting = deque([first])
            while waiting:
                one = waiting.popleft()
                for other in self.stacks:
                    there, back = shortest.get((one, other)), shortest.get((other, one))
                    if other in settled or (there is None and back is None):
                        continue
                    other.shift = one.shift + _shift(there, back)
                    settled.add(other)
                    waiting.append(other)
        for stack in self.stacks:
            stack.offset += stack.shift

    def _shortest_ways(self) -> dict[tuple[Stack, Stack], float]:
        """Return the least time that anything took from one stack to another, by their present offsets."""
        shortest: dict[tuple[Stack, Stack], float] = {}

        def note(one: Step, other: Step) -> None:
            pair = one.record.stack, other.record.stack
            shortest[pair] = min(shortest.get(pair, inf), other.at - one.at)

        for package in self.packages:
            sendings, received = package.sendings, package.first("package:received")
            if received is None or package.turn or (package.source, package.target, package.id) in self._again:
                continue
            if len(sendings) == 1 and sendings[0].event == "package:numbered":
                sent = package.first("transport:datagram_sent") or sendings[0]
                note(sent, received)
            confirmed = package.first("recovery:package_confirmed")
            if confirmed is not None:
                note(package.first("transport:confirmation_sent") or received, confirmed)
        return shortest

    # Packages.

    def _build(self, late: float) -> None:
        self.records = list(
            heapq.merge(*(stack.records for stack in self.stacks), key=lambda r: (r.at, _ORDER.get(r.event, 9)))
        )
        self.packages: list[Package] = []
        self._late = late
        self._latest: dict[tuple[str, str, int, bool], Package] = {}
        self._again: set[tuple[str, str, int]] = set()
        for record in self.records:
            event, stack, data = record.event, record.stack, record.data
            if event in OUTGOING:
                self._tell(record, stack.label, self._other(record, "target"))
            elif event in INCOMING:
                if "source" in data:
                    self._tell(record, self._other(record, "source"), stack.label)
                elif "target" in data:
                    self._tell(record, stack.label, self._other(record, "target"))
            elif event == "transport:confirmation_sent":
                self._tell(record, self._other(record, "target"), stack.label)
            elif event == "transport:confirmation_received":
                self._tell(record, stack.label, self._other(record, "source"))
        self._measure_paths()

    def _other(self, record: Record, field: str) -> str:
        address = written(record.data.get(field))
        stack = self.stack_at(address, record.at)
        return stack.label if stack is not None else self._aliases.get(address, address)

    def _tell(self, record: Record, source: str, target: str) -> None:
        """Add an event to the story of each package that it is about."""
        at, event = record.at, record.event
        begins = event in ("package:numbered", "package:received")
        for place, wire_id in enumerate(_ids(record.data)):
            key = source, target, wire_id, value(record, "reliability", place) != "unreliable"
            package = self._latest.get(key)
            if package is None or (begins and self._is_next(package, event, at)):
                if package is None and event.startswith("transport:"):
                    continue  # what is on the wire tells of packages, but begins none
                turn = 0 if package is None else package.turn + 1
                if turn:
                    self._again.add(key[:3])
                package = self._latest[key] = Package(source, target, wire_id, reliable=key[3], turn=turn)
                self.packages.append(package)
            package.steps.append(Step(at, record, place))

    def _is_next(self, package: Package, event: str, at: float) -> bool:
        """Tell whether this event begins another package with the id of one that is known."""
        numbered, received = package.when("package:numbered"), package.when("package:received")
        if event == "package:numbered":
            return numbered is not None or at - package.steps[0].at > self._late
        if not package.reliable:
            return False  # it may arrive twice; that is no other one
        return received is not None and (numbered is None or numbered < received)

    def _measure_paths(self) -> None:
        shortest: dict[tuple[str, str], float] = {}
        labels = {stack.label for stack in self.stacks}
        for package in self.packages:
            sendings, received = package.sendings, package.when("package:received")
            if received is not None and len(sendings) == 1:
                sent = package.when("transport:datagram_sent")
                way = received - (sendings[0].at if sent is None else sent)
                pair = package.source, package.target
                shortest[pair] = max(0.0, min(shortest.get(pair, way), way))
        for package in self.packages:
            package.shortest = shortest.get((package.source, package.target), 0.0)
            ends = (("source", package.source), ("target", package.target))
            package.seen_from = frozenset(end for end, label in ends if label in labels)

    # Questions.

    def last_received_before(self, package: Package, record: Record) -> Package | None:
        """Return the package of the same source that arrived last before an event of its receiver."""
        found: tuple[int, Package] | None = None
        for other in self.packages:
            if (other.source, other.target) != (package.source, package.target) or other is package:
                continue
            if other.has("package:kept") or (package.id - other.id) & ID_MASK >= HALF_CIRCLE:
                continue
            step = other.first("package:received")
            if (
                step is not None
                and step.record.stack is record.stack
                and (found or (-1,))[0] <= step.record.seq < record.seq
            ):
                found = step.record.seq, other
        return None if found is None else found[1]

    def find(self, wanted: str) -> Package:
        """Return the package called `[SOURCE>]TARGET#ID[/TURN]`; an unreliable one has a `u` before its id.

        Raises:
            TraceError: there is none, or more than one; the message says which there are.
        """
        addresses, hash_sign, number = wanted.rpartition("#")
        source, _, target = addresses.rpartition(">")
        digits, _, turn = number.removeprefix("u").partition("/")
        if not hash_sign or not target or not digits.isdecimal() or (turn and not turn.isdecimal()):
            raise TraceError(
                f"a package is called TARGET#ID, as in 10.0.0.7:8082#17, or SOURCE>TARGET#ID; not {wanted!r}. "
                "An unreliable one has a u before its id; /2 behind it means the second with that id"
            )
        reliable, wire_id, place = not number.startswith("u"), int(digits), int(turn or 1) - 1
        there = [p for p in self.packages if p.target == self.named(target) and p.reliable is reliable]
        if not there:
            targets = sorted({package.target for package in self.packages})
            raise TraceError(
                f"no package for {target} in these logs; there are some for {', '.join(targets) or 'nobody'}"
            )
        if source:
            there = [package for package in there if package.source == self.named(source)]
        found = [package for package in there if package.id == wire_id]
        if not found:
            ids = sorted(package.id for package in there)
            known = f"their ids are from {ids[0]} to {ids[-1]}" if ids else f"none is from {source}"
            raise TraceError(f"no package {number} for {target} in these logs; {known}")
        chosen = [package for package in found if package.turn == place]
        if len(chosen) == 1:
            return chosen[0]
        names = ", ".join(f"{package.source}>{package.target}#{package.number}" for package in found)
        raise TraceError(f"{wanted} is not one package; say which: {names}")


def merge(log: Log, aliases: Mapping[str, str] | None = None) -> Trace:
    """Merge logs; `aliases` maps addresses, as a relay shows them, to those the stacks are bound to, or to their names.

    Raises:
        TraceError: an alias stands for a stack that none of the logs is of.
    """
    trace = Trace(log, aliases or {})
    for alias, meant in (aliases or {}).items():
        if not trace._resolve(alias):  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - of this module
            known = ", ".join(sorted({stack.address or stack.name for stack in log.stacks}))
            raise TraceError(f"the alias {alias}={meant} stands for no stack in these logs; they are of {known}")
    return trace


def _shift(there: float | None, back: float | None) -> float:
    """Return by how much to shift a clock against another, from the shortest ways to its stack and back."""
    if min(there or 0.0, back or 0.0) >= -NEGLIGIBLE:
        return 0.0
    if there is None:
        return back or 0.0
    if back is None:
        return -there
    return (back - there) / 2


def _ids(data: Mapping[str, Any]) -> Iterable[int]:
    """Return the ids of an event's packages."""
    ids = data.get("ids")
    if isinstance(ids, Sequence):
        return [wire_id & ID_MASK for wire_id in cast("Sequence[object]", ids) if isinstance(wire_id, int)]
    first, count = data.get("id"), data.get("count", 1)
    if isinstance(first, int) and isinstance(count, int):
        return [number & ID_MASK for number in range(first, first + min(count, 1 << 16))]
    return ()
