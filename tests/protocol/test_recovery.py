"""What is judged lost, when it is sent again, and what is measured on the way."""

# pyright: reportPrivateUsage=false
# The reason: it looks into the tables to see that they stay small.
from __future__ import annotations

import random
from typing import Any

import pytest

from packhorse.protocol.recovery import (
    DOUBT,
    FIRST_RESENDS,
    FORGIVENESS,
    MAX_TOLERANCE,
    SETTLE,
    TWIN_GAP,
    TWIN_LOSS,
    MeasuredRecovery,
)
from packhorse.protocol.rtt import INITIAL_TIMEOUT

from .helpers import SEMI_ORDERED, datagram

ROUND_TRIP = 0.08


def _send(recovery: MeasuredRecovery, *numbers: int, now: float) -> None:
    for number in numbers:
        recovery.sent(number, [datagram(number)], now)


def _due(recovery: MeasuredRecovery, until: float) -> list[tuple[Any, int]]:
    """Let time pass; return (time, number) of what was sent again."""
    resent: list[tuple[Any, int]] = []
    while (deadline := recovery.deadline()) is not None and deadline <= until:
        resent += [(deadline, number) for number in recovery.due(deadline)]
    return resent


def _numbers(resent: list[tuple[Any, int]]) -> list[int]:
    return [number for _, number in resent]


def _times(resent: list[tuple[Any, int]]) -> list[float]:
    return [time for time, _ in resent]


@pytest.fixture
def recovery() -> MeasuredRecovery:
    """Return a recovery that has measured a round trip of 80 ms, with the next number 1."""
    recovery = MeasuredRecovery(0, 1.0)
    _send(recovery, 0, now=0.0)
    recovery.confirmed([0], ROUND_TRIP)
    assert _due(recovery, 0.9) == []
    return recovery


# What is lost.


def test_what_was_sent_before_something_that_arrived_is_lost(recovery: MeasuredRecovery) -> None:
    _send(recovery, 1, 2, 3, now=1.0)
    recovery.confirmed([2], 1.08)
    assert _due(recovery, 1.1) == [(pytest.approx(1.08), 1)]
    assert recovery.lost == 1
    assert set(recovery.unconfirmed) == {1, 3}


def test_confirmations_that_arrive_together_count_together_whatever_their_order(recovery: MeasuredRecovery) -> None:
    _send(recovery, *range(1, 251), now=1.0)
    recovery.confirmed(range(83, 251), 1.08)
    recovery.confirmed(range(1, 83), 1.08 + SETTLE / 2)
    assert _due(recovery, 100.0) == []
    assert recovery.lost == 0


def test_a_full_confirmation_is_judged_when_the_rest_of_it_may_have_come(recovery: MeasuredRecovery) -> None:
    _send(recovery, *range(1, 251), now=1.0)
    recovery.confirmed(range(83, 251), 1.08)
    assert _due(recovery, 1.08 + SETTLE / 2) == []
    assert _times(_due(recovery, 1.1))[0] == pytest.approx(1.08 + SETTLE)


def test_order_is_that_of_sending_and_not_that_of_numbers(recovery: MeasuredRecovery) -> None:
    _send(recovery, 1, 2, now=1.0)
    recovery.confirmed([2], 1.08)
    assert _numbers(_due(recovery, 1.09)) == [1]
    _send(recovery, 3, now=1.085)
    recovery.confirmed([3], 1.165)
    assert _numbers(_due(recovery, 1.17)) == [1], "its second copy was sent before 3, and 3 has arrived"
    _send(recovery, 4, now=1.171)
    recovery.confirmed([1], 1.26)
    assert _due(recovery, 1.265) == [], "4 was sent after that copy"


def test_beside_order_a_package_is_lost_when_more_than_a_round_trip_has_passed(recovery: MeasuredRecovery) -> None:
    recovery.tolerance = MAX_TOLERANCE
    _send(recovery, 1, 2, now=1.0)
    recovery.confirmed([2], 1.08)
    assert _due(recovery, 1.1) == [(pytest.approx(1.0 + ROUND_TRIP * 9 / 8 + SETTLE), 1)]


def test_without_anything_later_confirmed_a_round_trip_alone_says_nothing(recovery: MeasuredRecovery) -> None:
    recovery.tolerance = MAX_TOLERANCE
    _send(recovery, 1, 2, now=1.0)
    recovery.confirmed([1], 1.08)
    assert _due(recovery, 1.0 + recovery.round_trip.timeout - 0.001) == []
    assert _numbers(_due(recovery, 1.0 + recovery.round_trip.timeout)) == [2]


# Tolerance.


def _lose_and_resend(recovery: MeasuredRecovery, number: int, now: float) -> float:
    """Lose `number` by order; return when it was sent again."""
    _send(recovery, *range(number, number + recovery.tolerance + 1), now=now)
    recovery.confirmed([number + recovery.tolerance], now + ROUND_TRIP)
    ((resent_at, resent),) = _due(recovery, now + ROUND_TRIP + SETTLE)
    assert resent == number
    recovery.confirmed(range(number + 1, number + recovery.tolerance), resent_at)
    return float(resent_at)


def test_tolerance_doubles_when_sending_again_was_needless(recovery: MeasuredRecovery) -> None:
    for tolerance in [*(2**doubled for doubled in range(11)), MAX_TOLERANCE]:
        assert recovery.tolerance == tolerance
        number, now = recovery.next, recovery.next * 10.0
        resent_at = _lose_and_resend(recovery, number, now)
        recovery.confirmed([number], resent_at + 0.01)
    assert recovery.tolerance == MAX_TOLERANCE


def test_with_more_tolerance_more_must_have_overtaken(recovery: MeasuredRecovery) -> None:
    recovery.tolerance = 3
    _send(recovery, 1, 2, 3, 4, now=1.0)
    recovery.confirmed([2, 3], 1.08)
    assert _due(recovery, 1.085) == []
    recovery.confirmed([4], 1.085)
    assert _numbers(_due(recovery, 1.087)) == [1]


def test_tolerance_shrinks_by_one_when_losses_were_real(recovery: MeasuredRecovery) -> None:
    recovery.tolerance = 4
    for loss in range(2 * FORGIVENESS):
        number, now = recovery.next, recovery.next * 10.0
        resent_at = _lose_and_resend(recovery, number, now)
        assert recovery.tolerance == 4 - loss // FORGIVENESS
        recovery.confirmed([number], resent_at + ROUND_TRIP)
        assert _due(recovery, now + 9) == []
    assert recovery.tolerance == 2


# Timeouts and probes.


def test_without_any_sign_the_oldest_are_sent_again_after_the_timeout_and_then_two_probes_at_a_time() -> None:
    recovery = MeasuredRecovery(0, 1.0)
    _send(recovery, *range(40), now=0.0)
    resent = _due(recovery, 4.0)
    assert _numbers(resent[:FIRST_RESENDS]) == list(range(FIRST_RESENDS))
    assert _times(resent[:FIRST_RESENDS]) == [0.3] * FIRST_RESENDS
    assert resent[FIRST_RESENDS:] == [
        (pytest.approx(time), number)
        for time, numbers in ((0.9, (32, 33)), (1.9, (34, 35)), (2.9, (36, 37)), (3.9, (38, 39)))
        for number in numbers
    ]


def test_probes_are_no_further_apart_than_the_longest_wait_unless_the_round_trip_is() -> None:
    recovery = MeasuredRecovery(0, 1.0)
    _send(recovery, 0, now=0.0)
    recovery.confirmed([0], 2.0)
    timeout = recovery.round_trip.timeout
    assert timeout == 6.0
    _send(recovery, 1, now=10.0)
    assert _times(_due(recovery, 10 + 4 * timeout)) == pytest.approx([10 + timeout * n for n in (1, 2, 3, 4)])


@pytest.mark.parametrize("seed", range(20))
def test_a_timeout_is_never_missed_by_a_rounding_error(seed: int) -> None:
    rng = random.Random(seed)
    recovery = MeasuredRecovery(0, 1.0)
    now = rng.random() * 1e6
    _send(recovery, 0, now=now)
    recovery.confirmed([0], now + rng.random() * 3)
    now += 10 * rng.random()
    _send(recovery, 1, now=now)
    for _ in range(10):
        deadline = recovery.deadline()
        assert deadline is not None
        assert recovery.due(deadline) == [1]


def test_a_confirmed_probe_tells_that_all_sent_before_it_is_lost() -> None:
    recovery = MeasuredRecovery(0, 1.0)
    _send(recovery, *range(40), now=0.0)
    _due(recovery, 0.9)
    recovery.confirmed([33], 1.0)
    resent = _due(recovery, 1.001 + DOUBT * INITIAL_TIMEOUT)
    assert sorted(_numbers(resent)) == [number for number in range(40) if number != 33]


def test_before_a_round_trip_is_known_a_second_copy_is_not_told_from_the_first() -> None:
    recovery = MeasuredRecovery(0, 1.0)
    _send(recovery, *range(10), now=0.0)
    assert recovery.refused(32, 0.05, until=0.05) == list(range(10))
    recovery.confirmed([4], 0.06)
    assert _numbers(_due(recovery, 0.07)) == [], "those before it were sent again after its first copy"
    _send(recovery, 10, 11, now=0.07)
    recovery.confirmed([11], 0.12)
    assert sorted(_numbers(_due(recovery, 0.122))) == [*range(4), *range(5, 11)]


def test_on_a_path_as_long_as_the_first_timeout_late_is_not_taken_for_lost() -> None:
    recovery = MeasuredRecovery(0, 1.0)
    for number in range(20):
        _send(recovery, number, now=number * 0.01)
    assert recovery.due(0.3) == [0]
    recovery.confirmed([0], 0.305)
    for number in range(1, 20):
        assert recovery.due(0.304 + number * 0.01) == []
        recovery.confirmed([number], 0.305 + number * 0.01)
    assert (recovery.lost, dict(recovery.unconfirmed)) == (0, {})


def test_losses_that_were_none_are_counted() -> None:
    recovery = MeasuredRecovery(0, 1.0)
    _send(recovery, 0, now=0.0)
    recovery.confirmed([0], 0.1)
    _send(recovery, 1, 2, now=1.0)
    recovery.confirmed([2], 1.1)
    assert recovery.due(1.1) == [1]
    recovery.confirmed([1], 1.11)
    assert (recovery.lost, recovery.not_lost) == (1, 1)


def test_any_confirmation_ends_the_doubling(recovery: MeasuredRecovery) -> None:
    _send(recovery, 1, now=1.0)
    _due(recovery, 10.0)
    recovery.confirmed([1], 10.1)
    _send(recovery, 2, now=11.0)
    timeout = recovery.round_trip.timeout
    assert _times(_due(recovery, 11.0 + timeout)) == [pytest.approx(11.0 + timeout)]


def test_a_thousand_probes_do_not_overflow(recovery: MeasuredRecovery) -> None:
    _send(recovery, 1, now=1.0)
    assert len(_due(recovery, 1200.0)) > 1024


# Twins.


def test_where_little_is_lost_one_copy_is_sent_again(recovery: MeasuredRecovery) -> None:
    recovery.loss_rate = TWIN_LOSS / 2
    _send(recovery, 1, 2, now=1.0)
    recovery.confirmed([2], 1.08)
    assert _numbers(_due(recovery, 1.1)) == [1]


def test_where_much_is_lost_two_copies_are_sent_again_a_few_milliseconds_apart(recovery: MeasuredRecovery) -> None:
    recovery.loss_rate = 2 * TWIN_LOSS
    _send(recovery, 1, 2, now=1.0)
    recovery.confirmed([2], 1.08)
    judged = 1.08
    assert _due(recovery, 1.15) == [(pytest.approx(judged), 1), (pytest.approx(judged + TWIN_GAP), 1)]


def test_the_second_copy_is_spared_when_the_package_is_confirmed_before_it(recovery: MeasuredRecovery) -> None:
    recovery.loss_rate = 2 * TWIN_LOSS
    _send(recovery, 1, 2, now=1.0)
    recovery.confirmed([2], 1.08)
    assert _numbers(_due(recovery, 1.08 + SETTLE)) == [1]
    recovery.confirmed([1], 1.082)
    assert _due(recovery, 100.0) == []


def test_what_is_confirmed_after_its_second_copy_is_not_lost_by_order_of_the_first(recovery: MeasuredRecovery) -> None:
    recovery.loss_rate = 2 * TWIN_LOSS
    _send(recovery, 1, 2, now=1.0)
    recovery.confirmed([2], 1.08)
    _due(recovery, 1.0811)
    _send(recovery, 3, now=1.082)
    _due(recovery, 1.09)
    recovery.confirmed([3], 1.162)
    assert _due(recovery, 1.164) == [], "the second copy of 1 was sent after 3"


def test_a_confirmed_package_may_have_come_by_its_first_copy_so_nothing_between_the_two_is_lost(
    recovery: MeasuredRecovery,
) -> None:
    recovery.loss_rate = 2 * TWIN_LOSS
    _send(recovery, 1, 2, now=1.0)
    recovery.confirmed([2], 1.08)
    _due(recovery, 1.0811)
    _send(recovery, 3, now=1.082)
    _due(recovery, 1.09)
    recovery.confirmed([1], 1.1611)
    assert _due(recovery, 1.164) == []


@pytest.mark.parametrize("loss", [0.01, 0.05, 0.2])
def test_the_measured_loss_rate_follows_the_true_one_up_and_down(loss: float) -> None:
    rng = random.Random(1)
    recovery = MeasuredRecovery(0, 1.0)
    rates: list[float] = []
    arriving: list[list[int]] = [[] for _ in range(6010)]
    for number in range(6000):
        now = number * ROUND_TRIP / 4
        _send(recovery, number, now=now)
        recovery.confirmed(arriving[number], now)
        for copy in [number, *_numbers(_due(recovery, now + ROUND_TRIP / 8))]:
            if number >= 5000 or rng.random() >= loss:
                arriving[number + 4].append(copy)
        rates.append(recovery.loss_rate)
    assert sum(rates[1000:5000]) / 4000 == pytest.approx(loss / (1 + loss), rel=0.25, abs=0.005)
    assert rates[-1] < 0.1 * loss


# Round trips.


def test_only_the_first_id_of_a_confirmation_is_measured() -> None:
    recovery = MeasuredRecovery(0, 1.0)
    _send(recovery, 0, now=0.0)
    _send(recovery, 1, now=0.2)
    news, sample = recovery.confirmed([1, 0], 0.3)
    assert news == 2 * len(datagram(0))
    assert sample == pytest.approx(0.1)
    assert recovery.round_trip.smoothed == pytest.approx(0.1)


def test_a_package_that_was_sent_twice_measures_nothing() -> None:
    recovery = MeasuredRecovery(0, 1.0)
    _send(recovery, 0, now=0.0)
    assert _numbers(_due(recovery, 0.3)) == [0]
    assert recovery.confirmed([0], 0.35) == (len(datagram(0)), None)
    assert recovery.round_trip.smoothed is None


def test_an_id_that_is_confirmed_again_measures_nothing_and_is_no_news(recovery: MeasuredRecovery) -> None:
    _send(recovery, 1, now=1.0)
    assert recovery.confirmed([0], 1.08) == (0, None)
    assert recovery.confirmed([0, 1], 1.09) == (len(datagram(1)), None)
    assert recovery.round_trip.minimum == ROUND_TRIP


# Copies in advance.


def test_extra_copies_are_sent_at_their_times_also_between_those_of_another_package() -> None:
    recovery = MeasuredRecovery(0, 1.0)
    _send(recovery, 0, now=0.0)
    recovery.extra_copies(0, [0.003, 0.006, 0.009])
    _send(recovery, 1, now=0.001)
    recovery.extra_copies(1, [0.004, 0.007])
    assert _due(recovery, 0.1) == [(0.003, 0), (0.004, 1), (0.006, 0), (0.007, 1), (0.009, 0)]


def test_extra_copies_stop_when_the_package_is_confirmed() -> None:
    recovery = MeasuredRecovery(0, 1.0)
    _send(recovery, 0, now=0.0)
    recovery.extra_copies(0, [0.003, 0.006])
    assert _numbers(_due(recovery, 0.004)) == [0]
    recovery.confirmed([0], 0.005)
    assert _due(recovery, 100.0) == []


# Giving up and beginning anew.


def test_what_is_revived_begins_anew(recovery: MeasuredRecovery) -> None:
    _send(recovery, 1, 2, 3, now=1.0)
    recovery.confirmed([2], 1.08)
    _due(recovery, 25.0)
    assert recovery.revive(30.0) == [1, 3]
    assert [recovery.copies(number).first_sent for number in recovery.unconfirmed] == [30.0, 30.0]
    timeout = recovery.round_trip.timeout
    assert _due(recovery, 30.0 + 1.5 * timeout) == [(pytest.approx(30.0 + timeout), number) for number in (1, 3)]


def test_the_oldest_is_the_lowest_unconfirmed_number_or_the_next() -> None:
    recovery = MeasuredRecovery(5, 1.0)
    assert recovery.oldest == recovery.next == 5
    _send(recovery, 5, 6, 7, now=0.0)
    recovery.confirmed([6], 0.1)
    assert (recovery.oldest, recovery.next) == (5, 8)
    recovery.confirmed([5], 0.1)
    assert recovery.oldest == 7
    recovery.confirmed([7], 0.1)
    assert recovery.oldest == recovery.next == 8


def test_confirmed_semi_ordered_packages_are_held_behind_an_unconfirmed_number(recovery: MeasuredRecovery) -> None:
    for number in (1, 2, 3):
        recovery.sent(number, [datagram(number, reliability=SEMI_ORDERED)], 1.0)
    _send(recovery, 4, now=1.0)
    recovery.confirmed([2, 3, 4], 1.08)
    assert set(recovery.held) == {2, 3}
    recovery.confirmed([1], 1.09)
    assert recovery.held == {}


def test_memory_does_not_grow_with_what_was_sent() -> None:
    rng = random.Random(1)
    recovery = MeasuredRecovery(0, 1.0)
    now = 0.0
    for number in range(20_000):
        now += 0.001
        _send(recovery, number, now=now)
        for late in list(recovery.unconfirmed):
            if late < number - 50 and rng.random() < 0.5:
                recovery.confirmed([late], now)
        recovery.due(now)
    assert len(recovery.unconfirmed) < 100
    assert len(recovery._order) < 300
    assert len(recovery._twins) < 100


def test_eager_copies_do_not_keep_the_round_trip_from_being_measured() -> None:
    recovery = MeasuredRecovery(0, 1.0)
    _send(recovery, 0, now=0.0)
    recovery.extra_copies(0, [0.003, 0.006])
    assert _numbers(_due(recovery, 0.02)) == [0, 0]
    recovery.confirmed([0], ROUND_TRIP)
    assert recovery.round_trip.smoothed == ROUND_TRIP


def test_eager_copies_are_no_losses_that_were_real() -> None:
    recovery = MeasuredRecovery(0, 1.0)
    recovery.tolerance = 5
    for number in range(2 * FORGIVENESS):
        _send(recovery, number, now=float(number))
        recovery.extra_copies(number, [number + 0.003])
        _due(recovery, number + 0.02)
        recovery.confirmed([number], number + ROUND_TRIP)
    assert recovery.tolerance == 5
