"""Watchdog: finds incarnations that are at work and make no progress.

The rules:

- progress is counted, not timed: an incarnation hangs when it was at work, and had not come back for more, at `LOOKS`
  looks in a row, each a fixed time after the one before;
- a look that comes late by more than that time says nothing: then all of the process stood still, or was starved;
- there are looks only while somebody is at work. An incarnation that goes from sleep to work arms the watchdog, which
  costs it one look at an attribute; so an idle program makes no wake-ups.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from .inbox import Inbox

__all__ = ["LOOKS", "NO_WATCH", "Watch", "Watchdog"]

LOOKS: Final = 4
"""Looks within the shortest time after which somebody counts as hung."""


class Watch(Protocol):
    """Who looks after readers that hang, while it is *armed*."""

    armed: bool

    def arm(self) -> None:
        """Begin to look, because a reader is at work."""
        ...


class _NoWatch:
    armed = True

    def arm(self) -> None:
        pass


NO_WATCH: Final = _NoWatch()
"""Nobody looks."""


class Watchdog:
    """Looks after inboxes. Everything but `arm` is called in the supervisor's thread.

    Args:
        wake: lets the supervisor call `look`; called by the thread of whoever begins to work.

    Attributes:
        armed: somebody may be at work, so there will be a look.
        look_at: when, or None.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._watched: dict[Inbox, float] = {}
        self._beats: dict[Inbox, tuple[int, int]] = {}
        """The beats at the last look, and at how many looks before they were the same."""
        self._interval = math.inf
        self.armed = True
        self.look_at: float | None = None

    def arm(self) -> None:
        """Begin to look. Called by whoever begins to work."""
        self.armed = True
        self._wake()

    def watch(self, inbox: Inbox, hang_after: float) -> None:
        """Look after a new incarnation."""
        self._watched[inbox] = hang_after
        self._interval = min(self._watched.values()) / LOOKS
        inbox.watch = self
        self.armed = True

    def forget(self, inbox: Inbox | None) -> None:
        """Look after it no more."""
        if inbox is not None and self._watched.pop(inbox, None) is not None:
            self._beats.pop(inbox, None)
            self._interval = min(self._watched.values(), default=math.inf) / LOOKS

    def look(self, now: float) -> list[Inbox]:
        """Look if it is time; return those that hang."""
        if self.look_at is None or now < self.look_at:
            return []
        late = now > self.look_at + self._interval
        hung = [inbox for inbox, limit in self._watched.items() if self._hangs(inbox, limit, late=late)]
        self.look_at = None if self._disarm() else now + self._interval
        return hung

    def schedule(self, now: float) -> None:
        """Set the time of the next look if somebody may be at work."""
        if not self._watched:
            self.look_at = None
        elif self.armed and (self.look_at is None or self.look_at > now + self._interval):
            self.look_at = now + self._interval

    def _hangs(self, inbox: Inbox, limit: float, *, late: bool) -> bool:
        beats, same = self._beats.get(inbox, (-1, 0))
        if inbox.parked or inbox.beats != beats or late:
            self._beats[inbox] = (-1 if inbox.parked else inbox.beats, 0)
            return False
        self._beats[inbox] = (beats, same + 1)
        return (same + 1) * self._interval >= limit

    def _disarm(self) -> bool:
        """Stop looking if all sleep; the order leaves no gap for one that wakes up meanwhile."""
        self.armed = False
        if all(inbox.parked for inbox in self._watched):
            return True
        self.armed = True
        return False
