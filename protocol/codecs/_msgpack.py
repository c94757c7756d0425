"""The default codec: MessagePack, by msgspec.

A message is two bytes of big-endian length and that many bytes of MessagePack, so one message carries at most 502
bytes of MessagePack. Types are whatever msgspec understands: builtins, dataclasses, `msgspec.Struct`, tagged unions.

`decode` is the rule; `decode_all` is the same in one loop, for speed. A test holds them equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from ..errors import DecodeError, EncodeError
from ..header import MAX_PAYLOAD
from ._codec import Codec, PerType, fitting

__all__ = ["msgpack"]

_LENGTH_SIZE: Final = 2
_MAX_LENGTH: Final = 0xFFFF
_PREFIXES: Final = [length.to_bytes(_LENGTH_SIZE, "big") for length in range(MAX_PAYLOAD - _LENGTH_SIZE + 1)]
_BROKEN: Final = (ValueError, ArithmeticError, RecursionError)
"""What msgspec raises for bytes that are not a message of the type, and what a type's own checks may."""

_encode = msgspec.msgpack.Encoder().encode
_decoder_of: PerType[msgspec.msgpack.Decoder[Any]] = PerType(msgspec.msgpack.Decoder)


class _Msgpack:
    """Length-prefixed MessagePack; the module docstring has the format."""

    def __repr__(self) -> str:
        return "msgpack"

    def encode(self, message: Any, /) -> bytes:
        """Encode one message; see `Codec.encode`."""
        try:
            body = _encode(message)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise EncodeError(f"msgpack cannot encode this {type(message).__name__}: {error}") from error
        length = len(body)
        if length < len(_PREFIXES):
            return _PREFIXES[length] + body
        # A length beyond the prefix is far too large for a package: `fitting` only needs the size.
        return fitting(min(length, _MAX_LENGTH).to_bytes(_LENGTH_SIZE, "big") + body)

    def decode(self, data: bytes, offset: int, message_type: Any, /) -> tuple[Any, int]:
        """Decode the message at `offset`; see `Codec.decode`. A `DecodeError` has the offset of the message."""
        decoder = _decoder_of(message_type)
        start = offset + _LENGTH_SIZE
        end = start + int.from_bytes(data[offset:start], "big")
        if start > len(data) or end > len(data):
            raise DecodeError("the data ends before the message does", offset)
        try:
            return decoder.decode(data[start:end]), end
        except _BROKEN as error:
            raise DecodeError(f"not a message of the expected type: {error}", offset) from error

    def decode_all(self, data: bytes, message_type: Any, /) -> Iterator[Any]:
        """Decode the messages one after the other; see `BulkCodec.decode_all`."""
        decode = _decoder_of(message_type).decode
        size = len(data)
        offset, start = 0, _LENGTH_SIZE
        while start <= size:
            end = start + (data[offset] << 8 | data[offset + 1])
            if end > size:
                break
            try:
                message = decode(data[start:end])
            except _BROKEN as error:
                raise DecodeError(f"not a message of the expected type: {error}", offset) from error
            yield message
            offset, start = end, end + _LENGTH_SIZE
        if offset < size:
            raise DecodeError("the data ends before the message does", offset)


msgpack: Final[Codec] = _Msgpack()
"""MessagePack by msgspec, each message with its length in front (two bytes, big-endian)."""
