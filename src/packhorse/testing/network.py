"""A network in memory: datagrams arrive at once, in order, and none is lost."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from ..actors.clock import SYSTEM_CLOCK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..actors.clock import Clock
    from ..protocol import Address

__all__ = ["Arrival", "MemoryNetwork", "MemoryTransport", "ScriptedPeer"]


class Arrival(NamedTuple):
    """A datagram that a scripted peer was sent."""

    time: float
    source: Address
    datagram: bytes


class MemoryNetwork:
    """Carries datagrams between the transports and scripted peers that were made of it.

    Args:
        clock: the clock of the stacks on this network.
    """

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self.clock = clock
        self._hosts: dict[Address, MemoryTransport | ScriptedPeer] = {}

    def transport(self, address: Address) -> MemoryTransport:
        """Make a transport for a stack, in place of a UDP socket.

        Raises:
            OSError: the address is taken.
        """
        transport = MemoryTransport(self, address)
        self._add(address, transport)
        return transport

    def peer(self, address: Address) -> ScriptedPeer:
        """Make a peer that does only what the test tells it to.

        Raises:
            OSError: the address is taken.
        """
        peer = ScriptedPeer(self, address)
        self._add(address, peer)
        return peer

    def carry(self, source: Address, target: Address, datagram: bytes) -> None:
        """Take a datagram where it should go; if nobody is there it is gone, as with UDP."""
        host = self._hosts.get(target)
        if host is not None:
            host.arrive(source, datagram)

    def remove(self, address: Address) -> None:
        """Free an address."""
        self._hosts.pop(address, None)

    def _add(self, address: Address, host: MemoryTransport | ScriptedPeer) -> None:
        if address in self._hosts:
            raise OSError(f"{address} is taken on this network")
        self._hosts[address] = host


class MemoryTransport:
    """What a stack uses instead of a UDP socket; made by `MemoryNetwork.transport`."""

    receive_buffer = 0
    overflowed = 0
    segmented = 0

    def __init__(self, network: MemoryNetwork, address: Address) -> None:
        self.address = address
        self._network = network
        self._arrived: deque[tuple[Address, bytes]] = deque()
        self._token = threading.Lock()
        self._token.acquire()

    def send(self, target: Address, datagrams: list[bytes]) -> Sequence[OSError]:
        """Send datagrams."""
        for datagram in datagrams:
            self._network.carry(self.address, target, datagram)
        return ()

    def receive(self) -> tuple[Address, int, bytes] | None:
        """Return the next datagram, its source and its size, or None."""
        if not self._arrived:
            return None
        source, datagram = self._arrived.popleft()
        return source, len(datagram), datagram

    def arrive(self, source: Address, datagram: bytes) -> None:
        """Take a datagram from the network."""
        self._arrived.append((source, datagram))
        self.unpark()

    def ready(self) -> bool:
        """Tell whether there are datagrams."""
        return bool(self._arrived)

    def park(self, deadline: float | None) -> bool:
        """Sleep until there is a datagram, until `unpark`, or until the deadline."""
        self._network.clock.rest(self._token, deadline)
        return True

    def unpark(self) -> None:
        """Wake the reader."""
        self._network.clock.wake(self._token)

    def close(self) -> None:
        """Leave the network."""
        self._network.remove(self.address)


class ScriptedPeer:
    """A peer without a stack; made by `MemoryNetwork.peer`.

    Attributes:
        address: where it is.
        arrivals: every datagram that it was sent.
    """

    def __init__(self, network: MemoryNetwork, address: Address) -> None:
        self.address = address
        self.arrivals: list[Arrival] = []
        self._network = network

    def send(self, target: Address, datagram: bytes) -> None:
        """Send one datagram, whatever is in it."""
        self._network.carry(self.address, target, datagram)

    def arrive(self, source: Address, datagram: bytes) -> None:
        """Take a datagram from the network."""
        self.arrivals.append(Arrival(self._network.clock.now(), source, datagram))
