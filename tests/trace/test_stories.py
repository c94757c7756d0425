"""The merged logs alone tell every package's story: held against what the simulation knows, over random lossy runs."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from packhorse.protocol.header import HEADER_SIZE, pack_header
from packhorse.testing.simulation import HOP
from packhorse.trace import story

from .helpers import RandomRun
from .logged import WALL

if TYPE_CHECKING:
    from pathlib import Path

    from packhorse.trace import Package, Trace

    from .logged import LoggedPeer

SEEDS = range(40)
TAKEN = 4 * HOP
"""Seconds after which usender has taken a package from its user; it reads its mailbox piecemeal."""


def packages_of(trace: Trace) -> dict[tuple[str, str, int, bool], Package]:
    assert all(package.turn == 0 for package in trace.packages)
    return {(p.source, p.target, p.id, p.reliable): p for p in trace.packages}


def other_of(run: RandomRun, peer: LoggedPeer) -> LoggedPeer:
    return run.there if peer is run.here else run.here


@pytest.mark.parametrize("seed", SEEDS)
def test_every_package_is_there_with_its_copies_arrivals_and_end(seed: int, tmp_path: Path) -> None:
    run = RandomRun(seed).run()
    found = packages_of(run.merged(tmp_path))
    assert len(found) == len(run.here.numbered) + len(run.there.numbered)
    for data, (peer, package, sent_at) in run.sent.items():
        if data not in peer.numbered:
            continue  # it never got an id, so it has no story of its own
        target, wire_id, numbered_at = peer.numbered[data]
        told = found[peer.bound, target, wire_id, bool(package.reliability)]
        datagram = pack_header(package.reliability, package.peers, wire_id) + data
        other = other_of(run, peer)
        assert len(told.sendings) == run.simulation.copies[peer.bound, target, datagram]
        arrivals = [
            step for step in told.steps if step.event in ("package:received", "package:duplicated", "package:refused")
        ]
        assert len(arrivals) == other.arrivals[peer.bound, datagram]
        assert told.said("size") == len(datagram) - HEADER_SIZE
        assert told.accepted == pytest.approx(WALL + sent_at, abs=TAKEN)
        assert told.when("package:numbered") == pytest.approx(WALL + numbered_at, abs=1e-4)
        delivered = [at for one, at in zip(other.delivered, other.delivered_at, strict=True) if one.data == data]
        assert told.has("package:delivered") == bool(delivered)
        if delivered:
            assert told.when("package:delivered") == pytest.approx(WALL + delivered[0], abs=1e-4)
            assert told.latency == pytest.approx(delivered[0] - sent_at, abs=TAKEN)
        if package.reliability:
            assert told.has("recovery:package_confirmed") or told.has("package:given_up"), told.outcome


@pytest.mark.parametrize("seed", SEEDS)
def test_no_story_contradicts_itself(seed: int, tmp_path: Path) -> None:
    trace = RandomRun(seed).run().merged(tmp_path)
    for package in trace.packages:
        assert all(one.at <= other.at for one, other in pairwise(package.steps))
        assert package.steps[0].event == "package:numbered"
        for part in package.parts:
            assert part is None or part >= 0
        arrived = [copy for copy in package.copies if copy.arrived is not None]
        if package.has("package:delivered"):
            assert arrived, "what was delivered has arrived"
        text = "\n".join(story(trace, package))
        assert package.outcome in text
        for step in package.resends:
            assert str(step.get("trigger")) in text


@pytest.mark.parametrize("seed", range(20))
def test_clocks_that_do_not_agree_do_not_change_the_stories(seed: int, tmp_path: Path) -> None:
    straight, skewed = RandomRun(seed).run(), RandomRun(seed, skewed=True).run()
    (tmp_path / "straight").mkdir()
    expected = packages_of(straight.merged(tmp_path / "straight"))
    for key, package in packages_of(skewed.merged(tmp_path)).items():
        assert sorted(step.event for step in package.steps) == sorted(step.event for step in expected[key].steps)
        assert package.outcome == expected[key].outcome
