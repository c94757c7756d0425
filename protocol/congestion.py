"""How much may be under way to one peer: congestion control behind a small interface.

The rules of `DelayController`:

- the window is counted in bytes and never falls below 16 datagrams;
- *queueing delay* is what the smoothed round trip takes beyond its smallest value of the last 30 seconds; both are smoothed, so
  jitter is not taken for a queue. Up to 10 ms, or a quarter of the smallest round trip, it is noise;
- beyond that the window shrinks to 70 %, at most once in two round trips: that empties the queue, so that another stack on the
  same path sees how long the path really is, and the two share it;
- the start phase, in which the window doubles with every round trip, ends with the first queueing delay, or when a third of the
  window is lost within a round trip. Then the floor must do until the queue has emptied and everyone has seen how long the
  path really is; after that half of the window, which undoes the last doubling;
- a loss without queueing delay does not shrink it: such losses come from the path, not from us. A window that shrank with
  every loss would carry 68 packages a second at 20 % loss. Only when half of the window is lost within a round trip it must be
  a queue, one that was full before we came and so looks like the path: then it is emptied as after the start phase;
- it grows only while it is used: in the start phase by what was confirmed, then by three datagrams per round trip, the same for
  everyone, so that shares become equal.

`Room` turns that into grants: absolute, given when half of the last one is used, and no more at a time than `BURST` or, at a
high rate, what may be sent in a millisecond. The next waits for as long as the last takes at the controller's rate.
"""

from __future__ import annotations

from collections import deque
from math import inf
from typing import Final, Protocol

from .header import MAX_DATAGRAM

__all__ = ["BURST", "FLOOR", "INITIAL", "Controller", "DelayController", "FixedController", "Room"]

FLOOR: Final = 16 * MAX_DATAGRAM
BURST: Final = 16 * MAX_DATAGRAM
"""Bytes that may always be sent at once."""
INITIAL: Final = 32 * MAX_DATAGRAM
CEILING: Final = 1024 * MAX_DATAGRAM
"""More cannot be under way: receivers refuse to have more than 1024 holes."""
NOISE: Final = 0.010
NOISE_SHARE: Final = 0.25
PACE: Final = 0.001
"""Seconds between two grants at a high rate; at a low one it is what `BURST` takes."""
SHRINK: Final = 0.7
HEAVY_LOSS: Final = 12
"""Packages lost within a round trip that may be an overflowing queue; a few are a bad path."""
GROWTH: Final = 3 * MAX_DATAGRAM
"""Bytes by which a window that is used grows per round trip."""
SMOOTHING: Final = 4
"""Samples that the round trip is averaged over, so that jitter is not taken for a queue."""
PATH_MEMORY: Final = 30.0
"""Seconds for which the smallest round trip counts."""


class Controller(Protocol):
    """Decides how much may be under way. Sizes in bytes, times in seconds."""

    @property
    def window(self) -> float:
        """Bytes that may be unconfirmed."""
        ...

    @property
    def rate(self) -> float:
        """Bytes per second at which new packages may be sent."""
        ...

    def confirmed(self, size: int, in_flight: int, round_trip: float | None, now: float) -> None:
        """Note that `size` bytes were confirmed; `in_flight` were under way before, `round_trip` is a sample or None."""
        ...

    def lost(self, count: int, now: float) -> None:
        """Note that so many packages were judged lost."""
        ...


class DelayController:
    """Reacts to queueing delay; see the module's rules."""

    def __init__(self) -> None:
        self.window = float(INITIAL)
        self._smoothed = 0.0
        self._starting = True
        self._shrunk_at = 0.0
        self._delayed = False
        self._round_began = 0.0
        self._draining = False
        self._resume_at: float | None = None
        self._resume_with = 0.0
        self._lost = 0
        self._smallest: deque[tuple[float, float]] = deque()
        """(time, smoothed round trip), ascending in both: the candidates for the smallest in memory."""

    @property
    def rate(self) -> float:
        """Bytes per second at which new packages may be sent: a little more than the window per round trip."""
        if not self._smoothed:
            return float("inf")
        return self.window * (2.0 if self._starting else 1.25) / self._smoothed

    def confirmed(self, size: int, in_flight: int, round_trip: float | None, now: float) -> None:
        """Grow or shrink the window."""
        if round_trip is not None:
            self._sample(round_trip, now)
        if self._draining:
            self._drain(in_flight - size, now)
            return
        if self._delayed:
            if now - self._shrunk_at >= 2 * self._smoothed:
                self._shrink(now)
            return
        if in_flight < self.window / 2:
            return
        grown = size if self._starting else size * GROWTH / self.window
        self.window = min(float(CEILING), self.window + grown)

    def lost(self, count: int, now: float) -> None:
        """Empty the queue if so much was lost within a round trip that it must be overflowing."""
        if now - self._round_began > self._smoothed:
            self._round_began = now
            self._lost = 0
        self._lost += count
        if self._draining or self._lost < HEAVY_LOSS:
            return
        share = self._lost * MAX_DATAGRAM / self.window
        if share > 1 / 3 if self._starting else share > 1 / 2 and now - self._shrunk_at >= 2 * self._smoothed:
            self._lost = 0
            self._empty(now)

    def _shrink(self, now: float) -> None:
        if self._starting:
            self._empty(now)
        else:
            self._shrunk_at = now
            self.window = max(float(FLOOR), self.window * SHRINK)

    def _empty(self, now: float) -> None:
        """Let the queue drain, then go on with half of the window."""
        self._shrunk_at = now
        self._starting = False
        self._draining = True
        self._resume_at = None
        self._resume_with = max(float(FLOOR), self.window / 2)
        self.window = float(FLOOR)

    def _drain(self, in_flight: int, now: float) -> None:
        """Hold the window at the floor until a round trip began and ended with an empty queue."""
        if in_flight > FLOOR:
            return
        if self._resume_at is None:
            self._resume_at = now + 2 * self._smoothed
        elif now >= self._resume_at:
            self._draining = False
            self.window = self._resume_with

    def _sample(self, round_trip: float, now: float) -> None:
        self._smoothed += (round_trip - self._smoothed) / SMOOTHING if self._smoothed else round_trip
        smallest = self._smallest
        while smallest and smallest[-1][1] >= self._smoothed:
            smallest.pop()
        smallest.append((now, self._smoothed))
        while smallest[0][0] < now - PATH_MEMORY:
            smallest.popleft()
        path = smallest[0][1]
        self._delayed = self._smoothed - path > max(NOISE, path * NOISE_SHARE)


class FixedController:
    """A window that never changes, as large as the receivers' rules allow."""

    window = float(CEILING)
    rate = float("inf")

    def confirmed(self, size: int, in_flight: int, round_trip: float | None, now: float) -> None:
        """Change nothing."""

    def lost(self, count: int, now: float) -> None:
        """Change nothing."""


class Room:
    """How far one peer's numbering may go.

    Attributes:
        controller: decides about bytes.
        limit: numbers below this may be given.
        budget: so many bytes may be sent for the first time, counted like `total`.
        total: bytes sent for the first time so far.
        opens_at: when there will be more room; infinity if that is not a matter of time.
    """

    __slots__ = ("_paced_until", "_window", "budget", "controller", "limit", "opens_at", "total")

    def __init__(self, window: int, controller: Controller) -> None:
        self.controller = controller
        self.limit = window
        self.budget = INITIAL
        self.total = 0
        self.opens_at = inf
        self._window = window
        self._paced_until = -inf

    def close(self, following: int, total: int) -> None:
        """Leave no room beyond the numbers and bytes that were used."""
        self.limit = following
        self.budget = self.total = total

    def more(self, oldest: int, following: int, in_flight: int, now: float) -> bool:
        """Make more room if it may soon be needed; tell whether `limit` or `budget` have changed.

        Args:
            oldest: the lowest unconfirmed number.
            following: the number that will be given next.
            in_flight: bytes unconfirmed.
            now: the time in seconds.
        """
        self.opens_at = inf
        rate = self.controller.rate
        quantum = max(BURST, rate * PACE)
        if self.budget - self.total >= quantum / 2 and self.limit - following > self._window // 2:
            return False
        room = max(0.0, min(self.controller.window - in_flight, quantum))
        budget = max(self.budget, self.total + int(room))
        limit = oldest + self._window
        if budget == self.budget and limit <= self.limit:
            return False
        if now < self._paced_until - PACE:
            self.opens_at = self._paced_until
            return False
        self._paced_until = max(now, self._paced_until) + (budget - max(self.budget, self.total)) / rate
        self.limit, self.budget = limit, budget
        return True
