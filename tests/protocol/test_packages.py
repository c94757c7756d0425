"""The limits of a package are checked where it is made."""

from __future__ import annotations

from typing import Any

import pytest

from packhorse.protocol import InPackage, OutPackage, PackageError, PackhorseError, Peers, Reliability

TARGET = ("10.0.0.7", 8082)


@pytest.mark.parametrize("size", [1, 504])
def test_a_package_of_an_allowed_size_is_kept_as_it_is(size: int) -> None:
    data = bytes(size)
    package = OutPackage(data, Reliability.SEMI_ORDERED, Peers.SERVER, TARGET)
    assert package.data is data
    assert (package.reliability, package.peers, package.target) == (Reliability.SEMI_ORDERED, Peers.SERVER, TARGET)


@pytest.mark.parametrize("size", [0, 505, 70000])
def test_a_package_of_another_size_says_limit_and_size(size: int) -> None:
    with pytest.raises(PackageError, match=f"1 to 504 bytes of data, not {size}") as caught:
        OutPackage(bytes(size), Reliability.UNORDERED, Peers.PLAYERS, TARGET)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, PackhorseError)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("text", Reliability.UNORDERED, Peers.PLAYERS), "bytes, not str"),
        ((bytearray(b"x"), Reliability.UNORDERED, Peers.PLAYERS), "bytes, not bytearray"),
        ((None, Reliability.UNORDERED, Peers.PLAYERS), "bytes, not NoneType"),
        ((b"x", 0x20, Peers.PLAYERS), "packhorse.Reliability, not 32"),
        ((b"x", Peers.PLAYERS, Peers.PLAYERS), "packhorse.Reliability, not <Peers.PLAYERS"),
        ((b"x", Reliability.UNORDERED, 0), "packhorse.Peers, not 0"),
    ],
)
def test_a_wrong_type_says_what_would_be_right(arguments: tuple[Any, Any, Any], says: str) -> None:
    with pytest.raises(TypeError, match=says):
        OutPackage(*arguments, TARGET)


def test_a_message_becomes_a_package_and_is_found_in_it_again() -> None:
    out = OutPackage.encode({"score": [1, 2]}, Reliability.UNORDERED, Peers.SERVER, TARGET)
    arrived = InPackage(out.data, out.reliability, out.peers, ("10.0.0.1", 1), 0.0)
    assert list(arrived.decode(dict[str, list[int]])) == [{"score": [1, 2]}]


def test_a_message_that_is_too_large_is_refused_where_it_is_encoded() -> None:
    with pytest.raises(PackageError, match="504"):
        OutPackage.encode("x" * 505, Reliability.UNORDERED, Peers.PLAYERS, TARGET)


def test_many_targets_do_not_wear_out_the_memory_of_known_ones() -> None:
    for number in range(5000):
        host = f"::ffff:10.1.{number >> 8}.{number & 255}"
        package = OutPackage(b"x", Reliability.UNORDERED, Peers.PLAYERS, (host, 1))
        assert package.target == (host[7:], 1)


@pytest.mark.parametrize("lifetime", [0.0, -1.0, float("nan")])
def test_a_lifetime_that_is_over_at_once_is_refused(lifetime: float) -> None:
    with pytest.raises(PackageError, match="a lifetime is a positive number of seconds"):
        OutPackage(b"x", Reliability.UNORDERED, Peers.PLAYERS, TARGET, lifetime=lifetime)


@pytest.mark.parametrize("eager", [0, 9, -1])
def test_too_few_and_too_many_copies_are_refused(eager: int) -> None:
    with pytest.raises(PackageError, match="copies from 1 to 8"):
        OutPackage(b"x", Reliability.UNORDERED, Peers.PLAYERS, TARGET, eager=eager)


@pytest.mark.parametrize("options", [{"eager": 2.0}, {"eager": "2"}, {"lifetime": "1"}, {"lifetime": True}])
def test_choices_of_a_wrong_type_are_refused_by_name(options: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=next(iter(options))):
        OutPackage(b"x", Reliability.UNORDERED, Peers.PLAYERS, TARGET, **options)


def test_an_unreliable_package_cannot_be_eager_because_each_copy_would_be_delivered() -> None:
    with pytest.raises(PackageError, match="once per copy"):
        OutPackage(b"x", Reliability.UNRELIABLE, Peers.PLAYERS, TARGET, eager=2)


def test_an_unreliable_package_has_no_lifetime_since_it_never_waits() -> None:
    with pytest.raises(PackageError, match="lifetime is for reliable ones"):
        OutPackage(b"x", Reliability.UNRELIABLE, Peers.PLAYERS, TARGET, lifetime=1.0)
