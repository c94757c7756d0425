"""Ways of getting 64 bytes, or any number, from one process to another; `others` has those that are not UDP in Python.

| contender | what is sent |
|---|---|
| `Bare` | one `sendto` for each, and one `recvfrom` and one time stamp |
| `Packhorse` | one `send` of one package for each; `recv_many`, where each package has its time stamp |
| `Messages` | each pushed to a `PackageBuilder`, and taken out of a `MessageDecoder` |

Each has the same four parts, two of which run in a process of their own and two in another. A rate counts from the
first send until the user of the other end has the last. What is unreliable is over when nothing has come for a second.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import Connection
from typing import NamedTuple, Protocol

import packhorse
from packhorse import Address, OutPackage, PackageBuilder, Peers, Reliability

__all__ = [
    "BUFFER",
    "HOST",
    "OVER",
    "SOME",
    "STUCK",
    "Arrival",
    "Bare",
    "Contender",
    "Messages",
    "Packhorse",
    "Sent",
    "bare_socket",
    "rate",
    "turns",
]

HOST = "127.0.0.1"
OVER = 1.0
STUCK = 30.0
BUFFER = 4 * 1024 * 1024
SOME = 64
"""Messages, packets or writes between two looks at the network, for those who pack."""


class Arrival(NamedTuple):
    """What the user got: how many, when the last (`time.monotonic`), for how much CPU (seconds), how many once more.

    What came once more was sent again though it was not lost.
    """

    arrived: int
    last: float
    cpu: float
    twice: int = 0


class Sent(NamedTuple):
    """When sending began (`time.monotonic`), its CPU (seconds), and how many datagrams were sent again."""

    began: float
    cpu: float
    again: int = 0


def rate(arrival: Arrival, *sent: Sent) -> float:
    """Return how many arrived a second, from the first send until the user had the last. Processes share the clock."""
    return arrival.arrived / (arrival.last - min(one.began for one in sent)) if arrival.arrived else 0.0


class Contender(Protocol):
    """A way of sending."""

    @property
    def name(self) -> str:
        """What the table calls it."""
        ...

    def receive(self, pipe: Connection, count: int) -> None:
        """Say the address, receive, and say the `Arrival`."""
        ...

    def send(self, pipe: Connection, to: Address, payloads: Sequence[bytes], count: int) -> None:
        """Send so many, the payloads in turns, and say `Sent`."""
        ...

    def echo(self, pipe: Connection) -> None:
        """Say the address, and send everything back until the pipe says something."""
        ...

    def ping(self, pipe: Connection, to: Address, size: int, count: int) -> None:
        """Send one after the other, each when the one before is back; say the seconds that each took."""
        ...


def turns(payloads: Sequence[bytes], count: int) -> Iterable[bytes]:
    """Give so many payloads, in turns."""
    rounds = -(-count // len(payloads))
    return islice((data for _ in range(rounds) for data in payloads), count)


def bare_socket() -> socket.socket:
    """Return a UDP socket of this machine, with as much receive buffer as a stack asks for."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    made.bind((HOST, 0))
    return made


@dataclass(frozen=True)
class Bare:
    """The loop that everything is compared to."""

    name: str = "bare sendto"

    def receive(self, pipe: Connection, count: int) -> None:
        """See `Contender`."""
        arrived, last = 0, 0.0
        with bare_socket() as bare:
            pipe.send(bare.getsockname())
            cpu = time.process_time()
            receive, now = bare.recvfrom, time.monotonic
            with suppress(TimeoutError):
                receive(2048)
                arrived, last = 1, now()
                bare.settimeout(OVER)
                while arrived < count:
                    receive(2048)
                    last = now()
                    arrived += 1
        pipe.send(Arrival(arrived, last, time.process_time() - cpu))

    def send(self, pipe: Connection, to: Address, payloads: Sequence[bytes], count: int) -> None:
        """See `Contender`."""
        with bare_socket() as bare:
            began, cpu, send = time.monotonic(), time.process_time(), bare.sendto
            for data in turns(payloads, count):
                send(data, to)
            pipe.send(Sent(began, time.process_time() - cpu))

    def echo(self, pipe: Connection) -> None:
        """See `Contender`."""
        with bare_socket() as bare:
            pipe.send(bare.getsockname())
            while data_and_source := bare.recvfrom(2048):
                if not data_and_source[0]:
                    return
                bare.sendto(*data_and_source)

    def ping(self, pipe: Connection, to: Address, size: int, count: int) -> None:
        """See `Contender`."""
        trips: list[float] = []
        with bare_socket() as bare:
            for data in turns([bytes(size)], count):
                start = time.monotonic()
                bare.sendto(data, to)
                bare.recvfrom(2048)
                trips.append(time.monotonic() - start)
            bare.sendto(b"", to)
        pipe.send(trips)


@dataclass(frozen=True)
class Packhorse:
    """One package for each."""

    reliability: Reliability

    @property
    def name(self) -> str:
        """See `Contender`."""
        return f"packhorse, {self.reliability.name.lower().replace('_', '-')}"

    def receive(self, pipe: Connection, count: int) -> None:
        """See `Contender`."""
        arrived, last = 0, 0.0
        with packhorse.startup(host=HOST) as stack:
            pipe.send(stack.address)
            cpu = time.process_time()
            patience = STUCK
            with suppress(packhorse.Timeout):
                while arrived < count:
                    packages = stack.receiver.recv_many(1024, patience)
                    patience = STUCK if self.reliability else OVER
                    arrived += self.take(packages)
                    last = time.monotonic()
            cpu = time.process_time() - cpu
            twice = stack.counters().get("ureceiver.duplicates", 0)
        pipe.send(Arrival(arrived, last, cpu, twice))

    def take(self, packages: list[packhorse.InPackage]) -> int:
        """Return how many there are."""
        return len(packages)

    def send(self, pipe: Connection, to: Address, payloads: Sequence[bytes], count: int) -> None:
        """See `Contender`."""
        with packhorse.startup(host=HOST) as stack:
            began, cpu = time.monotonic(), time.process_time()
            self.give(stack.sender, to, turns(payloads, count))
            stack.sender.flush(4 * STUCK)
            cpu = time.process_time() - cpu
            pipe.send(Sent(began, cpu, stack.counters().get("resender.resent", 0)))

    def give(self, sender: packhorse.PackageSender, to: Address, payloads: Iterable[bytes]) -> None:
        """Send each, one call at a time."""
        send, reliability, peers = sender.send, self.reliability, Peers.PLAYERS
        for data in payloads:
            send(OutPackage(data, reliability, peers, to))

    def echo(self, pipe: Connection) -> None:
        """See `Contender`."""
        with packhorse.startup(host=HOST) as stack:
            pipe.send(stack.address)
            send = stack.sender.send
            for package in stack.receiver:
                if package.peers is Peers.SERVER:
                    return
                send(OutPackage(package.data, package.reliability, package.peers, package.source))

    def ping(self, pipe: Connection, to: Address, size: int, count: int) -> None:
        """See `Contender`."""
        trips: list[float] = []
        with packhorse.startup(host=HOST) as stack:
            send, receive, reliability, peers = stack.sender.send, stack.receiver.recv, self.reliability, Peers.PLAYERS
            for data in turns([bytes(size)], count):
                start = time.monotonic()
                send(OutPackage(data, reliability, peers, to))
                receive(STUCK)
                trips.append(time.monotonic() - start)
            send(OutPackage(b"end", Reliability.UNORDERED, Peers.SERVER, to))
        pipe.send(trips)


@dataclass(frozen=True)
class Messages(Packhorse):
    """Many messages in each package."""

    @property
    def name(self) -> str:
        """See `Contender`."""
        return "packhorse, messages in packages"

    def take(self, packages: list[packhorse.InPackage]) -> int:
        """Decode the messages, and return how many there are."""
        return sum(len(list(package.decode(bytes))) for package in packages)

    def give(self, sender: packhorse.PackageSender, to: Address, payloads: Iterable[bytes]) -> None:
        """Push each, and send what is complete now and then."""
        builder = PackageBuilder(self.reliability, Peers.PLAYERS, to)
        push, waiting = builder.push, 0
        for data in payloads:
            push(data)
            waiting += 1
            if waiting == 4 * SOME:
                waiting = 0
                sender.send_many(builder.build_old(float("-inf")))
        sender.send_many(builder.build_all())
