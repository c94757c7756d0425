"""resender: what it sends again, grants and reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from packhorse import FailureReason, Peers, Reliability, ResendPolicy
from packhorse.actors.clock import Promise
from packhorse.actors.ends import ErrorEnd
from packhorse.actors.mailbox import Mailbox
from packhorse.actors.messages import GiveUpAt
from packhorse.actors.resender import Resender
from packhorse.protocol.congestion import BURST, FixedController
from packhorse.protocol.header import MAX_DATAGRAM, pack_header
from packhorse.protocol.messages import Confirmed, Datagrams, Dropped, Failed, Flush, Left, Sent
from packhorse.protocol.redelivery import Redelivery
from packhorse.testing import ManualClock

from .one_node import THERE, Bench, break_handler, datagram, package

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def resender(bench: Callable[..., Bench], clock: ManualClock) -> Bench:
    return bench(Resender, Redelivery(ResendPolicy(), lambda: 0.5, window=4), errors=ErrorEnd(clock))


def sent(first: int, count: int, time: float, life: int = 1) -> Sent:
    datagrams = [datagram(number) for number in range(first, first + count)]
    return Sent(THERE, life, first, datagrams, first * len(datagram(0)), time)


def test_resender_sends_again_what_is_not_confirmed(resender: Bench, clock: ManualClock) -> None:
    resender.put(sent(0, 2, clock.now()))
    assert resender.out("dsender") == []
    resender.put(Confirmed(THERE, [0], clock.now()))
    clock.advance(1.5)
    again = resender.out("dsender")
    assert again == [Datagrams(THERE, [datagram(1)])] * len(again)
    assert resender.counters()["resent"] == len(again) > 0


def test_resender_grants_room_as_confirmations_come(resender: Bench, clock: ManualClock) -> None:
    resender.put(sent(0, 4, clock.now()), Confirmed(THERE, [0, 1, 2], clock.now()))
    grant = resender.out("usender")[-1]
    assert (grant.target, grant.life, grant.limit) == (THERE, 1, 7)
    assert grant.budget >= 7 * len(datagram(0))


def test_resender_sends_again_what_was_overtaken_before_any_timeout(resender: Bench, clock: ManualClock) -> None:
    resender.put(sent(0, 3, clock.now()))
    clock.advance(0.04)
    resender.put(Confirmed(THERE, [2], clock.now()))
    clock.advance(0.002)
    assert resender.out("dsender") == [Datagrams(THERE, [datagram(0), datagram(1)])]


class Paced(FixedController):
    """A controller under which only the pace is in the way: a burst per 10 ms."""

    rate = BURST / 0.010


def test_resender_asks_whether_everything_is_handled_before_a_timeout_counts(
    bench: Callable[..., Bench], clock: ManualClock
) -> None:
    made = bench(Resender, Redelivery(ResendPolicy(), lambda: 0.5, lateness=True), errors=ErrorEnd(clock))
    made.put(sent(0, 1, clock.now()))
    clock.advance(0.3)
    assert made.out("dsender") == []
    made.put(*made.out("dreceiver"), Confirmed(THERE, [0], clock.now()))
    assert made.out("dsender") == [], "what waits behind the answer counts too"
    made.put(sent(1, 1, clock.now()))
    clock.advance(1.0)
    made.put(*made.out("dreceiver"))
    assert made.out("dsender") == [Datagrams(THERE, [datagram(1)])]


def test_resender_hears_what_has_left(bench: Callable[..., Bench], clock: ManualClock) -> None:
    made = bench(Resender, Redelivery(ResendPolicy(), lambda: 0.5, lateness=True), errors=ErrorEnd(clock))
    made.put(msgspec.structs.replace(sent(0, 1, clock.now()), mark=1))
    clock.advance(0.2)
    made.put(Left(1, clock.now()))
    clock.advance(0.2)
    assert made.out("dreceiver") == []
    clock.advance(0.1)
    assert len(made.out("dreceiver")) == 1


def test_resender_grants_more_when_the_pace_allows_it(bench: Callable[..., Bench], clock: ManualClock) -> None:
    made = bench(Resender, Redelivery(ResendPolicy(), lambda: 0.5, controller=Paced), errors=ErrorEnd(clock))
    full = pack_header(Reliability.UNORDERED, Peers.PLAYERS, 0).ljust(MAX_DATAGRAM, b"x")
    made.put(Sent(THERE, 1, 0, [full] * 32, 0, clock.now()))
    (first,) = made.out("usender")
    assert first.budget == 32 * MAX_DATAGRAM + BURST
    made.put(Sent(THERE, 1, 32, [full] * 16, 32 * MAX_DATAGRAM, clock.now()))
    clock.advance(0.009)
    assert made.out("usender") == []
    clock.advance(0.002)
    (second,) = made.out("usender")
    assert second.budget == first.budget + BURST


def test_resender_reports_a_peer_that_stays_silent(resender: Bench, clock: ManualClock) -> None:
    resender.put(sent(0, 1, clock.now()))
    clock.advance(21)
    assert resender.out("usender") == [Failed(THERE, 1)]
    resender.put(Dropped(THERE, 1, [package(b"backlog")]))
    failure = resender.extras["errors"].recv(0)
    assert failure.reason is FailureReason.SILENT
    assert [one.data for one in failure.unconfirmed] == [b"x", b"backlog"]


def test_resender_keeps_a_flush_when_everything_is_confirmed(resender: Bench, clock: ManualClock) -> None:
    promise: Promise[None] = Promise(clock)
    resender.put(sent(0, 2, clock.now()), Flush({THERE: (1, 2)}, promise))
    assert not promise.kept
    resender.put(Confirmed(THERE, [0, 1], clock.now()))
    assert promise.get(0) is None


def test_a_cancelled_resender_goes_on_until_everything_is_confirmed(resender: Bench, clock: ManualClock) -> None:
    resender.put(sent(0, 1, clock.now()))
    resender.cancel()
    clock.advance(1.5)
    assert Datagrams(THERE, [datagram(0)]) in resender.out("dsender")
    resender.put(Confirmed(THERE, [0], clock.now()))
    assert resender.ended()


def test_a_cancelled_resender_gives_up_when_its_time_is_over(resender: Bench, clock: ManualClock) -> None:
    resender.put(sent(0, 1, clock.now()), GiveUpAt(clock.now() + 3))
    resender.cancel()
    clock.advance(2.9)
    assert resender.thread.is_alive()
    clock.advance(0.2)
    assert resender.ended()
    assert resender.extras["errors"].recv(0).reason is FailureReason.CLOSED


def test_a_run_that_crashes_resender_fails_its_peer(
    resender: Bench, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison = sent(1, 2, clock.now())
    resender.close()
    break_handler(monkeypatch, Resender, "_sent", poison)
    resender.mailbox = resender.station.mailbox = Mailbox("resender", clock)
    resender.mailbox.put_all([sent(0, 1, clock.now()), poison])
    resender.start()
    resender.restart()
    assert Failed(THERE, 1) in resender.out("usender")
    resender.put(Dropped(THERE, 1, []))
    failure = resender.extras["errors"].recv(0)
    assert (failure.reason, failure.count) == (FailureReason.POISONED, 3)
