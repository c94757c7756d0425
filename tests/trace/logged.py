"""Simulated peers that log: what their halves note, and what the nodes around the halves would log.

What has really happened is kept besides, as the datagrams alone tell it, to hold the logs against.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from packhorse import Address, ConfirmPolicy, ResendPolicy
from packhorse.actors.events import EVENTS, problems
from packhorse.protocol.address import host_port
from packhorse.protocol.congestion import DelayController
from packhorse.protocol.header import CONTROL, HEADER_SIZE, RELIABILITY_BITS, unpack_confirmation, unpack_header
from packhorse.protocol.messages import Datagrams
from packhorse.protocol.notes import promised, which
from packhorse.testing import SimulatedPeer, Simulation

WALL = 1_700_000_000.0


class LoggedPeer(SimulatedPeer):
    """A peer with a log of its own; `skew` is how wrong its wall clock is, `uptime` what its monotonic began with."""

    def __init__(self, simulation: Simulation, address: Address, *, skew: float, uptime: float, **options: Any) -> None:
        super().__init__(simulation, address, **options)
        self.uptime = uptime
        self.bound = host_port(address)
        self.log: list[dict[str, Any]] = []
        self.numbered: dict[bytes, tuple[str, int, float]] = {}
        """The target, id and time of every payload that got an id; payloads are unique."""
        self.arrivals: Counter[tuple[str, bytes]] = Counter()
        """How often each datagram arrived, by source."""
        for half in self._halves:
            half.state.notes = []
        self.emit("stack:started", "", unix=WALL + simulation.now + skew, receive_buffer=1 << 20)

    def emit(self, event: str, node: str, **fields: Any) -> None:
        record = {
            "event": event,
            "level": EVENTS[event].level,
            "time": self.uptime + self.simulation.now,
            "seq": len(self.log),
            "stack": "stack-1",
            "address": self.bound,
            **({"node": node, "generation": 0} if node else {}),
            **{name: host_port(value) if name in ("target", "source") else value for name, value in fields.items()},
        }
        assert problems(record) == []
        self.log.append(record)

    def pass_on(self, half: Any) -> None:
        state = half.state
        node = ("usender", "resender", "ureceiver", "confirmer")[self._halves.index(half)]
        for event, fields in state.notes:
            self.emit(event, node, **fields)
        state.notes.clear()
        for failure in state.failures if node in ("usender", "resender") else ():
            about = {"target": failure.target, "trigger": failure.reason.value}
            if node == "resender":
                self.emit("peer:failed", node, **about, unconfirmed=failure.count)
            elif failure.count:
                self.emit("package:given_up", node, **about, count=failure.count)
        for run in state.to_dsender if node == "usender" else ():
            for datagram in run.datagrams:
                _, _, wire_id = unpack_header(datagram)
                self.numbered[datagram[HEADER_SIZE:]] = host_port(run.target), wire_id, self.simulation.now
        super().pass_on(half)

    def _leave(self, run: Datagrams) -> None:
        if run.numbers:
            kinds = promised([datagram[0] & RELIABILITY_BITS for datagram in run.datagrams])
            size = sum(map(len, run.datagrams))
            about = {"target": run.target, **which(run.numbers), "reliability": kinds, "bytes": size}
            self.emit("transport:datagram_sent", "dsender", **about)
        super()._leave(run)

    def arrive(self, source: Address, datagram: bytes) -> None:
        self.arrivals[host_port(source), datagram] += 1
        if datagram[0] & CONTROL:
            ids = unpack_confirmation(datagram)
            named = which(ids) if ids else {"count": 0}
            self.emit("transport:confirmation_received", "sreceiver", source=source, **named)
        super().arrive(source, datagram)


class LoggedSimulation(Simulation):
    """A simulation whose peers log; `copies` says how often each datagram was sent, by source and target."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self.copies: Counter[tuple[str, str, bytes]] = Counter()

    def carry(self, source: Address, target: Address, datagram: bytes) -> None:
        self.copies[host_port(source), host_port(target), datagram] += 1
        super().carry(source, target, datagram)

    def logged(self, address: Address, *, skew: float = 0.0, uptime: float = 1000.0, window: int = 1024) -> LoggedPeer:
        peer = LoggedPeer(
            self,
            address,
            skew=skew,
            uptime=uptime,
            resend=ResendPolicy(),
            confirm=ConfirmPolicy(),
            controller=DelayController,
            window=window,
            identity=False,
        )
        self._peers[address] = peer
        return peer


def lines(peer: LoggedPeer) -> str:
    """Return a peer's log as structlog's JSONRenderer would have written it."""
    return "".join(json.dumps(record) + "\n" for record in peer.log)
