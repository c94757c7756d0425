"""What tests of the actors share."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

import pytest

from packhorse.testing import ManualClock

from .supervising import WAIT, Book, House

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def hasty() -> Iterator[None]:
    """Switch between threads as often as possible."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.fixture
def house() -> Iterator[House]:
    """Make a supervisor of workers, and end it and all their threads."""
    before = set(threading.enumerate())
    clock = ManualClock()
    made = House(clock, Book(clock))
    yield made
    made.close()
    for thread in set(threading.enumerate()) - before:
        thread.join(WAIT)
