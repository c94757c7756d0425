"""What the tests of the protocol's parts have in common."""

from __future__ import annotations

from packhorse.protocol import OutPackage, Peers, Reliability
from packhorse.protocol.address import Address
from packhorse.protocol.header import pack_header

A = ("10.0.0.1", 1)
B = ("10.0.0.2", 2)

UNRELIABLE, UNORDERED, SEMI_ORDERED = Reliability


def package(data: bytes = b"x", reliability: Reliability = UNORDERED, target: Address = A) -> OutPackage:
    return OutPackage(data, reliability, Peers.PLAYERS, target)


def datagram(number: int, data: bytes = b"x", reliability: Reliability = UNORDERED) -> bytes:
    return pack_header(reliability, Peers.PLAYERS, number) + data
