"""Stacks without threads and sockets, in virtual time: the protocol halves of any number of peers, joined like actors.

    simulation = Simulation(seed=1)
    a, b = simulation.peer(("10.0.0.1", 1)), simulation.peer(("10.0.0.2", 2))
    simulation.connect(a, b, Link(loss=0.2, delay=0.02, seed=1), Link(loss=0.2, delay=0.02, seed=2))
    a.send(OutPackage(b"hi", Reliability.UNORDERED, Peers.PLAYERS, b.address))
    simulation.run(10.0)
    assert [package.data for package in b.delivered] == [b"hi"]

Each half has a mailbox, as the actors have. What is put into it stays in order; when its reader wakes, and how much it
takes then, is random, so the halves see each other's messages late and interleaved in all the ways that real mailboxes
allow. Everything random comes from the seed, so a run can be repeated. An hour of traffic takes seconds. A peer can be
restarted: it loses all its state, and what it had sent goes on arriving.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from math import inf
from typing import Any, Final

from ..protocol import ConfirmPolicy, InPackage, OutPackage, PeerFailed, ResendPolicy
from ..protocol.address import Address
from ..protocol.confirmations import Confirmations
from ..protocol.congestion import Controller, DelayController
from ..protocol.header import CONTROL, KINDS, REFUSAL, Kind, unpack_confirmation
from ..protocol.identity import make_identity, read_echo, read_refusal
from ..protocol.messages import (
    Acknowledged,
    Confirmed,
    Datagrams,
    Dropped,
    Failed,
    Flush,
    Forgotten,
    Grant,
    Left,
    Listen,
    Received,
    Refuse,
    Refused,
    Restarted,
    Revive,
    Sent,
    ToConfirm,
    Unknown,
)
from ..protocol.numbering import WINDOW, Numbering
from ..protocol.receiving import Receiving
from ..protocol.redelivery import Redelivery
from .link import Link

__all__ = ["SimulatedPeer", "Simulation"]

HOP: Final = 0.0003
"""Seconds after which a half wakes at most, when a message is put into its mailbox."""

PIECEMEAL: Final = 0.25
"""How often a reader does not take everything that waits."""


class Simulation:
    """Virtual time, the peers in it, and the links between them.

    Args:
        seed: of everything that is random here; links have seeds of their own.
        hop: seconds after which a half wakes at most, when a message is put into its mailbox.

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
        self._serial = count()
        self.identities = random.Random(seed)  # noqa: S311 - apart, so that who has one changes no schedule
        self._links: dict[tuple[Address, Address], Link] = {}
        self._peers: dict[Address, SimulatedPeer] = {}

    def peer(
        self,
        address: Address,
        *,
        resend: ResendPolicy | None = None,
        confirm: ConfirmPolicy | None = None,
        controller: Callable[[], Controller] = DelayController,
        window: int = WINDOW,
        identity: bool = True,
    ) -> SimulatedPeer:
        """Add a peer; the options are those of a stack, and how many packages may be unconfirmed at once per target."""
        if address in self._peers:
            raise ValueError(f"{address} is taken in this simulation")
        peer = SimulatedPeer(
            self,
            address,
            resend=resend or ResendPolicy(),
            confirm=confirm or ConfirmPolicy(),
            controller=controller,
            window=window,
            identity=identity,
        )
        self._peers[address] = peer
        return peer

    def restart(self, peer: SimulatedPeer, *, identity: bool | None = None) -> None:
        """Start a peer anew at once: all its state is lost, what it had put into links is not.

        Args:
            peer: which one. What it has collected for the test stays.
            identity: whether it has one from now on; None for no change.
        """
        peer.restart(identity=peer.identity if identity is None else identity)

    def connect(self, one: SimulatedPeer, other: SimulatedPeer, there: Link, back: Link) -> None:
        """Put a link in each direction between two peers; without one nothing arrives."""
        self._links[one.address, other.address] = there
        self._links[other.address, one.address] = back

    def at(self, time: float, action: Callable[..., None], *arguments: Any) -> None:
        """Do something at a virtual time."""
        heappush(self._events, (time, next(self._serial), action, arguments))

    def run(self, until: float) -> None:
        """Let virtual time pass until then."""
        if until < self.now:
            raise ValueError(f"it is {self.now} s already, and time does not go back to {until} s")
        events = self._events
        while events and events[0][0] <= until:
            self.now, _, action, arguments = heappop(events)
            action(*arguments)
        self.now = until

    def settle(self, limit: float) -> None:
        """Let time pass until no peer has anything to do but to wait for users, at most `limit` seconds.

        Raises:
            TimeoutError: there is still something to do then.
        """
        end = self.now + limit
        while any(peer.busy for peer in self._peers.values()):
            if self.now >= end:
                raise TimeoutError(f"after {limit} s of virtual time there is still something to do")
            self.run(min(end, self.now + 0.5))

    def carry(self, source: Address, target: Address, datagram: bytes) -> None:
        """Put a datagram into the link it belongs to."""
        self.datagrams += 1
        link = self._links.get((source, target))
        if link is not None:
            for arrival in link.carry(len(datagram), self.now):
                self.at(arrival, self._peers[target].arrive, source, datagram)


class _Half:
    """One half as an actor would run it: some messages, then what is due, then what follows from it."""

    def __init__(self, peer: SimulatedPeer, state: Any, handlers: dict[type, Callable[[Any], None]]) -> None:
        self.mailbox: deque[Any] = deque()
        self.state = state
        self._simulation = peer.simulation
        self._peer = peer
        self._handlers = handlers
        self._wakes_at = inf

    def end(self) -> None:
        """Do nothing any more."""
        self._wakes_at = -inf

    def put(self, messages: list[Any]) -> None:
        """Take over these messages."""
        if messages:
            self.mailbox.extend(messages)
            messages.clear()
            self._wake_soon()

    def _wake_soon(self) -> None:
        simulation = self._simulation
        time = simulation.now + simulation.random.random() * simulation.hop
        if time < self._wakes_at:
            self._wake(time)

    def _wake(self, time: float) -> None:
        self._wakes_at = time
        self._simulation.at(time, self._run, time)

    def _run(self, time: float) -> None:
        if time != self._wakes_at:
            return  # woken sooner meanwhile
        self._wakes_at = inf
        simulation, mailbox, handlers = self._simulation, self.mailbox, self._handlers
        taken = len(mailbox)
        if taken > 1 and simulation.random.random() < PIECEMEAL:
            taken = simulation.random.randrange(taken)
        for _ in range(taken):
            message = mailbox.popleft()
            handlers[type(message)](message)
        self.state.tick(simulation.now)
        self._peer.pass_on(self)
        if mailbox:
            self._wake_soon()
        deadline = self.state.deadline()
        if deadline is not None and deadline < self._wakes_at:
            self._wake(max(simulation.now, deadline))


class SimulatedPeer:
    """One stack's protocol; made by `Simulation.peer`.

    Attributes:
        address: where it is.
        delivered: what its user would have received.
        delivered_at: when, in virtual seconds.
        failures: what its user would have been told.
        failed_at: when, in virtual seconds.
        flushed: tokens of the flushes that are done.
        identity: whether its stack has one.
        lateness: seconds for which its stack keeps datagrams before they go out, and control datagrams that came.
        restarted_at: when it was restarted, and how many packages had been delivered by then.
    """

    def __init__(
        self,
        simulation: Simulation,
        address: Address,
        *,
        resend: ResendPolicy,
        confirm: ConfirmPolicy,
        controller: Callable[[], Controller],
        window: int,
        identity: bool,
    ) -> None:
        self.simulation = simulation
        self.address = address
        self.delivered: list[InPackage] = []
        self.delivered_at: list[float] = []
        self.failures: list[PeerFailed] = []
        self.failed_at: list[float] = []
        self.flushed: list[object] = []
        self.restarted_at: list[tuple[float, int]] = []
        self.identity = identity
        self.lateness = 0.0
        self._resend = resend
        self._confirm = confirm
        self._controller = controller
        self._window = window
        self._start()

    def restart(self, *, identity: bool) -> None:
        """Lose all state; see `Simulation.restart`."""
        self.restarted_at.append((self.simulation.now, len(self.delivered)))
        self.identity = identity
        for half in self._halves:
            half.end()
        self._start()

    def _start(self) -> None:
        simulation, window, serial = self.simulation, self._window, len(self.restarted_at)
        identity = make_identity(simulation.identities.random, serial, simulation.now) if self.identity else None
        self.numbering = numbering = Numbering(window=window, identity=identity)
        self.redelivery = redelivery = Redelivery(
            self._resend,
            simulation.random.random,
            controller=self._controller,
            window=window,
            identity=identity,
            lateness=True,
        )
        self.receiving = receiving = Receiving(identity)
        self.confirmations = confirmations = Confirmations(self._confirm)
        self._usender = _Half(
            self,
            numbering,
            {
                OutPackage: lambda package: numbering.send(package, simulation.now),
                Grant: lambda grant: numbering.granted(grant, simulation.now),
                Failed: numbering.failed,
                Unknown: lambda unknown: numbering.unknown(unknown, simulation.now),
                Acknowledged: numbering.acknowledged,
                Restarted: lambda restarted: numbering.restarted(restarted, simulation.now),
                _Forget: lambda forget: numbering.forget(forget.target),
                _FlushAll: lambda flush: numbering.flush(flush.token),
            },
        )
        self._resender = _Half(
            self,
            redelivery,
            {
                Sent: redelivery.sent,
                Left: redelivery.left,
                Listen: redelivery.heard,
                Confirmed: redelivery.confirmed,
                Refused: redelivery.refused,
                Revive: lambda revive: redelivery.revive(revive, simulation.now),
                Dropped: redelivery.dropped,
                Forgotten: redelivery.forgotten,
                Flush: redelivery.flush,
            },
        )
        self._ureceiver = _Half(
            self,
            receiving,
            {Received: receiving.received, _Forget: lambda forget: receiving.forget(forget.target)},
        )
        self._confirmer = _Half(self, confirmations, {ToConfirm: confirmations.add, Refuse: confirmations.refuse})
        self._halves = (self._usender, self._resender, self._ureceiver, self._confirmer)

    @property
    def busy(self) -> bool:
        """Something waits for an id, a confirmation, a report, or in a mailbox."""
        if self.redelivery.pending or self.numbering.waiting or self.confirmations.deadline() is not None:
            return True
        return any(half.mailbox for half in self._halves)

    def send(self, package: OutPackage) -> None:
        """Send a package now."""
        self._usender.put([package])

    def flush(self, token: object = None) -> None:
        """Put the token into `flushed` when everything sent so far is confirmed or given up."""
        self._usender.put([_FlushAll(token)])

    def forget(self, target: Address) -> None:
        """Forget a peer, both ways."""
        self._usender.put([_Forget(target)])
        self._ureceiver.put([_Forget(target)])

    def arrive(self, source: Address, datagram: bytes) -> None:
        """Take a datagram from the network."""
        now = self.simulation.now
        if KINDS[datagram[0]] is Kind.PACKAGE:
            self._ureceiver.put([Received(source, len(datagram), datagram, now)])
        elif datagram[0] == CONTROL:
            self._late(Confirmed(source, unpack_confirmation(datagram), now, read_echo(datagram)))
        elif datagram[0] == REFUSAL:
            self._late(Refused(source, *read_refusal(datagram), now))

    def _late(self, message: Confirmed | Listen | Refused) -> None:
        """Let resender have what came in, as soon as the stack comes to it."""
        if self.lateness:
            self.simulation.at(self.simulation.now + self.lateness, self._resender.put, [message])
        else:
            self._resender.put([message])

    def pass_on(self, half: _Half) -> None:
        """Carry what a half has produced to where it goes."""
        state = half.state
        if half is self._ureceiver:
            if state.to_user:
                self.delivered += state.to_user
                self.delivered_at += [self.simulation.now] * len(state.to_user)
                state.to_user.clear()
            self._confirmer.put(state.to_confirmer)
            self._confirmer.put(state.to_refuse)
            self._usender.put(state.to_usender)
            return
        if half is not self._confirmer and state.failures:
            self.failures += state.failures
            self.failed_at += [self.simulation.now] * len(state.failures)
            state.failures.clear()
        if half is self._usender:
            self._resender.put(state.to_resender)
            state.released.clear()
        elif half is self._resender:
            self._usender.put(state.to_usender)
            self.flushed += state.flushed
            state.flushed.clear()
            for question in state.to_dreceiver:
                self._late(question)
            state.to_dreceiver.clear()
        for run in state.to_dsender:
            if self.lateness:
                self.simulation.at(self.simulation.now + self.lateness, self._leave, run)
            else:
                self._leave(run)
        state.to_dsender.clear()

    def _leave(self, run: Datagrams) -> None:
        if run.mark:
            self._resender.mailbox.append(Left(run.mark, self.simulation.now))  # softly: it wakes nobody
        for datagram in run.datagrams:
            self.simulation.carry(self.address, run.target, datagram)


class _Forget:
    def __init__(self, target: Address) -> None:
        self.target = target


class _FlushAll:
    def __init__(self, token: object) -> None:
        self.token = token
