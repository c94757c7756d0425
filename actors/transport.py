"""The UDP socket of a stack, and how addresses get into canonical form at the edge.

`Transport` is all that the stack needs of a network; `packhorse.testing` has one without sockets.
"""

from __future__ import annotations

import os
import selectors
import socket
import sys
import threading
import time
from typing import Any, Final, Protocol, cast

import msgspec

from ..protocol.address import Address, canonical, check_target, is_numeric
from ..protocol.errors import PackageError
from ..protocol.header import MAX_DATAGRAM
from ..protocol.packages import OutPackage, normalized
from .mailbox import Parking

__all__ = ["RECEIVE_BUFFER", "Resolver", "Transport", "UdpTransport"]

RECEIVE_BUFFER: Final = 4 * 1024 * 1024
"""Bytes of receive buffer to ask for: a datagram of 64 bytes occupies 832, so the usual 212 992 hold 256 of them."""

_REMEMBERED: Final = 4096


class Transport(Parking, Protocol):
    """A socket that sends and receives datagrams. One thread sends, another receives."""

    @property
    def address(self) -> Address:
        """The address it is bound to, in canonical form."""
        ...

    @property
    def receive_buffer(self) -> int:
        """Bytes of receive buffer that the system granted."""
        ...

    def send(self, target: Address, datagram: bytes) -> None:
        """Send one datagram.

        Raises:
            OSError: the system refused.
        """
        ...

    def receive(self) -> tuple[Address, bytes] | None:
        """Return the next datagram and its source, or None if there is none right now.

        Raises:
            OSError: the system reported something other than a datagram.
        """
        ...

    def close(self) -> None:
        """Give everything back to the system."""
        ...


class UdpTransport:
    """A real UDP socket. A socket bound to an IPv6 address that means "any" takes IPv4 as well.

    Args:
        host: a numeric address or a host name of this machine.
        port: the port; 0 lets the system choose.

    Raises:
        OSError: the port is taken or the address is not ours.
        TypeError, ValueError: the arguments are no address.
    """

    def __init__(self, host: str, port: int) -> None:
        if not isinstance(host, str):  # pyright: ignore[reportUnnecessaryIsInstance] - a public edge
            raise TypeError(f"host is a str, not {host!r}")
        if not isinstance(port, int) or isinstance(port, bool):  # pyright: ignore[reportUnnecessaryIsInstance] - same
            raise TypeError(f"port is an int, not {port!r}")
        if not 0 <= port < 65536:  # noqa: PLR2004 - 16 bits
            raise ValueError(f"port is from 0 (the system chooses) to 65535, not {port}")
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE)[0]
        self._six = family == socket.AF_INET6
        self._readable = True
        self._closed = False
        self._parking = threading.Lock()
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        try:
            if self._six:
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(host not in ("::", "")))
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            self._socket.bind(address)
            self._socket.setblocking(False)
            self._alarm = _Alarm()
        except BaseException:
            self._socket.close()
            raise
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._socket, selectors.EVENT_READ)
        self._selector.register(self._alarm, selectors.EVENT_READ)

    @property
    def address(self) -> Address:
        """The address it is bound to."""
        return self._canonical(self._socket.getsockname())

    @property
    def receive_buffer(self) -> int:
        """Bytes of receive buffer that the system granted (Linux reports twice what it grants)."""
        size = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        return size // 2 if sys.platform == "linux" else size

    def send(self, target: Address, datagram: bytes) -> None:
        """Send one datagram, waiting while the socket's buffer is full."""
        destination: Any = target
        if self._six and len(target) == 2:  # noqa: PLR2004 - an IPv4 address
            destination = (f"::ffff:{target[0]}", target[1], 0, 0)
        while True:
            try:
                self._socket.sendto(datagram, destination)
            except BlockingIOError:
                with selectors.DefaultSelector() as writable:  # select.select takes no descriptor above 1023
                    writable.register(self._socket, selectors.EVENT_WRITE)
                    writable.select()
            else:
                return

    def receive(self) -> tuple[Address, bytes] | None:
        """Return the next datagram and its source, one byte more than is allowed if it is too long."""
        try:
            datagram, source = self._socket.recvfrom(MAX_DATAGRAM + 1)
        except BlockingIOError:
            self._readable = False
            return None
        return self._canonical(source), datagram

    def ready(self) -> bool:
        """Tell whether there may be datagrams."""
        return self._readable

    def park(self, deadline: float | None) -> None:
        """Sleep until there is a datagram, until `unpark`, or until the deadline."""
        timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
        with self._parking:
            if self._closed:
                return
            for key, _ in self._selector.select(timeout):
                if key.fileobj is self._socket:
                    self._readable = True
                else:
                    self._alarm.silence()

    def unpark(self) -> None:
        """Wake the reader."""
        self._alarm.ring()

    def close(self) -> None:
        """Close the socket and what belongs to it."""
        self._closed = True
        self._alarm.ring()
        with self._parking:  # nothing would wake a reader that sleeps on descriptors that are gone
            self._selector.close()
            self._socket.close()
            self._alarm.close()

    def _canonical(self, address: Any) -> Address:
        if not self._six:
            return cast("tuple[str, int]", address)
        host, port, _, scope = cast("tuple[str, int, int, int]", address)
        return canonical(host.partition("%")[0], port, scope)


class _Alarm:
    """Wakes a thread that sleeps on file descriptors."""

    def __init__(self) -> None:
        self._event = -1
        self._ends: tuple[socket.socket, socket.socket] | None = None
        if hasattr(os, "eventfd"):
            self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        else:
            self._ends = socket.socketpair()
            for end in self._ends:
                end.setblocking(False)

    def fileno(self) -> int:
        return self._ends[0].fileno() if self._ends is not None else self._event

    def ring(self) -> None:
        try:
            if self._ends is not None:
                self._ends[1].send(b"!")
            elif self._event >= 0:
                os.eventfd_write(self._event, 1)
        except OSError:
            pass  # it rings already, or it was closed and nobody sleeps

    def silence(self) -> None:
        try:
            if self._ends is not None:
                self._ends[0].recv(4096)
            else:
                os.eventfd_read(self._event)
        except BlockingIOError:
            pass

    def close(self) -> None:
        if self._ends is not None:
            for end in self._ends:
                end.close()
        elif self._event >= 0:
            event, self._event = self._event, -1
            os.close(event)


class Resolver:
    """Makes targets ready to be sent to: resolves names, once each, and refuses what the socket cannot reach.

    Attributes:
        known: the canonical address of targets that were resolved lately; the very same tuple if that is what was given.
    """

    def __init__(self, bound: Address) -> None:
        self._four_only = len(bound) == 2  # noqa: PLR2004 - an IPv4 address
        self._six_only = not self._four_only and bound[0] != "::"
        self.known: dict[Address, Address] = {}

    def resolve(self, target: Address) -> Address:
        """Return the canonical address of a user's target.

        Raises:
            PackageError: the name is unknown, or the address is of the wrong family for this stack.
        """
        known = self.known.get(target)
        if known is None:
            known = self._check(normalized(target))
            if known == target:
                known = target  # the very tuple that packages for it have, so that they need no change
            if len(self.known) >= _REMEMBERED:
                self.known.clear()
            self.known[target] = known
        return known

    def resolved(self, package: OutPackage) -> OutPackage:
        """Return the package with its target resolved."""
        target = self.resolve(package.target)
        if target is package.target:
            return package
        return msgspec.structs.replace(package, target=target)

    def _check(self, target: Address) -> Address:
        if not is_numeric(target[0]):
            return self._look_up(target)
        if len(target) == 4 and self._four_only:  # noqa: PLR2004 - an IPv6 address
            raise PackageError(f"{target[0]} is an IPv6 address, and this stack is bound to IPv4; start it on '::'")
        if len(target) == 2 and self._six_only:  # noqa: PLR2004 - an IPv4 address
            raise PackageError(f"{target[0]} is an IPv4 address, and this stack is bound to IPv6; start it on '::'")
        return target

    def _look_up(self, target: Address) -> Address:
        family = socket.AF_INET if self._four_only else socket.AF_INET6 if self._six_only else socket.AF_UNSPEC
        try:
            results = socket.getaddrinfo(target[0], target[1], family, socket.SOCK_DGRAM)
        except (OSError, UnicodeError) as error:
            raise PackageError(f"the host name {target[0]!r} cannot be resolved: {error}") from error
        address: Any = results[0][4]
        return check_target(canonical(address[0].partition("%")[0], *address[1:2], *address[3:4]))
