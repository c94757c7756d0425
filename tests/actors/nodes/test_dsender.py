"""dsender: what leaves, and what is refused."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from packhorse.actors.dsender import DSender
from packhorse.protocol.messages import Datagrams, Left

from .one_node import HERE, THERE, Bench, Wire

if TYPE_CHECKING:
    from collections.abc import Callable


def test_dsender_sends_in_order(bench: Callable[..., Bench], wire: Wire) -> None:
    node = bench(DSender, transport=wire)
    node.put(Datagrams(HERE, [b"1", b"2"]), Datagrams(THERE, [b"3"]))
    assert wire.sent == [(HERE, b"1"), (HERE, b"2"), (THERE, b"3")]
    assert node.counters() == {"datagrams": 3}


@pytest.mark.parametrize("code", ["EPERM", "EACCES", "EINVAL", "EMSGSIZE", "ENETUNREACH"])
def test_a_datagram_the_system_refuses_is_counted_and_stops_nothing(
    bench: Callable[..., Bench], wire: Wire, code: str
) -> None:
    node = bench(DSender, transport=wire)
    wire.refuse[b"2"] = getattr(errno, code)
    node.put(Datagrams(HERE, [b"1", b"2", b"3"]), Datagrams(THERE, [b"2", b"4"]))
    assert [what for _, what in wire.sent] == [b"1", b"3", b"4"]
    assert node.counters() == {"datagrams": 3, "refused": 2, f"refused.{code}": 2}
    assert node.deaths == []


def test_dsender_tells_resender_what_leaves_before_it_does(bench: Callable[..., Bench], wire: Wire) -> None:
    made = bench(DSender, transport=wire)
    made.put(Datagrams(THERE, [b"1"], mark=7), Datagrams(THERE, [b"2"]))
    (left,) = made.out("resender")
    assert left == Left(7, made.clock.now())


def test_a_cancelled_dsender_sends_what_it_holds(bench: Callable[..., Bench], wire: Wire) -> None:
    node = bench(DSender, transport=wire)
    node.mailbox.put_all([Datagrams(HERE, [b"%d" % number]) for number in range(600)])
    node.cancel()
    assert node.ended()
    assert len(wire.sent) == 600
