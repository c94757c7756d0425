"""Addresses in canonical form, and what cannot be a target."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packhorse.protocol import OutPackage, PackageError, Peers, Reliability
from packhorse.protocol.address import canonical, is_numeric
from packhorse.protocol.packages import normalized


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (("10.0.0.7", 8082), ("10.0.0.7", 8082)),
        (("::ffff:10.0.0.7", 8082), ("10.0.0.7", 8082)),
        (("::ffff:a00:7", 8082, 0, 0), ("10.0.0.7", 8082)),
        (("::1", 1), ("::1", 1, 0, 0)),
        (("0:0::0:1", 1), ("::1", 1, 0, 0)),
        (("2001:DB8::1", 65535, 7, 0), ("2001:db8::1", 65535, 0, 0)),
        (("fe80::1", 1, 7, 3), ("fe80::1", 1, 0, 3)),
        (("fe80::1%2", 1), ("fe80::1", 1, 0, 2)),
        (("fe80::1%2", 1, 0, 3), ("fe80::1", 1, 0, 2)),
        (("127.0.0.1", 1), ("127.0.0.1", 1)),
    ],
)
def test_a_target_gets_one_canonical_form(target: Any, expected: object) -> None:
    assert normalized(target) == expected
    assert OutPackage(b"x", Reliability.UNORDERED, Peers.PLAYERS, target).target == expected


@pytest.mark.parametrize("host", ["localhost", "example.org", "fe80::1%eth0", "10.0.0", "10.0.0.256"])
def test_what_is_no_numeric_address_is_left_to_be_resolved(host: str) -> None:
    assert not is_numeric(host)
    assert normalized((host, 80)) == (host, 80)


@given(st.ip_addresses(), st.integers(1, 65535), st.integers(0, 9))
def test_the_canonical_form_of_a_canonical_form_is_itself(host: Any, port: int, scope: int) -> None:
    once = canonical(str(host), port, scope)
    assert canonical(once[0], once[1], once[3] if len(once) == 4 else 0) == once
    assert len(once) == 2 or once[2] == 0


@pytest.mark.parametrize(
    ("target", "says"),
    [
        (("0.0.0.0", 80), "every address"),  # noqa: S104 - refused, not bound to
        (("::", 80), "every address"),
        (("::ffff:0.0.0.0", 80), "every address"),
        (("224.0.0.1", 80), "group"),
        (("255.255.255.255", 80), "group"),
        (("ff02::1", 80), "group"),
        (("10.0.0.7", 0), "1 to 65535, not 0"),
        (("10.0.0.7", 65536), "1 to 65535, not 65536"),
        (("10.0.0.7", -1), "1 to 65535, not -1"),
        (("example.org", 0), "1 to 65535, not 0"),
        (("10.0.0.77", True), "1 to 65535, not True"),
        (("10.0.0.77", "80"), "1 to 65535, not '80'"),
        (("10.0.0.77", 80.5), "1 to 65535, not 80.5"),
    ],
)
def test_what_names_no_single_host_and_port_is_refused(target: Any, says: str) -> None:
    with pytest.raises(PackageError, match=says):
        OutPackage(b"x", Reliability.UNORDERED, Peers.PLAYERS, target)


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("10.0.0.7:80", "tuple"),
        (list[Any](("10.0.0.7", 80)), "tuple"),
        (None, "tuple"),
        (("10.0.0.7",), "tuple"),
        (("10.0.0.7", 80, 0), "tuple"),
        ((b"10.0.0.7", 80), "host is a non-empty str"),
        (("", 80), "host is a non-empty str"),
        ((7, 80), "host is a non-empty str"),
        (("fe80::1", 80, 0, "eth0"), "scope is an int from 0, .* not 'eth0'"),
        (("fe80::1", 80, 0, -1), "scope is an int from 0, .* not -1"),
        (("fe80::1", 80, 0, list[Any]()), r"scope is an int from 0, .* not \[\]"),
    ],
)
def test_what_is_no_address_at_all_is_a_type_error(target: Any, says: str) -> None:
    with pytest.raises(TypeError, match=says):
        OutPackage(b"x", Reliability.UNORDERED, Peers.PLAYERS, target)
