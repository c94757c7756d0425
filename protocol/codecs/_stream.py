"""The bytes under construction and the bytes being read, for the bincode codec: where its limits are kept.

- **Size**: a message ends at most 504 bytes after it began.
- **Items**: the lengths of all sequences, maps and strings in a message sum to at most 504. Items of a byte or more
  cannot break this rule before they break the first; it bounds items that take no bytes.
- **Depth**: dataclasses lie at most 64 deep inside each other, so that no input reaches Python's recursion limit.

Unsigned integers and lengths are written here, because everything else is made of them: one byte up to 250, else a
marker 251, 252, 253 or 254 and 2, 4, 8 or 16 bytes, the shortest that holds the value. Longer ones than needed are
accepted, as the original does; a marker for more bytes than the type has is not, and 255 is reserved.
"""

from __future__ import annotations

from typing import Final

from ..errors import DecodeError, EncodeError
from ..header import MAX_PAYLOAD

__all__ = ["LENGTH_SIZE", "MAX_DEPTH", "Reader", "Writer"]

MAX_DEPTH: Final = 64
"""Dataclasses inside each other, at most. The original knows no such limit; only recursive types can reach it."""
LENGTH_SIZE: Final = 8
"""Lengths are 64-bit integers."""

_MAX_ONE_BYTE: Final = 250
_SIZES: Final = {251: 2, 252: 4, 253: 8, 254: 16}
_RESERVED: Final = 255


class Writer:
    """The bytes of one message under construction."""

    __slots__ = ("_depth", "_items", "out")

    def __init__(self) -> None:
        self.out = bytearray()
        self._depth = 0
        self._items = 0

    def unsigned(self, value: int) -> None:
        """Write an unsigned integer of at most 128 bits."""
        if value <= _MAX_ONE_BYTE:
            self.out.append(value)
            return
        for marker, size in _SIZES.items():
            if value >> (8 * size) == 0:
                self.out.append(marker)
                self.out += value.to_bytes(size, "big")
                return

    def length(self, count: int) -> None:
        """Write the length of something."""
        self._items += count
        self.unsigned(count)

    def descend(self) -> None:
        """Enter a dataclass."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise EncodeError(f"dataclasses are nested more than {MAX_DEPTH} deep")

    def ascend(self) -> None:
        """Leave the dataclass again."""
        self._depth -= 1

    def finish(self) -> bytes:
        """Return the encoded message, which may still be too large.

        Raises:
            EncodeError: it is small only because its many items take no bytes; no decoder would accept it.
        """
        if len(self.out) <= MAX_PAYLOAD < self._items:
            raise EncodeError(f"a message has at most {MAX_PAYLOAD} items; this one has {self._items}")
        return bytes(self.out)


class Reader:
    """The bytes of one message, read front to back.

    Every method raises `DecodeError` if the bytes are not what it should read.

    Attributes:
        position: offset in the package of the next byte to read.
    """

    __slots__ = ("_data", "_depth", "_end", "_items", "position")

    def __init__(self, data: bytes, offset: int) -> None:
        self._data = data
        self._end = min(len(data), offset + MAX_PAYLOAD)
        self._depth = 0
        self._items = 0
        self.position = offset

    def take(self, count: int) -> bytes:
        """Read this many bytes."""
        start = self.position
        end = start + count
        if end > self._end:
            if end <= len(self._data):
                raise DecodeError(f"the message is longer than {MAX_PAYLOAD} bytes", start)
            raise DecodeError(f"the data ends where {count} more bytes are needed", start)
        self.position = end
        return self._data[start:end]

    def byte(self) -> int:
        """Read one byte."""
        return self.take(1)[0]

    def unsigned(self, size: int) -> int:
        """Read an unsigned integer of at most `size` bytes."""
        start = self.position
        first = self.byte()
        if first <= _MAX_ONE_BYTE:
            return first
        if first == _RESERVED:
            raise DecodeError(f"an integer begins with the reserved marker {_RESERVED}", start)
        if _SIZES[first] > size:
            raise DecodeError(f"a {8 * _SIZES[first]}-bit integer where {8 * size} bits were expected", start)
        return int.from_bytes(self.take(_SIZES[first]), "big")

    def length(self) -> int:
        """Read the length of something."""
        start = self.position
        count = self.unsigned(LENGTH_SIZE)
        self._items += count
        if self._items > MAX_PAYLOAD:
            raise DecodeError(f"a length of {count} exceeds the limit of {MAX_PAYLOAD}", start)
        return count

    def descend(self) -> None:
        """Enter a dataclass."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise DecodeError(f"dataclasses are nested more than {MAX_DEPTH} deep", self.position)

    def ascend(self) -> None:
        """Leave the dataclass again."""
        self._depth -= 1
