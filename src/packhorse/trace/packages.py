"""One package, as the logs of both ends tell of it.

Times are seconds on the clock that all logs share. Which copy of a package arrived, no log says, since copies are
alike: it is taken to be the latest that can have been, given the shortest time that anything took on that path.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

if TYPE_CHECKING:
    from .reading import Record

__all__ = ["Copy", "Package", "Parts", "Step", "value"]

FEASIBLE = 0.98
"""Share of the shortest time a copy may take; clocks are not that good."""


class Step(NamedTuple):
    """Something that happened to a package.

    Attributes:
        at: when.
        record: the event; it may be about others too.
        place: which of the event's packages this is.
    """

    at: float
    record: Record
    place: int

    @property
    def event(self) -> str:
        """The name of the event."""
        return self.record.event

    def get(self, name: str) -> Any:
        """Return what the event says in a field about this package, or None."""
        return value(self.record, name, self.place)


def value(record: Record, name: str, place: int) -> Any:
    """Return what an event says in a field about one of its packages: fields are lists where packages differ."""
    found = record.data.get(name)
    if isinstance(found, list):
        items = cast("Sequence[Any]", found)
        return items[place] if place < len(items) else None
    return found


class Copy(NamedTuple):
    """A copy of a package: when it was sent, when it arrived if it did, and why it was sent."""

    sent: float
    arrived: float | None
    trigger: str | None


class Parts(NamedTuple):
    """Where a package's time went, in seconds; what does not apply, or was not logged, is None."""

    waited: float | None
    """From the user to its id: no room."""
    lost: float | None
    """From its first copy to the one that arrived."""
    path: float | None
    """On the way."""
    kept: float | None
    """For earlier packages that were missing."""
    confirmed: float | None
    """From its arrival until its sender heard of it."""


class Package:
    """One package.

    Attributes:
        source: whose it is.
        target: whom it is for.
        id: 24 bits.
        reliable: whether it is not an unreliable one; those are numbered by themselves.
        turn: how many packages with this id, source and target the logs had before: ids are used again.
        steps: what happened to it, in order.
        shortest: the least time that anything took from source to target.
        seen_from: the ends whose logs are there: "source", "target".
    """

    __slots__ = ("id", "reliable", "seen_from", "shortest", "source", "steps", "target", "turn")

    def __init__(self, source: str, target: str, wire_id: int, *, reliable: bool, turn: int) -> None:
        self.source = source
        self.target = target
        self.id = wire_id
        self.reliable = reliable
        self.turn = turn
        self.steps: list[Step] = []
        self.shortest = 0.0
        self.seen_from: frozenset[str] = frozenset()

    @property
    def number(self) -> str:
        """What stands behind the `#`: the id, `u` before it if unreliable, `/turn` unless it is the first with it."""
        return f"{'' if self.reliable else 'u'}{self.id}{f'/{self.turn + 1}' if self.turn else ''}"

    @property
    def name(self) -> str:
        """How it is called: `source -> target #number`."""
        return f"{self.source} -> {self.target} #{self.number}"

    def first(self, event: str) -> Step | None:
        """Return the first step with this event."""
        return next((step for step in self.steps if step.record.event == event), None)

    def has(self, event: str) -> bool:
        """Tell whether there is a step with this event."""
        return self.first(event) is not None

    def when(self, event: str) -> float | None:
        """Return the time of the first step with this event."""
        step = self.first(event)
        return None if step is None else step.at

    def said(self, field: str) -> Any:
        """Return what the first step that has this field says in it."""
        return next((found for step in self.steps if (found := step.get(field)) is not None), None)

    @property
    def accepted(self) -> float | None:
        """When the user sent it; if that was not logged, when it got its id."""
        numbered = self.first("package:numbered")
        if numbered is None:
            return None
        return numbered.at - float(numbered.get("waited") or 0.0)

    @property
    def ended(self) -> float:
        """When nothing was open any more; what came later told nobody anything new."""
        ends = ("package:delivered", "recovery:package_confirmed", "package:given_up")
        return max((at for end in ends if (at := self.when(end)) is not None), default=self.steps[-1].at)

    @property
    def sendings(self) -> list[Step]:
        """Its first sending and every later one."""
        return [step for step in self.steps if step.event in ("package:numbered", "recovery:package_resent")]

    @property
    def resends(self) -> list[Step]:
        """Every sending but the first."""
        return [step for step in self.steps if step.event == "recovery:package_resent"]

    @property
    def copies(self) -> list[Copy]:
        """Its copies in order of sending; one that did not arrive was lost, if the receiver's log is there."""
        sendings = self.sendings
        sent = [step.at for step in self.steps if step.event == "transport:datagram_sent"]
        times = sent if len(sent) == len(sendings) else [step.at for step in sendings]
        arrived: dict[int, float] = {}
        for step in self.steps:
            if step.event not in ("package:received", "package:duplicated", "package:refused"):
                continue
            before = [place for place, time in enumerate(times) if time <= step.at and place not in arrived]
            likely = [place for place in before if times[place] + self.shortest * FEASIBLE <= step.at]
            if before:
                arrived[likely[-1] if likely else before[0]] = step.at
        return [Copy(time, arrived.get(place), sendings[place].get("trigger")) for place, time in enumerate(times)]

    @property
    def parts(self) -> Parts:
        """Where its time went."""
        numbered, received = self.when("package:numbered"), self.when("package:received")
        delivered, confirmed = self.when("package:delivered"), self.when("recovery:package_confirmed")
        arriving = next((copy for copy in self.copies if received is not None and copy.arrived == received), None)
        accepted = self.accepted
        lost = path = None
        if received is not None and arriving is not None:
            lost, path = arriving.sent - self.copies[0].sent, received - arriving.sent
        return Parts(
            None if numbered is None or accepted is None else numbered - accepted,
            lost,
            path,
            None if delivered is None or received is None else delivered - received,
            None if confirmed is None or received is None else confirmed - received,
        )

    @property
    def latency(self) -> float | None:
        """Seconds from user to user, or to its confirmation if the receiver's log is not there."""
        end = self.when("package:delivered")
        if end is None and not self.has("package:received"):
            end = self.when("recovery:package_confirmed")
        accepted = self.accepted
        return None if end is None or accepted is None else end - accepted

    @property
    def outcome(self) -> str:
        """What became of it, in a word or two."""
        given_up = self.first("package:given_up")
        if self.has("package:delivered"):
            if not self.reliable or self.has("recovery:package_confirmed") or not self.has("package:numbered"):
                return "delivered"
            return "delivered, though given up" if given_up is not None else "delivered, not confirmed"
        if given_up is not None:
            return f"given up ({given_up.get('trigger')})"
        if self.has("package:kept"):
            return "kept"
        if self.has("recovery:package_confirmed"):
            return "confirmed"
        if self.reliable:
            return "not confirmed"
        return "lost" if "target" in self.seen_from else "sent"
