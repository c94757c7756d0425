"""The events of whole stacks: every package's life, and what it takes to get them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from pykka.messages import ProxyCall

import packhorse
from packhorse import OutPackage, Peers, Reliability
from packhorse.actors.ends import CAPACITY
from packhorse.actors.events import problems
from packhorse.actors.usender import USender
from packhorse.protocol.numbering import Numbering
from packhorse.testing import capture_events

from .breaking import Bug, break_once, one_by_one

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from packhorse import Stack

    Start = Callable[..., Stack]

WAIT = 20.0


def ids(events: list[dict[str, Any]]) -> list[int]:
    """All ids that events tell of, in order."""
    told: list[int] = []
    for event in events:
        told += event["ids"] if "ids" in event else range(event["id"], event["id"] + event["count"])
    return told


def send(stack: Stack, target: Any, count: int, reliability: Reliability = Reliability.SEMI_ORDERED) -> None:
    stack.sender.send_many(OutPackage(b"hello", reliability, Peers.PLAYERS, target) for _ in range(count))


def test_the_life_of_every_package_is_told_by_both_ends(start: Start) -> None:
    first, second = start(), start()
    with capture_events(first) as here, capture_events(second) as there:
        send(first, second.address, 300)
        for _ in range(300):
            second.receiver.recv(WAIT)
        first.sender.flush(WAIT)
    for events, names in (
        (here, ("package:numbered", "transport:datagram_sent", "recovery:package_confirmed")),
        (there, ("package:received", "package:delivered")),
    ):
        for name in names:
            assert sorted(set(ids(events.named(name)))) == list(range(300)), name
    assert sum(event["count"] for event in here.named("package:accepted")) == 300
    assert {event["reliability"] for event in there.named("package:delivered")} == {"semi_ordered"}


def test_every_event_of_an_exchange_is_as_the_table_says(start: Start) -> None:
    first, second = start(), start()
    with capture_events(first) as here, capture_events(second) as there:
        send(first, second.address, 2000)
        send(second, first.address, 20, Reliability.UNRELIABLE)
        taken = 0
        while taken < 2000:
            taken += len(second.receiver.recv_many(100, WAIT))
        first.sender.flush(WAIT)
    told = [*here, *there]
    assert len(told) > 50
    assert any("waited" in event for event in here.named("package:numbered")), "2000 packages do not all have room"
    assert [problem for event in told for problem in problems(event)] == []


def test_every_event_of_a_crash_is_as_the_table_says(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    one_by_one(monkeypatch)
    broken = break_once(monkeypatch, USender, "_send", 5, Bug())
    first, second = start(), start()
    with capture_events(first) as here:
        send(first, second.address, 10)
        first.sender.flush(WAIT)
    assert broken()
    told = [event["event"] for event in here]
    for name in ("actor:crashed", "actor:restarted", "actor:item_set_aside", "package:given_up"):
        assert told.count(name) == 1, name
    assert [problem for event in here for problem in problems(event)] == []


def test_nothing_is_noted_while_nobody_listens(start: Start) -> None:
    first, second = start(), start()
    send(first, second.address, 10)
    first.sender.flush(WAIT)
    assert not first.journal.traced
    with capture_events(first) as here:
        assert first.journal.traced
        send(first, second.address, 1)
        first.sender.flush(WAIT)
    assert ids(here.named("package:numbered")) == [10]
    assert not first.journal.traced


def test_a_refused_choice_of_context_variables_leaves_the_port_free() -> None:
    with packhorse.startup(host="127.0.0.1") as stack:
        port = stack.address[1]
    with pytest.raises(TypeError, match="trace_context") as refused:  # whose traceback holds what was made so far
        packhorse.startup(port, "127.0.0.1", trace_context="request")
    with packhorse.startup(port, "127.0.0.1") as stack:
        assert stack.address[1] == port
    del refused


def test_context_variables_come_with_the_package_that_was_sent_in_them(start: Start) -> None:
    first, second = start(trace_context=("request",)), start()
    with capture_events(first) as here:
        with structlog.contextvars.bound_contextvars(request="7"):
            send(first, second.address, 1)
        send(first, second.address, 1)
        first.sender.flush(WAIT)
    numbered = here.named("package:numbered")
    assert [(event["id"], event.get("context")) for event in numbered] == [(0, {"request": "7"}), (1, None)]


def test_a_user_who_does_not_receive_shows_as_a_full_mailbox(start: Start) -> None:
    first, second = start(), start()
    with capture_events(second) as there:
        sending = threading.Thread(target=send, args=(first, second.address, 3 * CAPACITY))
        sending.start()
        full = there.wait_for("actor:mailbox_full", mailbox="receiver")
        assert full["node"] == "ureceiver"
        taken = 0
        while taken < 3 * CAPACITY:
            taken += len(second.receiver.recv_many(1000, WAIT))
        assert there.wait_for("actor:mailbox_drained", mailbox="receiver")["lasted"] >= 0
        sending.join(WAIT)


def test_a_node_that_is_restarted_takes_no_notes_that_nobody_would_clear(start: Start) -> None:
    stack = start()
    supervisor = stack.supervisor._actor_weakref()
    assert supervisor is not None
    state: Numbering = supervisor._nodes["usender"].station.state
    state.notes = []  # as the last incarnation left it, when somebody still listened
    stack.sender.proxy.actor_ref.tell(ProxyCall(attr_path=("counters",), args=("too", "many"), kwargs={}))
    assert isinstance(stack.sender.proxy.counters().get(timeout=WAIT), dict)
    assert stack.stats().nodes["usender"].restarts == 1
    assert state.notes is None
