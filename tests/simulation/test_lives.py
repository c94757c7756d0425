"""Peers that are started anew at any moment, over links on which packages of their old lives come late.

`run(seed)` is one random schedule. Whatever happens, every package of a peer's last life is delivered or reported, no
receiving life gets one twice or out of order, and nothing of an old life comes after the first package of a new one.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from packhorse import ConfirmPolicy, OutPackage, PeerRestarted, Peers, Reliability, ResendPolicy
from packhorse.testing import Link, Simulation

from .promises import check

if TYPE_CHECKING:
    from packhorse import InPackage
    from packhorse.testing import SimulatedPeer

RELIABLE = (Reliability.UNORDERED, Reliability.SEMI_ORDERED)
BLOCK = 50


@dataclass(frozen=True)
class Sent:
    """A package, the life of its sender, and its place among all that were sent."""

    package: OutPackage
    life: int
    place: int


class Lives:
    """Two peers that are restarted, or forget each other, while they talk.

    Args:
        seed: of the schedule.
        both: whether both are restarted, at once or nearly so, or one at a time.
        forget: whether users forget peers too.
        late: seconds that a datagram comes late at most.
    """

    def __init__(self, seed: int, *, both: bool = False, forget: bool = False, late: float = 3.0) -> None:
        rng = self.random = Random(seed)
        self.simulation = Simulation(seed, hop=rng.choice((0.0, 0.0003, 0.02)))
        confirm = ConfirmPolicy.original() if rng.random() < 0.1 else ConfirmPolicy()
        resend = ResendPolicy.original() if rng.random() < 0.1 else ResendPolicy()
        window = rng.choice((1, 16, 1024))
        self.one, self.other = self.peers = tuple(
            self.simulation.peer((f"10.0.0.{n}", n), confirm=confirm, resend=resend, window=window) for n in (1, 2)
        )
        self.there, self.back = self.links = tuple(
            Link(
                loss=rng.choice((0.0, 0.1, 0.3)),
                delay=rng.choice((0.0, 0.01, 0.2)),
                jitter=rng.choice((0.0, 0.02, 0.3, late)),
                duplicate=rng.choice((0.0, 0.1, 0.5)),
                seed=rng.getrandbits(32),
            )
            for _ in range(2)
        )
        self.simulation.connect(self.one, self.other, self.there, self.back)
        self.sent: dict[bytes, Sent] = {}
        self.earlier: set[bytes] = set()
        """What earlier lives of the receiver were given."""
        self._schedule(both=both, forget=forget)

    def _schedule(self, *, both: bool, forget: bool) -> None:
        rng, simulation = self.random, self.simulation
        time = 0.0
        for _ in range(rng.choice((10, 60, 200))):
            time += rng.choice((0.0, 0.0, 0.01, 0.1, 1.0))
            simulation.at(time, self._send, rng.choice(self.peers), rng.choice(RELIABLE))
        self.ends = time + 1.0
        for _ in range(rng.randint(1, 3)):
            at = rng.random() * self.ends
            for peer in self.peers if both else [rng.choice(self.peers)]:
                simulation.at(at + rng.choice((0.0, 0.0, 0.1)) * both, simulation.restart, peer)
            if forget:
                peer = rng.choice(self.peers)
                simulation.at(rng.random() * self.ends, peer.forget, self._opposite(peer).address)

    def _opposite(self, peer: SimulatedPeer) -> SimulatedPeer:
        return self.other if peer is self.one else self.one

    def _send(self, peer: SimulatedPeer, kind: Reliability) -> None:
        place = len(self.sent)
        package = OutPackage(place.to_bytes(4, "big"), kind, Peers.PLAYERS, self._opposite(peer).address)
        self.sent[package.data] = Sent(package, len(peer.restarted_at), place)
        peer.send(package)

    def run(self) -> None:
        self.simulation.run(self.ends)
        self._settle()
        for link in self.links:
            link.heal()
        # The first of these tells of what has not been noticed yet, and may be reported itself; the second arrives.
        for _ in range(2):
            for peer in self.peers:
                self._send(peer, Reliability.SEMI_ORDERED)
            self._settle()
        last = set(list(self.sent)[-2:])
        assert {package.data for peer in self.peers for package in peer.delivered} >= last, "the relation is broken"
        for peer in self.peers:
            self._check(peer, self._opposite(peer))

    def _settle(self) -> None:
        for _ in range(2):
            self.simulation.settle(500.0)
            self.simulation.run(self.simulation.now + 5.0)

    def _check(self, sender: SimulatedPeer, receiver: SimulatedPeer) -> None:
        reported = {package.data for failure in sender.failures for package in failure.unconfirmed}
        delivered = {package.data for package in receiver.delivered}
        mine = [sent for sent in self.sent.values() if sent.package.target == receiver.address]
        last = [sent for sent in mine if sent.life == len(sender.restarted_at)]
        missing = [sent.place for sent in last if sent.package.data not in reported | delivered]
        assert not missing, f"neither delivered nor reported: {missing}"
        self.earlier = set()
        bounds = [0, *(count for _, count in receiver.restarted_at), len(receiver.delivered)]
        for start, end in itertools.pairwise(bounds):
            self._check_life(receiver.delivered[start:end], last, reported)
        first = [self.sent[package.data].life for package in receiver.delivered[: bounds[1]]]
        assert first == sorted(first), "something of an old life came into a new one"

    def _check_life(self, delivered: list[InPackage], last: list[Sent], reported: set[bytes]) -> None:
        """Check what one life of a receiver was given."""
        came: set[bytes] = set()
        for package in delivered:
            assert package.data not in came, "delivered twice"
            sent = self.sent[package.data]
            if package.reliability is Reliability.SEMI_ORDERED and sent in last:
                before = {other.package.data for other in last if other.place < sent.place}
                assert before <= came | reported | self.earlier, f"{sent.place} came too early"
            came.add(package.data)
        self.earlier |= came


def run(seed: int, *, both: bool = False, forget: bool = False, late: float = 3.0) -> Lives:
    lives = Lives(seed, both=both, forget=forget, late=late)
    try:
        lives.run()
    except BaseException as error:
        error.add_note(f"this was seed {seed}")
        raise
    return lives


def told(peer: SimulatedPeer) -> int:
    return sum(isinstance(failure, PeerRestarted) for failure in peer.failures)


blocks = pytest.mark.parametrize("first_seed", range(0, 2 * BLOCK, BLOCK))


@blocks
def test_restarts_lose_and_double_nothing(first_seed: int) -> None:
    noticed = sum(told(peer) for seed in range(first_seed, first_seed + BLOCK) for peer in run(seed).peers)
    assert noticed > BLOCK


@blocks
def test_both_sides_may_be_restarted_at_once(first_seed: int) -> None:
    for seed in range(first_seed, first_seed + BLOCK):
        run(seed, both=True)


@blocks
def test_users_may_forget_peers_between_restarts(first_seed: int) -> None:
    for seed in range(first_seed, first_seed + BLOCK):
        run(seed, forget=True)


@pytest.mark.parametrize("seed", [731, 6170, 6759, 7730])
def test_hard_restarts(seed: int) -> None:
    """Late introductions of dead lives, also of some never heard before, and two lives with the same mark."""
    run(seed)


@pytest.mark.parametrize("seed", [799, 5759, 7517])
def test_hard_restarts_of_both(seed: int) -> None:
    """Packages that came late, or ahead of their introduction, and had the hint and id of another life's."""
    run(seed, both=True)


@pytest.mark.parametrize("seed", [485, 589, 720, 2040, 2525, 3896])
def test_hard_restarts_among_forgetful_users(seed: int) -> None:
    """A user forgot a peer before the peer knew that its first packages were taken."""
    run(seed, forget=True, late=0.3)


def _pair(seed: int, *, identity: bool = True, **link: Any) -> tuple[Simulation, SimulatedPeer, SimulatedPeer]:
    simulation = Simulation(seed)
    one, other = simulation.peer(("10.0.0.1", 1)), simulation.peer(("10.0.0.2", 2), identity=identity)
    simulation.connect(one, other, Link(seed=2 * seed, **link), Link(seed=2 * seed + 1, **link))
    return simulation, one, other


def _say(
    simulation: Simulation, source: SimulatedPeer, target: SimulatedPeer, text: str, count: int = 20
) -> list[OutPackage]:
    packages = [
        OutPackage(f"{text} {number}".encode(), RELIABLE[number % 2], Peers.PLAYERS, target.address)
        for number in range(count)
    ]
    for number, package in enumerate(packages):
        simulation.at(simulation.now + 0.05 * number, source.send, package)
    return packages


@pytest.mark.parametrize("seed", range(20))
def test_each_restart_is_told_once_and_all_that_follows_arrives(seed: int) -> None:
    simulation, one, other = _pair(seed, loss=0.1, delay=0.02, jitter=0.1)
    for life in range(4):
        before = len(one.delivered)
        packages = _say(simulation, other, one, f"life {life}")
        simulation.run(simulation.now + 10.0)
        assert Counter(got.data for got in one.delivered[before:]) == Counter(sent.data for sent in packages)
        _say(simulation, one, other, f"to life {life}", 1)
        simulation.run(simulation.now + 10.0)
        assert other.delivered[-1].data == f"to life {life} 0".encode()
        assert (told(one), told(other)) == (life, 0)
        simulation.restart(other)


@pytest.mark.parametrize("seed", range(20))
def test_who_goes_on_sending_to_a_restarted_peer_loses_nothing_without_a_word(seed: int) -> None:
    simulation, one, other = _pair(seed, loss=0.1, delay=0.02)
    packages = _say(simulation, one, other, "on and on", 400)
    for at in (3.0, 7.0, 13.0):
        simulation.at(at, simulation.restart, other)
    simulation.run(60.0)
    check(one, other, packages)
    assert told(one) == 3
    assert sum(failure.count for failure in one.failures) < 60, "only what was under way"


@pytest.mark.parametrize("seed", range(10))
def test_facing_a_peer_without_an_identity_everything_is_as_it_was(seed: int) -> None:
    simulation, one, other = _pair(seed, identity=False, loss=0.2, delay=0.02, jitter=0.1)
    there = _say(simulation, one, other, "there", 100)
    back = _say(simulation, other, one, "back", 100)
    simulation.run(60.0)
    check(one, other, there)
    check(other, one, back)
    assert one.failures == other.failures == []


def test_a_peer_without_an_identity_that_restarts_after_two_minutes_is_told() -> None:
    simulation, one, other = _pair(1, identity=False, delay=0.02)
    for life in range(3):
        packages = _say(simulation, other, one, f"life {life}")
        simulation.run(simulation.now + 130.0)
        assert [got.data for got in one.delivered[-20:]] == [sent.data for sent in packages]
        assert told(one) == life
        simulation.restart(other)


def test_one_that_takes_the_place_of_a_peer_without_an_identity_is_told() -> None:
    simulation, one, other = _pair(1, identity=False, delay=0.02)
    for life, identity in enumerate((True, False, True)):
        packages = _say(simulation, other, one, f"life {life}")
        _say(simulation, one, other, f"to life {life}")
        simulation.run(simulation.now + 30.0)
        assert [got.data for got in one.delivered[-20:]] == [sent.data for sent in packages]
        reported = sum(failure.count for failure in one.failures)
        assert reported <= 2 * life, "only what was under way"
        assert len(other.delivered) + reported >= 20 * (life + 1)
        assert told(one) == life
        simulation.restart(other, identity=identity)


@pytest.mark.parametrize("pause", [100.0, 610.0, 670.0, 1400.0])
def test_pauses_in_which_either_half_forgets_lose_nothing_and_tell_nothing(pause: float) -> None:
    for seed in range(10):
        simulation, one, other = _pair(seed, loss=0.1, delay=0.02, jitter=0.1)
        packages: list[OutPackage] = []
        for turn in range(4):
            packages += _say(simulation, one, other, f"turn {turn}")
            simulation.run(simulation.now + pause)
        check(one, other, packages)
        assert len(other.delivered) == len(packages)
        assert one.failures == other.failures == []
