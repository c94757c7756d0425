"""How well it goes from the first package on, before anything is known of the path, and over bad links."""

from __future__ import annotations

import itertools

import pytest

from packhorse import Reliability

from .pairs import Pair, packages_of, percentile

UNORDERED = Reliability.UNORDERED


def test_who_introduces_itself_over_a_bad_link_starts_as_well_as_who_does_not() -> None:
    """The first introduction is lost, or overtaken, in most of these runs."""
    medians, resent = {True: 0.0, False: 0.0}, {True: 0, False: 0}
    for seed, identity in itertools.product(range(20), (True, False)):
        pair = Pair(seed, identity=identity, loss=0.2, jitter=0.01, reorder=0.05)
        pair.stream(UNORDERED, 500, rate=500.0, linger=5.0)
        latencies = pair.latencies(rate=500.0)
        assert len(latencies) == 500
        medians[identity] += percentile(latencies, 50)
        resent[identity] += pair.sender.redelivery.resent
    assert medians[True] < 1.15 * medians[False]
    assert resent[True] < 1.15 * resent[False]


def test_a_bad_link_gives_no_seed_a_bad_start() -> None:
    """Where jitter reorders, what is lost and what was only overtaken look like an overflowing queue at first."""
    for seed in range(20):
        pair = Pair(seed, loss=0.2, jitter=0.01, reorder=0.05)
        pair.stream(UNORDERED, 1000, rate=500.0, linger=5.0)
        assert percentile(pair.latencies(rate=500.0), 50) < 35


@pytest.mark.parametrize("identity", [True, False])
def test_a_path_as_long_as_the_first_timeout_is_not_taken_for_a_lossy_one(identity: bool) -> None:
    for seed in range(10):
        pair = Pair(seed, identity=identity, delay=0.15)
        pair.stream(UNORDERED, 1000, rate=500.0, linger=10.0)
        assert len(pair.receiver.delivered) == 1000
        assert pair.sender.redelivery.lost == 0
        assert pair.sender.redelivery.resent <= 5, "what was due before the first confirmation came"


def test_a_lone_package_that_overtakes_its_introduction_waits_for_no_timeout() -> None:
    for seed in range(50):
        pair = Pair(seed, delay=0.002, jitter=0.001, reorder=0.05)
        pair.stream(UNORDERED, 1, linger=5.0)
        assert pair.latencies()[0] < 40


def test_over_jitter_the_first_packages_come_as_soon_as_any() -> None:
    """The first ten leave before an echo is back, and half of them overtake their introductions."""
    for seed in range(10):
        pair = Pair(seed, delay=0.15, jitter=0.075)
        pair.stream(UNORDERED, 100, rate=50.0, linger=5.0)
        assert max(pair.latencies(rate=50.0)) < 226


def test_on_a_short_path_a_lost_introduction_costs_a_round_trip() -> None:
    """Of the first packages of 200 senders, 10 lose their introduction; and another one its way back."""
    late = 0
    for seed in range(200):
        pair = Pair(seed, delay=0.0005, loss=0.05)
        for package in packages_of(UNORDERED, 4, pair.receiver.address):
            pair.simulation.at(0.0, pair.sender.send, package)
        pair.simulation.run(5.0)
        late += max(pair.receiver.delivered_at) > 0.1
    assert late <= 6
