"""Hosts joined by a bad network, in virtual time and without threads; everything random follows from one seed.

A host has the parts of the protocol in nodes like those of a real stack. What is put into a node's mailbox stays in order;
when the node wakes, and how much it takes then, is random, so the halves see each other's messages late and interleaved in
all the ways the real mailboxes allow. The simulation keeps a record of every package and checks the promises as it goes.
"""

# pyright: reportPrivateUsage=false
# The reason: it looks into the tables to see that nothing stays in them.
from __future__ import annotations

import heapq
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf
from random import Random
from typing import TYPE_CHECKING, Any

from packhorse.protocol import ConfirmPolicy, OutPackage, Peers, Reliability, ResendPolicy
from packhorse.protocol.confirmations import Confirmations
from packhorse.protocol.header import CONTROL, unpack_confirmation
from packhorse.protocol.messages import (
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
from packhorse.protocol.numbering import Numbering, _Target
from packhorse.protocol.receiving import Receiving, _Source
from packhorse.protocol.redelivery import Redelivery

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from packhorse.protocol import Address, InPackage, PeerFailed

RELIABLE = (Reliability.UNORDERED, Reliability.SEMI_ORDERED)


@dataclass
class Network:
    """How datagrams fare: probabilities, seconds, and times of total loss by (source, target)."""

    loss: float = 0.0
    duplication: float = 0.0
    delay: tuple[float, float] = (0.01, 0.01)
    blackouts: list[tuple[float, float, Address, Address]] = field(default_factory=list[Any])

    def dark(self, now: float, source: Address, target: Address) -> bool:
        return any(
            start <= now < end and (source, target) == direction
            for start, end, *pair in self.blackouts
            for direction in [tuple(pair)]
        )


@dataclass
class Parcel:
    """A package that was sent, and what became of it."""

    source: Address
    target: Address
    reliability: Reliability
    delivered: int = 0
    reported: int = 0

    @property
    def settled(self) -> bool:
        return bool(self.delivered or self.reported)


class Simulation:
    """Virtual time, the network, and the record of all packages."""

    def __init__(self, seed: int, network: Network, *, lag: float = 0.005) -> None:
        self.random = Random(seed)
        self.now = 0.0
        self.network = network
        self.lag = lag
        self.hosts: dict[Address, Host] = {}
        self.parcels: list[Parcel] = []
        self._streams: dict[tuple[Address, Address], deque[Parcel]] = {}
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._serial = 0

    def at(self, time: float, action: Callable[[], None]) -> None:
        self._serial += 1
        heapq.heappush(self._events, (time, self._serial, action))

    def run(self, until: float) -> None:
        while self._events and self._events[0][0] <= until:
            self.now, _, action = heapq.heappop(self._events)
            action()
        self.now = until

    @property
    def quiet(self) -> bool:
        """Nothing is unconfirmed, and no node has anything to do."""
        return all(host.quiet for host in self.hosts.values())

    def run_until_quiet(self, limit: float) -> None:
        end = self.now + limit
        while self.now < end and not self.quiet:
            self.run(self.now + 0.5)
        assert self.quiet, f"still busy at {self.now}"

    def carry(self, source: Address, target: Address, datagram: bytes) -> None:
        network, random = self.network, self.random
        for _ in range(2 if random.random() < network.duplication else 1):
            if random.random() >= network.loss and not network.dark(self.now, source, target):
                arrival = self.now + random.uniform(*network.delay)
                self.at(arrival, lambda: self.hosts[target].arrive(source, datagram))

    # The record.

    def shipped(self, source: Address, target: Address, reliability: Reliability) -> bytes:
        parcel = Parcel(source, target, reliability)
        self.parcels.append(parcel)
        if reliability in RELIABLE:
            self._streams.setdefault((source, target), deque()).append(parcel)
        return len(self.parcels).to_bytes(4, "big")

    def delivered(self, target: Address, package: InPackage) -> None:
        parcel = self._parcel(package.data)
        assert (parcel.source, parcel.target, parcel.reliability) == (package.source, target, package.reliability)
        if parcel.reliability is Reliability.SEMI_ORDERED:
            stream = self._streams[package.source, target]
            while stream[0].settled and stream[0] is not parcel:
                stream.popleft()
            assert stream[0] is parcel, f"{package} came before {stream[0]}"
        parcel.delivered += 1
        assert parcel.delivered == 1 or parcel.reliability not in RELIABLE, f"{package} was delivered twice"

    def reported(self, failure: PeerFailed) -> None:
        assert failure.count == len(failure.unconfirmed) > 0
        for package in failure.unconfirmed:
            parcel = self._parcel(package.data)
            parcel.reported += 1
            assert parcel.reported == 1, f"{package} was reported twice"
            assert (parcel.target, parcel.reliability) == (failure.target, package.reliability)

    def _parcel(self, data: bytes) -> Parcel:
        return self.parcels[int.from_bytes(data, "big") - 1]


class _Node:
    """A mailbox and what its reader does with it."""

    def __init__(
        self,
        simulation: Simulation,
        handlers: Mapping[type, Callable[[Any], None]],
        after: Callable[[], None] = lambda: None,
        deadline: Callable[[], float | None] = lambda: None,
    ) -> None:
        self.mailbox: deque[Any] = deque()
        self._simulation = simulation
        self._handlers = handlers
        self._after = after
        self._deadline = deadline
        self._wakes = inf

    def put(self, items: list[Any]) -> None:
        """Take over the items and empty the list."""
        if items:
            self.mailbox.extend(items)
            items.clear()
            self._wake_after_lag()

    def _wake_after_lag(self) -> None:
        random = self._simulation.random
        self._wake(
            self._simulation.now + (random.expovariate(1 / self._simulation.lag) if random.random() < 0.5 else 0.0)
        )

    def _wake(self, time: float) -> None:
        if time < self._wakes:
            self._wakes = time
            self._simulation.at(time, lambda: self._run(time))

    def _run(self, time: float) -> None:
        if time != self._wakes:
            return
        self._wakes = inf
        for _ in range(self._simulation.random.randint(0, len(self.mailbox))):
            item = self.mailbox.popleft()
            self._handlers[type(item)](item)
        self._after()
        if self.mailbox:
            self._wake_after_lag()
        deadline = self._deadline()
        if deadline is not None:
            self._wake(max(deadline, self._simulation.now))


@dataclass
class _FlushAll:
    token: list[Parcel]


class Host:
    """One stack: both halves of the protocol, in the nodes that hold them."""

    def __init__(
        self,
        simulation: Simulation,
        address: Address,
        *,
        window: int = 512,
        resend: ResendPolicy | None = None,
        confirm: ConfirmPolicy | None = None,
    ) -> None:
        self.address = address
        self.failures: list[PeerFailed] = []
        self.flushed = 0
        self._simulation = simulation
        self._window = window
        simulation.hosts[address] = self
        self.numbering = numbering = Numbering(window=window)
        self.redelivery = redelivery = Redelivery(resend or ResendPolicy(), simulation.random.random, window=window)
        self.receiving = receiving = Receiving()
        self.confirmations = confirmations = Confirmations(confirm or ConfirmPolicy())
        self._usender = _Node(
            simulation,
            {
                OutPackage: lambda package: numbering.send(package, simulation.now),
                Grant: lambda grant: numbering.granted(grant, simulation.now),
                Failed: numbering.failed,
                Expired: lambda expired: numbering.expired(expired, simulation.now),
                _FlushAll: lambda flush: numbering.flush(flush.token),
            },
            self._usender_after,
        )
        self._resender = _Node(
            simulation,
            {
                Sent: redelivery.sent,
                Revive: lambda revive: redelivery.revive(revive, simulation.now),
                Dropped: redelivery.dropped,
                Forgotten: redelivery.forgotten,
                Flush: redelivery.flush,
                Confirmed: redelivery.confirmed,
            },
            self._resender_after,
            redelivery.deadline,
        )
        self._ureceiver = _Node(simulation, {Received: receiving.received}, self._ureceiver_after, receiving.deadline)
        self._confirmer = _Node(
            simulation, {ToConfirm: confirmations.add}, self._confirmer_after, confirmations.deadline
        )
        self._dsender = _Node(simulation, {Datagrams: self._transmit})
        self._nodes = (self._usender, self._resender, self._ureceiver, self._confirmer, self._dsender)

    def send(self, target: Host, reliability: Reliability) -> None:
        data = self._simulation.shipped(self.address, target.address, reliability)
        self._usender.put([OutPackage(data, reliability, Peers.PLAYERS, target.address)])

    def flush(self) -> None:
        sent = [
            parcel
            for parcel in self._simulation.parcels
            if parcel.source == self.address and parcel.reliability in RELIABLE
        ]
        self._usender.put([_FlushAll(sent)])

    def start_at(self, number: int, target: Host) -> None:
        """Begin as if `number` packages had gone to the target before."""
        self.numbering._targets[target.address] = _Target(life=0, next=number, limit=number + self._window)
        target.receiving._sources[self.address] = _Source(self._simulation.now, number)
        target.receiving._ageing.add(self.address, self._simulation.now)

    def arrive(self, source: Address, datagram: bytes) -> None:
        now = self._simulation.now
        if datagram[0] == CONTROL:
            self._resender.put([Confirmed(source, unpack_confirmation(datagram), now)])
        else:
            self._ureceiver.put([Received(source, len(datagram), datagram, now)])

    @property
    def quiet(self) -> bool:
        return not (self.redelivery.pending or self.numbering.waiting or any(node.mailbox for node in self._nodes))

    @property
    def remembers(self) -> int:
        """How many entries its tables have, all together."""
        numbering, redelivery, receiving = self.numbering, self.redelivery, self.receiving
        tables: tuple[Any, ...] = (
            numbering._targets,
            redelivery._peers,
            redelivery._timers,
            redelivery._flushes,
            receiving._sources,
            receiving._ageing._heap,
            self.confirmations._waiting,
            self.confirmations._due,
        )
        return sum(len(table) for table in tables)

    def _usender_after(self) -> None:
        self._resender.put(self.numbering.to_resender)
        self._dsender.put(self.numbering.to_dsender)

    def _resender_after(self) -> None:
        self.redelivery.tick(self._simulation.now)
        for failure in self.redelivery.failures:
            self._simulation.reported(failure)
        self.failures += self.redelivery.failures
        self.redelivery.failures.clear()
        for token in self.redelivery.flushed:
            sent: Any = token
            failed = {failure.target for failure in self.failures}  # what they confirmed may wait behind a hole
            assert all(parcel.settled or parcel.target in failed for parcel in sent)
            self.flushed += 1
        self.redelivery.flushed.clear()
        self._usender.put(self.redelivery.to_usender)
        self._dsender.put(self.redelivery.to_dsender)

    def _ureceiver_after(self) -> None:
        self.receiving.tick(self._simulation.now)
        for package in self.receiving.to_user:
            self._simulation.delivered(self.address, package)
        self.receiving.to_user.clear()
        self._confirmer.put(self.receiving.to_confirmer)

    def _confirmer_after(self) -> None:
        self.confirmations.tick(self._simulation.now)
        self._dsender.put(self.confirmations.to_dsender)

    def _transmit(self, run: Datagrams) -> None:
        for datagram in run.datagrams:
            self._simulation.carry(self.address, run.target, datagram)


@contextmanager
def replayable(seed: int) -> Generator[None]:
    """Name the seed in whatever goes wrong."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"replay it with seed {seed}")
        raise
