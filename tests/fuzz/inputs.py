"""What any bytes must do to the stack: nothing bad. Each function takes one input; the suite and the fuzzer call them.

An exception, a table beyond its limit, or an output that nobody asked for is a failure. Everything is made anew for each input, so one that
fails can be repeated by itself.
"""

# pyright: reportPrivateUsage=false
# The reason: it looks into tables to see that they stay within their limits.
from __future__ import annotations

import enum
from collections import Counter
from dataclasses import dataclass
from typing import Any, cast

import msgspec

from packhorse import (
    ConfirmPolicy,
    DecodeError,
    MessageDecoder,
    OutPackage,
    PackageError,
    Peers,
    Reliability,
    ResendPolicy,
)
from packhorse.actors.dreceiver import DReceiver
from packhorse.actors.sreceiver import SReceiver
from packhorse.protocol.codecs import F32, F64, I8, I64, I128, U8, U16, U32, U64, U128, Bincode, Char, Codec, msgpack
from packhorse.protocol.confirmations import REPEATED, Confirmations
from packhorse.protocol.header import HEADER_SIZE, KINDS, MAX_CONFIRMED, MAX_DATAGRAM, MAX_PAYLOAD, Kind
from packhorse.protocol.messages import (
    Acknowledged,
    Confirmed,
    Datagrams,
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
from packhorse.protocol.receiving import MAX_HOLES, MAX_KEPT, Receiving
from packhorse.protocol.redelivery import Redelivery

__all__ = ["SEEN", "take_datagrams", "take_messages"]

PEERS = (("10.0.0.1", 1), ("10.0.0.2", 2))
"""They are sent to before anything comes."""
STRANGERS = (("10.0.0.3", 3), ("10.0.0.4", 0))
SOURCES = (*PEERS, *STRANGERS)
STEPS = (0.0, 0.001, 0.3, 2.0, 19.0, 61.0, 130.0, 601.0)
"""Seconds between two receives."""
US = 0x0123456789ABCDEF
"""Our own identity."""
MOST = 2
"""Peers that the receiving half may know: one less than there are."""
SEEN: Counter[str] = Counter()
"""How many inputs and datagrams there were so far."""


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


class _Halves:
    """Both halves of a stack, without actors; what comes out is looked at and dropped."""

    def __init__(self) -> None:
        self.classifier, self.unpacker = _Classifier(), _Unpacker()
        self.receiving, self.plain = Receiving(US, max_peers=MOST), Receiving(US, max_peers=MOST)
        self.confirmations = Confirmations(ConfirmPolicy(), max_peers=1)
        self.numbering = Numbering(identity=US)
        self.redelivery = Redelivery(ResendPolicy(), lambda: 0.5, identity=US)
        self.now = 1000.0
        self.came = self.answers = self.sent_packages = 0
        for peer in PEERS:
            for reliability in (Reliability.UNORDERED, Reliability.SEMI_ORDERED, Reliability.SEMI_ORDERED):
                self.numbering.send(OutPackage(b"data", reliability, Peers.SERVER, peer), self.now)
                self.sent_packages += 1
        self.carry()

    def receive(self, source: Any, size: int, buffer: bytes) -> None:
        """Take what one receive brought, as the nodes would."""
        packages, controls = self.classifier.judge(source, size, buffer, self.now)
        expected = [buffer[at : at + size] for at in range(0, max(1, len(buffer)), size)]
        SEEN["datagrams"] += len(expected)
        kinds = Counter(_plain_kind(one) if source[1] else Kind.INVALID for one in expected)
        assert sum(received.count for received in packages) == kinds[Kind.PACKAGE]
        assert sum(received.count for received in controls) == kinds[Kind.CONTROL]
        for received in packages:
            self.came += received.count
            self.receiving.received(received)
            for at in range(0, len(received.buffer), received.size):
                one = received.buffer[at : at + received.size]
                self.plain.received(Received(source, len(one), one, self.now))
        assert self.receiving.to_usender == self.plain.to_usender
        assert self.receiving.to_user == self.plain.to_user, "a run does what its packages do"
        for received in controls:
            read = self.unpacker.read(received)
            assert len(read) == received.count
            self.answers += len(read)
            for answer in read:
                if isinstance(answer, Refused):
                    self.redelivery.refused(answer)
                else:
                    assert len(answer.ids) <= MAX_CONFIRMED
                    self.redelivery.confirmed(answer)
        self.carry()
        self.check()

    def carry(self) -> None:
        """Take what the parts tell each other to where it belongs."""
        receiving, confirmations = self.receiving, self.confirmations
        for state in (receiving, self.plain, confirmations):
            state.tick(self.now)
        for message in receiving.to_confirmer:
            confirmations.add(message)
        for refuse in receiving.to_refuse:
            confirmations.refuse(refuse)
        for restarted in receiving.to_usender:
            self.numbering.restarted(restarted, self.now)
        confirmations.tick(self.now)
        for _ in range(3):  # a question, its answer, and what that leads to
            self.redelivery.tick(self.now)
            self._tell_numbering()
            self._tell_redelivery()
        resent = sum(len(run.datagrams) for run in self.redelivery.to_dsender)
        assert resent <= (6 + self.answers) * (self.sent_packages + 4), (
            "at most once for each answer, and in two copies per tick"
        )
        self.answers = 0
        _check_control(confirmations.to_dsender)
        for outputs in (
            receiving.to_user,
            receiving.to_confirmer,
            receiving.to_refuse,
            receiving.to_usender,
            self.plain.to_user,
            self.plain.to_confirmer,
            self.plain.to_refuse,
            self.plain.to_usender,
            confirmations.to_dsender,
            self.redelivery.to_dsender,
            self.redelivery.failures,
            self.numbering.to_dsender,
            self.numbering.released,
        ):
            cast("list[Any]", outputs).clear()

    def _tell_numbering(self) -> None:
        for message in self.redelivery.to_usender:
            if isinstance(message, Grant):
                self.numbering.granted(message, self.now)
            elif isinstance(message, Failed):
                self.numbering.failed(message)
            elif isinstance(message, Acknowledged):
                self.numbering.acknowledged(message)
            elif isinstance(message, Restarted):
                self.numbering.restarted(message, self.now)
            else:
                self.numbering.expired(message, self.now)
        self.redelivery.to_usender.clear()

    def _tell_redelivery(self) -> None:
        for message in self.numbering.to_resender:
            if isinstance(message, Sent):
                self.redelivery.sent(message)
            elif isinstance(message, Dropped):
                self.redelivery.dropped(message)
            elif isinstance(message, Forgotten):
                self.redelivery.forgotten(message)
            elif isinstance(message, Revive):
                self.redelivery.revive(message, self.now)
        self.numbering.to_resender.clear()

    def check(self) -> None:
        """See that every table is in order and within its limits."""
        assert self.receiving._sources == self.plain._sources
        assert len(self.receiving._sources) <= MOST
        for source in self.receiving._sources.values():
            holes, kept, expected = list(source.holes), source.kept, source.next or 0
            assert len(holes) <= MAX_HOLES
            assert len(kept) <= MAX_KEPT
            assert holes == sorted(holes)
            assert all(0 <= hole < expected and hole not in kept for hole in holes)
            assert sorted(kept) == sorted(source.kept_order)
            assert not kept or min(kept) > holes[0], "what could be delivered was"
        assert self.receiving.holes == sum(len(source.holes) for source in self.receiving._sources.values())
        assert self.receiving.kept == sum(len(source.kept) for source in self.receiving._sources.values())
        assert (self.receiving.evicted, self.receiving.turned_away) == (self.plain.evicted, self.plain.turned_away)
        assert len(self.confirmations._waiting) <= 1
        assert len(self.confirmations._recent) <= 1
        assert all(known.count < 2 * REPEATED for known in self.confirmations._recent.values())
        assert set(self.redelivery._peers) <= set(PEERS), "whoever was never sent to is nobody"
        unconfirmed = [len(peer.recovery.unconfirmed) for peer in self.redelivery._peers.values()]
        assert sum(unconfirmed) <= self.sent_packages
        assert self.redelivery.pending <= sum(unconfirmed)
        assert len(self.redelivery._timers) <= 64


def _plain_kind(datagram: bytes) -> Kind:
    return KINDS[datagram[0]] if HEADER_SIZE <= len(datagram) <= MAX_DATAGRAM else Kind.INVALID


def _check_control(runs: list[Datagrams]) -> None:
    for run in runs:
        for datagram in run.datagrams:
            assert HEADER_SIZE <= len(datagram) <= MAX_DATAGRAM
            assert KINDS[datagram[0]] is Kind.CONTROL


def take_datagrams(data: bytes) -> None:
    """Read `data` as receives, one behind the other: who and when (1 byte), size of a datagram (1), how many (1), their bytes.

    Odd sizes stand for sizes around the limit of a datagram.
    """
    SEEN["inputs"] += 1
    halves = _Halves()
    at = 0
    while at + 3 <= len(data):
        who, size, count = data[at], data[at + 1], data[at + 2] % 32
        size = MAX_DATAGRAM - 6 + size % 16 if size > 240 else max(1, size % 32)
        buffer = data[at + 3 : at + 3 + size * count]
        at += 3 + len(buffer)
        halves.now += STEPS[who >> 2 & 7]
        halves.receive(SOURCES[who & 3], size if count else 1, buffer)


# Codecs.


class Colour(enum.Enum):
    """An enum."""

    RED = 1
    GREEN = 2


@dataclass
class Leaf:
    """A bit of everything."""

    a: U8
    b: I128
    c: F64
    d: str
    e: bytes
    f: bool
    g: Char
    h: Colour


@dataclass
class Tree:
    """A dataclass that contains itself."""

    value: U128
    children: list[Tree]
    left: Tree | None


@dataclass
class Nothing:
    """A dataclass that takes no bytes."""


@dataclass
class Table:
    """Maps, tuples and items that take no bytes."""

    names: dict[str, list[U16]]
    pairs: list[tuple[I8, U32]]
    nothings: list[Nothing]
    nested: dict[I64, dict[U64, F32]]


class Point(msgspec.Struct, tag=True):
    """What msgspec makes quick."""

    x: int
    y: float = 0.0
    tags: list[str] = msgspec.field(default_factory=list[str])


class Line(msgspec.Struct, tag=True):
    """One that contains others."""

    points: list[Point]
    name: str | None = None


Enum = Leaf | Tree | Table | Nothing
Shape = Point | Line
BINCODE: Any = (
    Enum,
    Leaf,
    Tree,
    Table,
    Colour | None,
    list[Nothing],
    dict[str, bytes],
    tuple[U64, I128, F32],
    U64,
    Nothing,
)
MSGPACK: Any = (object, Shape, dict[str, Any], list[int], Leaf, bytes, str, float, dict[int, bool], tuple[int, str])
KNOWN: tuple[tuple[Codec, Any], ...] = (
    *((Bincode(kind), kind) for kind in BINCODE),
    *((msgpack, kind) for kind in MSGPACK),
)


def take_messages(data: bytes) -> None:
    """Decode `data`, all but its first byte, as messages of the type which that byte stands for."""
    if not data:
        return
    SEEN["inputs"] += 1
    codec, kind = KNOWN[data[0] % len(KNOWN)]
    payload = data[1:]
    decoder: MessageDecoder[Any] = MessageDecoder(payload, kind, codec=codec)
    messages: list[Any] = []
    offset = 0
    try:
        messages += decoder
    except DecodeError as error:
        offset = error.offset
    assert 0 <= offset <= len(payload)
    assert list(decoder) == [], "after an error, as at the end, there is nothing more"
    assert len(messages) <= len(payload), "each takes a byte at least"
    for message in messages[:1]:
        try:
            encoded = codec.encode(message)
        except PackageError:
            continue  # an integer that was read as a float takes more bytes
        assert len(encoded) <= MAX_PAYLOAD
        again, end = codec.decode(encoded, 0, kind)
        assert end == len(encoded)
        assert repr(again) == repr(message), "what was read can be written and read again"
