"""The sending half, second part: sending again, and granting room."""

# pyright: reportPrivateUsage=false
# The reason: it looks into the tables to see what was measured and that nothing stays in them.
from __future__ import annotations

import pytest

from packhorse.protocol import ResendPolicy
from packhorse.protocol.messages import (
    Datagrams,
    Failed,
    Sent,
)
from packhorse.protocol.redelivery import Redelivery
from packhorse.protocol.runs import MAX_RUN

from .helpers import A, B, datagram
from .resending import START, Resender


@pytest.fixture
def resender() -> Resender:
    return Resender()


# Sending again.


def test_what_is_not_confirmed_is_sent_again_unchanged_ever_more_slowly(resender: Resender) -> None:
    resender.sent(0)
    resender.run(START + 4)
    assert [sent for _, sent in resender.resent] == [datagram(0, b"\0")] * 5
    assert [time - START for time, _ in resender.resent] == pytest.approx([0.3, 0.9, 1.9, 2.9, 3.9])
    assert resender.redelivery.resent == 5


def test_the_original_schedule_is_kept_by_its_policy() -> None:
    resender = Resender(ResendPolicy.original())
    resender.sent(0)
    resender.run(START + 30)
    assert [time - START for time, _ in resender.resent] == pytest.approx([0.22, 0.66, 1.54, 3.30, 6.82])
    assert resender.messages() == [Failed(A, 1)]


def test_jitter_is_asked_for_once_per_wait() -> None:
    draws = iter([1.0, 0.0, 0.5])
    redelivery = Redelivery(ResendPolicy.original(), lambda: next(draws))
    redelivery.sent(Sent(A, 1, 0, [datagram(0)], 0, 0.0))
    assert redelivery.deadline() == pytest.approx(0.33)
    redelivery.tick(0.33)
    assert redelivery.deadline() == pytest.approx(0.33 + 0.44)
    redelivery.tick(0.77)
    assert redelivery.deadline() == pytest.approx(0.77 + 0.88 * 1.25)


def test_what_is_confirmed_is_not_sent_again(resender: Resender) -> None:
    resender.sent(0, 3)
    resender.now += 0.1
    resender.confirmed(2, 0)
    assert resender.redelivery.pending == 1
    resender.run(START + 0.15)
    assert [sent for _, sent in resender.resent] == [datagram(1, b"\1")]
    resender.confirmed(1)
    resender.run(START + 5)
    assert len(resender.resent) == 1
    assert resender.redelivery.pending == 0


def test_what_is_sent_again_together_goes_in_order_and_in_pieces(resender: Resender) -> None:
    resender.sent(0, MAX_RUN + 1)
    resender.fail()
    resender.resent.clear()
    resender.revive(MAX_RUN + 1)
    assert [len(run.datagrams) for run in resender.redelivery.to_dsender] == [MAX_RUN, 1]
    resender.collect()
    assert [sent for _, sent in resender.resent] == [
        datagram(number, bytes([number & 0xFF])) for number in range(MAX_RUN + 1)
    ]


def test_an_eager_package_is_sent_in_copies_three_milliseconds_apart(resender: Resender) -> None:
    resender.sent(0, eager=3)
    resender.run(START + 0.29)
    assert [time - START for time, _ in resender.resent] == pytest.approx([0.003, 0.006])
    assert {sent for _, sent in resender.resent} == {datagram(0, b"\0")}


def test_an_eager_package_that_is_confirmed_needs_no_more_copies(resender: Resender) -> None:
    resender.sent(0, eager=8)
    resender.run(START + 0.004)
    resender.confirmed(0)
    resender.run(START + 1)
    assert len(resender.resent) == 1


def test_ids_that_are_not_awaited_are_ignored(resender: Resender) -> None:
    resender.confirmed(0, source=B)
    resender.sent(0, 2)
    resender.confirmed(0, 0, 5, 0xFFFFFF, 0x800000)
    resender.confirmed(0)
    resender.confirmed(1, source=B)
    assert resender.redelivery.pending == 1


def test_ids_are_understood_across_the_wrap(resender: Resender) -> None:
    resender.sent(0xFFFFFE, 4)
    resender.confirmed(0, 0xFFFFFF)
    assert resender.redelivery.pending == 2
    resender.confirmed(1, 0xFFFFFE)
    assert resender.redelivery.pending == 0


def test_targets_have_nothing_to_do_with_each_other(resender: Resender) -> None:
    resender.sent(0, target=A)
    resender.sent(0, target=B, life=2)
    resender.confirmed(0, source=B)
    resender.redelivery.tick(START + 0.3)
    assert resender.redelivery.to_dsender == [Datagrams(A, [datagram(0, b"\0")])]


# Memory.


def test_timers_do_not_pile_up_behind_what_is_confirmed(resender: Resender) -> None:
    for number in range(5000):
        resender.sent(number)
        resender.run(resender.now + 0.01)
        resender.confirmed(number & 0xFFFFFF)
        resender.messages()
    assert len(resender.redelivery._timers) < 100
    assert resender.redelivery._peers[A].recovery.unconfirmed == {}


def test_timers_do_not_pile_up_behind_a_peer_that_is_idle_now_and_then(resender: Resender) -> None:
    for number in range(1000):
        resender.sent(number)
        resender.run(resender.now + 0.05)
        resender.confirmed(number)
        resender.run(resender.now + 0.45)
        resender.messages()
    assert len(resender.redelivery._timers) < 10
    assert len(resender.redelivery._ageing._heap) == 1
