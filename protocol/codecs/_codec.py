"""What every codec promises, and what codecs share.

- An encoded message is 1 to 504 bytes and knows its own end, so that messages can follow each other in a package. (A
  type without content may encode to no bytes; such a message cannot be sent.)
- Whatever bytes arrive, decoding them gives a value or raises `DecodeError`, after a bounded effort.
- A type the codec does not support is a mistake in the program, not in the data: `TypeError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

from ..errors import PackageError
from ..header import MAX_PAYLOAD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["BulkCodec", "Codec", "PerType", "fitting"]

T = TypeVar("T")

_REMEMBERED: Final = 1024


class Codec(Protocol):
    """Turns messages into bytes and back."""

    def encode(self, message: Any, /) -> bytes:
        """Encode one message.

        Raises:
            EncodeError: the message does not fit its type, or the codec cannot encode it.
            PackageError: the encoded message is over 504 bytes.
            TypeError: the codec does not support the message's type.
        """
        ...

    def decode(self, data: bytes, offset: int, message_type: Any, /) -> tuple[Any, int]:
        """Decode the message that begins at `offset` (bytes); return it and the offset after it.

        Raises:
            DecodeError: the bytes at `offset` are not a message of this type.
            TypeError: the codec does not support `message_type`.
        """
        ...


class BulkCodec(Codec, Protocol):
    """A codec that can also decode a whole package in one go, which is faster.

    A codec need not: `MessageDecoder` uses `decode_all` if there is one, else `decode` again and again.
    """

    def decode_all(self, data: bytes, message_type: Any, /) -> Iterator[Any]:
        """Give the messages that `decode` finds one after the other, from offset 0 to the end of the data.

        Raises:
            DecodeError, TypeError: as `decode`, and only once the messages before it are given.
        """
        ...


def fitting(encoded: bytes) -> bytes:
    """Return an encoded message if it fits into a package.

    Raises:
        PackageError: it is over 504 bytes.
    """
    if len(encoded) > MAX_PAYLOAD:
        raise PackageError(f"an encoded message has at most {MAX_PAYLOAD} bytes; this one has {len(encoded)}")
    return encoded


class PerType(Generic[T]):
    """Remembers what `make` made of each type.

    Types are told apart by identity: `A | B` equals `B | A`, but to bincode the order is the meaning.
    """

    def __init__(self, make: Callable[[Any], T]) -> None:
        self._make = make
        self._made: dict[int, tuple[object, T]] = {}

    def __call__(self, message_type: object) -> T:
        """Return what was made of this type, or make it now."""
        known = self._made.get(id(message_type))
        if known is not None:
            return known[1]
        made = self._make(message_type)
        if len(self._made) >= _REMEMBERED:
            self._made.clear()
        # The type is kept too: while its id is a key here, no other object may get that id.
        self._made[id(message_type)] = message_type, made
        return made
