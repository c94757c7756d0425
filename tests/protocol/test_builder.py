"""The builder: which message goes into which package, when packages come out, and that nothing is lost."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from packhorse.protocol.builder import PackageBuilder
from packhorse.protocol.codecs import U16, U32, U64, Bincode, bincode, msgpack
from packhorse.protocol.errors import EncodeError, PackageError
from packhorse.protocol.header import Peers, Reliability
from packhorse.protocol.packages import OutPackage

GOLDEN = json.loads((Path(__file__).parent.parent / "golden" / "encodings.json").read_text())
TARGET = ("10.0.0.7", 8082)


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
class Big:
    values: tuple[
        U64, U64, U64, U64, U64, U64, U64, U64, U64, U64, U64, U64, U64, U64, U64, U64
    ]  # fmt: skip


@dataclass(frozen=True)
class Raw:
    data: bytes


Msg = One | Two


def builder(codec: Any = bincode) -> PackageBuilder:
    return PackageBuilder(Reliability.UNORDERED, Peers.PLAYERS, TARGET, codec=codec)


def raw(size: int) -> Raw:
    """Make a message of this many encoded bytes."""
    return Raw(bytes(size - (1 if size <= 251 else 3)))


def sizes(packages: Any) -> list[int]:
    return [len(package.data) for package in packages]


def payloads(name: str) -> list[bytes]:
    return [bytes.fromhex(datagram)[4:] for datagram in GOLDEN[name]["datagrams"]]


def test_big_messages_are_packed_as_the_original_does() -> None:
    packer = builder()
    for i in range(10):
        packer.push(Big((2**64 - 1 - i,) * 16))
    assert [package.data for package in packer.build_all()] == payloads("builder_u64x16_10")


def test_small_messages_are_packed_as_the_original_does() -> None:
    packer = builder(Bincode(Msg))
    for i in range(200):
        packer.push(One(1000 + i))
    packages = list(packer.build_all())
    assert [package.data for package in packages] == payloads("builder_4byte_200")
    assert [4 + size for size in sizes(packages)] == GOLDEN["builder_4byte_200"]["sizes"]


def test_every_recorded_case_is_tested() -> None:
    assert set(GOLDEN) == {
        *("bincode", "decode", "encode_single"),  # in test_bincode
        "decoder_broken",  # in test_decoder
        *("builder_u64x16_10", "builder_4byte_200", "builder_reuse", "builder_too_large"),
        *("encode_single_600_bytes", "from_slice_empty"),
    }


def test_what_makes_the_original_panic_is_an_error_here() -> None:
    assert GOLDEN["encode_single_600_bytes"] == GOLDEN["from_slice_empty"] == "panic"
    with pytest.raises(PackageError, match="at most 504 bytes; this one has 600"):
        OutPackage.encode(raw(600), Reliability.UNORDERED, Peers.PLAYERS, TARGET, codec=bincode)
    with pytest.raises(PackageError, match="1 to 504 bytes of data, not 0"):
        OutPackage(b"", Reliability.UNORDERED, Peers.PLAYERS, TARGET)


def test_packages_are_for_whom_the_builder_was_made() -> None:
    packer = PackageBuilder(Reliability.SEMI_ORDERED, Peers.SERVER, ("::ffff:10.0.0.7", 8082))
    packer.push("hi")
    expected = OutPackage(msgpack.encode("hi"), Reliability.SEMI_ORDERED, Peers.SERVER, TARGET)
    assert list(packer.build_all()) == [expected]


def test_target_is_checked_where_the_builder_is_made() -> None:
    with pytest.raises(PackageError, match="port"):
        PackageBuilder(Reliability.UNORDERED, Peers.PLAYERS, ("10.0.0.7", 0))
    with pytest.raises(TypeError, match="reliability"):
        PackageBuilder(0, Peers.PLAYERS, TARGET)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - on purpose


def test_codec_is_checked_where_the_builder_is_made() -> None:
    with pytest.raises(TypeError, match=r"a codec has `encode` and `decode`, as packhorse\.msgpack has, not 5"):
        builder(codec=5)


def test_package_is_filled_to_the_last_byte() -> None:
    packer = builder()
    for size in (500, 4, 250, 254, 1):
        packer.push(raw(size))
    assert sizes(packer.build_all()) == [504, 504, 1]


def test_empty_builder_builds_nothing() -> None:
    packer = builder()
    assert list(packer.build_all()) == []
    assert list(packer.build_old(1e9)) == []
    assert not packer
    assert packer.latest is None


@pytest.mark.parametrize("build", ["after_build_all", "after_build_old"])
def test_builder_is_of_use_after_building(build: str) -> None:
    # The original: 1 package, then Err after build_all but Ok after build_old, then 0 or 1 package.
    packer = builder()
    for expected in GOLDEN["builder_reuse"]["after_build_old"][::2]:
        packer.push(One(5), 1.0)
        built = packer.build_all() if build == "after_build_all" else packer.build_old(1.0)
        assert len(list(built)) == expected == 1


def test_message_too_large_is_refused_and_changes_nothing() -> None:
    packer = builder()
    packer.push(raw(300), 1.0)
    with pytest.raises(PackageError, match="at most 504 bytes; this one has 505"):
        packer.push(raw(505), 2.0)
    assert packer.latest == 1.0
    packer.push(raw(204), 1.5)
    assert sizes(packer.build_all()) == [504]
    assert GOLDEN["builder_too_large"]["packages_after"] == 1


def test_message_that_cannot_be_encoded_changes_nothing() -> None:
    packer = builder()
    packer.push(One(1), 1.0)
    with pytest.raises(EncodeError):
        packer.push(One(2**16), 2.0)
    assert packer.latest == 1.0
    assert [package.data for package in packer.build_all()] == [b"\x01"]


def test_message_without_bytes_is_refused() -> None:
    packer = builder()
    with pytest.raises(PackageError, match="1 to 504 bytes; this one has 0"):
        packer.push(Unit())
    assert not packer
    packer.push(One(1), 1.0)
    with pytest.raises(PackageError, match="1 to 504 bytes; this one has 0"):
        packer.push(Unit(), 2.0)
    assert packer.latest == 1.0
    assert sizes(packer.build_all()) == [1]


def test_codec_that_ignores_the_limit_is_caught() -> None:
    class Careless:
        def encode(self, message: Any, /) -> bytes:
            return bytes(message)

        def decode(self, data: bytes, offset: int, message_type: Any, /) -> tuple[Any, int]:
            raise NotImplementedError

    with pytest.raises(PackageError, match="1 to 504 bytes; this one has 505"):
        builder(Careless()).push(505)


def test_young_package_stays_until_its_oldest_message_is_old() -> None:
    packer = builder()
    packer.push(One(1), 10.0)
    packer.push(One(2), 20.0)
    assert list(packer.build_old(9.9)) == []
    packer.push(One(3), 30.0)
    assert [package.data for package in packer.build_old(10.0)] == [b"\x01\x02\x03"]
    assert not packer


def test_age_starts_anew_with_each_package() -> None:
    packer = builder()
    packer.push(raw(400), 1.0)
    packer.push(raw(200), 2.0)
    assert sizes(packer.build_old(1.5)) == [400]
    assert sizes(packer.build_old(2.0)) == [200]
    packer.push(raw(3), 3.0)
    assert sizes(packer.build_old(2.5)) == []


def test_complete_packages_come_out_however_young() -> None:
    packer = builder()
    packer.push(raw(400), 10.0)
    packer.push(raw(400), 10.0)
    assert sizes(packer.build_old(0.0)) == [400]
    assert len(packer) == 1


def test_message_without_a_time_is_older_than_any_threshold() -> None:
    packer = builder()
    packer.push(One(1), 10.0)
    packer.push(One(2))
    assert sizes(packer.build_old(-1e300)) == [2]


def test_latest_is_the_time_of_the_newest_message() -> None:
    packer = builder()
    packer.push(One(1))
    assert packer.latest is None
    packer.push(One(2), 3.0)
    packer.push(One(3), 2.0)
    packer.push(One(4))
    assert packer.latest == 3.0
    assert list(packer.build_old(-1.0))
    assert packer.latest is None
    packer.push(One(5), 1.0)
    assert packer.latest == 1.0
    assert list(packer.build_old(0.5)) == []
    assert packer.latest == 1.0


def test_packages_not_taken_come_out_of_the_next_iterator() -> None:
    packer = builder()
    for size in (401, 402, 403):
        packer.push(raw(size), 1.0)
    first = packer.build_all()
    assert len(next(first).data) == 401
    assert len(packer) == 2
    packer.push(raw(404), 2.0)
    second = packer.build_all()
    assert len(next(second).data) == 402
    assert sizes(second) == [403, 404]
    assert sizes(first) == []


def test_pushing_while_taking_does_not_go_on_for_ever() -> None:
    packer = builder()
    packer.push(raw(400))
    packer.push(raw(400))
    taken = 0
    for _ in packer.build_all():
        packer.push(raw(400))
        packer.push(raw(400))
        taken += 1
    assert taken == 2
    assert len(packer) == 4


def test_length_is_the_number_of_packages_to_come() -> None:
    packer = builder()
    for expected in (1, 1, 2, 2, 3):
        packer.push(raw(252))
        assert len(packer) == expected
    assert len(list(packer.build_all())) == 3
    assert len(packer) == 0


def test_messages_of_the_default_codec_come_out_as_they_were_encoded() -> None:
    packer = builder(msgpack)
    messages = [b"x" * size for size in (0, 1, 59, 250, 251, 252, 253, 499)]
    for message in messages:
        packer.push(message)
    data = b"".join(package.data for package in packer.build_all())
    assert data == b"".join(len(body).to_bytes(2, "big") + body for body in map(msgspec.msgpack.encode, messages))


@given(st.lists(st.tuples(st.integers(1, 504), st.sampled_from(["nothing", "old", "all", "one"]))))
def test_every_byte_comes_out_once_in_order_in_few_packages(steps: list[tuple[int, str]]) -> None:
    packer = builder(Numbered())
    out: list[bytes] = []
    for number, (size, build) in enumerate(steps):
        packer.push((number, size), float(number))
        if build == "old":
            out += [package.data for package in packer.build_old(number - 1)]
        elif build == "all":
            out += [package.data for package in packer.build_all()]
        elif build == "one":
            out.append(next(packer.build_all()).data)
    out += [package.data for package in packer.build_all()]
    assert b"".join(out) == b"".join(Numbered().encode((number, size)) for number, (size, _) in enumerate(steps))
    assert all(0 < len(data) <= 504 for data in out)
    if all(build == "nothing" for _, build in steps):
        assert all(len(left) + len(right) > 504 for left, right in pairwise(out))


class Numbered:
    """Encodes `(number, size)` as that many bytes with that value."""

    def encode(self, message: Any, /) -> bytes:
        number: int = message[0]
        size: int = message[1]
        return bytes([number % 256]) * size

    def decode(self, data: bytes, offset: int, message_type: Any, /) -> tuple[Any, int]:
        raise NotImplementedError
