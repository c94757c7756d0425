"""How the window follows queueing delay, and nothing else."""

from __future__ import annotations

import pytest

from packhorse.protocol.congestion import CEILING, FLOOR, INITIAL, NOISE, PATH_MEMORY, DelayController, FixedController
from packhorse.protocol.header import MAX_DATAGRAM

PATH = 0.040
QUEUED = PATH + 2 * NOISE
"""A round trip with more queueing delay than is taken for noise."""


class Traffic:
    """Confirmations of one datagram each, 10 ms apart."""

    def __init__(self, controller: DelayController) -> None:
        self.controller = controller
        self.now = 100.0

    def confirm(self, round_trip: float | None, *, times: int = 1, used: float = 1.0) -> None:
        """Confirm a datagram so many times; `used` is the share of the window that was under way."""
        for _ in range(times):
            self.now += 0.01
            in_flight = int(self.controller.window * used)
            self.controller.confirmed(MAX_DATAGRAM, in_flight, round_trip, self.now)


@pytest.fixture
def controller() -> DelayController:
    return DelayController()


@pytest.fixture
def traffic(controller: DelayController) -> Traffic:
    return Traffic(controller)


def test_the_window_begins_with_32_datagrams_and_doubles_per_round_trip(
    controller: DelayController, traffic: Traffic
) -> None:
    assert controller.window == INITIAL == 32 * MAX_DATAGRAM
    traffic.confirm(PATH, times=32)
    assert controller.window == 2 * INITIAL


def test_the_window_shrinks_to_70_percent_on_queueing_delay_once_per_round_trip(
    controller: DelayController, traffic: Traffic
) -> None:
    traffic.confirm(PATH, times=32)
    window = controller.window
    traffic.confirm(QUEUED, times=4)
    assert controller.window == pytest.approx(0.7 * window)
    traffic.confirm(QUEUED, times=3)
    assert controller.window == pytest.approx(0.49 * window)


def test_the_window_never_falls_below_16_datagrams(controller: DelayController, traffic: Traffic) -> None:
    traffic.confirm(PATH)
    traffic.confirm(QUEUED, times=500)
    assert controller.window == FLOOR == 16 * MAX_DATAGRAM


@pytest.mark.parametrize(
    ("path", "noise"), [(0.001, 0.0109), (0.040, 0.0499), (0.2, 0.249)], ids=["10 ms", "10 ms too", "25 percent"]
)
def test_a_little_delay_is_noise(controller: DelayController, traffic: Traffic, path: float, noise: float) -> None:
    traffic.confirm(path)
    traffic.confirm(noise, times=200)
    assert controller.window > INITIAL


@pytest.mark.parametrize(("path", "queued"), [(0.001, 0.0111), (0.040, 0.0501), (0.2, 0.2501)])
def test_a_little_more_is_not(controller: DelayController, traffic: Traffic, path: float, queued: float) -> None:
    traffic.confirm(path)
    before = controller.window
    traffic.confirm(queued, times=1)
    assert controller.window == pytest.approx(0.7 * before)


def test_losses_without_queueing_delay_change_nothing(controller: DelayController, traffic: Traffic) -> None:
    traffic.confirm(PATH, times=10)
    other = DelayController()
    undisturbed = Traffic(other)
    undisturbed.confirm(PATH, times=10)
    for _ in range(100):
        controller.lost(5, traffic.now)
        traffic.confirm(PATH)
        undisturbed.confirm(PATH)
    assert controller.window == other.window


def test_a_window_that_is_not_used_does_not_grow(controller: DelayController, traffic: Traffic) -> None:
    traffic.confirm(PATH, times=1000, used=0.4)
    assert controller.window == INITIAL


def test_after_the_first_queueing_delay_it_grows_slowly(controller: DelayController, traffic: Traffic) -> None:
    traffic.confirm(PATH, times=64)
    traffic.confirm(QUEUED)
    window = controller.window
    datagrams = window / MAX_DATAGRAM
    traffic.confirm(PATH, times=round(datagrams))
    assert controller.window - window == pytest.approx(max(MAX_DATAGRAM, 0.02 * window), rel=0.05)


def test_a_path_that_became_longer_is_believed_after_ten_seconds(controller: DelayController, traffic: Traffic) -> None:
    traffic.confirm(PATH, times=10)
    longer = 3 * PATH
    traffic.confirm(longer, times=round(PATH_MEMORY / 0.01) - 2)
    assert controller.window == FLOOR
    traffic.confirm(longer, times=500)
    assert controller.window > 2 * FLOOR


def test_it_never_grows_beyond_what_receivers_take(controller: DelayController, traffic: Traffic) -> None:
    traffic.confirm(PATH, times=5000)
    assert controller.window == CEILING == 1024 * MAX_DATAGRAM


def test_without_a_sample_nothing_is_paced_and_then_twice_the_window_per_round_trip(
    controller: DelayController, traffic: Traffic
) -> None:
    traffic.confirm(None)
    assert controller.rate == float("inf")
    traffic.confirm(PATH, used=0.0)
    assert controller.rate == pytest.approx(2 * controller.window / PATH)


def test_after_the_first_queueing_delay_the_pace_is_a_quarter_above_the_window_per_round_trip(
    controller: DelayController, traffic: Traffic
) -> None:
    traffic.confirm(PATH)
    traffic.confirm(QUEUED)
    traffic.confirm(PATH, times=200, used=0.0)
    assert controller.rate == pytest.approx(1.25 * controller.window / PATH)


def test_a_fixed_window_is_as_large_as_receivers_take_whatever_happens() -> None:
    controller = FixedController()
    controller.confirmed(500, 1000, 10.0, 1.0)
    controller.lost(100, 1.0)
    assert (controller.window, controller.rate) == (CEILING, float("inf"))
