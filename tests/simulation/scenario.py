"""One random schedule per seed, and the promises that hold after every one of them.

`run(seed)` makes two or three peers, links that lose, delay, double, reorder and go down, and users who send at random;
then it lets time pass until nothing more can happen, and checks. Nothing here is random but by the seed.
"""

# pyright: reportPrivateUsage=false
# The reason: it begins in the middle of a numbering, and looks into the tables to see that they stay small.
from __future__ import annotations

import random
from typing import TYPE_CHECKING

from packhorse import ConfirmPolicy, OutPackage, Peers, Reliability, ResendPolicy
from packhorse.protocol.sources import Source
from packhorse.protocol.target import Target
from packhorse.testing import Link, Simulation

from .promises import check

if TYPE_CHECKING:
    from packhorse import Address
    from packhorse.testing import SimulatedPeer

WRAP = 1 << 24
RELIABILITIES = (Reliability.UNORDERED, Reliability.SEMI_ORDERED)


class Scenario:
    """Two or three peers, all connected, and everything they send each other."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = rng = random.Random(seed)
        self.simulation = Simulation(seed, hop=rng.choice((0.0, 0.0003, 0.02)))
        self.harsh = rng.random() < 0.3
        count = rng.choice((2, 2, 3))
        policy = ResendPolicy.original() if rng.random() < 0.1 else ResendPolicy()
        confirm = ConfirmPolicy.original() if rng.random() < 0.1 else ConfirmPolicy()
        self.window = rng.choice((1, 2, 16, 512, 1024, 1024))
        self.peers = [
            self.simulation.peer((f"10.0.0.{n + 1}", 1), resend=policy, confirm=confirm, window=self.window)
            for n in range(count)
        ]
        self.links: list[Link] = []
        self.sent: dict[tuple[Address, Address], list[OutPackage]] = {}
        for place, one in enumerate(self.peers):
            for other in self.peers[place + 1 :]:
                there, back = self._link(), self._link()
                self.links += [there, back]
                self.simulation.connect(one, other, there, back)
        if rng.random() < 0.3:
            self._start_near_the_wrap()
        self._schedule()

    def _link(self) -> Link:
        rng = self.random
        return Link(
            loss=rng.choice((0.0, 0.05, 0.2, 0.4)) if not self.harsh else rng.choice((0.0, 0.3, 0.5)),
            delay=rng.choice((0.0, 0.005, 0.05, 0.2)),
            jitter=rng.choice((0.0, 0.0, 0.01, 0.1)),
            duplicate=rng.choice((0.0, 0.0, 0.1)),
            reorder=rng.choice((0.0, 0.0, 0.1)),
            burst_every=rng.choice((None, None, 50.0)),
            burst_length=5.0,
            bandwidth=rng.choice((None, None, 1e6)),
            seed=rng.getrandbits(32),
        )

    def _start_near_the_wrap(self) -> None:
        first = WRAP - self.random.randrange(1, 60)
        for one in self.peers:
            for other in self.peers:
                if one is not other:
                    one.numbering._lives += 1
                    one.numbering._targets[other.address] = Target(one.numbering._lives, first, first + self.window)
                    other.receiving._sources[one.address] = Source(0.0, next=first)

    def _schedule(self) -> None:
        rng = self.random
        time = 0.0
        for number in range(rng.choice((10, 40, 120))):
            time += rng.choice((0.0, 0.0, 0.001, 0.02, 0.5))
            one, other = rng.sample(self.peers, 2)
            data = number.to_bytes(4, "big") * rng.choice((1, 1, 100))
            reliability = rng.choice(RELIABILITIES)
            eager = 1 if rng.random() < 0.9 else 3
            lifetime = None if rng.random() < 0.8 else rng.choice((0.01, 0.3, 5.0))
            package = OutPackage(data, reliability, Peers.PLAYERS, other.address, lifetime, eager)
            self.simulation.at(time, self._send, one, package)
        for link in self.links:
            if rng.random() < 0.3:
                start = rng.random() * time
                self.simulation.at(start, setattr, link, "up", False)
                self.simulation.at(start + rng.choice((0.1, 3.0, 12.0, 30.0)), setattr, link, "up", True)
        self.ends = time + 45.0

    def _send(self, peer: SimulatedPeer, package: OutPackage) -> None:
        self.sent.setdefault((peer.address, package.target), []).append(package)
        peer.send(package)

    def run(self) -> None:
        """Let everything happen; then, over links that work again, one last package each way."""
        self._let_happen()
        for link in self.links:
            link.heal()
        for one in self.peers:
            for other in self.peers:
                if one is not other:
                    self._send(one, OutPackage(b"last", Reliability.SEMI_ORDERED, Peers.PLAYERS, other.address))
        self._let_happen()
        for peer in self.peers:
            assert {package.source for package in peer.delivered if package.data == b"last"} == {
                other.address for other in self.peers if other is not peer
            }, "a failed peer left a hole"
            assert peer.redelivery.pending == 0, "something is pending for ever"
            assert peer.numbering.waiting == 0, "something waits for an id for ever"
            for other in self.peers:
                check(peer, other, self.sent.get((peer.address, other.address), []))

    def _let_happen(self) -> None:
        """Run in slices until nothing is pending, and look at the limits after each."""
        limit = self.simulation.now + 500.0
        while self.simulation.now < limit:
            self.simulation.run(self.simulation.now + 5.0)
            for peer in self.peers:
                self._check_limits(peer)
            if self.simulation.now > self.ends and not any(peer.busy for peer in self.peers):
                return

    def _check_limits(self, peer: SimulatedPeer) -> None:
        for state in peer.redelivery._peers.values():
            unconfirmed = state.recovery.unconfirmed
            if unconfirmed:
                assert max(unconfirmed) - min(unconfirmed) < 1024, "ids in flight are 1024 apart"
        for source in peer.receiving._sources.values():
            assert len(source.holes) <= 1024
            assert len(source.kept) <= 1024
        assert len(peer.redelivery._timers) < 100 + 10 * len(self.peers), "timers pile up"


def run(seed: int) -> None:
    """Run the scenario of a seed; the message of what fails says how to run it again."""
    try:
        Scenario(seed).run()
    except Exception as error:
        error.add_note(f"run it again: pytest tests/simulation --seeds 1 --first-seed {seed}")
        raise
