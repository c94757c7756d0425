"""What the fuzzers look for, with what hypothesis thinks up: any bytes, and bytes that are nearly right."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from . import messages, sequences
from .stream import Stream, again, narrow

FLAGS = st.sampled_from([0x20, 0x20, 0x40, 0x40, 0x00, 0x10, 0x80, 0x80, 0x60, 0x81, 0x82, 0x84, 0x4F, 0x21, 0x29])
IDS = st.one_of(st.integers(0, 8), st.sampled_from([1023, 1024, 1025, 0x7FFFFF, 0x800000, 0xFFFFFE, 0xFFFFFF]))


@st.composite
def receives(draw: st.DrawFn) -> bytes:
    """One receive as `sequences` reads it: datagrams of one size, whose ids follow each other more often than not."""
    size, count = draw(st.integers(1, 16)), draw(st.integers(0, 12))
    flags, first = draw(FLAGS), draw(IDS)
    run = bytearray([draw(st.integers(0, 255)), size, count])
    for number in range(first, first + count):
        odd = draw(st.integers(0, 9)) == 0
        head = bytes([draw(FLAGS) if odd else flags]) + (draw(IDS) if odd else number & 0xFFFFFF).to_bytes(3, "big")
        run += (head + draw(IDS).to_bytes(3, "big") * 4)[:size]
    return bytes(run)


@settings(max_examples=150)
@given(st.lists(receives(), max_size=12).map(b"".join))
def test_datagrams_that_are_nearly_right_do_no_harm(data: bytes) -> None:
    sequences.take(data)


@settings(max_examples=100)
@given(st.binary(max_size=400))
@example(b"\x00\xff\x1f" + bytes(500))
def test_any_datagrams_do_no_harm(data: bytes) -> None:
    sequences.take(data)


@settings(max_examples=500)
@given(st.binary(max_size=520))
@example(b"\x01" + b"\x01" * 504)  # dataclasses inside each other as deep as they fit
@example(b"\x0b\x01\xf8" + b"\x91" * 504)  # lists inside each other
@example(b"\x05\xfb\x01\xf8")  # 504 items that take no bytes
def test_any_message_is_a_value_or_one_error(data: bytes) -> None:
    messages.take(data)


@st.composite
def stream_inputs(draw: st.DrawFn) -> bytes:
    """One input as `stream` reads it, mostly soon after the one before."""
    time = draw(st.one_of(st.integers(0, 239), st.integers(0, 255)))
    datagram = bytes([draw(FLAGS)]) + draw(IDS).to_bytes(3, "big") + draw(st.binary(max_size=16))
    return bytes([draw(st.integers(0, 255)), time]) + datagram


@settings(max_examples=60)
@given(st.lists(st.one_of(stream_inputs(), st.binary(max_size=20)), max_size=60))
def test_a_stream_of_any_datagrams_does_no_harm(inputs: list[bytes]) -> None:
    stream = Stream()
    with narrow():
        for data in inputs:
            stream.take(data)
        again(stream.past())
