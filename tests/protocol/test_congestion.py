"""How the window follows queueing delay, and nothing else."""

from __future__ import annotations

import itertools
import random

import pytest

from packhorse.protocol import congestion
from packhorse.protocol.congestion import (
    CEILING,
    GROWTH,
    INITIAL,
    NOISE,
    PATH_MEMORY,
    SMOOTHING,
    DelayController,
    FixedController,
)
from packhorse.protocol.header import MAX_DATAGRAM

PATH = 0.040
FLOOR, DRAINED = congestion.FLOOR * MAX_DATAGRAM, congestion.DRAINED * MAX_DATAGRAM
QUEUED = PATH + 1.2 * SMOOTHING * NOISE
"""A round trip so long that its first sample brings the average beyond noise."""


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
            self.controller.confirmed(1, MAX_DATAGRAM, in_flight, round_trip, self.now)

    def end_start_phase(self, *, times: int = 64) -> float:
        """Grow the window, meet a queue for a moment and let it empty; return the window there was before."""
        self.confirm(PATH, times=times)
        before = self.controller.window
        self.confirm(QUEUED)
        self.confirm(PATH, times=100, used=0.0)
        return before

    def shrinkings(self, round_trip: float, *, times: int) -> list[tuple[float, float]]:
        """Confirm so many times; return when the window shrank, and to which share."""
        found: list[tuple[float, float]] = []
        for _ in range(times):
            before = self.controller.window
            self.confirm(round_trip)
            if self.controller.window < before:
                found.append((self.now, self.controller.window / before))
        return found


@pytest.fixture
def controller() -> DelayController:
    return DelayController()


@pytest.fixture
def traffic(controller: DelayController) -> Traffic:
    return Traffic(controller)


def test_the_window_begins_with_32_datagrams_and_grows_by_half_per_round_trip(
    controller: DelayController, traffic: Traffic
) -> None:
    assert controller.window == INITIAL == 32 * MAX_DATAGRAM
    traffic.confirm(PATH, times=32)
    assert controller.window == 1.5 * INITIAL


def test_the_start_phase_ends_with_8_datagrams_until_the_queue_has_emptied_and_then_with_half_the_window(
    controller: DelayController, traffic: Traffic
) -> None:
    traffic.confirm(PATH, times=64)
    window = controller.window
    for _ in range(50):
        traffic.now += 0.01
        controller.confirmed(1, MAX_DATAGRAM, 4 * FLOOR, QUEUED, traffic.now)
        assert controller.window == DRAINED, "the queue is not empty yet"
    traffic.confirm(PATH, times=5)
    assert controller.window == DRAINED, "no round trip has passed"
    traffic.confirm(PATH, times=50, used=0.0)
    assert controller.window == window / 2


def test_a_drained_window_comes_down_with_the_size_of_packages_or_the_queue_would_never_seem_empty(
    controller: DelayController, traffic: Traffic
) -> None:
    traffic.confirm(PATH, times=64)
    traffic.confirm(QUEUED)
    for _ in range(100):
        traffic.now += 0.01
        controller.confirmed(4, 4 * 64, int(controller.window), PATH, traffic.now)
    assert controller.window > DRAINED


def test_delay_that_is_still_noise_slows_the_start_phase(controller: DelayController, traffic: Traffic) -> None:
    traffic.confirm(PATH)
    traffic.confirm(PATH + 0.8 * NOISE, times=100, used=0.0)
    before = controller.window
    traffic.confirm(PATH + 0.8 * NOISE)
    assert controller.window - before == pytest.approx(0.2 * 0.5 * MAX_DATAGRAM, rel=0.01)


def in_use(*, started: bool) -> tuple[DelayController, Traffic]:
    """Return a controller whose window is used, in the start phase or after it."""
    controller = DelayController()
    traffic = Traffic(controller)
    traffic.confirm(PATH, times=64)
    if started:
        traffic.end_start_phase()
        traffic.confirm(PATH)
    return controller, traffic


def lose_packages(controller: DelayController, count: int, now: float) -> None:
    """Lose so many of the largest packages."""
    controller.lost(count, count * MAX_DATAGRAM, now)


def lose(controller: DelayController, share: float, now: float) -> None:
    """Lose a share of the window, and a package more."""
    lose_packages(controller, int(controller.window / MAX_DATAGRAM * share) + 1, now)


def test_the_start_phase_ends_too_when_a_third_of_the_window_is_lost_within_a_round_trip(
    controller: DelayController, traffic: Traffic
) -> None:
    traffic.confirm(PATH, times=64)
    window = controller.window
    lose(controller, 1 / 3, traffic.now)
    assert controller.window == DRAINED
    traffic.confirm(PATH, times=50, used=0.0)
    assert controller.window == window / 2


@pytest.mark.parametrize("started", [False, True], ids=["in the start phase", "after it"])
@pytest.mark.parametrize(
    ("round_trip", "still_lost", "left"),
    [(PATH, 0.2, 1.0), (PATH, 0.0, 0.7), (PATH - 0.3 * NOISE, 0.2, 0.7)],
    ids=["the path's", "gone with the queue", "shorter without the queue"],
)
def test_when_a_fifth_is_lost_it_looks_whether_there_is_a_queue(
    round_trip: float, still_lost: float, left: float, started: bool
) -> None:
    controller, traffic = in_use(started=started)
    window = controller.window
    lose(controller, 0.2, traffic.now)
    assert controller.window == DRAINED
    for _ in range(50):
        if controller.window == DRAINED:
            lose_packages(controller, 1 if still_lost else 0, traffic.now)
            traffic.confirm(round_trip, used=0.0)
    assert controller.window == pytest.approx(left * window)


def test_a_look_ends_when_what_was_lost_turns_out_not_to_be(controller: DelayController, traffic: Traffic) -> None:
    traffic.confirm(PATH, times=64)
    window = controller.window
    lose(controller, 0.2, traffic.now)
    controller.not_lost(1, MAX_DATAGRAM)
    assert controller.window == DRAINED, "there is still reason enough"
    controller.not_lost(round(0.1 * window / MAX_DATAGRAM), round(0.1 * window))
    assert controller.window == window
    traffic.confirm(PATH)
    assert controller.window == window + MAX_DATAGRAM / 2, "the start phase goes on"


def test_what_was_taken_back_does_not_count_for_the_next_look(controller: DelayController, traffic: Traffic) -> None:
    traffic.confirm(PATH, times=64)
    window = controller.window
    for _ in range(5):
        count = round(0.1 * window / MAX_DATAGRAM)
        lose_packages(controller, count, traffic.now)
        controller.not_lost(count, count * MAX_DATAGRAM)
    assert controller.window == window


def test_a_queue_that_has_emptied_is_not_taken_back(controller: DelayController, traffic: Traffic) -> None:
    traffic.confirm(PATH, times=64)
    traffic.confirm(QUEUED)
    controller.not_lost(1000, 500_000)
    assert controller.window == DRAINED


@pytest.mark.parametrize("started", [False, True], ids=["in the start phase", "after it"])
def test_small_packages_count_for_no_more_than_their_bytes(started: bool) -> None:
    """A seventh of the window is lost; were they large it would be all of it."""
    controller, traffic = in_use(started=started)
    window = controller.window
    controller.lost(round(window / MAX_DATAGRAM), round(window / 7), traffic.now)
    assert controller.window == window
    controller.lost(1, round(window / 50), traffic.now)
    assert controller.window == DRAINED


@pytest.mark.parametrize(("size", "unit"), [(68, 68), (5, 64)])
def test_floors_go_by_the_size_that_is_usual(
    controller: DelayController, traffic: Traffic, size: int, unit: int
) -> None:
    traffic.confirm(PATH)
    for _ in range(80):
        controller.confirmed(2, 2 * size, 0, PATH, traffic.now)
    controller.confirmed(2, 2 * size, 0, QUEUED, traffic.now)
    assert controller.window == congestion.DRAINED * unit >= MAX_DATAGRAM


def test_before_a_round_trip_is_known_losses_count_for_nothing(controller: DelayController, traffic: Traffic) -> None:
    traffic.confirm(None)
    window = controller.window
    lose(controller, 0.9, traffic.now)
    assert controller.window == window


def test_after_a_look_in_vain_the_next_comes_24_round_trips_later(
    controller: DelayController, traffic: Traffic
) -> None:
    traffic.confirm(PATH, times=64)
    looks: list[float] = []
    for _ in range(600):
        before = controller.window
        lose_packages(controller, max(1, round(0.25 * before / MAX_DATAGRAM * 0.01 / PATH)), traffic.now)
        traffic.confirm(PATH, used=0.6)
        if controller.window < before:
            looks.append(traffic.now)
    assert len(looks) >= 3
    assert all(later - earlier > 24 * PATH for earlier, later in itertools.pairwise(looks))


@pytest.mark.parametrize("share", [0.2, 0.9])
def test_losses_from_a_window_that_is_not_used_are_not_its_own(
    controller: DelayController, traffic: Traffic, share: float
) -> None:
    traffic.confirm(PATH, times=64, used=0.4)
    lose(controller, share, traffic.now)
    assert controller.window == INITIAL


def test_what_is_lost_in_a_silence_is_no_reason_to_look(controller: DelayController, traffic: Traffic) -> None:
    traffic.confirm(PATH, times=64)
    traffic.now += 1.1 * PATH
    traffic.confirm(PATH)
    window = controller.window
    lose(controller, 0.9, traffic.now)
    assert controller.window == window
    traffic.confirm(PATH, times=5)
    lose(controller, 0.9, traffic.now)
    assert controller.window == DRAINED


def test_losses_that_are_spread_over_round_trips_do_not_end_the_start_phase(
    controller: DelayController, traffic: Traffic
) -> None:
    traffic.confirm(PATH, times=64)
    window = controller.window
    for _ in range(20):
        lose_packages(controller, int(window / MAX_DATAGRAM * 0.14), traffic.now)
        traffic.now += 1.01 * PATH
    assert controller.window == window


def test_the_window_shrinks_to_70_percent_on_queueing_delay_once_in_two_round_trips(
    controller: DelayController, traffic: Traffic
) -> None:
    traffic.end_start_phase(times=1000)
    shrinkings = traffic.shrinkings(QUEUED, times=60)
    assert len(shrinkings) > 2
    assert all(share == pytest.approx(0.7) for _, share in shrinkings)
    times = [time for time, _ in shrinkings]
    apart = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert apart == pytest.approx([2 * QUEUED] * len(apart), abs=0.0101), "confirmations are 10 ms apart"


def test_the_window_never_falls_below_16_datagrams(controller: DelayController, traffic: Traffic) -> None:
    traffic.end_start_phase(times=500)
    assert controller.window > 2 * FLOOR
    traffic.confirm(QUEUED, times=500)
    assert controller.window == FLOOR == 16 * MAX_DATAGRAM


@pytest.mark.parametrize(
    ("path", "noise"), [(0.001, 0.0109), (0.040, 0.0499), (0.2, 0.249)], ids=["10 ms", "10 ms too", "25 percent"]
)
def test_a_little_delay_is_noise(controller: DelayController, traffic: Traffic, path: float, noise: float) -> None:
    traffic.confirm(path)
    traffic.confirm(noise, times=200)
    assert controller.window > INITIAL


@pytest.mark.parametrize(("path", "queued"), [(0.001, 0.0112), (0.040, 0.0502), (0.2, 0.2502)])
def test_a_little_more_is_not_once_it_lasts(
    controller: DelayController, traffic: Traffic, path: float, queued: float
) -> None:
    traffic.confirm(path)
    traffic.confirm(queued, times=SMOOTHING)
    assert controller.window > INITIAL, "the average is not there yet"
    traffic.confirm(queued, times=10 * SMOOTHING, used=4.0)
    assert controller.window == DRAINED


def test_a_single_long_round_trip_is_averaged_away(controller: DelayController, traffic: Traffic) -> None:
    traffic.confirm(PATH)
    for _ in range(20):
        before = controller.window
        traffic.confirm(PATH + 0.9 * SMOOTHING * NOISE)
        traffic.confirm(PATH, times=10 * SMOOTHING)
        assert controller.window > before


@pytest.mark.parametrize("started", [False, True], ids=["in the start phase", "after it"])
def test_losses_of_a_tenth_without_queueing_delay_change_nothing(started: bool) -> None:
    controller, other = DelayController(), DelayController()
    traffic, undisturbed = Traffic(controller), Traffic(other)
    for one in (traffic, undisturbed):
        one.confirm(PATH, times=10)
        if started:
            one.end_start_phase()
    for _ in range(100):
        lose_packages(controller, int(0.1 * controller.window / MAX_DATAGRAM * 0.01 / PATH), traffic.now)
        traffic.confirm(PATH)
        undisturbed.confirm(PATH)
    assert controller.window == other.window > INITIAL


def test_a_window_that_is_not_used_does_not_grow(controller: DelayController, traffic: Traffic) -> None:
    traffic.confirm(PATH, times=1000, used=0.4)
    assert controller.window == INITIAL


@pytest.mark.parametrize("confirmed", [64, 500])
def test_after_the_start_phase_it_grows_by_three_datagrams_per_round_trip_whatever_its_size(
    controller: DelayController, traffic: Traffic, confirmed: int
) -> None:
    assert traffic.end_start_phase(times=confirmed) == INITIAL + confirmed * MAX_DATAGRAM / 2
    window = controller.window
    traffic.confirm(PATH, times=round(window / MAX_DATAGRAM))
    assert GROWTH == 3
    assert controller.window - window == pytest.approx(GROWTH * MAX_DATAGRAM, rel=0.1)


def test_a_small_window_grows_by_an_eighth_per_round_trip(controller: DelayController, traffic: Traffic) -> None:
    traffic.end_start_phase(times=1)
    assert controller.window < 17 * MAX_DATAGRAM
    before = controller.window
    traffic.confirm(PATH, times=16)
    assert controller.window - before == pytest.approx(2 * MAX_DATAGRAM, rel=0.05)


def test_a_path_that_became_longer_is_believed_when_the_shorter_one_is_forgotten(
    controller: DelayController, traffic: Traffic
) -> None:
    traffic.end_start_phase()
    longer = 3 * PATH
    traffic.confirm(longer, times=round(PATH_MEMORY / 0.01) - 2)
    assert controller.window == FLOOR
    traffic.confirm(longer, times=500)
    assert controller.window > 2 * FLOOR


@pytest.mark.parametrize("seed", range(5))
def test_jitter_alone_does_not_shrink_the_window(controller: DelayController, traffic: Traffic, seed: int) -> None:
    """Up to 5 ms each way: together as much as is taken for noise."""
    rng = random.Random(seed)
    for _ in range(6000):
        before = controller.window
        traffic.confirm(PATH + rng.uniform(0.0, 0.005) + rng.uniform(0.0, 0.005))
        assert controller.window >= before
    assert controller.window == CEILING


@pytest.mark.parametrize("seed", range(5))
def test_a_full_queue_shrinks_the_window_through_jitter_of_20_ms(
    controller: DelayController, traffic: Traffic, seed: int
) -> None:
    """The queue is what is under way beyond 93 datagrams, and drains at 10 Mbit/s; the 64 that it holds take 27 ms."""
    rng = random.Random(seed)
    carries, holds = 93 * MAX_DATAGRAM, 64 * MAX_DATAGRAM
    largest = 0.0
    for number in range(20_000):
        queue = min(1.0, max(0.0, controller.window - carries) / holds) * 0.027
        traffic.now += 0.0004
        round_trip = PATH + queue + rng.uniform(0.0, 0.01) + rng.uniform(0.0, 0.01)
        controller.confirmed(1, MAX_DATAGRAM, int(controller.window), round_trip, traffic.now)
        if number > 1000:
            largest = max(largest, controller.window)
    assert FLOOR < largest < carries + holds


def test_it_never_grows_beyond_what_receivers_take(controller: DelayController, traffic: Traffic) -> None:
    traffic.confirm(PATH, times=5000)
    assert controller.window == CEILING == 1024 * MAX_DATAGRAM


def test_without_a_sample_nothing_is_paced_and_then_one_and_a_half_windows_per_round_trip(
    controller: DelayController, traffic: Traffic
) -> None:
    traffic.confirm(None)
    assert controller.rate == float("inf")
    traffic.confirm(PATH, used=0.0)
    assert controller.rate == pytest.approx(1.5 * controller.window / PATH)


def test_after_the_first_queueing_delay_the_pace_is_a_quarter_above_the_window_per_round_trip(
    controller: DelayController, traffic: Traffic
) -> None:
    traffic.end_start_phase()
    assert controller.rate == pytest.approx(1.25 * controller.window / PATH)


def test_a_fixed_window_is_as_large_as_receivers_take_whatever_happens() -> None:
    controller = FixedController()
    controller.confirmed(1, 500, 1000, 10.0, 1.0)
    controller.lost(100, 50_000, 1.0)
    assert (controller.window, controller.rate) == (CEILING, float("inf"))
