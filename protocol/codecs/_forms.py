"""The forms values take in bincode: one class per row.

| type in Python             | in Rust     | bytes                                                                |
|----------------------------|-------------|----------------------------------------------------------------------|
| `U8`, `I8`                 | u8, i8      | one byte, two's complement                                           |
| `U16` .. `U128`            | u16 .. u128 | one byte up to 250, else a marker and 2, 4, 8 or 16 bytes            |
| `I16` .. `I128`            | i16 .. i128 | zigzag (0, -1, 1, -2, ... become 0, 1, 2, 3, ...), then as unsigned  |
| `F32`, `F64`               | f32, f64    | IEEE 754, 4 or 8 bytes                                               |
| `bool`                     | bool        | 0 or 1                                                               |
| `Char`                     | char        | its UTF-8                                                            |
| `str`, `bytes`             | String, Vec<u8> | length, then the bytes                                           |
| `list[T]`                  | Vec<T>      | length, then the items                                               |
| `dict[K, V]`               | maps        | length, then key, value, key, value ...                              |
| `tuple[X, Y]`              | tuple, array | the items                                                           |
| dataclass                  | struct      | the fields in order                                                  |
| `T | None`                 | Option<T>   | 0, or 1 and the value                                                |
| `A | B` of dataclasses     | enum        | position in the union as a U32, then the dataclass                   |
| `enum.Enum`                | enum of units | position in the definition as a U32                                |
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from reprlib import repr as brief
from typing import TYPE_CHECKING, Any, Final

from ..errors import DecodeError, EncodeError

if TYPE_CHECKING:
    import enum
    from collections.abc import Sequence

    from ._stream import Reader, Writer

__all__ = [
    "BoolForm",
    "BytesForm",
    "CharForm",
    "EnumForm",
    "FloatForm",
    "Form",
    "IntForm",
    "ListForm",
    "MapForm",
    "OptionForm",
    "StrForm",
    "StructForm",
    "TupleForm",
    "UnionForm",
]

_VARIANT_SIZE: Final = 4
_UTF8_SIZES: Final = ((0xC0, 1), (0xE0, 2), (0xF0, 3), (0xF8, 4))
"""Bytes of a character whose first byte is below the bound; decoding finds the rest of what is wrong."""


class Form(ABC):
    """How values of one type are written and read."""

    @abstractmethod
    def put(self, value: Any, writer: Writer) -> None:
        """Write a value; `EncodeError` if it is not one of this type."""

    @abstractmethod
    def get(self, reader: Reader) -> Any:
        """Read a value; `DecodeError` if the bytes are not one of this type."""


def _expect(value: Any, kind: type) -> None:
    """Refuse a value that is not of this kind; a bool is not an int here."""
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise EncodeError(f"{brief(value)} is not a {kind.__name__}")


class IntForm(Form):
    """An integer of a fixed range."""

    def __init__(self, name: str, size: int, *, signed: bool) -> None:
        self._name = name
        self._size = size
        self._signed = signed
        bits = 8 * size - signed
        self._lowest = -(1 << bits) if signed else 0
        self._highest = (1 << bits) - 1

    def __repr__(self) -> str:
        return self._name

    def put(self, value: Any, writer: Writer) -> None:
        """Write the integer."""
        _expect(value, int)
        if not self._lowest <= value <= self._highest:
            raise EncodeError(f"{brief(value)} does not fit {self._name} ({self._lowest} to {self._highest})")
        if self._size == 1:
            writer.out.append(value & 0xFF)
        elif self._signed:
            writer.unsigned(value << 1 if value >= 0 else ~(value << 1))
        else:
            writer.unsigned(value)

    def get(self, reader: Reader) -> int:
        """Read an integer."""
        if self._size == 1:
            return int.from_bytes(reader.take(1), "big", signed=self._signed)
        value = reader.unsigned(self._size)
        if not self._signed:
            return value
        return ~(value >> 1) if value & 1 else value >> 1


class FloatForm(Form):
    """A floating point number."""

    def __init__(self, name: str, layout: str) -> None:
        self._name = name
        self._struct = struct.Struct(layout)

    def __repr__(self) -> str:
        return self._name

    def put(self, value: Any, writer: Writer) -> None:
        """Write the number; an int counts as a float, as everywhere in Python."""
        _expect(value, int if isinstance(value, int) else float)
        try:
            writer.out += self._struct.pack(value)
        except (OverflowError, struct.error):
            raise EncodeError(f"{brief(value)} does not fit {self._name}") from None

    def get(self, reader: Reader) -> float:
        """Read a number."""
        value: float = self._struct.unpack(reader.take(self._struct.size))[0]
        return value


class BoolForm(Form):
    """True or False."""

    def put(self, value: Any, writer: Writer) -> None:
        """Write the bool."""
        _expect(value, bool)
        writer.out.append(value)

    def get(self, reader: Reader) -> bool:
        """Read a bool."""
        byte = reader.byte()
        if byte > 1:
            raise DecodeError(f"a bool is 0 or 1, not {byte}", reader.position - 1)
        return byte == 1


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise EncodeError(f"{brief(text)} is not text: {error.reason}") from None


def _text(data: bytes, offset: int) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise DecodeError(f"not UTF-8: {error.reason}", offset + error.start) from None


class CharForm(Form):
    """A single character."""

    def __repr__(self) -> str:
        return "Char"

    def put(self, value: Any, writer: Writer) -> None:
        """Write the character."""
        _expect(value, str)
        if len(value) != 1:
            raise EncodeError(f"{brief(value)} does not fit Char (one character)")
        writer.out += _utf8(value)

    def get(self, reader: Reader) -> str:
        """Read a character."""
        start = reader.position
        first = reader.byte()
        for bound, size in _UTF8_SIZES:
            if first < bound:
                return _text(bytes([first]) + reader.take(size - 1), start)
        raise DecodeError(f"no character begins with the byte {first}", start)


class StrForm(Form):
    """A string."""

    def put(self, value: Any, writer: Writer) -> None:
        """Write the string."""
        _expect(value, str)
        encoded = _utf8(value)
        writer.length(len(encoded))
        writer.out += encoded

    def get(self, reader: Reader) -> str:
        """Read a string."""
        data = reader.take(reader.length())
        return _text(data, reader.position - len(data))


class BytesForm(Form):
    """Bytes."""

    def put(self, value: Any, writer: Writer) -> None:
        """Write the bytes."""
        _expect(value, bytes)
        writer.length(len(value))
        writer.out += value

    def get(self, reader: Reader) -> bytes:
        """Read bytes."""
        return reader.take(reader.length())


class ListForm(Form):
    """A sequence of any length."""

    def __init__(self, item: Form) -> None:
        self._item = item

    def put(self, value: Any, writer: Writer) -> None:
        """Write the list."""
        _expect(value, list)
        writer.length(len(value))
        for item in value:
            self._item.put(item, writer)

    def get(self, reader: Reader) -> list[Any]:
        """Read a list."""
        return [self._item.get(reader) for _ in range(reader.length())]


class MapForm(Form):
    """A map; of equal keys the last one counts."""

    def __init__(self, key: Form, value: Form) -> None:
        self._key = key
        self._value = value

    def put(self, value: Any, writer: Writer) -> None:
        """Write the map, in the order of the dict."""
        _expect(value, dict)
        writer.length(len(value))
        for key, item in value.items():
            self._key.put(key, writer)
            self._value.put(item, writer)

    def get(self, reader: Reader) -> dict[Any, Any]:
        """Read a map."""
        result: dict[Any, Any] = {}
        for _ in range(reader.length()):
            start = reader.position
            key = self._key.get(reader)
            try:
                hash(key)
            except TypeError as error:
                raise DecodeError(f"a map needs keys that can be hashed: {error}", start) from error
            result[key] = self._value.get(reader)
        return result


class TupleForm(Form):
    """A fixed number of values; also a Rust array."""

    def __init__(self, items: Sequence[Form]) -> None:
        self._items = items

    def put(self, value: Any, writer: Writer) -> None:
        """Write the tuple."""
        _expect(value, tuple)
        if len(value) != len(self._items):
            raise EncodeError(f"{brief(value)} is not a tuple of {len(self._items)}")
        for form, item in zip(self._items, value, strict=True):
            form.put(item, writer)

    def get(self, reader: Reader) -> tuple[Any, ...]:
        """Read a tuple."""
        return tuple([form.get(reader) for form in self._items])


class OptionForm(Form):
    """A value or None."""

    def __init__(self, some: Form) -> None:
        self._some = some

    def put(self, value: Any, writer: Writer) -> None:
        """Write the value, if there is one."""
        writer.out.append(value is not None)
        if value is not None:
            self._some.put(value, writer)

    def get(self, reader: Reader) -> Any:
        """Read a value, if there is one."""
        byte = reader.byte()
        if byte > 1:
            raise DecodeError(f"an option is 0 or 1, not {byte}", reader.position - 1)
        return self._some.get(reader) if byte else None


class StructForm(Form):
    """A dataclass. Its fields are added after it is made, because a dataclass may contain itself."""

    def __init__(self, kind: type) -> None:
        self._kind = kind
        self.fields: dict[str, Form] = {}

    def put(self, value: Any, writer: Writer) -> None:
        """Write the fields in order; an `EncodeError` names the field."""
        if type(value) is not self._kind:
            raise EncodeError(f"{brief(value)} is not a {self._kind.__name__}")
        writer.descend()
        for name, form in self.fields.items():
            try:
                form.put(getattr(value, name), writer)
            except EncodeError as error:
                raise EncodeError(f"{self._kind.__name__}.{name}: {error}") from None
        writer.ascend()

    def get(self, reader: Reader) -> Any:
        """Read the fields and make an instance of them, which its class may refuse (ValueError, TypeError)."""
        start = reader.position
        reader.descend()
        fields = {name: form.get(reader) for name, form in self.fields.items()}
        reader.ascend()
        try:
            return self._kind(**fields)
        except (ValueError, TypeError) as error:
            raise DecodeError(f"{self._kind.__name__} refuses its fields: {error}", start) from error


class UnionForm(Form):
    """One of several dataclasses; its variant number is its position."""

    def __init__(self, variants: dict[type, Form]) -> None:
        self._numbers = {kind: number for number, kind in enumerate(variants)}
        self._forms = tuple(variants.values())

    def put(self, value: Any, writer: Writer) -> None:
        """Write the variant number and the dataclass."""
        number = self._numbers.get(value.__class__)
        if number is None:
            names = ", ".join(member.__name__ for member in self._numbers)
            raise EncodeError(f"{brief(value)} is none of {names}")
        writer.unsigned(number)
        self._forms[number].put(value, writer)

    def get(self, reader: Reader) -> Any:
        """Read a variant number and its dataclass."""
        return self._forms[_variant(reader, len(self._forms))].get(reader)


class EnumForm(Form):
    """A member of an `enum.Enum`; its variant number is its position in the definition, not its value."""

    def __init__(self, kind: type[enum.Enum]) -> None:
        self._kind = kind
        self._members = tuple(kind)
        self._numbers = {member.name: number for number, member in enumerate(self._members)}

    def put(self, value: Any, writer: Writer) -> None:
        """Write the variant number."""
        _expect(value, self._kind)
        number = self._numbers.get(value.name)
        if number is None:
            raise EncodeError(f"{brief(value)} is not a single member of {self._kind.__name__}")
        writer.unsigned(number)

    def get(self, reader: Reader) -> enum.Enum:
        """Read a variant number."""
        return self._members[_variant(reader, len(self._members))]


def _variant(reader: Reader, count: int) -> int:
    start = reader.position
    number = reader.unsigned(_VARIANT_SIZE)
    if number >= count:
        raise DecodeError(f"variant {number} of an enum with {count} variants", start)
    return number
