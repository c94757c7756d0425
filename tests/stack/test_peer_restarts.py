"""Whole stacks, one of which is started anew at the same address."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from structlog.testing import LogCapture

import packhorse
from packhorse import FailureReason, OutPackage, PeerFailed, PeerRestarted, Peers, Reliability
from packhorse.testing import ManualClock, MemoryNetwork

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from packhorse import Stack

HERE, THERE = ("10.0.0.1", 1), ("10.0.0.2", 2)
WAIT = 20.0


class Pair:
    """Two stacks on a network in memory."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.network = MemoryNetwork(self.clock)
        self.here, self.there = self.start(HERE), self.start(THERE)

    def start(self, address: tuple[str, int], **options: Any) -> Stack:
        transport = self.network.transport(address)
        return packhorse.startup(clock=self.clock, transport=transport, **options)

    def end(self, stack: Stack) -> None:
        """End a stack; what it has not confirmed by then it never will."""
        stack.supervisor.proxy().close(0.0).get()
        self.clock.advance(0.0)
        stack.close(0)

    def restart(self, **options: Any) -> None:
        """Start the other stack anew."""
        self.end(self.there)
        self.there = self.start(THERE, **options)

    def exchange(self, text: bytes, count: int = 5) -> tuple[list[bytes], list[bytes]]:
        """Send both ways; return what arrived here and there."""
        for number in range(count):
            for stack, target in ((self.here, THERE), (self.there, HERE)):
                data = text + b" %d" % number
                stack.sender.send(OutPackage(data, Reliability.SEMI_ORDERED, Peers.SERVER, target))
        self.clock.advance(3.0)
        here, there = ([got.data for got in stack.receiver.drain()] for stack in (self.here, self.there))
        return here, there


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = Pair()
    yield pair
    for stack in (pair.here, pair.there):
        pair.end(stack)


def test_a_restart_is_reported_once_and_everything_after_it_arrives(pair: Pair) -> None:
    for life in range(4):
        text = b"life %d" % life
        expected = [text + b" %d" % number for number in range(5)]
        here, there = pair.exchange(text)
        assert here == expected
        failures = pair.here.errors.drain()
        reported = [gone.data for failure in failures for gone in failure.unconfirmed]
        assert reported + there == expected, "what was under way when it was noticed is reported"
        assert [type(failure) for failure in failures] == [PeerRestarted] * (life > 0)
        assert [failure.target for failure in failures] == [THERE] * (life > 0)
        assert pair.there.errors.drain() == []
        assert pair.exchange(text + b" again") == ([text + b" again %d" % number for number in range(5)],) * 2
        pair.restart()


@pytest.mark.parametrize("level", [logging.DEBUG, logging.INFO])
def test_a_restart_that_lost_nothing_is_logged_once_and_nothing_as_given_up(pair: Pair, level: int) -> None:
    log = LogCapture()
    wrapper = structlog.make_filtering_bound_logger(level)
    pair.end(pair.here)
    pair.here = pair.start(HERE, logger=structlog.wrap_logger(None, processors=[log], wrapper_class=wrapper))
    for _ in range(2):
        pair.there.send(b"hello", to=HERE)
        pair.clock.advance(3.0)
        pair.restart()
    told = [entry["event"] for entry in log.entries]
    assert ("package:received" in told) is (level == logging.DEBUG)
    assert told.count("peer:restarted") == 1
    assert "package:given_up" not in told
    (failure,) = pair.here.errors.drain()
    assert isinstance(failure, PeerRestarted)
    assert failure.count == 0


def test_what_was_unconfirmed_is_reported_with_it(pair: Pair) -> None:
    pair.exchange(b"before")
    pair.end(pair.there)
    pair.here.send(b"into the void", to=THERE)
    pair.clock.advance(1.0)
    pair.there = pair.start(THERE)
    pair.clock.advance(3.0)
    (failure,) = pair.here.errors.drain()
    assert isinstance(failure, PeerRestarted)
    assert (failure.reason, [gone.data for gone in failure.unconfirmed]) == (
        FailureReason.RESTARTED,
        [b"into the void"],
    )
    assert pair.exchange(b"after")[1] == [b"after %d" % number for number in range(5)]


def test_a_restart_and_a_failure_that_nobody_has_read_become_one_report(pair: Pair) -> None:
    pair.exchange(b"before")
    pair.end(pair.there)
    pair.here.send(b"first", to=THERE)
    pair.clock.advance(25.0)
    pair.there = pair.start(THERE)
    pair.here.send(b"second", to=THERE)
    pair.clock.advance(3.0)
    (failure,) = pair.here.errors.drain()
    assert isinstance(failure, PeerRestarted)
    assert [gone.data for gone in failure.unconfirmed] == [b"first", b"second"]


def test_both_may_be_started_anew(pair: Pair) -> None:
    pair.exchange(b"before")
    pair.end(pair.here)
    pair.here = pair.start(HERE)
    pair.restart()
    expected = [b"after %d" % number for number in range(5)]
    assert pair.exchange(b"after") == (expected, expected)
    assert pair.here.errors.drain() == pair.there.errors.drain() == []


def test_the_extension_may_be_off_on_either_side(pair: Pair) -> None:
    pair.restart(identity=False)
    for text in (b"one", b"two"):
        expected = [text + b" %d" % number for number in range(5)]
        assert pair.exchange(text) == (expected, expected)
    assert pair.here.errors.drain() == pair.there.errors.drain() == []


def test_forgetting_a_peer_by_hand_still_works(pair: Pair) -> None:
    pair.exchange(b"before")
    pair.here.forget(THERE)
    pair.clock.advance(0.0)
    here, there = pair.exchange(b"after")
    assert there == [b"after %d" % number for number in range(5)]
    failures = pair.there.errors.drain()
    reported = [gone.data for failure in failures for gone in failure.unconfirmed]
    assert reported + here == [b"after %d" % number for number in range(5)]
    assert all(failure.reason is FailureReason.FORGOTTEN for failure in failures)
    assert pair.here.errors.drain() == []
    assert pair.exchange(b"later") == ([b"later %d" % number for number in range(5)],) * 2


def test_over_real_sockets_a_restarted_stack_is_heard_at_once(start: Callable[..., Stack]) -> None:
    here, there = start(), start()
    target = there.address
    for life in range(3):
        there.send(b"life %d" % life, to=here.address)
        assert here.receiver.recv(WAIT).data == b"life %d" % life
        here.send(b"to life %d" % life, to=target)
        assert there.receiver.recv(WAIT).data == b"to life %d" % life
        there.sender.flush(WAIT)
        here.sender.flush(WAIT)
        if life:
            failure = here.errors.recv(WAIT)
            assert isinstance(failure, PeerRestarted)
            assert isinstance(failure, PeerFailed)
            assert failure.count == 0
        there.close()
        there = start(port=target[1])
