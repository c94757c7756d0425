"""Nodes that crash under traffic: nothing is lost or doubled, or it is reported; and a crash loop ends the stack."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING, Any

import pykka
import pytest
from pykka.messages import ProxyCall

import packhorse
from packhorse import (
    Closed,
    FailureReason,
    OutPackage,
    PeerFailed,
    Peers,
    Reliability,
    StackFailed,
    StackSupervisor,
    Timeout,
)
from packhorse.actors import supervisor as supervision
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
from packhorse.testing import ManualClock, MemoryNetwork

if TYPE_CHECKING:
    from collections.abc import Callable

    from packhorse import Address, Stack

    Start = Callable[..., Stack]

WAIT = 20.0
"""Seconds after which something that should have happened counts as lost."""

NODES: dict[str, type[Node[Any]]] = {
    "usender": USender,
    "dsender": DSender,
    "resender": Resender,
    "confirmer": Confirmer,
    "dreceiver": DReceiver,
    "ureceiver": UReceiver,
    "sreceiver": SReceiver,
}

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


class Bug(Exception):  # noqa: N818 - the word for it
    """What a test puts into a node."""


def numbered(count: int, to: Address) -> list[OutPackage]:
    return [OutPackage(b"%d" % number, Reliability.SEMI_ORDERED, Peers.PLAYERS, to) for number in range(count)]


def break_once(
    monkeypatch: pytest.MonkeyPatch, node: type[Node[Any]], method: str, at: int, error: BaseException
) -> Callable[[], bool]:
    """Let a method raise at its nth call, before it does anything; returns whether it has."""
    original = getattr(node, method)
    lock = threading.Lock()
    calls = 0

    def broken(self: Any, *arguments: Any, **options: Any) -> Any:
        nonlocal calls
        with lock:
            calls += 1
            now = calls == at
        if now:
            raise error
        return original(self, *arguments, **options)

    monkeypatch.setattr(node, method, broken)
    return lambda: calls >= at


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


def restarts(*stacks: Stack) -> int:
    return sum(value for stack in stacks for name, value in stack.counters().items() if name.endswith(".restarts"))


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
    broken = break_once(monkeypatch, node, method, at, error)
    first, second = start(), start()
    count = 5000 if method == "_granted" else 1500  # so many that there are three grants
    delivered, failures = send_and_account(first, second, count)
    for more in range(at):  # every node has something to do once more
        first.send(b"%d" % (count + more), to=second.address, reliability=Reliability.SEMI_ORDERED)
        first.sender.flush(WAIT)
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


# Giving up.


def break_always(monkeypatch: pytest.MonkeyPatch, node: type[Node[Any]], method: str) -> None:
    def broken(self: Any, *arguments: Any) -> Any:
        raise Bug(method)

    monkeypatch.setattr(node, method, broken)


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
