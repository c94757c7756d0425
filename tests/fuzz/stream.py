"""One input is one datagram, or a run of them, for a world that stays: what thousands of inputs do to it together.

- The first byte says who sends it (2 bits), what it aims at (3), how many there are (2), and whether the user sends
  something before (1); the second how much time has passed; the rest is the datagram.
- Bytes that are guessed hardly ever belong to the numbering in progress, whose ids begin anywhere and whose hint is one
  of 16. So the datagram may be *aimed*: its ids count from what is expected, and hint, echo or checksum are the right
  ones.
- Limits that take a thousand packages of one source in a row would hardly ever be reached. So they are made `NARROW`
  for this.
- The world is made anew after `LASTING` inputs. Those since then are remembered, since a failure may need all of them:
  `Stream.past` is a file's content from which `again` repeats them.
"""

# pyright: reportPrivateUsage=false
# The reason: aiming needs to know what is expected.
from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Final

from packhorse import Reliability
from packhorse.protocol import receiving
from packhorse.protocol.header import (
    HEADER_SIZE,
    ID_MASK,
    KINDS,
    MAX_CONFIRMED,
    MAX_PAYLOAD,
    Kind,
    pack_confirmation,
    unpack_confirmation,
)
from packhorse.protocol.identity import ASSIGNED, HINT_BITS, MARK, introduction, mark_of_numbering, pack_echo, refusal

from .world import PEERS, US, World, weight

__all__ = ["Stream", "again", "narrow"]

SOURCES: Final = (*PEERS, ("10.0.0.3", 3), ("10.0.0.4", 4))
MOST: Final = 3
"""Sources that the receiving half may know: one less than there are."""
COUNTS: Final = (1, 1, 2, 16)
"""Datagrams of an input, if they are packages; others are at most two."""
STEPS: Final = (
    *(128 * [0.0] + 64 * [0.001] + 32 * [0.02] + 16 * [0.3] + 8 * [2.0]),
    *(19.0, 19.0, 19.0, 19.0, 61.0, 61.0, 130.0, 661.0),
)
"""Seconds that have passed, by the second byte: mostly few, so that something can come about."""
SLOWLY: Final = 0.01
"""In every second world so much less time passes: what is forgotten after ten minutes is not forgotten there, and must
not be much. There the parts take notes, too."""
OPEN: Final = 64
"""Packages that may be under way before the user waits."""
LARGE: Final = bytes(MAX_PAYLOAD)
"""What every second of them carries, so that more wait than there is room for."""
LASTING: Final = 16384
"""Inputs until the world is made anew."""
CHECKED: Final = 64
"""Inputs between two looks at all tables."""
NARROW: Final = {"MAX_HOLES": 48, "MAX_KEPT": 24, "ALL_HOLES": 96, "ALL_KEPT": 48}
"""Limits of `protocol.receiving`."""
HEAVIEST: Final = 256 * 1024
"""Bytes that the world may take. With full tables it is some 70 kB; numberings that were given up a moment ago come to
that."""

Aim = Callable[[World, Any, bytes], bytes]


class Stream:
    """A world that takes one input after the other.

    Args:
        slowly: whether time passes slowly in the first world.

    Attributes:
        datagrams: how many there were so far.
        heaviest: bytes that the world took at most, whenever it was weighed.
    """

    def __init__(self, *, slowly: bool = False) -> None:
        self.datagrams = 0
        self.heaviest = 0
        self._slowly = slowly
        self._inputs: list[bytes] = []
        self._world = World(MOST, noting=slowly)

    def take(self, data: bytes) -> None:
        """Take one input."""
        if len(self._inputs) >= LASTING:
            self._slowly = not self._slowly
            self._inputs = []
            self._world = World(MOST, noting=self._slowly)
        self._inputs.append(data)
        if len(data) < 2:
            return
        world, first, rest = self._world, data[0], data[2:]
        source, count = SOURCES[first & 3], COUNTS[first >> 5 & 3]
        before = world.datagrams
        world.now += STEPS[data[1]] * (SLOWLY if self._slowly else 1.0)
        if first & 0x80 and world.open < OPEN:
            reliability = Reliability.UNORDERED if first & 4 else Reliability.SEMI_ORDERED
            world.send(PEERS[first & 1], reliability, LARGE if first & 2 else b"data")
        aim = AIMS[(first >> 2 & 7) % len(AIMS)]
        datagram = aim(world, source, rest) if len(rest) >= HEADER_SIZE else rest
        buffer = datagram if count == 1 else _in_order(datagram, count)
        world.receive(source, max(1, len(datagram)), buffer)
        world.carry()
        self.datagrams += world.datagrams - before
        if len(self._inputs) % CHECKED == 0:
            world.check()
        if len(self._inputs) % (LASTING // 4) == 0:
            self.weigh()

    def past(self) -> bytes:
        """Return whether time passes slowly (1 byte), and the inputs so far, each behind its length (2)."""
        return bytes([self._slowly]) + b"".join(len(data).to_bytes(2, "big") + data for data in self._inputs)

    def said(self) -> str:
        """Return how much there was."""
        return f"{self.datagrams} datagrams; the heaviest world took {self.heaviest // 1024} kB"

    def weigh(self) -> None:
        """See that the world is not too heavy."""
        size = weight(self._world)
        self.heaviest = max(self.heaviest, size)
        assert size <= HEAVIEST, f"the world takes {size} bytes"


@contextmanager
def narrow() -> Generator[None]:
    """Narrow the limits of this process meanwhile."""
    names = receiving.__dict__
    before = {name: names[name] for name in NARROW}
    names.update(NARROW)
    try:
        yield
    finally:
        names.update(before)


def again(past: bytes) -> None:
    """Take the inputs that were remembered as `Stream.past`, with a look at all tables after each."""
    stream = Stream(slowly=past[0] == 1)
    at = 1
    while at < len(past):
        end = at + 2 + int.from_bytes(past[at : at + 2], "big")
        stream.take(past[at + 2 : end])
        stream._world.check()
        at = end
    stream.weigh()


def _in_order(datagram: bytes, count: int) -> bytes:
    """Return a run of datagrams that differ only in their ids, which follow each other."""
    if len(datagram) < HEADER_SIZE or KINDS[datagram[0]] is not Kind.PACKAGE:
        return datagram * 2
    first, ids = _id(datagram), range(count)
    return b"".join(
        [datagram[:1] + (first + place & ID_MASK).to_bytes(3, "big") + datagram[HEADER_SIZE:] for place in ids]
    )


def _id(datagram: bytes) -> int:
    return int.from_bytes(datagram[1:HEADER_SIZE], "big")


def _as_it_is(world: World, source: Any, datagram: bytes) -> bytes:
    del world, source
    return datagram


def _package(world: World, source: Any, datagram: bytes) -> bytes:
    """Aim at what comes next of this source."""
    known = world.receiving._sources.get(source)
    if known is None:
        return datagram
    flags = datagram[0] & ~HINT_BITS | max(0, known.who.hint)
    number = (known.next or 0) + known.base + _id(datagram)
    return bytes([flags]) + (number & ID_MASK).to_bytes(3, "big") + datagram[HEADER_SIZE:]


def _confirmation(world: World, source: Any, datagram: bytes) -> bytes:
    """Aim at the packages that are unconfirmed; an echo says by whom the numbering is, or will be, known."""
    peer = world.redelivery._peers.get(source)
    if peer is None or peer.introducing is None:
        return datagram
    known = peer.introducing
    hint, by = (1 + datagram[1] % ASSIGNED, _id(datagram) & MARK) if known.by is None else (known.hint, known.by)
    ids = unpack_confirmation(datagram)[:MAX_CONFIRMED]
    echo = pack_echo(hint, mark_of_numbering(US, known.series), by) if datagram[0] & 1 else 0
    return pack_confirmation([number + peer.recovery.oldest & ID_MASK for number in ids], echo)


def _refusal(world: World, source: Any, datagram: bytes) -> bytes:
    """Refuse the packages that are unconfirmed."""
    peer = world.redelivery._peers.get(source)
    if peer is None or peer.introducing is None:
        return datagram
    return refusal(peer.introducing.hint, _id(datagram) & MARK)


def _introduction(world: World, source: Any, datagram: bytes) -> bytes:
    """Introduce a numbering near the known one, of the same life, of one of three others, or of a new one."""
    known = world.receiving._sources.get(source)
    same = known is not None and known.who.identity is not None and datagram[0] & 1
    identity = known.who.identity if known is not None and same else datagram[0] >> 6 or world.datagrams + 4
    series = 0 if known is None else known.who.series
    ahead = introduction(identity or 0, series + _id(datagram) & ID_MASK, datagram[0] >> 1 & HINT_BITS)
    return ahead + datagram[HEADER_SIZE : len(datagram) // 4 * 4]


def _vouched(world: World, source: Any, datagram: bytes) -> bytes:
    """Aim at what comes next of this source while it has the hint that its sender chose: an introduction goes ahead."""
    known = world.receiving._sources.get(source)
    if known is None or known.who.identity is None:
        return datagram
    who, flags = known.who, datagram[0] & ~HINT_BITS | max(0, known.who._chosen)
    number = (known.next or 0) + _id(datagram)
    package = bytes([flags]) + (number & ID_MASK).to_bytes(3, "big") + datagram[HEADER_SIZE:]
    ahead = introduction(who.identity or 0, who.series, max(0, who._chosen), [package])
    world.receive(source, len(ahead), ahead)
    return package


AIMS: Final[tuple[Aim, ...]] = (_as_it_is, _package, _confirmation, _refusal, _introduction, _vouched)
