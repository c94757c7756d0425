"""Some of the recordings again, over a real socket and in real time. Bytes are compared, not times."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

import packhorse
from packhorse import ConfirmPolicy
from packhorse.protocol.header import unpack_confirmation

from .recordings import STRANGE_HINT, content, expected, inputs, load, out_package, seen

if TYPE_CHECKING:
    from collections.abc import Generator

    from packhorse import Stack

PATIENCE = 20.0
"""Seconds after which a datagram that has not come is a failure."""


@pytest.fixture
def peer() -> Generator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        peer.settimeout(PATIENCE)
        yield peer


@pytest.fixture
def stack(request: pytest.FixtureRequest) -> Generator[Stack]:
    identity = STRANGE_HINT not in request.node.name
    with packhorse.startup(host="127.0.0.1", confirm=ConfirmPolicy.original(), identity=identity) as stack:
        yield stack
        stack.supervisor.proxy().close(0.0).get()


@pytest.mark.parametrize("name", ["headers", "send_3_unordered_confirmed"])
def test_a_real_peer_gets_the_recorded_datagrams_and_its_confirmation_is_understood(
    name: str, stack: Stack, peer: socket.socket
) -> None:
    recording = load(name)
    datagrams = [datagram.data for datagram in expected(recording).datagrams]
    for event in inputs(recording):
        if event.get("event") == "sent":
            stack.sender.send(out_package(event["spec"], peer.getsockname()))
    came: dict[bytes, None] = {}
    while len(came) < len(datagrams):
        read = seen(peer.recv(2048))
        if read is not None:
            came[read] = None  # on a slow machine one may come twice
    assert list(came) == datagrams
    for event in inputs(recording):
        if event.get("dir") == "peer->stack":
            peer.sendto(bytes.fromhex(event["hex"]), stack.address)
    stack.sender.flush(PATIENCE)
    assert stack.errors.drain() == []


@pytest.mark.parametrize("name", ["receive_3_unordered", "semiordered_mix", "too_many_skipped", "invalid_and_odd"])
def test_a_real_peer_gets_its_packages_delivered_and_confirmed_as_recorded(
    name: str, stack: Stack, peer: socket.socket
) -> None:
    recording = load(name)
    wanted = expected(recording)
    for event in inputs(recording):
        if event.get("dir") == "peer->stack":
            peer.sendto(bytes.fromhex(event["hex"]), stack.address)
    received = [content(stack.receiver.recv(PATIENCE)) for _ in wanted.received]
    assert received == wanted.received
    ids = [number for datagram in wanted.datagrams for number in unpack_confirmation(datagram.data)]
    confirmed: list[int] = []
    while len(confirmed) < len(ids):
        datagram = peer.recv(2048)
        assert datagram[:4] == wanted.datagrams[0].data[:4]
        confirmed += unpack_confirmation(datagram)
    assert confirmed == ids
