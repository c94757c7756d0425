"""Packages that overtake their introduction: taken when it comes, as if they had come behind it."""

from __future__ import annotations

from packhorse.protocol import Peers
from packhorse.protocol.early import HOLD, MOST, Early
from packhorse.protocol.header import pack_header
from packhorse.protocol.messages import Received
from packhorse.protocol.receiving import Receiving

from .helpers import SEMI_ORDERED, UNORDERED, B
from .introduced import ONE, TWO, US, arrive, datagram_of, introduce, take


def delivered(receiving: Receiving) -> list[int]:
    """Return what was delivered since this was asked last."""
    numbers = [package.data[0] for package in receiving.to_user]
    receiving.to_user.clear()
    return numbers


def test_a_package_that_overtakes_the_first_introduction_is_delivered_behind_it_and_once() -> None:
    receiving = Receiving(US)
    assert take(receiving, 8, 1, 0) == []
    assigned = introduce(receiving, numbers=[0, 1], now=HOLD)
    assert delivered(receiving) == [1, 0]
    assert take(receiving, assigned, 0, 1, now=HOLD) == [], "sent again, since it was refused too"
    assert receiving.duplicates == 2


def test_a_package_that_overtakes_a_later_introduction_is_delivered_and_confirmed_behind_it() -> None:
    receiving = Receiving(US)
    introduce(receiving, numbers=[0])
    assert take(receiving, 8, 0, 1, now=1.0) == [0]
    arrive(receiving, datagram_of(SEMI_ORDERED, 2, 8), 1.0)
    receiving.to_confirmer.clear()
    introduce(receiving, numbers=[1, 2], now=1.1)
    assert delivered(receiving) == [1, 2]
    assert take(receiving, 8, 2, now=1.1) == []


def test_it_is_not_taken_when_the_introduction_comes_too_late() -> None:
    receiving = Receiving(US)
    take(receiving, 8, 0)
    introduce(receiving, numbers=[0], now=HOLD + 0.01)
    assert delivered(receiving) == []


def test_only_what_the_introduction_vouches_for_is_taken() -> None:
    """A package of another life may have the same hint and id."""
    receiving = Receiving(US)
    arrive(receiving, pack_header(UNORDERED, Peers.PLAYERS, 0, 8) + b"another")
    introduce(receiving, numbers=[0, 1])
    assert delivered(receiving) == []
    assert take(receiving, 8, 0) == [0]


def test_an_introduction_takes_nothing_of_another_source() -> None:
    receiving = Receiving(US)
    theirs = datagram_of(UNORDERED, 0, 8)
    receiving.received(Received(B, len(theirs), theirs, 0.0))
    introduce(receiving, numbers=[0])
    assert delivered(receiving) == []


def test_where_the_chosen_hint_is_spurned_nothing_early_is_taken() -> None:
    receiving = Receiving(US)
    introduce(receiving, ONE, numbers=[0])
    assert take(receiving, 8, 0) == [0]
    take(receiving, 9, 0, identity=TWO, now=1.0)
    introduce(receiving, TWO, chosen=9, numbers=[0], now=1.1)
    assert delivered(receiving) == []


def test_only_the_latest_are_held() -> None:
    early = Early()
    for number in range(MOST + 1):
        early.hold(B, bytes([number]), 0.0)
    assert early.take(B, 0.0, lambda datagram: datagram < bytes([3])) == [b"\1", b"\2"]
    assert len(early.take(B, 0.0, lambda _: True)) == MOST - 2
    assert early.take(B, 0.0, lambda _: True) == []
