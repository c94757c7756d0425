"""The sending half, second part: how much room is granted to the first, and when."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packhorse.protocol.congestion import BURST, FLOOR, INITIAL, Controller, DelayController, FixedController, Room
from packhorse.protocol.header import MAX_DATAGRAM
from packhorse.protocol.messages import Grant

from .helpers import A
from .resending import START, Resender

FULL = MAX_DATAGRAM - 4
"""Bytes of data in the largest package."""


class Given:
    """A controller whose decisions are given."""

    def __init__(self, window: float, rate: float) -> None:
        self.window = window
        self.rate = rate
        self.losses: list[tuple[int, int]] = []

    def confirmed(self, count: int, size: int, in_flight: int, round_trip: float | None, now: float) -> None:
        """Change nothing."""

    def lost(self, count: int, size: int, now: float) -> None:
        """Take a note."""
        del now
        self.losses.append((count, size))

    def not_lost(self, count: int, size: int) -> None:
        """Take a note."""
        self.losses.append((-count, -size))


def test_no_number_is_granted_beyond_the_window_above_the_oldest_unconfirmed() -> None:
    resender = Resender(window=8)
    resender.sent(0, 8)
    resender.confirmed(1, 2, 3, 4, 5, 6, 7)
    assert all(grant.limit == 8 for grant in resender.grants())
    resender.confirmed(0)
    assert resender.grants()[-1].limit == 16


@pytest.mark.parametrize("controller", [DelayController, FixedController])
@pytest.mark.parametrize("window", range(1, 10))
def test_whenever_all_room_is_used_and_the_oldest_is_confirmed_there_is_a_grant(
    window: int, controller: Callable[[], Controller]
) -> None:
    """Also after `Redelivery` forgot the peer while a sending was under way: then much of the old grant may be left."""
    for first, room in [(0, window), *((5000, room) for room in range(1, window + 1))]:
        resender = Resender(window=window, controller=controller)
        following, limit = first, first + room
        for _ in range(3 * window):
            while following < limit:
                resender.sent(following)
                following += 1
                limit = max([limit, *(grant.limit for grant in resender.grants())])
            assert limit <= resender.recovery().oldest + window
            resender.now += 0.01
            resender.confirmed(resender.recovery().oldest & 0xFFFFFF)
            resender.run(resender.now + 0.05)
            limit = max([limit, *(grant.limit for grant in resender.grants())])
            assert limit > following, f"Numbering waits for ever: window {window}, room {room}"


@pytest.mark.parametrize("size", [1, 100, FULL])
@pytest.mark.parametrize("round_trip", [0.0, 0.0001, 0.04, 2.0])
def test_whenever_all_bytes_are_used_and_everything_is_confirmed_there_is_a_grant(size: int, round_trip: float) -> None:
    resender = Resender(window=1024)
    following, limit, budget = 0, 1024, INITIAL
    for _ in range(12):
        sent = following
        while following < limit and resender.total[A] + 4 + size <= budget:
            resender.sent(following, size=size)
            following += 1
        assert following > sent, "Numbering waits for ever"
        resender.now += round_trip
        for number in range(sent, following):
            resender.confirmed(number & 0xFFFFFF)
        resender.run(resender.now + 1.0)
        for grant in resender.grants():
            limit, budget = grant.limit, grant.budget


@given(st.integers(MAX_DATAGRAM, 20_000), st.lists(st.sampled_from([5, 68, MAX_DATAGRAM]), max_size=60))
def test_with_nothing_under_way_there_is_room_for_the_largest_package(window: int, sizes: list[int]) -> None:
    """Whatever sizes came before: what has only room for small ones would be stuck for ever."""
    room = Room(1024, Given(window, window / 0.04))
    room.close(0, 0)
    for number, size in enumerate(sizes):
        if room.total + size <= room.budget:
            room.total += size
        else:
            room.more(number, number, 0, number / 1000)
    room.more(len(sizes), len(sizes), 0, 10.0)
    assert room.budget - room.total >= MAX_DATAGRAM
    assert room.limit > len(sizes)


def test_bytes_are_granted_up_to_the_controllers_window_and_counted_from_the_beginning() -> None:
    resender = Resender(controller=lambda: Given(window=20_000, rate=1e12))
    resender.sent(0, 20, size=FULL)
    assert resender.grants()[-1].budget == 20_000
    resender.sent(20, 10, size=FULL)
    resender.run(START + 0.1)
    assert resender.grants() == []
    resender.confirmed(*range(30))
    resender.run(START + 0.2)
    assert resender.grants()[-1].budget == 30 * MAX_DATAGRAM + 20_000


def test_a_grant_is_never_taken_back_when_the_window_shrinks() -> None:
    controller = Given(window=INITIAL, rate=1e12)
    resender = Resender(controller=lambda: controller)
    resender.sent(0, 20, size=FULL)
    controller.window = FLOOR * MAX_DATAGRAM
    resender.confirmed(0)
    resender.run(START + 0.1)
    assert all(grant.budget >= INITIAL for grant in resender.grants())


def test_at_a_low_rate_a_burst_is_granted_at_once_and_the_next_when_its_time_has_passed() -> None:
    rate = 100_000.0
    resender = Resender(controller=lambda: Given(window=1e6, rate=rate))
    resender.sent(0, 32, size=FULL)
    (first,) = resender.grants()
    assert first.budget - INITIAL == BURST
    resender.sent(32, 16, size=FULL)
    assert resender.grants() == []
    resender.run(START + BURST / rate - 0.001)
    assert resender.grants() == []
    resender.run(START + BURST / rate + 0.001)
    (second,) = resender.grants()
    assert second.budget - first.budget == BURST


def test_at_a_high_rate_a_millisecond_is_granted_at_once() -> None:
    rate = 100e6
    resender = Resender(controller=lambda: Given(window=1e6, rate=rate))
    resender.sent(0, 32, size=FULL)
    (grant,) = resender.grants()
    assert grant.budget - INITIAL == pytest.approx(rate / 1000)


def test_room_is_granted_again_when_half_of_it_is_used_and_not_with_every_confirmation() -> None:
    resender = Resender(window=512, controller=lambda: Given(window=1e6, rate=1e6))
    grants: list[Grant] = []
    for number in range(1000):
        resender.sent(number)
        resender.confirmed(number)
        resender.run(resender.now + 0.001)
        grants += resender.grants()
    assert 3 <= len(grants) <= 6


def test_of_several_grants_that_were_not_passed_on_yet_only_the_latest_is() -> None:
    resender = Resender(window=8, controller=lambda: Given(window=1e6, rate=1e6))
    for number in range(8):
        resender.sent(number)
    resender.confirmed(0, 1, 2)
    resender.confirmed(3)
    assert [grant.limit for grant in resender.grants()] == [12]


def test_a_failed_peer_is_granted_nothing() -> None:
    resender = Resender()
    resender.sent(0, 512)
    resender.fail()
    resender.confirmed(*range(168))
    assert resender.grants() == []


def test_a_revived_peer_is_granted_room_above_what_was_given_up() -> None:
    resender = Resender(controller=lambda: Given(window=INITIAL, rate=1e12))
    resender.sent(0, 3, size=FULL)
    resender.fail()
    resender.revive(3)
    (grant,) = resender.grants()
    assert (grant.life, grant.limit) == (2, 512)
    assert grant.budget == 3 * MAX_DATAGRAM + INITIAL - 3 * MAX_DATAGRAM, "what is under way counts"


def test_the_controller_hears_how_many_bytes_were_lost_and_not_lost() -> None:
    controller = Given(1e6, 1e6)
    resender = Resender(controller=lambda: controller)
    for first in range(0, 400, 4):
        resender.sent(first, 4, size=96)
        resender.now += 0.04
        resender.confirmed(*range(first, first + 4))
    resender.sent(400, 4, size=96)
    resender.now += 0.04
    resender.confirmed(401, 402, 403)
    resender.run(resender.now + 0.01)
    assert controller.losses == [(1, 100)]
    resender.confirmed(400)
    assert controller.losses == [(1, 100), (-1, -100)], "sooner than its second copy could be"
