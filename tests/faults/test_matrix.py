"""A seeded sample of the fault matrix; `python -m tests.faults.matrix` runs all of it."""

from __future__ import annotations

import random

import pytest

from packhorse.actors import wiring

from .cells import CELLS, FAULTS, LINKS, SITUATIONS, Cell, run

SEED = 20261124
SAMPLE = random.Random(SEED).sample(CELLS, 20)


def test_the_matrix_has_every_combination() -> None:
    assert len(set(CELLS)) == len(wiring.NODES) * len(FAULTS) * len(SITUATIONS) * len(LINKS) == 336


@pytest.mark.parametrize("cell", SAMPLE, ids=str)
def test_whatever_is_killed_nothing_is_lost(cell: Cell) -> None:
    assert run(cell, SEED).problem is None
