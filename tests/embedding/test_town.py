"""A system that owns a stack: it survives the stack's failure; and one of two processes is killed and started again."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pykka
import pytest

import packhorse
from packhorse import PeerRestarted, Reliability, StackFailed, Timeout
from packhorse.actors import stack_supervisor
from packhorse.testing import crash, crash_on_start

from . import town

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from packhorse import Address, Stack, Supervisor

WAIT = 20.0
ROOT = Path(__file__).parents[2]


@pytest.fixture
def port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


@pytest.fixture
def system(port: int) -> Iterator[pykka.ActorRef[Supervisor]]:
    before = set(threading.enumerate())
    supervisor = town.start(port)
    yield supervisor
    pykka.ActorRegistry.stop_all()
    for thread in set(threading.enumerate()) - before:
        thread.join(WAIT)


def ask(client: Stack, to: Address, *words: bytes) -> list[bytes]:
    for word in words:
        client.send(word, to=to, reliability=Reliability.SEMI_ORDERED)
    return [client.receiver.recv(WAIT).data for _ in words]


def restarts(system: pykka.ActorRef[Supervisor]) -> dict[str, int]:
    return {child.id: child.restarts for child in system.proxy().which_children().get(timeout=WAIT)}


def test_what_the_stack_receives_is_told_to_the_systems_own_actors(
    system: pykka.ActorRef[Supervisor], port: int
) -> None:
    with packhorse.startup(host="127.0.0.1") as client:
        assert ask(client, ("127.0.0.1", port), b"hay", b"oats") == [b"1 hay", b"2 oats"]
    assert system.proxy().child("ledger").get().proxy().entries().get(timeout=WAIT) == [b"hay", b"oats"]


def test_a_node_that_crashes_is_no_news_to_the_system(system: pykka.ActorRef[Supervisor], port: int) -> None:
    stack = system.proxy().child("stack").get()
    with packhorse.startup(host="127.0.0.1") as client:
        for number, node in enumerate(("usender", "ureceiver", "dreceiver"), 1):
            trap = crash(stack, node)
            assert trap.wait(WAIT)
            assert ask(client, ("127.0.0.1", port), b"hay") == [b"%d hay" % number]
    assert set(restarts(system).values()) == {0}


def test_the_system_survives_that_its_stack_gives_up(
    system: pykka.ActorRef[Supervisor], port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack_supervisor, "INTENSITY", 2)  # so that it does not take so long
    children = system.proxy()
    stack = children.child("stack").get()
    old = stack.proxy().errors().get(timeout=WAIT)
    with packhorse.startup(host="127.0.0.1") as client:
        assert ask(client, ("127.0.0.1", port), b"before") == [b"1 before"]
    crash_on_start(stack, "sreceiver", times=4)
    crash(stack, "sreceiver")
    with pytest.raises(StackFailed):
        old.recv(WAIT)
    with packhorse.startup(host="127.0.0.1") as client:
        while not restarts(system)["gate"]:  # then the old socket is closed
            with suppress(Timeout):
                client.receiver.recv(0.01)
        assert ask(client, ("127.0.0.1", port), b"after") == [b"2 after"]
    assert restarts(system) == {"ledger": 0, "stack": 1, "gate": 1}
    assert children.child("ledger").get().proxy().entries().get(timeout=WAIT) == [b"before", b"after"]


@contextmanager
def process(port: int) -> Generator[subprocess.Popen[str]]:
    program = [sys.executable, "-m", "tests.embedding.town", str(port)]
    with subprocess.Popen(  # noqa: S603 - our own program
        program, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as running:
        try:
            assert running.stdout is not None
            assert running.stdout.readline() == f"listening on 127.0.0.1 {port}\n"
            yield running
        finally:
            running.kill()


def meet_again(client: Stack, peer: Address) -> list[bytes]:
    """Wait until a peer is known to be another process than before; return what the old one had not confirmed."""
    restarted = client.errors.recv(WAIT)
    assert isinstance(restarted, PeerRestarted)
    assert restarted.target == peer
    return [package.data for package in restarted.unconfirmed]


def test_one_of_two_processes_is_killed_and_started_again(port: int) -> None:
    town_address = ("127.0.0.1", port)
    with packhorse.startup(host="127.0.0.1") as client:
        with process(port) as running:
            assert ask(client, town_address, b"one", b"two", b"three") == [b"1 one", b"2 two", b"3 three"]
            client.sender.flush(WAIT)
            running.send_signal(signal.SIGKILL)
            assert running.wait(WAIT) == -signal.SIGKILL
        client.send(b"into the void", to=town_address, reliability=Reliability.SEMI_ORDERED)
        with process(port) as running:
            assert meet_again(client, town_address) == [b"into the void"]
            words = [b"%d" % number for number in range(100)]
            assert ask(client, town_address, *words) == [b"%d %d" % (number + 1, number) for number in range(100)]
            client.sender.flush(WAIT)
            assert running.stdin is not None
            running.stdin.close()
            assert running.wait(WAIT) == 0


def test_the_example_ends_in_order_and_says_nothing_of_it(port: int) -> None:
    with process(port) as running:
        assert running.stdin is not None
        running.stdin.close()
        assert running.wait(WAIT) == 0
