"""The msgpack codec: a length in front of every message, and one kind of error for whatever arrives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from packhorse.protocol.codecs import U8, msgpack
from packhorse.protocol.errors import DecodeError, EncodeError, PackageError


class Move(msgspec.Struct, tag=True, frozen=True):
    x: int
    y: int


class Say(msgspec.Struct, tag=True, frozen=True):
    text: str


@dataclass(frozen=True)
class Point:
    x: U8
    y: float | None = None


class Picky(msgspec.Struct):
    value: int

    def __post_init__(self) -> None:
        if self.value:
            raise ValueError("not zero")


def test_message_has_two_bytes_of_length_in_front() -> None:
    assert msgpack.encode([1, 2]) == b"\x00\x03\x92\x01\x02"
    assert msgpack.encode("a" * 300)[:2] == (303).to_bytes(2, "big")


def test_messages_follow_each_other() -> None:
    data = msgpack.encode(Move(1, 2)) + msgpack.encode(Say("hi"))
    first, offset = msgpack.decode(data, 0, Move | Say)
    second, end = msgpack.decode(data, offset, Move | Say)
    assert (first, second, end) == (Move(1, 2), Say("hi"), len(data))


def test_type_is_honoured() -> None:
    data = msgpack.encode({"x": 3})
    assert msgpack.decode(data, 0, Point)[0] == Point(3)
    assert msgpack.decode(data, 0, dict[str, int])[0] == {"x": 3}


def test_message_of_504_bytes_is_the_largest() -> None:
    assert len(msgpack.encode(b"x" * 499)) == 504
    with pytest.raises(PackageError, match="at most 504 bytes; this one has 505"):
        msgpack.encode(b"x" * 500)
    with pytest.raises(PackageError, match="this one has 100007"):
        msgpack.encode(b"x" * 100_000)


@pytest.mark.parametrize("message", [object(), 2**64, {1: object()}, 1j])
def test_what_msgpack_cannot_say_is_an_encode_error(message: Any) -> None:
    with pytest.raises(EncodeError, match="msgpack cannot encode"):
        msgpack.encode(message)


def test_message_that_contains_itself_is_an_encode_error() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(EncodeError, match="msgpack cannot encode this list"):
        msgpack.encode(loop)


@pytest.mark.parametrize(
    ("data", "message_type", "error"),
    [
        (b"", int, "the data ends"),
        (b"\x00", int, "the data ends"),
        (b"\x00\x02\x01", int, "the data ends"),
        (b"\xff\xff\x01", int, "the data ends"),
        (b"\x00\x00", int, "truncated"),
        (b"\x00\x02\x01\x01", int, "trailing"),
        (b"\x00\x01\x01", str, "Expected `str`, got `int`"),
        (b"\x00\x02\xa1\xff", str, "utf-8"),
        (b"\x00\x01\xc1", Any, "invalid"),
        (b"\x00\x08\x81\xa5value\x01", Picky, "not zero"),
        (b"\x00\x02\xa1b", Literal["a"], "Invalid enum value"),
    ],
)
def test_broken_message_is_a_decode_error_with_the_messages_offset(data: bytes, message_type: Any, error: str) -> None:
    before = msgpack.encode("before")
    with pytest.raises(DecodeError, match=error) as caught:
        msgpack.decode(before + data, len(before), message_type)
    assert caught.value.offset == len(before)


def test_type_that_msgspec_does_not_know_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        msgpack.decode(b"\x00\x01\x01", 0, dict[str, "Nowhere"])  # type: ignore[name-defined]  # noqa: F821 - on purpose


def test_codec_has_a_name() -> None:
    assert repr(msgpack) == "msgpack"


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(values, st.binary(max_size=5))
def test_values_survive_the_round_trip(value: Any, before: bytes) -> None:
    try:
        data = msgpack.encode(value)
    except PackageError:
        assert len(msgspec.msgpack.encode(value)) > 502
        return
    assert msgpack.decode(before + data + b"?", len(before), Any) == (value, len(before) + len(data))


@given(
    st.sampled_from([Any, int, str, float, Point, Move | Say, dict[str, int], list[Any], Picky]),
    st.binary(max_size=502) | st.just(b"\x91" * 502) | st.just(b"\x81" * 502),
    st.booleans(),
)
def test_arbitrary_bytes_raise_nothing_but_decode_error(message_type: Any, body: bytes, prefix: bool) -> None:
    data = len(body).to_bytes(2, "big") + body if prefix else body
    try:
        _, end = msgpack.decode(data, 0, message_type)
    except DecodeError as error:
        end = error.offset
    assert end == 0 or 2 < end <= len(data)
