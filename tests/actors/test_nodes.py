"""The seven nodes one by one: real mailboxes around them, and the test in place of their neighbours."""

from __future__ import annotations

import errno
import threading
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from packhorse import (
    ConfirmPolicy,
    FailureReason,
    InPackage,
    OutPackage,
    Peers,
    Reliability,
    ResendPolicy,
)
from packhorse.actors import dreceiver, ureceiver, wiring
from packhorse.actors.admission import Admission
from packhorse.actors.clock import Promise
from packhorse.actors.confirmer import Confirmer
from packhorse.actors.dreceiver import DReceiver
from packhorse.actors.dsender import DSender
from packhorse.actors.ends import CAPACITY, ErrorEnd, PackageEnd
from packhorse.actors.inbox import Inbox
from packhorse.actors.mailbox import Mailbox
from packhorse.actors.messages import Death, FlushAll, Forget, GiveUpAt, Poisoned
from packhorse.actors.node import Node, Station
from packhorse.actors.resender import Resender
from packhorse.actors.sreceiver import SReceiver
from packhorse.actors.ureceiver import UReceiver
from packhorse.actors.usender import USender
from packhorse.protocol.confirmations import Confirmations
from packhorse.protocol.congestion import BURST, FixedController
from packhorse.protocol.header import MAX_DATAGRAM, pack_confirmation, pack_header
from packhorse.protocol.identity import base_of, introduction, unpack_echo
from packhorse.protocol.messages import (
    Confirmed,
    Datagrams,
    Dropped,
    Failed,
    Flush,
    Forgotten,
    Grant,
    Left,
    Listen,
    Received,
    Revive,
    Sent,
    StillHere,
    ToConfirm,
)
from packhorse.protocol.numbering import Numbering
from packhorse.protocol.receiving import Receiving
from packhorse.protocol.redelivery import Redelivery
from packhorse.testing import ManualClock

from .helpers import quiet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = ("10.0.0.1", 1)
THERE = ("10.0.0.2", 2)
PLENTY = 1_000_000
"""A budget, in bytes, that no test here uses up."""


class Wire:
    """A socket that the test holds the other end of."""

    address = ("10.0.0.9", 9)
    receive_buffer = 0
    overflowed = 0
    segmented = 0

    def __init__(self, clock: ManualClock) -> None:
        self.sent: list[tuple[Any, bytes]] = []
        self.arrived: list[Any] = []
        self.refuse: dict[bytes, int] = {}
        self._clock = clock
        self._token = threading.Lock()
        self._token.acquire()

    def send(self, target: Any, datagrams: list[bytes]) -> list[OSError]:
        self.sent += [(target, datagram) for datagram in datagrams if datagram not in self.refuse]
        return [
            OSError(self.refuse[datagram], "refused by the test") for datagram in datagrams if datagram in self.refuse
        ]

    def receive(self) -> Any:
        if not self.arrived:
            return None
        first = self.arrived.pop(0)
        if isinstance(first, OSError):
            raise first
        source, datagram = first
        return source, len(datagram), datagram

    def arrive(self, *datagrams: Any) -> None:
        self.arrived += datagrams
        self.unpark()

    def ready(self) -> bool:
        return bool(self.arrived)

    def park(self, deadline: float | None) -> bool:
        self._clock.rest(self._token, deadline)
        return True

    def unpark(self) -> None:
        self._clock.wake(self._token)

    def close(self) -> None:
        pass


class Bench:
    """One node, started, under a clock that stands still."""

    def __init__(self, node: type[Node[Any]], state: Any = None, **extras: Any) -> None:
        self.clock: ManualClock = extras.pop("clock")
        self.node = node
        self.extras = extras
        self.deaths: list[Death] = []
        name = node.__name__.lower()
        outlets = [target for source, target in (*wiring.CHANNELS, *wiring.STATE) if source == name]
        # The neighbours' mailboxes live by real time: nobody reads them, and the manual clock would wait for that.
        self.outlets = {target: Mailbox(target, ManualClock()) for target in outlets}
        self.mailbox = Mailbox(name, self.clock, parking=extras.get("transport") if name == "dreceiver" else None)
        self.feeds: tuple[Any, ...] = tuple(
            self.outlets[target] for source, target in wiring.HOLDS_BACK if source == name
        )
        if "packages" in extras:
            self.feeds = (*self.feeds, extras["packages"])
        self.station: Station[Any] = Station(
            name=name,
            stack="stack",
            mailbox=self.mailbox,
            state=state,
            feeds=self.feeds,
            outlets=self.outlets,
            clock=self.clock,
            logger=quiet(self.clock).tracer(),
        )
        self.generation = 0
        self.start()

    def start(self) -> None:
        inbox = Inbox(self.mailbox, self.feeds)
        self.node.start(self.station, inbox, self.generation, self._report, **self.extras)
        assert self.station.incarnation is not None
        self.thread = self.station.incarnation.thread

    def _report(self, death: Death) -> None:
        self.deaths.append(death)
        if death.cause is None:
            self.mailbox.close()  # as the supervisor does

    def restart(self) -> Death:
        """Do what the supervisor does when a node has crashed."""
        self.thread.join(20)
        death = self.deaths[-1]
        assert death.cause is not None
        if death.poisoned is not None:
            self.mailbox.put_front([Poisoned(death.poisoned)])
        self.generation += 1
        self.start()
        self.clock.settle()
        return death

    def put(self, *items: Any) -> None:
        self.mailbox.put_all(items)
        self.clock.settle()

    def out(self, name: str) -> list[Any]:
        """Take what the node has put into a neighbour's mailbox."""
        return self.outlets[name].take() or []  # type: ignore[return-value] # there are no envelopes in it

    def counters(self) -> dict[str, int]:
        return {name: count for name, count in self.station.counters.items() if count}

    def cancel(self) -> None:
        self.mailbox.stop()

    def ended(self) -> bool:
        """Whether the node has ended by itself."""
        self.thread.join(20)
        return not self.thread.is_alive() and self.deaths[-1].cause is None

    def close(self) -> None:
        self.mailbox.abort()
        self.thread.join(20)
        self.mailbox.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def bench(clock: ManualClock) -> Iterator[Callable[..., Bench]]:
    benches: list[Bench] = []

    def make(node: type[Node[Any]], state: Any = None, **extras: Any) -> Bench:
        made = Bench(node, state, clock=clock, **extras)
        benches.append(made)
        clock.settle()
        return made

    yield make
    for made in benches:
        made.close()


def package(data: bytes, reliability: Reliability = Reliability.UNORDERED) -> OutPackage:
    return OutPackage(data, reliability, Peers.PLAYERS, THERE)


def datagram(number: int, reliability: Reliability = Reliability.UNORDERED, data: bytes = b"x") -> bytes:
    return pack_header(reliability, Peers.PLAYERS, number) + data


def received(*datagrams: bytes, time: float = 1000.0) -> Received:
    return Received(THERE, len(datagrams[0]), b"".join(datagrams), time)


class Broken(Exception):  # noqa: N818 - the state is the message
    """What the tests make handlers raise."""


def break_handler(monkeypatch: pytest.MonkeyPatch, node: type[Node[Any]], handler: str, over: Any) -> None:
    original = getattr(node, handler)

    def broken(self: Any, item: Any, now: float) -> None:
        if item == over:
            raise Broken
        original(self, item, now)

    monkeypatch.setattr(node, handler, broken)


# usender.


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


# resender.


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


# dsender.


@pytest.fixture
def wire(clock: ManualClock) -> Wire:
    return Wire(clock)


def test_dsender_sends_in_order(bench: Callable[..., Bench], wire: Wire) -> None:
    node = bench(DSender, transport=wire)
    node.put(Datagrams(HERE, [b"1", b"2"]), Datagrams(THERE, [b"3"]))
    assert wire.sent == [(HERE, b"1"), (HERE, b"2"), (THERE, b"3")]
    assert node.counters() == {"datagrams": 3}


@pytest.mark.parametrize("code", ["EPERM", "EACCES", "EINVAL", "EMSGSIZE", "ENETUNREACH"])
def test_a_datagram_the_system_refuses_is_counted_and_stops_nothing(
    bench: Callable[..., Bench], wire: Wire, code: str
) -> None:
    node = bench(DSender, transport=wire)
    wire.refuse[b"2"] = getattr(errno, code)
    node.put(Datagrams(HERE, [b"1", b"2", b"3"]), Datagrams(THERE, [b"2", b"4"]))
    assert [what for _, what in wire.sent] == [b"1", b"3", b"4"]
    assert node.counters() == {"datagrams": 3, "refused": 2, f"refused.{code}": 2}
    assert node.deaths == []


def test_dsender_tells_resender_what_leaves_before_it_does(bench: Callable[..., Bench], wire: Wire) -> None:
    made = bench(DSender, transport=wire)
    made.put(Datagrams(THERE, [b"1"], mark=7), Datagrams(THERE, [b"2"]))
    (left,) = made.out("resender")
    assert left == Left(7, made.clock.now())


def test_a_cancelled_dsender_sends_what_it_holds(bench: Callable[..., Bench], wire: Wire) -> None:
    node = bench(DSender, transport=wire)
    node.mailbox.put_all([Datagrams(HERE, [b"%d" % number]) for number in range(600)])
    node.cancel()
    assert node.ended()
    assert len(wire.sent) == 600


# dreceiver.


def test_dreceiver_tells_packages_from_control_datagrams(
    bench: Callable[..., Bench], wire: Wire, clock: ManualClock
) -> None:
    node = bench(DReceiver, transport=wire)
    wire.arrive((THERE, datagram(1)), (THERE, pack_confirmation([7])), (HERE, datagram(2)))
    clock.settle()
    assert [(one.source, one.buffer) for one in node.out("ureceiver")] == [(THERE, datagram(1)), (HERE, datagram(2))]
    assert [(one.source, one.buffer) for one in node.out("sreceiver")] == [(THERE, pack_confirmation([7]))]
    assert node.counters() == {"datagrams": 3}


@pytest.mark.parametrize(
    ("source", "bad", "trigger"),
    [
        (THERE, b"", "invalid"),
        (THERE, b"\x20\x00\x00", "invalid"),
        (THERE, datagram(0, data=bytes(505)), "invalid"),
        (THERE, b"\x60\x00\x00\x01x", "invalid"),
        (THERE, b"\x70\x00\x00\x01x", "invalid"),
        (THERE, b"\x83\x00\x00\x00\x00\x00\x01", "invalid"),
        (THERE, b"\xff" * 20, "invalid"),
        (("10.0.0.2", 0), datagram(0), "port_zero"),
        (("10.0.0.2", 0), pack_confirmation([0]), "port_zero"),
    ],
    ids=[
        "empty",
        "short",
        "oversized",
        "reserved",
        "reserved-server",
        "control-bits",
        "ones",
        "port0",
        "port0-control",
    ],
)
def test_dreceiver_drops_and_counts_what_is_no_datagram_of_ours(  # noqa: PLR0917 - fixtures
    bench: Callable[..., Bench], wire: Wire, clock: ManualClock, source: Any, bad: bytes, trigger: str
) -> None:
    node = bench(DReceiver, transport=wire)
    wire.arrive((source, bad), (THERE, datagram(5)))
    clock.settle()
    assert [one.buffer for one in node.out("ureceiver")] == [datagram(5)]
    assert node.out("sreceiver") == []
    assert node.counters() == {"datagrams": 1, "dropped": 1, f"dropped.{trigger}": 1}


def test_the_largest_datagram_and_an_empty_package_are_accepted(
    bench: Callable[..., Bench], wire: Wire, clock: ManualClock
) -> None:
    node = bench(DReceiver, transport=wire)
    wire.arrive((THERE, datagram(0, data=bytes(504))), (THERE, datagram(1, data=b"")))
    clock.settle()
    assert len(node.out("ureceiver")) == 2


def test_dreceiver_survives_what_the_system_reports(
    bench: Callable[..., Bench], wire: Wire, clock: ManualClock
) -> None:
    node = bench(DReceiver, transport=wire)
    wire.arrive(OSError(errno.ECONNREFUSED, "refused"), (THERE, datagram(0)))
    clock.settle()
    assert len(node.out("ureceiver")) == 1
    assert node.counters()["dropped.receive_failed"] == 1


def test_dreceiver_drops_packages_but_no_control_datagrams_when_ureceiver_is_far_behind(
    bench: Callable[..., Bench], wire: Wire, clock: ManualClock
) -> None:
    node = bench(DReceiver, transport=wire)
    room = dreceiver.ROOM
    node.outlets["ureceiver"].put(received(*[datagram(0)] * (room - 1)))
    node.outlets["ureceiver"].weight_put += room - 1
    wire.arrive((THERE, datagram(1)), (THERE, datagram(2)), (THERE, pack_confirmation([1])))
    clock.settle()
    assert sum(one.count for one in node.out("ureceiver")) == room
    assert len(node.outlets["sreceiver"]) == 1
    assert node.counters()["dropped.no_room"] == 1


def test_a_stop_reaches_dreceiver_while_it_waits_for_the_socket(bench: Callable[..., Bench], wire: Wire) -> None:
    node = bench(DReceiver, transport=wire)
    node.cancel()
    assert node.ended()


# ureceiver.


@pytest.fixture
def receiver(bench: Callable[..., Bench], clock: ManualClock) -> Bench:
    return bench(UReceiver, Receiving(), packages=PackageEnd(clock), policy=ConfirmPolicy())


def test_ureceiver_delivers_each_package_once_and_has_all_confirmed(receiver: Bench) -> None:
    receiver.put(received(datagram(0)), received(datagram(0)), received(datagram(1, Reliability.SEMI_ORDERED)))
    assert len(receiver.extras["packages"].drain()) == 2
    assert [wire_id for one in receiver.out("confirmer") for wire_id in one.ids] == [0, 0, 1]
    assert receiver.counters() == {"duplicates": 1}


def test_ureceiver_hands_a_package_over_before_confirmer_hears_of_it(
    receiver: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    end: PackageEnd = receiver.extras["packages"]
    confirmer = receiver.outlets["confirmer"]
    put_packages, put_ids = end.put_all, confirmer.put_softly

    def to_user(items: list[Any]) -> None:
        order.append("user")
        put_packages(items)

    def to_confirmer(items: list[Any]) -> None:
        if items:
            order.append("confirmer")
        put_ids(items)

    monkeypatch.setattr(end, "put_all", to_user)
    monkeypatch.setattr(confirmer, "put_softly", to_confirmer)
    receiver.put(received(datagram(0)))
    assert order == ["user", "confirmer"]


def test_ureceiver_tells_usender_of_a_restart_before_the_user_can_answer_who_was_restarted(
    bench: Callable[..., Bench], clock: ManualClock
) -> None:
    end = PackageEnd(clock)
    receiver = bench(UReceiver, Receiving(identity=7), packages=end, policy=ConfirmPolicy())
    known: list[tuple[int, list[Any]]] = []
    put = end.put_all

    def to_user(packages: list[Any]) -> None:
        known.append((len(packages), [one.target for one in receiver.out("usender")]))
        put(packages)

    end.put_all = to_user  # type: ignore[assignment,method-assign] # to see what is known by then
    for identity in (1 << 40, 2 << 40):
        receiver.put(received(introduction(identity, 0x10, 8)))
        hint, _, by = unpack_echo(receiver.out("confirmer")[-1].echo)
        base = base_of(identity, 0x10, by)
        receiver.put(received(pack_header(Reliability.UNORDERED, Peers.PLAYERS, base, hint) + b"x"))
    assert known == [(1, []), (1, [THERE])]


def test_ureceiver_takes_nothing_while_the_user_is_behind_and_then_says_that_it_lives(
    receiver: Bench, clock: ManualClock
) -> None:
    end: PackageEnd = receiver.extras["packages"]
    old = InPackage(b"old", Reliability.UNORDERED, Peers.PLAYERS, HERE, 0.0)
    end.put_all([old] * (CAPACITY + 1))
    receiver.mailbox.wake()
    receiver.put(received(datagram(0)))
    clock.advance(ureceiver.STILL_HERE - 0.01)
    assert receiver.out("confirmer") == []
    clock.advance(0.02)
    assert receiver.out("confirmer") == [StillHere([THERE])]
    clock.advance(ureceiver.STILL_HERE)
    assert receiver.out("confirmer") == [StillHere([THERE])]
    assert len(end.drain()) == CAPACITY + 1
    clock.settle()
    assert [one.data for one in end.drain()] == [b"x"]
    assert [type(one) for one in receiver.out("confirmer")] == [ToConfirm]
    clock.advance(10 * ureceiver.STILL_HERE)
    assert receiver.out("confirmer") == []


def test_what_comes_after_the_user_closed_the_receiver_is_not_confirmed(receiver: Bench) -> None:
    receiver.extras["packages"].close()
    receiver.put(received(datagram(0)))
    assert receiver.out("confirmer") == []


def test_a_cancelled_ureceiver_ends_though_the_user_is_behind(receiver: Bench, clock: ManualClock) -> None:
    end: PackageEnd = receiver.extras["packages"]
    end.put_all([InPackage(b"old", Reliability.UNORDERED, Peers.PLAYERS, HERE, 0.0)] * (CAPACITY + 1))
    receiver.cancel()
    assert receiver.ended()


def test_a_datagram_that_crashes_ureceiver_is_dropped_unconfirmed(
    receiver: Bench, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison = received(datagram(1))
    receiver.close()
    break_handler(monkeypatch, UReceiver, "_received", poison)
    receiver.mailbox = receiver.station.mailbox = Mailbox("ureceiver", clock)
    receiver.mailbox.put_all([received(datagram(0)), poison, received(datagram(2))])
    receiver.start()
    receiver.restart()
    assert [wire_id for one in receiver.out("confirmer") for wire_id in one.ids] == [0, 2]
    assert len(receiver.extras["packages"].drain()) == 2
    assert receiver.counters()["poisoned"] == 1


# sreceiver and confirmer.


def test_sreceiver_reads_confirmations_as_they_came(bench: Callable[..., Bench]) -> None:
    node = bench(SReceiver)
    node.put(received(pack_confirmation([3, 1]), time=5.0), received(pack_confirmation([]) + b"\x00\x00", time=6.0))
    assert node.out("resender") == [Confirmed(THERE, [3, 1], 5.0), Confirmed(THERE, [], 6.0)]


def test_what_was_read_before_a_crash_is_passed_on(
    bench: Callable[..., Bench], clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison = received(pack_confirmation([2]))
    break_handler(monkeypatch, SReceiver, "_received", poison)
    node = bench(SReceiver)
    node.close()
    node.mailbox = node.station.mailbox = Mailbox("sreceiver", clock)
    node.mailbox.put_all([received(pack_confirmation([1])), poison, received(pack_confirmation([3]))])
    node.start()
    node.restart()
    assert [one.ids for one in node.out("resender")] == [[1], [3]]


def test_sreceiver_passes_a_question_on_in_its_place(bench: Callable[..., Bench]) -> None:
    made = bench(SReceiver)
    made.put(received(pack_confirmation([1])), Listen(1.0), received(pack_confirmation([2])))
    assert [type(item) for item in made.out("resender")] == [Confirmed, Listen, Confirmed]


def test_sreceiver_ends_at_once(bench: Callable[..., Bench]) -> None:
    node = bench(SReceiver)
    node.cancel()
    assert node.ended()


def test_confirmer_waits_a_little_and_confirms_together(bench: Callable[..., Bench], clock: ManualClock) -> None:
    node = bench(Confirmer, Confirmations(ConfirmPolicy(delay=0.005, count=32)))
    node.put(ToConfirm(THERE, [1], False, clock.now()), ToConfirm(THERE, [2], False, clock.now()))
    assert node.out("dsender") == []
    clock.advance(0.006)
    assert node.out("dsender") == [Datagrams(THERE, [pack_confirmation([1, 2])])]
    assert node.counters() == {"confirmed": 2}


def test_confirmer_does_not_wait_with_what_is_urgent(bench: Callable[..., Bench], clock: ManualClock) -> None:
    node = bench(Confirmer, Confirmations(ConfirmPolicy()))
    node.put(ToConfirm(THERE, [1], True, clock.now()))
    assert node.out("dsender") == [Datagrams(THERE, [pack_confirmation([1])])]


def test_confirmer_tells_that_we_live(bench: Callable[..., Bench]) -> None:
    node = bench(Confirmer, Confirmations(ConfirmPolicy()))
    node.put(StillHere([THERE]))
    assert node.out("dsender") == [Datagrams(THERE, [bytes.fromhex("80000000")])]


def test_a_cancelled_confirmer_confirms_all_it_knows_of(bench: Callable[..., Bench], clock: ManualClock) -> None:
    node = bench(Confirmer, Confirmations(ConfirmPolicy(delay=0.1)))
    node.put(ToConfirm(THERE, [1], False, clock.now()), ToConfirm(HERE, [2], False, clock.now()))
    node.cancel()
    assert node.ended()
    assert node.out("dsender") == [
        Datagrams(THERE, [pack_confirmation([1])]),
        Datagrams(HERE, [pack_confirmation([2])]),
    ]


# All of them.


def test_a_message_no_node_expects_is_counted_and_dropped(bench: Callable[..., Bench], wire: Wire) -> None:
    node = bench(DSender, transport=wire)
    node.put("nonsense", Datagrams(HERE, [b"1"]))
    assert node.counters() == {"unexpected": 1, "datagrams": 1}


def test_a_sealed_incarnation_passes_nothing_on(bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    """A hung node may wake up when its successor is at work already."""
    entered, go_on = threading.Event(), threading.Event()
    original = SReceiver._received

    def hang(self: SReceiver, item: Received, now: float) -> None:
        entered.set()
        assert go_on.wait(20)
        original(self, item, now)

    monkeypatch.setattr(SReceiver, "_received", hang)
    node = bench(SReceiver)
    node.mailbox.put(received(pack_confirmation([1])))
    assert entered.wait(20)
    assert node.station.incarnation is not None
    node.station.incarnation._inbox.sealed = True
    go_on.set()
    node.thread.join(20)
    assert node.out("resender") == []


def test_a_death_is_reported_once_whatever_it_is_of(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: Any, *_: Any) -> None:
        raise Broken

    def leaves(self: Any, *_: Any) -> None:
        raise SystemExit

    for hook, error, cause, phase in (
        ("on_start", fails, Broken, "start"),
        ("on_start", leaves, SystemExit, "start"),
        ("_received", fails, Broken, "run"),
        ("_received", leaves, SystemExit, "run"),
        ("on_stop", fails, Broken, "stop"),
        ("on_stop", leaves, SystemExit, "stop"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(SReceiver, hook, error)
            node = Bench(SReceiver, clock=ManualClock())
            node.mailbox.put(received(pack_confirmation([1])))
            node.cancel()
            node.thread.join(20)
            assert [(type(death.cause), death.phase) for death in node.deaths] == [(cause, phase)]
