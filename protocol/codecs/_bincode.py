"""The codec of the original: bincode 2, big-endian, variable-length integers, typed by dataclasses and unions.

Which type is which bytes stands in `_forms`; limits and integers in `_stream`. How a type is found its form:

- `Annotated[T, form]` has that form: this is how `U8`, `F32`, `Char` and the like say their width;
- a bare `int` or `float` has no width, so it is refused, as is everything else whose bytes would be a guess;
- the members of a union are dataclasses, and their order is the wire format. Write unions with `|`: `typing.Optional`
  and `typing.Union` may give back an equal union that was written earlier, with its members in another order;
- `A | B | None` is an option of the enum `A | B`; where `None` stands makes no difference;
- a dataclass may contain itself, up to the depth that `_stream` allows.

What the original refuses although it fits: its decoder's limit of 504 counts integers by the width of their type, not
by the bytes they take (8 for every `U64` and every length, 4 for every variant number), so 64 small `U64` are too many
for it, and so is a string of 500 bytes. Two programs that use packhorse do not have this limit.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import types
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Final,
    TypeAlias,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from ..errors import DecodeError, EncodeError
from ._codec import PerType, fitting
from ._forms import (
    BoolForm,
    BytesForm,
    CharForm,
    EnumForm,
    FloatForm,
    Form,
    IntForm,
    ListForm,
    MapForm,
    OptionForm,
    StrForm,
    StructForm,
    TupleForm,
    UnionForm,
)
from ._stream import Reader, Writer

if TYPE_CHECKING:
    from collections.abc import Callable

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
    "Char",
    "bincode",
]

U8: TypeAlias = Annotated[int, IntForm("U8", 1, signed=False)]
"""An unsigned integer of 8 bits."""
U16: TypeAlias = Annotated[int, IntForm("U16", 2, signed=False)]
"""An unsigned integer of 16 bits."""
U32: TypeAlias = Annotated[int, IntForm("U32", 4, signed=False)]
"""An unsigned integer of 32 bits."""
U64: TypeAlias = Annotated[int, IntForm("U64", 8, signed=False)]
"""An unsigned integer of 64 bits."""
U128: TypeAlias = Annotated[int, IntForm("U128", 16, signed=False)]
"""An unsigned integer of 128 bits."""
I8: TypeAlias = Annotated[int, IntForm("I8", 1, signed=True)]
"""A signed integer of 8 bits."""
I16: TypeAlias = Annotated[int, IntForm("I16", 2, signed=True)]
"""A signed integer of 16 bits."""
I32: TypeAlias = Annotated[int, IntForm("I32", 4, signed=True)]
"""A signed integer of 32 bits."""
I64: TypeAlias = Annotated[int, IntForm("I64", 8, signed=True)]
"""A signed integer of 64 bits."""
I128: TypeAlias = Annotated[int, IntForm("I128", 16, signed=True)]
"""A signed integer of 128 bits."""
F32: TypeAlias = Annotated[float, FloatForm("F32", ">f")]
"""A float of single precision."""
F64: TypeAlias = Annotated[float, FloatForm("F64", ">d")]
"""A float of double precision."""
Char: TypeAlias = Annotated[str, CharForm()]
"""A string of exactly one character."""

_PLAIN: Final[dict[object, Form]] = {bool: BoolForm(), str: StrForm(), bytes: BytesForm()}
_INSTEAD: Final[dict[object, str]] = {
    int: "an int has no width on the wire; write U8, U16, U32, U64, U128, I8, I16, I32, I64 or I128",
    float: "a float has no width on the wire; write F32 or F64",
    list: "a list needs the type of its items; write list[T]",
    tuple: "a tuple needs the types of its items; write tuple[X, Y]",
    dict: "a dict needs the types of its keys and values; write dict[K, V]",
    type(None): "None alone is no value; write T | None",
}


class _Compiler:
    """Finds the form of one type and of every type inside it; `where` says in errors which annotation it is."""

    def __init__(self) -> None:
        self._structs: dict[type, StructForm] = {}
        self._generic: dict[object, Callable[[tuple[Any, ...], str], Form]] = {
            Annotated: self._annotated,
            Union: self._union,
            types.UnionType: self._union,
            list: lambda args, where: ListForm(self.form(args[0], where)),
            dict: self._map,
            tuple: self._tuple,
        }

    def form(self, annotation: Any, where: str) -> Form:
        """Return the form of an annotation."""
        annotation = getattr(annotation, "__value__", annotation)  # what `type X = ...` stands for
        if annotation in _PLAIN:
            return _PLAIN[annotation]
        if annotation in _INSTEAD:
            raise TypeError(f"{where}: {_INSTEAD[annotation]}")
        generic = self._generic.get(get_origin(annotation))
        if generic is not None:
            return generic(get_args(annotation), where)
        if inspect.isclass(annotation):
            if dataclasses.is_dataclass(annotation):
                return self._struct(annotation)
            if issubclass(annotation, enum.Enum):
                return EnumForm(annotation)
        raise TypeError(f"{where}: bincode does not support {_name(annotation)}")

    def _annotated(self, args: tuple[Any, ...], where: str) -> Form:
        marked = [mark for mark in args[1:] if isinstance(mark, Form)]
        return marked[0] if marked else self.form(args[0], where)

    def _struct(self, kind: type) -> StructForm:
        if kind in self._structs:
            return self._structs[kind]
        form = self._structs[kind] = StructForm(kind)
        name = kind.__name__
        try:
            hints = get_type_hints(kind, localns={name: kind}, include_extras=True)
        except (NameError, AttributeError) as error:
            raise TypeError(f"{name}: an annotation cannot be resolved: {error}") from error
        for field in dataclasses.fields(kind):
            if not field.init:
                raise TypeError(f"{name}.{field.name}: a field with init=False cannot be decoded")
            form.fields[field.name] = self.form(hints[field.name], f"{name}.{field.name}")
        return form

    def _union(self, members: tuple[Any, ...], where: str) -> Form:
        some = [member for member in members if member is not type(None)]
        if len(some) == 1:
            return OptionForm(self.form(some[0], where))
        for member in some:
            if not (inspect.isclass(member) and dataclasses.is_dataclass(member)):
                raise TypeError(f"{where}: the members of a union are dataclasses, not {_name(member)}")
        enumeration = UnionForm({member: self._struct(member) for member in some})
        return enumeration if len(some) == len(members) else OptionForm(enumeration)

    def _map(self, args: tuple[Any, ...], where: str) -> Form:
        key, value = args
        if getattr(get_origin(key) or key, "__hash__", None) is None:
            raise TypeError(f"{where}: a {_name(key)} cannot be a key")
        return MapForm(self.form(key, where), self.form(value, where))

    def _tuple(self, args: tuple[Any, ...], where: str) -> Form:
        if Ellipsis in args:
            raise TypeError(f"{where}: a tuple has a fixed number of items; write list[T] for any number")
        return TupleForm([self.form(item, where) for item in args])


def _name(annotation: object) -> str:
    return annotation.__name__ if inspect.isclass(annotation) else repr(annotation)


def _compiled(message_type: object) -> Form:
    return _Compiler().form(message_type, _name(message_type))


_form_of: PerType[Form] = PerType(_compiled)


class Bincode:
    """The bincode codec; see `Codec`.

    A type is worked out when it is first met and remembered by identity, so give a union a name (`Msg = A | B`) and
    use that.

    Args:
        message_type: what messages are encoded as, for example a union `A | B`, whose members are then encoded as
            variants of an enum. Without it each dataclass is encoded as the plain struct it is.

    Raises:
        TypeError: bincode does not support the type; the message names the field and what to write instead.
    """

    def __init__(self, message_type: object = None) -> None:
        self._message_type = message_type
        self._form = None if message_type is None else _form_of(message_type)

    def __repr__(self) -> str:
        return "Bincode()" if self._form is None else f"Bincode({_name(self._message_type)})"

    def encode(self, message: object, /) -> bytes:
        """Encode one message; see `Codec.encode`."""
        form = self._form or _form_of(type(message))
        writer = Writer()
        try:
            form.put(message, writer)
        except RecursionError as error:
            raise EncodeError("the message is nested too deeply") from error
        return fitting(writer.finish())

    def decode(self, data: bytes, offset: int, message_type: Any, /) -> tuple[Any, int]:
        """Decode the message at `offset`; see `Codec.decode`. A `DecodeError` has the offset of the broken part."""
        form = _form_of(message_type)
        reader = Reader(data, offset)
        try:
            return form.get(reader), reader.position
        except RecursionError as error:
            raise DecodeError("the message is nested too deeply", reader.position) from error


bincode: Final = Bincode()
"""Bincode, with every dataclass encoded as the plain struct it is. `Bincode(A | B)` encodes variants of an enum."""
