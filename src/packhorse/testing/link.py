"""A link that loses, delays, doubles and reorders, as a rule to ask.

The rules:

- `Link` is pure: it is told size and time of each datagram and says when copies come out. It never waits; `Simulation`
  uses it in virtual time, `UdpLink` for real datagrams;
- everything random comes from its seed, and each datagram takes the same number of random numbers whatever becomes of
  it, so the same datagram is lost with and without jitter;
- a link has one direction;
- all times are seconds.
"""

from __future__ import annotations

import random
from collections import deque
from typing import Final

__all__ = ["Link"]

LEAST_HOLD: Final = 0.01
"""Seconds that a reordered copy is held back at least, so that on a link without delay it is overtaken too."""

OVERHEAD: Final = 28
"""Bytes of IPv4 and UDP headers."""


class Link:
    """One direction of a link.

    Args:
        loss: probability that a datagram is lost.
        delay: seconds that every copy takes.
        jitter: up to so many seconds more, uniformly random. It reorders by itself when datagrams follow each
            other more quickly.
        duplicate: probability that a datagram comes out twice.
        reorder: probability that a copy is held back, by the delay once more but at least 10 ms, while others pass.
        burst_every: mean number of datagrams from the end of one loss burst to the next; None for no bursts.
        burst_length: mean number of datagrams lost in a burst (a Gilbert-Elliott channel that loses all in its bad
            state).
        bandwidth: bits per second, each datagram counting 28 bytes more for IP and UDP; None for no limit.
        queue: datagrams that may wait for their share of the bandwidth; those beyond are lost.
        seed: of the random numbers.

    Attributes:
        up: set it to False for a blackout, in which everything is lost.
        passed: datagrams that came, or will come, out at least once.
        lost: datagrams that did not.
        duplicated: datagrams that came out twice.

    Raises:
        ValueError: a probability is not from 0 to 1, or a time is negative.
    """

    def __init__(
        self,
        *,
        loss: float = 0.0,
        delay: float = 0.0,
        jitter: float = 0.0,
        duplicate: float = 0.0,
        reorder: float = 0.0,
        burst_every: float | None = None,
        burst_length: float = 1.0,
        bandwidth: float | None = None,
        queue: int = 64,
        seed: int = 0,
    ) -> None:
        for name, probability in (("loss", loss), ("duplicate", duplicate), ("reorder", reorder)):
            if not 0 <= probability <= 1:
                raise ValueError(f"{name} is a probability from 0 to 1, not {probability!r}")
        for name, seconds in (("delay", delay), ("jitter", jitter)):
            if not 0 <= seconds < float("inf"):
                raise ValueError(f"{name} is at least 0 seconds, not {seconds!r}")
        if burst_every is not None and burst_every < 1:
            raise ValueError(f"burst_every is at least 1 datagram, not {burst_every!r}")
        if burst_length < 1:
            raise ValueError(f"burst_length is at least 1 datagram, not {burst_length!r}")
        if bandwidth is not None and not bandwidth > 0:
            raise ValueError(f"bandwidth is more than 0 bits per second, not {bandwidth!r}")
        if queue < 1:
            raise ValueError(f"queue is at least 1 datagram, not {queue!r}")
        self.up = True
        self._enter = 0.0 if burst_every is None else 1 / burst_every
        self._leave = 1 / burst_length
        self._in_burst = False
        self._bandwidth = bandwidth
        self._queue = queue
        self._departures: deque[float] = deque()
        self._loss = loss
        self._delay = delay
        self._jitter = jitter
        self._duplicate = duplicate
        self._reorder = reorder
        self._random = random.Random(seed)  # noqa: S311 - repeatable is what it has to be
        self.passed = 0
        self.lost = 0
        self.duplicated = 0

    def heal(self) -> None:
        """Be a link that loses nothing from now on; delay and bandwidth stay."""
        self.up = True
        self._loss = self._enter = 0.0
        self._in_burst = False

    def carry(self, size: int, now: float) -> list[float]:
        """Return when copies of a datagram come out; an empty list means that it is lost.

        Args:
            size: bytes of the datagram.
            now: when it went in. Successive calls never go back in time.
        """
        lost = self._loses()
        doubled = self._random.random() < self._duplicate
        extra = self._extra(), self._extra()
        departure = None if lost else self._departure(size, now)
        if departure is None:
            self.lost += 1
            return []
        self.passed += 1
        self.duplicated += doubled
        arrival = departure + self._delay
        return [arrival + extra[0], arrival + extra[1]] if doubled else [arrival + extra[0]]

    def _loses(self) -> bool:
        """Decide whether the path loses this datagram."""
        lost = self._random.random() < self._loss
        turn = self._random.random()
        self._in_burst = turn >= self._leave if self._in_burst else turn < self._enter
        return lost or self._in_burst or not self.up

    def _extra(self) -> float:
        """Decide how much longer than the delay one copy takes."""
        extra = self._random.random() * self._jitter
        if self._random.random() < self._reorder:
            extra += max(self._delay, LEAST_HOLD)
        return extra

    def _departure(self, size: int, now: float) -> float | None:
        """Return when the datagram has gone through the bottleneck, or None if its queue is full."""
        if self._bandwidth is None:
            return now
        waiting = self._departures
        while waiting and waiting[0] <= now:
            waiting.popleft()
        if len(waiting) > self._queue:
            return None
        departure = (waiting[-1] if waiting else now) + (size + OVERHEAD) * 8 / self._bandwidth
        waiting.append(departure)
        return departure
