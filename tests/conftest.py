"""What every test gets: nothing may be left behind."""

from __future__ import annotations

import gc

import pytest
from hypothesis import settings

# No test asserts a time, so hypothesis must not either.
settings.register_profile("packhorse", deadline=None)
settings.load_profile("packhorse")

pytest_plugins = ["packhorse.testing.pytest_plugin"]


def pytest_collection_finish() -> None:
    """Leave what imports and pytest made out of all garbage collections; it halves the suite's time."""
    gc.collect()
    gc.freeze()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Say how many random schedules the simulation runs; here, since pytest must know before it looks for tests."""
    parser.addoption("--seeds", type=int, default=1000, help="random schedules that the simulation runs")
    parser.addoption("--first-seed", type=int, default=0, help="the seed of the first of them")


@pytest.fixture(autouse=True)
def nothing_is_left_behind(packhorse_leaks: object) -> None:
    """Fail a test that leaves a thread, a descriptor or an entry in Pykka's registry."""
