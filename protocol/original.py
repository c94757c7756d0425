"""Loss recovery on the fixed schedule of the original, for comparison and for tests against recorded traffic.

The rule: every package by itself is sent again `ORIGINAL_BASE * 2^n` seconds after its last copy, n = 0, 1, 2, ..., and
up to half of that later, at random. Nothing is measured.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from typing import Final

from .unconfirmed import Copies, Recovery, Run

__all__ = ["ORIGINAL_COPIES", "OriginalRecovery"]

ORIGINAL_COPIES: Final = 6
ORIGINAL_BASE: Final = 0.22
"""Seconds of the original's first wait; each is twice as long as the one before, and up to half of it longer."""


class OriginalRecovery(Recovery):
    """The original's schedule: every package by itself, at fixed times with some jitter."""

    __slots__ = ("_random", "_timers")

    def __init__(self, first: int, random: Callable[[], float]) -> None:
        super().__init__(first)
        self._random = random
        self._timers: list[tuple[float, int, int]] = []

    def confirmed(self, numbers: Sequence[int], now: float) -> tuple[int, float | None]:
        """Take the confirmation of these numbers; see `Recovery.confirmed`."""
        del now
        news, _, _ = self._take(numbers)
        if not self.unconfirmed:
            self._rest()
        return news, None

    def due(self, now: float, heard: float | None = None) -> list[int]:
        """Return what is to be sent again now; it counts as sent."""
        del heard
        numbers: list[int] = []
        while self._timers and self._timers[0][0] <= now:
            _, serial, number = heapq.heappop(self._timers)
            if self._waits(number, serial):
                self._again(number, now)
                numbers.append(number)
        self.triggers = (("timeout", len(numbers)),)
        return numbers

    def deadline(self, *, timeouts: bool = True) -> float | None:
        """Return when `due` has something, or None."""
        del timeouts
        while self._timers:
            time, serial, number = self._timers[0]
            if self._waits(number, serial):
                return time
            heapq.heappop(self._timers)
        return None

    def _sent(self, run: Run) -> None:
        for number in range(run.number, run.end):
            self._wait(number, self.copies(number))

    def _again(self, number: int, now: float) -> Copies:
        copies = super()._again(number, now)
        self._wait(number, copies)
        return copies

    def _waits(self, number: int, serial: int) -> bool:
        copies = self._copies.get(number)
        return copies is not None and copies.serial == serial

    def _wait(self, number: int, copies: Copies) -> None:
        wait = ORIGINAL_BASE * 2.0 ** (min(copies.copies, ORIGINAL_COPIES) - 1) * (1 + self._random() / 2)
        heapq.heappush(self._timers, (copies.last_sent + wait, copies.serial, number))
