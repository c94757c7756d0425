"""The link: what becomes of datagrams as a rule, and on real sockets."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest

import packhorse
from packhorse import OutPackage, PackageError, Peers, Reliability
from packhorse.testing import Link, UdpLink

HOST = "127.0.0.1"
PATIENCE = 30.0


def fates(link: Link, count: int = 2000) -> list[list[float]]:
    return [link.carry(100, 0.001 * number) for number in range(count)]


def test_a_perfect_link_passes_everything_at_once() -> None:
    link = Link()
    assert link.carry(508, 7.0) == [7.0]
    assert (link.passed, link.lost, link.duplicated) == (1, 0, 0)


def test_the_same_seed_has_the_same_luck_and_another_one_has_not() -> None:
    def luck(seed: int) -> list[list[float]]:
        return fates(Link(loss=0.2, delay=0.02, jitter=0.01, duplicate=0.1, reorder=0.1, seed=seed))

    assert luck(1) == luck(1)
    assert luck(1) != luck(2)


def test_what_is_lost_does_not_depend_on_what_else_the_link_does() -> None:
    plain = fates(Link(loss=0.2, seed=5))
    busy = fates(Link(loss=0.2, delay=0.1, jitter=0.3, duplicate=0.5, reorder=0.5, seed=5))
    assert [not arrivals for arrivals in plain] == [not arrivals for arrivals in busy]


def test_the_share_that_is_lost_or_doubled_is_the_one_asked_for() -> None:
    link = Link(loss=0.2, duplicate=0.1, seed=3)
    arrivals = fates(link, 10000)
    assert link.lost == sum(not copies for copies in arrivals)
    assert link.passed == 10000 - link.lost
    assert link.duplicated == sum(len(copies) == 2 for copies in arrivals)
    assert link.lost == pytest.approx(2000, abs=150)
    assert link.duplicated == pytest.approx(800, abs=100)


def test_certain_loss_loses_all_and_certain_duplication_doubles_all() -> None:
    assert not any(fates(Link(loss=1.0)))
    assert all(len(copies) == 2 for copies in fates(Link(duplicate=1.0)))


def test_delay_is_the_least_and_delay_with_jitter_the_most() -> None:
    link = Link(delay=0.05, jitter=0.02, seed=4)
    times = [link.carry(100, 10.0)[0] for _ in range(2000)]
    assert min(times) >= 10.05
    assert max(times) <= 10.07
    assert max(times) - min(times) > 0.019


@pytest.mark.parametrize(("delay", "held"), [(0.0, 0.01), (0.05, 0.05)])
def test_a_reordered_datagram_is_overtaken_by_those_that_follow_closely(delay: float, held: float) -> None:
    link = Link(delay=delay, reorder=0.5, seed=6)
    times = {link.carry(100, 0.0)[0] for _ in range(100)}
    assert times == {delay, delay + held}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("loss", -0.1),
        ("loss", 1.1),
        ("duplicate", 2),
        ("reorder", float("nan")),
        ("delay", -1),
        ("jitter", float("inf")),
    ],
)
def test_what_is_no_probability_or_no_time_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        Link(**{name: value})  # type: ignore[arg-type] # the names are those of float parameters


def udp() -> socket.socket:
    endpoint = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    endpoint.bind((HOST, 0))
    endpoint.settimeout(PATIENCE)
    return endpoint


def test_datagrams_pass_both_ways_and_each_client_gets_its_own_replies() -> None:
    with udp() as server, udp() as one, udp() as two, UdpLink(server.getsockname()) as link:
        one.sendto(b"one", link.address)
        two.sendto(b"two", link.address)
        for _ in range(2):
            datagram, source = server.recvfrom(100)
            server.sendto(b"for " + datagram, source)
        assert one.recvfrom(100) == (b"for one", link.address)
        assert two.recvfrom(100) == (b"for two", link.address)
    assert (link.there.passed, link.back.passed) == (2, 2)


def test_each_direction_has_a_link_of_its_own() -> None:
    lost = threading.Event()

    class Deaf(Link):
        def carry(self, size: int, now: float) -> list[float]:
            arrivals = super().carry(size, now)
            lost.set()
            return arrivals

    with udp() as server, udp() as client, UdpLink(server.getsockname(), back=Deaf(loss=1.0)) as relay:
        client.sendto(b"there", relay.address)
        datagram, source = server.recvfrom(100)
        server.sendto(b"back", source)
        assert lost.wait(PATIENCE)
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.recvfrom(100)
    assert datagram == b"there"
    assert (relay.there.passed, relay.back.lost, relay.back.passed) == (1, 1, 0)


def test_a_held_back_datagram_arrives_after_one_sent_later() -> None:
    both_sent = threading.Event()

    class FirstIsLate(Link):
        def carry(self, size: int, now: float) -> list[float]:
            assert both_sent.wait(PATIENCE)
            return [now if size == 1 else 0.0]

    with udp() as server, udp() as client, UdpLink(server.getsockname(), there=FirstIsLate()) as link:
        client.sendto(b"1", link.address)
        client.sendto(b"22", link.address)
        both_sent.set()
        assert [server.recvfrom(100)[0] for _ in range(2)] == [b"22", b"1"]


def test_closing_may_be_repeated_and_drops_what_is_under_way() -> None:
    went_in = threading.Event()

    class Endless(Link):
        def carry(self, size: int, now: float) -> list[float]:
            del size
            went_in.set()
            return [now + 3600.0]

    with udp() as server, udp() as client, UdpLink(server.getsockname(), there=Endless()) as link:
        client.sendto(b"never", link.address)
        assert went_in.wait(PATIENCE)
        link.close()


def test_a_taken_port_is_an_error_and_leaves_nothing_behind() -> None:
    with udp() as taken, pytest.raises(OSError, match="in use"):
        UdpLink(("127.0.0.1", 9), listen=taken.getsockname())


def test_stacks_talk_over_it_reliably() -> None:
    count = 100
    with packhorse.startup(host=HOST) as receiver, packhorse.startup(host=HOST) as sender:
        there = Link(loss=0.2, jitter=0.005, duplicate=0.1, reorder=0.1, seed=1)
        back = Link(loss=0.2, seed=2)
        with UdpLink(receiver.address, there=there, back=back) as link:
            for number in range(count):
                sender.sender.send(OutPackage(bytes([number]), Reliability.SEMI_ORDERED, Peers.PLAYERS, link.address))
            got = [receiver.receiver.recv(PATIENCE).data[0] for _ in range(count)]
            sender.sender.flush(PATIENCE)
    assert got == list(range(count))
    assert there.lost > 0


@pytest.mark.parametrize("to", ["127.0.0.1:9", ("127.0.0.1", 65536), ("127.0.0.1", 0)])
def test_a_relay_to_nowhere_is_refused(to: Any) -> None:
    with pytest.raises((TypeError, PackageError), match="a target"):
        UdpLink(to)
