"""How well packages are delivered: the figures that users may count on, in virtual time and with fixed seeds.

Unless a test says otherwise: 200 packages a second, of 64 and 504 bytes in turn, 20 ms each way, as much loss one way
as the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from packhorse import Address, ConfirmPolicy, OutPackage, Peers, Reliability
from packhorse.testing import Link, SimulatedPeer, Simulation

from .pairs import DELAY, RATE, SIZES, Pair, latencies_of, packages_of, percentile

UNORDERED, SEMI_ORDERED = Reliability.UNORDERED, Reliability.SEMI_ORDERED
OVERHEAD = 28
"""Bytes of IP and UDP headers."""

kinds = pytest.mark.parametrize("kind", [UNORDERED, SEMI_ORDERED], ids=["unordered", "semi-ordered"])


@pytest.mark.parametrize("lateness", [0.05, 0.3])
def test_a_late_stack_takes_nothing_for_lost(lateness: float) -> None:
    pair = Pair()
    pair.sender.lateness = lateness
    pair.stream(UNORDERED, 1000, rate=2000.0)
    assert len(pair.receiver.delivered) == 1000
    assert pair.sender.redelivery.resent == 0


def test_a_late_stack_delivers_what_is_lost() -> None:
    pair = Pair(loss=0.2)
    pair.sender.lateness = 0.1
    pair.stream(SEMI_ORDERED, 1000)
    assert [int.from_bytes(package.data[:4], "big") for package in pair.receiver.delivered] == list(range(1000))


# Latency.


@pytest.mark.parametrize(
    ("loss", "kind", "median", "p99"),
    [
        (0.0, UNORDERED, 20.3, 21),
        (0.0, SEMI_ORDERED, 20.3, 21),
        (0.05, UNORDERED, 20.3, 70),
        (0.05, SEMI_ORDERED, 20.6, 75),
        (0.2, UNORDERED, 21, 95),
        (0.2, SEMI_ORDERED, 60, 125),
    ],
)
def test_losses_cost_hardly_more_than_one_round_trip(loss: float, kind: Reliability, median: float, p99: float) -> None:
    count = 4000 if loss else 500  # without losses all are alike
    pair = Pair(loss=loss)
    pair.stream(kind, count)
    latencies = pair.latencies()
    assert len(latencies) == count
    assert percentile(latencies, 50) <= median
    assert percentile(latencies, 99) <= p99


def test_sending_again_costs_little_more_than_what_was_lost() -> None:
    pair = Pair(loss=0.05)
    pair.stream(UNORDERED, 4000)
    assert pair.sender.redelivery.resent < 0.12 * 4000, "two copies of each lost one"


def test_a_fast_stream_over_jitter_is_soon_known_to_be_reordered_and_not_lossy() -> None:
    """150 packages pass one that is late by 75 ms."""
    pair = Pair(delay=0.15, jitter=0.075)
    pair.stream(UNORDERED, 10_000, rate=2000.0)
    assert len(pair.receiver.delivered) == 10_000
    assert pair.sender.redelivery.resent < 0.1 * 10_000


@pytest.mark.parametrize(("size", "p99"), [(SIZES[0], 150), (SIZES[1], 250)], ids=["small", "large"])
def test_a_fast_stream_loses_no_speed_to_losses_whatever_the_size_of_itspackages_of(size: int, p99: float) -> None:
    pair = Pair(loss=0.2)
    for number in range(8000):
        data = number.to_bytes(4, "big") + bytes(size - 4)
        package = OutPackage(data, UNORDERED, Peers.PLAYERS, pair.receiver.address)
        pair.simulation.at(number / 2000, pair.sender.send, package)
    pair.simulation.run(20.0)
    latencies = sorted(pair.latencies(rate=2000.0))
    assert len(latencies) == 8000
    assert (latencies[4000] < 1000 * DELAY + 10, latencies[7920] < p99) == (True, True), latencies[::1000]


def test_two_copies_at_once_spare_most_packages_the_round_trip() -> None:
    pair = Pair(loss=0.05)
    pair.stream(UNORDERED, 4000, eager=2)
    latencies = pair.latencies()
    assert len(latencies) == 4000
    assert percentile(latencies, 99) < 30


@kinds
def test_losses_in_bursts_are_recovered_as_well(kind: Reliability) -> None:
    """Every hundredth datagram begins a burst of five lost ones, on average."""
    pair = Pair(burst_every=100.0, burst_length=5.0)
    pair.stream(kind, 4000)
    latencies = pair.latencies()
    assert len(latencies) == 4000
    assert percentile(latencies, 50) <= 20.6
    assert percentile(latencies, 99) < 150


# Endurance.


def test_an_hour_at_20_percent_loss_fails_nobody() -> None:
    pair = Pair(loss=0.2)
    pair.stream(SEMI_ORDERED, 3600 * 2, rate=2)
    assert len(pair.receiver.delivered) == 3600 * 2
    assert pair.sender.failures == []


@kinds
def test_at_50_percent_loss_everything_still_arrives(kind: Reliability) -> None:
    pair = Pair(loss=0.5)
    pair.stream(kind, 3000)
    assert len(pair.receiver.delivered) == 3000
    assert pair.sender.failures == []


@kinds
@pytest.mark.parametrize("start", [5.0, 5.1, 5.25, 5.5, 5.8])
def test_service_resumes_within_a_second_and_a_half_after_a_blackout_of_ten(start: float, kind: Reliability) -> None:
    pair = Pair(loss=0.05)
    for link in pair.links:
        pair.simulation.at(start, setattr, link, "up", False)
        pair.simulation.at(start + 10.0, setattr, link, "up", True)
    pair.stream(kind, RATE * 20)
    assert len(pair.receiver.delivered) == RATE * 20
    assert min(time for time in pair.receiver.delivered_at if time > start + 10) < start + 11.5
    after = [
        latency
        for latency, time in zip(pair.latencies(), pair.receiver.delivered_at, strict=True)
        if time - latency / 1000 > start + 11.5
    ]
    assert percentile(after, 99) < 100, "what was sent then finds no queue any more"


# Flow.


class Bottleneck:
    """Senders that always have something to send, and 10 Mbit/s, 20 ms each way and a queue of 64 for all of them."""

    BANDWIDTH = 10e6

    def __init__(
        self,
        senders: int,
        *,
        seed: int = 1,
        apart: float = 0.0,
        loss: float = 0.0,
        confirm: ConfirmPolicy | None = None,
        size: int = 504,
        bandwidth: float = BANDWIDTH,
    ) -> None:
        self.size = size
        self.simulation = Simulation(seed)
        self.link = Link(delay=DELAY, bandwidth=bandwidth, queue=64, loss=loss, seed=seed)
        self.receiver = self.simulation.peer(("10.0.1.1", 1), confirm=confirm)
        self.senders: list[SimulatedPeer] = []
        for number in range(senders):
            sender = self.simulation.peer((f"10.0.0.{number + 1}", 1))
            self.senders.append(sender)
            self.simulation.connect(sender, self.receiver, self.link, Link(delay=DELAY, loss=loss, seed=seed + number))
            self.simulation.at(number * apart, self._feed, sender)

    def _feed(self, sender: SimulatedPeer) -> None:
        for _ in range(max(0, 256 - sender.numbering.waiting)):
            sender.send(OutPackage(bytes(self.size), UNORDERED, Peers.PLAYERS, self.receiver.address))
        self.simulation.at(self.simulation.now + 0.02, self._feed, sender)

    def run(self, until: float, *, after: float) -> Counter[Address]:
        """Return how many packages of each sender arrived between these times."""
        self.simulation.run(until)
        return Counter(
            package.source
            for package, time in zip(self.receiver.delivered, self.receiver.delivered_at, strict=True)
            if time > after
        )

    @property
    def loss(self) -> float:
        return self.link.lost / (self.link.passed + self.link.lost)


def _check_use(bottleneck: Bottleneck, *, loss: float, share: float, seconds: float = 10.0) -> None:
    """Use a bottleneck for so long; look at how much of it, and at shares, without the first 5 s."""
    arrived = bottleneck.run(seconds, after=5.0)
    bits = 8 * (508 + OVERHEAD) * arrived.total()
    assert bits / (seconds - 5.0) / Bottleneck.BANDWIDTH > 0.9
    assert bottleneck.loss < loss
    assert max(arrived.values()) / arrived.total() < share


def test_a_bottleneck_is_used_almost_fully_almost_without_loss() -> None:
    _check_use(Bottleneck(1), loss=0.01, share=1.1)


@pytest.mark.parametrize(("seed", "apart"), [(1, 0.0), (2, 0.0), (3, 0.005), (4, 0.02), (5, 0.1), (6, 1.0)])
def test_two_share_a_bottleneck_equally_and_almost_without_loss(seed: int, apart: float) -> None:
    _check_use(Bottleneck(2, seed=seed, apart=apart), loss=0.01, share=0.6)


def test_two_that_send_small_packages_lose_little_at_a_bottleneck_too() -> None:
    """A window of 16 large packages would be four times what the path and its queue hold."""
    bottleneck = Bottleneck(2, size=60, bandwidth=1e6)
    arrived = bottleneck.run(15.0, after=5.0)
    assert 8 * (64 + OVERHEAD) * arrived.total() / 10.0 / 1e6 > 0.9
    assert bottleneck.loss < 0.2


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_eight_that_start_together_at_a_bottleneck_soon_lose_little(seed: int) -> None:
    """Their first bursts alone are four times what the queue holds, and their floors more than the path does."""
    _check_use(Bottleneck(8, seed=seed), loss=0.06, share=0.3, seconds=15.0)


def test_losses_of_the_path_do_not_shrink_what_it_carries_to_a_trickle() -> None:
    arrived = Bottleneck(1, loss=0.2).run(6.0, after=2.0)
    assert arrived.total() / 4.0 > 800, "packages a second"


def test_a_bottleneck_before_an_original_is_used_and_shared_too() -> None:
    bottleneck = Bottleneck(2, confirm=ConfirmPolicy.original())
    arrived = bottleneck.run(10.0, after=5.0)
    assert 8 * (508 + OVERHEAD) * arrived.total() / 5.0 / Bottleneck.BANDWIDTH > 0.6
    resent = sum(sender.redelivery.resent for sender in bottleneck.senders)
    assert resent <= 2 * bottleneck.link.lost, "what is lost is sent again in two copies at the most"


@kinds
def test_a_flood_over_a_clean_link_arrives_whole_and_at_once(kind: Reliability) -> None:
    pair = Pair()
    for package in packages_of(kind, 20_000, pair.receiver.address):
        pair.sender.send(package)
    pair.simulation.settle(5.0)
    assert len(pair.receiver.delivered) == 20_000
    assert pair.sender.redelivery.resent == 0


# An original at the other end.


@kinds
@pytest.mark.parametrize("rate", [20, 200, 2000])
def test_to_an_original_nothing_is_sent_again_without_cause(rate: int, kind: Reliability) -> None:
    pair = Pair(confirm=ConfirmPolicy.original())
    pair.stream(kind, 2000, rate=rate, linger=5.0)
    assert len(pair.receiver.delivered) == 2000
    assert pair.sender.redelivery.resent == 0


def test_a_flood_to_an_original_arrives_and_nothing_is_sent_again_without_cause() -> None:
    pair = Pair(confirm=ConfirmPolicy.original())
    for package in packages_of(UNORDERED, 5000, pair.receiver.address):
        pair.sender.send(package)
    pair.simulation.settle(30.0)
    assert len(pair.receiver.delivered) == 5000
    assert pair.sender.redelivery.resent == 0


def test_to_an_original_losses_are_recovered_too() -> None:
    pair = Pair(confirm=ConfirmPolicy.original(), loss=0.05)
    pair.stream(SEMI_ORDERED, 4000)
    assert len(pair.receiver.delivered) == 4000
    assert percentile(pair.latencies(), 99) < 400


# Isolation.


def _healthy_p99(*others: Callable[[], Link]) -> float:
    """Return the 99th percentile, in milliseconds, of what goes to eight healthy peers beside others."""
    simulation = Simulation(1)
    sender = simulation.peer(("10.0.0.1", 1))
    rate, count = 50, 500
    peers: list[SimulatedPeer] = []
    for number in range(8 + len(others)):
        there = Link(delay=DELAY, loss=0.02, seed=number) if number < 8 else others[number - 8]()
        peer = simulation.peer((f"10.0.1.{number + 1}", 1))
        peers.append(peer)
        simulation.connect(sender, peer, there, Link(delay=DELAY, loss=0.02, seed=100 + number))
        for place, package in enumerate(packages_of(SEMI_ORDERED, count, peer.address)):
            simulation.at(place / rate, sender.send, package)
    simulation.run(count / rate + 5.0)
    latencies = [latency for peer in peers[:8] for latency in latencies_of(peer, rate)]
    assert len(latencies) == 8 * count
    return percentile(latencies, 99)


def test_a_dead_and_a_slow_peer_do_not_slow_down_eight_healthy_ones() -> None:
    def dead() -> Link:
        link = Link()
        link.up = False
        return link

    def slow() -> Link:
        return Link(delay=0.3, jitter=0.3, bandwidth=100_000.0)

    assert _healthy_p99(dead, slow) <= 1.2 * _healthy_p99()
