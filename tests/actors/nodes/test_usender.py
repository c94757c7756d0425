"""usender: ids, backlog, and what it tells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from packhorse import FailureReason, OutPackage, Peers, Reliability
from packhorse.actors.admission import Admission
from packhorse.actors.clock import Promise
from packhorse.actors.ends import ErrorEnd
from packhorse.actors.mailbox import Mailbox
from packhorse.actors.messages import FlushAll, Forget
from packhorse.actors.usender import USender
from packhorse.protocol.messages import Datagrams, Dropped, Failed, Flush, Forgotten, Grant, Revive, Sent
from packhorse.protocol.numbering import Numbering
from packhorse.testing import ManualClock

from .one_node import PLENTY, THERE, Bench, Broken, break_handler, datagram, package

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def usender(bench: Callable[..., Bench], clock: ManualClock) -> Bench:
    errors = ErrorEnd(clock)
    made = bench(USender, Numbering(window=3), admission=None, errors=errors)
    made.close()
    made.mailbox = Mailbox("usender", clock)
    made.station.mailbox = made.mailbox
    made.extras["admission"] = Admission(made.mailbox, clock)
    made.start()
    clock.settle()
    return made


def send(bench: Bench, *packages: OutPackage) -> None:
    bench.extras["admission"].send(packages, 0)
    bench.clock.settle()


def test_usender_tells_resender_of_each_run_and_gives_it_to_dsender(usender: Bench, clock: ManualClock) -> None:
    send(usender, package(b"0"), package(b"1"))
    datagrams = [datagram(0, data=b"0"), datagram(1, data=b"1")]
    (sent,) = usender.out("resender")
    assert (sent.target, sent.first, sent.datagrams, sent.time) == (THERE, 0, datagrams, clock.now())
    assert usender.out("dsender") == [Datagrams(THERE, datagrams, mark=1)]
    assert usender.extras["admission"].waiting(THERE) == 0


def test_usender_keeps_what_has_no_room_until_it_is_granted(usender: Bench) -> None:
    send(usender, *[package(b"%d" % number) for number in range(5)])
    (sent,) = usender.out("resender")
    assert len(sent.datagrams) == 3
    assert usender.extras["admission"].waiting(THERE) == 2
    usender.put(Grant(THERE, sent.life, 4, PLENTY))
    (more,) = usender.out("resender")
    assert (more.first, len(more.datagrams)) == (3, 1)
    assert usender.extras["admission"].waiting(THERE) == 1


def test_usender_keeps_what_is_beyond_the_budget_until_it_is_granted(usender: Bench) -> None:
    size = len(datagram(0))
    send(usender, package(b"0"))
    (sent,) = usender.out("resender")
    usender.put(Grant(THERE, sent.life, 10, 2 * size))
    send(usender, package(b"1"), package(b"2"))
    (more,) = usender.out("resender")
    assert (more.first, len(more.datagrams), more.before) == (1, 1, size)
    usender.put(Grant(THERE, sent.life, 10, 3 * size))
    assert [(one.first, one.before) for one in usender.out("resender")] == [(2, 2 * size)]


def test_usender_reports_what_waited_longer_than_its_lifetime(usender: Bench, clock: ManualClock) -> None:
    late = OutPackage(b"late", Reliability.UNORDERED, Peers.PLAYERS, THERE, lifetime=0.3)
    send(usender, *[package(b"%d" % number) for number in range(3)], late)
    clock.advance(0.31)
    failure = usender.extras["errors"].recv(0)
    assert (failure.reason, failure.unconfirmed) == (FailureReason.EXPIRED, (late,))
    assert usender.extras["admission"].waiting(THERE) == 0


def test_unreliable_packages_bypass_the_window(usender: Bench) -> None:
    send(usender, *[package(b"%d" % number, Reliability.UNRELIABLE) for number in range(10)])
    assert usender.out("resender") == []
    assert sum(len(run.datagrams) for run in usender.out("dsender")) == 10


def test_usender_tells_the_gate_how_much_waits_behind_it(usender: Bench) -> None:
    brims: list[int] = []
    for count in (3, 2, 1):
        send(usender, *[package(b"x")] * count)
        brims.append(usender.extras["admission"].brim)
    usender.put(Grant(THERE, 1, 4, PLENTY))
    brims.append(usender.extras["admission"].brim)
    assert [brim - brims[0] for brim in brims] == [0, -2, -3, -2]


def test_usender_hands_over_the_backlog_of_a_failed_peer(usender: Bench) -> None:
    send(usender, *[package(b"%d" % number) for number in range(5)])
    (sent,) = usender.out("resender")
    usender.put(Failed(THERE, sent.life))
    (dropped,) = usender.out("resender")
    assert type(dropped) is Dropped
    assert [one.data for one in dropped.packages] == [b"3", b"4"]
    assert usender.extras["admission"].waiting(THERE) == 0
    send(usender, package(b"again"))
    assert [type(one) for one in usender.out("resender")] == [Revive]


def test_usender_passes_a_flush_on_behind_what_was_sent(usender: Bench, clock: ManualClock) -> None:
    send(usender, package(b"0"))
    promise: Promise[None] = Promise(clock)
    usender.put(FlushAll(promise))
    assert [type(one) for one in usender.out("resender")] == [Sent, Flush]


def test_usender_forgets_a_target(usender: Bench) -> None:
    send(usender, package(b"0"))
    usender.put(Forget(THERE))
    send(usender, package(b"1"))
    first, forgotten, second = usender.out("resender")
    assert type(forgotten) is Forgotten
    assert (first.first, second.first) == (0, 0)
    assert second.life > first.life


def test_usender_ends_when_its_backlog_is_gone(usender: Bench) -> None:
    send(usender, *[package(b"%d" % number) for number in range(4)])
    (sent,) = usender.out("resender")
    usender.cancel()
    usender.clock.settle()
    assert usender.thread.is_alive()
    usender.put(Grant(THERE, sent.life, 10, PLENTY))
    assert usender.ended()


def test_a_package_that_crashes_usender_is_reported_and_leaves_no_hole(
    usender: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison = package(b"poison")
    usender.close()
    send_run = Numbering.send_run

    def broken_run(self: Numbering, items: list[Any], at: int, now: float) -> int:
        if poison in items[at:]:
            raise Broken
        return send_run(self, items, at, now)

    monkeypatch.setattr(Numbering, "send_run", broken_run)
    break_handler(monkeypatch, USender, "_send", poison)
    usender.mailbox = Mailbox("usender", usender.clock)
    usender.station.mailbox = usender.mailbox
    admission = usender.extras["admission"] = Admission(usender.mailbox, usender.clock)
    admission.send([package(b"0"), poison, package(b"1")], 0)
    usender.start()
    death = usender.restart()
    assert (death.poisoned, type(death.cause), death.phase) == (poison, Broken, "run")
    sent = usender.out("resender")
    assert [(one.first, one.datagrams) for one in sent] == [
        (0, [datagram(0, data=b"0")]),
        (1, [datagram(1, data=b"1")]),
    ]
    failure = usender.extras["errors"].recv(0)
    assert (failure.reason, failure.unconfirmed) == (FailureReason.POISONED, (poison,))
    assert admission.waiting(THERE) == 0


@pytest.mark.parametrize("kind", [Grant, Failed, Forget])
def test_what_crashes_usender_and_nothing_heals_is_tried_again(
    usender: Bench, monkeypatch: pytest.MonkeyPatch, kind: type[Any]
) -> None:
    handler = USender.handlers[kind]
    original = getattr(USender, handler)
    crashes: list[None] = []

    def broken(self: Any, item: Any, now: float) -> None:
        if not crashes:
            crashes.append(None)
            raise Broken
        original(self, item, now)

    usender.close()
    monkeypatch.setattr(USender, handler, broken)
    usender.mailbox = Mailbox("usender", usender.clock)
    usender.station.mailbox = usender.mailbox
    usender.extras["admission"] = Admission(usender.mailbox, usender.clock)
    usender.start()
    send(usender, *[package(b"%d" % number) for number in range(5)])
    (sent,) = usender.out("resender")
    messages: dict[Any, Any] = {
        Grant: Grant(THERE, sent.life, 5, PLENTY),
        Failed: Failed(THERE, sent.life),
        Forget: Forget(THERE),
    }
    usender.mailbox.put(messages[kind])
    usender.restart()
    (answer,) = usender.out("resender")
    answers: dict[Any, Any] = {Grant: Sent, Failed: Dropped, Forget: Forgotten}
    assert type(answer) is answers[kind]
