"""More peers than a stack may know: who is turned away, and what the user sees of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import packhorse
from packhorse import Peers, Reliability
from packhorse.protocol.header import pack_header
from packhorse.protocol.sources import TOO_OLD
from packhorse.testing import ManualClock, MemoryNetwork

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = ("10.0.0.1", 1)


def datagram(number: int, data: bytes) -> bytes:
    return pack_header(Reliability.SEMI_ORDERED, Peers.PLAYERS, number) + data


def test_a_stack_takes_no_more_peers_than_it_may_know_until_one_of_them_is_idle() -> None:
    clock = ManualClock()
    network = MemoryNetwork(clock)
    with packhorse.startup(clock=clock, transport=network.transport(HERE), max_peers=2) as stack:
        busy, idle, stranger = (network.peer((f"10.0.0.{number}", 5)) for number in (2, 3, 4))
        busy.send(HERE, datagram(0, b"busy"))
        idle.send(HERE, datagram(0, b"idle"))
        stranger.send(HERE, datagram(0, b"stranger"))
        clock.advance(0.1)
        assert sorted(package.data for package in stack.receiver.drain()) == [b"busy", b"idle"]
        assert stranger.arrivals == [], "what is not taken is not confirmed"
        clock.advance(TOO_OLD - 1)
        busy.send(HERE, datagram(1, b"busy"))
        clock.advance(1)
        stranger.send(HERE, datagram(0, b"stranger"))
        busy.send(HERE, datagram(2, b"busy"))
        clock.advance(0.1)
        assert [package.data for package in stack.receiver.drain()] == [b"busy", b"stranger", b"busy"]
        assert len(stranger.arrivals) == 1
        counters = stack.counters()
        assert (counters["ureceiver.evicted"], counters["ureceiver.turned_away"]) == (1, 1)


def test_whom_a_stack_sends_to_need_not_be_known_as_a_source() -> None:
    clock = ManualClock()
    network = MemoryNetwork(clock)
    with packhorse.startup(clock=clock, transport=network.transport(HERE), max_peers=1) as stack:
        first, second = (network.peer((f"10.0.0.{number}", 5)) for number in (2, 3))
        first.send(HERE, datagram(0, b"first"))
        stack.send(b"to second", to=second.address)
        clock.advance(0.1)
        second.send(HERE, bytes.fromhex("80000000 000000"))
        clock.advance(25.0)
        assert stack.errors.drain() == []


@pytest.mark.parametrize(("wrong", "error"), [(0, ValueError), (-1, ValueError), (2.5, TypeError), (True, TypeError)])
def test_a_wrong_limit_is_refused_with_what_would_be_right(
    start: Callable[..., packhorse.Stack], wrong: Any, error: type[Exception]
) -> None:
    with pytest.raises(error, match="max_peers is"):
        start(max_peers=wrong)
