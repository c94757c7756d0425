"""The fixtures that packhorse has for its users' tests."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import pykka
import pytest

from packhorse import Reliability
from packhorse.testing import Inventory

if TYPE_CHECKING:
    from packhorse.testing import StackPair

WAIT = 20.0


def test_two_stacks_reach_each_other_over_the_link(packhorse_stack: StackPair) -> None:
    pair = packhorse_stack
    pair.second.send(b"first word", to=pair.first_address)
    package = pair.first.receiver.recv(WAIT)
    assert (package.data, package.source) == (b"first word", pair.second_address)
    pair.first.send(b"reply", to=package.source)
    package = pair.second.receiver.recv(WAIT)
    assert (package.data, package.source) == (b"reply", pair.first_address)
    pair.first.sender.flush(WAIT)
    assert pair.there.passed
    assert pair.back.passed


@pytest.mark.packhorse(loss=0.3, seed=5, random=lambda: 0.5)
def test_a_marker_says_how_the_link_is(packhorse_stack: StackPair) -> None:
    for number in range(100):
        packhorse_stack.first.send(
            b"%d" % number, to=packhorse_stack.second_address, reliability=Reliability.SEMI_ORDERED
        )
    arrived = [packhorse_stack.second.receiver.recv(WAIT).data for _ in range(100)]
    assert arrived == [b"%d" % number for number in range(100)]
    assert packhorse_stack.there.lost


def test_what_is_left_behind_is_found() -> None:
    inventory = Inventory()
    assert inventory.left() == []
    done = threading.Event()
    thread = threading.Thread(target=done.wait, name="forgotten")
    thread.start()
    actor = pykka.ThreadingActor.start()
    with socket.socket():
        left = inventory.left()
        assert len(left) == 4  # an actor has a thread too
        assert "forgotten" in " ".join(left)
        assert "socket" in " ".join(left)
    done.set()
    actor.stop()
    assert inventory.left(within=WAIT) == []
