"""Notes: what the parts of the protocol have to tell of, for whoever wants to know.

The rules:

- a part that is given a list as its `notes` puts into it what happens, as (event, fields); a part whose `notes` are
  None, which is so to begin with, does nothing of the kind, and it costs one comparison a run;
- events and fields are those of `packhorse.actors.events`. Packages are told of in runs: `id` of the first and `count`,
  or `ids` where they are not consecutive.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any, Final

from .address import Address
from .header import ID_MASK, Reliability
from .packages import InPackage, OutPackage
from .rtt import RoundTrip

__all__ = ["Note", "alike", "confirmed", "numbered", "promised", "queued", "resent", "taken", "which"]

Note = tuple[str, dict[str, Any]]

_NAMES: Final[dict[int, str]] = {kind: kind.name.lower() for kind in Reliability}


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


def promised(kinds: Sequence[Reliability | int]) -> Any:
    """Return the name of what was promised of packages, or the list of names where they differ."""
    return _NAMES[kinds[0]] if len(set(kinds)) == 1 else [_NAMES[kind] for kind in kinds]


def numbered(run: Sequence[OutPackage], numbers: Sequence[int], waited: Sequence[float] = ()) -> list[Note]:
    """Return the notes about packages that got numbers; a package with a context has one of its own.

    `waited` says for how many seconds each had to, if they had; of infinity, which nobody knows, nothing is told.
    """
    if all(type(package) is OutPackage for package in run):
        return [("package:numbered", _numbered(run, numbers, waited))]
    notes: list[Note] = []
    plain = [place for place, package in enumerate(run) if type(package) is OutPackage]
    if plain:
        packages = [run[place] for place in plain]
        times = [waited[place] for place in plain] if waited else ()
        notes.append(("package:numbered", _numbered(packages, [numbers[place] for place in plain], times)))
    for place, package in enumerate(run):
        if type(package) is not OutPackage:
            fields = _numbered([package], [numbers[place]], waited[place : place + 1])
            notes.append(("package:numbered", fields | {"context": getattr(package, "context", {})}))
    return notes


def _numbered(packages: Sequence[OutPackage], numbers: Sequence[int], waited: Sequence[float]) -> dict[str, Any]:
    fields = {
        "target": packages[0].target,
        **which(numbers),
        "reliability": promised([package.reliability for package in packages]),
        "size": alike([len(package.data) for package in packages]),
    }
    if waited and inf not in waited:
        fields["waited"] = alike(waited)
    if packages[0].eager > 1:
        fields["eager"] = packages[0].eager
    return fields


def resent(target: Address, numbers: Sequence[int], triggers: Sequence[tuple[str, int]]) -> list[Note]:
    """Return the notes about packages that are sent again: `triggers` says why, for so many of them each."""
    notes: list[Note] = []
    place = 0
    for trigger, count in triggers:
        part = numbers[place : place + count]
        place += count
        if not part:
            continue
        if trigger in ("overtaken", "timeout"):
            notes.append(("recovery:package_lost", {"target": target, **which(part), "trigger": trigger}))
        notes.append(("recovery:package_resent", {"target": target, **which(part), "trigger": trigger}))
    return notes


def confirmed(target: Address, numbers: Sequence[int], latest: float | None, known: RoundTrip) -> list[Note]:
    """Return the notes about packages that were confirmed, and about the round trip if that was a sample of it."""
    measured = {} if latest is None else {"rtt": latest}
    notes: list[Note] = [("recovery:package_confirmed", {"target": target, **which(numbers), **measured})]
    if latest is not None and known.smoothed is not None:
        fields = {"smoothed": known.smoothed, "minimum": known.minimum, "timeout": known.timeout}
        notes.append(("recovery:rtt_updated", {"target": target, "latest": latest, **fields}))
    return notes


def queued(target: Address, count: int, backlog: int, short: str) -> list[Note]:
    """Return the notes about packages that have to wait and, for the first of them, of what there is too little."""
    notes: list[Note] = [("package:queued", {"target": target, "count": count, "backlog": backlog})]
    if backlog == count:
        notes.append(("recovery:window_limited", {"target": target, "trigger": short, "backlog": backlog}))
    return notes


def taken(packages: Sequence[InPackage], numbers: Sequence[int], *, kept: bool = False) -> list[Note]:
    """Return the notes about packages that came and are handed to the user, or kept."""
    names = promised([package.reliability for package in packages])
    fields = {"source": packages[0].source, **which(numbers)}
    size = alike([len(package.data) for package in packages])
    received = ("package:received", {**fields, "reliability": names, "size": size})
    return [received, ("package:kept", fields) if kept else ("package:delivered", {**fields, "reliability": names})]
