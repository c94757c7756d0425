"""How faults strike: what `packhorse.testing.faults` sets in a node.

The rules:

- a fault strikes in the node itself, as a bug would: at once, in its place behind what waits already, or while it
  handles its nth item. It strikes once;
- *items* are what a node handles one by one: usender's are packages and grants, dreceiver's are receives, those of the
  others messages, each of which may carry many packages. They are counted from the moment at which the fault is set,
  over all incarnations;
- "before": the item is out of the mailbox, and nothing was done with it. "middle": everything was computed, on a copy
  of the state, and neither state nor outputs were changed. "after": its batch was handled, and what that brought was
  not passed on yet;
- a node that hangs or stands still waits by the stack's clock, so all of this works under a `ManualClock` too;
- what is handled before a fault is due is handled as ever, in runs and in another node's thread.
"""

# ruff: noqa: SLF001 - it stands between a node and its own methods

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self

from ..actors.dreceiver import DReceiver

if TYPE_CHECKING:
    from types import TracebackType

    from ..actors.clock import Clock
    from ..actors.messages import Batch
    from ..actors.node import Node, Station

__all__ = ["WHEN", "Hold", "InjectedCrash", "Trap", "Traps", "raising"]

WHEN: Final = ("before", "middle", "after")


class InjectedCrash(Exception):  # noqa: N818 - the event is the message
    """What a node crashes of when nothing else was asked for."""


class Trap:
    """A fault that was set; returned by `crash`, `crash_on` and `crash_on_start`."""

    def __init__(self, strike: Callable[[Any], None], left: int, when: str) -> None:
        self._strike = strike
        self._sprung = threading.Event()
        self.left = left
        self.when = when

    @property
    def sprung(self) -> bool:
        """Whether it has struck."""
        return self._sprung.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait, in real time, until it has struck; return whether it has."""
        return self._sprung.wait(timeout)

    def strike(self, node: Node[Any]) -> None:
        """Do it, in the node's thread."""
        self._sprung.set()
        self._strike(node)


class Hold(Trap):
    """A node that is held; returned by `pause` and `hang`. `release` it, or use it in a `with` statement.

    `wait` waits until the node stands still.
    """

    def __init__(self, clock: Clock, left: int, when: str, *, asleep: bool) -> None:
        super().__init__(self._hold, left, when)
        self._clock = clock
        self._asleep = asleep
        self._token = threading.Lock()
        self._token.acquire()
        self._released = False

    def release(self) -> None:
        """Let it go on. May be repeated, and may come before it is held at all."""
        if not self._released:
            self._released = True
            self._clock.wake(self._token)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _hold(self, node: Node[Any]) -> None:
        inbox = node._inbox  # pyright: ignore[reportPrivateUsage] - the tool for that
        inbox.parked = self._asleep  # so the watchdog takes it for one that has nothing to do
        self._clock.rest(self._token, None)
        if self._asleep:
            inbox.parked = False
            inbox.beats += 1
            if not inbox.watch.armed:
                inbox.watch.arm()


def raising(error: BaseException | None) -> Callable[[Any], None]:
    """Return what raises this, or an `InjectedCrash`."""

    def strike(node: Node[Any]) -> None:
        raise InjectedCrash(f"{type(node).__name__} was to crash") if error is None else error

    return strike


class Traps:
    """What is set for one node. While there is any, it stands between the node and its handlers."""

    def __init__(self, station: Station[Any]) -> None:
        self._station = station
        self._lock = threading.Lock()
        self._traps: list[Trap] = []
        self._late: list[Trap] | None = None

    def add(self, trap: Trap) -> None:
        """Set one more."""
        with self._lock:
            self._traps.append(trap)
        if self._station.incarnation is not None:
            self(self._station.incarnation)

    def __call__(self, node: Node[Any]) -> None:
        """Step between an incarnation and its handlers, if anything is set."""
        with self._lock:
            if not self._traps:
                return
            # As attributes of the instance they come before those of its class.
            instead: dict[str, Any] = vars(node)
            instead["on_start"] = partial(self._on_start, node, type(node).on_start)
            if isinstance(node, DReceiver):
                instead["_on_readable"] = partial(self._on_readable, node)
                instead["_classify"] = partial(self._classify, node)
            else:
                instead["_handle"] = partial(self._handle, node)

    def _step_out(self, node: Node[Any]) -> None:
        with self._lock:
            if not self._traps:
                for name in ("on_start", "_on_readable", "_classify", "_handle"):
                    vars(node).pop(name, None)

    def _count(self, node: Node[Any], items: int) -> list[Trap]:
        """Count items that are handled now; return what is due over the last of them."""
        if node is not self._station.incarnation:
            return []  # it was left behind, and woke up
        with self._lock:
            counting = [trap for trap in self._traps if trap.when != "start"]
            for trap in counting:
                trap.left -= items
            due = [trap for trap in counting if trap.left <= 0]
            self._traps = [trap for trap in self._traps if trap not in due]
        return due

    def _next(self) -> float:
        with self._lock:
            return min((trap.left for trap in self._traps if trap.when != "start"), default=float("inf"))

    # In the node's thread, or in one that handles a batch in its place.

    def _on_start(self, node: Node[Any], original: Callable[[Any], None]) -> None:
        with self._lock:
            due = next((trap for trap in self._traps if trap.when == "start"), None)
            if due is not None:
                due.left -= 1
                if due.left <= 0:
                    self._traps.remove(due)
        if due is not None:
            due.strike(node)
        original(node)

    def _handle(self, node: Any, batch: Batch, now: float) -> None:
        if self._next() > len(batch.items):
            self._count(node, len(batch.items))
            node.__class__._handle(node, batch, now)
            return
        late: list[Trap] = []
        for item in batch:
            due = self._count(node, 1)
            _strike(due, "before", node)
            if any(trap.when == "middle" for trap in due):
                state = node._state
                node._state = copy.deepcopy(state)
                try:
                    _handle_one(node, item, now)
                finally:
                    node._state = state
                _strike(due, "middle", node)
            _handle_one(node, item, now)
            late += [trap for trap in due if trap.when == "after"]
        self._step_out(node)
        if late:
            node._inbox.batch_done()
            _strike(late, "after", node)

    def _on_readable(self, node: Any, now: float) -> None:
        late: list[Trap] = []
        self._late = late
        try:
            node.__class__._on_readable(node, now)
        finally:
            self._late = None
        self._step_out(node)
        _strike(late, "after", node)

    def _classify(self, node: Any, *received: Any) -> None:
        # A trap may be set while receives are under way; those are not counted.
        due = [] if self._late is None else self._count(node, 1)
        _strike(due, "before", node)
        node.__class__._classify(node, *received)
        _strike(due, "middle", node)
        if self._late is not None:
            self._late += [trap for trap in due if trap.when == "after"]


def _strike(due: list[Trap], when: str, node: Node[Any]) -> None:
    for trap in due:
        if trap.when == when:
            trap.strike(node)


def _handle_one(node: Any, item: Any, now: float) -> None:
    handler = node._table.get(item.__class__)
    if handler is None:
        node._unexpected(item, now)
    else:
        handler(item, now)
