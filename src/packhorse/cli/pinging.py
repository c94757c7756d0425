"""`packhorse ping` and `packhorse echo`: round trips between two stacks.

The rules:

- echo sends back what it gets, to where it came from, with the same reliability. It never waits for one who takes
  nothing: what finds no room is dropped and counted;
- a round trip is counted from the program to the program: from `send` to when `recv` has returned;
- ping sends at fixed times, whether replies come or not, as `ping` does.
"""

from __future__ import annotations

import math
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import msgspec

from packhorse import (
    Closed,
    DecodeError,
    OutPackage,
    PackhorseError,
    Peers,
    Reliability,
    Timeout,
)
from packhorse.protocol.address import host_port

from .run import Problem, attend, everywhere, open_stack, open_towards, resolve, say

if TYPE_CHECKING:
    from packhorse import Address, InPackage, Stack

__all__ = ["RoundTrips", "echo", "ping"]

LAST: Final = 2.0
"""Seconds to wait for the last replies."""

PADDING: Final = 48


class Ping(msgspec.Struct, frozen=True, array_like=True, tag="ping"):
    """What travels there and back."""

    number: int
    padding: bytes = bytes(PADDING)


class RoundTrips:
    """Counts pings and their replies.

    Attributes:
        sent: pings sent.
        doubled: replies that came again.
    """

    def __init__(self) -> None:
        self.sent = 0
        self.doubled = 0
        self._times: list[float] = []
        self._waiting: dict[int, float] = {}

    def send(self, now: float) -> int:
        """Note that a ping leaves now and return its number."""
        self.sent += 1
        self._waiting[self.sent] = now
        return self.sent

    def receive(self, number: int, now: float) -> float | None:
        """Return the seconds that a ping took there and back; None if that is not known, as of a second reply."""
        sent = self._waiting.pop(number, None)
        if sent is None:
            self.doubled += 1
            return None
        self._times.append(now - sent)
        return now - sent

    @property
    def received(self) -> int:
        """How many pings were answered."""
        return len(self._times)

    def summary(self) -> str:
        """Return the lines that `ping` ends with."""
        loss = 1 - self.received / self.sent if self.sent else 0.0
        doubled = f", +{self.doubled} duplicates" if self.doubled else ""
        lines = f"{self.sent} packages sent, {self.received} received{doubled}, {100 * loss:.4g}% lost"
        if self._times:
            average = sum(self._times) / self.received
            deviation = math.sqrt(max(0.0, sum(time * time for time in self._times) / self.received - average**2))
            figures = (min(self._times), average, max(self._times), deviation)
            lines += f"\nround trip min/avg/max/mdev = {'/'.join(f'{1000 * time:.3f}' for time in figures)} ms"
        return lines


def echo(host: str | None, port: int) -> int:
    """Echo until a signal comes; that is the normal end.

    Raises:
        Problem: the port cannot be used.
    """
    with open_stack(everywhere() if host is None else host, port) as stack:
        server = _Echo(stack)
        try:
            outcome = attend(server.run, stack.close)
        finally:
            stack.close(0)
    dropped = f", {server.dropped} dropped because their senders took nothing" if server.dropped else ""
    say(f"{outcome.reason}; sent back {server.packages} packages of {len(server.sources)} peers{dropped}")
    return 0


class _Echo:
    def __init__(self, stack: Stack) -> None:
        self.packages = 0
        self.dropped = 0
        self.sources: set[Address] = set()
        self._stack = stack

    def run(self) -> None:
        say(f"listening on {host_port(self._stack.address)}")
        for received in self._stack.receiver:
            self.sources.add(received.source)
            if not received.data:
                continue  # the wire allows it to come, not to go
            try:
                self._stack.sender.try_send(
                    OutPackage(received.data, received.reliability, received.peers, received.source)
                )
            except Closed:
                return
            except PackhorseError:
                self.dropped += 1
            else:
                self.packages += 1


def ping(host: str, port: int, *, count: int | None, interval: float, reliability: Reliability) -> int:
    """Ping until a signal comes or the count is reached; 0 if there was a reply, else 1.

    Raises:
        Problem: there is no such host.
    """
    target = resolve(host, port)
    with open_towards(target) as stack:
        pinger = _Pinger(stack, target, reliability, interval)
        try:
            attend(lambda: pinger.run(count), lambda: stack.close(0))
        finally:
            stack.close(0)
    print(f"\n--- {host_port(target)} ping statistics ---\n{pinger.trips.summary()}", flush=True)  # noqa: T201 - its result
    if pinger.trips.received:
        return 0
    say(f"no reply. Is `packhorse echo --port {port}` running there, and no firewall in between?")
    return 1


class _Pinger:
    def __init__(self, stack: Stack, target: Address, reliability: Reliability, interval: float) -> None:
        self.trips = RoundTrips()
        self._stack = stack
        self._target = target
        self._reliability = reliability
        self._mode = reliability.name.lower().replace("_", "-")
        self._interval = interval

    def run(self, count: int | None) -> None:
        print(f"PING {host_port(self._target)} with {self._mode} packages", flush=True)  # noqa: T201 - as ping
        at = time.monotonic()
        self._send()
        while count is None or self.trips.sent < count:
            at += self._interval
            self._hear(at, last=False)
            self._send()
        self._hear(time.monotonic() + LAST, last=True)

    def _send(self) -> None:
        message = Ping(self.trips.send(time.monotonic()))
        with suppress(PackhorseError):  # no room; it counts as lost
            self._stack.sender.try_send(OutPackage.encode(message, self._reliability, Peers.PLAYERS, self._target))

    def _hear(self, until: float, *, last: bool) -> None:
        """Take replies until then, or as the last ones until all are there."""
        with suppress(Timeout):
            while not (last and self.trips.received == self.trips.sent):
                self._take(self._stack.receiver.recv(max(0.0, until - time.monotonic())))

    def _take(self, received: InPackage) -> None:
        try:
            number = next(received.decode(Ping)).number
        except (DecodeError, StopIteration):
            raise Problem(f"what listens on {host_port(self._target)} does not send back what it gets") from None
        seconds = self.trips.receive(number, time.monotonic())
        took = "again (duplicate)" if seconds is None else f"time={1000 * seconds:.3f} ms"
        print(f"{len(received.data)} bytes from {host_port(received.source)}: seq={number} {took}", flush=True)  # noqa: T201 - as ping
