"""The promises of the whole protocol, over a bad network; see `simulation`."""

# pyright: reportPrivateUsage=false
# The reason: it looks into the tables to see that nothing stays in them.
from __future__ import annotations

from random import Random

import pytest

from packhorse.protocol import ConfirmPolicy, Reliability

from .simulation import RELIABLE, Host, Network, Simulation, replayable

A, B, C = ("10.0.0.1", 1), ("10.0.0.2", 2), ("10.0.0.3", 3)
BLOCK = 25

blocks = pytest.mark.parametrize("first_seed", range(0, 8 * BLOCK, BLOCK))


def _network(random: Random) -> Network:
    shortest = random.uniform(0.0, 0.05)
    return Network(
        loss=random.choice([0.0, 0.1, 0.3]),
        duplication=random.choice([0.0, 0.2]),
        delay=(shortest, shortest + random.choice([0.0, 0.02, 0.3])),
    )


def _hosts(random: Random, simulation: Simulation) -> list[Host]:
    window = random.choice([1, 2, 3, 16, 512])
    confirm = random.choice([ConfirmPolicy(), ConfirmPolicy.original()])
    return [Host(simulation, address, window=window, confirm=confirm) for address in random.choice([(A, B), (A, B, C)])]


def _send_at_random(random: Random, simulation: Simulation, hosts: list[Host], packages: int, seconds: float) -> None:
    """Let the first host be sent to by all others, and send to each of them."""
    while packages > 0:
        source, target = random.choice(
            [(hosts[0], other) for other in hosts[1:]] + [(other, hosts[0]) for other in hosts[1:]]
        )
        burst = min(packages, random.choice([1, 1, 5, 30]))
        kinds = [random.choice([*RELIABLE, *RELIABLE, Reliability.UNRELIABLE]) for _ in range(burst)]

        def send(source: Host = source, target: Host = target, kinds: list[Reliability] = kinds) -> None:
            for kind in kinds:
                source.send(target, kind)
            if len(kinds) > 1:
                source.flush()

        simulation.at(simulation.now + random.uniform(0, seconds), send)
        packages -= burst


def _assert_nothing_is_left(simulation: Simulation) -> None:
    for host in simulation.hosts.values():
        assert host.redelivery.pending == host.numbering.waiting == host.receiving.kept == 0
        assert not any(source.holes for source in host.receiving._sources.values())
        assert not any(peer.unconfirmed for peer in host.redelivery._peers.values())
    simulation.run(simulation.now + 1400)
    assert [host.remembers for host in simulation.hosts.values()] == [0] * len(simulation.hosts)


@blocks
def test_over_a_fair_network_everything_is_delivered_once_and_in_order_and_nothing_is_reported(first_seed: int) -> None:
    for seed in range(first_seed, first_seed + BLOCK):
        with replayable(seed):
            random = Random(seed)
            simulation = Simulation(seed, _network(random), lag=random.choice([0.0001, 0.005, 0.05]))
            hosts = _hosts(random, simulation)
            if random.random() < 0.5:
                for other in hosts[1:]:
                    for source, target in ((hosts[0], other), (other, hosts[0])):
                        source.start_at(random.randint(0xFFFFE0, 0xFFFFFF), target)
                        source.send(target, Reliability.UNORDERED)
            _send_at_random(random, simulation, hosts, 80, random.choice([0.1, 5.0]))
            simulation.run(5.0)
            simulation.run_until_quiet(120)
            simulation.run(simulation.now + 2)
            reliable = [parcel for parcel in simulation.parcels if parcel.reliability in RELIABLE]
            assert [parcel.delivered for parcel in reliable] == [1] * len(reliable)
            assert [host.failures for host in hosts] == [[]] * len(hosts)
            _assert_nothing_is_left(simulation)


@blocks
def test_across_blackouts_every_package_is_delivered_once_or_reported_once(first_seed: int) -> None:
    for seed in range(first_seed, first_seed + BLOCK):
        with replayable(seed):
            random = Random(seed)
            simulation = Simulation(seed, _network(random), lag=random.choice([0.005, 0.05]))
            hosts = _hosts(random, simulation)
            for other in hosts[1:]:
                for pair in ((hosts[0], other), (other, hosts[0])):
                    start = random.uniform(0, 60)
                    end = start + random.choice([0, 5, 25, 70])
                    simulation.network.blackouts.append((start, end, pair[0].address, pair[1].address))
            _send_at_random(random, simulation, hosts, 120, 130.0)
            simulation.run(200.0)
            for other in hosts[1:]:
                hosts[0].send(other, Reliability.SEMI_ORDERED)
                other.send(hosts[0], Reliability.SEMI_ORDERED)
            simulation.run(201.0)
            simulation.run_until_quiet(120)
            simulation.run(simulation.now + 2)
            assert all(parcel.settled for parcel in simulation.parcels if parcel.reliability in RELIABLE)
            assert all(parcel.delivered for parcel in simulation.parcels[-2:])
            _assert_nothing_is_left(simulation)


@blocks
def test_pauses_that_make_both_ends_forget_each_other_lose_nothing(first_seed: int) -> None:
    for seed in range(first_seed, first_seed + BLOCK, 5):
        with replayable(seed):
            random = Random(seed)
            simulation = Simulation(seed, _network(random))
            hosts = _hosts(random, simulation)
            for _ in range(4):
                _send_at_random(random, simulation, hosts, 20, 1.0)
                simulation.run(simulation.now + 1)
                simulation.run_until_quiet(120)
                # Between 600 and 660 s a receiver cannot tell a late id 0 from a sender that goes on.
                simulation.run(simulation.now + random.choice([100, 670, 1400]))
            reliable = [parcel for parcel in simulation.parcels if parcel.reliability in RELIABLE]
            assert [parcel.delivered for parcel in reliable] == [1] * len(reliable)
            assert [host.failures for host in hosts] == [[]] * len(hosts)


def test_a_pause_that_only_the_sender_forgets_in_loses_nothing_that_comes_in_order() -> None:
    for seed in range(BLOCK):
        with replayable(seed):
            simulation = Simulation(seed, Network())
            a, b = Host(simulation, A), Host(simulation, B)
            for _ in range(4):
                for _ in range(simulation.random.randint(1, 20)):
                    a.send(b, simulation.random.choice(RELIABLE))
                simulation.run(simulation.now + simulation.random.uniform(601, 659))
            assert [parcel.delivered for parcel in simulation.parcels] == [1] * len(simulation.parcels)
            assert b.receiving.duplicates == 0


def test_the_same_seed_gives_the_same_run() -> None:
    def run() -> tuple[int, int, int]:
        simulation = Simulation(1, Network(loss=0.3, duplication=0.3, delay=(0.0, 0.2)))
        a, b = Host(simulation, A), Host(simulation, B)
        for _ in range(100):
            a.send(b, Reliability.SEMI_ORDERED)
        simulation.run(60)
        return a.redelivery.resent, b.receiving.duplicates, b.confirmations.confirmed

    assert run() == run()
    assert run()[0] > 0
