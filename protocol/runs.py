"""Runs: packages for one target that are sent together.

The rules:

- what is handled together is alike: one target, reliable or not, nothing special about a package;
- between targets there is no order, so packages that wait together are brought together by target; those of one target
  stay in order;
- packages of a run that may arrive in any order are brought together by size. Those that must not, stay as they are;
- their datagrams are made together.
"""

from __future__ import annotations

from itertools import chain
from struct import Struct
from typing import TYPE_CHECKING, Any, TypeVar

from .header import ID_MASK, Reliability, pack_header
from .messages import Grant
from .packages import OutPackage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .address import Address

__all__ = ["MAX_RUN", "by_size", "by_target", "end_of_run", "like_by_size", "pack_run"]

T = TypeVar("T")

WORTH_SORTING = 16
"""Packages from which on it pays to bring those of a size together."""

MAX_RUN = 512
"""Datagrams per message at most, so that no run takes long to handle."""

_pack = Struct(">I").pack


def end_of_run(items: Sequence[Any], at: int) -> int:
    """Return where a run ends: packages for one target, reliable or not, with nothing special about them."""
    first = items[at]
    if type(first) is not OutPackage:
        return at
    run = items[at : at + MAX_RUN]
    target, reliability, reliable = first.target, first.reliability, first.reliability > 0
    for place, package in enumerate(run, at):
        if (
            package.__class__ is not OutPackage
            or package.target is not target
            or (package.reliability is not reliability and (package.reliability > 0) is not reliable)
            or package.lifetime is not None
            or package.eager != 1
        ):
            return place
    return at + len(run)


def by_target(items: Sequence[Any]) -> list[Any]:
    """Bring packages for one target together, and grants in front of them; nothing goes past any other item."""
    ordered: list[Any] = []
    grants: list[Any] = []
    packages: dict[Address, list[Any]] = {}
    for item in items:
        kind = item.__class__
        if kind is OutPackage or isinstance(item, OutPackage):
            run = packages.get(item.target)
            if run is None:
                packages[item.target] = [item]
            else:
                run.append(item)
        elif kind is Grant:
            grants.append(item)  # absolute, so it may come sooner; then there is room for what is behind it
        else:
            ordered.extend(chain(grants, *packages.values(), (item,)))
            grants.clear()
            packages.clear()
    ordered.extend(chain(grants, *packages.values()))
    return ordered


def by_size(run: list[OutPackage]) -> list[OutPackage]:
    """Bring packages of a size together, if they may arrive in any order."""
    if len(run) < WORTH_SORTING or len({len(package.data) for package in run}) == 1:
        return run
    if any(package.reliability is Reliability.SEMI_ORDERED for package in run):
        return run
    return sorted(run, key=lambda package: len(package.data))


def like_by_size(run: Sequence[OutPackage], values: Sequence[T]) -> list[T]:
    """Bring what belongs to each package of a run into the order that `by_size` brought the run into."""
    return [values[place] for place in sorted(range(len(run)), key=lambda place: len(run[place].data))]


def pack_run(run: list[OutPackage], number: int, hint: int = 0) -> list[bytes]:
    """Make the datagrams of packages with consecutive numbers; see `header.pack_header`."""
    first = run[0].reliability | run[0].peers | hint
    alike = len({package.reliability for package in run}) == 1 == len({package.peers for package in run})
    if alike and number & ID_MASK <= ID_MASK - len(run):
        return [_pack(header) + package.data for header, package in enumerate(run, first << 24 | number & ID_MASK)]
    return [
        pack_header(package.reliability, package.peers, number, hint) + package.data
        for number, package in enumerate(run, number)
    ]
