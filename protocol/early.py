"""Packages that may have overtaken the introduction that vouches for them, as half of them do over jitter.

The rules:

- what is not taken, with a hint that its sender chose, is held for a moment and judged once more behind the next
  introduction from its source. That is what a slower path would have done to it, so nothing can come of it that could
  not come anyway;
- few are held in all, the latest, and for less than a sender waits for an answer: anybody can send such packages.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from .address import Address

__all__ = ["Early"]

MOST: Final = 64
"""Packages that are held at most, of all sources together."""
HOLD: Final = 0.25
"""Seconds for which a package is held."""


class Early:
    """What is held."""

    def __init__(self) -> None:
        self._held: deque[tuple[Address, bytes, float]] = deque(maxlen=MOST)

    def hold(self, source: Address, datagram: bytes, now: float) -> None:
        """Hold a package that was not taken."""
        self._held.append((source, datagram, now))

    def take(self, source: Address, now: float, takes: Callable[[bytes], bool]) -> list[bytes]:
        """Take out the packages of a source that are taken now, in the order they came."""
        taken: list[bytes] = []
        for held in list(self._held):
            address, datagram, since = held
            fresh = now - since <= HOLD
            if fresh and address == source and takes(datagram):
                taken.append(datagram)
            elif fresh:
                continue
            self._held.remove(held)
        return taken
