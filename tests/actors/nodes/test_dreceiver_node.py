"""dreceiver: what goes where, and what is dropped."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

import pytest

from packhorse.actors import dreceiver
from packhorse.actors.dreceiver import DReceiver
from packhorse.protocol.header import pack_confirmation
from packhorse.testing import ManualClock

from .one_node import HERE, THERE, Bench, Wire, datagram, received

if TYPE_CHECKING:
    from collections.abc import Callable


def test_dreceiver_tells_packages_from_control_datagrams(
    bench: Callable[..., Bench], wire: Wire, clock: ManualClock
) -> None:
    node = bench(DReceiver, transport=wire)
    wire.arrive((THERE, datagram(1)), (THERE, pack_confirmation([7])), (HERE, datagram(2)))
    clock.settle()
    assert [(one.source, one.buffer) for one in node.out("ureceiver")] == [(THERE, datagram(1)), (HERE, datagram(2))]
    assert [(one.source, one.buffer) for one in node.out("sreceiver")] == [(THERE, pack_confirmation([7]))]
    assert node.counters() == {"datagrams": 3}


@pytest.mark.parametrize(
    ("source", "bad", "trigger"),
    [
        (THERE, b"", "invalid"),
        (THERE, b"\x20\x00\x00", "invalid"),
        (THERE, datagram(0, data=bytes(505)), "invalid"),
        (THERE, b"\x60\x00\x00\x01x", "invalid"),
        (THERE, b"\x70\x00\x00\x01x", "invalid"),
        (THERE, b"\x83\x00\x00\x00\x00\x00\x01", "invalid"),
        (THERE, b"\xff" * 20, "invalid"),
        (("10.0.0.2", 0), datagram(0), "port_zero"),
        (("10.0.0.2", 0), pack_confirmation([0]), "port_zero"),
    ],
    ids=[
        "empty",
        "short",
        "oversized",
        "reserved",
        "reserved-server",
        "control-bits",
        "ones",
        "port0",
        "port0-control",
    ],
)
def test_dreceiver_drops_and_counts_what_is_no_datagram_of_ours(  # noqa: PLR0917 - fixtures
    bench: Callable[..., Bench], wire: Wire, clock: ManualClock, source: Any, bad: bytes, trigger: str
) -> None:
    node = bench(DReceiver, transport=wire)
    wire.arrive((source, bad), (THERE, datagram(5)))
    clock.settle()
    assert [one.buffer for one in node.out("ureceiver")] == [datagram(5)]
    assert node.out("sreceiver") == []
    assert node.counters() == {"datagrams": 1, "dropped": 1, f"dropped.{trigger}": 1}


def test_the_largest_datagram_and_an_empty_package_are_accepted(
    bench: Callable[..., Bench], wire: Wire, clock: ManualClock
) -> None:
    node = bench(DReceiver, transport=wire)
    wire.arrive((THERE, datagram(0, data=bytes(504))), (THERE, datagram(1, data=b"")))
    clock.settle()
    assert len(node.out("ureceiver")) == 2


def test_dreceiver_survives_what_the_system_reports(
    bench: Callable[..., Bench], wire: Wire, clock: ManualClock
) -> None:
    node = bench(DReceiver, transport=wire)
    wire.arrive(OSError(errno.ECONNREFUSED, "refused"), (THERE, datagram(0)))
    clock.settle()
    assert len(node.out("ureceiver")) == 1
    assert node.counters()["dropped.receive_failed"] == 1


def test_dreceiver_drops_packages_but_no_control_datagrams_when_ureceiver_is_far_behind(
    bench: Callable[..., Bench], wire: Wire, clock: ManualClock
) -> None:
    node = bench(DReceiver, transport=wire)
    room = dreceiver.ROOM
    node.outlets["ureceiver"].put(received(*[datagram(0)] * (room - 1)))
    node.outlets["ureceiver"].weight_put += room - 1
    wire.arrive((THERE, datagram(1)), (THERE, datagram(2)), (THERE, pack_confirmation([1])))
    clock.settle()
    assert sum(one.count for one in node.out("ureceiver")) == room
    assert len(node.outlets["sreceiver"]) == 1
    assert node.counters()["dropped.no_room"] == 1


def test_a_stop_reaches_dreceiver_while_it_waits_for_the_socket(bench: Callable[..., Bench], wire: Wire) -> None:
    node = bench(DReceiver, transport=wire)
    node.cancel()
    assert node.ended()
