"""One input is the payload of one package, read as messages of one of many types: it is values, or one error."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import msgspec

from packhorse import DecodeError, MessageDecoder, PackageError
from packhorse.protocol.codecs import F32, F64, I8, I64, I128, U8, U16, U32, U64, U128, Bincode, Char, Codec, msgpack
from packhorse.protocol.header import MAX_PAYLOAD

__all__ = ["take"]

ENOUGH: Final = 16
"""Messages that are looked at. More of them do what these do, and items that take no bytes make each one dear."""


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


def take(data: bytes) -> None:
    """Decode `data`, all but its first byte, as messages of the type which that byte stands for."""
    if not data:
        return
    codec, kind = KNOWN[data[0] % len(KNOWN)]
    payload = data[1:]
    decoder: MessageDecoder[Any] = MessageDecoder(payload, kind, codec=codec)
    messages: list[Any] = []
    offset = 0
    try:
        messages += islice(decoder, ENOUGH)
    except DecodeError as error:
        offset = error.offset
    assert 0 <= offset <= len(payload)
    if len(messages) < ENOUGH:
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
