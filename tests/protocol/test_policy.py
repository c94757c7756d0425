"""When to send again, when to give up, when to confirm."""

from __future__ import annotations

from math import inf, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packhorse.protocol import ConfirmPolicy, ResendPolicy


def test_waits_double_up_to_a_second() -> None:
    policy = ResendPolicy()
    waits = [policy.wait(copies, 0.3, 0.5) for copies in range(1, 6)]
    assert waits == pytest.approx([0.3, 0.6, 1.0, 1.0, 1.0])


def test_a_round_trip_longer_than_a_second_is_waited_for() -> None:
    assert [ResendPolicy().wait(copies, 2.5, 0.0) for copies in (1, 2, 3)] == [2.5, 2.5, 2.5]


@given(st.integers(1, 100_000), st.floats(0.025, 60), st.floats(0, 1))
def test_a_wait_never_ends_before_the_timeout_or_after_the_longest_wait(
    copies: int, timeout: float, jitter: float
) -> None:
    assert timeout <= ResendPolicy().wait(copies, timeout, jitter) <= max(timeout, 1.0)


def test_a_package_is_exhausted_when_it_is_old_and_was_sent_often() -> None:
    policy = ResendPolicy()
    assert not policy.exhausted(9, 1000.0)
    assert not policy.exhausted(1000, 59.9)
    assert policy.exhausted(10, 60.0)


@given(st.integers(1, 6), st.floats(0, 1, exclude_max=True), st.floats(0, 100))
def test_the_original_waits_220_ms_doubled_and_up_to_half_on_top(copies: int, jitter: float, timeout: float) -> None:
    base = 0.22 * 2 ** (copies - 1)
    assert base <= ResendPolicy.original().wait(copies, timeout, jitter) <= 1.5 * base


def test_the_original_gives_up_after_six_copies_13_9_to_20_8_seconds_after_the_first() -> None:
    policy = ResendPolicy.original()
    assert not policy.exhausted(5, 1000.0)
    assert policy.exhausted(6, 0.0)
    assert sum(policy.wait(copies, 9.0, 0.0) for copies in range(1, 7)) == pytest.approx(13.86)
    assert sum(policy.wait(copies, 9.0, 1.0) for copies in range(1, 7)) == pytest.approx(20.79)
    assert policy.silence > 20.79


@given(st.integers(7, 100_000))
def test_the_original_schedule_does_not_grow_for_packages_that_were_given_up_before(copies: int) -> None:
    assert ResendPolicy.original().wait(copies, 0.3, 0.0) == pytest.approx(7.04)


@pytest.mark.parametrize("bad", [{"silence": 0.0}, {"age": -1.0}, {"longest_wait": nan}, {"copies": 0}])
def test_an_impossible_resend_policy_is_refused_by_name(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(bad))} is "):
        ResendPolicy(**bad)


def test_a_peer_need_never_be_given_up() -> None:
    assert not ResendPolicy(silence=inf, age=inf).exhausted(1000, 1e9)


@pytest.mark.parametrize("delay", [-0.001, 0.1001, nan, inf])
def test_a_confirmation_delay_the_wire_does_not_allow_is_refused(delay: float) -> None:
    with pytest.raises(ValueError, match="a confirmation may wait"):
        ConfirmPolicy(delay=delay)


@pytest.mark.parametrize("delay", [0.0, 0.1])
def test_the_limits_of_the_confirmation_delay_are_allowed(delay: float) -> None:
    assert ConfirmPolicy(delay=delay).delay == delay


def test_a_confirmation_needs_at_least_one_id() -> None:
    with pytest.raises(ValueError, match="at least 1, not 0"):
        ConfirmPolicy(count=0)


def test_the_original_confirms_everything_100_ms_after_the_oldest() -> None:
    policy = ConfirmPolicy.original()
    assert policy.delay == 0.1
    assert not policy.urgent
    assert policy.count > 1 << 24
