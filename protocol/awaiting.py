"""Datagrams that await their confirmation, by number.

The rules:

- numbers only ascend. They are given without a gap, nearly always; so each datagram has a slot of one list, which its
  number tells;
- what is taken out leaves a hole, an empty slot. The first slot and the last one are never holes, so the list is as
  long as the oldest and the newest are apart, which the window of numbers limits;
- nearly always many are confirmed together that follow each other: then they are taken out in one go.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

__all__ = ["Awaiting"]

_HOLE: Final = b""
"""No datagram is empty."""


class Awaiting(Mapping[int, bytes]):
    """A mapping of numbers to datagrams, in ascending order."""

    __slots__ = ("_count", "_first", "_slots")

    def __init__(self) -> None:
        self._slots: list[bytes] = []
        self._first = 0
        """The number of the first slot."""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[int]:
        return (number for number, datagram in enumerate(self._slots, self._first) if datagram)

    def __getitem__(self, number: int) -> bytes:
        datagram = self._at(number)
        if not datagram:
            raise KeyError(number)
        return datagram

    def __contains__(self, number: object) -> bool:
        return isinstance(number, int) and bool(self._at(number))

    def add(self, first: int, datagrams: Sequence[bytes]) -> None:
        """Add datagrams with consecutive numbers.

        Raises:
            ValueError: `first` is not above every number that is here.
        """
        slots = self._slots
        if not slots:
            self._first = first
        gap = first - self._first - len(slots)
        if gap < 0:
            raise ValueError(f"numbers ascend, so {first} cannot come after {first - gap - 1}")
        if gap:
            slots += [_HOLE] * gap
        slots += datagrams
        self._count += len(datagrams)

    def take(self, number: int) -> bytes:
        """Take a datagram out and return it; empty if it is not here."""
        datagram = self._at(number)
        if datagram:
            self._slots[number - self._first] = _HOLE
            self._count -= 1
            self._trim()
        return datagram

    def take_run(self, numbers: Sequence[int]) -> list[bytes]:
        """Take out, in one go, the consecutive datagrams that `numbers` begins with, and return them.

        None are taken if that cannot be seen at a glance.
        """
        slots = self._slots
        place = numbers[0] - self._first if numbers else -1
        most = min(len(numbers), len(slots) - place)
        if place < 0 or most <= 0:
            return []
        first = numbers[0]
        if numbers[most - 1] != first + most - 1:
            # Nearly always what is confirmed once more follows; if it is anything else, the comparison below tells.
            most = bisect_left(range(most), True, key=lambda place: numbers[place] != first + place)
        taken = slots[place : place + most]
        if not all(taken) or list(numbers[:most]) != list(range(first, first + most)):
            return []
        if place:
            slots[place : place + most] = [_HOLE] * most
        else:
            del slots[:most]
            self._first += most
        self._count -= most
        self._trim()
        return taken

    def _trim(self) -> None:
        """Drop the holes at both ends."""
        slots = self._slots
        if not self._count:
            slots.clear()
        elif not slots[0]:
            holes = next(place for place, slot in enumerate(slots) if slot)
            del slots[:holes]
            self._first += holes
        while slots and not slots[-1]:
            slots.pop()

    def _at(self, number: int) -> bytes:
        place = number - self._first
        return self._slots[place] if 0 <= place < len(self._slots) else _HOLE
