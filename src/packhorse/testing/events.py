"""Watching a running stack by its events, as a test does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import TracebackType

    from .._stack import Stack

__all__ = ["CapturedEvents", "capture_events"]


class CapturedEvents:
    """The events of one stack since it is watched, in order; made by `capture_events`. Thread-safe.

    Each is a dict with `event`, `level`, `time`, `seq`, `stack`, `address`, `node` and the event's own fields, which
    `packhorse.actors.events` lists. Use it in a `with` statement, or `close` it: a stack that is watched is slower.
    """

    def __init__(self, stack: Stack) -> None:
        self._events: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        self._end = stack.journal.tap(self._take)

    def named(self, *names: str) -> list[dict[str, Any]]:
        """Return the events of these names so far, in order."""
        return [event for event in self if event["event"] in names]

    def wait_for(self, name: str, timeout: float = 10.0, **fields: Any) -> dict[str, Any]:
        """Return the first event of this name with these values, waiting for it if need be.

        Raises:
            TimeoutError: it did not come within `timeout` real seconds.
        """

        def found() -> dict[str, Any] | None:
            for event in self.named(name):
                if all(event.get(field) == value for field, value in fields.items()):
                    return event
            return None

        with self._changed:
            event: dict[str, Any] | None = self._changed.wait_for(found, timeout)
        if event is None:
            raise TimeoutError(f"no {name} with {fields} within {timeout} seconds")
        return event

    def close(self) -> None:
        """Watch no longer. What was captured stays."""
        self._end()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        with self._changed:
            events = sorted(self._events, key=itemgetter("seq"))
        return iter(events)

    def __len__(self) -> int:
        return len(self._events)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _take(self, event: dict[str, Any]) -> None:
        with self._changed:
            self._events.append(event)
            self._changed.notify_all()


def capture_events(stack: Stack) -> CapturedEvents:
    """Watch every event of a stack from now on, whatever its logger is set to."""
    return CapturedEvents(stack)
