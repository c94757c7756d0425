"""The UDP socket of a stack: what comes in, sleeping, and the end."""

# pyright: reportPrivateUsage=false
# The reason: it puts another socket in.
from __future__ import annotations

import errno
import os
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import pytest

from packhorse.actors import transport as module
from packhorse.actors.offload import ANCILLARY
from packhorse.actors.transport import UdpTransport


@pytest.fixture(params=["native", "portable"])
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[UdpTransport]:
    """A transport, also as it is where the system has neither poll nor eventfd nor recvmsg_into."""
    if request.param == "portable":
        monkeypatch.delattr(select, "poll")
        monkeypatch.delattr(os, "eventfd", raising=False)
        monkeypatch.setattr(socket, "socket", Portable)
    with closing(UdpTransport("127.0.0.1", 0)) as made:
        yield made


@pytest.fixture
def stranger() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind(("127.0.0.1", 0))
        yield stranger


class Portable(socket.socket):
    """A socket that can do what sockets can do everywhere."""

    @property
    def recvmsg_into(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride] - it is missed, not called
        raise AttributeError

    def setsockopt(self, level: int, *args: Any) -> None:
        if level == socket.IPPROTO_UDP:
            raise OSError(errno.ENOPROTOOPT, "not here")
        super().setsockopt(level, *args)


def parked(transport: UdpTransport) -> threading.Thread:
    thread = threading.Thread(target=transport.park, args=(None,), daemon=True)
    thread.start()
    return thread


def finished(thread: threading.Thread) -> bool:
    thread.join(20)
    return not thread.is_alive()


def arrival(transport: UdpTransport) -> tuple[Any, int, bytes]:
    """Wait for what comes next."""
    while (arrived := transport.receive()) is None:
        transport.park(None)
    return arrived


# What comes in.


@pytest.mark.parametrize("datagram", [b"hello", b"", bytes(508), bytes(509), bytes(65_507)], ids=len)
def test_a_datagram_comes_as_it_is(transport: UdpTransport, stranger: socket.socket, datagram: bytes) -> None:
    stranger.sendto(datagram, transport.address)
    assert arrival(transport) == (stranger.getsockname(), len(datagram), datagram)


def test_what_was_received_stays_when_more_comes(transport: UdpTransport, stranger: socket.socket) -> None:
    stranger.sendto(b"first", transport.address)
    stranger.sendto(b"other", transport.address)
    assert [arrival(transport)[2], arrival(transport)[2]] == [b"first", b"other"]


def test_two_who_receive_at_a_time_get_each_what_is_theirs(
    transport: UdpTransport, stranger: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    receive, got = transport._receive, list[bytes]()

    def slowly(*args: Any) -> Any:
        received = receive(*args)
        monkeypatch.setattr(transport, "_receive", receive)
        got.append(arrival(transport)[2])  # another thread, while this one has not looked at what it has received
        return received

    monkeypatch.setattr(transport, "_receive", slowly)
    stranger.sendto(b"first", transport.address)
    stranger.sendto(b"other", transport.address)
    got.append(arrival(transport)[2])
    assert got == [b"other", b"first"]


@pytest.mark.parametrize("host", ["127.0.0.1", "::"])
def test_one_source_is_one_tuple(stranger: socket.socket, host: str) -> None:
    with closing(UdpTransport(host, 0)) as transport:
        for _ in range(2):
            stranger.sendto(b"x", ("127.0.0.1", transport.address[1]))
        first, second = arrival(transport)[0], arrival(transport)[0]
        assert first == stranger.getsockname()
        assert first is second


def test_forged_sources_and_many_targets_take_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REMEMBERED", 2)
    with closing(UdpTransport("::", 0)) as transport:
        others = [UdpTransport("127.0.0.1", 0) for _ in range(5)]
        for other in others:
            transport.send(other.address, [b"there"])
            source, _, _ = arrival(other)
            other.send(source, [b"back"])
            assert arrival(transport) == (other.address, 4, b"back")
            other.close()
        assert len(transport._sources) <= 2
        assert len(transport._mapped) <= 2


def test_mapped_addresses_are_ipv4_addresses_again() -> None:
    with closing(UdpTransport("::", 0)) as both, closing(UdpTransport("127.0.0.1", 0)) as four:
        both.send(("127.0.0.1", four.address[1]), [b"there"])
        assert arrival(four) == (("127.0.0.1", both.address[1]), 5, b"there")
        four.send(("127.0.0.1", both.address[1]), [b"back"])
        assert arrival(both) == (four.address, 4, b"back")


@pytest.mark.parametrize("flag", [socket.MSG_TRUNC, socket.MSG_CTRUNC], ids=["data", "ancillary"])
def test_what_was_cut_off_is_an_error(flag: int) -> None:
    with closing(UdpTransport("127.0.0.1", 0)) as transport:
        transport._receive = lambda *_: (4, [], flag, ("127.0.0.1", 9))
        with pytest.raises(OSError, match="cut off"):
            transport.receive()


def test_the_ancillary_room_holds_all_that_is_asked_for() -> None:
    assert socket.CMSG_SPACE(struct.calcsize("@i")) + socket.CMSG_SPACE(struct.calcsize("@I")) <= ANCILLARY


def test_what_finds_no_room_in_the_receive_buffer_is_counted(stranger: socket.socket) -> None:
    with closing(UdpTransport("127.0.0.1", 0)) as transport:
        transport._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        assert transport.overflowed == 0
        for _ in range(200):
            stranger.sendto(bytes(100), transport.address)
        arrival(transport)
        while transport.receive() is not None:
            pass
        # The system says it with the next thing it has room for.
        stranger.sendto(b"last", transport.address)
        assert arrival(transport)[2] == b"last"
        assert 0 < transport.overflowed < 200


# Sleeping.


def test_a_datagram_wakes_the_reader(transport: UdpTransport, stranger: socket.socket) -> None:
    assert transport.receive() is None
    assert not transport.ready()
    thread = parked(transport)
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


def test_parking_tells_whether_there_was_anything_already(transport: UdpTransport, stranger: socket.socket) -> None:
    assert transport.park(0.0)
    stranger.sendto(b"1", transport.address)
    while not transport.ready():
        transport.park(None)
    stranger.sendto(b"2", transport.address)
    assert transport.park(None) is False
    transport.unpark()
    assert transport.park(None) is False


def test_after_a_sleep_one_receive_is_thought_to_be_all(transport: UdpTransport, stranger: socket.socket) -> None:
    """So that the reader, after an answer, goes to sleep without having asked in vain; nothing is lost by that."""
    assert transport.park(0.0)
    stranger.sendto(b"1", transport.address)
    stranger.sendto(b"2", transport.address)
    assert transport.receive() is not None
    assert not transport.ready()
    assert transport.park(None) is False
    assert transport.ready()
    assert transport.receive() is not None
    assert transport.ready(), "without a sleep there may be more"
    assert transport.receive() is None
    assert not transport.ready()


# The end.


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


def test_who_wakes_too_late_does_not_write_to_a_descriptor_of_somebody_else(transport: UdpTransport) -> None:
    alarm = transport._alarm
    assert alarm is not None
    descriptor = alarm.fileno()
    transport.close()
    os.fstat(descriptor)  # still ours while somebody may be about to ring
    alarm.ring()
    del alarm
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_a_port_that_is_taken_leaves_no_descriptor(transport: UdpTransport) -> None:
    with pytest.raises(OSError, match="in use"):
        UdpTransport("127.0.0.1", transport.address[1])


def test_a_full_socket_that_cannot_be_waited_for_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the process has no descriptor left for a selector."""
    with closing(UdpTransport("127.0.0.1", 0)) as transport, monkeypatch.context() as patch:
        patch.setattr(transport, "_socket", SimpleNamespace(sendto=_raise(BlockingIOError())))
        patch.setattr(transport, "_wait_for_room", _raise(OSError(errno.EMFILE, "too many open files")))
        (error,) = transport.send(("127.0.0.1", 9), [b"x"])
        assert error.errno == errno.EMFILE


def _raise(error: Exception) -> Callable[..., None]:
    def raising(*_: object) -> None:
        raise error

    return raising


@pytest.mark.parametrize("host", ["..x", "x" * 64 + ".net"], ids=["empty label", "long label"])
def test_a_host_that_no_name_can_be_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match="a host is an address or a name of this machine, which"):
        UdpTransport(host, 0)
