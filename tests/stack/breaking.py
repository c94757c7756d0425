"""What tests of crashing nodes share: breaking a node once or always."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from packhorse.actors.confirmer import Confirmer
from packhorse.actors.dreceiver import DReceiver
from packhorse.actors.dsender import DSender
from packhorse.actors.node import Node
from packhorse.actors.resender import Resender
from packhorse.actors.sreceiver import SReceiver
from packhorse.actors.ureceiver import UReceiver
from packhorse.actors.usender import USender
from packhorse.protocol.numbering import Numbering

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from packhorse import Stack

WAIT = 20.0
"""Seconds after which something that should have happened counts as lost."""

NODES: dict[str, type[Node[Any]]] = {
    "usender": USender,
    "dsender": DSender,
    "resender": Resender,
    "confirmer": Confirmer,
    "dreceiver": DReceiver,
    "ureceiver": UReceiver,
    "sreceiver": SReceiver,
}


class Bug(Exception):  # noqa: N818 - the word for it
    """What a test puts into a node."""


def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let usender send every package by the plain rule, none in a run."""

    def send_run(numbering: Numbering, items: list[Any], at: int, now: float) -> int:
        del numbering, items, now
        return at

    monkeypatch.setattr(Numbering, "send_run", send_run)


def break_once(
    monkeypatch: pytest.MonkeyPatch, node: type[Node[Any]], method: str, at: int, error: BaseException
) -> Callable[[], bool]:
    """Let a method raise at its nth call, before it does anything; returns whether it has."""
    original = getattr(node, method)
    lock = threading.Lock()
    calls = 0

    def broken(self: Any, *arguments: Any, **options: Any) -> Any:
        nonlocal calls
        with lock:
            calls += 1
            now = calls == at
        if now:
            raise error
        return original(self, *arguments, **options)

    monkeypatch.setattr(node, method, broken)
    return lambda: calls >= at


def break_always(monkeypatch: pytest.MonkeyPatch, node: type[Node[Any]], method: str) -> None:
    def broken(self: Any, *arguments: Any) -> Any:
        raise Bug(method)

    monkeypatch.setattr(node, method, broken)


def restarts(*stacks: Stack) -> int:
    return sum(value for stack in stacks for name, value in stack.counters().items() if name.endswith(".restarts"))
