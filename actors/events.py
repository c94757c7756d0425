"""Every event that a stack logs: the one table of names, levels, fields and units.

The rules:

- a name is `category:event`, the event in the past tense, after qlog;
- package events describe *runs*, as packages travel: `id` (the low 24 bits of its number, which is what confirmations
  list) of the first and `count` of consecutive ones, or else `ids`. Where packages of a run differ in something, that
  field is a list;
- `target` (where to) and `source` (where from) are addresses as `host:port` or `[host]:port`, or as lists that begin
  with host and port. With the logging stack's own `address` they join the logs of both ends by (source, target, id);
- EVENTS.md is this table for readers: `markdown` makes it, and a test holds them equal. `names_in` finds the names that
  code logs.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from ..protocol.errors import FailureReason
from .messages import DeathReason

__all__ = ["COMMON", "EVENTS", "Event", "Field", "fields_of", "markdown", "names_in", "problems", "rewritten"]


@dataclass(frozen=True, slots=True)
class Field:
    """One field of an event.

    Attributes:
        name: the key in the log.
        unit: what a number counts, or what the text is.
        meaning: in a few words.
        optional: whether it may be missing.
        values: those that it may have, if they are known.
    """

    name: str
    unit: str
    meaning: str
    optional: bool = False
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Event:
    """One kind of event.

    Attributes:
        name: `category:event`.
        level: as in the standard library's logging, in lower case.
        fields: its own fields, besides `COMMON`.
        meaning: what has happened.
        which: whether it says which packages it is about (`id` and `count`, or `ids`): "always", "maybe" or "never".
    """

    name: str
    level: str
    fields: tuple[Field, ...]
    meaning: str
    which: str = "never"


COMMON: Final = (
    Field("event", "name", "which event"),
    Field("level", "name", "debug, info, warning or error"),
    Field("time", "seconds", "the stack's clock, monotonic"),
    Field("seq", "number", "counts the events of the stack, and so orders them"),
    Field("stack", "name", "which stack of the process"),
    Field("address", "host:port", "where the stack is bound"),
    Field("node", "name", "which actor", optional=True),
    Field("generation", "number", "its incarnation, from 0", optional=True),
)

ID: Final = Field("id", "24 bits", "number of the first package, low bits", optional=True)
IDS: Final = Field("ids", "list of 24 bits", "their ids, if not consecutive", optional=True)
COUNT: Final = Field("count", "packages", "how many")
TARGET: Final = Field("target", "address", "where to")
SOURCE: Final = Field("source", "address", "where from")
RELIABILITY: Final = Field("reliability", "name", "unreliable, unordered or semi_ordered, in lower case; or a list")
SIZE: Final = Field("size", "bytes", "of the payload; or a list")

CAUSE: Final = (
    Field("exc_info", "exception", "the cause", optional=True),
    Field("exception", "text", "the cause, as structlog renders it", optional=True),
)


def _maybe(field: Field) -> Field:
    return replace(field, optional=True)


def _trigger(*values: str) -> Field:
    return Field("trigger", "name", "why: " + ", ".join(values), values=values)


EVENTS: Final[dict[str, Event]] = {
    event.name: event
    for event in (
        # A package, at its sender.
        Event("package:accepted", "debug", (TARGET, COUNT), "usender took packages from the user"),
        Event(
            "package:queued",
            "debug",
            (TARGET, COUNT, Field("backlog", "packages", "wait for the target now")),
            "there is no room for them yet",
        ),
        Event(
            "package:numbered",
            "debug",
            (
                TARGET,
                COUNT,
                RELIABILITY,
                SIZE,
                Field("waited", "seconds", "for room, if they had to; or a list", optional=True),
                Field("eager", "copies", "that are sent from the start, if more than one", optional=True),
                Field("context", "mapping", "context variables that it was sent in", optional=True),
            ),
            "they got ids and are about to be sent for the first time",
            "always",
        ),
        Event(
            "transport:datagram_sent",
            "debug",
            (TARGET, COUNT, _maybe(RELIABILITY), Field("bytes", "bytes", "of all the datagrams")),
            "the system took datagrams of packages",
            "always",
        ),
        Event(
            "recovery:package_lost",
            "debug",
            (TARGET, COUNT, _trigger("overtaken", "timeout")),
            "judged lost: a later copy was confirmed, or nothing was for too long",
            "always",
        ),
        Event(
            "recovery:package_resent",
            "debug",
            (TARGET, COUNT, _trigger("overtaken", "timeout", "probe", "twin", "eager", "revived", "refused")),
            "reliable packages are sent once more",
            "always",
        ),
        Event(
            "recovery:package_confirmed",
            "debug",
            (TARGET, COUNT, Field("rtt", "seconds", "round trip, if one was measured", optional=True)),
            "the peer has them",
            "always",
        ),
        Event(
            "package:given_up",
            "warning",
            (TARGET, COUNT, _trigger(*FailureReason)),
            "reported to the user as unconfirmed; without ids, they had none yet",
            "maybe",
        ),
        # A package, at its receiver.
        Event("package:received", "debug", (SOURCE, COUNT, RELIABILITY, SIZE), "new packages arrived", "always"),
        Event("package:kept", "debug", (SOURCE, COUNT), "they wait for earlier ones that are missing", "always"),
        Event("package:delivered", "debug", (SOURCE, COUNT, _maybe(RELIABILITY)), "handed to the user", "always"),
        Event("package:duplicated", "debug", (SOURCE, COUNT), "they had arrived before; confirmed again", "always"),
        Event(
            "package:refused",
            "debug",
            (SOURCE, COUNT, _trigger("holes", "kept", "room")),
            "neither delivered nor confirmed: too much is missing, or kept, or too many sources are known already",
            "always",
        ),
        Event(
            "package:dropped",
            "debug",
            (SOURCE, COUNT, _trigger("poisoned")),
            "not taken, since a node crashed over what was received; reliable ones come again",
        ),
        # Confirmations.
        Event(
            "transport:confirmation_sent", "debug", (TARGET, COUNT), "packages were confirmed to their sender", "maybe"
        ),
        Event("transport:confirmation_received", "debug", (SOURCE, COUNT), "a control datagram arrived", "maybe"),
        Event(
            "transport:datagram_dropped",
            "debug or warning",
            (
                Field("direction", "name", "in or out"),
                _maybe(SOURCE),
                _maybe(TARGET),
                Field("trigger", "text", "why"),
                Field("count", "datagrams", "how many, if not one", optional=True),
                Field("what", "hex", "how the first begins", optional=True),
            ),
            "a datagram was no datagram of ours, or could not be sent: then the first for each reason is a warning",
        ),
        # Peers.
        Event("peer:first_seen", "info", (_maybe(SOURCE), _maybe(TARGET)), "first package from, or for, this address"),
        Event(
            "recovery:rtt_updated",
            "debug",
            (
                TARGET,
                Field("latest", "seconds", "what was measured"),
                Field("smoothed", "seconds", "after RFC 6298"),
                Field("minimum", "seconds", "the smallest yet"),
                Field("timeout", "seconds", "after which all is sent again if nothing is confirmed"),
            ),
            "a round trip was measured",
        ),
        Event(
            "recovery:window_updated",
            "debug",
            (
                TARGET,
                Field("window", "bytes", "that may be unconfirmed"),
                Field("in_flight", "bytes", "that are"),
            ),
            "congestion control changed the window",
        ),
        Event(
            "recovery:window_limited",
            "debug",
            (TARGET, _trigger("window", "numbers"), Field("backlog", "packages", "wait for it")),
            "packages wait for room",
        ),
        Event(
            "peer:failed",
            "warning",
            (
                TARGET,
                _trigger(*(reason for reason in FailureReason if reason is not FailureReason.EXPIRED)),
                Field("unconfirmed", "packages", "reported with it"),
            ),
            "given up, and reported to the user",
        ),
        Event(
            "peer:revived",
            "info",
            (TARGET, Field("pending", "packages", "that go first")),
            "sent to again after a failure",
        ),
        Event("peer:restarted", "info", (SOURCE,), "it was started anew, as its identity or its numbering tells"),
        Event(
            "peer:forgotten", "info", (_maybe(SOURCE), _maybe(TARGET), _trigger("silence", "room")), "its state is gone"
        ),
        # Actors.
        Event("actor:started", "info", (), "an incarnation of a node began"),
        Event("actor:stopped", "info", (), "it ended in order"),
        Event(
            "actor:crashed",
            "error",
            (
                Field("phase", "name", "where: constructor, thread, start, run or stop; or as the trigger"),
                _trigger(*(reason for reason in DeathReason if reason is not DeathReason.STOPPED)),
                Field("item", "type", "of the message that it crashed over; NoneType if none"),
                *CAUSE,
            ),
            "it ended otherwise",
        ),
        Event(
            "actor:restarted", "warning", (Field("wait", "seconds", "until the next incarnation starts"),), "it goes on"
        ),
        Event(
            "actor:item_set_aside",
            "warning",
            (Field("item", "type", "of the message"),),
            "a node crashed over a message",
        ),
        Event(
            "actor:message_dropped",
            "warning",
            (Field("message_type", "type", "of the message"), _trigger("unexpected")),
            "a node got what it does not know",
        ),
        Event(
            "actor:mailbox_full",
            "debug",
            (Field("mailbox", "name", "whose: a node's, or the user's"),),
            "this node feeds it, and holds back from now on",
        ),
        Event(
            "actor:mailbox_drained",
            "debug",
            (Field("mailbox", "name", "whose"), Field("lasted", "seconds", "since it was full")),
            "this node goes on",
        ),
        Event(
            "actor:state_renewed",
            "warning",
            (Field("peer", "address", "whose, or null for all", optional=True), Field("trigger", "text", "why")),
            "a node that goes on crashing goes on with a new state",
        ),
        Event("actor:state_lost", "error", CAUSE, "its state could not be renewed"),
        Event(
            "actor:left_behind",
            "error",
            (_trigger("hang", "shutdown"), Field("count", "actors", "left behind so far")),
            "it did not end in time; fenced off, its thread a daemon",
        ),
        # The stack.
        Event(
            "stack:started",
            "info",
            (
                Field(
                    "unix",
                    "seconds",
                    "wall clock at that `time`, since 1970; logs of machines are merged by it",
                    optional=True,
                ),
                Field("receive_buffer", "bytes", "that the system granted", optional=True),
            ),
            "the socket is bound",
        ),
        Event("stack:ended", "info", (), "everything has ended"),
        Event("stack:failed", "error", CAUSE, "a node crashed too often; every handle raises StackFailed"),
        Event("stack:crashed", "error", CAUSE, "the supervisor itself crashed"),
        Event("stack:abandoned", "warning", (Field("trigger", "text", "why"),), "nobody holds it any more; it closes"),
    )
}
"""Every event by its name, as in EVENTS.md."""


def rewritten(text: str) -> str:
    """Return the text of EVENTS.md with both of its tables made anew."""
    tables = iter(markdown())
    return re.sub(r"(?:^\|.*\n)+", lambda _: next(tables), text, flags=re.MULTILINE)


def fields_of(event: Event) -> tuple[Field, ...]:
    """Return an event's own fields, with those that say which packages it is about."""
    if event.which == "never":
        return event.fields
    return (*event.fields[:1], ID, IDS, *event.fields[1:])


def problems(record: Mapping[str, Any], *, bound: Container[str] = ()) -> list[str]:
    """Return what is wrong with a logged event by this table; `bound` are fields that a program has added itself."""
    name = record.get("event")
    event = EVENTS.get(name) if isinstance(name, str) else None
    if event is None:
        return [f"{name!r} is no event of the table"]
    fields = {field.name: field for field in (*COMMON, *fields_of(event))}
    wrong = [f"{name} lacks {known}" for known, field in fields.items() if not field.optional and known not in record]
    wrong += [
        f"{name} has {field}, which the table does not"
        for field in record
        if field not in fields and field not in bound
    ]
    for field in fields.values():
        if field.values and field.name in record and record[field.name] not in field.values:
            wrong.append(f"{name} has {field.name} {record[field.name]!r}, not one of {', '.join(field.values)}")
    if record.get("level", event.level) not in (event.level, *event.level.split(" or ")):
        wrong.append(f"{name} has level {record['level']}, not {event.level}")
    if event.which == "always" and "id" not in record and "ids" not in record:
        wrong.append(f"{name} does not say which packages: it lacks id or ids")
    return wrong


_LOGGED: Final = re.compile(r'"((?:package|transport|recovery|peer|actor|stack):[a-z_]+)"')


def names_in(*folders: Path) -> dict[str, list[str]]:
    """Return the event names that are literals in the Python files below these folders, but this one, with where."""
    found: dict[str, list[str]] = {}
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            if path.resolve() == Path(__file__).resolve():
                continue
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                for name in _LOGGED.findall(line):
                    found.setdefault(name, []).append(f"{path}:{number}")
    return found


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |\n"


def _rows() -> Iterator[str]:
    yield _row("event", "level", "meaning", "fields (units)")
    yield _row("---", "---", "---", "---")
    for event in EVENTS.values():
        fields = "; ".join(
            f"`{field.name}`{'?' if field.optional else ''} ({field.unit}) {field.meaning}"
            for field in fields_of(event)
        )
        yield _row(f"`{event.name}`", event.level, event.meaning, fields or "-")


def markdown() -> tuple[str, str]:
    """Return the tables of EVENTS.md: of the fields that every event has, and of the events."""
    common = _row("field", "unit", "meaning") + _row("---", "---", "---")
    common += "".join(
        _row(f"`{field.name}`{'?' if field.optional else ''}", field.unit, field.meaning) for field in COMMON
    )
    return common, "".join(_rows())
