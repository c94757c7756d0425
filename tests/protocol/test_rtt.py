"""Round-trip time by RFC 6298, against values worked out by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packhorse.protocol.rtt import RoundTrip


def test_before_the_first_sample_the_timeout_suits_the_original() -> None:
    round_trip = RoundTrip()
    assert round_trip.timeout == 0.3
    assert (round_trip.smoothed, round_trip.minimum) == (None, None)


def test_the_first_sample_is_srtt_and_half_of_it_the_variation() -> None:
    round_trip = RoundTrip()
    round_trip.sample(0.2)
    assert (round_trip.smoothed, round_trip.variation, round_trip.minimum) == (0.2, 0.1, 0.2)
    assert round_trip.timeout == pytest.approx(0.2 + 4 * 0.1)


def test_further_samples_move_srtt_by_an_eighth_and_the_variation_by_a_quarter() -> None:
    round_trip = RoundTrip()
    for sample in (0.2, 0.3, 0.1):
        round_trip.sample(sample)
    # 0.3: RTTVAR = 3/4 * 0.1 + 1/4 * |0.2 - 0.3| = 0.1, SRTT = 7/8 * 0.2 + 1/8 * 0.3 = 0.2125
    # 0.1: RTTVAR = 3/4 * 0.1 + 1/4 * |0.2125 - 0.1| = 0.103125, SRTT = 7/8 * 0.2125 + 1/8 * 0.1 = 0.1984375
    assert round_trip.smoothed == pytest.approx(0.1984375)
    assert round_trip.variation == pytest.approx(0.103125)
    assert round_trip.minimum == 0.1
    assert round_trip.timeout == pytest.approx(0.1984375 + 4 * 0.103125)


def test_a_steady_round_trip_leaves_only_the_granularity_on_top() -> None:
    round_trip = RoundTrip()
    for _ in range(200):
        round_trip.sample(0.04)
    assert round_trip.timeout == pytest.approx(0.04 + 0.025)


@given(st.lists(st.floats(0, 100), min_size=1))
def test_the_timeout_is_always_above_the_smoothed_round_trip(samples: list[float]) -> None:
    round_trip = RoundTrip()
    for sample in samples:
        round_trip.sample(sample)
    assert round_trip.smoothed is not None
    assert min(samples) * 0.999 <= round_trip.smoothed <= max(samples) * 1.001
    assert round_trip.timeout >= round_trip.smoothed + 0.025
    assert round_trip.minimum == min(samples)
