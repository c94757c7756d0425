"""A peer that was only slow: what the first confirmations after a timeout say, and what they do not."""

from __future__ import annotations

import pytest

from packhorse.protocol.recovery import DOUBT, FIRST_RESENDS, MeasuredRecovery

from .helpers import datagram

ROUND_TRIP = 0.08
RTO = 0.24
"""After one measurement: the round trip and four times half of it."""
BEGAN = 1.0


@pytest.fixture
def recovery() -> MeasuredRecovery:
    """Return a recovery that has measured a round trip of 80 ms, with the next number 1."""
    recovery = MeasuredRecovery(0, 1.0)
    recovery.sent(0, [datagram(0)], 0.0)
    recovery.confirmed([0], ROUND_TRIP)
    return recovery


def _due(recovery: MeasuredRecovery, until: float) -> list[int]:
    """Let time pass; return what was sent again."""
    resent: list[int] = []
    while (deadline := recovery.deadline()) is not None and deadline <= until:
        resent += recovery.due(deadline)
    return resent


def _send(recovery: MeasuredRecovery, count: int, *, gap: float = 0.0) -> None:
    for number in range(1, count + 1):
        recovery.sent(number, [datagram(number)], BEGAN + gap * (number - 1))


def test_a_peer_that_goes_on_after_a_timeout_is_sent_nothing_more(recovery: MeasuredRecovery) -> None:
    _send(recovery, 20, gap=0.001)
    assert _due(recovery, BEGAN + RTO + 0.0005) == [1]
    now = BEGAN + RTO + 0.07
    again: list[int] = []
    for number in range(1, 21):
        recovery.confirmed([number], now)
        again += _due(recovery, now)
        now += 0.004
    assert again == []


def test_the_first_confirmation_after_a_timeout_restarts_the_wait_of_all(recovery: MeasuredRecovery) -> None:
    _send(recovery, 1)
    assert _due(recovery, BEGAN + RTO) == [1]
    recovery.sent(2, [datagram(2)], BEGAN + RTO + 0.01)
    resumed = BEGAN + 2 * RTO - 0.001
    recovery.confirmed([1], resumed)
    assert _due(recovery, resumed + RTO - 0.001) == []
    assert _due(recovery, resumed + RTO) == [2]


def test_what_was_lost_after_all_is_known_a_moment_later(recovery: MeasuredRecovery) -> None:
    _send(recovery, FIRST_RESENDS + 5)
    assert _due(recovery, BEGAN + RTO) == list(range(1, FIRST_RESENDS + 1))
    confirmed = BEGAN + RTO + ROUND_TRIP
    recovery.confirmed(range(3, FIRST_RESENDS + 1), confirmed)
    rest = [1, 2, *range(FIRST_RESENDS + 1, FIRST_RESENDS + 6)]
    moment = DOUBT * ROUND_TRIP
    assert _due(recovery, confirmed + moment * 0.99) == []
    assert sorted(_due(recovery, confirmed + moment * 1.01)) == rest


def test_it_is_known_when_no_more_confirmations_have_come_for_a_moment(recovery: MeasuredRecovery) -> None:
    _send(recovery, 5, gap=0.001)
    assert _due(recovery, BEGAN + RTO) == [1]
    now = BEGAN + RTO + 0.07
    for number in (1, 2, 3):
        recovery.confirmed([number], now)
        now += DOUBT * ROUND_TRIP * 0.9
        assert _due(recovery, now) == []
    assert _due(recovery, now + DOUBT * ROUND_TRIP) == [4, 5]


def test_what_was_sent_after_the_copy_tells_of_a_loss_at_once(recovery: MeasuredRecovery) -> None:
    _send(recovery, 2)
    assert _due(recovery, BEGAN + RTO) == [1, 2]
    recovery.sent(3, [datagram(3)], BEGAN + RTO + 0.001)
    recovery.confirmed([3], BEGAN + RTO + 0.001 + ROUND_TRIP)
    assert _due(recovery, BEGAN + RTO + 0.001 + ROUND_TRIP) == [1, 2]


def test_when_all_is_confirmed_no_doubt_is_left(recovery: MeasuredRecovery) -> None:
    _send(recovery, 2)
    assert _due(recovery, BEGAN + RTO) == [1, 2]
    recovery.confirmed([1], BEGAN + RTO + ROUND_TRIP)
    recovery.confirmed([2], BEGAN + RTO + ROUND_TRIP)
    assert recovery.deadline() is None
