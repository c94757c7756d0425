"""Random schedules of everything at once; after each, every promise of the README holds."""

from __future__ import annotations

from typing import cast

import pytest

from .scenario import run

CHUNK = 50


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    first = cast("int", metafunc.config.getoption("--first-seed"))
    count = cast("int", metafunc.config.getoption("--seeds"))
    starts = range(first, first + count, CHUNK)
    metafunc.parametrize("seeds", [range(start, min(start + CHUNK, first + count)) for start in starts], ids=str)


def test_every_reliable_package_is_delivered_once_in_order_or_reported(seeds: range) -> None:
    for seed in seeds:
        run(seed)
