"""Stacks that give up: every handle fails, whoever waits wakes up, nothing is left; and backing off before that."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING, Any

import pytest
from pykka.messages import ProxyCall

import packhorse
from packhorse import (
    Closed,
    StackFailed,
    StackSupervisor,
)
from packhorse.actors import supervisor as supervision
from packhorse.actors.confirmer import Confirmer
from packhorse.actors.resender import Resender
from packhorse.actors.sreceiver import SReceiver
from packhorse.actors.usender import USender
from packhorse.testing import ManualClock, MemoryNetwork

from .breaking import NODES, WAIT, Bug, break_always, restarts

if TYPE_CHECKING:
    from collections.abc import Callable

    from packhorse import Stack

    Start = Callable[..., Stack]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restart so quickly that a crash loop is over soon."""
    monkeypatch.setattr(supervision, "FIRST_BACKOFF", 0.0001)
    monkeypatch.setattr(supervision, "LONGEST_BACKOFF", 0.001)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("name", NODES)
def test_a_crash_loop_fails_every_handle_and_wakes_everyone_who_waits(
    start: Start, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    stack = start()
    raised: dict[str, BaseException] = {}

    def until_failed(what: str, call: Callable[[], Any]) -> None:
        try:
            while True:
                call()
        except Exception as error:  # noqa: BLE001 - which one is what the test is about
            raised[what] = error

    target = ("127.0.0.1", 9)
    calls: dict[str, Callable[[], Any]] = {
        "send": lambda: stack.send(b"x", to=target),
        "flush": stack.sender.flush,
        "recv": stack.receiver.recv,
        "errors": stack.errors.recv,
    }
    threads = [threading.Thread(target=until_failed, args=item) for item in calls.items()]
    for thread in threads:
        thread.start()
    break_always(monkeypatch, NODES[name], "on_start")
    stack.supervisor.proxy().node(name).get().actor_ref.tell(
        ProxyCall(attr_path=("counters",), args=("too", "many"), kwargs={})
    )
    for thread in threads:
        thread.join(WAIT)
    assert {what: type(error) for what, error in raised.items()} == dict.fromkeys(calls, StackFailed)
    assert {type(error.__cause__) for error in raised.values()} == {Bug}
    for call in calls.values():
        with pytest.raises(StackFailed):
            call()
    stack.close()


@pytest.mark.usefixtures("impatient")
def test_what_can_never_be_handled_and_must_not_be_lost_ends_the_stack(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_always(monkeypatch, Resender, "_flush")
    stack = start()
    with pytest.raises(StackFailed) as caught:
        stack.sender.flush(WAIT)
    assert isinstance(caught.value.__cause__, Bug)
    stack.close()


@pytest.mark.usefixtures("impatient")
def test_a_stack_that_gave_up_is_gone_though_nobody_closes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    break_always(monkeypatch, USender, "on_start")
    ref = StackSupervisor.start(0, "127.0.0.1")
    for thread in [thread for thread in threading.enumerate() if thread.name.endswith("-supervisor")]:
        thread.join(WAIT)
    assert not ref.is_alive()


@pytest.mark.usefixtures("impatient")
def test_what_waited_before_the_stack_gave_up_can_still_be_taken(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = start(), start()
    first.send(b"x", to=second.address)
    first.sender.flush(WAIT)
    break_always(monkeypatch, Confirmer, "on_start")
    second.supervisor.proxy().node("confirmer").get().actor_ref.tell(
        ProxyCall(attr_path=("counters",), args=("too", "many"), kwargs={})
    )
    second.supervisor.proxy().thread.get().join(WAIT)
    assert second.receiver.recv(WAIT).data == b"x"
    with pytest.raises(StackFailed):
        second.receiver.recv(WAIT)


def test_a_supervisor_that_crashes_fails_every_handle(start: Start) -> None:
    stack = start()
    thread = stack.supervisor.proxy().thread.get()
    stack.supervisor.tell(ProxyCall(attr_path=("node",), args=("no such node",), kwargs={}))
    thread.join(WAIT)
    for call in (
        lambda: stack.receiver.recv(WAIT),
        lambda: stack.errors.recv(WAIT),
        lambda: stack.send(b"x", to=("127.0.0.1", 9)),
        lambda: stack.sender.flush(WAIT),
    ):
        with pytest.raises(StackFailed) as caught:
            call()
        assert isinstance(caught.value.__cause__, ValueError)
    for name in NODES:
        assert not stack._core.nodes[name].is_alive()
    for node in threading.enumerate():
        if node.name in NODES:
            node.join(WAIT)


def test_a_node_that_hangs_is_left_behind_and_the_others_end(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    entered, go_on = threading.Event(), threading.Event()
    original = Confirmer._add

    def hang(self: Any, *arguments: Any) -> None:
        entered.set()
        assert go_on.wait(WAIT)
        original(self, *arguments)

    monkeypatch.setattr(Confirmer, "_add", hang)
    first, second = start(), start()
    first.send(b"x", to=second.address)
    assert entered.wait(WAIT)
    hung = [thread for thread in threading.enumerate() if thread.name == "confirmer"]
    second.close(timeout=0)
    with pytest.raises(Closed):
        second.receiver.recv(0)
    go_on.set()
    first.close(timeout=0)
    for thread in hung:
        thread.join(WAIT)


# Backing off, under a clock that stands still.


def test_restarts_follow_ever_more_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ManualClock()
    network = MemoryNetwork(clock)
    times: list[float] = []
    started = SReceiver.on_start

    def broken(self: SReceiver) -> None:
        started(self)
        times.append(clock.now())
        if len(times) <= 5:
            raise Bug

    monkeypatch.setattr(SReceiver, "on_start", broken)
    stack = packhorse.startup(clock=clock, transport=network.transport(("10.0.0.1", 1)), random=lambda: 0.5)
    clock.advance(10.0)
    waits = [later - earlier for earlier, later in itertools.pairwise(times)]
    first = supervision.FIRST_BACKOFF
    assert waits == pytest.approx([0, first, 2 * first, 4 * first, 8 * first])
    stack.close()


@pytest.mark.parametrize("luck", [0.0, 0.5, 0.999])
def test_a_crash_loop_gives_up_whatever_the_jitter(monkeypatch: pytest.MonkeyPatch, luck: float) -> None:
    clock = ManualClock()
    network = MemoryNetwork(clock)
    break_always(monkeypatch, SReceiver, "on_start")
    stack = packhorse.startup(clock=clock, transport=network.transport(("10.0.0.1", 1)), random=lambda: luck)
    clock.advance(supervision.PERIOD)
    with pytest.raises(StackFailed):
        stack.receiver.recv(0)
    stack.close()


def test_crashes_far_apart_do_not_end_the_stack(start: Start) -> None:
    clock = ManualClock()
    network = MemoryNetwork(clock)
    stack = packhorse.startup(clock=clock, transport=network.transport(("10.0.0.1", 1)))
    node = stack.supervisor.proxy().node("usender").get().actor_ref
    for _ in range(supervision.INTENSITY + 5):
        node.tell(ProxyCall(attr_path=("counters",), args=("too", "many"), kwargs={}))
        clock.advance(supervision.PERIOD / 4)
    assert restarts(stack) == supervision.INTENSITY + 5
    stack.close()
