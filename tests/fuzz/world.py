"""Both halves of a stack without actors, and what must hold of them whatever comes.

That is: no exception, no table beyond its limit, no output that nobody asked for.
"""

# pyright: reportPrivateUsage=false
# The reason: it looks into tables to see that they stay within their limits.
from __future__ import annotations

import gc
import sys
from collections import Counter
from math import inf
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import msgspec

from packhorse import ConfirmPolicy, OutPackage, Peers, Reliability, ResendPolicy
from packhorse.actors.dreceiver import DReceiver
from packhorse.actors.sreceiver import SReceiver
from packhorse.protocol import receiving as limits
from packhorse.protocol.confirmations import REPEATED, Confirmations
from packhorse.protocol.header import HEADER_SIZE, KINDS, MAX_CONFIRMED, MAX_DATAGRAM, Kind
from packhorse.protocol.identity import CHECKSUM_SIZE, EXPECTED, FORMER, HINT_BITS
from packhorse.protocol.messages import (
    Acknowledged,
    Confirmed,
    Dropped,
    Failed,
    Forgotten,
    Grant,
    Listen,
    Received,
    Refused,
    Restarted,
    Revive,
    Sent,
)
from packhorse.protocol.numbering import Numbering
from packhorse.protocol.receiving import Receiving
from packhorse.protocol.redelivery import Redelivery

__all__ = ["PEERS", "US", "World", "weight"]

PEERS = (("10.0.0.1", 1), ("10.0.0.2", 2))
"""Those that are sent to."""
US = 0x0123456789ABCDEF
"""Our own identity."""


class _Classifier(DReceiver):
    """dreceiver's judgement without its socket."""

    def __init__(self) -> None:  # pyright: ignore[reportMissingSuperCall]
        self._packages = []
        self._controls = []
        self.dropped = 0

    def _drop(self, trigger: str, source: Any, what: bytes | str, size: int = 1) -> None:
        del trigger, source
        self.dropped += -(-len(what) // max(1, size)) if what else 1

    def judge(self, source: Any, size: int, buffer: bytes, now: float) -> tuple[list[Received], list[Received]]:
        """Return packages and control datagrams; count the rest."""
        self._classify(source, size, buffer, now)
        packages, controls = self._packages, self._controls
        self._packages, self._controls = [], []
        return packages, controls


class _Unpacker(SReceiver):
    """sreceiver's reading without its mailbox."""

    def __init__(self) -> None:  # pyright: ignore[reportMissingSuperCall]
        self._counters = Counter[str]()
        self._read = []
        self._traced = False

    def read(self, received: Received) -> list[Confirmed | Refused]:
        """Return what the datagrams confirm, or refuse."""
        self._received(received, received.time)
        read, self._read = self._read, []
        return [one for one in read if not isinstance(one, Listen)]


class World:
    """Both halves of one stack.

    Args:
        most: how many sources the receiving half may know.
        noting: whether its parts take notes, as when everything is traced.

    Attributes:
        now: the time in seconds; whoever feeds the world lets it pass.
        datagrams: how many came so far.
        open: how many packages wait, or are unconfirmed.
    """

    def __init__(self, most: int, *, noting: bool = False) -> None:
        self.classifier, self.unpacker = _Classifier(), _Unpacker()
        self.receiving = Receiving(US, max_peers=most)
        self.confirmations = Confirmations(ConfirmPolicy(), max_peers=1)
        self.numbering = Numbering(identity=US)
        self.redelivery = Redelivery(ResendPolicy(), lambda: 0.5, identity=US)
        self.parts = (self.receiving, self.confirmations, self.numbering, self.redelivery)
        for part in self.parts:
            part.notes = [] if noting else None
        self.now = 1000.0
        self.datagrams = 0
        self.open = 0
        self._most = most
        self._sent = self._reported = self._came = self.delivered = 0
        self._packages = self._answers = 0

    def send(self, target: Any, reliability: Reliability, data: bytes = b"data") -> None:
        """Send something, as the user would."""
        self.numbering.send(OutPackage(data, reliability, Peers.SERVER, target), self.now)
        self._sent += 1
        self.open += 1

    def receive(self, source: Any, size: int, buffer: bytes) -> None:
        """Take what one receive brought, as the nodes would: datagrams of `size` bytes one behind the other."""
        packages, controls = self.classifier.judge(source, size, buffer, self.now)
        kinds = [_plain_kind(buffer[at : at + size]) for at in range(0, max(1, len(buffer)), size)]
        self.datagrams += len(kinds)
        if source[1] == 0:
            kinds = [Kind.INVALID]
        assert sum([received.count for received in packages]) == kinds.count(Kind.PACKAGE)
        assert sum([received.count for received in controls]) == kinds.count(Kind.CONTROL)
        for received in packages:
            self._came += received.count
            self._packages += received.count
            self.take(received)
        for received in controls:
            read = self.unpacker.read(received)
            assert len(read) == received.count
            self._answers += len(read)
            for answer in read:
                if isinstance(answer, Refused):
                    self.redelivery.refused(answer)
                else:
                    assert len(answer.ids) <= MAX_CONFIRMED
                    self.redelivery.confirmed(answer)

    def take(self, received: Received) -> None:
        """Take packages."""
        self.receiving.received(received)

    def carry(self) -> None:
        """Do what is due, and carry what the parts tell each other; what leaves the stack is looked at and dropped."""
        receiving, confirmations, redelivery = self.receiving, self.confirmations, self.redelivery
        receiving.tick(self.now)
        for message in receiving.to_confirmer:
            confirmations.add(message)
        for refuse in receiving.to_refuse:
            confirmations.refuse(refuse)
        for restarted in receiving.to_usender:
            self.numbering.restarted(restarted, self.now)
        confirmations.tick(self.now)
        self._tell_redelivery()
        redelivery.tick(self.now)
        while redelivery.to_usender:  # a question, its answer, and what that leads to
            self._tell_numbering()
            self._tell_redelivery()
        self._look_at_output()
        outputs: tuple[list[Any], ...] = (
            receiving.to_user,
            receiving.to_confirmer,
            receiving.to_refuse,
            receiving.to_usender,
            confirmations.to_dsender,
            redelivery.to_dsender,
            redelivery.failures,
            self.numbering.to_dsender,
            self.numbering.failures,
        )
        for output in outputs:
            output.clear()
        self.numbering.released.clear()
        for part in self.parts:
            if part.notes:
                part.notes.clear()

    def _look_at_output(self) -> None:
        redelivery = self.redelivery
        self.delivered += len(self.receiving.to_user)
        assert self.delivered <= self._came, "nothing is delivered that did not come"
        if self.confirmations.to_dsender:
            controls = [datagram for run in self.confirmations.to_dsender for datagram in run.datagrams]
            assert len(controls) <= self._packages + 1, "one for each package, and for what waited"
            for datagram in controls:
                assert HEADER_SIZE <= len(datagram) <= MAX_DATAGRAM
                assert KINDS[datagram[0]] is Kind.CONTROL
        if redelivery.to_dsender:
            resent = sum([len(run.datagrams) for run in redelivery.to_dsender])
            most = (6 + self._answers) * (self.open + 4)
            assert resent <= most, "at most once for each answer, and in two copies per tick"
        self._reported += sum([len(failure.unconfirmed) for failure in redelivery.failures + self.numbering.failures])
        assert self._reported <= self._sent, "nothing is reported twice"
        self._packages = self._answers = 0
        unconfirmed = [len(peer.recovery.unconfirmed) for peer in redelivery._peers.values()]
        before, self.open = self.open, sum(unconfirmed) + self.numbering.waiting
        assert redelivery.pending <= self.open <= before, "only the user adds to what is under way"

    def _tell_numbering(self) -> None:
        messages, self.redelivery.to_usender = self.redelivery.to_usender, []
        for message in messages:
            if isinstance(message, Grant):
                self.numbering.granted(message, self.now)
            elif isinstance(message, Failed):
                self.numbering.failed(message)
            elif isinstance(message, Acknowledged):
                self.numbering.acknowledged(message)
            elif isinstance(message, Restarted):
                self.numbering.restarted(message, self.now)
            else:
                self.numbering.unknown(message, self.now)

    def _tell_redelivery(self) -> None:
        messages, self.numbering.to_resender = self.numbering.to_resender, []
        for message in messages:
            if isinstance(message, Sent):
                self.redelivery.sent(message)
            elif isinstance(message, Dropped):
                self.redelivery.dropped(message)
            elif isinstance(message, Forgotten):
                self.redelivery.forgotten(message)
            elif isinstance(message, Revive):
                self.redelivery.revive(message, self.now)

    def check(self) -> None:
        """See that every table is in order and within its limits."""
        receiving, confirmations = self.receiving, self.confirmations
        sources = receiving._sources
        for part in self.parts:
            for _ in range(3):
                if (part.deadline() or inf) > self.now:
                    break
                part.tick(self.now)
            else:
                raise AssertionError(f"{type(part).__name__} wants a tick again and again")
        assert len(sources) <= self._most
        for source in sources.values():
            holes, kept, expected = list(source.holes), source.kept, source.next or 0
            assert len(holes) <= limits.MAX_HOLES
            assert len(kept) <= limits.MAX_KEPT
            assert holes == sorted(holes)
            assert not holes or (holes[0] >= 0 and holes[-1] < expected)
            assert not source.holes.keys() & kept.keys()
            assert sorted(kept) == sorted(source.kept_order)
            assert not kept or min(kept) > holes[0], "what could be delivered was"
            assert len(source.who._expected) <= EXPECTED * CHECKSUM_SIZE
            assert len(source.who._former) <= FORMER
            assert len(source.who._stale) <= HINT_BITS
        assert receiving.holes == sum(len(source.holes) for source in sources.values())
        assert receiving.kept == sum(len(source.kept) for source in sources.values())
        assert len(confirmations._waiting) <= 1
        assert len(confirmations._recent) <= 1
        assert all(len(known.ids) == len(known.times) <= 2 * REPEATED for known in confirmations._recent.values())
        assert set(self.redelivery._peers) <= set(PEERS), "whoever was never sent to is nobody"
        assert len(self.redelivery._ageing._heap) <= len(PEERS)


def _plain_kind(datagram: bytes) -> Kind:
    return KINDS[datagram[0]] if HEADER_SIZE <= len(datagram) <= MAX_DATAGRAM else Kind.INVALID


def weight(thing: object) -> int:
    """Return how many bytes everything takes that can be reached from here, but for code."""
    seen = {id(thing)}
    found: list[Any] = [thing]
    size = 0
    while found:
        one = found.pop()
        size += sys.getsizeof(one)
        others = msgspec.structs.astuple(one) if isinstance(one, msgspec.Struct) else gc.get_referents(one)
        for other in others:
            if id(other) not in seen and not isinstance(other, _CODE):
                seen.add(id(other))
                found.append(other)
    return size


_CODE = (type, ModuleType, FunctionType, BuiltinFunctionType, MethodType)
