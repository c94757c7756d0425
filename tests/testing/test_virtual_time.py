"""Clocks and networks of tests refuse what would make a test mean something else than it says."""

from __future__ import annotations

import math

import pytest

from packhorse.testing import ManualClock, Simulation


@pytest.mark.parametrize("seconds", [-1.0, math.nan])
def test_a_clock_does_not_go_back(seconds: float) -> None:
    clock = ManualClock()
    before = clock.now()
    with pytest.raises(ValueError, match=str(seconds)):
        clock.advance(seconds)
    clock.advance(0.0)
    assert clock.now() == before


def test_a_simulation_runs_until_a_time_that_is_not_past() -> None:
    simulation = Simulation(seed=1)
    simulation.run(5.0)
    with pytest.raises(ValueError, match=r"5\.0 s already"):
        simulation.run(1.0)
    simulation.run(5.0)
    assert simulation.now == 5.0


def test_an_address_has_one_peer_in_a_simulation() -> None:
    simulation = Simulation(seed=1)
    simulation.peer(("10.0.0.1", 1))
    with pytest.raises(ValueError, match=r"10\.0\.0\.1.* is taken"):
        simulation.peer(("10.0.0.1", 1))
