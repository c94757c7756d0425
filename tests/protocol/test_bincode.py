"""The bincode codec against values recorded from the original, and against itself."""

from __future__ import annotations

import enum
import json
import math
import struct
import sys
import traceback
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packhorse.protocol.codecs import (
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
from packhorse.protocol.errors import DecodeError, EncodeError, PackageError

GOLDEN = json.loads((Path(__file__).parent.parent / "golden" / "encodings.json").read_text())


@dataclass(frozen=True)
class One:
    value: U16


@dataclass(frozen=True)
class Two:
    values: tuple[U32, U32]


@dataclass(frozen=True)
class Unit:
    pass


@dataclass(frozen=True)
class Named:
    a: U8
    b: I64
    c: U32 | None


@dataclass(frozen=True)
class Text:
    text: str


@dataclass
class List:
    items: list[U16]


@dataclass(frozen=True)
class Tuple:
    number: U64
    flag: bool
    char: Char


@dataclass(frozen=True)
class Floats:
    x: F32
    y: F64


MaybeU32: TypeAlias = U32 | None
Msg = One | Two | Unit | Named | Text | List | Tuple | Floats


class Colour(enum.Enum):
    RED = 7
    GREEN = 3
    CRIMSON = 7  # noqa: PIE796 - another name for RED, so not a variant
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 10
    HIGH = 20


class Access(enum.Flag):
    READ = enum.auto()
    WRITE = enum.auto()


@dataclass(frozen=True)
class Chain:
    link: Chain | None


@dataclass
class Tree:
    branches: list[Tree]


@dataclass(frozen=True)
class Leaf:
    value: I16


@dataclass(frozen=True)
class Fork:
    left: Leaf | Fork
    right: Leaf | Fork


@dataclass
class Kitchen:
    ints: tuple[U8, U16, U32, U64, U128, I8, I16, I32, I64, I128]
    floats: tuple[F32, F64]
    text: str
    raw: bytes
    char: Char
    flag: bool
    colour: Colour
    choice: One | Unit | None
    table: dict[U16, list[Leaf | Unit]]


@dataclass(frozen=True)
class Even:
    value: U8

    def __post_init__(self) -> None:
        if self.value % 2:
            raise ValueError("odd")


# Names with a lower-case type are what the recording calls them.
SCALARS: dict[str, Any] = {
    "u8": U8,
    "u16": U16,
    "u32": U32,
    "u64": U64,
    "i8": I8,
    "i32": I32,
    "i64": I64,
}
OTHER_VALUES: dict[str, tuple[Any, Any]] = {
    "u128 MAX": (U128, 2**128 - 1),
    "bool true": (bool, True),
    "bool false": (bool, False),
    "f32 1.5": (F32, 1.5),
    "f64 -2.25": (F64, -2.25),
    "char 'a'": (Char, "a"),
    "char U+20AC": (Char, "\u20ac"),
    "str Indy": (str, "Indy"),
    "str empty": (str, ""),
    "Vec<u16> [1,300]": (list[U16], [1, 300]),
    "[u8;3] [1,2,3]": (tuple[U8, U8, U8], (1, 2, 3)),
    "Option<u32> None": (MaybeU32, None),
    "Option<u32> Some(7)": (MaybeU32, 7),
    "(u8,u16) (1,2)": (tuple[U8, U16], (1, 2)),
}
MESSAGES: dict[str, Any] = {
    "One(1286)": One(1286),
    "Two([3, 4])": Two((3, 4)),
    "Unit": Unit(),
    "Named { a: 9, b: -70000, c: Some(251) }": Named(9, -70000, 251),
    "Named { a: 255, b: 0, c: None }": Named(255, 0, None),
    'Text("h\u00e9llo")': Text("h\u00e9llo"),
    "List([0, 250, 251, 65535])": List([0, 250, 251, 65535]),
    "Tuple(1099511627776, true, 'z')": Tuple(1099511627776, True, "z"),
    "Floats { x: 0.5, y: -1.0 }": Floats(0.5, -1.0),
}


def golden_value(name: str) -> tuple[Any, Any]:
    """Return type and value of a recorded case; a case missing from the tables fails."""
    if name in OTHER_VALUES:
        return OTHER_VALUES[name]
    if name.startswith("enum Msg("):
        return Msg, MESSAGES[name.split("): ", 1)[1]]
    kind, number = name.split(" ")
    return SCALARS[kind], int(number)


@pytest.mark.parametrize("case", GOLDEN["bincode"], ids=lambda case: f"{case['value'][-40:]} = {case['hex']}")
def test_values_are_encoded_and_decoded_as_the_original_does(case: dict[str, str]) -> None:
    message_type, value = golden_value(case["value"])
    data = bytes.fromhex(case["hex"])
    assert Bincode(message_type).encode(value) == data
    assert bincode.decode(data, 0, message_type) == (value, len(data))
    assert bincode.decode(b"??" + data + b"?", 2, message_type) == (value, 2 + len(data))


GOLDEN_DECODING: dict[str, tuple[Any, bytes, Any]] = {
    "u16 from fb0005": (U16, bytes.fromhex("fb0005"), (5, 3)),
    "u16 from fc00010000": (U16, bytes.fromhex("fc00010000"), "32-bit integer where 16 bits were expected"),
    "u32 from ff (invalid marker)": (U32, b"\xff", "reserved marker"),
    "Vec<u8> len 505 (limit 504)": (list[U8], b"\xfb\x01\xf9" + bytes(505), "505 exceeds the limit of 504"),
    "Msg variant 8": (Msg, b"\x08", "variant 8 of an enum with 8 variants"),
}


@pytest.mark.parametrize("case", GOLDEN["decode"], ids=lambda case: case["case"])
def test_odd_input_is_judged_as_the_original_does(case: dict[str, str]) -> None:
    message_type, data, expected = GOLDEN_DECODING[case["case"]]
    assert data.startswith(bytes.fromhex(case["hex"].removesuffix("...")))
    if case["result"].startswith("Ok"):
        assert bincode.decode(data, 0, message_type) == expected
    else:
        with pytest.raises(DecodeError, match=expected) as caught:
            bincode.decode(data, 0, message_type)
        assert caught.value.offset == 0


def test_single_message_is_the_payload_of_the_recorded_datagram() -> None:
    payload = bytes.fromhex(GOLDEN["encode_single"]["datagram"])[4:]
    assert Bincode(Msg).encode(Two((3, 4))) == payload


def test_dataclass_without_a_union_is_encoded_as_the_plain_struct() -> None:
    assert bincode.encode(One(1286)) == bytes.fromhex("fb0506")
    assert bincode.decode(bytes.fromhex("fb0506"), 0, One) == (One(1286), 3)


def test_order_of_a_union_decides_though_python_calls_both_equal() -> None:
    forth: Any = One | Unit
    back: Any = Unit | One
    assert forth == back
    assert Bincode(forth).encode(Unit()) == b"\x01"
    assert Bincode(back).encode(Unit()) == b"\x00"
    assert bincode.decode(b"\x00\x05", 0, forth) == (One(5), 2)
    assert bincode.decode(b"\x00\x05", 0, back) == (Unit(), 1)


@pytest.mark.parametrize("message_type", [One | Unit | None, None | One | Unit, One | None | Unit])
def test_union_with_none_is_an_option_of_the_enum(message_type: Any) -> None:
    codec = Bincode(message_type)
    assert codec.encode(None) == b"\x00"
    assert codec.encode(Unit()) == b"\x01\x01"
    assert bincode.decode(b"\x01\x00\x05", 0, message_type) == (One(5), 3)


def test_enum_members_are_numbered_by_definition_not_by_value() -> None:
    assert [Bincode(Colour).encode(member) for member in (Colour.RED, Colour.GREEN, Colour.BLUE)] == [
        b"\x00",
        b"\x01",
        b"\x02",
    ]
    assert bincode.decode(b"\x02", 0, Colour) == (Colour.BLUE, 1)
    assert Bincode(Level).encode(Level.HIGH) == b"\x01"
    with pytest.raises(DecodeError, match="variant 3"):
        bincode.decode(b"\x03", 0, Colour)
    with pytest.raises(EncodeError, match="not a single member"):
        Bincode(Access).encode(Access.READ | Access.WRITE)


def test_more_forms_have_the_bytes_their_rules_say() -> None:
    assert Bincode(bytes).encode(b"\x01\xff") == b"\x02\x01\xff"
    assert Bincode(dict[U8, str]).encode({5: "a", 1: "b"}) == b"\x02\x05\x01a\x01\x01b"
    assert Bincode(tuple[()]).encode(()) == b""
    assert Bincode(I128).encode(-(2**127)) == b"\xfe" + b"\xff" * 16
    assert Bincode(F64).encode(3) == struct.pack(">d", 3.0)
    assert Bincode(Annotated[U8, "seconds"]).encode(9) == b"\x09"


@pytest.mark.parametrize("bits", [8, 16, 32, 64, 128])
def test_integers_beyond_their_width_are_refused_by_name(bits: int) -> None:
    unsigned = {8: U8, 16: U16, 32: U32, 64: U64, 128: U128}[bits]
    signed = {8: I8, 16: I16, 32: I32, 64: I64, 128: I128}[bits]
    half = 2 ** (bits - 1)
    for kind, name, inside, outside in (
        (unsigned, f"U{bits}", (0, 2 * half - 1), (-1, 2 * half)),
        (signed, f"I{bits}", (-half, half - 1), (-half - 1, half)),
    ):
        codec = Bincode(kind)
        for value in inside:
            data = codec.encode(value)
            assert bincode.decode(data, 0, kind) == (value, len(data))
        for value in outside:
            with pytest.raises(EncodeError, match=f"does not fit {name}"):
                codec.encode(value)


@pytest.mark.parametrize(
    ("message_type", "value", "error"),
    [
        (U8, True, "True is not a int"),
        (U8, 1.0, "1.0 is not a int"),
        (F32, 1e39, "does not fit F32"),
        (F64, 10**400, "does not fit F64"),
        (F64, "1", "'1' is not a float"),
        (F64, True, "True is not a"),
        (bool, 1, "1 is not a bool"),
        (Char, "ab", "does not fit Char"),
        (Char, "", "does not fit Char"),
        (Char, "\ud800", "surrogates not allowed"),
        (str, "\ud800", "surrogates not allowed"),
        (str, b"a", "is not a str"),
        (bytes, "a", "is not a bytes"),
        (list[U8], (1,), "is not a list"),
        (tuple[U8, U8], (1,), "is not a tuple of 2"),
        (dict[U8, U8], [], "is not a dict"),
        (Msg, Leaf(1), "is none of One, Two"),
        (One, Leaf(1), "is not a One"),
        (Colour, 7, "7 is not a Colour"),
        (list[U8], [1, 256], "256 does not fit U8"),
        (list[Unit], [Unit()] * 505, "at most 504 items; this one has 505"),
    ],
)
def test_values_that_are_not_of_the_type_are_refused(message_type: Any, value: Any, error: str) -> None:
    with pytest.raises(EncodeError, match=error):
        Bincode(message_type).encode(value)


def test_encode_error_names_the_field() -> None:
    with pytest.raises(EncodeError, match=r"^Fork\.left: Leaf\.value: 40000 does not fit I16"):
        bincode.encode(Fork(Leaf(40000), Leaf(1)))


def test_message_of_504_bytes_is_the_largest() -> None:
    largest = bincode.encode(Text("x" * 501))
    assert len(largest) == 504
    assert bincode.decode(largest, 0, Text) == (Text("x" * 501), 504)
    with pytest.raises(PackageError, match="at most 504 bytes; this one has 505"):
        bincode.encode(Text("x" * 502))
    with pytest.raises(PackageError, match="504 bytes; this one has 603"):
        Bincode(list[U8]).encode([1] * 600)


@pytest.mark.parametrize(
    ("message_type", "data", "offset", "error"),
    [
        (U8, "", 0, "the data ends"),
        (U32, "fc0001", 1, "the data ends where 4 more bytes are needed"),
        (I16, "fc00000000", 0, "32-bit integer where 16 bits"),
        (U128, "ff", 0, "reserved marker"),
        (bool, "02", 0, "a bool is 0 or 1, not 2"),
        (U8 | None, "0201", 0, "an option is 0 or 1, not 2"),
        (U8 | None, "01", 1, "the data ends"),
        (F32, "000000", 0, "the data ends where 4"),
        (Char, "80", 0, "not UTF-8"),
        (Char, "c3", 1, "the data ends"),
        (Char, "eda080", 0, "not UTF-8"),
        (Char, "f8", 0, "no character begins with"),
        (str, "0361ff61", 2, "not UTF-8"),
        (str, "0361", 1, "the data ends where 3"),
        (str, "fe" + "ff" * 16, 0, "128-bit integer where 64 bits"),
        (bytes, "fd" + "ff" * 8, 0, "exceeds the limit of 504"),
        (list[U8], "0301", 2, "the data ends"),
        (list[Unit], "fd" + "ff" * 8, 0, "exceeds the limit of 504"),
        (list[list[Unit]], "02fb01f8fb01f8", 1, "504 exceeds the limit of 504"),
        (dict[U8, bool], "0101" + "07", 2, "a bool is 0 or 1"),
        (Named, "09fc000222df" + "02", 6, "an option is 0 or 1"),
        (Msg, "fd0000000000000000", 0, "64-bit integer where 32 bits"),
        (One | Unit, "02", 0, "variant 2 of an enum with 2 variants"),
        (tuple[U8, Even], "0103", 1, "Even refuses its fields: odd"),
    ],
)
def test_broken_bytes_are_refused_where_they_are_broken(message_type: Any, data: str, offset: int, error: str) -> None:
    with pytest.raises(DecodeError, match=error) as caught:
        bincode.decode(b"+++" + bytes.fromhex(data), 3, message_type)
    assert caught.value.offset == 3 + offset


def test_message_may_not_be_longer_than_504_bytes() -> None:
    pair = tuple[bytes, bytes]
    data = Bincode(bytes).encode(bytes(300)) + Bincode(bytes).encode(bytes(201))
    with pytest.raises(DecodeError, match="longer than 504 bytes") as caught:
        bincode.decode(data, 0, pair)
    assert caught.value.offset == 304


def chain(length: int) -> Chain:
    result = Chain(None)
    for _ in range(length - 1):
        result = Chain(result)
    return result


def test_dataclasses_nest_64_deep_and_no_deeper() -> None:
    deepest = bincode.encode(chain(64))
    assert deepest == b"\x01" * 63 + b"\x00"
    assert bincode.decode(deepest, 0, Chain) == (chain(64), 64)
    with pytest.raises(EncodeError, match="nested more than 64 deep"):
        bincode.encode(chain(65))
    with pytest.raises(DecodeError, match="nested more than 64 deep") as caught:
        bincode.decode(b"\x01" * 504, 0, Chain)
    assert caught.value.offset == 64
    with pytest.raises(DecodeError, match="nested more than 64 deep"):
        bincode.decode(b"\x01" * 504, 0, Tree)


def test_siblings_do_not_count_as_depth() -> None:
    tree = Tree([Tree([]) for _ in range(200)])
    assert bincode.decode(bincode.encode(tree), 0, Tree) == (tree, 201)


def test_python_stack_that_is_almost_full_gives_the_codecs_own_errors() -> None:
    def at_depth(frames: int, call: Any) -> Any:
        return call() if frames == 0 else at_depth(frames - 1, call)

    room = sys.getrecursionlimit() - sum(1 for _ in traceback.walk_stack(None))
    with pytest.raises(DecodeError, match="nested too deeply"):
        at_depth(room - 60, lambda: bincode.decode(b"\x01" * 40 + b"\x00", 0, Chain))
    with pytest.raises(EncodeError, match="nested too deeply"):
        at_depth(room - 60, lambda: bincode.encode(chain(40)))


class Plain:
    pass


@dataclass
class Stateful:
    a: U8
    b: U8 = field(init=False)


@pytest.mark.parametrize(
    ("message_type", "error"),
    [
        (int, "int: an int has no width on the wire; write U8"),
        (float, "float: a float has no width on the wire; write F32 or F64"),
        (make_dataclass("Bare", [("count", int)]), r"Bare\.count: an int has no width"),
        (make_dataclass("Inner", [("items", list[int | None])]), r"Inner\.items: an int has no width"),
        (make_dataclass("Lost", [("a", "Nowhere")]), "Lost: an annotation cannot be resolved.*Nowhere"),
        (list, r"write list\[T\]"),
        (dict, r"write dict\[K, V\]"),
        (tuple, r"write tuple\[X, Y\]"),
        (tuple[U8, ...], r"fixed number of items; write list\[T\]"),
        (dict[list[U8], U8], "cannot be a key"),
        (dict[List, U8], "List cannot be a key"),
        (int | str, "the members of a union are dataclasses, not int"),
        (U8 | One, "the members of a union are dataclasses"),
        (type(None), r"write T \| None"),
        (Plain, "does not support Plain"),
        (set[U8], "does not support set"),
        (Stateful, r"Stateful\.b: a field with init=False"),
    ],
)
def test_types_without_a_form_are_refused_with_advice(message_type: Any, error: str) -> None:
    with pytest.raises(TypeError, match=error):
        Bincode(message_type)
    with pytest.raises(TypeError, match=error):
        bincode.decode(b"", 0, message_type)


def test_key_that_turns_out_not_to_be_hashable_is_a_decode_error() -> None:
    with pytest.raises(DecodeError, match="keys that can be hashed") as caught:
        bincode.decode(b"\x01\x00", 0, dict[tuple[list[U8]], U8])
    assert caught.value.offset == 1


def test_of_equal_keys_the_last_one_counts() -> None:
    assert bincode.decode(b"\x02\x05\x01\x05\x02", 0, dict[U8, U8]) == ({5: 2}, 5)


def test_codec_says_what_it_encodes() -> None:
    assert repr(bincode) == "Bincode()"
    assert repr(Bincode(One)) == "Bincode(One)"


u8, u16, i16 = st.integers(0, 255), st.integers(0, 2**16 - 1), st.integers(-(2**15), 2**15 - 1)
leaves = st.builds(Leaf, i16)


def integers(bits: int, *, signed: bool) -> st.SearchStrategy[int]:
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else st.integers(0, 2**bits - 1)


kitchens = st.builds(
    Kitchen,
    ints=st.tuples(
        *(integers(bits, signed=False) for bits in (8, 16, 32, 64, 128)),
        *(integers(bits, signed=True) for bits in (8, 16, 32, 64, 128)),
    ),
    floats=st.tuples(st.floats(width=32, allow_nan=False), st.floats(allow_nan=False)),
    text=st.text(max_size=20),
    raw=st.binary(max_size=40),
    char=st.characters(codec="utf-8"),
    flag=st.booleans(),
    colour=st.sampled_from(Colour),
    choice=st.none() | st.builds(One, u16) | st.just(Unit()),
    table=st.dictionaries(u16, st.lists(leaves | st.just(Unit()), max_size=5), max_size=5),
)
messages = st.one_of(
    st.builds(One, u16),
    st.builds(Text, st.text(max_size=50)),
    st.builds(List, st.lists(u16, max_size=50)),
    st.builds(Named, u8, integers(64, signed=True), st.none() | integers(32, signed=False)),
    st.just(Unit()),
)


@given(kitchens, st.binary(max_size=5))
def test_every_form_survives_the_round_trip(kitchen: Kitchen, before: bytes) -> None:
    data = bincode.encode(kitchen)
    assert bincode.decode(before + data + b"??", len(before), Kitchen) == (kitchen, len(before) + len(data))


@given(st.recursive(leaves, lambda inner: st.builds(Fork, inner, inner), max_leaves=20))
def test_recursive_types_survive_the_round_trip(fork: Leaf | Fork) -> None:
    kind: Any = Leaf | Fork
    data = Bincode(kind).encode(fork)
    assert bincode.decode(data, 0, kind) == (fork, len(data))


@given(messages)
def test_a_message_cut_short_is_never_a_message(message: Any) -> None:
    data = Bincode(Msg).encode(message)
    for end in range(len(data)):
        with pytest.raises(DecodeError) as caught:
            bincode.decode(data[:end], 0, Msg)
        assert 0 <= caught.value.offset <= end


def test_nan_survives_the_round_trip() -> None:
    value, _ = bincode.decode(Bincode(F32).encode(math.nan), 0, F32)
    assert math.isnan(value)


ANY_TYPES: list[Any] = [
    *(U8, U16, U32, U64, U128, I8, I16, I32, I64, I128, F32, F64, Char, str, bytes, bool, Unit, Even),
    *(Msg, Kitchen, Fork, Chain, Tree, Colour, Level, Access, Msg | None),
    *(
        list[Unit],
        list[list[Unit]],
        list[Fork | Leaf],
        dict[U8, Tree],
        dict[Unit, Unit],
        dict[str, Chain | None],
    ),
    *(tuple[()], tuple[Char, str, list[Colour]], list[tuple[Even, I128]], dict[F64, list[bytes]]),
]
# Small bytes, markers and lengths near the limit get deeper than uniform ones.
hostile = st.lists(st.sampled_from([0, 1, 2, 3, 4, 250, 251, 252, 253, 254, 255]) | u8, max_size=520).map(bytes)


@given(st.sampled_from(ANY_TYPES), hostile, st.integers(0, 4))
def test_arbitrary_bytes_raise_nothing_but_decode_error(message_type: Any, data: bytes, offset: int) -> None:
    try:
        value, end = bincode.decode(data, offset, message_type)
    except DecodeError as error:
        value, end = None, error.offset
    else:
        again, _ = bincode.decode(Bincode(message_type).encode(value), 0, message_type)
        assert repr(again) == repr(value)
    assert offset <= end <= min(max(offset, len(data)), offset + 504)
