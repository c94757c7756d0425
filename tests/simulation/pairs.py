"""Two peers in virtual time, a stream from one to the other, and how long its packages took."""

from __future__ import annotations

from typing import Any

from packhorse import Address, ConfirmPolicy, OutPackage, Peers, Reliability, ResendPolicy
from packhorse.testing import Link, SimulatedPeer, Simulation

__all__ = ["DELAY", "RATE", "SIZES", "Pair", "latencies_of", "packages_of", "percentile"]

DELAY = 0.020
RATE = 200
SIZES = (64, 504)


class Pair:
    """One peer that sends to another, and the links between them."""

    def __init__(
        self, seed: int = 1, *, confirm: ConfirmPolicy | None = None, identity: bool = True, **link: Any
    ) -> None:
        self.simulation = Simulation(seed, hop=0.0002)
        self.sender = self.simulation.peer(("10.0.0.1", 1), identity=identity)
        self.receiver = self.simulation.peer(
            ("10.0.0.2", 2), confirm=confirm, resend=ResendPolicy.original() if confirm else None
        )
        link.setdefault("delay", DELAY)
        self.links = [Link(seed=2 * seed + place, **link) for place in range(2)]
        self.simulation.connect(self.sender, self.receiver, *self.links)

    def stream(
        self, kind: Reliability, count: int, *, rate: float = RATE, eager: int = 1, linger: float = 30.0
    ) -> None:
        """Send so many packages, evenly, and wait for the last ones."""
        start = self.simulation.now
        for package in packages_of(kind, count, self.receiver.address, eager):
            self.simulation.at(start, self.sender.send, package)
            start += 1 / rate
        self.simulation.run(start + linger)

    def latencies(self, *, rate: float = RATE) -> list[float]:
        """Return how long each package took, in milliseconds, in order of delivery."""
        return latencies_of(self.receiver, rate)


def packages_of(kind: Reliability, count: int, target: Address, eager: int = 1) -> list[OutPackage]:
    return [
        OutPackage(number.to_bytes(4, "big") + bytes(SIZES[number % 2] - 4), kind, Peers.PLAYERS, target, eager=eager)
        for number in range(count)
    ]


def latencies_of(receiver: SimulatedPeer, rate: float) -> list[float]:
    return [
        1000 * (time - int.from_bytes(package.data[:4], "big") / rate)
        for package, time in zip(receiver.delivered, receiver.delivered_at, strict=True)
    ]


def percentile(values: list[float], percent: float) -> float:
    return sorted(values)[int(len(values) * percent / 100)]
