"""Checks of what a user has given: each returns it as what it should be, or says what is wrong with it."""

from __future__ import annotations

from math import inf

__all__ = ["how_many", "seconds"]


def seconds(what: str, value: object) -> float:
    """Return a number of seconds, or raise TypeError or ValueError that says what is wrong with it."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{what} is a number of seconds, not {value!r}")
    if not 0 <= value < inf:
        raise ValueError(f"{what} is at least 0 seconds and finite, not {value!r}")
    return float(value)


def how_many(what: str, value: object) -> int:
    """Return a number of things, at least one, or raise TypeError or ValueError that says what is wrong with it."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{what} is a whole number, not {value!r}")
    if value < 1:
        raise ValueError(f"{what} is at least 1, not {value!r}")
    return value
