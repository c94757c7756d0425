"""The UDP socket of a stack.

`Transport` is all that the stack needs of a network; `packhorse.testing` has one without sockets.
"""

from __future__ import annotations

import errno
import math
import os
import select
import selectors
import socket
import sys
import threading
import time
from collections.abc import Callable, Container, Sequence
from typing import Any, Final, Protocol, cast

from ..protocol.address import Address, canonical, host_port
from .mailbox import Parking
from .offload import ANCILLARY, LONGEST, Segmentation, accept_coalesced, count_overflow, segment_size, stretches

__all__ = ["RECEIVE_BUFFER", "Transport", "UdpTransport", "listen_error"]

RECEIVE_BUFFER: Final = 4 * 1024 * 1024
"""Bytes of receive buffer to ask for: a datagram of 64 bytes occupies 832, so the usual 212 992 hold 256 of them."""

_CUT_OFF: Final = int(socket.MSG_TRUNC | socket.MSG_CTRUNC)
"""A plain number: as flags they would cost more than the rest of a receive."""

_REMEMBERED: Final = 4096
"""Sources whose canonical address is kept, so that packages of one source share one tuple."""


_REASONS: Final = {
    errno.EADDRINUSE: "the port is in use by another program; choose another one, or 0 for any that is free",
    errno.EACCES: "permission denied; ports below 1024 are the system's, choose a higher one",
    errno.EADDRNOTAVAIL: "that is not an address of this machine",
}


def listen_error(host: str, port: int, error: OSError) -> OSError:
    """Return the same error, but with a text that says where one could not listen, and what would be right."""
    reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
    return type(error)(error.errno, f"cannot listen on {host_port((host, port))}: {reason}")


class Transport(Parking, Protocol):
    """A socket that sends and receives datagrams. One thread sends, another receives.

    A thread that was left behind, because it hung, may wake up beside the one that has taken its place: neither may get
    what the other has received.
    """

    @property
    def address(self) -> Address:
        """The address it is bound to, in canonical form."""
        ...

    @property
    def receive_buffer(self) -> int:
        """Bytes of receive buffer that the system granted."""
        ...

    @property
    def overflowed(self) -> int:
        """What was lost because the receive buffer was full, as far as the system tells.

        Linux counts what it has queued: one datagram, or all that came as one.
        """
        ...

    @property
    def segmented(self) -> int:
        """System calls that sent several datagrams at once."""
        ...

    def send(self, target: Address, datagrams: list[bytes]) -> Sequence[OSError]:
        """Send datagrams, at least one, in order.

        Returns an error for each that the system refused; that one is gone, the others are sent.
        """
        ...

    def receive(self) -> tuple[Address, int, bytes] | None:
        """Return what came next, or None if there is nothing right now.

        What came has one source, and is one datagram or several of a size, back to back: (source, size, data). Only the
        last may be shorter than that size.

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
        offload: let the system take and give many datagrams in one call, where it can.

    Raises:
        OSError: the port is taken or the address is not ours.
        TypeError, ValueError: the arguments are no address.
    """

    def __init__(self, host: str, port: int, *, offload: bool = True) -> None:
        if not isinstance(host, str):  # pyright: ignore[reportUnnecessaryIsInstance] - a public edge
            raise TypeError(f"host is a str, not {host!r}")
        if not isinstance(port, int) or isinstance(port, bool):  # pyright: ignore[reportUnnecessaryIsInstance] - same
            raise TypeError(f"port is an int, not {port!r}")
        if not 0 <= port < 65536:  # noqa: PLR2004 - 16 bits
            raise ValueError(f"port is from 0 (the system chooses) to 65535, not {port}")
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE)
        except UnicodeError as error:
            raise ValueError(f"a host is an address or a name of this machine, which {host!r} cannot be") from error
        except OSError as error:
            raise listen_error(host, port, error) from error
        family, _, _, _, address = found[0]
        self._six = family == socket.AF_INET6
        self._readable = True
        self._waited = False
        self._closed = False
        self._buffers = [memoryview(bytearray(LONGEST))]
        """Those that no receive is using."""
        self._sources: dict[Any, Address] = {}
        self._mapped: dict[Address, Any] = {}
        self.overflowed = 0
        self.segmented = 0
        self._parking = threading.Lock()
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        try:
            if self._six:
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(host not in ("::", "")))
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            try:
                self._socket.bind(address)
            except OSError as error:
                raise listen_error(host, port, error) from error
            self._socket.setblocking(False)
            self._segmentation = Segmentation(self._socket) if offload else None
            if offload:
                accept_coalesced(self._socket)
            count_overflow(self._socket)
            self._receive: Callable[..., Any] = getattr(self._socket, "recvmsg_into", self._recvfrom_into)
            self._alarm: _Alarm | None = _Alarm()
            self._poll = _poller(self._socket.fileno(), self._alarm.fileno())
        except BaseException:
            self._socket.close()
            raise

    @property
    def address(self) -> Address:
        """The address it is bound to."""
        return self._canonical(self._socket.getsockname())

    @property
    def receive_buffer(self) -> int:
        """Bytes of receive buffer that the system granted (Linux reports twice what it grants)."""
        size = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        return size // 2 if sys.platform == "linux" else size

    def send(self, target: Address, datagrams: list[bytes]) -> Sequence[OSError]:
        """Send datagrams, waiting while the socket's buffer is full; see `Transport.send`."""
        destination: Any = target
        if self._six and len(target) == 2:  # noqa: PLR2004 - an IPv4 address
            destination = self._mapped.get(target)
            if destination is None:
                destination = (f"::ffff:{target[0]}", target[1], 0, 0)
                _remember(self._mapped, target, destination)
        segmentation = self._segmentation
        if len(datagrams) == 1 or segmentation is None or not segmentation.works:
            return self._send_plainly(datagrams, destination)
        refused: list[OSError] = []
        for size, run in stretches(datagrams):
            if len(run) == 1 or not segmentation.works:
                refused += self._send_plainly(run, destination)
                continue
            error = self._send(b"".join(run), segmentation.ancillary(size), destination)
            if error is None:
                self.segmented += 1
            else:
                refusals = self._send_plainly(run, destination)
                segmentation.failed(error, plainly=not refusals)
                refused += refusals
        return refused

    def receive(self) -> tuple[Address, int, bytes] | None:
        """Return what came next; see `Transport.receive`."""
        try:
            buffer = self._buffers.pop()
        except IndexError:  # whoever was left behind here, because it hung, may wake up beside its successor
            buffer = memoryview(bytearray(LONGEST))
        try:
            count, ancillary, flags, raw = self._receive((buffer,), ANCILLARY)
            data = bytes(buffer[:count])
        except BlockingIOError:
            self._readable = False
            return None
        finally:
            self._buffers.append(buffer)
        if self._waited:
            # Probably there is nothing more; if there is, `park` returns at once.
            self._waited = self._readable = False
        size = 0
        if ancillary:
            size, overflowed = segment_size(ancillary)
            self.overflowed = overflowed or self.overflowed
        if flags & _CUT_OFF:
            raise OSError(errno.EMSGSIZE, "what came was cut off")
        source = self._sources.get(raw)
        if source is None:
            source = self._canonical(raw)
            _remember(self._sources, raw, source)
        return source, size or count, data

    def ready(self) -> bool:
        """Tell whether there may be datagrams."""
        return self._readable

    def park(self, deadline: float | None) -> bool:
        """Sleep until there is a datagram, until `unpark`, or until the deadline; see `Parking.park`."""
        with self._parking:
            alarm = self._alarm
            if self._closed or alarm is None:
                return True
            found = self._poll(0)
            self._waited = not found
            if not found:
                found = self._poll(None if deadline is None else max(0.0, deadline - time.monotonic()))
            if alarm.fileno() in found:
                alarm.silence()
            self._readable = self._readable or self._socket.fileno() in found
        return self._waited

    def unpark(self) -> None:
        """Wake the reader."""
        alarm = self._alarm
        if alarm is not None:
            alarm.ring()

    def close(self) -> None:
        """Close the socket and what belongs to it."""
        self._closed = True
        self.unpark()
        with self._parking:  # nothing would wake a reader that sleeps on descriptors that are gone
            self._socket.close()
            self._alarm = None

    def orphan(self) -> None:
        """Close the copy that a fork made, or the port would stay taken for as long as the child lives."""
        self._closed = True
        self._socket.close()
        self._alarm = None

    def _send_plainly(self, datagrams: list[bytes], destination: Any) -> Sequence[OSError]:
        errors = [self._send(datagram, (), destination) for datagram in datagrams]
        return [error for error in errors if error is not None]

    def _send(self, data: bytes, ancillary: Sequence[tuple[int, int, bytes]], destination: Any) -> OSError | None:
        while True:
            try:
                if ancillary:
                    self._socket.sendmsg((data,), ancillary, 0, destination)
                else:
                    self._socket.sendto(data, destination)
            except BlockingIOError:
                try:
                    self._wait_for_room()
                except OSError as error:  # no descriptor left for a selector
                    return error
            except OSError as error:
                return error
            else:
                return None

    def _wait_for_room(self) -> None:
        """Sleep until the socket's send buffer has room."""
        if hasattr(select, "poll"):  # which needs no descriptor
            poll = select.poll()
            poll.register(self._socket, select.POLLOUT)
            poll.poll()
            return
        with selectors.DefaultSelector() as writable:
            writable.register(self._socket, selectors.EVENT_WRITE)
            writable.select()

    def _recvfrom_into(self, buffers: tuple[memoryview], _: int) -> tuple[int, list[Any], int, Any]:
        """Do `recvmsg_into` for systems that lack it (Windows)."""
        count, source = self._socket.recvfrom_into(buffers[0])
        return count, [], 0, source

    def _canonical(self, address: Any) -> Address:
        if not self._six:
            return cast("tuple[str, int]", address)
        host, port, _, scope = cast("tuple[str, int, int, int]", address)
        return canonical(host.partition("%")[0], port, scope)


def _remember(known: dict[Any, Any], key: Any, value: Any) -> None:
    """Add to what is known, within bounds: what comes from the network may be forged."""
    if len(known) >= _REMEMBERED:
        known.clear()
    known[key] = value


def _poller(*descriptors: int) -> Callable[[float | None], Container[int]]:
    """Return what waits, at most so many seconds, until any of these can be read, and tells which."""
    if hasattr(select, "poll"):
        poll = select.poll()
        for descriptor in descriptors:
            poll.register(descriptor, select.POLLIN)
        return lambda timeout: dict(poll.poll(None if timeout is None else math.ceil(timeout * 1000)))

    def wait(timeout: float | None) -> Container[int]:
        with selectors.DefaultSelector() as selector:
            for descriptor in descriptors:
                selector.register(descriptor, selectors.EVENT_READ)
            return {key.fd for key, _ in selector.select(timeout)}

    return wait


class _Alarm:
    """Wakes a thread that sleeps on file descriptors.

    It is closed when nobody refers to it, so that whoever rings it late never writes to a descriptor that is somebody
    else's by now.
    """

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
            else:
                os.eventfd_write(self._event, 1)
        except OSError:
            pass  # it rings already

    def silence(self) -> None:
        try:
            if self._ends is not None:
                self._ends[0].recv(4096)
            else:
                os.eventfd_read(self._event)
        except BlockingIOError:
            pass

    def __del__(self) -> None:
        if self._ends is not None:
            for end in self._ends:
                end.close()
        elif self._event >= 0:
            os.close(self._event)
