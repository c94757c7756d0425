"""Reading logs: one JSON object a line, as structlog's JSONRenderer or orjson writes them.

The rules:

- a line counts if its `event` is one of packhorse's and it says when and in which stack; programs log other things too,
  and those lines are only counted;
- what stands before the first brace of a line is skipped: the standard library and journals put names and times there;
- one file may hold several stacks, one after the other or at once. A `stack:started` begins a new one; a file that
  begins without one goes on with that of another file (a log that was rotated), if the numbers of its events follow.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import msgspec

from ..actors.events import EVENTS

__all__ = ["Log", "Record", "Stack", "TraceError", "read", "written"]


class TraceError(Exception):
    """What was asked for cannot be told from these logs; the message says what could."""


@dataclass(slots=True, eq=False)
class Record:
    """One event.

    Attributes:
        event: its name.
        level: as logged, or as the table says.
        time: seconds of its stack's clock.
        seq: its place among the events of its stack.
        node: the actor, or "" for the stack itself.
        data: everything that was logged.
        stack: whose event it is.
    """

    event: str
    level: str
    time: float
    seq: int
    node: str
    data: dict[str, Any]
    stack: Stack

    @property
    def at(self) -> float:
        """When it was, on the clock that all logs share."""
        return self.time + self.stack.offset


@dataclass(slots=True, eq=False)
class Stack:
    """The events of one stack, from its start to its end.

    Attributes:
        name: as it calls itself; unique in its process only.
        address: where it is bound, as `host:port`; "" if no event says so.
        file: where it logged.
        records: its events, in order.
        unix: what to add to its clock to get the wall clock, or None if no event says so.
        offset: what to add to its clock to get the clock that all logs share.
        shift: the part of `offset` that was taken from the exchanges, because the wall clocks do not agree.
        label: how it is shown.
    """

    name: str
    address: str
    file: str = ""
    records: list[Record] = field(default_factory=list[Record])
    unix: float | None = None
    offset: float = 0.0
    shift: float = 0.0
    label: str = ""


@dataclass(slots=True)
class Log:
    """What was in the files.

    Attributes:
        stacks: those that logged, in order of their first line.
        events: lines that count.
        foreign: other lines.
        undated: lines with an event of packhorse's, but without `time` or `stack`.
    """

    stacks: list[Stack] = field(default_factory=list[Stack])
    events: int = 0
    foreign: int = 0
    undated: int = 0


def written(address: object) -> str:
    """Return an address as `host:port`, whether it was logged like that or as a list that begins with host and port."""
    if isinstance(address, str):
        return address
    if isinstance(address, Sequence):
        parts = cast("Sequence[object]", address)
        if len(parts) > 1:
            host = str(parts[0])
            return f"[{host}]:{parts[1]}" if ":" in host else f"{host}:{parts[1]}"
    return ""


def read(paths: Iterable[Path]) -> Log:
    """Read logs.

    Raises:
        TraceError: a file cannot be read, or none of them has an event.
    """
    log = Log()
    paths = list(paths)
    for path in paths:
        try:
            with path.open("rb") as lines:
                _read_file(path.name, lines, log)
        except OSError as error:
            raise TraceError(f"cannot read {path}: {error.strerror}") from error
    if not log.events:
        raise TraceError(_nothing(paths, log))
    for stack in log.stacks:
        stack.records.sort(key=lambda record: record.seq)
    _join_rotated(log)
    return log


def _nothing(paths: Sequence[Path], log: Log) -> str:
    names = ", ".join(map(str, paths))
    if log.undated:
        return f"the events in {names} have no `time` and `stack`, which each of packhorse has; was the log filtered?"
    wanted = "a log has one JSON object a line, as structlog's JSONRenderer writes it"
    return (
        f"no event of packhorse in {names} ({log.foreign} other lines); {wanted}, and package events are at level debug"
    )


def _read_file(file: str, lines: Iterable[bytes], log: Log) -> None:
    current: dict[tuple[str, str], Stack] = {}
    for line in lines:
        if not line.strip():
            continue
        data = _parse(line)
        event = None if data is None else data.get("event")
        if data is None or not isinstance(event, str) or event not in EVENTS:
            log.foreign += 1
            continue
        name, time = data.get("stack"), data.get("time")
        if not isinstance(name, str) or isinstance(time, bool) or not isinstance(time, (int, float)):
            log.undated += 1
            continue
        address = written(data.get("address"))
        stack = current.get((name, address))
        if stack is None or event == "stack:started":
            stack = current[name, address] = Stack(name, address, file)
            log.stacks.append(stack)
        if isinstance(data.get("unix"), (int, float)):
            stack.unix = data["unix"] - time
        seq = data.get("seq")
        log.events += 1
        stack.records.append(
            Record(
                event=event,
                level=str(data.get("level", EVENTS[event].level)),
                time=time,
                seq=seq if isinstance(seq, int) else log.events,
                node=str(data.get("node") or ""),
                data=data,
                stack=stack,
            )
        )


def _parse(line: bytes) -> dict[str, Any] | None:
    start = line.find(b"{")
    if start < 0:
        return None
    try:
        data = msgspec.json.decode(line[start:])
    except (msgspec.DecodeError, RecursionError):
        return None
    return cast("dict[str, Any]", data) if isinstance(data, dict) else None


def _join_rotated(log: Log) -> None:
    """Put together what is one stack in several files."""
    joined: list[Stack] = []
    for stack in sorted(log.stacks, key=lambda stack: stack.records[0].seq):
        before = [
            other
            for other in joined
            if (other.name, other.address) == (stack.name, stack.address)
            and other.records[-1].seq < stack.records[0].seq
            and other.records[-1].time <= stack.records[0].time
        ]
        if not before or stack.records[0].event == "stack:started":
            joined.append(stack)
            continue
        first = max(before, key=lambda other: other.records[-1].seq)
        for record in stack.records:
            record.stack = first
        first.records += stack.records
        first.unix = first.unix if first.unix is not None else stack.unix
    log.stacks = [stack for stack in log.stacks if any(stack is other for other in joined)]
