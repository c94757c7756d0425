"""Forgetting what was not used for a while, without looking at everything all the time.

Each key has one entry in a heap, made when it is first seen. When the entry's time comes, the key is asked when it was
last used, and either goes or gets a new entry. So using a key costs nothing here, and an idle key costs one look per
lifetime.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")

__all__ = ["Ageing"]


class Ageing(Generic[K]):
    """The keys that may have to be forgotten, by the time when each is to be looked at."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, K]] = []
        self._serial = 0

    def add(self, key: K, look_at: float) -> None:
        """Look at `key` at that time; each key is added once and stays until it is forgotten."""
        self._serial += 1
        heapq.heappush(self._heap, (look_at, self._serial, key))

    def deadline(self) -> float | None:
        """Return when `collect` has something to do next, or None."""
        return self._heap[0][0] if self._heap else None

    def pop(self) -> tuple[float, K] | None:
        """Take out the key that is to be looked at first, and return that time with it; None if there is none."""
        if not self._heap:
            return None
        look_at, _, key = heapq.heappop(self._heap)
        return look_at, key

    def collect(self, now: float, look: Callable[[K], float | None]) -> None:
        """Ask `look` about each key whose time has come: it returns when to look again, or None to forget it."""
        while self._heap and self._heap[0][0] <= now:
            key = heapq.heappop(self._heap)[2]
            again = look(key)
            if again is not None:
                self.add(key, again)
