"""What a stack tells of itself: the journal of a stack, and how each of its actors writes into it.

The rules:

- every event has a `time` of the stack's clock and a `seq`, which orders the events of the stack; names and fields are
  those of `events`;
- a journal is *traced* when its logger wants debug events or somebody listens (`Journal.tap`). Otherwise debug events
  cost nothing: the parts of the protocol take no notes (see `packhorse.protocol.notes`), and nodes ask before they make
  one;
- a trace may be thinned out: of the events that tell of packages only those about every nth id, so that both ends tell
  of the same ones, or only those about some peers. In the events of packages a field that is a list has a value for
  each of them, and is thinned out with them.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Any

from ..protocol.header import ID_MASK
from ..protocol.notes import alike
from .events import EVENTS

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from ..protocol.address import Address
    from ..protocol.notes import Note
    from .clock import Clock

__all__ = ["Journal", "Tracer"]


class Journal:
    """The events of one stack.

    Args:
        logger: where they go.
        clock: the stack's clock.
        sample: tell only of packages whose id is a multiple of this.
        peers: tell only of packages for or from these; None for all.

    Attributes:
        traced: whether debug events are wanted; may change at any time.
        failed: how many events the logger could not write, because it raised. The first is shown on standard error.

    Raises:
        ValueError: `sample` is less than 1.
    """

    def __init__(
        self, logger: FilteringBoundLogger, clock: Clock, *, sample: int = 1, peers: Collection[Address] | None = None
    ) -> None:
        if sample < 1:
            raise ValueError(f"a trace tells of one package in 1 or more, not in {sample!r}")
        self._logger = logger
        self._clock = clock
        self._sample = sample
        self._peers = None if peers is None else frozenset(peers)
        self._order = count(1)
        self._others = count()
        self._taps: tuple[Callable[[dict[str, Any]], None], ...] = ()
        self.failed = 0
        self._wanted = _wants_debug(logger)
        self.traced = self._wanted

    def tap(self, take: Callable[[dict[str, Any]], None]) -> Callable[[], None]:
        """Give every event, debug events too, to `take` as well, in the thread it happens in; return what ends that."""
        self._taps = (*self._taps, take)
        self.traced = True

        def end() -> None:
            self._taps = tuple(known for known in self._taps if known is not take)
            self.traced = self._wanted or bool(self._taps)

        return end

    def tracer(self, **fields: Any) -> Tracer:
        """Return what an actor writes with; the fields are part of all it writes."""
        return Tracer(self, self._logger.bind(**fields), fields)

    def write(self, tracer: Tracer, level: str, event: str, fields: dict[str, Any]) -> None:
        """Write an event."""
        fields["time"] = self._clock.now()
        fields["seq"] = next(self._order)
        for take in self._taps:
            take({"event": event, "level": level, **tracer.fields, **fields})
        try:
            getattr(tracer.logger, level)(event, **fields)
        except Exception:  # noqa: BLE001 - whatever the program's logger raises; a full disk must not end deliveries
            self._could_not_log()

    def _could_not_log(self) -> None:
        """Say so once, where the standard library says it."""
        self.failed += 1
        if self.failed == 1 and sys.stderr is not None:  # pyright: ignore[reportUnnecessaryComparison] - under pythonw
            with suppress(OSError):
                sys.stderr.write("packhorse goes on, though its logger raised:\n")
                traceback.print_exc()

    def thinned(self, fields: dict[str, Any]) -> dict[str, Any] | None:
        """Return what of an event is to be told, or None for nothing."""
        if self._peers is not None and fields.get("target", fields.get("source")) not in self._peers:
            return None
        if self._sample == 1:
            return fields
        if (
            "id" in fields
            and -fields["id"] % self._sample >= fields["count"]
            and fields["id"] + fields["count"] <= ID_MASK
        ):
            return None  # the next one that is told of comes later
        ids = _ids(fields)
        if ids is None:
            return fields if next(self._others) % self._sample == 0 else None
        places = [place for place, wire_id in enumerate(ids) if wire_id % self._sample == 0]
        if not places:
            return None
        told = {
            name: alike([value[place] for place in places]) if isinstance(value, list) else value
            for name, value in fields.items()
            if name != "id"
        }
        return {**told, "ids": [ids[place] for place in places], "count": len(places)}


class Tracer:
    """What one actor writes with. Used as a structlog logger."""

    __slots__ = ("_journal", "fields", "logger")

    def __init__(self, journal: Journal, logger: FilteringBoundLogger, fields: dict[str, Any]) -> None:
        self._journal = journal
        self.logger = logger
        self.fields = fields

    @property
    def traced(self) -> bool:
        """Whether debug events are wanted."""
        return self._journal.traced

    def bind(self, **fields: Any) -> Tracer:
        """Return one that adds these fields."""
        return Tracer(self._journal, self.logger.bind(**fields), {**self.fields, **fields})

    def note(self, notes: Sequence[Note]) -> None:
        """Write what the protocol has noted."""
        journal = self._journal
        for event, fields in notes:
            told = journal.thinned(fields)
            if told is not None:
                journal.write(self, EVENTS[event].level, event, told)

    def debug(self, event: str, **fields: Any) -> None:
        """Write a debug event, if they are wanted."""
        if self._journal.traced:
            told = self._journal.thinned(fields)
            if told is not None:
                self._journal.write(self, "debug", event, told)

    def info(self, event: str, **fields: Any) -> None:
        """Write what happens seldom and is in order."""
        self._journal.write(self, "info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Write what the user should know of."""
        self._journal.write(self, "warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """Write what should not happen."""
        self._journal.write(self, "error", event, fields)

    def exception(self, event: str, **fields: Any) -> None:
        """Write what should not happen, with the exception that is being handled."""
        self._journal.write(self, "error", event, {"exc_info": True, **fields})


def _ids(fields: dict[str, Any]) -> Sequence[int] | None:
    if "ids" in fields:
        ids: Sequence[int] = fields["ids"]
        return ids
    if "id" not in fields:
        return None
    first: int = fields["id"]
    return [wire_id & ID_MASK for wire_id in range(first, first + fields["count"])]


def _wants_debug(logger: Any) -> bool:
    """Ask a logger whether it wants debug events; one that cannot tell does."""
    ask = getattr(logger, "is_enabled_for", None) or getattr(logger, "isEnabledFor", None)
    return ask is None or bool(ask(logging.DEBUG))
