"""The other end of `packhorse bench`: counts what comes, or sends it back.

The rules:

- a run is what comes from one address between `Begin` and `End`; what comes at other times is not looked at;
- nothing makes the server wait: what finds no room is not sent, and the client takes it for lost;
- a rate is the client's business; the server says how many came, and how long that took by its own clock.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import msgspec

from packhorse import Closed, DecodeError, OutPackage, PackhorseError, Peers, Reliability
from packhorse.protocol.address import host_port

from .run import attend, everywhere, open_stack, say

if TYPE_CHECKING:
    from packhorse import Address, InPackage, Stack

__all__ = ["BATCH", "Begin", "End", "FromClient", "FromServer", "Ready", "Result", "Server", "serve", "word"]

BATCH: Final = 1024
MOST_RUNS: Final = 1024
"""Clients at a time; beyond that the one that began first is forgotten."""


class Begin(msgspec.Struct, frozen=True, array_like=True, tag="bench-begin"):
    """Count what comes from now on, or send it back."""

    echo: bool


class End(msgspec.Struct, frozen=True, array_like=True, tag="bench-end"):
    """That was all."""


class Ready(msgspec.Struct, frozen=True, array_like=True, tag="bench-ready"):
    """The server counts."""


class Result(msgspec.Struct, frozen=True, array_like=True, tag="bench-result"):
    """What the server has counted.

    Attributes:
        packages: all that came.
        size: bytes of data in them.
        first: how many of them the server took at first.
        seconds: from then until it took the last.
        known: False: there was no such run, because the server was started anew, or has too many clients.
    """

    packages: int
    size: int
    first: int
    seconds: float
    known: bool = True


FromClient = Begin | End
FromServer = Ready | Result


def word(message: FromClient | FromServer, target: Address) -> OutPackage:
    """Make a package of what the two ends say to each other; `Peers` tells it apart from what is measured."""
    return OutPackage.encode(message, Reliability.SEMI_ORDERED, Peers.SERVER, target)


class _Run(msgspec.Struct):
    """What one client has sent since its `Begin`."""

    echo: bool
    packages: int = 0
    size: int = 0
    first: int = 0
    began: float = 0.0
    last: float = 0.0


def serve(host: str | None, port: int) -> int:
    """Serve benches until a signal comes; that is the normal end.

    Raises:
        Problem: the port cannot be used.
    """
    with open_stack(everywhere() if host is None else host, port) as stack:
        server = Server(stack)
        try:
            outcome = attend(server.run, stack.close)
        finally:
            stack.close(0)
    say(f"{outcome.reason}; {server.ended} runs of {len(server.clients)} clients")
    return 0


class Server:
    """Counts for any number of clients, or sends back what they send.

    Attributes:
        ended: runs that came to their end.
        clients: the hosts that they came from.
    """

    def __init__(self, stack: Stack) -> None:
        self.ended = 0
        self.clients: set[str] = set()
        self._stack = stack
        self._runs: dict[Address, _Run] = {}

    def run(self) -> None:
        """Serve until the stack is closed."""
        say(f"listening on {host_port(self._stack.address)}")
        while True:
            batch = self._stack.receiver.recv_many(BATCH)
            now = time.monotonic()
            for received in batch:
                if received.peers is Peers.SERVER:
                    self._hear(received)
                    continue
                run = self._runs.get(received.source)
                if run is None:
                    continue
                if run.echo and received.data:
                    self._tell(OutPackage(received.data, received.reliability, Peers.PLAYERS, received.source))
                run.packages += 1
                run.size += len(received.data)
                run.last = now
                run.began = run.began or now
                run.first += run.began == now

    def _hear(self, received: InPackage) -> None:
        try:
            message: FromClient = next(received.decode(FromClient))
        except (DecodeError, StopIteration):
            return  # whoever that is, it is not `packhorse bench`
        source = received.source
        run = self._runs.pop(source, None)
        match message:
            case Begin(echo):
                if source[0] not in self.clients:
                    self.clients.add(source[0])
                    say(f"a bench from {host_port(source)}")
                if len(self._runs) >= MOST_RUNS:
                    del self._runs[next(iter(self._runs))]
                self._runs[source] = _Run(echo)
                self._tell(word(Ready(), source))
            case End():
                self.ended += run is not None
                result = Result(0, 0, 0, 0.0, known=False)
                if run is not None:
                    result = Result(run.packages, run.size, run.first, run.last - run.began)
                self._tell(word(result, source))

    def _tell(self, package: OutPackage) -> None:
        try:
            self._stack.sender.try_send(package)
        except Closed:
            raise
        except PackhorseError:
            pass  # no room: to the client it is lost, or it has gone
