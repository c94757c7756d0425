"""Notes: what the parts of the protocol have to tell of, for whoever wants to know.

The rules:

- a part that is given a list as its `notes` puts into it what happens, as (event, fields); a part whose `notes` are None, which is so
  to begin with, does nothing of the kind, and it costs one comparison a run;
- events and fields are those of `packhorse.actors.events`. Packages are told of in runs: `id` of the first and `count`, or
  `ids` where they are not consecutive.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .header import ID_MASK, unpack_header

__all__ = ["Note", "alike", "reliabilities", "which"]

Note = tuple[str, dict[str, Any]]


def which(numbers: Sequence[int]) -> dict[str, Any]:
    """Return the fields that say which packages an event is about, by their numbers in order of what happened."""
    first, amount = numbers[0], len(numbers)
    if isinstance(numbers, range) or (
        numbers[-1] - first == amount - 1 and list(numbers) == list(range(first, first + amount))
    ):
        return {"id": first & ID_MASK, "count": amount}
    return {"ids": [number & ID_MASK for number in numbers], "count": amount}


def alike(values: Sequence[Any]) -> Any:
    """Return the one value that all have, or else the list of them."""
    return values[0] if len(set(values)) == 1 else list(values)


def reliabilities(datagrams: Sequence[bytes]) -> Any:
    """Return what was promised of packages, by their datagrams: a name, or a list of names where they differ."""
    return alike([unpack_header(datagram)[0].name.lower() for datagram in datagrams])
