"""Thousands of peers that cost next to nothing: a few sockets that have every address 127.x.y.z of this machine.

The kernel tells with each datagram which address it was sent to, and sends from whichever address it is told
(IP_PKTINFO), so that to a stack each address is a peer of its own. `answering` confirms what it gets; `sources` sends
what it is told to.

Peers of its own would have as many receive buffers, and what all of them may have under way overfills a single one:
then what is sent again was lost. So those that answer share `BUFFERS` of them, among which the kernel divides them
(SO_REUSEPORT).
"""

from __future__ import annotations

import select
import socket
import struct
import time
from contextlib import ExitStack, suppress
from ipaddress import IPv4Address
from multiprocessing.connection import Connection
from typing import Any

from common import paced
from contenders import BUFFER, Arrival
from packhorse import Address

__all__ = ["addresses", "answering", "sources"]

IP_PKTINFO = 8
"""Of Linux; Python 3.11 does not name it."""

FIRST = int(IPv4Address("127.1.0.1"))
CONTROL = b"\x80\0\0\0"
RELIABLE = 0x60
UNORDERED = b"\x20"
LARGEST = 168
BUFFERS = 16


def addresses(count: int, port: int) -> list[Address]:
    """Return so many addresses of this machine."""
    return [(str(IPv4Address(FIRST + number)), port) for number in range(count)]


def _everywhere(port: int = 0) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    made.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
    made.setblocking(False)
    made.bind(("0.0.0.0", port))  # noqa: S104 - every address 127.x.y.z
    return made


def answering(pipe: Connection, most: int) -> None:
    """Say the port and confirm what comes, until the pipe is closed. At any word, say the `Arrival` so far.

    Args:
        pipe: where to speak.
        most: datagrams to take before they are confirmed; 1 confirms each by a datagram of its own.
    """
    arrived, last, cpu = 0, 0.0, time.process_time()
    with ExitStack() as opened:
        first = opened.enter_context(_everywhere())
        port = first.getsockname()[1]
        poll = select.poll()
        poll.register(pipe, select.POLLIN)
        peers = {made.fileno(): made for made in (first, *(_everywhere(port) for _ in range(BUFFERS - 1)))}
        for made in peers.values():
            poll.register(opened.enter_context(made), select.POLLIN)
        pipe.send(port)
        while True:
            ready = [peers[readable] for readable, _ in poll.poll() if readable in peers]
            if not ready:  # so it was the pipe
                try:
                    pipe.recv()
                except (EOFError, ConnectionError):
                    return
                pipe.send(Arrival(arrived, last, time.process_time() - cpu))
                arrived, last, cpu = 0, 0.0, time.process_time()
            for some in ready:
                batch: list[Any] = []
                with suppress(BlockingIOError):
                    while len(batch) < most:
                        batch.append(some.recvmsg(2048, 64))
                last = time.monotonic()
                arrived += _confirm(some, batch)


def _confirm(peers: socket.socket, batch: list[Any]) -> int:
    """Confirm what is reliable; return how many packages there are. The rest introduces them."""
    for (source, ancillary), ids in _ids(batch).items():
        at = [(socket.IPPROTO_IP, IP_PKTINFO, ancillary)]
        for start in range(0, len(ids), 3 * LARGEST):
            peers.sendmsg([CONTROL, ids[start : start + 3 * LARGEST]], at, 0, source)
    return sum([one[0][0] < CONTROL[0] for one in batch])


def _ids(batch: list[Any]) -> dict[tuple[Any, bytes], bytearray]:
    """Collect the ids of reliable packages by where they came from and which address they were sent to."""
    ids: dict[tuple[Any, bytes], bytearray] = {}
    for data, ancillary, _, source in batch:
        if 0 < data[0] & RELIABLE < RELIABLE:
            ids.setdefault((source, ancillary[0][2]), bytearray()).extend(data[1:4])
    return ids


def sources(pipe: Connection, to: Address, count: int, rate: float, size: int) -> None:
    """Be so many sources of unordered packages: at each word, a number, send so many at a rate, taking turns."""
    data = bytes(size)
    at = [
        [(socket.IPPROTO_IP, IP_PKTINFO, struct.pack("=I4s4s", 0, IPv4Address(FIRST + number).packed, bytes(4)))]
        for number in range(count)
    ]
    sent = 0
    with _everywhere() as peers, suppress(EOFError, ConnectionError):
        while True:
            for due in paced(pipe.recv(), rate, max(1, int(rate / 1000))):
                for number in range(sent, sent + due):
                    turn, source = divmod(number, count)
                    peers.sendmsg([UNORDERED, turn.to_bytes(3, "big"), data], at[source], 0, to)
                sent += due
            pipe.send(sent)
