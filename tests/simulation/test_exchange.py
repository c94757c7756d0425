"""Exchanges that the random schedules do not reach: small windows in bulk, fair networks, long pauses, empty tables."""

# pyright: reportPrivateUsage=false
# The reason: it looks into the tables to see that nothing stays in them.
from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from itertools import count
from random import Random
from typing import Any

import pytest

from packhorse import Address, ConfirmPolicy, OutPackage, Peers, Reliability
from packhorse.protocol.sources import Source
from packhorse.protocol.target import Target
from packhorse.testing import Link, SimulatedPeer, Simulation

from .promises import check

RELIABLE = (Reliability.UNORDERED, Reliability.SEMI_ORDERED)
BLOCK = 25

blocks = pytest.mark.parametrize("first_seed", range(0, 8 * BLOCK, BLOCK))


class Exchange:
    """One peer in the middle, one or two around it, and what they send each other."""

    def __init__(self, seed: int, **link: Any) -> None:
        self.random = Random(seed)
        self.simulation = Simulation(seed, hop=self.random.choice([0.0, 0.0001, 0.005, 0.05]))
        self.window = self.random.choice([1, 2, 3, 16, 512])
        confirm = self.random.choice([ConfirmPolicy(), ConfirmPolicy.original()])
        self.peers = [
            self.simulation.peer((f"10.0.0.{number}", number), window=self.window, confirm=confirm)
            for number in range(1, self.random.choice([3, 4]))
        ]
        self.pairs: list[tuple[SimulatedPeer, SimulatedPeer]] = []
        self.links: list[Link] = []
        self.sent: dict[tuple[Address, Address], list[OutPackage]] = {}
        self._serial = count(1)
        self._flushes = 0
        for other in self.peers[1:]:
            self.pairs += [(self.peers[0], other), (other, self.peers[0])]
            pair = [Link(seed=self.random.getrandbits(32), **link) for _ in range(2)]
            self.links += pair
            self.simulation.connect(self.peers[0], other, *pair)

    def start_at(self, first: int) -> None:
        """Begin as if `first` packages had been sent before, in every direction."""
        for one, other in self.pairs:
            one.numbering._targets[other.address] = Target(0, first, first + self.window)
            other.receiving._sources[one.address] = Source(0.0, first)
            other.receiving._sources._recent.add(one.address, 0.0)
            self.send(one, other, Reliability.UNORDERED)

    def send(self, one: SimulatedPeer, other: SimulatedPeer, kind: Reliability) -> None:
        package = OutPackage(next(self._serial).to_bytes(4, "big"), kind, Peers.PLAYERS, other.address)
        if kind in RELIABLE:
            self.sent.setdefault((one.address, other.address), []).append(package)
        one.send(package)

    def send_at_random(self, packages: int, seconds: float) -> None:
        """Let users send in all directions, in bursts, and flush now and then."""
        while packages > 0:
            one, other = self.random.choice(self.pairs)
            burst = min(packages, self.random.choice([1, 1, 5, 30]))
            kinds = [self.random.choice([*RELIABLE, *RELIABLE, Reliability.UNRELIABLE]) for _ in range(burst)]
            self.simulation.at(self.simulation.now + self.random.uniform(0, seconds), self._burst, one, other, kinds)
            packages -= burst

    def _burst(self, one: SimulatedPeer, other: SimulatedPeer, kinds: list[Reliability]) -> None:
        for kind in kinds:
            self.send(one, other, kind)
        if len(kinds) > 1:
            self._flushes += 1
            one.flush()

    def check(self) -> None:
        """Check every promise and that nothing is pending."""
        for one, other in self.pairs:
            check(one, other, self.sent.get((one.address, other.address), []))
        for peer in self.peers:
            assert peer.redelivery.pending == peer.numbering.waiting == peer.receiving.kept == 0
            assert not any(source.holes for source in peer.receiving._sources.values())
            assert not any(state.recovery.unconfirmed for state in peer.redelivery._peers.values())
        assert sum(len(peer.flushed) for peer in self.peers) == self._flushes

    def assert_no_failures(self) -> None:
        assert [peer.failures for peer in self.peers] == [[]] * len(self.peers)

    def assert_everything_is_forgotten(self) -> None:
        self.simulation.run(self.simulation.now + 1400)
        for peer in self.peers:
            numbering, redelivery, receiving = peer.numbering, peer.redelivery, peer.receiving
            tables: tuple[Any, ...] = (
                numbering._targets,
                numbering._expiries._heap,
                redelivery._peers,
                redelivery._timers,
                redelivery._ageing._heap,
                redelivery._flushes,
                receiving._sources,
                receiving._sources._recent._heap,
                receiving._sources._silent._heap,
                peer.confirmations._waiting,
                peer.confirmations._due,
            )
            assert [len(table) for table in tables] == [0] * len(tables)


@contextmanager
def _replayable(seed: int) -> Generator[None]:
    """Name the seed in whatever goes wrong."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"this was seed {seed}")
        raise


def _network(random: Random) -> dict[str, Any]:
    return {
        "loss": random.choice([0.0, 0.1, 0.3]),
        "duplicate": random.choice([0.0, 0.2]),
        "delay": random.uniform(0.0, 0.05),
        "jitter": random.choice([0.0, 0.02, 0.3]),
    }


@blocks
def test_over_a_fair_network_everything_is_delivered_once_and_in_order_and_nothing_is_reported(first_seed: int) -> None:
    for seed in range(first_seed, first_seed + BLOCK):
        with _replayable(seed):
            exchange = Exchange(seed, **_network(Random(seed)))
            if exchange.random.random() < 0.5:
                exchange.start_at(exchange.random.randint(0xFFFFE0, 0xFFFFFF))
            exchange.send_at_random(80, exchange.random.choice([0.1, 5.0]))
            exchange.simulation.run(5.0)
            exchange.simulation.settle(120)
            exchange.simulation.run(exchange.simulation.now + 2)
            exchange.assert_no_failures()
            exchange.check()
            exchange.assert_everything_is_forgotten()


@blocks
def test_across_blackouts_every_package_is_delivered_once_or_reported_once(first_seed: int) -> None:
    for seed in range(first_seed, first_seed + BLOCK):
        with _replayable(seed):
            exchange = Exchange(seed, **_network(Random(seed)))
            simulation, random = exchange.simulation, exchange.random
            for link in exchange.links:
                start = random.uniform(0, 60)
                simulation.at(start, setattr, link, "up", False)
                simulation.at(start + random.choice([0, 5, 25, 70]), setattr, link, "up", True)
            exchange.send_at_random(120, 130.0)
            simulation.run(200.0)
            for one, other in exchange.pairs:
                exchange.send(one, other, Reliability.SEMI_ORDERED)
            last = {exchange.sent[one.address, other.address][-1].data for one, other in exchange.pairs}
            simulation.run(201.0)
            simulation.settle(120)
            simulation.run(simulation.now + 2)
            exchange.check()
            delivered = {package.data for peer in exchange.peers for package in peer.delivered}
            assert last <= delivered, "a failed peer left a hole"
            exchange.assert_everything_is_forgotten()


@blocks
def test_pauses_that_make_both_ends_forget_each_other_lose_nothing(first_seed: int) -> None:
    for seed in range(first_seed, first_seed + BLOCK, 5):
        with _replayable(seed):
            exchange = Exchange(seed, **_network(Random(seed)))
            for _ in range(4):
                exchange.send_at_random(20, 1.0)
                exchange.simulation.run(exchange.simulation.now + 1)
                exchange.simulation.settle(120)
                # Between 600 and 660 s a receiver cannot tell a late id 0 from a sender that goes on.
                exchange.simulation.run(exchange.simulation.now + exchange.random.choice([100, 670, 1400]))
            exchange.assert_no_failures()
            exchange.check()


def test_a_pause_that_only_the_sender_forgets_in_loses_nothing_that_comes_in_order() -> None:
    for seed in range(BLOCK):
        with _replayable(seed):
            exchange = Exchange(seed, delay=0.01)
            one, other = exchange.pairs[0]
            for _ in range(4):
                for _ in range(exchange.random.randint(1, 20)):
                    exchange.send(one, other, exchange.random.choice(RELIABLE))
                exchange.simulation.run(exchange.simulation.now + exchange.random.uniform(601, 659))
            exchange.check()
            assert len(other.delivered) == len(exchange.sent[one.address, other.address])
            assert other.receiving.duplicates == 0


def test_the_same_seed_gives_the_same_run() -> None:
    def run() -> tuple[int, int, int, list[float]]:
        exchange = Exchange(1, loss=0.3, duplicate=0.3, jitter=0.2)
        one, other = exchange.pairs[0]
        for _ in range(100):
            exchange.send(one, other, Reliability.SEMI_ORDERED)
        exchange.simulation.run(60)
        return (
            one.redelivery.resent,
            other.receiving.duplicates,
            other.confirmations.confirmed,
            other.delivered_at,
        )

    assert run() == run()
    assert run()[0] > 0
