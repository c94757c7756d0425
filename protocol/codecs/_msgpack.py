"""The default codec: MessagePack, by msgspec.

A message is two bytes of big-endian length and that many bytes of MessagePack, so one message carries at most 502
bytes of MessagePack. Types are whatever msgspec understands: builtins, dataclasses, `msgspec.Struct`, tagged unions.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ..errors import DecodeError, EncodeError
from ._codec import Codec, PerType, fitting

__all__ = ["msgpack"]

_LENGTH_SIZE: Final = 2
_MAX_LENGTH: Final = 0xFFFF

_encoder = msgspec.msgpack.Encoder()
_decoder_of: PerType[msgspec.msgpack.Decoder[Any]] = PerType(msgspec.msgpack.Decoder)


class _Msgpack:
    """Length-prefixed MessagePack; the module docstring has the format."""

    def __repr__(self) -> str:
        return "msgpack"

    def encode(self, message: Any, /) -> bytes:
        """Encode one message; see `Codec.encode`."""
        try:
            body = _encoder.encode(message)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise EncodeError(f"msgpack cannot encode this {type(message).__name__}: {error}") from error
        # A length beyond the prefix is far too large for a package: `fitting` only needs the size.
        return fitting(min(len(body), _MAX_LENGTH).to_bytes(_LENGTH_SIZE, "big") + body)

    def decode(self, data: bytes, offset: int, message_type: Any, /) -> tuple[Any, int]:
        """Decode the message at `offset`; see `Codec.decode`. A `DecodeError` has the offset of the message."""
        decoder = _decoder_of(message_type)
        start = offset + _LENGTH_SIZE
        end = start + int.from_bytes(data[offset:start], "big")
        if start > len(data) or end > len(data):
            raise DecodeError("the data ends before the message does", offset)
        try:
            return decoder.decode(data[start:end]), end
        except (ValueError, ArithmeticError, RecursionError) as error:
            raise DecodeError(f"not a message of the expected type: {error}", offset) from error


msgpack: Final[Codec] = _Msgpack()
"""MessagePack by msgspec, each message with its length in front (two bytes, big-endian)."""
