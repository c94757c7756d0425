"""Crashes with nothing handled in between: fresh state for the peer, fresh state altogether, giving up, a new stack."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pykka
import pytest
from pykka.messages import ProxyCall

import packhorse
from packhorse import (
    ChildSpec,
    FailureReason,
    OutPackage,
    PeerFailed,
    Peers,
    Reliability,
    StackFailed,
    StackSupervisor,
    Supervisor,
)
from packhorse.actors import Status
from packhorse.actors.confirmer import Confirmer
from packhorse.actors.stack_supervisor import FRESH_PEER, FRESH_STATE
from packhorse.testing import ManualClock, MemoryNetwork

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from packhorse import Address, Stack
    from packhorse.testing import ScriptedPeer

HERE, ONE, OTHER = ("10.0.0.1", 1), ("10.0.0.2", 2), ("10.0.0.3", 3)
WAIT = 20.0
CRASH = ProxyCall(attr_path=("counters",), args=("too", "many"), kwargs={})


class Bug(Exception):  # noqa: N818 - the word for it
    """What a test puts into a node."""


class Field:
    """A stack that sends to two others, under a clock that stands still."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.network = MemoryNetwork(self.clock)
        self.stack, self.one, self.other = (self.start(address) for address in (HERE, ONE, OTHER))
        self.sent: dict[Address, list[bytes]] = {ONE: [], OTHER: []}
        self.got: dict[Address, list[bytes]] = {ONE: [], OTHER: []}
        self.failures: list[PeerFailed] = []

    def start(self, address: Address) -> Stack:
        return packhorse.startup(clock=self.clock, transport=self.network.transport(address), random=lambda: 0.5)

    def send(self, to: Address, count: int = 1) -> None:
        for _ in range(count):
            data = b"%d" % len(self.sent[to])
            self.sent[to].append(data)
            self.stack.send(data, to=to, reliability=Reliability.SEMI_ORDERED)

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.got[ONE] += [package.data for package in self.one.receiver.drain()]
        self.got[OTHER] += [package.data for package in self.other.receiver.drain()]
        self.failures += self.stack.errors.drain()

    def reported(self, address: Address) -> list[bytes]:
        return [
            package.data for failure in self.failures if failure.target == address for package in failure.unconfirmed
        ]

    def accounted(self, address: Address) -> bool:
        """Whether each package was delivered once and in order, or was reported."""
        got = [int(data) for data in self.got[address]]
        assert got == sorted(set(got))
        return {*self.got[address], *self.reported(address)} == set(self.sent[address])

    def state(self, name: str, stack: Stack | None = None) -> Any:
        node: Any = (stack or self.stack)._core.nodes[name]._actor_weakref()
        return node._station.state

    def restarts(self, name: str, stack: Stack | None = None) -> int:
        return (stack or self.stack).counters()[f"{name}.restarts"]

    def close(self) -> None:
        for stack in (self.stack, self.one, self.other):
            closing = threading.Thread(target=stack.close, kwargs={"timeout": 0})
            closing.start()
            while closing.is_alive():
                self.clock.advance(0.5)
                closing.join(0.001)


@pytest.fixture
def field() -> Iterator[Field]:
    made = Field()
    yield made
    made.close()


# Fresh state for the peer concerned.


def test_a_broken_peer_in_the_resender_is_made_anew_and_the_others_notice_nothing(field: Field) -> None:
    field.send(ONE, 20)
    field.send(OTHER, 20)
    field.advance(1.0)
    field.state("resender")._peers[ONE].recovery.in_flight = None
    field.send(ONE)
    field.advance(3.0)
    assert field.restarts("resender") >= FRESH_PEER
    assert field.reported(OTHER) == []
    assert field.accounted(ONE)
    before = field.restarts("resender")
    for address in (ONE, OTHER):
        field.send(address, 50)
    field.advance(10.0)
    assert field.restarts("resender") == before
    assert field.got[OTHER] == field.sent[OTHER]
    assert field.got[ONE] == field.sent[ONE]  # what was reported went first when the user sent again
    assert field.accounted(ONE)


def test_a_peer_that_is_made_anew_is_reported(field: Field) -> None:
    deaf = field.network.peer(("10.0.0.9", 9))
    field.sent[deaf.address] = []
    field.send(deaf.address, 3)
    field.advance(0.05)
    field.state("resender")._peers[deaf.address].recovery.in_flight = None
    field.send(deaf.address)
    field.advance(3.0)
    assert [failure.reason for failure in field.failures] == [FailureReason.POISONED]
    assert field.reported(deaf.address) == field.sent[deaf.address]


def test_a_broken_target_in_the_usender_is_made_anew_and_its_numbers_go_on(field: Field) -> None:
    field.send(ONE, 20)
    field.advance(1.0)
    field.state("usender")._targets[ONE].backlog = None
    field.send(ONE, 5)
    field.send(OTHER, 5)
    field.advance(3.0)
    field.send(ONE, 20)
    field.advance(5.0)
    assert field.got[OTHER] == field.sent[OTHER]
    assert field.accounted(ONE)
    assert field.got[ONE][-20:] == field.sent[ONE][-20:]


def test_a_broken_source_in_the_ureceiver_is_made_anew_and_nothing_comes_twice(field: Field) -> None:
    field.send(ONE, 20)
    field.advance(1.0)
    field.state("ureceiver", field.one)._sources[HERE].kept_order = None
    field.state("ureceiver", field.one)._sources[HERE].kept = None
    field.send(ONE, 20)
    field.advance(30.0)
    assert field.accounted(ONE)


# Fresh state altogether.


def test_a_broken_resender_is_made_anew_altogether_and_reports_everything(field: Field) -> None:
    field.send(ONE, 20)
    field.send(OTHER, 20)
    field.advance(1.0)
    deaf = field.network.peer(("10.0.0.9", 9))
    field.sent[deaf.address] = []
    field.send(deaf.address, 3)
    field.advance(0.05)
    field.state("resender")._timers = [None]
    field.advance(10.0)
    assert field.restarts("resender") >= FRESH_STATE
    assert field.reported(deaf.address) == [b"0", b"1", b"2"]
    for address in (ONE, OTHER):
        field.send(address, 20)
    field.advance(5.0)
    assert field.accounted(ONE)
    assert field.accounted(OTHER)
    for address in (ONE, OTHER):
        assert field.got[address] == field.sent[address]


def test_a_broken_confirmer_is_made_anew_and_resends_heal_it(field: Field) -> None:
    field.state("confirmer", field.one)._waiting = None
    field.send(ONE, 20)
    field.advance(15.0)
    assert field.restarts("confirmer", field.one) >= FRESH_PEER
    assert field.got[ONE] == field.sent[ONE]
    assert field.failures == []


# Giving up.


def test_a_state_of_which_not_even_the_facts_can_be_read_ends_the_stack(field: Field) -> None:
    field.send(ONE, 2)
    field.advance(1.0)
    field.state("resender")._peers = None
    field.send(ONE)
    field.advance(10.0)
    for call in (lambda: field.stack.receiver.recv(0), lambda: field.stack.errors.recv(0), field.stack.sender.flush):
        with pytest.raises(StackFailed):
            call()


def test_crashes_with_something_handled_in_between_never_end_the_stack(field: Field) -> None:
    node = field.stack.sender.proxy.actor_ref
    for _ in range(100):
        node.tell(CRASH)
        field.send(ONE)
        field.advance(0.5)
    field.advance(5.0)
    assert field.restarts("usender") == 100
    assert field.got[ONE] == field.sent[ONE]
    assert field.failures == []


def test_crashes_far_apart_never_end_the_stack(field: Field) -> None:
    node = field.stack.sender.proxy.actor_ref
    for _ in range(50):
        node.tell(CRASH)
        field.clock.advance(2.5)
    assert field.restarts("usender") == 50
    field.send(ONE)
    field.advance(1.0)
    assert field.got[ONE] == field.sent[ONE]


# A supervisor above.


def port_of(ref: pykka.ActorRef[Any]) -> int:
    address: Address = ref.proxy().address.get(timeout=WAIT)
    return address[1]


def fail(ref: pykka.ActorRef[Any], monkeypatch: pytest.MonkeyPatch, until: Callable[[], bool]) -> None:
    """Break the stack until its supervisor has given up; a new one is whole."""
    broken = Confirmer.on_start
    failed = threading.Event()

    def on_start(self: Confirmer) -> None:
        if until():
            failed.set()
            broken(self)
        else:
            raise Bug

    monkeypatch.setattr(Confirmer, "on_start", on_start)
    ref.proxy().node("confirmer").get(timeout=WAIT).actor_ref.tell(CRASH)
    assert failed.wait(WAIT)


def test_a_supervisor_above_starts_a_new_stack_on_the_same_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("packhorse.actors.supervisor.FIRST_BACKOFF", 0.0001)
    monkeypatch.setattr("packhorse.actors.supervisor.LONGEST_BACKOFF", 0.001)
    with packhorse.startup(host="127.0.0.1") as probe:
        port = probe.address[1]
    spec = ChildSpec("stack", partial(StackSupervisor, port, "127.0.0.1"), shutdown=None)
    above = Supervisor.start([spec])
    thread = above.proxy().thread.get(timeout=WAIT)
    ref = above.proxy().child("stack").get(timeout=WAIT)
    sender, receiver, errors = (
        getattr(ref.proxy(), end)().get(timeout=WAIT) for end in ("sender", "receiver", "errors")
    )
    blocked: dict[str, BaseException] = {}

    def wait_for(name: str, call: Callable[[], Any]) -> None:
        try:
            call()
        except StackFailed as error:
            blocked[name] = error

    waiting = [
        threading.Thread(target=wait_for, args=(name, call))
        for name, call in (("recv", receiver.recv), ("errors", errors.recv))
    ]
    for one in waiting:
        one.start()
    fail(ref, monkeypatch, lambda: len(blocked) == 2)
    for one in waiting:
        one.join(WAIT)
    assert {name: type(error.__cause__) for name, error in blocked.items()} == {"recv": Bug, "errors": Bug}
    with pytest.raises(StackFailed):
        sender.send(OutPackage(b"x", Reliability.UNORDERED, Peers.PLAYERS, ("127.0.0.1", port)))

    assert port_of(ref) == port
    info = above.proxy().which_children().get(timeout=WAIT)[0]
    assert info.restarts == 1
    assert info.last_death is not None
    assert isinstance(info.last_death.cause, StackFailed)
    assert isinstance(info.last_death.cause.__cause__, Bug)
    sender, receiver = ref.proxy().sender().get(timeout=WAIT), ref.proxy().receiver().get(timeout=WAIT)
    sender.send(OutPackage(b"new life", Reliability.UNORDERED, Peers.PLAYERS, ("127.0.0.1", port)))
    assert receiver.recv(WAIT).data == b"new life"
    assert above.stop(timeout=WAIT) is True
    thread.join(WAIT)
    assert pykka.ActorRegistry.get_all() == []


def test_closing_the_handles_of_a_stack_that_failed_does_not_close_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ManualClock()
    network = MemoryNetwork(clock)
    broken = [True]
    original = Confirmer.on_start

    def on_start(self: Confirmer) -> None:
        if broken[0] and self._generation:
            raise Bug
        original(self)

    monkeypatch.setattr(Confirmer, "on_start", on_start)
    spec = ChildSpec("stack", lambda: StackSupervisor(clock=clock, transport=network.transport(HERE)), shutdown=None)
    above = Supervisor.start([spec], clock=clock)
    thread = above.proxy().thread.get(timeout=WAIT)
    ref = above.proxy().child("stack").get(timeout=WAIT)
    old = [getattr(ref.proxy(), end)().get(timeout=WAIT) for end in ("sender", "receiver", "errors")]
    ref.proxy().node("confirmer").get(timeout=WAIT).actor_ref.tell(CRASH)
    clock.advance(10.0)
    broken[0] = False
    clock.advance(10.0)
    for handle in old:
        handle.close()
    clock.advance(10.0)
    info = above.proxy().which_children().get(timeout=WAIT)[0]
    assert (info.status, info.restarts) == (Status.RUNNING, 1)
    peer: ScriptedPeer = network.peer(ONE)
    ref.proxy().sender().get(timeout=WAIT).send(OutPackage(b"x", Reliability.UNRELIABLE, Peers.PLAYERS, ONE))
    clock.advance(1.0)
    assert [arrival.datagram[4:] for arrival in peer.arrivals] == [b"x"]
    above.stop(block=False)
    while thread.is_alive():
        clock.advance(0.5)
        thread.join(0.001)


def test_a_stack_whose_user_closed_it_is_an_orderly_end_for_a_supervisor_above() -> None:
    spec = ChildSpec("stack", partial(StackSupervisor, 0, "127.0.0.1"), restart="transient", shutdown=None)
    above = Supervisor.start([spec])
    thread = above.proxy().thread.get(timeout=WAIT)
    ref = above.proxy().child("stack").get(timeout=WAIT)
    ended = ref.proxy().core().get(timeout=WAIT).ended
    for end in ("sender", "receiver", "errors"):
        getattr(ref.proxy(), end)().get(timeout=WAIT).close()
    ended.get(WAIT)
    while ref.is_alive():
        thread.join(0.001)
    assert above.proxy().which_children().get(timeout=WAIT)[0].status is Status.ENDED
    above.stop(timeout=WAIT)
    thread.join(WAIT)


def test_the_nodes_of_a_stack_can_be_looked_at_but_not_taken_away(field: Field) -> None:
    proxy = field.stack.supervisor.proxy()
    assert proxy.count_children().get(timeout=WAIT).active == 7
    assert proxy.child("usender").get(timeout=WAIT) is field.stack.sender.proxy.actor_ref
    for call in (proxy.terminate_child, proxy.restart_child, proxy.delete_child):
        with pytest.raises(ValueError, match="come and go with it"):
            call("usender").get(timeout=WAIT)
    with pytest.raises(ValueError, match="come and go with it"):
        proxy.add_child(ChildSpec("more", packhorse.SupervisedActor)).get(timeout=WAIT)
