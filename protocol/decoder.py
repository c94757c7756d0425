"""The decoder: the messages of one package, one after the other.

The rules:

- messages lie back to back; where one ends the next begins, and the end of the data is the end of the messages;
- after the first broken message nothing behind it can be found: one `DecodeError`, then the iteration is over;
- a type whose messages take no bytes says nothing about leftover bytes; that too is one `DecodeError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from .codecs import msgpack
from .errors import DecodeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .codecs import Codec

__all__ = ["MessageDecoder"]

T = TypeVar("T")


class MessageDecoder(Generic[T]):
    """An iterator over the messages in the data of one package.

    Args:
        data: the payload of the package.
        message_type: what each message is decoded as: a class, or a union if the codec supports it.
        codec: the codec the sender used.

    Raises:
        DecodeError: (by `next`, at most once) there is no message of this type at `offset`. Iteration ends there.
        TypeError: (by `next`) the codec does not support `message_type`.
    """

    @overload
    def __init__(self, data: bytes, message_type: type[T], *, codec: Codec = msgpack) -> None: ...
    @overload
    def __init__(self: MessageDecoder[Any], data: bytes, message_type: object, *, codec: Codec = msgpack) -> None: ...
    def __init__(self, data: bytes, message_type: Any, *, codec: Codec = msgpack) -> None:
        self._data = data
        self._message_type = message_type
        self._codec = codec
        self._offset = 0
        self._broken = False

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        start = self._offset
        if self._broken or start >= len(self._data):
            raise StopIteration
        # Set before decoding, so that the iteration is over whatever is raised there.
        self._broken = True
        message: T
        message, self._offset = self._codec.decode(self._data, start, self._message_type)
        if self._offset <= start:
            left = len(self._data) - start
            raise DecodeError(f"the messages take no bytes, so {left} leftover bytes are none of them", start)
        self._broken = False
        return message
