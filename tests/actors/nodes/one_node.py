"""One node, and what its tests put into it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from packhorse import OutPackage, Peers, Reliability
from packhorse.actors import wiring
from packhorse.actors.inbox import Inbox
from packhorse.actors.mailbox import Mailbox
from packhorse.actors.messages import Death, Poisoned
from packhorse.actors.node import Node, Station
from packhorse.protocol.header import pack_header
from packhorse.protocol.messages import Received
from packhorse.testing import ManualClock

from ..helpers import quiet

if TYPE_CHECKING:
    pass

HERE = ("10.0.0.1", 1)
THERE = ("10.0.0.2", 2)
PLENTY = 1_000_000
"""A budget, in bytes, that no test here uses up."""


class Wire:
    """A socket that the test holds the other end of."""

    address = ("10.0.0.9", 9)
    receive_buffer = 0
    overflowed = 0
    segmented = 0

    def __init__(self, clock: ManualClock) -> None:
        self.sent: list[tuple[Any, bytes]] = []
        self.arrived: list[Any] = []
        self.refuse: dict[bytes, int] = {}
        self._clock = clock
        self._token = threading.Lock()
        self._token.acquire()

    def send(self, target: Any, datagrams: list[bytes]) -> list[OSError]:
        self.sent += [(target, datagram) for datagram in datagrams if datagram not in self.refuse]
        return [
            OSError(self.refuse[datagram], "refused by the test") for datagram in datagrams if datagram in self.refuse
        ]

    def receive(self) -> Any:
        if not self.arrived:
            return None
        first = self.arrived.pop(0)
        if isinstance(first, OSError):
            raise first
        source, datagram = first
        return source, len(datagram), datagram

    def arrive(self, *datagrams: Any) -> None:
        self.arrived += datagrams
        self.unpark()

    def ready(self) -> bool:
        return bool(self.arrived)

    def park(self, deadline: float | None) -> bool:
        self._clock.rest(self._token, deadline)
        return True

    def unpark(self) -> None:
        self._clock.wake(self._token)

    def close(self) -> None:
        pass


class Bench:
    """One node, started, under a clock that stands still."""

    def __init__(self, node: type[Node[Any]], state: Any = None, **extras: Any) -> None:
        self.clock: ManualClock = extras.pop("clock")
        self.node = node
        self.extras = extras
        self.deaths: list[Death] = []
        name = node.__name__.lower()
        outlets = [target for source, target in (*wiring.CHANNELS, *wiring.STATE) if source == name]
        # The neighbours' mailboxes live by real time: nobody reads them, and the manual clock would wait for that.
        self.outlets = {target: Mailbox(target, ManualClock()) for target in outlets}
        self.mailbox = Mailbox(name, self.clock, parking=extras.get("transport") if name == "dreceiver" else None)
        self.feeds: tuple[Any, ...] = tuple(
            self.outlets[target] for source, target in wiring.HOLDS_BACK if source == name
        )
        if "packages" in extras:
            self.feeds = (*self.feeds, extras["packages"])
        self.station: Station[Any] = Station(
            name=name,
            mailbox=self.mailbox,
            state=state,
            feeds=self.feeds,
            outlets=self.outlets,
            clock=self.clock,
            logger=quiet(self.clock).tracer(),
        )
        self.generation = 0
        self.start()

    def start(self) -> None:
        inbox = Inbox(self.mailbox, self.feeds)
        self.node.start(self.station, inbox, self.generation, self._report, **self.extras)
        assert self.station.incarnation is not None
        self.thread = self.station.incarnation.thread

    def _report(self, death: Death) -> None:
        self.deaths.append(death)
        if death.cause is None:
            self.mailbox.close()  # as the supervisor does

    def restart(self) -> Death:
        """Do what the supervisor does when a node has crashed."""
        self.thread.join(20)
        death = self.deaths[-1]
        assert death.cause is not None
        if death.poisoned is not None:
            self.mailbox.put_front([Poisoned(death.poisoned)])
        self.generation += 1
        self.start()
        self.clock.settle()
        return death

    def put(self, *items: Any) -> None:
        self.mailbox.put_all(items)
        self.clock.settle()

    def out(self, name: str) -> list[Any]:
        """Take what the node has put into a neighbour's mailbox."""
        return self.outlets[name].take() or []  # type: ignore[return-value] # there are no envelopes in it

    def counters(self) -> dict[str, int]:
        return {name: count for name, count in self.station.counters.items() if count}

    def cancel(self) -> None:
        self.mailbox.stop()

    def ended(self) -> bool:
        """Whether the node has ended by itself."""
        self.thread.join(20)
        return not self.thread.is_alive() and self.deaths[-1].cause is None

    def close(self) -> None:
        self.mailbox.abort()
        self.thread.join(20)
        self.mailbox.close()


def package(data: bytes, reliability: Reliability = Reliability.UNORDERED) -> OutPackage:
    return OutPackage(data, reliability, Peers.PLAYERS, THERE)


def datagram(number: int, reliability: Reliability = Reliability.UNORDERED, data: bytes = b"x") -> bytes:
    return pack_header(reliability, Peers.PLAYERS, number) + data


def received(*datagrams: bytes, time: float = 1000.0) -> Received:
    return Received(THERE, len(datagrams[0]), b"".join(datagrams), time)


class Broken(Exception):  # noqa: N818 - the state is the message
    """What the tests make handlers raise."""


def break_handler(monkeypatch: pytest.MonkeyPatch, node: type[Node[Any]], handler: str, over: Any) -> None:
    original = getattr(node, handler)

    def broken(self: Any, item: Any, now: float) -> None:
        if item == over:
            raise Broken
        original(self, item, now)

    monkeypatch.setattr(node, handler, broken)
