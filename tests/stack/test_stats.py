"""What a stack says of itself in numbers, to its program and to others."""

from __future__ import annotations

import json
import os
import socket
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import packhorse
from packhorse import Closed, OutPackage, Peers, Reliability, Timeout
from packhorse.actors.stats import StackStats
from packhorse.testing import ManualClock, MemoryNetwork

if TYPE_CHECKING:
    from collections.abc import Callable

    from packhorse import Stack

    Start = Callable[..., Stack]

WAIT = 20.0


def exchange(first: Stack, second: Stack, count: int) -> None:
    first.sender.send_many(
        OutPackage(b"x", Reliability.SEMI_ORDERED, Peers.PLAYERS, second.address) for _ in range(count)
    )
    for _ in range(count):
        second.receiver.recv(WAIT)
    first.sender.flush(WAIT)


def test_both_ends_count_what_went_between_them(start: Start) -> None:
    first, second = start(), start()
    exchange(first, second, 10)
    sent, received = first.stats(), second.stats()
    assert sent.peers[second.address].sent == 10
    assert received.peers[first.address].received == 10
    assert (sent.peers[second.address].in_flight, sent.peers[second.address].backlog) == (0, 0)
    rtt, window = sent.peers[second.address].rtt, sent.peers[second.address].window
    assert rtt is not None
    assert 0 < rtt < WAIT
    assert window is not None
    assert window > 0
    assert sent.received >= 1
    assert received.received >= 10
    assert set(sent.nodes) == {
        "usender", "dsender", "resender", "confirmer", "dreceiver", "ureceiver", "sreceiver"
    }  # fmt: skip
    assert sent.nodes["usender"].high_water >= 1
    assert {node.restarts for node in sent.nodes.values()} == {0}


def test_what_was_dropped_is_told_by_reason(start: Start) -> None:
    stack = start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(b"\xff" * 20, stack.address)
        stranger.sendto(b"\x20\x00\x00\x00hi", stack.address)
        stack.receiver.recv(WAIT)
    assert stack.stats().dropped == {"in.invalid": 1}


def test_stats_are_plain_enough_for_json(start: Start) -> None:
    first, second = start(), start()
    exchange(first, second, 3)
    plain: dict[str, Any] = json.loads(json.dumps(first.stats().as_dict()))
    assert plain["peers"][f"127.0.0.1:{second.address[1]}"]["sent"] == 3


def test_stats_can_be_scraped(start: Start) -> None:
    first, second = start(), start()
    exchange(first, second, 3)
    text = first.stats().as_prometheus()
    here, there = (f"127.0.0.1:{stack.address[1]}" for stack in (first, second))
    assert f'packhorse_peer_packages_sent_total{{peer="{there}",stack="{here}"}} 3.0' in text
    assert "# TYPE packhorse_mailbox_depth gauge" in text


def test_the_stats_of_a_closed_stack_are_gone(start: Start) -> None:
    stack = start()
    stack.close()
    with pytest.raises(Closed):
        stack.stats()


def ask(path: Path) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as endpoint:
        endpoint.settimeout(WAIT)
        endpoint.connect(os.fspath(path))
        endpoint.sendall(b"\n")
        with endpoint.makefile("rb") as lines:
            answer: dict[str, Any] = json.loads(lines.readline())
    return answer


def test_others_can_look_through_a_socket_of_the_owners_while_the_stack_is_open(start: Start, tmp_path: Path) -> None:
    stack = start()
    path = tmp_path / "stats"
    stack.serve_stats(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    answer = ask(path)
    assert set(answer) == set(StackStats.__struct_fields__)
    assert answer["address"] == f"127.0.0.1:{stack.address[1]}"
    stack.close()
    assert not path.exists()
    with pytest.raises(Closed):
        stack.serve_stats(path)
    assert not path.exists()


def test_the_socket_of_a_program_that_is_gone_is_replaced_and_nothing_else(start: Start, tmp_path: Path) -> None:
    stack = start()
    path = tmp_path / "stats"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as gone:
        gone.bind(os.fspath(path))
    stack.serve_stats(path)
    assert ask(path)["nodes"]
    with pytest.raises(OSError, match="in use"):
        stack.serve_stats(path)
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(FileExistsError, match=f"it is there already, and no socket: '{file}'"):
        stack.serve_stats(file)
    with pytest.raises(ValueError, match="a path has no NUL in it"):
        stack.serve_stats(f"{path}\0")
    assert file.read_text() == "mine"


def test_a_flush_that_takes_too_long_says_what_is_unconfirmed() -> None:
    clock = ManualClock()
    stack = packhorse.startup(clock=clock, transport=MemoryNetwork(clock).transport(("10.0.0.1", 1)))
    for last, count in enumerate((1, 4, 3, 2), start=2):
        for _ in range(count):
            stack.send(b"x", to=(f"10.0.0.{last}", 1))
    clock.advance(0.0)
    with pytest.raises(Timeout) as caught:
        stack.sender.flush(0.0)
    assert str(caught.value) == (
        "not everything was confirmed within 0.0 seconds; 10 packages are not: "
        "4 for 10.0.0.3:1, 3 for 10.0.0.4:1, 2 for 10.0.0.5:1, ..."
    )
    stack.supervisor.proxy().close(0.0).get()
    clock.advance(0.0)
    stack.close(0)


def test_a_stack_and_its_handles_show_their_address(start: Start) -> None:
    stack = start()
    at = f"127.0.0.1:{stack.address[1]}"
    assert repr(stack) == f"<packhorse.Stack {at}>"
    assert [repr(handle) for handle in stack] == [
        f"<packhorse.{name} of {at}>" for name in ("PackageSender", "PackageReceiver", "ConnErrorReceiver")
    ]
