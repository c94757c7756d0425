"""Many datagrams in one system call: what arrives is what plain sending brings, whatever peer and system can do."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from typing import Any, ClassVar

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from packhorse.actors import offload
from packhorse.actors.offload import MOST_BYTES, MOST_SEGMENTS, stretches
from packhorse.actors.transport import UdpTransport

SIZES = {
    "a lone one": ([100], 0),
    "a shorter last one": ([100] * 9 + [40], 1),
    "64": ([100] * 64, 1),
    "65": ([100] * 65, 1),
    "128": ([100] * 128, 2),
    "64 and a shorter one": ([100] * 64 + [99], 1),
    "one byte each": ([1] * 130, 3),
    "our longest": ([508] * 129, 2),
    "65 000 bytes": ([1000] * 65 + [7], 2),
    "more than 65 000 bytes": ([1020] * 64, 1),
    "a shorter one in between": ([100] * 3 + [40] + [100] * 3, 2),
    "growing": (list(range(20, 40)), 0),
    "shrinking": (list(range(40, 20, -1)), 10),
    "mixed": ([64, 64, 20, 108, 108, 64, 64, 64, 20, 20, 508, 1, 1], 4),
    "empty ones": ([0, 0, 5, 5, 0, 3, 0], 1),
}
"""Sizes of datagrams, and how many system calls with several datagrams they take."""

PATHS = {
    "IPv4": ("127.0.0.1", socket.AF_INET, "127.0.0.1"),
    "IPv6": ("::1", socket.AF_INET6, "::1"),
    "IPv4 over both": ("::", socket.AF_INET, "127.0.0.1"),
    "IPv6 over both": ("::", socket.AF_INET6, "::1"),
}
"""Where the sender is bound, and the receiver's family and host."""


def datagrams_of(sizes: list[int]) -> list[bytes]:
    """Make datagrams of these sizes that can be told apart."""
    return [bytes([number % 251]) * size for number, size in enumerate(sizes)]


def plain_receiver(family: socket.AddressFamily = socket.AF_INET, host: str = "127.0.0.1") -> socket.socket:
    """Open a socket that knows nothing of offload."""
    receiver = socket.socket(family, socket.SOCK_DGRAM)
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
    receiver.settimeout(20)
    receiver.bind((host, 0))
    return receiver


def segments(sender: UdpTransport) -> bool:
    """Whether this machine can do it; the rules hold either way."""
    return sender._segmentation is not None and sender._segmentation.works


def flat(receiver: UdpTransport, count: int) -> tuple[list[bytes], set[Any]]:
    """Receive so many datagrams; return them one by one, and their sources."""
    arrived: list[bytes] = []
    sources: set[Any] = set()
    while len(arrived) < count:
        got = receiver.receive()
        if got is None:
            receiver.park(None)
            continue
        source, size, buffer = got
        sources.add(source)
        arrived += [buffer[start : start + size] for start in range(0, max(1, len(buffer)), max(1, size))]
    return arrived, sources


# On the wire.


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize(("sizes", "calls"), SIZES.values(), ids=SIZES)
def test_a_peer_without_offload_sees_ordinary_datagrams(
    sizes: list[int], calls: int, path: tuple[str, socket.AddressFamily, str]
) -> None:
    bound, family, host = path
    datagrams = datagrams_of(sizes)
    with closing(UdpTransport(bound, 0)) as sender, plain_receiver(family, host) as receiver:
        where = receiver.getsockname()
        assert not sender.send(where if family == socket.AF_INET else (*where[:2], 0, 0), datagrams)
        assert [receiver.recv(65_536) for _ in datagrams] == datagrams
        receiver.setblocking(False)
        with pytest.raises(BlockingIOError):
            receiver.recv(65_536)
        assert sender.segmented == (calls if segments(sender) else 0)


def test_targets_are_not_mixed_up() -> None:
    with closing(UdpTransport("127.0.0.1", 0)) as sender, plain_receiver() as one, plain_receiver() as other:
        for number in range(10):
            sender.send(one.getsockname(), [b"one%d" % number] * 3)
            sender.send(other.getsockname(), [b"other%d" % number] * 4)
        assert [one.recv(100) for _ in range(30)] == [b"one%d" % number for number in range(10) for _ in range(3)]
        assert [other.recv(100) for _ in range(40)] == [b"other%d" % number for number in range(10) for _ in range(4)]


@pytest.mark.parametrize("bound", ["127.0.0.1", "::"])
@pytest.mark.parametrize("coalescing", [True, False], ids=["coalescing", "plain receiver"])
@pytest.mark.parametrize("segmenting", [True, False], ids=["segmenting", "plain sender"])
@pytest.mark.parametrize("sizes", [sizes for sizes, _ in SIZES.values()], ids=SIZES)
def test_both_ends_agree_whichever_of_them_use_offload(
    sizes: list[int], *, segmenting: bool, coalescing: bool, bound: str
) -> None:
    datagrams = datagrams_of(sizes)
    with (
        closing(UdpTransport(bound, 0, offload=segmenting)) as sender,
        closing(UdpTransport(bound, 0, offload=coalescing)) as receiver,
    ):
        assert not sender.send(("127.0.0.1", receiver.address[1]), datagrams)
        assert flat(receiver, len(datagrams)) == (datagrams, {("127.0.0.1", sender.address[1])})
        assert segmenting or not sender.segmented


def test_one_receive_brings_what_one_call_sent() -> None:
    with closing(UdpTransport("127.0.0.1", 0)) as sender, closing(UdpTransport("127.0.0.1", 0)) as receiver:
        datagrams = datagrams_of([68] * 63 + [20])
        sender.send(receiver.address, datagrams)
        receiver.park(None)
        first = receiver.receive()
        whole = (sender.address, 68, b"".join(datagrams))
        assert first == (whole if segments(sender) else (sender.address, 68, datagrams[0]))


# How datagrams are put together.


@given(st.lists(st.sampled_from([0, 1, 1, 1, 5, 5, 5, 508, 1020, 1020, 33_000, MOST_BYTES, 65_001]), max_size=200))
@example([1] * MOST_SEGMENTS * 2)
@example([65_001, 65_001])
@example([0, 0, 0])
@example([0, 5, 5])
def test_stretches_keep_to_what_one_call_can_send(sizes: list[int]) -> None:
    datagrams = [bytes(size) for size in sizes]
    runs = list(stretches(datagrams))
    assert [datagram for _, run in runs for datagram in run] == datagrams
    for size, run in runs:
        assert len(run[0]) == size
        assert {len(datagram) for datagram in run[:-1]} <= {size}
        assert len(run) == 1 or 0 < len(run[-1]) <= size
        assert len(run) == 1 or (len(run) <= MOST_SEGMENTS and sum(map(len, run)) <= MOST_BYTES)
    for (size, run), (_, following) in pairwise(runs):
        full = len(run) == MOST_SEGMENTS or (len(run) + 1) * size > MOST_BYTES
        assert full or len(run[-1]) < size or not 0 < len(following[0]) <= size, "one call could have sent more"


# When the system refuses.


class Faulty(socket.socket):
    """A socket that refuses what the test tells it to."""

    segmented: ClassVar[list[int]] = []
    """Errors for the next calls with several datagrams."""
    plain: ClassVar[dict[bytes, int]] = {}
    """Errors for datagrams that are sent alone."""
    options: ClassVar[int] = 0
    """The error for UDP's options."""
    calls: ClassVar[int] = 0

    def sendmsg(self, *args: Any) -> int:
        Faulty.calls += 1
        if self.segmented:
            code = self.segmented.pop(0)
            raise BlockingIOError(code, "full") if code == errno.EAGAIN else OSError(code, "refused")
        return super().sendmsg(*args)

    def sendto(self, data: bytes, *args: Any) -> int:  # type: ignore[override] # same
        if data in self.plain:
            raise OSError(self.plain[data], "refused")
        return super().sendto(data, *args)

    def setsockopt(self, level: int, *args: Any) -> None:
        if self.options and level == socket.IPPROTO_UDP:
            raise OSError(self.options, "refused")
        super().setsockopt(level, *args)


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> type[Faulty]:
    monkeypatch.setattr(socket, "socket", Faulty)
    for name, value in (("segmented", list[int]()), ("plain", dict[bytes, int]()), ("options", 0), ("calls", 0)):
        monkeypatch.setattr(Faulty, name, value)
    return Faulty


@pytest.fixture
def receiver() -> Iterator[socket.socket]:
    with plain_receiver() as receiver:
        yield receiver


@pytest.fixture
def sender(faulty: type[Faulty]) -> Iterator[UdpTransport]:
    del faulty
    with closing(UdpTransport("127.0.0.1", 0)) as sender:
        yield sender


THREE = [b"a", b"b", b"c"]


def arrives(receiver: socket.socket, datagrams: list[bytes]) -> bool:
    return [receiver.recv(100) for _ in datagrams] == datagrams


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EMSGSIZE])
def test_a_refused_call_is_done_plainly_and_after_three_no_more_are_tried(
    sender: UdpTransport, faulty: type[Faulty], receiver: socket.socket, code: int
) -> None:
    faulty.segmented += [code] * 3
    for tried in (1, 2, 3, 3, 3):
        assert not sender.send(receiver.getsockname(), THREE)
        assert arrives(receiver, THREE)
        assert faulty.calls == tried
    assert sender.segmented == 0


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOPROTOOPT])
def test_a_system_that_cannot_segment_is_not_asked_again(
    sender: UdpTransport, faulty: type[Faulty], receiver: socket.socket, code: int
) -> None:
    faulty.segmented.append(code)
    for _ in range(3):
        assert not sender.send(receiver.getsockname(), THREE * 30)
        assert arrives(receiver, THREE * 30)
    assert faulty.calls == 1


def test_other_refusals_say_nothing_about_segmenting(
    sender: UdpTransport, faulty: type[Faulty], receiver: socket.socket
) -> None:
    faulty.segmented += [errno.ENOBUFS] * 9
    for _ in range(9):
        assert not sender.send(receiver.getsockname(), THREE)
        assert arrives(receiver, THREE)
    assert faulty.calls == 9


def test_what_cannot_be_sent_plainly_either_says_nothing_about_segmenting(sender: UdpTransport) -> None:
    for _ in range(5):
        refused = sender.send(("127.0.0.1", 0), THREE)
        assert [error.errno for error in refused] == [errno.EINVAL] * 3
    assert segments(sender)


def test_each_refused_datagram_is_reported_and_the_others_are_sent(
    sender: UdpTransport, faulty: type[Faulty], receiver: socket.socket
) -> None:
    faulty.plain.update({b"b": errno.EPERM, b"d": errno.EMSGSIZE})
    faulty.segmented.append(errno.EINVAL)
    refused = sender.send(receiver.getsockname(), [*THREE, b"d", b"longer", b"longer"])
    assert [error.errno for error in refused] == [errno.EPERM, errno.EMSGSIZE]
    assert arrives(receiver, [b"a", b"c", b"longer", b"longer"])
    assert sender.segmented == 1, "the second run went as one"


def test_a_full_socket_is_waited_for(sender: UdpTransport, faulty: type[Faulty], receiver: socket.socket) -> None:
    faulty.segmented += [errno.EAGAIN, errno.EAGAIN]
    assert not sender.send(receiver.getsockname(), THREE)
    assert arrives(receiver, THREE)
    assert faulty.calls == 3


def test_a_system_without_the_options_sends_and_receives_plainly(faulty: type[Faulty], receiver: socket.socket) -> None:
    faulty.options = errno.ENOPROTOOPT
    with closing(UdpTransport("127.0.0.1", 0)) as sender:
        assert not sender.send(receiver.getsockname(), THREE)
        assert arrives(receiver, THREE)
    assert faulty.calls == 0


@pytest.mark.parametrize("without", ["linux", "offload"])
def test_where_offload_is_off_the_options_are_not_touched(
    faulty: type[Faulty], receiver: socket.socket, monkeypatch: pytest.MonkeyPatch, without: str
) -> None:
    touched: list[int] = []

    def accepts(_: socket.socket, option: int, *__: int, level: int = socket.IPPROTO_UDP) -> bool:
        touched.append(option if level == socket.IPPROTO_UDP else 0)
        return True

    monkeypatch.setattr(offload, "_accepts", accepts)
    monkeypatch.setattr(offload, "_LINUX", without != "linux")
    with closing(UdpTransport("127.0.0.1", 0, offload=without != "offload")) as sender:
        assert not sender.send(receiver.getsockname(), THREE)
        assert arrives(receiver, THREE)
    assert not any(touched)
    assert faulty.calls == 0
