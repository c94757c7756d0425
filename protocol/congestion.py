"""How much may be under way to one peer: congestion control behind a small interface.

The rules of `DelayController`:

- the window is counted in bytes and never falls below 16 datagrams of the size that was usual lately;
- *queueing delay* is what the smoothed round trip takes beyond its smallest value of the last 30 seconds; both are
  smoothed, so jitter is not taken for a queue. Up to 10 ms, or a quarter of the smallest round trip, it is noise;
- if it is more for a whole round trip the window shrinks to 70 %, at most once in two round trips: that empties the
  queue, so that another stack on the same path sees how long the path really is, and the two share it;
- in the start phase the window grows by half with every round trip, and by less the nearer the delay is to the end of
  noise; there the phase ends. What is seen now was caused a round trip ago, so a window that doubles overfills the
  queue before it knows;
- then the queue is *drained*: 8 datagrams must do until the queue has emptied and everyone has seen how long the path
  really is; after that half of the window. This is the one time that the window is below its floor;
- a loss without queueing delay does not shrink it: such losses come from the path, not from us. A window that shrank
  with every loss would carry 68 packages a second at 20 % loss. But a queue that was full before we came looks like the
  path. So when 15 % of the window are lost within a round trip the queue is drained in order to look: if the round trip
  is shorter then, or the losses are gone, it was a queue, and the window shrinks to 70 %; if not the window stays, and
  the next look is 24 round trips later. When half is lost, or in the start phase a third, half of the window goes;
- losses count for that only while the window is used, not before a round trip was measured, and not in the round trip
  after a silence of another: then the path was down, or a confirmation was lost, and neither was a queue;
- jitter has packages judged lost that were only overtaken. When that is known they are taken back, and a look that is
  left without a reason ends at once;
- it grows only while it is used: after the start phase by three such datagrams per round trip, the same for everyone,
  so that shares become equal; by one while 15 % are lost, and never by more than an eighth.

`Room` turns that into grants: absolute, given when half of the last one is used, and no more at a time than `BURST`, or
a quarter of a small window, or, at a high rate, what may be sent in a millisecond; but there is always room for one of
the largest packages, whatever is left of the last grant: with less they would wait for ever. The next waits for as long
as the last takes at the controller's rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Final, Protocol

from .header import MAX_DATAGRAM

__all__ = ["BURST", "FLOOR", "INITIAL", "Controller", "DelayController", "FixedController", "Room"]

FLOOR: Final = 16
"""Datagrams, of their usual size: queues are limited by number more often than by bytes."""
DRAINED: Final = 8
"""The same while a queue is drained: half of the floor, or the floors of many stacks would keep it full."""
LEAST_UNIT: Final = 64
"""Bytes that the usual size is at least, so that a drained window has room for one of the largest."""
UNIT_MEMORY: Final = 8
"""Confirmations that the usual size is averaged over."""
BURST: Final = 16 * MAX_DATAGRAM
"""Bytes that may be sent at once, unless the window is small."""
BURST_SHARE: Final = 0.25
"""Share of a small window that may be sent at once, so that the bursts of many stacks do not fill a queue."""
INITIAL: Final = 32 * MAX_DATAGRAM
CEILING: Final = 1024 * MAX_DATAGRAM
"""More cannot be under way: receivers refuse to have more than 1024 holes."""
NOISE: Final = 0.010
NOISE_SHARE: Final = 0.25
STEP: Final = 256
"""Numbers that are granted together at least, while most of the window is under way."""
QUANTUM: Final = 0.001
"""Seconds between two grants at a high rate; at a low one it is what a burst takes."""
PACE: Final = 1.25
"""Windows that may be sent per round trip."""
STARTING_PACE: Final = 1.5
STARTING_GROWTH: Final = 0.5
"""Share of what is confirmed by which the window grows in the start phase."""
GROWTH: Final = 3
"""Datagrams of the usual size by which a window that is used grows per round trip later."""
LOSSY_GROWTH: Final = 1
"""The same while more is lost than `LOSS_TO_LOOK`."""
GROWTH_SHARE: Final = 1 / 8
"""Share of a small window that it is at most, so that many small ones do not fill a queue within a round trip."""
SHRINK: Final = 0.7
LEAST_LOSS: Final = 6
"""Packages lost within a round trip that may be an overflowing queue; a few are a bad path."""
LOSS_TO_LOOK: Final = 0.15
"""Share of the window that, lost within a round trip, is reason to look whether there is a queue."""
LOSS_TO_SHRINK: Final = 0.5
STARTING_LOSS_TO_SHRINK: Final = 1 / 3
FEWER: Final = 1 / 8
"""Share of the losses that is left, at most, when a queue was drained."""
SHORTER: Final = 0.25
"""Share of noise by which a round trip shortens when a queue was drained."""
LOOK_AFTER: Final = 24
"""Round trips from a look that found no queue to the next."""
SMOOTHING: Final = 4
"""Samples that the round trip is averaged over, so that jitter is not taken for a queue."""
PATH_MEMORY: Final = 30.0
"""Seconds for which the smallest round trip counts."""

_NEVER: Final = -inf
_FIRST_WINDOW: Final = float(INITIAL)
"""Shared by all peers: each would have numbers of its own otherwise, and there may be thousands."""


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

    def confirmed(self, count: int, size: int, in_flight: int, round_trip: float | None, now: float) -> None:
        """Note that so many packages, with `size` bytes in all, were confirmed.

        `in_flight` bytes were under way before; `round_trip` is a sample, or None.
        """
        ...

    def lost(self, count: int, size: int, now: float) -> None:
        """Note that so many packages, with so many bytes in all, were judged lost."""
        ...

    def not_lost(self, count: int, size: int) -> None:
        """Note that so many of them were not, as their confirmations have shown."""
        ...


class DelayController:
    """Reacts to queueing delay; see the module's rules. Each peer has one, so it takes little memory."""

    __slots__ = (
        "_delay",
        "_delayed_since",
        "_draining",
        "_heard_at",
        "_look_at",
        "_lossy_until",
        "_lost",
        "_lost_bytes",
        "_outage_ended",
        "_round_began",
        "_shrunk_at",
        "_smallest",
        "_smoothed",
        "_starting",
        "_unit",
        "_used",
        "window",
    )

    def __init__(self) -> None:
        self.window = _FIRST_WINDOW
        self._starting = True
        self._smoothed = 0.0
        self._smallest: list[tuple[float, float]] = []
        """(time, smoothed round trip), ascending in both: the candidates for the smallest in memory."""
        self._delay = 0.0
        """Queueing delay as a share of what is noise."""
        self._delayed_since = inf
        self._shrunk_at = _NEVER
        self._round_began = _NEVER
        self._lost = self._lost_bytes = 0
        """Packages lost since then, and their bytes."""
        self._draining: _Drain | None = None
        self._look_at = _NEVER
        self._lossy_until = _NEVER
        self._used = False
        self._unit = MAX_DATAGRAM
        """The usual size of a datagram."""
        self._heard_at = self._outage_ended = _NEVER

    @property
    def rate(self) -> float:
        """Bytes per second at which new packages may be sent: a little more than the window per round trip."""
        if not self._smoothed:
            return inf
        return self.window * (STARTING_PACE if self._starting else PACE) / self._smoothed

    def confirmed(self, count: int, size: int, in_flight: int, round_trip: float | None, now: float) -> None:
        """Grow or shrink the window."""
        if count:
            self._unit += (max(LEAST_UNIT, size // count) - self._unit) // UNIT_MEMORY
        if now - self._heard_at > self._smoothed:
            self._outage_ended = now
        self._heard_at = now
        self._used = in_flight >= self.window / 2
        if round_trip is not None:
            self._sample(round_trip, now)
        if self._draining is not None:
            self._drain(self._draining, size, in_flight - size, now)
        elif self._delay >= 1:
            self._delayed(now)
        elif self._used:
            self.window = min(float(CEILING), self.window + size * self._growth(now))

    def _growth(self, now: float) -> float:
        """Return the share of what is confirmed by which the window grows."""
        if self._starting:
            return STARTING_GROWTH * (1 - self._delay)
        growth = LOSSY_GROWTH if now < self._lossy_until else GROWTH
        return min(growth * self._unit / self.window, GROWTH_SHARE)

    def lost(self, count: int, size: int, now: float) -> None:
        """Drain the queue if so much was lost within a round trip that there may be one, or must be."""
        if not self._smoothed or now - self._outage_ended < self._smoothed:
            return
        if now - self._round_began > self._smoothed:
            self._round_began = now
            self._lost = self._lost_bytes = 0
        self._lost += count
        self._lost_bytes += size
        if self._draining is not None:
            self._draining.lost += size
            return
        if self._lost < LEAST_LOSS or not self._used:
            return
        share = self._lost_bytes / self.window
        if share > LOSS_TO_LOOK:
            self._lossy_until = now + 2 * self._smoothed
        if share > (STARTING_LOSS_TO_SHRINK if self._starting else LOSS_TO_SHRINK):
            self._starting = False
            self._begin_draining(self.window / 2)
        elif share > LOSS_TO_LOOK and now >= self._look_at:
            self._begin_draining(self.window, share)

    def not_lost(self, count: int, size: int) -> None:
        """Take losses back; what nothing speaks for any more is no reason to look."""
        self._lost = max(0, self._lost - count)
        self._lost_bytes = max(0, self._lost_bytes - size)
        drain = self._draining
        if drain is None or not drain.loss:
            return
        drain.loss -= size / drain.resume_with
        if drain.loss <= LOSS_TO_LOOK:
            self._draining = None
            self._lossy_until = _NEVER
            self.window = drain.resume_with

    def _delayed(self, now: float) -> None:
        """React to queueing delay that is more than noise."""
        if self._starting:
            self._starting = False
            self._begin_draining(self.window / 2)
        elif now - self._delayed_since >= self._smoothed and now - self._shrunk_at >= 2 * self._smoothed:
            self._shrunk_at = now
            self.window = max(float(FLOOR * self._unit), self.window * SHRINK)

    def _begin_draining(self, resume_with: float, loss: float = 0.0) -> None:
        self._draining = _Drain(self._smoothed, loss, self.window * SHRINK, resume_with)
        self.window = float(DRAINED * self._unit)

    def _drain(self, drain: _Drain, size: int, in_flight: int, now: float) -> None:
        """Hold the window at `DRAINED` until two round trips after no more was under way; then see what that did."""
        self.window = min(self.window, float(DRAINED * self._unit))  # or what is under way need not come down so far
        if in_flight > DRAINED * self._unit:
            return
        if drain.empty_since > now:
            drain.empty_since = now
            drain.lost = 0
        drain.confirmed += size
        if now - drain.empty_since < 2 * self._smoothed:
            return
        self._draining = None
        self._shrunk_at = now
        self._lost = self._lost_bytes = 0
        shorter = drain.round_trip - self._smoothed > SHORTER * max(NOISE, NOISE_SHARE * self._smoothed)
        if shorter or drain.lost < drain.loss * FEWER * drain.confirmed:
            self._starting = False
            self._look_at = now
            drain.resume_with = min(drain.resume_with, drain.shrunk)
        else:
            self._look_at = now + LOOK_AFTER * self._smoothed
        self.window = max(float(FLOOR * self._unit), drain.resume_with)

    def _sample(self, round_trip: float, now: float) -> None:
        self._smoothed += (round_trip - self._smoothed) / SMOOTHING if self._smoothed else round_trip
        smallest = self._smallest
        while smallest and smallest[-1][1] >= self._smoothed:
            smallest.pop()
        if smallest:
            smallest.append((now, self._smoothed))
        else:
            self._smallest = smallest = [(now, self._smoothed)]  # which takes less memory than what can grow
        while smallest[0][0] < now - PATH_MEMORY:
            del smallest[0]
        path = smallest[0][1]
        self._delay = (self._smoothed - path) / max(NOISE, path * NOISE_SHARE) or 0.0  # the same nothing for all
        self._delayed_since = min(self._delayed_since, now) if self._delay >= 1 else inf


@dataclass(slots=True)
class _Drain:
    """An empty queue is being waited for."""

    round_trip: float
    """How long it took with the queue."""
    loss: float
    """Share of the window that was lost with it."""
    shrunk: float
    """The window to go on with at most, if there was a queue."""
    resume_with: float
    """The window to go on with if there was none."""
    empty_since: float = inf
    confirmed: int = 0
    """Bytes since then."""
    lost: int = 0


class FixedController:
    """A window that never changes, as large as the receivers' rules allow."""

    window = float(CEILING)
    rate = inf

    def confirmed(self, count: int, size: int, in_flight: int, round_trip: float | None, now: float) -> None:
        """Change nothing."""

    def lost(self, count: int, size: int, now: float) -> None:
        """Change nothing."""

    def not_lost(self, count: int, size: int) -> None:
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
        self._paced_until = _NEVER

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
        quantum = max(min(BURST, self.controller.window * BURST_SHARE), rate * QUANTUM, MAX_DATAGRAM)
        limit = oldest + self._window
        if self.budget - self.total >= max(quantum / 2, MAX_DATAGRAM):
            if self.limit - following > self._window // 2:
                return False
            if limit - self.limit < STEP and following - oldest > self._window // 2 + STEP:
                return False  # numbers are short, and most are under way: what comes back soon makes a larger step
        room = max(0.0, min(self.controller.window - in_flight, quantum))
        budget = max(self.budget, self.total + int(room))
        if budget == self.budget and limit <= self.limit:
            return False
        if now < self._paced_until - QUANTUM:
            self.opens_at = self._paced_until
            return False
        self._paced_until = max(now, self._paced_until) + (budget - max(self.budget, self.total)) / rate
        self.limit, self.budget = limit, budget
        return True
