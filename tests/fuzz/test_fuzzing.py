"""That the fuzzers reach what they are to reach, and that what they find can be repeated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from packhorse.protocol.header import Peers, Reliability, pack_header
from packhorse.protocol.identity import introduction

from .fuzz import Watch
from .stream import HEAVIEST, NARROW, Stream, again, narrow
from .world import World, weight

AS_IT_IS, PACKAGE, CONFIRMATION, REFUSAL = (aim << 3 for aim in range(4))
ONE, SIXTEEN = 0 << 5, 3 << 5
SENDS = 0x80
AT_ONCE, AFTER_2_S = b"\x00", b"\xf4"
LARGEST = bytes(504)


def semi_ordered(number: int) -> bytes:
    return pack_header(Reliability.SEMI_ORDERED, Peers.PLAYERS, number)


@pytest.fixture
def stream() -> Iterator[Stream]:
    with narrow():
        yield Stream()


def world_of(stream: Stream) -> World:
    return stream._world


def test_a_package_can_be_aimed_at_a_numbering_that_was_introduced(stream: Stream) -> None:
    stream.take(bytes([2 | AS_IT_IS]) + AT_ONCE + introduction(1234567, 1 << 4, 9))
    for _ in range(3):
        stream.take(bytes([2 | PACKAGE]) + AT_ONCE + semi_ordered(0) + b"data")
    assert world_of(stream).delivered == 3


def test_a_package_that_is_not_aimed_hardly_ever_belongs_to_that_numbering(stream: Stream) -> None:
    stream.take(bytes([2 | AS_IT_IS]) + AT_ONCE + introduction(1234567, 1 << 4, 9))
    stream.take(bytes([2 | PACKAGE]) + AT_ONCE + semi_ordered(0) + b"data")
    stream.take(bytes([2 | AS_IT_IS]) + AT_ONCE + semi_ordered(1) + b"data")
    assert world_of(stream).delivered == 1


def test_a_confirmation_can_be_aimed_at_what_is_unconfirmed(stream: Stream) -> None:
    for _ in range(3):
        stream.take(bytes([0 | SENDS]) + AT_ONCE)
    assert world_of(stream).open == 3
    redelivery = world_of(stream).redelivery
    for echo, unconfirmed in (("first", 2), ("the same", 1)):
        stream.take(bytes([0 | CONFIRMATION]) + AT_ONCE + bytes([0x81, 0, 0, 1]) + bytes(3))
        assert redelivery.pending == unconfirmed, echo
    stream.take(bytes([0 | CONFIRMATION]) + AT_ONCE + bytes([0x80, 0, 0, 1]) + bytes(3))
    assert not redelivery.peers(), "who has echoed and does so no more is another program"


def test_a_refusal_can_be_aimed_at_what_is_unconfirmed(stream: Stream) -> None:
    stream.take(bytes([0 | SENDS]) + AT_ONCE)
    before = world_of(stream).redelivery.resent
    stream.take(bytes([0 | REFUSAL]) + AFTER_2_S + bytes(4))
    assert world_of(stream).redelivery.resent > before


def test_all_limits_can_be_reached_and_the_world_is_light_all_the_same(stream: Stream) -> None:
    receiving = world_of(stream).receiving
    for source in (0, 1, 2):
        stream.take(bytes([source | AS_IT_IS | SIXTEEN]) + AT_ONCE + semi_ordered(1) + LARGEST)
        stream.take(bytes([source | AS_IT_IS | SIXTEEN]) + AT_ONCE + semi_ordered(17) + LARGEST)
        stream.take(bytes([source | AS_IT_IS | SIXTEEN]) + AT_ONCE + semi_ordered(60) + LARGEST)
    assert receiving.kept >= NARROW["ALL_KEPT"]
    assert receiving.refused > 0
    assert weight(world_of(stream)) < HEAVIEST / 2


def test_what_failed_can_be_repeated_from_what_came_before(
    stream: Stream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = World.receive

    def receive(world: World, source: object, size: int, buffer: bytes) -> None:
        original(world, source, size, buffer)
        assert world.delivered < 3, "three is too many"

    monkeypatch.setattr(World, "receive", receive)
    watch = Watch(stream.take, tmp_path, stream.past)
    data = bytes([2 | PACKAGE]) + AT_ONCE + semi_ordered(0) + b"data"
    for _ in range(3):
        watch.one(data)
    with pytest.raises(AssertionError, match="three is too many"):
        watch.one(data)
    (past,) = tmp_path.iterdir()
    with pytest.raises(AssertionError, match="three is too many"):
        again(past.read_bytes())
    monkeypatch.undo()
    again(past.read_bytes())


def test_a_world_that_is_too_heavy_is_noticed(stream: Stream) -> None:
    world_of(stream).redelivery.flushed.append(bytes(HEAVIEST))
    with pytest.raises(AssertionError, match="takes"):
        stream.weigh()
