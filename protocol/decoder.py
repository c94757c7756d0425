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
    from collections.abc import Callable, Iterator

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
        # A generator is over once it has raised, which is what the rules ask for.
        decode_all: Callable[[bytes, Any], Iterator[T]] | None = getattr(codec, "decode_all", None)
        self._messages = _each(codec, data, message_type) if decode_all is None else decode_all(data, message_type)

    def __iter__(self) -> Iterator[T]:
        """Return the messages that are left; they are gone for `next` too, once given."""
        return self._messages

    def __next__(self) -> T:
        return next(self._messages)


def _each(codec: Codec, data: bytes, message_type: Any) -> Iterator[Any]:
    """Give the messages in the data, by a codec that decodes one at a time."""
    offset, size = 0, len(data)
    while offset < size:
        start = offset
        message, offset = codec.decode(data, start, message_type)
        if offset <= start:
            raise DecodeError(f"the messages take no bytes, so {size - start} leftover bytes are none of them", start)
        yield message
