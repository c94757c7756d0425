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


def _descriptors() -> set[str]:
    return {entry.name for entry in FDS.iterdir()} if FDS.exists() else set()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Say how many random schedules the simulation runs; here, since pytest must know before it looks for tests."""
    parser.addoption("--seeds", type=int, default=1000, help="random schedules that the simulation runs")
    parser.addoption("--first-seed", type=int, default=0, help="the seed of the first of them")


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    """Fail a test that leaves a thread, a descriptor or an entry in Pykka's registry."""
    threads = set(threading.enumerate())
    descriptors = _descriptors()
    registered = set(pykka.ActorRegistry.get_all())
    yield
    gc.collect()
    left_threads = {thread.name for thread in set(threading.enumerate()) - threads}
    left_descriptors = _descriptors() - descriptors
    left_actors = {str(ref) for ref in set(pykka.ActorRegistry.get_all()) - registered}
    assert not left_threads, f"threads left behind: {left_threads}"
    assert not left_actors, f"actors left in the registry: {left_actors}"
    assert not left_descriptors, f"descriptors left behind: {left_descriptors}"
