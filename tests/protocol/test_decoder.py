"""The decoder: every message of a package, then the end; after a broken one, the end too."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packhorse.protocol.codecs import U16, U32, Bincode, bincode, msgpack
from packhorse.protocol.decoder import MessageDecoder
from packhorse.protocol.errors import DecodeError

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


Msg = One | Two
Recorded = One | Two | Unit


def test_worked_example_of_the_wire_specification() -> None:
    decoder = MessageDecoder(bytes.fromhex("01030400fb0506"), Msg, codec=bincode)
    assert list(decoder) == [Two((3, 4)), One(1286)]


def test_no_data_is_no_messages() -> None:
    assert list(MessageDecoder(b"", One, codec=bincode)) == []
    assert list(MessageDecoder(b"", Unit, codec=bincode)) == []
    assert list(MessageDecoder(b"", int)) == []


def test_msgpack_is_the_default() -> None:
    assert list(MessageDecoder(msgpack.encode(1) + msgpack.encode(2), int)) == [1, 2]


def test_broken_message_is_one_error_and_then_the_end() -> None:
    recorded = GOLDEN["decoder_broken"]
    decoder = MessageDecoder(bytes.fromhex(recorded["data"]), Recorded, codec=bincode)
    assert recorded["first_5_items"] == ["Unit", "Err", "Err", "Err", "Err"]  # what the original does
    assert next(decoder) == Unit()
    with pytest.raises(DecodeError, match="variant 99") as caught:
        next(decoder)
    assert caught.value.offset == 1
    assert list(decoder) == []
    assert next(decoder, None) is None


def test_type_without_bytes_on_leftover_bytes_is_one_error_and_then_the_end() -> None:
    assert GOLDEN["decoder_broken"]["unit_type_on_1_byte_items_of_take_1000"] == 1000  # what the original does
    decoder = MessageDecoder(b"\x00\x00", Unit, codec=bincode)
    with pytest.raises(DecodeError, match="no bytes, so 2 leftover bytes") as caught:
        next(decoder)
    assert caught.value.offset == 0
    assert list(decoder) == []


def test_codec_that_goes_backwards_cannot_loop() -> None:
    class Backwards:
        def encode(self, message: object, /) -> bytes:
            raise NotImplementedError

        def decode(self, data: bytes, offset: int, _message_type: Any, /) -> tuple[Any, int]:
            return data, offset - 1

    decoder = MessageDecoder(b"ab", int, codec=Backwards())
    with pytest.raises(DecodeError):
        next(decoder)
    assert list(decoder) == []


def test_unsupported_type_is_the_programs_mistake() -> None:
    decoder = MessageDecoder(b"\x00", int, codec=bincode)
    with pytest.raises(TypeError, match="an int has no width"):
        next(decoder)
    assert list(decoder) == []


@given(st.lists(st.builds(One, st.integers(0, 2**16 - 1)) | st.just(Two((1, 300))), max_size=60))
def test_messages_come_out_in_the_order_they_were_put_in(messages: list[One | Two]) -> None:
    codec = Bincode(Msg)
    data = b"".join(codec.encode(message) for message in messages)
    assert list(MessageDecoder(data, Msg, codec=bincode)) == messages


class Plain:
    """msgpack without its fast path."""

    def encode(self, message: object, /) -> bytes:
        return msgpack.encode(message)

    def decode(self, data: bytes, offset: int, message_type: Any, /) -> tuple[Any, int]:
        return msgpack.decode(data, offset, message_type)


def outcome(decoder: MessageDecoder[Any]) -> tuple[list[Any], tuple[str, int] | None]:
    """Return the messages up to the end or the error, and what the error says."""
    found: list[Any] = []
    try:
        for message in decoder:
            found.append(message)  # noqa: PERF402 - what came before an error counts
    except DecodeError as error:
        assert list(decoder) == []
        return found, (str(error), error.offset)
    return found, None


broken = st.binary(max_size=8) | st.sampled_from([b"\x00\x00", b"\x00\x01\xc1", b"\x00\x09\x01", b"\x00\x02\x01\x01"])
pieces = st.lists(
    st.integers(0, 300).map(msgpack.encode) | st.text(max_size=9).map(msgpack.encode) | broken, max_size=9
)


@given(pieces, st.sampled_from([int, str, int | str, Any, list[int]]))
def test_decoding_in_one_go_gives_what_decoding_one_by_one_gives(parts: list[bytes], message_type: Any) -> None:
    data = b"".join(parts)
    fast = outcome(MessageDecoder(data, message_type))
    assert fast == outcome(MessageDecoder(data, message_type, codec=Plain()))


@pytest.mark.parametrize("codec", [msgpack, Plain()], ids=["in one go", "one by one"])
def test_iterating_and_next_share_their_place(codec: Any) -> None:
    decoder = MessageDecoder(b"".join(map(msgpack.encode, range(5))), int, codec=codec)
    assert next(decoder) == 0
    for message in decoder:
        if message == 2:
            break
    assert next(decoder) == 3
    assert list(decoder) == [4]
    assert list(decoder) == []


@given(st.binary(max_size=504), st.sampled_from([Recorded, Unit, tuple[()], One, str]))
def test_arbitrary_bytes_end_after_one_error_at_most(data: bytes, message_type: Any) -> None:
    decoder = MessageDecoder(data, message_type, codec=bincode)
    good = 0
    try:
        for _ in decoder:
            good += 1
    except DecodeError:
        assert list(decoder) == []
    assert good <= len(data)
