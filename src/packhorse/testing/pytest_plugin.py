"""Fixtures for pytest.

In the conftest.py at the top of your tests:

    pytest_plugins = ["packhorse.testing.pytest_plugin"]

`packhorse_stack` is a pair of stacks over a simulated link, a `StackPair`, closed after the test and checked for leaks.
A marker says how the link is in both directions, and what the stacks are started with:

    @pytest.mark.packhorse(loss=0.2, delay=0.01, hang_after=0.5)
    def test_a_game_over_a_bad_link(packhorse_stack):
        packhorse_stack.first.send(b"hi", to=packhorse_stack.second_address)

`packhorse_leaks` is the check alone: a test that leaves a thread, a socket or an entry in Pykka's registry fails.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Final

import pytest

from .leaks import Inventory
from .link import Link
from .pair import StackPair

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["packhorse_leaks", "packhorse_stack", "pytest_configure"]

LINK_OPTIONS: Final = frozenset(inspect.signature(Link).parameters)


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers", "packhorse(**options): how packhorse_stack is: arguments of Link (loss, delay, ...) and of startup."
    )


@pytest.fixture
def packhorse_leaks() -> Iterator[Inventory]:
    """Fail a test that leaves a thread, a descriptor or an entry in Pykka's registry. Ask for it first."""
    inventory = Inventory()
    yield inventory
    left = inventory.left()
    if left:
        pytest.fail(f"left behind: {left}", pytrace=False)


@pytest.fixture
def packhorse_stack(request: pytest.FixtureRequest, packhorse_leaks: Inventory) -> Iterator[StackPair]:
    """Two stacks with a link between them. See the module."""
    del packhorse_leaks  # it is set up before, and so checks after everything here is closed
    options: dict[str, Any] = {}
    for mark in reversed(list(request.node.iter_markers("packhorse"))):
        options |= mark.kwargs
    link = {name: options.pop(name) for name in LINK_OPTIONS & options.keys()}
    seed = link.pop("seed", 0)
    with StackPair(Link(**link, seed=seed), Link(**link, seed=seed + 1), **options) as pair:
        yield pair
