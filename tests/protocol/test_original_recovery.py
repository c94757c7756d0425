"""The original's schedule, kept for comparison and for recorded traffic."""

from __future__ import annotations

from itertools import pairwise

import pytest

from packhorse.protocol.original import OriginalRecovery

from .helpers import datagram


def _due(recovery: OriginalRecovery, until: float) -> list[float]:
    """Let time pass; return when package 0 was sent again."""
    times: list[float] = []
    while (deadline := recovery.deadline()) is not None and deadline <= until:
        assert recovery.due(deadline) == [0]
        times.append(deadline)
    return times


@pytest.mark.parametrize("jitter", [0.0, 0.5, 1.0])
def test_the_original_waits_220_ms_doubled_and_up_to_half_on_top(jitter: float) -> None:
    recovery = OriginalRecovery(0, lambda: jitter)
    recovery.sent(0, [datagram(0)], 0.0)
    times = [0.0, *_due(recovery, 25.0)][:7]
    waits = [0.22 * 2**n * (1 + jitter / 2) for n in range(6)]
    assert [after - before for before, after in pairwise(times)] == pytest.approx(waits)
    assert 13.85 < sum(waits) < 20.8


def test_the_originals_waits_do_not_grow_beyond_the_sixth() -> None:
    recovery = OriginalRecovery(0, lambda: 0.0)
    recovery.sent(0, [datagram(0)], 0.0)
    _due(recovery, 1000.0)
    recovery.revive(1001.0)
    assert _due(recovery, 1010.0) == [pytest.approx(1008.04)]


def test_the_originals_schedule_knows_no_losses_and_measures_nothing() -> None:
    recovery = OriginalRecovery(0, lambda: 0.0)
    recovery.sent(0, [datagram(0)], 0.0)
    recovery.sent(1, [datagram(1)], 0.0)
    assert recovery.confirmed([1], 0.01) == (len(datagram(1)), None)
    assert _due(recovery, 0.3) == [0.22]
    assert recovery.lost == 0
