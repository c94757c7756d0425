"""The UDP socket of a stack."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import pytest

from packhorse.actors.transport import UdpTransport

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def transport() -> Iterator[UdpTransport]:
    made = UdpTransport("127.0.0.1", 0)
    yield made
    made.close()


def parked(transport: UdpTransport) -> threading.Thread:
    thread = threading.Thread(target=transport.park, args=(None,), daemon=True)
    thread.start()
    return thread


def finished(thread: threading.Thread) -> bool:
    thread.join(20)
    return not thread.is_alive()


def test_a_datagram_wakes_the_reader(transport: UdpTransport) -> None:
    assert transport.receive() is None
    assert not transport.ready()
    thread = parked(transport)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.sendto(b"hello", transport.address)
        assert finished(thread)
        assert transport.ready()
        assert transport.receive() == (stranger.getsockname(), 5, b"hello")


def test_the_reader_can_be_woken_before_and_while_it_sleeps(transport: UdpTransport) -> None:
    transport.unpark()
    transport.unpark()
    transport.park(None)
    thread = parked(transport)
    transport.unpark()
    assert finished(thread)


def test_a_deadline_that_has_passed_does_not_sleep(transport: UdpTransport) -> None:
    transport.park(0.0)


def test_closing_wakes_a_reader_that_sleeps() -> None:
    """A reader that was woken but has not come to look yet must not sleep on, on descriptors that are gone."""
    for _ in range(200):
        transport = UdpTransport("127.0.0.1", 0)
        thread = parked(transport)
        transport.unpark()
        transport.close()
        assert finished(thread)


def test_waking_and_parking_after_the_end_is_harmless(transport: UdpTransport) -> None:
    transport.close()
    transport.unpark()
    transport.park(None)


def test_a_port_that_is_taken_leaves_no_descriptor(transport: UdpTransport) -> None:
    with pytest.raises(OSError, match="in use"):
        UdpTransport("127.0.0.1", transport.address[1])


def test_mapped_addresses_are_ipv4_addresses_again() -> None:
    both, four = UdpTransport("::", 0), UdpTransport("127.0.0.1", 0)
    both.send(("127.0.0.1", four.address[1]), [b"there"])
    while (arrived := four.receive()) is None:
        four.park(None)
    assert arrived == (("127.0.0.1", both.address[1]), 5, b"there")
    four.send(("127.0.0.1", both.address[1]), [b"back"])
    while (arrived := both.receive()) is None:
        both.park(None)
    assert arrived == (four.address, 4, b"back")
    both.close()
    four.close()
