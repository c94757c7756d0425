"""The wiring table is what the supervisor builds by, and it keeps to its own rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from packhorse import StackSupervisor
from packhorse.actors import wiring
from packhorse.actors.mailbox import Mailbox
from packhorse.testing import ManualClock, MemoryNetwork

if TYPE_CHECKING:
    from collections.abc import Iterator

    from packhorse.actors.assembly import NodeSpec


@pytest.fixture
def nodes() -> Iterator[dict[str, NodeSpec]]:
    clock = ManualClock()
    ref = StackSupervisor.start(clock=clock, transport=MemoryNetwork(clock).transport(("10.0.0.1", 1)))
    supervisor = ref._actor_weakref()
    assert supervisor is not None
    thread = ref.proxy().thread.get()
    yield supervisor._nodes
    ref.stop()
    thread.join(20)


def test_every_node_has_the_outlets_of_the_table(nodes: dict[str, NodeSpec]) -> None:
    built = {(name, target) for name, node in nodes.items() for target in node.station.outlets}
    assert built == {*wiring.CHANNELS, *wiring.STATE}
    for node in nodes.values():
        for target, mailbox in node.station.outlets.items():
            assert mailbox is nodes[target].station.mailbox


def test_every_node_is_held_back_by_the_feeds_of_the_table(nodes: dict[str, NodeSpec]) -> None:
    built = {
        (name, feed.name) for name, node in nodes.items() for feed in node.station.feeds if isinstance(feed, Mailbox)
    }
    assert built == set(wiring.HOLDS_BACK)
    assert len(nodes["ureceiver"].station.feeds) == 2


def test_the_nodes_are_those_of_the_table(nodes: dict[str, NodeSpec]) -> None:
    assert set(nodes) == set(wiring.NODES)
    for name, node in nodes.items():
        assert node.station.incarnation is not None
        assert type(node.station.incarnation).__name__.lower() == name
        assert node.station.incarnation.thread.name == name


def test_nodes_hold_each_other_back_in_no_circle() -> None:
    after: dict[str, set[str]] = {name: set() for name in wiring.NODES}
    for source, target in wiring.HOLDS_BACK:
        after[source].add(target)
    free: set[str] = set()
    while len(free) < len(after):
        newly = {name for name, targets in after.items() if name not in free and targets <= free}
        assert newly, f"a circle among {set(after) - free}"
        free |= newly


def test_every_node_is_stopped_by_the_user_or_by_another_that_ended() -> None:
    stopped = {"usender", "ureceiver"} | {target for _, target in wiring.CANCELS} | set(wiring.ENDS_AFTER)
    assert stopped == set(wiring.NODES)


def test_a_node_ends_before_those_it_feeds() -> None:
    """Else it would put what it has into a mailbox that nobody reads any more."""
    order: list[str] = []
    waits = {name: set(ENDS) for name, ENDS in wiring.ENDS_AFTER.items()}
    waits |= {target: {source} for source, target in wiring.CANCELS}
    while len(order) < len(wiring.NODES):
        order += [name for name in wiring.NODES if name not in order and waits.get(name, set()) <= set(order)]
    for source, target in wiring.HOLDS_BACK:
        if source != "sreceiver":  # it ends when nobody wants to know any more
            assert order.index(source) < order.index(target)
