"""The drawings, the tables in `wiring`, and what the supervisor really wires are the same."""

# What is really wired can only be seen inside.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

import packhorse
from packhorse.actors import wiring
from packhorse.actors.ends import ErrorEnd, PackageEnd
from packhorse.actors.mailbox import Mailbox
from packhorse.testing import ManualClock, MemoryNetwork

if TYPE_CHECKING:
    from collections.abc import Iterator

    from packhorse.actors.handles import StackCore
    from packhorse.actors.node import Node, Station

ROOT = Path(__file__).parents[2]
DIAGRAMS = ROOT / "diagrams"
STOP = re.compile(r"supervisor-\)(\w+): stop, (.*) (?:has|have) ended")
ENDED = re.compile(r"(\w+)--\)supervisor: ended")


def arrows(drawing: str, pattern: str) -> list[tuple[str, str]]:
    """Read the arrows of one kind out of a flowchart, without its legend."""
    body = drawing.partition("subgraph legend")[0]
    return sorted(re.findall(rf"^ +(\w+) {pattern} (\w+)$", body, re.MULTILINE))


def participants(drawing: str) -> set[str]:
    """Read what the participants of a sequence diagram are: their alias if they have one."""
    found = re.findall(r"^ +participant (\w+)(?: as ([\w-]+).*)?$", drawing, re.MULTILINE)
    assert len(found) == drawing.count("participant ")
    return {alias or name for name, alias in found}


def test_stack_drawing_is_what_the_tables_give() -> None:
    assert (DIAGRAMS / "stack.mmd").read_text() == wiring.mermaid()


def test_readme_shows_the_stack_drawing() -> None:
    shown = re.findall(r"^```mermaid\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert shown == [(DIAGRAMS / "stack.mmd").read_text()]


def test_stack_drawing_has_every_arrow_and_no_other() -> None:
    drawing = (DIAGRAMS / "stack.mmd").read_text()
    lasts = [(source, target) for target, sources in wiring.ENDS_AFTER.items() for source in sources]
    assert arrows(drawing, "-->") == sorted([*wiring.CHANNELS, *wiring.USER_ENDS])
    assert arrows(drawing, r"-\. state \.->") == sorted(wiring.STATE)
    assert arrows(drawing, "== stop ==>") == sorted(wiring.CANCELS)
    assert arrows(drawing, "== last ==>") == sorted(lasts)


def test_stack_drawing_has_every_node() -> None:
    drawn = re.findall(r"^    (\w+)\[\1\]$", (DIAGRAMS / "stack.mmd").read_text(), re.MULTILINE)
    assert sorted(drawn) == sorted(wiring.NODES)


@pytest.mark.parametrize("name", ["shutdown", "restart"])
def test_sequences_name_known_participants(name: str) -> None:
    assert participants((DIAGRAMS / f"{name}.mmd").read_text()) <= {"user", "supervisor", *wiring.NODES}


def test_shutdown_drawing_has_every_stop_and_no_other() -> None:
    drawn = {
        (target, tuple(sources.split(" and ")))
        for target, sources in STOP.findall((DIAGRAMS / "shutdown.mmd").read_text())
    }
    assert drawn == {(target, (source,)) for source, target in wiring.CANCELS} | set(wiring.ENDS_AFTER.items())


def test_shutdown_drawing_stops_nothing_too_early() -> None:
    ended: set[str] = set()
    for line in (DIAGRAMS / "shutdown.mmd").read_text().splitlines():
        stop, end = STOP.search(line), ENDED.search(line)
        if stop:
            assert ended >= set(stop[2].split(" and ")), line
        if end:
            ended.add(end[1])
    assert ended == set(wiring.NODES)


def test_holding_back_knows_no_circle() -> None:
    feeds = {node: {target for source, target in wiring.HOLDS_BACK if source == node} for node in wiring.NODES}
    while feeds:
        free = [node for node, targets in feeds.items() if not targets & feeds.keys()]
        assert free, f"these wait for each other: {sorted(feeds)}"
        for node in free:
            del feeds[node]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def stack(clock: ManualClock) -> Iterator[packhorse.Stack]:
    stack = packhorse.startup(clock=clock, transport=MemoryNetwork(clock).transport(("10.0.0.1", 1)))
    clock.settle()
    yield stack
    close(stack, clock)


def close(stack: packhorse.Stack, clock: ManualClock) -> None:
    """Close while time goes on, so that a stack that is wired wrongly ends too."""
    closing = threading.Thread(target=stack.close)
    closing.start()
    while closing.is_alive():
        clock.advance(1.0)


@pytest.fixture
def core(stack: packhorse.Stack) -> StackCore:
    return stack._core


def node(core: StackCore, name: str) -> Node[Any]:
    return cast("Node[Any]", core.nodes[name]._actor_weakref())


def station(core: StackCore, name: str) -> Station[Any]:
    return node(core, name)._station


@pytest.mark.parametrize("name", wiring.NODES)
def test_nodes_put_into_what_the_tables_say(core: StackCore, name: str) -> None:
    expected = {target for source, target in (*wiring.CHANNELS, *wiring.STATE) if source == name}
    outlets = station(core, name).outlets
    held = {value.name for value in vars(node(core, name)).values() if isinstance(value, Mailbox)}
    assert outlets.keys() == held == expected
    for target, mailbox in outlets.items():
        assert mailbox is station(core, target).mailbox


@pytest.mark.parametrize("name", wiring.NODES)
def test_nodes_are_held_back_by_what_the_tables_say(core: StackCore, name: str) -> None:
    expected = {target for source, target in wiring.HOLDS_BACK if source == name}
    feeds = station(core, name).feeds
    assert {feed.name for feed in feeds if isinstance(feed, Mailbox)} == expected
    ends = [feed for feed in feeds if not isinstance(feed, Mailbox)]
    assert ends == ([core.packages] if name == "ureceiver" else [])


@pytest.mark.parametrize("name", wiring.NODES)
def test_nodes_hold_the_user_ends_that_the_table_says(core: StackCore, name: str) -> None:
    handles = {PackageEnd: "PackageReceiver", ErrorEnd: "ConnErrorReceiver"}
    held = {handles[type(value)] for value in vars(node(core, name)).values() if type(value) in handles}
    assert held == {target for source, target in wiring.USER_ENDS if source == name}


def test_user_sends_into_the_node_that_the_table_says(core: StackCore) -> None:
    target = dict(wiring.USER_ENDS)["PackageSender"]
    assert core.admission.mailbox is station(core, target).mailbox


def test_supervisor_stops_along_the_tables(
    stack: packhorse.Stack, core: StackCore, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    mailboxes = [station(core, name).mailbox for name in wiring.NODES]
    stopped: dict[str, set[str]] = {}
    stop = Mailbox.stop

    def watch(mailbox: Mailbox) -> None:
        stopped[mailbox.name] = {other.name for other in mailboxes if other.closed}
        stop(mailbox)

    monkeypatch.setattr(Mailbox, "stop", watch)
    close(stack, clock)
    needed = {target: {source} for source, target in wiring.CANCELS}
    needed |= {target: set(sources) for target, sources in wiring.ENDS_AFTER.items()}
    assert stopped.keys() == set(wiring.NODES)
    for name, ended in stopped.items():
        assert ended >= needed.get(name, set()), f"{name} was stopped too early"


def test_closing_the_receiver_stops_only_its_own_half(
    stack: packhorse.Stack, core: StackCore, clock: ManualClock
) -> None:
    stack.receiver.close()
    clock.settle()
    stopping = {name for name in wiring.NODES if station(core, name).mailbox.stopping}
    assert stopping == {"ureceiver", "confirmer"}


def test_closing_the_sender_stops_only_its_own_half(
    stack: packhorse.Stack, core: StackCore, clock: ManualClock
) -> None:
    stack.sender.close()
    clock.settle()
    stopping = {name for name in wiring.NODES if station(core, name).mailbox.stopping}
    assert stopping == {"usender", "resender", "sreceiver"}
