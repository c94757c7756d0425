"""Stacks without threads and sockets, in virtual time: the protocol halves of any number of peers, joined as actors are.

    simulation = Simulation(seed=1)
    a, b = simulation.peer(("10.0.0.1", 1)), simulation.peer(("10.0.0.2", 2))
    simulation.connect(a, b, Link(loss=0.2, delay=0.02, seed=1), Link(loss=0.2, delay=0.02, seed=2))
    a.send(OutPackage(b"hi", Reliability.UNORDERED, Peers.PLAYERS, b.address))
    simulation.run(10.0)
    assert [package.data for package in b.delivered] == [b"hi"]

What the halves tell each other takes a random while, as between actors; only the order between two of them is kept. Everything
random comes from the seed, so a run can be repeated. An hour of traffic takes seconds.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from typing import Any, Final

from ..protocol import ConfirmPolicy, InPackage, OutPackage, PeerFailed, ResendPolicy
from ..protocol.address import Address
from ..protocol.confirmations import Confirmations
from ..protocol.congestion import Controller, DelayController
from ..protocol.header import CONTROL, unpack_confirmation
from ..protocol.messages import (
    Confirmed,
    Datagrams,
    Dropped,
    Expired,
    Failed,
    Flush,
    Forgotten,
    Grant,
    Received,
    Revive,
    Sent,
    ToConfirm,
)
from ..protocol.numbering import Numbering
from ..protocol.receiving import Receiving
from ..protocol.redelivery import Redelivery
from .link import Link

__all__ = ["SimulatedPeer", "Simulation"]

HOP: Final = 0.0003
"""Seconds that a message between two halves takes at most."""


class Simulation:
    """Virtual time, the peers in it, and the links between them.

    Args:
        seed: of everything that is random here; links have seeds of their own.
        hop: seconds that a message between two halves of one peer takes at most.

    Attributes:
        now: the virtual time in seconds.
        datagrams: how many went into links.
    """

    def __init__(self, seed: int = 0, *, hop: float = HOP) -> None:
        self.random = random.Random(seed)  # noqa: S311 - repeatable is what it has to be
        self.hop = hop
        self.now = 0.0
        self.datagrams = 0
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._serial = 0
        self._links: dict[tuple[Address, Address], Link] = {}
        self._peers: dict[Address, SimulatedPeer] = {}

    def peer(
        self,
        address: Address,
        *,
        resend: ResendPolicy | None = None,
        confirm: ConfirmPolicy | None = None,
        controller: Callable[[], Controller] = DelayController,
    ) -> SimulatedPeer:
        """Add a peer; the options are those of a stack."""
        peer = SimulatedPeer(self, address, resend or ResendPolicy(), confirm or ConfirmPolicy(), controller)
        self._peers[address] = peer
        return peer

    def connect(self, one: SimulatedPeer, other: SimulatedPeer, there: Link, back: Link) -> None:
        """Put a link in each direction between two peers; without one nothing arrives."""
        self._links[one.address, other.address] = there
        self._links[other.address, one.address] = back

    def at(self, time: float, action: Callable[..., None], *arguments: Any) -> None:
        """Do something at a virtual time."""
        self._serial += 1
        heapq.heappush(self._events, (time, self._serial, action, arguments))

    def run(self, until: float) -> None:
        """Let virtual time pass."""
        events = self._events
        while events and events[0][0] <= until:
            self.now, _, action, arguments = heapq.heappop(events)
            action(*arguments)
        self.now = until

    def carry(self, source: Address, target: Address, datagram: bytes) -> None:
        """Put a datagram into the link it belongs to."""
        self.datagrams += 1
        link = self._links.get((source, target))
        if link is not None:
            for arrival in link.carry(len(datagram), self.now):
                self.at(arrival, self._peers[target].arrive, source, datagram)


class _Half:
    """One half as an actor would run it: a message at a time, then what is due, then what follows from it."""

    def __init__(self, peer: SimulatedPeer, state: Any, handlers: dict[type, Callable[[Any], None]]) -> None:
        self.state = state
        self._simulation = peer.simulation
        self._peer = peer
        self._handlers = handlers
        self._arrives: dict[_Half, float] = {}
        self._wakes_at = float("inf")

    def handle(self, message: Any) -> None:
        self._handlers[type(message)](message)
        self.look()

    def look(self) -> None:
        simulation = self._simulation
        if simulation.now >= self._wakes_at:
            self._wakes_at = float("inf")
        self.state.tick(simulation.now)
        self._peer.pass_on(self)
        deadline = self.state.deadline()
        if deadline is not None and deadline < self._wakes_at:
            self._wakes_at = max(deadline, simulation.now)
            simulation.at(self._wakes_at, self.look)

    def tell(self, other: _Half, messages: list[Any]) -> None:
        simulation = self._simulation
        for message in messages:
            time = max(simulation.now + simulation.random.random() * simulation.hop, self._arrives.get(other, 0.0))
            self._arrives[other] = time
            simulation.at(time, other.handle, message)
        messages.clear()


class SimulatedPeer:
    """One stack's protocol; made by `Simulation.peer`.

    Attributes:
        address: where it is.
        delivered: what its user would have received.
        delivered_at: when, in virtual seconds.
        failures: what its user would have been told.
    """

    def __init__(
        self,
        simulation: Simulation,
        address: Address,
        resend: ResendPolicy,
        confirm: ConfirmPolicy,
        controller: Callable[[], Controller],
    ) -> None:
        self.simulation = simulation
        self.address = address
        self.delivered: list[InPackage] = []
        self.delivered_at: list[float] = []
        self.failures: list[PeerFailed] = []
        self.numbering = numbering = Numbering()
        self.redelivery = redelivery = Redelivery(resend, simulation.random.random, controller=controller)
        self.receiving = receiving = Receiving()
        self.confirmations = confirmations = Confirmations(confirm)
        self._usender = _Half(
            self,
            numbering,
            {
                OutPackage: lambda package: numbering.send(package, simulation.now),
                Grant: lambda grant: numbering.granted(grant, simulation.now),
                Failed: numbering.failed,
                Expired: lambda expired: numbering.expired(expired, simulation.now),
            },
        )
        self._resender = _Half(
            self,
            redelivery,
            {
                Sent: redelivery.sent,
                Confirmed: redelivery.confirmed,
                Revive: lambda revive: redelivery.revive(revive, simulation.now),
                Dropped: redelivery.dropped,
                Forgotten: redelivery.forgotten,
                Flush: redelivery.flush,
            },
        )
        self._ureceiver = _Half(self, receiving, {Received: receiving.received})
        self._confirmer = _Half(self, confirmations, {ToConfirm: confirmations.add})

    def send(self, package: OutPackage) -> None:
        """Send a package now."""
        self._usender.handle(package)

    def arrive(self, source: Address, datagram: bytes) -> None:
        """Take a datagram from the network."""
        simulation = self.simulation
        if datagram[0] & CONTROL:
            self._resender.handle(Confirmed(source, unpack_confirmation(datagram), simulation.now))
        else:
            self._ureceiver.handle(Received(source, len(datagram), datagram, simulation.now))

    def pass_on(self, half: _Half) -> None:
        """Carry what a half has produced to where it goes."""
        state = half.state
        if half is self._usender:
            half.tell(self._resender, state.to_resender)
            self.failures += state.failures
            state.failures.clear()
            state.released.clear()
        elif half is self._resender:
            half.tell(self._usender, state.to_usender)
            self.failures += state.failures
            state.failures.clear()
        elif half is self._ureceiver:
            self.delivered += state.to_user
            self.delivered_at += [self.simulation.now] * len(state.to_user)
            state.to_user.clear()
            half.tell(self._confirmer, state.to_confirmer)
            return
        self._transmit(state.to_dsender)

    def _transmit(self, runs: list[Datagrams]) -> None:
        for run in runs:
            for datagram in run.datagrams:
                self.simulation.carry(self.address, run.target, datagram)
        runs.clear()
