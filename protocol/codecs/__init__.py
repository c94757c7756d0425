"""Codecs: how messages become bytes inside packages.

| codec     | for whom                                                  | typed by                          |
|-----------|-----------------------------------------------------------|-----------------------------------|
| `msgpack` | programs that all use packhorse; the default              | whatever msgspec understands      |
| `bincode` | programs that talk to ones written on the original, de_net | dataclasses and unions of them    |

`Bincode(A | B)` is the bincode codec that encodes members of the union `A | B` as variants of an enum.
"""

from __future__ import annotations

from ._bincode import (
    F32,
    F64,
    I8,
    I16,
    I32,
    I64,
    I128,
    U8,
    U16,
    U32,
    U64,
    U128,
    Bincode,
    Char,
    bincode,
)
from ._codec import BulkCodec, Codec
from ._msgpack import msgpack

__all__ = [
    "F32",
    "F64",
    "I8",
    "I16",
    "I32",
    "I64",
    "I128",
    "U8",
    "U16",
    "U32",
    "U64",
    "U128",
    "Bincode",
    "BulkCodec",
    "Char",
    "Codec",
    "bincode",
    "msgpack",
]
