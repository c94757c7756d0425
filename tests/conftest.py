"""What every test gets: nothing may be left behind."""

from __future__ import annotations

import gc
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pykka
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

FDS = Path("/proc/self/fd")


def pytest_collection_finish() -> None:
    """Leave what imports and pytest made out of all garbage collections; it halves the suite's time."""
    gc.collect()
    gc.freeze()


def _alive() -> set[object]:
    descriptors = {f"descriptor {path.name}" for path in FDS.iterdir()} if FDS.exists() else set[str]()
    return {*threading.enumerate(), *pykka.ActorRegistry.get_all(), *descriptors}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Say how many random schedules the simulation runs; here, since pytest must know before it looks for tests."""
    parser.addoption("--seeds", type=int, default=1000, help="random schedules that the simulation runs")
    parser.addoption("--first-seed", type=int, default=0, help="the seed of the first of them")


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    """Fail a test that leaves a thread, a descriptor or an entry in Pykka's registry."""
    before = _alive()
    yield
    if _alive() - before:
        gc.collect()  # what only a cycle of garbage holds is not left behind
    left = _alive() - before
    assert not left, f"left behind: {sorted(map(str, left))}"
