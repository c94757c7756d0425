"""When to send again, when to give up, when to confirm."""

from __future__ import annotations

from math import inf, nan
from typing import Any

import pytest

from packhorse.protocol import ConfirmPolicy, ResendPolicy
from packhorse.protocol.sources import TOO_OLD


def test_a_package_is_exhausted_when_it_is_old_and_was_sent_often() -> None:
    policy = ResendPolicy()
    assert not policy.exhausted(9, 1000.0)
    assert not policy.exhausted(1000, 59.9)
    assert policy.exhausted(10, 60.0)


def test_the_original_gives_up_with_the_sixth_wait() -> None:
    policy = ResendPolicy.original()
    assert not policy.exhausted(5, 1000.0)
    assert policy.exhausted(6, 0.0)
    assert policy.silence > 20.79, "which is as long as six waits can take"


@pytest.mark.parametrize(
    "bad", [{"silence": 0.0}, {"age": -1.0}, {"longest_wait": nan}, {"silence": nan}, {"copies": 0}]
)
def test_an_impossible_resend_policy_is_refused_by_name(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"^{next(iter(bad))} is "):
        ResendPolicy(**bad)


def test_a_peer_need_never_be_given_up() -> None:
    assert not ResendPolicy(silence=inf, age=inf).exhausted(1000, 1e9)


def test_by_default_a_package_is_given_up_long_before_it_is_taken_for_that_of_another_life() -> None:
    policy = ResendPolicy()
    assert 2 * max(policy.silence, policy.age, policy.copies * policy.longest_wait) <= TOO_OLD


@pytest.mark.parametrize(
    "bad", [{"silence": "x"}, {"age": None}, {"longest_wait": True}, {"copies": 1.5}, {"copies": True}]
)
def test_what_is_no_number_is_no_part_of_a_resend_policy(bad: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=rf"^{next(iter(bad))} is a .*number.*, not "):
        ResendPolicy(**bad)


@pytest.mark.parametrize("bad", [{"delay": "x"}, {"delay": False}, {"repeat": None}, {"count": 1.5}, {"count": True}])
def test_what_is_no_number_is_no_part_of_a_confirm_policy(bad: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=rf"^{next(iter(bad))} is a .*number.*, not "):
        ConfirmPolicy(**bad)


@pytest.mark.parametrize("delay", [-0.001, 0.1001, nan, inf])
def test_a_confirmation_delay_the_wire_does_not_allow_is_refused(delay: float) -> None:
    with pytest.raises(ValueError, match="delay is at "):
        ConfirmPolicy(delay=delay)


@pytest.mark.parametrize("delay", [0.0, 0.1])
def test_the_limits_of_the_confirmation_delay_are_allowed(delay: float) -> None:
    assert ConfirmPolicy(delay=delay).delay == delay


def test_a_confirmation_needs_at_least_one_id() -> None:
    with pytest.raises(ValueError, match="at least 1, not 0"):
        ConfirmPolicy(count=0)


@pytest.mark.parametrize("seconds", [-0.1, nan])
def test_ids_are_not_confirmed_again_for_less_than_no_time(seconds: float) -> None:
    with pytest.raises(ValueError, match="repeat is at least 0 seconds"):
        ConfirmPolicy(repeat=seconds)


def test_the_original_confirms_everything_100_ms_after_the_oldest() -> None:
    policy = ConfirmPolicy.original()
    assert policy.delay == 0.1
    assert not policy.urgent
    assert policy.count > 1 << 24
    assert policy.repeat == 0
