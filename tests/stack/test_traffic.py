"""Whole stacks over real sockets: what is sent arrives, and nobody's trouble becomes another's."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

import pykka
import pytest

import packhorse
from packhorse import OutPackage, Peers, Reliability, ResendPolicy
from packhorse.protocol import FixedController

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from packhorse import Address, Stack

    Start = Callable[..., Stack]

WAIT = 20.0
"""Seconds after which something that should have happened counts as lost."""


def take(stack: Stack, count: int) -> list[bytes]:
    got: list[bytes] = []
    while len(got) < count:
        got += [package.data for package in stack.receiver.recv_many(count - len(got), WAIT)]
    return got


def numbered(count: int, to: Address, reliability: Reliability = Reliability.SEMI_ORDERED) -> list[OutPackage]:
    return [OutPackage(b"%d" % number, reliability, Peers.PLAYERS, to) for number in range(count)]


def sending(stack: Stack, count: int, to: Address) -> threading.Thread:
    thread = threading.Thread(target=stack.sender.send_many, args=(numbered(count, to),), daemon=True)
    thread.start()
    return thread


def in_order(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


@pytest.fixture
def silent() -> Iterator[Address]:
    """The address of somebody who never answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.1", 0))
        yield deaf.getsockname()


@pytest.mark.parametrize(
    ("first_host", "second_host"), [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("::1", "::"), ("::", "::1")]
)
def test_reliable_packages_arrive_in_order_both_ways(start: Start, first_host: str, second_host: str) -> None:
    first, second = start(first_host), start(second_host)
    loopback = "::1" if ":" in first_host else "127.0.0.1"
    first.sender.send_many(numbered(500, (loopback, second.address[1])))
    second.sender.send_many(numbered(500, (loopback, first.address[1])))
    assert take(second, 500) == in_order(500)
    assert take(first, 500) == in_order(500)
    first.sender.flush(WAIT)
    second.sender.flush(WAIT)


def test_a_stack_on_every_address_talks_ipv4_and_ipv6(start: Start) -> None:
    both, four, six = start("::"), start("127.0.0.1"), start("::1")
    port = both.address[1]
    four.send(b"four", to=("127.0.0.1", port))
    four_in = both.receiver.recv(WAIT)
    six.send(b"six", to=("::1", port))
    six_in = both.receiver.recv(WAIT)
    assert (four_in.data, four_in.source) == (b"four", four.address)
    assert (six_in.data, six_in.source) == (b"six", six.address)
    both.send(b"answer", to=four_in.source)
    both.send(b"answer", to=six_in.source)
    assert four.receiver.recv(WAIT).data == b"answer"
    assert six.receiver.recv(WAIT).data == b"answer"


def test_a_host_name_is_as_good_as_an_address(start: Start) -> None:
    first, second = start(), start()
    first.send(b"by name", to=("localhost", second.address[1]))
    assert second.receiver.recv(WAIT).data == b"by name"
    first.sender.flush(WAIT)


def test_a_received_package_says_all_about_itself(start: Start) -> None:
    first, second = start(), start()
    for reliability in Reliability:
        for peers in Peers:
            first.sender.send(OutPackage(b"x", reliability, peers, second.address))
            package = second.receiver.recv(WAIT)
            assert (package.data, package.reliability, package.peers) == (b"x", reliability, peers)
            assert package.source == first.address


def test_the_system_chooses_a_port_and_the_stack_says_which(start: Start) -> None:
    host, port = start().address[:2]
    assert host == "127.0.0.1"
    assert port > 0


def test_a_stack_may_send_to_itself(start: Start) -> None:
    stack = start()
    stack.sender.send_many(numbered(100, stack.address))
    assert take(stack, 100) == in_order(100)
    stack.sender.flush(WAIT)


def test_a_user_who_never_reads_can_go_on_sending(start: Start) -> None:
    lazy, busy = start(), start()
    flood = sending(busy, 9000, lazy.address)
    own = sending(lazy, 4000, busy.address)
    assert take(busy, 4000) == in_order(4000)
    own.join(WAIT)
    lazy.sender.flush(WAIT)
    assert flood.is_alive()  # held up, but not lost
    assert take(lazy, 9000) == in_order(9000)
    flood.join(WAIT)
    busy.sender.flush(WAIT)


def test_a_target_that_never_answers_holds_up_no_other(start: Start, silent: Address) -> None:
    first, second = start(), start()
    blocked = threading.Thread(target=_send_until_closed, args=(first, silent))
    blocked.start()
    others = sending(first, 3000, second.address)
    assert take(second, 3000) == in_order(3000)
    others.join(WAIT)
    first.close(timeout=0)
    blocked.join(WAIT)
    assert not blocked.is_alive()


def _send_until_closed(stack: Stack, target: Address) -> None:
    with contextlib.suppress(packhorse.Closed):
        while True:
            stack.send(b"nobody listens", to=target)


def test_many_threads_may_send_to_several_targets(start: Start) -> None:
    first = start()
    targets = [start() for _ in range(3)]
    senders = 4

    def send(number: int) -> None:
        for serial in range(300):
            for target in targets:
                first.send(b"%d %d" % (number, serial), to=target.address, reliability=Reliability.SEMI_ORDERED)

    threads = [threading.Thread(target=send, args=(number,)) for number in range(senders)]
    for thread in threads:
        thread.start()
    for target in targets:
        got = [tuple(map(int, data.split())) for data in take(target, senders * 300)]
        for number in range(senders):
            assert [serial for who, serial in got if who == number] == list(range(300))
    for thread in threads:
        thread.join(WAIT)
    first.sender.flush(WAIT)
    counters = first.counters()
    assert counters["usender.restarts"] == 0


def test_several_handles_of_several_threads_share_one_receiver(start: Start) -> None:
    first, second = start(), start()
    got: list[bytes] = []

    def receive() -> None:
        try:
            for package in second.receiver:
                got.append(package.data)
                if len(got) == 900:
                    second.receiver.close()
        except packhorse.Closed:
            pass

    threads = [threading.Thread(target=receive) for _ in range(3)]
    for thread in threads:
        thread.start()
    first.sender.send_many(numbered(900, second.address))
    for thread in threads:
        thread.join(WAIT)
        assert not thread.is_alive()
    assert sorted(map(int, got)) == list(range(900))


def test_flush_waits_until_everything_is_confirmed(start: Start) -> None:
    first, second = start(), start()
    first.sender.send_many(numbered(1000, second.address))
    first.sender.flush(WAIT)
    assert len(second.receiver.drain()) == 1000
    assert first.close(timeout=0) == []


def test_flush_of_nothing_returns(start: Start) -> None:
    start().sender.flush(WAIT)


def test_flush_returns_when_a_peer_has_failed(start: Start, silent: Address) -> None:
    stack = start(resend=ResendPolicy(silence=0.05))
    stack.send(b"x", to=silent)
    stack.sender.flush(WAIT)
    failure = stack.errors.recv(WAIT)
    assert failure.target == silent
    assert [package.data for package in failure.unconfirmed] == [b"x"]


def test_flush_that_takes_too_long_says_so(start: Start, silent: Address) -> None:
    stack = start()
    stack.send(b"x", to=silent)
    with pytest.raises(packhorse.Timeout):
        stack.sender.flush(0.01)


def test_failures_nobody_reads_merge(start: Start, silent: Address) -> None:
    stack = start(resend=ResendPolicy(silence=0.02))
    for data in (b"1", b"2", b"3"):
        stack.send(data, to=silent)
        stack.sender.flush(WAIT)
    (failure,) = stack.errors.drain()
    assert {package.data for package in failure.unconfirmed} == {b"1", b"2", b"3"}
    assert failure.count == 3


def test_a_peer_that_failed_and_came_back_gets_everything_in_order(start: Start) -> None:
    first = start(resend=ResendPolicy(silence=0.05))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.1", 0))
        target = deaf.getsockname()
        first.sender.send_many(numbered(5, target))
        assert first.errors.recv(WAIT).count == 5
    second = packhorse.startup(target[1], "127.0.0.1")
    try:
        first.send(b"5", to=target, reliability=Reliability.SEMI_ORDERED)
        assert take(second, 6) == in_order(6)
        first.sender.flush(WAIT)
    finally:
        second.close()


def test_forgetting_a_peer_starts_its_numbering_again(start: Start) -> None:
    first, second = start(), start()
    first.send(b"before", to=second.address)
    first.sender.flush(WAIT)
    assert second.receiver.recv(WAIT).data == b"before"
    first.forget(second.address)
    second.forget(first.address)
    first.send(b"after", to=second.address)
    assert second.receiver.recv(WAIT).data == b"after"
    first.sender.flush(WAIT)


def test_packages_arrive_at_a_subscribed_actor(start: Start) -> None:
    first, second = start(), start()
    got: list[bytes] = []
    done = threading.Event()

    class Game(pykka.ThreadingActor):
        def on_receive(self, message: object) -> None:
            assert isinstance(message, packhorse.InPackage)
            got.append(message.data)
            if len(got) == 2000:
                done.set()

    game = Game.start()
    try:
        second.receiver.subscribe(game)
        first.sender.send_many(numbered(2000, second.address))
        assert done.wait(WAIT)
    finally:
        threads = [thread for thread in threading.enumerate() if thread.name.startswith("Game")]
        game.stop()
        for thread in threads:
            thread.join(WAIT)
    assert got == in_order(2000)


def test_an_idle_stack_counts_nothing(start: Start) -> None:
    stack = start()
    counters = stack.counters()
    assert set(counters.values()) == {0}
    assert "dsender.restarts" in counters


def test_counters_tell_what_happened(start: Start) -> None:
    first, second = start(), start()
    first.sender.send_many(numbered(10, second.address))
    first.sender.flush(WAIT)
    assert take(second, 10) == in_order(10)
    sent, received = first.counters(), second.counters()
    assert sent["dsender.datagrams"] >= 10
    assert received["dreceiver.datagrams"] >= 10
    assert received["confirmer.confirmed"] >= 10
    assert received["ureceiver.refused"] == 0


def test_the_congestion_controller_can_be_replaced(start: Start) -> None:
    made: list[FixedController] = []

    def controller() -> FixedController:
        made.append(FixedController())
        return made[-1]

    first, second, third = start(controller=controller), start(), start()
    for stack in (second, third):
        first.sender.send_many(numbered(2000, stack.address))
        assert take(stack, 2000) == in_order(2000)
    assert len(made) == 2, "one for each peer"
