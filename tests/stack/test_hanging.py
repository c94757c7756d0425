"""Nodes that hang are left behind; successors work on a copy of their state; nothing is lost or doubled."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from pykka.messages import ProxyCall

import packhorse
from packhorse import OutPackage, Peers, Reliability, StackFailed
from packhorse.actors import stack_supervisor
from packhorse.actors.confirmer import Confirmer
from packhorse.actors.dreceiver import DReceiver
from packhorse.actors.dsender import DSender
from packhorse.actors.node import Station
from packhorse.actors.resender import Resender
from packhorse.actors.sreceiver import SReceiver
from packhorse.actors.ureceiver import UReceiver
from packhorse.actors.usender import USender
from packhorse.testing import ManualClock, MemoryNetwork

from .breaking import one_by_one

if TYPE_CHECKING:
    from collections.abc import Iterator

    from packhorse import Stack
    from packhorse.actors.node import Node

HERE, THERE = ("10.0.0.1", 1), ("10.0.0.2", 2)
WAIT = 20.0

HANDLERS = [
    (USender, "_send"),
    (USender, "_granted"),
    (USender, "_after"),
    (Resender, "_sent"),
    (Resender, "_confirmed"),
    (Resender, "_after"),
    (DSender, "_send"),
    (DReceiver, "_on_readable"),
    (DReceiver, "_classify"),
    (UReceiver, "_received"),
    (UReceiver, "_after"),
    (Confirmer, "_add"),
    (Confirmer, "_after"),
    (SReceiver, "_received"),
]


class Pair:
    """Two stacks under one clock, and what hangs in them."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.stacks: list[Stack] = []
        self.tokens: list[threading.Lock] = []
        self.got: list[int] = []
        self.reported: set[int] = set()
        self.sent = 0

    def start(self, *, inline: bool = True) -> None:
        """Start both; what is to hang must be known by then."""
        network = MemoryNetwork(self.clock)
        for address in (HERE, THERE):
            transport = network.transport(address)
            self.stacks.append(
                packhorse.startup(clock=self.clock, transport=transport, random=lambda: 0.5, inline=inline)
            )

    @property
    def first(self) -> Stack:
        return self.stacks[0]

    @property
    def second(self) -> Stack:
        return self.stacks[1]

    def send(self, count: int) -> None:
        self.first.sender.send_many(numbered(self.sent, count), timeout=0)
        self.sent += count

    def advance(self, seconds: float) -> None:
        """Let time pass, and note what comes meanwhile."""
        self.clock.advance(seconds)
        self.got += [int(package.data) for package in self.second.receiver.drain()]
        self.reported |= {int(package.data) for failure in self.first.errors.drain() for package in failure.unconfirmed}

    def hang(self) -> None:
        token = threading.Lock()
        token.acquire()
        self.tokens.append(token)
        self.clock.rest(token, None)

    def release(self) -> None:
        for token in self.tokens:
            self.clock.wake(token)
        self.tokens.clear()
        self.clock.settle()

    def counters(self, what: str) -> int:
        return sum(value for stack in self.stacks for name, value in stack.counters().items() if name == what)

    def close(self) -> None:
        self.release()
        for stack in self.stacks:
            _close(stack, self.clock)


def _close(stack: Stack, clock: ManualClock) -> None:
    closing = threading.Thread(target=stack.close, kwargs={"timeout": 0})
    closing.start()
    while closing.is_alive():
        clock.advance(0.5)
        closing.join(0.001)


@pytest.fixture
def pair() -> Iterator[Pair]:
    before = set(threading.enumerate())
    made = Pair()
    yield made
    made.close()
    for thread in set(threading.enumerate()) - before:
        thread.join(WAIT)


def hang_once(monkeypatch: pytest.MonkeyPatch, pair: Pair, node: type[Node[Any]], method: str, at: int) -> list[int]:
    """Let a method hang at its nth call, before it does anything."""
    original = getattr(node, method)
    lock = threading.Lock()
    calls: list[int] = []

    def hanging(self: Any, *arguments: Any) -> Any:
        with lock:
            calls.append(len(calls))
            now = len(calls) == at
        if now:
            pair.hang()
        return original(self, *arguments)

    monkeypatch.setattr(node, method, hanging)
    return calls


def numbered(first: int, count: int) -> list[OutPackage]:
    return [
        OutPackage(b"%d" % number, Reliability.SEMI_ORDERED, Peers.PLAYERS, THERE)
        for number in range(first, first + count)
    ]


@pytest.mark.parametrize("inline", [True, False], ids=["inline", "apart"])
@pytest.mark.parametrize("at", [1, 2])
@pytest.mark.parametrize(("node", "method"), HANDLERS, ids=lambda value: getattr(value, "__name__", value))
def test_one_hang_under_traffic_loses_and_doubles_nothing(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, *, node: type[Node[Any]], method: str, at: int, inline: bool
) -> None:
    one_by_one(monkeypatch)
    calls = hang_once(monkeypatch, pair, node, method, at)
    pair.start(inline=inline)
    for _ in range(20):
        if len(calls) < at:
            pair.send(300)
            pair.advance(0.5)
    assert len(calls) >= at
    pair.advance(15.0)
    # A node that hangs in another one's thread takes that one with it.
    assert pair.counters("supervisor.left_behind") == 1 or (inline and node in {DSender, UReceiver, SReceiver})
    assert pair.counters("supervisor.left_behind") <= 2
    pair.send(100)
    pair.advance(5.0)
    pair.release()
    pair.advance(5.0)
    assert pair.got == sorted(set(pair.got))
    assert set(pair.got) | pair.reported == set(range(pair.sent))
    assert not pair.reported or (node, method) in {(USender, "_send"), (Resender, "_sent")}


def test_what_wakes_up_late_works_on_a_state_of_its_own(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    hang_once(monkeypatch, pair, UReceiver, "_received", 2)
    pair.start()
    first = pair.second._core.nodes["ureceiver"]._actor_weakref()
    assert isinstance(first, UReceiver)
    pair.first.sender.send_many(numbered(0, 1))
    pair.clock.advance(0.5)
    pair.first.sender.send_many(numbered(1, 1))
    pair.clock.advance(15.0)
    later = pair.second._core.nodes["ureceiver"]._actor_weakref()
    assert isinstance(later, UReceiver)
    assert later is not first
    assert later._state is not first._state
    pair.release()
    pair.clock.advance(5.0)
    assert [package.data for package in pair.second.receiver.drain()] == [b"0", b"1"]


def test_a_flush_that_waits_in_a_hung_node_is_kept_by_its_successor(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    hang_once(monkeypatch, pair, Resender, "_confirmed", 1)
    pair.start()
    pair.first.sender.send_many(numbered(0, 10))
    flushed = pair.first._core.admission.flush()
    pair.clock.advance(15.0)
    assert flushed.kept
    flushed.get(0)


def test_a_state_that_cannot_be_copied_ends_the_stack(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Station[Any]) -> None:
        raise RuntimeError("changed size during iteration")

    monkeypatch.setattr(Station, "copy_state", refuse)
    hang_once(monkeypatch, pair, UReceiver, "_received", 1)
    pair.start()
    pair.first.sender.send_many(numbered(0, 1))
    pair.clock.advance(15.0)
    with pytest.raises(StackFailed) as caught:
        pair.second.receiver.recv(0)
    cause = caught.value.__cause__
    assert isinstance(cause, TimeoutError)
    assert isinstance(cause.__cause__, RuntimeError)


def test_one_that_hangs_while_it_passes_on_ends_the_stack(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was passed on already would be passed on again by a successor."""
    original = UReceiver._emit

    def emit(self: UReceiver) -> None:
        if self._state.to_user:
            pair.hang()
        original(self)

    monkeypatch.setattr(UReceiver, "_emit", emit)
    pair.start()
    pair.send(1)
    pair.clock.advance(15.0)
    with pytest.raises(StackFailed) as caught:
        pair.second.receiver.recv(0)
    assert isinstance(caught.value.__cause__, TimeoutError)
    assert "passes on" in str(caught.value.__cause__.__cause__)


def test_hanging_again_and_again_without_handling_anything_ends_the_stack(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack_supervisor, "INTENSITY", 2)

    pair.start()

    def hang(self: USender) -> None:
        pair.hang()

    monkeypatch.setattr(USender, "on_start", hang)
    pair.first.sender.proxy.actor_ref.tell(ProxyCall(attr_path=("counters",), args=("too", "many"), kwargs={}))
    pair.clock.advance(30.0)
    with pytest.raises(StackFailed):
        pair.first.receiver.recv(0)


def test_a_stack_under_load_leaves_nobody_behind(pair: Pair) -> None:
    pair.start()
    for _ in range(20):
        pair.send(500)
        pair.advance(1.0)
    assert pair.counters("supervisor.left_behind") == 0
    assert pair.got == list(range(10_000))


def test_an_idle_stack_makes_no_wake_ups(pair: Pair) -> None:
    pair.start()
    pair.send(100)
    pair.clock.advance(30.0)
    actors = [stack.supervisor._actor_weakref() for stack in (pair.first, pair.second)]
    inboxes = [child.inbox for actor in actors if actor is not None for child in actor._children.values()]
    inboxes += [actor._inbox for actor in actors if actor is not None]
    before = [inbox.beats for inbox in inboxes if inbox is not None]
    assert len(before) == 16
    pair.clock.advance(300.0)
    assert [inbox.beats for inbox in inboxes if inbox is not None] == before
