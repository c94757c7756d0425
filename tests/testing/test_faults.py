"""The tools to break a stack: each strikes where it says, and clear errors for what is none."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pykka
import pytest

import packhorse
from packhorse import FailureReason, Reliability
from packhorse.actors import wiring
from packhorse.testing import InjectedCrash, ManualClock, MemoryNetwork, crash, crash_on, crash_on_start, hang, pause

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from packhorse import Stack
    from packhorse.testing import Trap

HERE, THERE = ("10.0.0.1", 1), ("10.0.0.2", 2)
WAIT = 20.0


class Pair:
    """Two stacks under one clock that stands still."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        network = MemoryNetwork(self.clock)
        self.first, self.second = (
            packhorse.startup(clock=self.clock, transport=network.transport(address), random=lambda: 0.5)
            for address in (HERE, THERE)
        )
        self.sent = 0

    def exchange(self, count: int = 1) -> list[int]:
        """Send both ways; return what arrived at the second."""
        for _ in range(count):
            for stack, target in ((self.first, THERE), (self.second, HERE)):
                stack.send(b"%d" % self.sent, to=target, reliability=Reliability.SEMI_ORDERED)
            self.sent += 1
        self.clock.advance(1.0)
        self.first.receiver.drain()
        return [int(package.data) for package in self.second.receiver.drain()]

    def restarts(self, name: str) -> int:
        return self.first.counters()[f"{name}.restarts"]

    def close(self) -> None:
        for stack in (self.first, self.second):
            closing = threading.Thread(target=stack.close, kwargs={"timeout": 0})
            closing.start()
            while closing.is_alive():
                self.clock.advance(0.5)
                closing.join(0.001)


def last_death(stack: Stack, name: str) -> Any:
    children = stack.supervisor.proxy().which_children().get(timeout=WAIT)
    return next(child.last_death for child in children if child.id == name)


@pytest.fixture
def pair() -> Iterator[Pair]:
    before = set(threading.enumerate())
    made = Pair()
    yield made
    made.close()
    for thread in set(threading.enumerate()) - before:
        thread.join(WAIT)


@pytest.mark.parametrize("name", wiring.NODES)
def test_a_crash_strikes_at_once_and_once(pair: Pair, name: str) -> None:
    trap = crash(pair.first, name)
    pair.clock.settle()
    assert trap.sprung
    pair.clock.advance(1.0)
    assert pair.restarts(name) == 1
    assert pair.exchange(10) == list(range(10))
    assert pair.restarts(name) == 1


def test_what_it_crashes_of_can_be_chosen_and_is_an_injected_crash_otherwise(pair: Pair) -> None:
    crash(pair.first, "confirmer", SystemExit(3))
    pair.clock.advance(1.0)
    assert last_death(pair.first, "confirmer").reason == "exit"
    crash(pair.first.supervisor, "confirmer")
    pair.clock.advance(1.0)
    assert isinstance(last_death(pair.first, "confirmer").cause, InjectedCrash)


@pytest.mark.parametrize("when", ["before", "middle", "after"])
@pytest.mark.parametrize("name", wiring.NODES)
def test_a_crash_over_an_item_strikes_there_and_is_survived(pair: Pair, name: str, when: str) -> None:
    trap = crash_on(pair.first, name, nth=3, when=when)
    delivered: list[int] = []
    for _ in range(10):
        delivered += pair.exchange(5)
    failures = pair.first.errors.drain()
    assert trap.sprung
    assert pair.restarts(name) == 1
    reported = [int(package.data) for failure in failures for package in failure.unconfirmed]
    assert delivered == sorted(set(delivered))
    assert {*delivered, *reported} == set(range(pair.sent))
    assert not failures or (name in {"usender", "resender"} and when != "after")


def test_items_are_counted_from_when_the_fault_was_set(pair: Pair) -> None:
    pair.exchange(10)
    crash_on(pair.first, "usender", nth=4)
    pair.first.sender.send_many(
        packhorse.OutPackage(b"%d" % number, Reliability.SEMI_ORDERED, packhorse.Peers.PLAYERS, THERE)
        for number in range(8)
    )
    pair.clock.advance(1.0)
    (failure,) = pair.first.errors.drain()
    assert failure.reason is FailureReason.POISONED
    assert [package.data for package in failure.unconfirmed] == [b"3"]


@pytest.mark.parametrize(("when", "set_aside"), [("before", True), ("middle", True), ("after", False)])
def test_an_item_is_set_aside_unless_it_was_handled(pair: Pair, when: str, *, set_aside: bool) -> None:
    crash_on(pair.first, "usender", when=when)
    arrived = pair.exchange()
    assert (last_death(pair.first, "usender").poisoned is not None) == set_aside
    assert arrived == ([] if set_aside else [0])
    assert pair.exchange(3) == [1, 2, 3]  # so no id was taken for what was set aside


def test_the_next_incarnations_crash_in_on_start(pair: Pair) -> None:
    trap = crash_on_start(pair.first, "sreceiver", times=3)
    assert pair.exchange(3) == [0, 1, 2]
    assert not trap.sprung
    crash(pair.first, "sreceiver")
    pair.clock.advance(2.0)
    assert pair.restarts("sreceiver") == 4
    assert pair.exchange(3) == [3, 4, 5]


@pytest.mark.parametrize("name", wiring.NODES)
def test_a_node_that_is_paused_handles_nothing_and_is_not_left_behind(pair: Pair, name: str) -> None:
    with pause(pair.first, name) as hold:
        pair.clock.settle()
        assert hold.sprung
        pair.exchange(2)
        pair.clock.advance(10.0)
        waiting = pair.first._core.nodes[name].actor_inbox
        assert len(waiting) if name != "dreceiver" else pair.first.receiver.drain() == []  # type: ignore[arg-type] # a mailbox
    pair.clock.advance(5.0)
    pair.exchange(2)
    pair.clock.advance(5.0)
    counters = pair.first.counters()
    assert counters["supervisor.left_behind"] == counters[f"{name}.restarts"] == 0
    assert pair.first.errors.drain() == []


@pytest.mark.parametrize("nth", [None, 2])
@pytest.mark.parametrize("name", wiring.NODES)
def test_a_node_that_hangs_is_left_behind_and_its_thread_ends_when_it_is_released(
    pair: Pair, name: str, nth: int | None
) -> None:
    with hang(pair.first, name, nth) as hold:
        delivered = pair.exchange(3) + pair.exchange(3)
        assert hold.sprung
        pair.clock.advance(10.0)
        delivered += pair.exchange(3)
        assert pair.first.counters()["supervisor.left_behind"] >= 1
    delivered += pair.exchange(3)
    reported = {int(package.data) for failure in pair.first.errors.drain() for package in failure.unconfirmed}
    assert delivered == sorted(set(delivered))
    assert {*delivered, *reported} == set(range(pair.sent))


def test_a_node_that_is_released_before_its_time_is_not_held(pair: Pair) -> None:
    hold = hang(pair.first, "usender", nth=2)
    hold.release()
    hold.release()
    assert pair.exchange(5) == list(range(5))
    pair.clock.advance(10.0)
    assert hold.sprung
    assert pair.first.counters()["supervisor.left_behind"] == 0


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        (partial(crash, node="Resender"), "'Resender'.*usender, dsender"),
        (partial(pause, node=""), "no node ''"),
        (partial(crash_on, node="resender", nth=0), "counted from 1"),
        (partial(hang, node="resender", nth=0), "counted from 1"),
        (partial(crash_on, node="resender", when="during"), "before, middle, after"),
        (partial(crash_on_start, node="resender", times=0), "at least 1"),
    ],
)
def test_what_makes_no_sense_is_refused(pair: Pair, fault: Callable[[Stack], Trap], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        fault(pair.first)


def test_what_is_no_stack_is_refused(pair: Pair) -> None:
    with pytest.raises(TypeError, match="no StackSupervisor"):
        crash(pykka.ThreadingActor.start(), "resender")  # type: ignore[arg-type]
    pykka.ActorRegistry.stop_all()
    with pytest.raises(TypeError, match="not None"):
        crash(None, "resender")  # type: ignore[arg-type]


def test_a_stack_that_has_ended_cannot_be_broken(pair: Pair) -> None:
    pair.close()
    with pytest.raises(pykka.ActorDeadError):
        crash(pair.first, "resender")
    with pytest.raises(pykka.ActorDeadError):
        crash_on(pair.first, "resender")
