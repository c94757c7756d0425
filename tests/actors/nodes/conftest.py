"""What tests of single nodes share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from packhorse.actors.node import Node
from packhorse.testing import ManualClock

from .one_node import Bench, Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def bench(clock: ManualClock) -> Iterator[Callable[..., Bench]]:
    benches: list[Bench] = []

    def make(node: type[Node[Any]], state: Any = None, **extras: Any) -> Bench:
        made = Bench(node, state, clock=clock, **extras)
        benches.append(made)
        clock.settle()
        return made

    yield make
    for made in benches:
        made.close()


@pytest.fixture
def wire(clock: ManualClock) -> Wire:
    return Wire(clock)
