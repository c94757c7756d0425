"""What tests of whole stacks share: stacks on real sockets of this machine, closed at the end whatever happens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import packhorse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def start() -> Iterator[Callable[..., packhorse.Stack]]:
    """Start stacks on a loopback address; those the test leaves open are closed without waiting."""
    stacks: list[packhorse.Stack] = []

    def start(host: str = "127.0.0.1", **options: Any) -> packhorse.Stack:
        stack = packhorse.startup(host=host, **options)
        stacks.append(stack)
        return stack

    yield start
    for stack in stacks:
        stack.close(timeout=0)
