"""A relay of real UDP datagrams over links that lose, delay, double and reorder.

One thread reads, asks a `Link` when each datagram is to come out, and sends it on then. All times are seconds.
"""

from __future__ import annotations

import heapq
import selectors
import socket
import threading
import time
from typing import TYPE_CHECKING, Any, Final, Self, cast

from ..actors.transport import RECEIVE_BUFFER, listen_error
from ..protocol.packages import normalized
from .link import Link

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from ..protocol import Address

__all__ = ["UdpLink"]

LONGEST_DATAGRAM: Final = 65535

READS: Final = 64
"""Datagrams read in a row from one socket before those that are due are sent on."""


class UdpLink:
    """A relay for UDP datagrams on real sockets, with a link in each direction. Use it in a `with` statement.

    Every client that sends to `address` gets a socket of its own towards `to`, so replies find their way back. The
    relay is one thread, which sleeps while nothing is under way.

    Args:
        to: where datagrams go. A host name is resolved once.
        there: the link from clients to `to`; without one everything passes.
        back: the link from `to` to clients; without one everything passes.
        listen: where clients send to. Port 0 lets the system choose.
        clients: numeric addresses of clients that `to` should be able to reach before they have sent anything; see
            `seen_as`.

    Attributes:
        address: where clients send to.
        there, back: the links; read their counts at any time.
        overflowed: datagrams that a full socket of this machine refused, in both directions.

    Raises:
        OSError: the port is taken, an address is not ours or a name is unknown.
        PackageError, TypeError: `to` is no address that can be sent to.
    """

    def __init__(
        self,
        to: Address,
        *,
        there: Link | None = None,
        back: Link | None = None,
        listen: Address = ("127.0.0.1", 0),
        clients: Iterable[Address] = (),
    ) -> None:
        self.there = there or Link()
        self.back = back or Link()
        self.overflowed = 0
        to = normalized(to)
        self._family: int
        self._to: Any
        self._family, _, _, _, self._to = socket.getaddrinfo(to[0], to[1], type=socket.SOCK_DGRAM)[0]
        self._under_way: list[tuple[float, int, socket.socket, Any, bytes]] = []
        self._serial = 0
        self._upstream: dict[Any, socket.socket] = {}
        try:
            family, _, _, _, address = socket.getaddrinfo(listen[0], listen[1], type=socket.SOCK_DGRAM)[0]
            self._downstream = self._socket(family, address)
        except OSError as error:
            raise listen_error(listen[0], listen[1], error) from error
        self._selector = selectors.DefaultSelector()
        self.address = cast("Address", self._downstream.getsockname())
        self._selector.register(self._downstream, selectors.EVENT_READ)
        for client in clients:
            self._upstream_of(client)
        self._alarm, self._bell = socket.socketpair()
        self._selector.register(self._alarm, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name="udp-link", daemon=True)
        self._thread.start()

    def seen_as(self, client: Address) -> Address:
        """Return the address at which `to` sees a client and can reach it.

        Raises:
            KeyError: nothing is known of this client yet; name it in `clients`.
        """
        return (self._to[0], self._upstream[client].getsockname()[1])

    def close(self) -> None:
        """Drop what is under way and give all sockets back. May be repeated."""
        if self._thread.is_alive():
            self._bell.send(b"!")
            self._thread.join()
        for endpoint in (self._downstream, self._alarm, self._bell, *self._upstream.values()):
            endpoint.close()
        self._selector.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # All of this runs in the thread.

    def _run(self) -> None:
        while True:
            wait = None
            if self._under_way:
                wait = max(0.0, self._under_way[0][0] - time.monotonic())
            for key, _ in self._selector.select(wait):
                if key.fileobj is self._alarm:
                    return
                self._read(cast("socket.socket", key.fileobj), key.data)
            while self._under_way and self._under_way[0][0] <= time.monotonic():
                _, _, endpoint, target, datagram = heapq.heappop(self._under_way)
                self._send(endpoint, target, datagram)

    def _read(self, endpoint: socket.socket, client: Any) -> None:
        """Take what waits in a socket; `client` is whose upstream socket it is, or None for the one clients send to."""
        for _ in range(READS):
            try:
                datagram, source = endpoint.recvfrom(LONGEST_DATAGRAM)
            except OSError:  # nothing more, or an ICMP error that belongs to some datagram we have sent
                return
            if client is None:
                self._carry(self.there, self._upstream_of(source), self._to, datagram)
            else:
                self._carry(self.back, self._downstream, client, datagram)

    def _carry(self, link: Link, endpoint: socket.socket, target: Any, datagram: bytes) -> None:
        for arrival in link.carry(len(datagram), time.monotonic()):
            self._serial += 1
            heapq.heappush(self._under_way, (arrival, self._serial, endpoint, target, datagram))

    def _send(self, endpoint: socket.socket, target: Any, datagram: bytes) -> None:
        try:
            endpoint.sendto(datagram, target)
        except OSError:
            self.overflowed += 1

    def _upstream_of(self, client: Any) -> socket.socket:
        endpoint = self._upstream.get(client)
        if endpoint is None:
            endpoint = self._socket(self._family, ("::" if self._family == socket.AF_INET6 else "0.0.0.0", 0))  # noqa: S104 - `to` may be anywhere
            self._upstream[client] = endpoint
            self._selector.register(endpoint, selectors.EVENT_READ, client)
        return endpoint

    @staticmethod
    def _socket(family: int, address: Any) -> socket.socket:
        endpoint = socket.socket(family, socket.SOCK_DGRAM)
        try:
            endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            endpoint.bind(address)
            endpoint.setblocking(False)
        except BaseException:
            endpoint.close()
            raise
        return endpoint
