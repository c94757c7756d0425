"""Nodes that crash under traffic: nothing is lost or doubled, or it is reported."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pykka
import pytest
from pykka.messages import ProxyCall

from packhorse import (
    FailureReason,
    OutPackage,
    PeerFailed,
    Peers,
    Reliability,
    Timeout,
)
from packhorse.actors.confirmer import Confirmer
from packhorse.actors.dreceiver import DReceiver
from packhorse.actors.dsender import DSender
from packhorse.actors.keeper import Died
from packhorse.actors.messages import Death
from packhorse.actors.node import Node
from packhorse.actors.resender import Resender
from packhorse.actors.sreceiver import SReceiver
from packhorse.actors.ureceiver import UReceiver
from packhorse.actors.usender import USender

from .breaking import NODES, WAIT, Bug, break_once, one_by_one, restarts

if TYPE_CHECKING:
    from collections.abc import Callable

    from packhorse import Address, Stack

    Start = Callable[..., Stack]

HANDLERS = [
    (USender, "_send"),
    (USender, "_granted"),
    (USender, "_flush"),
    (Resender, "_sent"),
    (Resender, "_confirmed"),
    (Resender, "_flush"),
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


def numbered(count: int, to: Address) -> list[OutPackage]:
    return [OutPackage(b"%d" % number, Reliability.SEMI_ORDERED, Peers.PLAYERS, to) for number in range(count)]


def send_and_account(first: Stack, second: Stack, count: int) -> tuple[list[bytes], list[PeerFailed]]:
    """Send so many packages; return what was delivered, in order, and what was reported."""
    failures: list[PeerFailed] = []
    delivered: list[bytes] = []
    sending = threading.Thread(target=first.sender.send_many, args=(numbered(count, second.address),))
    sending.start()
    accounted: set[bytes] = set()
    quiet = 0
    while len(accounted) < count:
        try:
            got = [package.data for package in second.receiver.recv_many(count, 0.05)]
            quiet = 0
        except Timeout:
            got = []
            quiet += 1
            assert quiet * 0.05 < WAIT, f"{count - len(accounted)} packages were neither delivered nor reported"
        delivered += got
        news = first.errors.drain()
        failures += news
        accounted |= set(got)
        accounted |= {package.data for failure in news for package in failure.unconfirmed}
        accounted |= {package.data for failure in second.errors.drain() for package in failure.unconfirmed}
    sending.join(WAIT)
    delivered += [package.data for package in second.receiver.drain()]
    return delivered, failures


def flush_and_take(first: Stack, second: Stack) -> list[bytes]:
    """Flush, and take what comes meanwhile: a receiver that nobody reads would confirm nothing more."""
    taken: list[bytes] = []
    flushing = threading.Thread(target=first.sender.flush, args=(WAIT,))
    flushing.start()
    while flushing.is_alive():
        taken += [package.data for package in second.receiver.drain()]
        flushing.join(0.01)
    return taken


@pytest.mark.parametrize("error", [Bug("a bug"), SystemExit(3)], ids=["exception", "SystemExit"])
@pytest.mark.parametrize("at", [1, 3])
@pytest.mark.parametrize(("node", "method"), HANDLERS, ids=lambda value: getattr(value, "__name__", value))
def test_one_crash_under_traffic_loses_and_doubles_nothing(  # noqa: PLR0917 - fixtures
    start: Start,
    monkeypatch: pytest.MonkeyPatch,
    node: type[Node[Any]],
    method: str,
    at: int,
    error: BaseException,
) -> None:
    one_by_one(monkeypatch)
    broken = break_once(monkeypatch, node, method, at, error)
    first, second = start(), start()
    count = 5000 if method == "_granted" else 1500  # so many that there are three grants
    delivered, failures = send_and_account(first, second, count)
    for more in range(at):  # every node has something to do once more
        first.send(b"%d" % (count + more), to=second.address, reliability=Reliability.SEMI_ORDERED)
        delivered += flush_and_take(first, second)
    delivered += [package.data for package in second.receiver.drain()]
    failures += first.errors.drain()
    assert broken()
    assert restarts(first, second) == 1
    assert len(delivered) == len(set(delivered))
    numbers = [int(data) for data in delivered]
    assert numbers == sorted(numbers)
    assert {failure.reason for failure in failures} <= {FailureReason.POISONED}
    if not failures:
        assert len(delivered) == count + at
    # Only these take something with them that nothing else heals.
    assert not failures or (node, method) in {(USender, "_send"), (Resender, "_sent")}


@pytest.mark.parametrize("name", NODES)
def test_a_crash_by_a_raising_tell_loses_nothing(start: Start, name: str) -> None:
    first, second = start(), start()
    bad_call = ProxyCall(attr_path=("counters",), args=("too", "many"), kwargs={})
    proxies = [stack.supervisor.proxy().node(name).get() for stack in (first, second)]
    for proxy in proxies:
        proxy.actor_ref.tell(bad_call)
    delivered, failures = send_and_account(first, second, 500)
    assert delivered == [b"%d" % number for number in range(500)]
    assert failures == []
    for proxy in proxies:
        assert isinstance(proxy.counters().get(timeout=WAIT), dict)
    assert restarts(first, second) == 2


@pytest.mark.parametrize("name", NODES)
def test_a_crash_in_on_start_is_tried_again(start: Start, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    broken = break_once(monkeypatch, NODES[name], "on_start", 1, Bug())
    first, second = start(), start()
    delivered, failures = send_and_account(first, second, 200)
    assert broken()
    assert delivered == [b"%d" % number for number in range(200)]
    assert failures == []
    assert restarts(first, second) == 1


@pytest.mark.parametrize("name", NODES)
def test_a_crash_in_the_constructor_is_tried_again(start: Start, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    broken = break_once(monkeypatch, NODES[name], "__init__", 1, Bug())
    first, second = start(), start()
    delivered, _ = send_and_account(first, second, 200)
    assert broken()
    assert delivered == [b"%d" % number for number in range(200)]


@pytest.mark.parametrize("name", NODES)
@pytest.mark.parametrize("method", ["_on_cancel", "_is_done", "on_stop"])
def test_a_crash_while_closing_does_not_keep_the_stack_from_ending(
    start: Start, monkeypatch: pytest.MonkeyPatch, name: str, method: str
) -> None:
    first, second = start(), start()
    broken = break_once(monkeypatch, NODES[name], method, 1, Bug())
    first.sender.send_many(numbered(100, second.address))
    assert first.close(WAIT) == []
    assert broken()
    assert [package.data for package in second.receiver.drain()] == [b"%d" % number for number in range(100)]


def test_handles_and_proxies_from_before_a_crash_work_after_it(start: Start) -> None:
    first, second = start(), start()
    handles = (first.sender, second.receiver, first.errors)
    proxies = [handle.proxy for handle in handles]
    for proxy in proxies:
        with pytest.raises(TypeError):
            proxy.counters("too", "many").get()
        proxy.counters.defer("too", "many")
    handles[0].send(numbered(1, second.address)[0])
    assert handles[1].recv(WAIT).data == b"0"
    for proxy in proxies:
        assert isinstance(proxy.counters().get(timeout=WAIT), dict)
    assert restarts(first, second) == 3


def test_a_death_notice_of_an_older_generation_is_ignored(start: Start) -> None:
    stack = start()
    supervisor = stack.supervisor._actor_weakref()
    assert supervisor is not None
    stack._core.supervisor.put(Died(supervisor._children["usender"], Death("usender", -1, "run", Bug())))
    stack.send(b"x", to=stack.address)
    assert stack.receiver.recv(WAIT).data == b"x"
    assert restarts(stack) == 0


def test_an_ask_that_raises_crashes_nothing(start: Start) -> None:
    stack = start()
    with pytest.raises(TypeError):
        stack.sender.proxy.counters("too", "many").get()
    assert restarts(stack) == 0


def test_system_exit_in_an_ask_crashes_the_node_and_no_other_actor(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leave(self: Any) -> None:
        raise SystemExit(1)

    class Bystander(pykka.ThreadingActor):
        pass

    monkeypatch.setattr(USender, "leave", leave, raising=False)
    stack, bystander = start(), Bystander.start()
    with pytest.raises(Exception, match="SystemExit"):
        stack.sender.proxy.leave().get(timeout=WAIT)
    assert isinstance(stack.sender.proxy.counters().get(timeout=WAIT), dict)
    assert bystander.is_alive()
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("Bystander")]
    bystander.stop()
    for thread in threads:
        thread.join(WAIT)
    assert restarts(stack) == 1


def test_every_node_may_crash_again_and_again_within_the_intensity(start: Start) -> None:
    first, second = start(random=lambda: 0.0), start(random=lambda: 0.0)
    stop = threading.Event()
    refs = [stack.supervisor.proxy().node(name).get().actor_ref for stack in (first, second) for name in NODES]

    def kill() -> None:
        for _ in range(5):
            for ref in refs:
                if stop.is_set():
                    return
                ref.tell(ProxyCall(attr_path=("counters",), args=("too", "many"), kwargs={}))
                ref.ask(ProxyCall(attr_path=("counters",), args=(), kwargs={}), timeout=WAIT)

    killing = threading.Thread(target=kill)
    killing.start()
    delivered, failures = send_and_account(first, second, 4000)
    stop.set()
    killing.join(WAIT)
    assert delivered == [b"%d" % number for number in range(4000)]
    assert failures == []
    assert restarts(first, second) > 0
