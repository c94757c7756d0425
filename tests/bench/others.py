"""Who else is compared: libraries that pack what they are given, many at a time.

| contender | what is sent |
|---|---|
| `Enet` | one reliable packet for each (pyenet, of the dependency group `bench`), which ENet packs into datagrams |
| `Tcp` | asyncio streams, four bytes of length in front of each |
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from contenders import HOST, OVER, SOME, Arrival, Bare, Contender, Messages, Packhorse, Sent, turns
from packhorse import Address, Reliability

__all__ = ["Enet", "Tcp", "everyone"]

MOST_WAITING = 1024
"""Packages of one target that may wait in packhorse."""


@dataclass(frozen=True)
class Enet:
    """ENet by pyenet: reliable packets, which it packs into datagrams itself.

    Attributes:
        waiting: packets that may wait to be sent or confirmed, as with packhorse's `send`; None: any number.
    """

    waiting: int | None = None

    @property
    def name(self) -> str:
        """See `Contender`."""
        return "ENet, reliable" if self.waiting is None else f"ENet, reliable, {self.waiting} waiting"

    @staticmethod
    def _host(enet: Any, peers: int) -> Any:
        return enet.Host(enet.Address(HOST.encode(), 0), peers, 1, 0, 0)

    @staticmethod
    def _connected(enet: Any, to: Address) -> tuple[Any, Any]:
        host = enet.Host(None, 1, 1, 0, 0)
        peer = host.connect(enet.Address(to[0].encode(), to[1]), 1)
        while host.service(100).type != enet.EVENT_TYPE_CONNECT:
            pass
        return host, peer

    def receive(self, pipe: Connection, count: int) -> None:
        """See `Contender`."""
        enet: Any = importlib.import_module("enet")
        host = self._host(enet, 4)
        pipe.send((HOST, host.address.port))
        arrived, last = 0, 0.0
        cpu, now, received, peer = time.process_time(), time.monotonic, enet.EVENT_TYPE_RECEIVE, None
        while arrived < count:
            event = host.service(100)
            while event is not None and event.type:
                if event.type == received:
                    peer = event.peer
                    assert event.packet.data
                    last = now()
                    arrived += 1
                event = host.check_events()
        pipe.send(Arrival(arrived, last, time.process_time() - cpu))
        assert peer is not None
        peer.send(0, enet.Packet(b"all there", enet.PACKET_FLAG_RELIABLE))
        until = time.monotonic() + OVER
        while host.service(10).type != enet.EVENT_TYPE_DISCONNECT and time.monotonic() < until:
            pass

    def send(self, pipe: Connection, to: Address, payloads: Sequence[bytes], count: int) -> None:
        """See `Contender`."""
        enet: Any = importlib.import_module("enet")
        host, peer = self._connected(enet, to)
        began, cpu, packet, reliable = time.monotonic(), time.process_time(), enet.Packet, enet.PACKET_FLAG_RELIABLE
        marks: deque[Any] = deque()

        def over(*_: object) -> None:
            marks.popleft()

        for number, data in enumerate(turns(payloads, count)):
            made = packet(data, reliable)
            if self.waiting is not None and number % (self.waiting // 2) == 0:
                made.set_free_callback(over)
                marks.append(made)
            peer.send(0, made)
            if number % SOME == 0:
                host.service(0)
            while len(marks) > 2:
                host.service(1)
        while host.service(100).type != enet.EVENT_TYPE_RECEIVE:
            pass
        pipe.send(Sent(began, time.process_time() - cpu, peer.packetsLost))
        peer.disconnect_now(0)
        host.flush()

    def echo(self, pipe: Connection) -> None:
        """See `Contender`."""
        enet: Any = importlib.import_module("enet")
        host = self._host(enet, 4)
        pipe.send((HOST, host.address.port))
        while True:
            event = host.service(100)
            if event.type == enet.EVENT_TYPE_DISCONNECT:
                return
            if event.type == enet.EVENT_TYPE_RECEIVE:
                event.peer.send(0, enet.Packet(event.packet.data, enet.PACKET_FLAG_RELIABLE))
                host.flush()

    def ping(self, pipe: Connection, to: Address, size: int, count: int) -> None:
        """See `Contender`."""
        enet: Any = importlib.import_module("enet")
        host, peer = self._connected(enet, to)
        trips: list[float] = []
        for data in turns([bytes(size)], count):
            start = time.monotonic()
            peer.send(0, enet.Packet(data, enet.PACKET_FLAG_RELIABLE))
            host.flush()
            while host.service(100).type != enet.EVENT_TYPE_RECEIVE:
                pass
            trips.append(time.monotonic() - start)
        peer.disconnect_now(0)
        host.flush()
        pipe.send(trips)


@dataclass(frozen=True)
class Tcp:
    """A TCP stream of asyncio, with a length in front of each."""

    name: str = "asyncio TCP, length-prefixed"

    @staticmethod
    async def _read(reader: asyncio.StreamReader) -> bytes:
        return await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big"))

    @staticmethod
    def _framed(data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + data

    def receive(self, pipe: Connection, count: int) -> None:
        """See `Contender`."""

        async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            last, cpu = 0.0, time.process_time()
            for _ in range(count):
                await self._read(reader)
                last = time.monotonic()
            pipe.send(Arrival(count, last, time.process_time() - cpu))
            writer.close()
            done.set()

        done = asyncio.Event()
        asyncio.run(self._serve(pipe, client, done))

    @staticmethod
    async def _serve(pipe: Connection, client: Any, done: asyncio.Event) -> None:
        server = await asyncio.start_server(client, HOST, 0)
        pipe.send(server.sockets[0].getsockname())
        async with server:
            await done.wait()

    def send(self, pipe: Connection, to: Address, payloads: Sequence[bytes], count: int) -> None:
        """See `Contender`."""

        async def run() -> None:
            reader, writer = await asyncio.open_connection(to[0], to[1])
            began, cpu = time.monotonic(), time.process_time()
            for number, data in enumerate(turns(payloads, count)):
                writer.write(self._framed(data))
                if number % SOME == 0:
                    await writer.drain()
            await writer.drain()
            await reader.read()  # the end: everything is there
            pipe.send(Sent(began, time.process_time() - cpu))
            writer.close()

        asyncio.run(run())

    def echo(self, pipe: Connection) -> None:
        """See `Contender`."""

        async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(asyncio.IncompleteReadError):
                while True:
                    writer.write(self._framed(await self._read(reader)))
            writer.close()
            done.set()

        done = asyncio.Event()
        asyncio.run(self._serve(pipe, client, done))

    def ping(self, pipe: Connection, to: Address, size: int, count: int) -> None:
        """See `Contender`."""

        async def run() -> list[float]:
            reader, writer = await asyncio.open_connection(to[0], to[1])
            trips: list[float] = []
            for data in turns([bytes(size)], count):
                start = time.monotonic()
                writer.write(self._framed(data))
                await self._read(reader)
                trips.append(time.monotonic() - start)
            writer.close()
            return trips

        pipe.send(asyncio.run(run()))


def everyone(*, flood: bool) -> dict[str, Contender]:
    """Return who can take part here, by name; the bare loop first."""
    found: list[Contender] = [Bare(), *(Packhorse(reliability) for reliability in Reliability)]
    if flood:
        found.append(Messages(Reliability.SEMI_ORDERED))
    if importlib.util.find_spec("enet") is not None:
        found.append(Enet())
        if flood:
            found.append(Enet(MOST_WAITING))
    found.append(Tcp())
    return {contender.name: contender for contender in found}
