"""The sending half, first part: packages that are too old to be sent."""

# pyright: reportPrivateUsage=false
# The reason: it looks into the tables to see that they stay small.
from __future__ import annotations

import pytest

from packhorse.protocol import FailureReason, OutPackage, Peers
from packhorse.protocol.address import Address
from packhorse.protocol.messages import Failed, Flush, Grant, Sent, Unknown
from packhorse.protocol.numbering import Numbering

from .helpers import UNORDERED, A, B, datagram

PLENTY = 1 << 30
"""Bytes; more than any test sends."""


def _mortal(data: bytes, lifetime: float | None, target: tuple[str, int] = A) -> OutPackage:
    return OutPackage(data, UNORDERED, Peers.PLAYERS, target, lifetime=lifetime)


def _expired(numbering: Numbering) -> list[tuple[Address, list[bytes]]]:
    """Take the reports."""
    assert all(failure.reason is FailureReason.EXPIRED for failure in numbering.failures)
    expired = [(failure.target, [gone.data for gone in failure.unconfirmed]) for failure in numbering.failures]
    numbering.failures.clear()
    return expired


def test_a_package_without_an_id_is_dropped_and_reported_when_its_lifetime_has_passed() -> None:
    numbering = Numbering(window=1)
    for data, lifetime in ((b"sent", 0.5), (b"long", 2.0), (b"short", 0.5), (b"for ever", None)):
        numbering.send(_mortal(data, lifetime), 1.0)
    numbering.released.clear()
    assert numbering.deadline() == 1.5
    numbering.tick(1.499)
    assert _expired(numbering) == []
    numbering.tick(1.5)
    assert _expired(numbering) == [(A, [b"short"])], "what has an id goes the whole way"
    assert numbering.released == {A: 1}
    assert numbering.waiting == 2
    while (deadline := numbering.deadline()) is not None and deadline <= 3.0:
        numbering.tick(deadline)
    assert _expired(numbering) == [(A, [b"long"])]
    numbering.granted(Grant(A, 1, 10, PLENTY), 100.0)
    assert numbering.waiting == 0
    assert numbering.to_dsender[-1].datagrams[-1] == datagram(1, b"for ever"), "what was dropped has taken no id"


def test_a_package_whose_time_has_passed_gets_no_id_though_nobody_looked_yet() -> None:
    numbering = Numbering(window=1)
    for data, lifetime in ((b"sent", None), (b"gone", 0.5), (b"next", None)):
        numbering.send(_mortal(data, lifetime), 1.0)
    numbering.to_resender.clear()
    numbering.granted(Grant(A, 1, 10, PLENTY), 1.5)
    assert _expired(numbering) == [(A, [b"gone"])]
    assert numbering.to_resender == [Sent(A, 1, 1, [datagram(1, b"next")], 8, 1.5, mark=2)]


def test_a_flush_does_not_wait_for_what_expired() -> None:
    numbering = Numbering(window=1)
    for data, lifetime in ((b"sent", None), (b"gone", 0.5)):
        numbering.send(_mortal(data, lifetime), 1.0)
    numbering.flush("token")
    assert not any(isinstance(message, Flush) for message in numbering.to_resender)
    numbering.tick(1.5)
    assert numbering.to_resender[-1] == Flush({A: (1, 1)}, "token")


def test_each_target_has_its_own_lifetimes() -> None:
    numbering = Numbering(window=1)
    for target in (A, B):
        numbering.send(_mortal(b"sent", None, target), 1.0)
    numbering.send(_mortal(b"a", 1.0, A), 1.0)
    numbering.send(_mortal(b"b", 0.5, B), 1.0)
    numbering.tick(1.5)
    assert _expired(numbering) == [(B, [b"b"])]
    numbering.tick(2.0)
    assert _expired(numbering) == [(A, [b"a"])]


def test_what_was_given_up_with_its_peer_does_not_expire_as_well() -> None:
    numbering = Numbering(window=1)
    for data in (b"sent", b"waits"):
        numbering.send(_mortal(data, 0.5), 1.0)
    numbering.failed(Failed(A, 1))
    numbering.tick(1.5)
    assert _expired(numbering) == []
    numbering.forget(A)
    numbering.tick(10.0)
    assert numbering.deadline() is None


@pytest.mark.parametrize("interval", [0.01, 0.2])
def test_looking_at_lifetimes_does_not_pile_up(interval: float) -> None:
    numbering = Numbering(window=1)
    numbering.send(_mortal(b"sent", None), 1.0)
    numbering.send(_mortal(b"waits", 100_000.0), 1.0)
    for number in range(3000):
        now = 1.0 + number * interval
        numbering.tick(now)
        numbering.send(_mortal(b"waits", 0.1), now)
    assert len(numbering._expiries._heap) < 20
    assert numbering.waiting < 20


def test_what_waits_for_a_forgotten_peer_expires_in_its_new_numbering_too() -> None:
    numbering = Numbering(window=1)
    numbering.send(_mortal(b"sent", None), 1.0)
    numbering.failed(Failed(A, 1))
    for lifetime in (None, 0.5, 0.2):
        numbering.send(_mortal(b"waits", lifetime), 2.0)
    numbering.unknown(Unknown(A, 2, 1), 2.1)
    assert numbering.deadline() == 2.2
    numbering.tick(2.2)
    assert numbering.deadline() == 2.5
    numbering.tick(2.5)
    assert _expired(numbering) == [(A, [b"waits"]), (A, [b"waits"])]
    assert numbering.deadline() is None
