"""What all nodes have in common."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from packhorse.actors.dsender import DSender
from packhorse.actors.sreceiver import SReceiver
from packhorse.protocol.header import pack_confirmation
from packhorse.protocol.messages import Datagrams, Received
from packhorse.testing import ManualClock

from .one_node import HERE, Bench, Broken, Wire, received

if TYPE_CHECKING:
    from collections.abc import Callable


def test_a_message_no_node_expects_is_counted_and_dropped(bench: Callable[..., Bench], wire: Wire) -> None:
    node = bench(DSender, transport=wire)
    node.put("nonsense", Datagrams(HERE, [b"1"]))
    assert node.counters() == {"unexpected": 1, "datagrams": 1}


def test_a_sealed_incarnation_passes_nothing_on(bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    """A hung node may wake up when its successor is at work already."""
    entered, go_on = threading.Event(), threading.Event()
    original = SReceiver._received

    def hang(self: SReceiver, item: Received, now: float) -> None:
        entered.set()
        assert go_on.wait(20)
        original(self, item, now)

    monkeypatch.setattr(SReceiver, "_received", hang)
    node = bench(SReceiver)
    node.mailbox.put(received(pack_confirmation([1])))
    assert entered.wait(20)
    assert node.station.incarnation is not None
    node.station.incarnation._inbox.sealed = True
    go_on.set()
    node.thread.join(20)
    assert node.out("resender") == []


def test_a_death_is_reported_once_whatever_it_is_of(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: Any, *_: Any) -> None:
        raise Broken

    def leaves(self: Any, *_: Any) -> None:
        raise SystemExit

    for hook, error, cause, phase in (
        ("on_start", fails, Broken, "start"),
        ("on_start", leaves, SystemExit, "start"),
        ("_received", fails, Broken, "run"),
        ("_received", leaves, SystemExit, "run"),
        ("on_stop", fails, Broken, "stop"),
        ("on_stop", leaves, SystemExit, "stop"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(SReceiver, hook, error)
            node = Bench(SReceiver, clock=ManualClock())
            node.mailbox.put(received(pack_confirmation([1])))
            node.cancel()
            node.thread.join(20)
            assert [(type(death.cause), death.phase) for death in node.deaths] == [(cause, phase)]
