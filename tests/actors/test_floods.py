"""Floods at dreceiver: what it judges at once, and how much it lets wait for those behind it."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any, cast

import pytest

from packhorse.actors.dreceiver import ROOM, DReceiver
from packhorse.actors.mailbox import Mailbox
from packhorse.protocol import Reliability
from packhorse.protocol.header import MAX_CONFIRMED, MAX_DATAGRAM, pack_confirmation
from packhorse.testing import ManualClock

THERE = ("10.0.0.2", 2)
LARGEST = 65507
"""Bytes that one receive can bring."""


class Alone(DReceiver):
    """A dreceiver without thread and socket, whose neighbours do nothing."""

    def __init__(self) -> None:  # pyright: ignore[reportMissingSuperCall]
        self.sreceiver, self.ureceiver = Mailbox("sreceiver", ManualClock()), Mailbox("ureceiver", ManualClock())
        self.said = 0
        self._sreceiver, self._ureceiver = self.sreceiver, self.ureceiver
        self._packages = []
        self._controls = []
        self._listened = []
        self._counters = Counter[str]()
        self._transport = cast("Any", SimpleNamespace(overflowed=0))
        self._inbox = cast("Any", SimpleNamespace(slept=False))
        self._logger = cast("Any", SimpleNamespace(debug=self._say))

    def _say(self, event: str, **values: object) -> None:
        del event, values
        self.said += 1

    def arrive(self, size: int, buffer: bytes) -> None:
        """Take what one receive brought."""
        self._classify(THERE, size, buffer, 1.0)
        self._emit()

    def counters(self) -> dict[str, int]:
        return {name: count for name, count in self._counters.items() if count}


def waiting(mailbox: Mailbox) -> tuple[int, int]:
    """Return how many datagrams wait in a mailbox, and their bytes."""
    items = mailbox.waiting()
    return sum(item.count for item in items), sum(len(item.buffer) for item in items)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_segments_too_small_for_a_header_are_dropped_in_one_go(size: int) -> None:
    node = Alone()
    node.arrive(size, b"\x20" * LARGEST)
    count = -(-LARGEST // size)
    assert node.counters() == {"dropped": count, "dropped.invalid": count}
    assert node.said == 1
    assert waiting(node.ureceiver) == (0, 0)


def test_a_flood_of_the_smallest_packages_waits_up_to_the_limit() -> None:
    node = Alone()
    run = bytes([Reliability.UNORDERED, 0, 0, 0]) * 64
    for _ in range(1000):
        node.arrive(4, run)
    assert waiting(node.ureceiver) == (ROOM, ROOM * 4)
    assert node.counters() == {"datagrams": 64_000, "dropped": 64_000 - ROOM, "dropped.no_room": 64_000 - ROOM}


def test_a_receive_of_more_packages_than_may_wait_is_dropped_whole() -> None:
    node = Alone()
    node.arrive(4, bytes([Reliability.UNRELIABLE, 0, 0, 0]) * (ROOM + 1))
    assert waiting(node.ureceiver) == (0, 0)
    assert node.counters()["dropped.no_room"] == ROOM + 1


@pytest.mark.parametrize("together", [1, 2, 64])
def test_a_flood_of_full_control_datagrams_waits_up_to_the_limit(together: int) -> None:
    node = Alone()
    one = pack_confirmation(list(range(MAX_CONFIRMED)))
    assert len(one) == MAX_DATAGRAM
    for _ in range(2 * ROOM // together):
        node.arrive(len(one), one * together)
    assert waiting(node.sreceiver)[0] == ROOM
    assert node.counters() == {"datagrams": 2 * ROOM, "dropped": ROOM, "dropped.no_room": ROOM}


def test_control_datagrams_in_receives_of_any_size_take_a_few_megabytes() -> None:
    node = Alone()
    one = pack_confirmation(list(range(MAX_CONFIRMED)))
    for together in range(64, 0, -1):
        for _ in range(ROOM // together):
            node.arrive(len(one), one * together)
    datagrams, size = waiting(node.sreceiver)
    assert datagrams < 6 * ROOM
    assert size < 12_000_000
