"""How stacks end: closed in any order, giving up what stays unconfirmed, stopped from outside, forgotten."""

from __future__ import annotations

import contextlib
import gc
import itertools
import socket
import subprocess
import sys
import threading
import warnings
from typing import TYPE_CHECKING, Any

import pykka
import pytest

import packhorse
from packhorse import Closed, FailureReason, OutPackage, Peers, Reliability, StackSupervisor
from packhorse.actors.ends import PackageEnd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from packhorse import Address, Stack
    from packhorse.actors.handles import StackCore
    from packhorse.actors.mailbox import Mailbox

    Start = Callable[..., Stack]

WAIT = 20.0
"""Seconds after which something that should have happened counts as lost."""


def numbered(count: int, to: Address) -> list[OutPackage]:
    return [OutPackage(b"%d" % number, Reliability.SEMI_ORDERED, Peers.PLAYERS, to) for number in range(count)]


@pytest.fixture
def silent() -> Iterator[Address]:
    """The address of somebody who never answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.1", 0))
        yield deaf.getsockname()


class Watched:
    """A stack whose end can be waited for without keeping its handles."""

    def __init__(self, stack: Stack) -> None:
        self._core: StackCore = stack._core
        self._thread: threading.Thread = stack.supervisor.proxy().thread.get()

    def ends(self) -> bool:
        self._core.ended.get(WAIT)
        self._thread.join(WAIT)
        return not self._thread.is_alive()


# Closing.


@pytest.mark.parametrize("order", [*itertools.permutations(("sender", "receiver", "errors"))], ids="-".join)
def test_closing_the_three_ends_in_any_order_ends_the_stack(start: Start, order: tuple[str, ...]) -> None:
    first, second = start(), start()
    watched = Watched(first)
    first.sender.send_many(numbered(300, second.address))
    second.sender.send_many(numbered(300, first.address))
    assert len(first.receiver.recv_many(1, WAIT)) == 1
    for end in order:
        getattr(first, end).close()
        getattr(first, end).close()
    assert watched.ends()
    got: list[bytes] = []
    while len(got) < 300:
        got += [package.data for package in second.receiver.recv_many(300, WAIT)]
    assert got == [b"%d" % number for number in range(300)]


def test_the_handles_of_an_unpacked_stack_are_all_of_it() -> None:
    stack = packhorse.startup(host="127.0.0.1")
    watched = Watched(stack)
    sender, receiver, errors = stack
    del stack
    gc.collect()
    for handle in (sender, receiver, errors):
        handle.close()
    assert watched.ends()


def test_one_handle_keeps_the_stack(start: Start) -> None:
    second = start()
    stack = packhorse.startup(host="127.0.0.1")
    watched = Watched(stack)
    sender = stack.sender
    del stack
    gc.collect()
    sender.send(OutPackage(b"x", Reliability.UNORDERED, Peers.PLAYERS, second.address))
    assert second.receiver.recv(WAIT).data == b"x"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        del sender
        gc.collect()
        assert watched.ends()


def test_everything_sent_before_closing_arrives(start: Start) -> None:
    first, second = start(), start()
    first.sender.send_many(numbered(1000, second.address))
    assert first.close(WAIT) == []
    assert [package.data for package in second.receiver.drain()] == [b"%d" % number for number in range(1000)]


def test_what_arrived_before_the_end_can_be_taken_after_it() -> None:
    supervisor = StackSupervisor.start(0, "127.0.0.1")
    proxy = supervisor.proxy()
    sender, receiver, thread = proxy.sender().get(), proxy.receiver().get(), proxy.thread.get()
    sender.send(OutPackage(b"x", Reliability.UNORDERED, Peers.PLAYERS, proxy.address.get()))
    sender.flush(WAIT)
    supervisor.stop()
    thread.join(WAIT)
    assert receiver.recv(WAIT).data == b"x"
    with pytest.raises(Closed):
        receiver.recv(WAIT)


def test_closing_twice_gives_the_same_answer(start: Start, silent: Address) -> None:
    stack = start()
    stack.send(b"x", to=silent)
    first = stack.close(timeout=0)
    assert [failure.target for failure in first] == [silent]
    assert stack.close() == first


def test_a_with_statement_closes() -> None:
    with packhorse.startup(host="127.0.0.1") as stack:
        watched = Watched(stack)
    assert watched.ends()


def test_closing_returns_what_stayed_unconfirmed_with_and_without_an_id(start: Start, silent: Address) -> None:
    stack = start()
    stack.sender.send_many(numbered(1200, silent))
    (failure,) = stack.close(timeout=0.05)
    assert failure.reason is FailureReason.CLOSED
    assert failure.target == silent
    assert [package.data for package in failure.unconfirmed] == [b"%d" % number for number in range(1200)]
    assert failure.count == 1200


def test_a_failure_that_was_read_is_not_returned_by_close(start: Start, silent: Address) -> None:
    stack = start(resend=packhorse.ResendPolicy(silence=0.02))
    stack.send(b"x", to=silent)
    assert stack.errors.recv(WAIT).count == 1
    assert stack.close() == []


def test_a_negative_timeout_is_refused(start: Start) -> None:
    with pytest.raises(ValueError, match="-1"):
        start().close(timeout=-1)


def test_closing_wakes_everyone_who_waits(start: Start, silent: Address) -> None:
    stack = start()
    raised: list[type[BaseException]] = []

    def until_closed(call: Callable[[], Any]) -> None:
        try:
            while True:
                call()
        except Closed as error:
            raised.append(type(error))

    calls: list[Callable[[], Any]] = [
        stack.receiver.recv,
        stack.errors.recv,
        lambda: stack.send(b"x", to=silent),
        stack.sender.flush,
    ]
    threads = [threading.Thread(target=until_closed, args=(call,), daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    stack.close(timeout=0)
    for thread in threads:
        thread.join(WAIT)
    assert raised == [Closed] * 4


def test_closed_handles_refuse_at_once(start: Start) -> None:
    stack = start()
    stack.close()
    package = OutPackage(b"x", Reliability.UNORDERED, Peers.PLAYERS, ("127.0.0.1", 9))
    calls: list[Callable[[], Any]] = [
        lambda: stack.sender.send(package),
        lambda: stack.sender.try_send(package),
        lambda: stack.sender.send_many([package]),
        stack.sender.flush,
        stack.receiver.recv,
        lambda: stack.receiver.recv_many(1),
        stack.errors.recv,
        lambda: stack.forget(("127.0.0.1", 9)),
        stack.counters,
    ]
    for call in calls:
        with pytest.raises(Closed):
            call()
    assert stack.receiver.drain() == []
    assert stack.errors.drain() == []
    assert list(stack.receiver) == []


def test_two_hundred_stacks_leave_nothing() -> None:
    for _ in range(200):
        packhorse.startup(host="127.0.0.1").close()


def test_many_stacks_may_be_open_at_once(start: Start) -> None:
    stacks = [start() for _ in range(20)]
    for stack, following in itertools.pairwise([*stacks, stacks[0]]):
        stack.send(b"round", to=following.address)
    for stack in stacks:
        assert stack.receiver.recv(WAIT).data == b"round"


# Being forgotten.


def test_a_stack_whose_handles_are_all_garbage_closes_itself_with_a_warning() -> None:
    stack = packhorse.startup(host="127.0.0.1")
    watched = Watched(stack)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del stack
        gc.collect()
        assert watched.ends()
    assert [warning.category for warning in caught] == [ResourceWarning]


def test_a_garbage_stack_closes_itself_even_when_warnings_are_errors() -> None:
    stack = packhorse.startup(host="127.0.0.1")
    watched = Watched(stack)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del stack
        gc.collect()
        assert watched.ends()


def test_a_closed_stack_gives_no_warning() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        stack = packhorse.startup(host="127.0.0.1")
        stack.close()
        del stack
        gc.collect()
    assert caught == []


def test_a_subscription_keeps_the_stack_open(start: Start) -> None:
    arrived = threading.Event()

    class Listener(pykka.ThreadingActor):
        def on_receive(self, message: object) -> None:  # noqa: ARG002 - Pykka's signature
            arrived.set()

    listener = Listener.start()
    second = start()
    stack = packhorse.startup(host="127.0.0.1")
    watched, address, core = Watched(stack), stack.address, stack._core
    stack.receiver.subscribe(listener)
    del stack
    gc.collect()
    second.send(b"x", to=address)
    assert arrived.wait(WAIT)
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("Listener")]
    listener.stop()
    for thread in threads:
        thread.join(WAIT)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        core.packages.unsubscribe()
        gc.collect()
        assert watched.ends()


def test_handles_from_a_supervisor_never_close_when_dropped() -> None:
    supervisor = StackSupervisor.start(0, "127.0.0.1")
    proxy = supervisor.proxy()
    sender, receiver, errors = proxy.sender().get(), proxy.receiver().get(), proxy.errors().get()
    del sender, receiver, errors
    gc.collect()
    again = proxy.receiver().get()
    proxy.sender().get().send(OutPackage(b"x", Reliability.UNORDERED, Peers.PLAYERS, proxy.address.get()))
    assert again.recv(WAIT).data == b"x"
    thread = proxy.thread.get()
    supervisor.stop()
    thread.join(WAIT)


# Being stopped from outside.


@pytest.fixture
def all_threads_end() -> Iterator[None]:
    """Wait for threads that were answered but have not quite ended."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(WAIT)


class Bystander(pykka.ThreadingActor):
    """An actor of the user's."""


@pytest.mark.usefixtures("all_threads_end")
@pytest.mark.parametrize("order", ["SBS", "BSSB", "SSB", "BBSS"])
def test_stop_all_ends_stacks_and_actors_in_any_start_order(order: str) -> None:
    for kind in order:
        if kind == "S":
            StackSupervisor.start(0, "127.0.0.1")
        else:
            Bystander.start()
    assert all(pykka.ActorRegistry.stop_all(timeout=WAIT))
    assert pykka.ActorRegistry.get_all() == []


@pytest.mark.usefixtures("all_threads_end")
def test_stop_all_right_after_the_start() -> None:
    for _ in range(30):
        StackSupervisor.start(0, "127.0.0.1")
        assert pykka.ActorRegistry.stop_all(timeout=WAIT) == [True]


@pytest.mark.usefixtures("all_threads_end")
def test_stop_all_while_other_threads_start_stacks() -> None:
    for _ in range(15):
        threads = [
            threading.Thread(target=lambda: [StackSupervisor.start(0, "127.0.0.1") for _ in range(2)]) for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        pykka.ActorRegistry.stop_all(timeout=WAIT)
        for thread in threads:
            thread.join(WAIT)
        pykka.ActorRegistry.stop_all(timeout=WAIT)
    assert pykka.ActorRegistry.get_all() == []


@pytest.mark.usefixtures("all_threads_end")
def test_stop_all_under_load() -> None:
    refs = [StackSupervisor.start(0, "127.0.0.1") for _ in range(2)]
    addresses = [ref.proxy().address.get() for ref in refs]
    stopped: list[type[BaseException]] = []

    def send(sender: Any, target: Address) -> None:
        try:
            while True:
                sender.send(numbered(1, target)[0])
        except Closed as error:
            stopped.append(type(error))

    def receive(receiver: Any) -> None:
        for _ in receiver:
            pass
        stopped.append(Closed)

    threads: list[threading.Thread] = []
    for ref, target in zip(refs, reversed(addresses), strict=True):
        proxy = ref.proxy()
        threads.append(threading.Thread(target=send, args=(proxy.sender().get(), target)))
        threads.append(threading.Thread(target=receive, args=(proxy.receiver().get(),)))
    for thread in threads:
        thread.start()
    assert pykka.ActorRegistry.stop_all(timeout=WAIT) == [True, True]
    for thread in threads:
        thread.join(WAIT)
    assert stopped == [Closed] * 4


@pytest.mark.usefixtures("all_threads_end")
def test_stop_all_while_a_stack_closes(silent: Address) -> None:
    stack = packhorse.startup(host="127.0.0.1")
    stack.send(b"x", to=silent)
    results: list[list[packhorse.PeerFailed]] = []
    closing = threading.Thread(target=lambda: results.append(stack.close(timeout=WAIT)))
    closing.start()
    assert all(pykka.ActorRegistry.stop_all(timeout=WAIT))
    closing.join(WAIT)
    assert [failure.target for failure in results[0]] == [silent]


@pytest.mark.usefixtures("all_threads_end")
def test_stop_all_ends_a_stack_whose_user_never_reads(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    paused = threading.Event()
    original = PackageEnd.over_capacity

    def noting(self: PackageEnd, feeder: Mailbox) -> bool:
        full = original(self, feeder)
        if full:
            paused.set()
        return full

    monkeypatch.setattr(PackageEnd, "over_capacity", noting)
    second = start()
    supervisor = StackSupervisor.start(0, "127.0.0.1")
    thread = supervisor.proxy().thread.get()
    receiver = supervisor.proxy().receiver().get()
    address = supervisor.proxy().address.get()

    def send() -> None:
        with contextlib.suppress(Closed):
            second.sender.send_many(numbered(5000, address))

    flood = threading.Thread(target=send)
    flood.start()
    assert paused.wait(WAIT)
    assert supervisor.stop(timeout=WAIT)
    thread.join(WAIT)
    assert len(receiver.drain()) > 1024
    second.close(timeout=0)
    flood.join(WAIT)


@pytest.mark.usefixtures("all_threads_end")
def test_stopping_a_supervisor_twice_is_answered_twice() -> None:
    supervisor = StackSupervisor.start(0, "127.0.0.1")
    futures = [supervisor.stop(block=False) for _ in range(3)]
    assert [future.get(timeout=WAIT) for future in futures] == [True] * 3
    assert supervisor.stop() is False


@pytest.mark.parametrize("name", ["usender", "dsender", "resender", "confirmer", "dreceiver", "ureceiver", "sreceiver"])
def test_a_node_stopped_from_outside_is_restarted_and_does_not_keep_the_stack_from_ending(
    start: Start, name: str
) -> None:
    stack = start()
    node = stack.supervisor.proxy().node(name).get()
    assert node.actor_ref.stop(timeout=WAIT) is True
    stack.send(b"x", to=stack.address)
    assert stack.receiver.recv(WAIT).data == b"x"
    assert node.actor_ref.stop(timeout=WAIT) is True
    assert stack.close(timeout=WAIT) == []
    assert node.actor_ref.stop(timeout=WAIT) is False


@pytest.mark.parametrize("name", ["usender", "dsender", "resender", "confirmer", "dreceiver", "ureceiver", "sreceiver"])
def test_a_node_stopped_from_outside_and_by_the_stack_at_once_ends_with_it(start: Start, name: str) -> None:
    stack, other = start(), start()
    stack.sender.send_many(numbered(100, other.address))
    node = stack.supervisor.proxy().node(name).get()
    stopped = node.actor_ref.stop(block=False)
    assert stack.close(timeout=WAIT) == []
    assert stopped.get(timeout=WAIT) is True
    assert [package.data for package in other.receiver.drain()] == [b"%d" % number for number in range(100)]


# The end of a program.


def _run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=WAIT, check=False
    )


FORGETFUL = """
import packhorse, sys
{setup}
for number in range({count}):
    stack_send(b"%d" % number)
"""


@pytest.mark.parametrize(
    "setup",
    [
        (
            "stack = packhorse.startup(host='127.0.0.1')\n"
            "stack_send = lambda data: stack.send(data, to=('127.0.0.1', {port}))"
        ),
        (
            "from packhorse import *\n"
            "sender = StackSupervisor.start(0, '127.0.0.1').proxy().sender().get()\n"
            "package = lambda data: OutPackage(data, Reliability.UNORDERED, Peers.PLAYERS, ('127.0.0.1', {port}))\n"
            "stack_send = lambda data: sender.send(package(data))"
        ),
    ],
    ids=["startup", "supervisor"],
)
def test_a_program_that_forgets_to_close_ends_and_what_it_just_sent_arrives(start: Start, setup: str) -> None:
    stack = start()
    ended = _run(FORGETFUL.format(setup=setup.format(port=stack.address[1]), count=20))
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    got = {stack.receiver.recv(WAIT).data for _ in range(20)}
    assert got == {b"%d" % number for number in range(20)}


def test_a_program_that_forgets_to_close_ends_though_nobody_answers(silent: Address) -> None:
    setup = f"stack = packhorse.startup(host='127.0.0.1')\nstack_send = lambda data: stack.send(data, to={silent!r})"
    ended = _run(FORGETFUL.format(setup=setup, count=20))
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_a_program_that_dies_of_an_exception_ends_too(silent: Address) -> None:
    ended = _run(f"import packhorse\nstack = packhorse.startup(host='127.0.0.1')\nstack.send(b'x', to={silent!r})\n1/0")
    assert ended.returncode == 1
    assert "ZeroDivisionError" in ended.stderr


# Not starting at all.


def test_a_taken_port_is_an_error_where_the_stack_is_started(start: Start) -> None:
    stack = start()
    for attempt in (packhorse.startup, StackSupervisor.start):
        with pytest.raises(OSError, match="in use"):
            attempt(stack.address[1], "127.0.0.1")
    assert len(pykka.ActorRegistry.get_all()) == 1


def test_an_address_that_is_not_ours_is_an_error_where_the_stack_is_started() -> None:
    with pytest.raises(OSError):  # noqa: PT011 - the system's words
        packhorse.startup(0, "192.0.2.1")
    with pytest.raises(OSError):  # noqa: PT011 - the system's words
        packhorse.startup(0, "no-such-host.invalid")


@pytest.mark.parametrize(
    "options",
    [
        {"port": "80"},
        {"port": 70000},
        {"port": -1},
        {"port": True},
        {"host": 5},
        {"logger": object()},
        {"resned": None},
    ],
    ids=str,
)
def test_arguments_that_make_no_sense_are_refused_and_nothing_is_left(options: dict[str, Any]) -> None:
    startup: Callable[..., Stack] = packhorse.startup
    with pytest.raises((TypeError, ValueError, AttributeError)):
        startup(**{"host": "127.0.0.1", **options})


def test_when_no_thread_can_be_started_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_more)
    with pytest.raises(RuntimeError, match="thread"):
        packhorse.startup(host="127.0.0.1")
