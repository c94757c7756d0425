"""Many datagrams in one system call: Linux's UDP_SEGMENT for sending and UDP_GRO for receiving.

The rules:

- one call sends datagrams of one size to one target; only the last may be shorter. On the wire they are ordinary
  datagrams, each of them at most as long as any other (508 bytes), so a peer that knows nothing of this notices
  nothing;
- the kernel ignores where buffers begin and end and cuts by size alone, so sizes are sorted out here (`stretches`);
- at most 64 datagrams and 65 000 bytes go in one call: with more than that the receiving side falls apart again;
- a call that fails with EINVAL or EMSGSIZE is done again plainly, one datagram at a time. When that has worked three
  times, or when the system says EIO or ENOPROTOOPT, it cannot segment, and all goes plainly from then on. (A forged
  source port 0 gives EINVAL too, but then the plain call fails as well.)
"""

from __future__ import annotations

import errno
import socket
import struct
import sys
from collections.abc import Iterator
from itertools import groupby
from typing import Final

__all__ = ["ANCILLARY", "LONGEST", "Segmentation", "accept_coalesced", "count_overflow", "segment_size", "stretches"]

_LINUX: Final = sys.platform == "linux"
_SOL_UDP: Final = 17
_UDP_SEGMENT: Final = 103
_UDP_GRO: Final = 104
_SO_RXQ_OVFL: Final = 40
"""Numbers of linux/udp.h and asm-generic/socket.h, which Python's socket module does not name."""

MOST_SEGMENTS: Final = 64
MOST_BYTES: Final = 65_000
LONGEST: Final = 65_536
"""Bytes that a receive may bring; with less room the rest of them would be lost."""
NEEDLESS: Final = 3
"""Failed calls whose plain repetition worked until segmentation is taken for broken."""

ANCILLARY: Final = 128
"""Bytes of room for what the system says beside the data."""


def stretches(datagrams: list[bytes]) -> Iterator[tuple[int, list[bytes]]]:
    """Split datagrams into what one call can send, in order: (size, datagrams), only the last of which is shorter."""
    alike = [(size, len(list(same))) for size, same in groupby(map(len, datagrams))]
    alike.append((0, 0))
    at = taken = 0
    for place, (size, count) in enumerate(alike):
        left, taken = count - taken, 0
        most = 1 if not size else max(1, min(MOST_SEGMENTS, MOST_BYTES // size))  # no call can say "several empty ones"
        while left:
            run = min(left, most)
            left -= run
            if run < most and 0 < alike[place + 1][0] < size:
                run, taken = run + 1, 1
            yield size, datagrams[at : at + run]
            at += run


class Segmentation:
    """Whether a socket can send many datagrams in one call, as far as is known.

    Attributes:
        works: try it.
    """

    def __init__(self, endpoint: socket.socket) -> None:
        self.works = _LINUX and _accepts(endpoint, _UDP_SEGMENT, 0)
        self._needless = 0
        self._ancillary: dict[int, list[tuple[int, int, bytes]]] = {}

    def ancillary(self, size: int) -> list[tuple[int, int, bytes]]:
        """Return what tells the system to cut the data into datagrams of this size."""
        known = self._ancillary.get(size)
        if known is None:
            known = self._ancillary[size] = [(_SOL_UDP, _UDP_SEGMENT, struct.pack("@H", size))]
        return known

    def failed(self, error: OSError, *, plainly: bool) -> None:
        """Note that a call failed, and whether the same datagrams could be sent plainly."""
        if error.errno in (errno.EIO, errno.ENOPROTOOPT):
            self.works = False
        elif plainly and error.errno in (errno.EINVAL, errno.EMSGSIZE):
            self._needless += 1
            self.works = self._needless < NEEDLESS


def accept_coalesced(endpoint: socket.socket) -> bool:
    """Let one receive bring many datagrams, if the system can; return whether it can."""
    return _LINUX and _accepts(endpoint, _UDP_GRO, 1)


def count_overflow(endpoint: socket.socket) -> None:
    """Have every receive say how much was lost because the receive buffer was full, if the system can."""
    if _LINUX:
        _accepts(endpoint, _SO_RXQ_OVFL, 1, level=socket.SOL_SOCKET)


def segment_size(ancillary: list[tuple[int, int, bytes]]) -> tuple[int, int | None]:
    """Read what a receive said beside its data: the size of its datagrams (0: there is one), and the overflow count."""
    size, overflow = 0, None
    for level, kind, data in ancillary:
        if level == _SOL_UDP and kind == _UDP_GRO:
            (size,) = struct.unpack_from("@i", data)
        elif level == socket.SOL_SOCKET and kind == _SO_RXQ_OVFL:
            (overflow,) = struct.unpack_from("@I", data)
    return size, overflow


def _accepts(endpoint: socket.socket, option: int, value: int, *, level: int = _SOL_UDP) -> bool:
    try:
        endpoint.setsockopt(level, option, value)
    except OSError:
        return False
    return True
