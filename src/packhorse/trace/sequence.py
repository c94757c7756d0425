"""What a sequence diagram of packages shows, whatever it is drawn with.

A lane is an actor of a machine, or its user. An arrow is something that goes from one lane to another, in no time or in
some; one without an end was lost, or there is no log to tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from .reading import TraceError
from .text import milliseconds, missing_before

if TYPE_CHECKING:
    from .merging import Trace
    from .packages import Package, Step

__all__ = ["Arrow", "Diagram", "Kind", "Lane", "Note", "draw", "during", "same_datagram"]

MOST: Final = 400
"""Arrows that still make a picture."""
WORTH_SAYING: Final = 0.001
"""Seconds of waiting from which on a note says so."""
MOST_IDS: Final = 6
"""Ids in the label of one confirmation."""
ACTORS: Final = ("user", "usender", "resender", "sreceiver", "ureceiver", "confirmer")
"""From the outer edge of the picture to its middle."""


class Lane(NamedTuple):
    """An actor, or the user, of the stack at an address."""

    machine: str
    actor: str


class Kind(StrEnum):
    """What an arrow means."""

    USER = "user"
    DATA = "data"
    AGAIN = "again"
    DUPLICATE = "duplicate"
    CONFIRM = "confirm"
    INSIDE = "inside"


class Arrow(NamedTuple):
    """Something on its way; `lost` says that it is known not to have arrived."""

    begin: float
    end: float | None
    start: Lane
    stop: Lane
    label: str
    kind: Kind

    @property
    def lost(self) -> bool:
        """Whether it did not arrive."""
        return self.end is None


class Note(NamedTuple):
    """Something worth saying at a lane."""

    at: float
    lane: Lane
    text: str


@dataclass(frozen=True, slots=True)
class Diagram:
    """A title, lanes from left to right, and what happens between them, in order of time."""

    title: str
    lanes: Sequence[Lane]
    arrows: Sequence[Arrow]
    notes: Sequence[Note]
    start: float

    @property
    def machines(self) -> list[str]:
        """The machines from left to right."""
        return list(dict.fromkeys(lane.machine for lane in self.lanes))


def during(trace: Trace, begin: float, end: float) -> list[Package]:
    """Return the packages that were under way between two times, in seconds from the first event.

    Raises:
        TraceError: there are none.
    """
    first, last = trace.start + begin, trace.start + end
    found = [
        package
        for package in trace.packages
        if package.ended >= first and (package.accepted or package.steps[0].at) <= last
    ]
    if not found:
        length = trace.records[-1].at - trace.start
        raise TraceError(f"no package was under way from {begin:g} to {end:g} s; the logs are {length:.3f} s long")
    return found


def draw(trace: Trace, packages: Sequence[Package], title: str) -> Diagram:
    """Make the diagram of some packages.

    Raises:
        TraceError: they are too many for a picture.
    """
    arrows: list[Arrow] = []
    notes: list[Note] = []
    for package in packages:
        arrows += _arrows(package)
        notes += _notes(trace, package)
        if len(arrows) > MOST:
            raise TraceError(
                f"{len(packages)} packages make more than {MOST} arrows; "
                "draw one (--package) or a shorter time (--from, --to)"
            )
    arrows = _joined(arrows)
    notes.sort(key=lambda note: note.at)
    used = {lane for arrow in arrows for lane in (arrow.start, arrow.stop)} | {note.lane for note in notes}
    machines = list(dict.fromkeys(end for package in packages for end in (package.source, package.target)))
    lanes: list[Lane] = []
    for place, machine in enumerate(machines):
        actors = ACTORS if place == 0 else tuple(reversed(ACTORS))
        lanes += [Lane(machine, actor) for actor in actors if Lane(machine, actor) in used]
    times = [arrow.begin for arrow in arrows] + [note.at for note in notes]
    return Diagram(title, lanes, arrows, notes, min(times, default=trace.start))


def _arrows(package: Package) -> Iterator[Arrow]:
    source, target, number = package.source, package.target, f"#{package.number}"
    usender, ureceiver = Lane(source, "usender"), Lane(target, "ureceiver")
    accepted, received = package.accepted, package.when("package:received")
    if accepted is not None:
        yield Arrow(accepted, accepted, Lane(source, "user"), usender, number, Kind.USER)
    for place, copy in enumerate(package.copies):
        if not place:
            yield Arrow(copy.sent, copy.arrived, usender, ureceiver, number, Kind.DATA)
            continue
        kind = Kind.DUPLICATE if copy.arrived is not None and copy.arrived != received else Kind.AGAIN
        label = f"{number} again: {copy.trigger or 'why was not logged'}"
        yield Arrow(copy.sent, copy.arrived, Lane(source, "resender"), ureceiver, label, kind)
    for step in package.steps:
        if step.event == "package:delivered":
            yield Arrow(step.at, step.at, ureceiver, Lane(target, "user"), f"{number} delivered", Kind.USER)
    yield from _confirmations(package)


def _joined(arrows: Iterable[Arrow]) -> list[Arrow]:
    """Put arrows in order, and draw what one datagram confirms as one arrow."""
    joined: dict[tuple[object, ...], Arrow] = {}
    for arrow in sorted(arrows, key=lambda arrow: arrow.begin):
        key: tuple[object, ...] = arrow[:4]
        if arrow.kind not in (Kind.CONFIRM, Kind.INSIDE):
            key = (*arrow, len(joined))
        first = joined.get(key)
        joined[key] = arrow if first is None else first._replace(label=_both(first.label, arrow.label))
    return list(joined.values())


def _both(label: str, other: str) -> str:
    count = label.count(" ")
    number = other.rpartition(" ")[2]
    if count > MOST_IDS or number in label.split(" "):
        return label
    return f"{label} ..." if count == MOST_IDS else f"{label} {number}"


def _confirmations(package: Package) -> Iterator[Arrow]:
    """Yield the confirmations up to the one that told the sender."""
    source, target = package.source, package.target
    confirmed = package.when("recovery:package_confirmed")
    heard = [step for step in package.steps if step.event == "transport:confirmation_received"]
    for step in package.steps:
        if step.event != "transport:confirmation_sent" or (confirmed is not None and step.at > confirmed):
            continue
        arrival = next((other for other in heard if other.at >= step.at and same_datagram(step, other)), None)
        if arrival is not None:
            heard.remove(arrival)
        if arrival is None or confirmed is None or arrival.at <= confirmed:
            yield Arrow(
                step.at,
                None if arrival is None else arrival.at,
                Lane(target, "confirmer"),
                Lane(source, "sreceiver"),
                f"confirms #{package.number}",
                Kind.CONFIRM,
            )
    if confirmed is not None:
        yield Arrow(
            confirmed,
            confirmed,
            Lane(source, "sreceiver"),
            Lane(source, "resender"),
            f"confirmed #{package.number}",
            Kind.INSIDE,
        )


def same_datagram(sent: Step, received: Step) -> bool:
    """Tell whether two events can be about the same control datagram."""
    return all(sent.record.data.get(field) == received.record.data.get(field) for field in ("id", "ids", "count"))


def _notes(trace: Trace, package: Package) -> Iterable[Note]:
    waited, numbered = package.parts.waited, package.when("package:numbered")
    if waited is not None and numbered is not None and waited >= WORTH_SAYING:
        yield Note(numbered, Lane(package.source, "usender"), f"waited {milliseconds(waited)} ms for room")
    for step in package.steps:
        if step.event == "package:kept":
            before = missing_before(trace, package)
            missing = "earlier ones are missing" if before is None else f"#{before.number} is missing"
            yield Note(step.at, Lane(package.target, "ureceiver"), f"kept: {missing}")
        elif step.event == "package:given_up":
            yield Note(step.at, Lane(package.source, "resender"), f"given up: {step.get('trigger')}")
        elif step.event == "package:refused":
            yield Note(step.at, Lane(package.target, "ureceiver"), f"refused: {step.get('trigger')}")
