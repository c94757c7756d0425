"""Simulated peers that log: what their halves do, written as events of the table.

It looks at the halves from outside, before and after each step, so the logs are right by construction and not by what
the nodes log.
"""

# pyright: reportPrivateUsage=false
# The reason: it looks into the halves, to know what has happened to which package.
from __future__ import annotations

import json
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import groupby
from typing import Any

from packhorse import Address, ConfirmPolicy, OutPackage, PeerFailed, ResendPolicy
from packhorse.actors.events import EVENTS, problems
from packhorse.protocol.congestion import DelayController
from packhorse.protocol.header import CONTROL, HEADER_SIZE, ID_MASK, unpack_confirmation, unpack_header
from packhorse.protocol.messages import Confirmed, Received, Revive, Sent
from packhorse.protocol.recovery import MeasuredRecovery
from packhorse.testing import SimulatedPeer, Simulation

WALL = 1_700_000_000.0


def written(address: Address) -> str:
    return f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"


def _around(handler: Callable[[Any, Callable[[Any], None]], None], inner: Callable[[Any], None], message: Any) -> None:
    handler(message, inner)


class TracedRecovery(MeasuredRecovery):
    """Remembers why each package was sent again last."""

    __slots__ = ("reasons",)

    def __init__(self, first: int, longest_wait: float) -> None:
        super().__init__(first, longest_wait)
        self.reasons: dict[int, str] = {}

    def _judge(self, now: float, numbers: list[int]) -> None:
        before = len(numbers)
        super()._judge(now, numbers)
        self.reasons.update(dict.fromkeys(numbers[before:], "overtaken"))

    def _time_out(self, now: float, heard: float, numbers: list[int]) -> None:
        before, why = len(numbers), "probe" if self._backoff else "timeout"
        super()._time_out(now, heard, numbers)
        self.reasons.update(dict.fromkeys(numbers[before:], why))

    def due(self, now: float, heard: float | None = None) -> list[int]:
        self.reasons.clear()
        numbers = super().due(now, heard)
        for number in numbers:
            if number not in self.reasons:
                self.reasons[number] = "twin" if self.copies(number).lost else "eager"
        return numbers

    def revive(self, now: float) -> list[int]:
        numbers = super().revive(now)
        self.reasons = dict.fromkeys(numbers, "revived")
        return numbers


class TracedPolicy(ResendPolicy):
    __slots__ = ()

    def recovery(self, first: int, random: Callable[[], float]) -> TracedRecovery:
        del random
        return TracedRecovery(first, self.longest_wait)


class LoggedPeer(SimulatedPeer):
    """A peer with a log of its own; `skew` is how wrong its wall clock is, `uptime` what its monotonic began with."""

    def __init__(self, simulation: Simulation, address: Address, *, skew: float, uptime: float, **options: Any) -> None:
        super().__init__(simulation, address, **options)
        self.uptime = uptime
        self.bound = written(address)
        self.log: list[dict[str, Any]] = []
        self._accepted: defaultdict[tuple[Address, bytes], deque[float]] = defaultdict(deque)
        self._copies: defaultdict[tuple[Address, int], int] = defaultdict(lambda: 1)
        self._backlogs: dict[Address, int] = {}
        self.numbered: dict[bytes, tuple[str, int, float]] = {}
        """The target, id and time of every payload that got an id; payloads are unique."""
        self.arrivals: Counter[tuple[str, bytes]] = Counter()
        """How often each datagram arrived, by source."""
        self._wrap(self._ureceiver, Received, self._received)
        self._wrap(self._resender, Confirmed, self._confirmed)
        self.emit("stack:started", "", unix=WALL + simulation.now + skew, receive_buffer=1 << 20)

    @staticmethod
    def _wrap(half: Any, kind: type, handler: Callable[[Any, Callable[[Any], None]], None]) -> None:
        inner = half._handlers[kind]
        half._handlers[kind] = partial(_around, handler, inner)

    def emit(self, event: str, node: str, **fields: Any) -> None:
        record = {
            "event": event,
            "level": EVENTS[event].level,
            "time": self.uptime + self.simulation.now,
            "seq": len(self.log),
            "stack": "stack-1",
            "address": self.bound,
            **({"node": node, "generation": 0} if node else {}),
            **fields,
        }
        assert problems(record) == []
        self.log.append(record)

    def _which(self, ids: Iterable[int]) -> dict[str, Any]:
        numbers = list(ids)
        count = len(numbers)
        if numbers and numbers == list(range(numbers[0], numbers[0] + count)):
            return {"id": numbers[0], "count": count}
        return {"ids": [number & ID_MASK for number in numbers], "count": count}

    # The sender.

    def send(self, package: OutPackage) -> None:
        self._accepted[package.target, package.data].append(self.simulation.now)
        self.emit("package:accepted", "usender", target=written(package.target), count=1)
        super().send(package)

    def pass_on(self, half: Any) -> None:
        if half is self._usender:
            self._from_usender(half.state)
        elif half is self._resender:
            self._given_up(half.state.failures, "resender")
            for run in half.state.to_dsender:
                self._resent(run.target, run.datagrams)
        if half is not self._ureceiver:
            for run in half.state.to_dsender:
                self._sent(run.target, run.datagrams)
        super().pass_on(half)

    def _from_usender(self, state: Any) -> None:
        now = self.simulation.now
        for message in state.to_resender:
            if type(message) is Sent:
                self._numbered(message.target, message.datagrams, message.eager, now)
            elif type(message) is Revive:
                self.emit("peer:revived", "resender", target=written(message.target), pending=0)
        for run in state.to_dsender:
            unreliable = [datagram for datagram in run.datagrams if not unpack_header(datagram)[0]]
            if unreliable:
                self._numbered(run.target, unreliable, 1, now)
        for address, target in state._targets.items():
            waits, before = target.waits, self._backlogs.get(address, 0)
            if waits > before:
                self.emit("package:queued", "usender", target=written(address), count=waits - before, backlog=waits)
            self._backlogs[address] = waits
        self._given_up(state.failures, "usender")

    def _numbered(self, target: Address, datagrams: Sequence[bytes], eager: int, now: float) -> None:
        reliabilities = [unpack_header(datagram)[0].name.lower() for datagram in datagrams]
        sizes = [len(datagram) - HEADER_SIZE for datagram in datagrams]
        waited = [now - self._accepted[target, datagram[HEADER_SIZE:]].popleft() for datagram in datagrams]
        which = self._which(unpack_header(datagram)[2] for datagram in datagrams)
        for datagram in datagrams:
            self.numbered[datagram[HEADER_SIZE:]] = written(target), unpack_header(datagram)[2], now
        for wire_id in which.get("ids") or range(which["id"], which["id"] + which["count"]):
            self._copies.pop((target, wire_id), None)
        self.emit(
            "package:numbered",
            "usender",
            target=written(target),
            **which,
            reliability=reliabilities[0] if len(set(reliabilities)) == 1 else reliabilities,
            size=sizes[0] if len(set(sizes)) == 1 else sizes,
            waited=waited[0] if len(set(waited)) == 1 else waited,
            **({"eager": eager} if eager > 1 else {}),
        )

    def _resent(self, target: Address, datagrams: Sequence[bytes]) -> None:
        recovery = self.redelivery._peers[target].recovery
        reasons = {number & ID_MASK: why for number, why in getattr(recovery, "reasons", {}).items()}
        ids = [unpack_header(datagram)[2] for datagram in datagrams]
        for why, group in groupby(ids, key=lambda wire_id: reasons.get(wire_id, "timeout")):
            run = list(group)
            for wire_id in run:
                self._copies[target, wire_id] += 1
            if why in ("overtaken", "timeout"):
                self.emit("recovery:package_lost", "resender", target=written(target), **self._which(run), trigger=why)
            self.emit(
                "recovery:package_resent",
                "resender",
                target=written(target),
                **self._which(run),
                trigger=why,
                copies=[self._copies[target, wire_id] for wire_id in run],
            )

    def _sent(self, target: Address, datagrams: Sequence[bytes]) -> None:
        if datagrams[0][0] & CONTROL:
            for datagram in datagrams:
                ids = unpack_confirmation(datagram)
                self.emit("transport:confirmation_sent", "confirmer", target=written(target), **self._which(ids))
            return
        size = sum(map(len, datagrams))
        for name, group in groupby(datagrams, key=lambda datagram: unpack_header(datagram)[0].name.lower()):
            which = self._which(unpack_header(datagram)[2] for datagram in group)
            self.emit(
                "transport:datagram_sent", "dsender", target=written(target), **which, reliability=name, bytes=size
            )

    def _confirmed(self, message: Confirmed, inner: Callable[[Any], None]) -> None:
        source = written(message.source)
        self.emit("transport:confirmation_received", "sreceiver", source=source, **self._which(message.ids))
        peer = self.redelivery._peers.get(message.source)
        before = set(peer.recovery.unconfirmed) if peer else set[int]()
        window = peer.room.controller.window if peer else 0.0
        inner(message)
        if peer is None:
            return
        news = sorted(before - set(peer.recovery.unconfirmed))
        if not news:
            return
        round_trip = peer.recovery.round_trip
        self.emit(
            "recovery:package_confirmed", "resender", target=source, **self._which(number & ID_MASK for number in news)
        )
        if round_trip.smoothed is not None:
            self.emit(
                "recovery:rtt_updated",
                "resender",
                target=source,
                latest=round_trip.smoothed,
                smoothed=round_trip.smoothed,
                minimum=round_trip.minimum,
                timeout=round_trip.timeout,
            )
        if peer.room.controller.window != window:
            self.emit(
                "recovery:window_updated",
                "resender",
                target=source,
                window=peer.room.controller.window,
                in_flight=peer.recovery.in_flight,
            )

    def _given_up(self, failures: Sequence[PeerFailed], node: str) -> None:
        for failure in failures:
            target, count = written(failure.target), failure.count
            peer = self.redelivery._peers.get(failure.target) if node == "resender" else None
            numbers = sorted(set(peer.recovery.unconfirmed) | set(peer.recovery.held)) if peer else []
            if numbers:
                ids = [number & ID_MASK for number in numbers]
                self.emit("package:given_up", node, target=target, **self._which(ids), trigger=failure.reason.value)
            if count > len(numbers):
                self.emit(
                    "package:given_up", node, target=target, count=count - len(numbers), trigger=failure.reason.value
                )
            if node == "resender":
                self.emit("peer:failed", node, target=target, trigger=failure.reason.value, unconfirmed=count)

    # The receiver.

    def arrive(self, source: Address, datagram: bytes) -> None:
        self.arrivals[written(source), datagram] += 1
        super().arrive(source, datagram)

    def _received(self, message: Received, inner: Callable[[Any], None]) -> None:
        state, source = self.receiving, written(message.source)
        reliability, _, wire_id = unpack_header(message.buffer)
        name, one = reliability.name.lower(), {"id": wire_id, "count": 1}
        delivered, refused, duplicates = len(state.to_user), state.refused, state.duplicates
        known = state._sources.get(message.source)
        kept = dict(known.kept) if known else {}
        inner(message)
        known = state._sources.get(message.source)
        now_kept = known.kept if known else {}
        if state.duplicates > duplicates:
            self.emit("package:duplicated", "ureceiver", source=source, **one)
            return
        if state.refused > refused:
            self.emit("package:refused", "ureceiver", source=source, **one, trigger="holes")
            return
        self.emit(
            "package:received",
            "ureceiver",
            source=source,
            **one,
            reliability=name,
            size=len(message.buffer) - HEADER_SIZE,
        )
        if len(now_kept) > len(kept):
            self.emit("package:kept", "ureceiver", source=source, **one)
            return
        if len(state.to_user) > delivered:
            released = sorted(set(kept) - set(now_kept))
            self.emit("package:delivered", "ureceiver", source=source, **one, reliability=name)
            if released:
                which = self._which(number & ID_MASK for number in released)
                self.emit("package:delivered", "ureceiver", source=source, **which, reliability="semi_ordered")


class LoggedSimulation(Simulation):
    """A simulation whose peers log; `copies` says how often each datagram was sent, by source and target."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self.copies: Counter[tuple[str, str, bytes]] = Counter()

    def carry(self, source: Address, target: Address, datagram: bytes) -> None:
        self.copies[written(source), written(target), datagram] += 1
        super().carry(source, target, datagram)

    def logged(self, address: Address, *, skew: float = 0.0, uptime: float = 1000.0, window: int = 1024) -> LoggedPeer:
        peer = LoggedPeer(
            self,
            address,
            skew=skew,
            uptime=uptime,
            resend=TracedPolicy(),
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
