"""ureceiver: what the user gets, and what confirmer hears of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from packhorse import ConfirmPolicy, InPackage, Peers, Reliability
from packhorse.actors import ureceiver
from packhorse.actors.ends import CAPACITY, PackageEnd
from packhorse.actors.mailbox import Mailbox
from packhorse.actors.ureceiver import UReceiver
from packhorse.protocol.header import pack_header
from packhorse.protocol.identity import SPURNED, base_of, introduction, unpack_echo
from packhorse.protocol.messages import StillHere, ToConfirm
from packhorse.protocol.receiving import Receiving
from packhorse.testing import ManualClock

from .one_node import HERE, THERE, Bench, break_handler, datagram, received

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def receiver(bench: Callable[..., Bench], clock: ManualClock) -> Bench:
    return bench(UReceiver, Receiving(), packages=PackageEnd(clock), policy=ConfirmPolicy())


def test_ureceiver_delivers_each_package_once_and_has_all_confirmed(receiver: Bench) -> None:
    receiver.put(received(datagram(0)), received(datagram(0)), received(datagram(1, Reliability.SEMI_ORDERED)))
    assert len(receiver.extras["packages"].drain()) == 2
    assert [wire_id for one in receiver.out("confirmer") for wire_id in one.ids] == [0, 0, 1]
    assert receiver.counters() == {"duplicates": 1}


def test_ureceiver_hands_a_package_over_before_confirmer_hears_of_it(
    receiver: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    end: PackageEnd = receiver.extras["packages"]
    confirmer = receiver.outlets["confirmer"]
    put_packages, put_ids = end.put_all, confirmer.put_softly

    def to_user(items: list[Any]) -> None:
        order.append("user")
        put_packages(items)

    def to_confirmer(items: list[Any]) -> None:
        if items:
            order.append("confirmer")
        put_ids(items)

    monkeypatch.setattr(end, "put_all", to_user)
    monkeypatch.setattr(confirmer, "put_softly", to_confirmer)
    receiver.put(received(datagram(0)))
    assert order == ["user", "confirmer"]


def test_ureceiver_tells_usender_of_a_restart_before_the_user_can_answer_who_was_restarted(
    bench: Callable[..., Bench], clock: ManualClock
) -> None:
    end = PackageEnd(clock)
    receiver = bench(UReceiver, Receiving(identity=7), packages=end, policy=ConfirmPolicy())
    known: list[tuple[int, list[Any]]] = []
    put = end.put_all

    def to_user(packages: list[Any]) -> None:
        known.append((len(packages), [one.target for one in receiver.out("usender")]))
        put(packages)

    end.put_all = to_user  # type: ignore[assignment,method-assign] # to see what is known by then
    for identity in (1 << 40, 2 << 40):
        receiver.put(received(introduction(identity, 0x10, 8)))
        hint, _, by = unpack_echo(receiver.out("confirmer")[-1].echo)
        base = base_of(identity, 0x10, by)
        receiver.put(received(pack_header(Reliability.UNORDERED, Peers.PLAYERS, base, hint & ~SPURNED) + b"x"))
    assert known == [(1, []), (1, [THERE])]


def test_ureceiver_takes_nothing_while_the_user_is_behind_and_then_says_that_it_lives(
    receiver: Bench, clock: ManualClock
) -> None:
    end: PackageEnd = receiver.extras["packages"]
    old = InPackage(b"old", Reliability.UNORDERED, Peers.PLAYERS, HERE, 0.0)
    end.put_all([old] * (CAPACITY + 1))
    receiver.mailbox.wake()
    receiver.put(received(datagram(0)))
    clock.advance(ureceiver.STILL_HERE - 0.01)
    assert receiver.out("confirmer") == []
    clock.advance(0.02)
    assert receiver.out("confirmer") == [StillHere([THERE])]
    clock.advance(ureceiver.STILL_HERE)
    assert receiver.out("confirmer") == [StillHere([THERE])]
    assert len(end.drain()) == CAPACITY + 1
    clock.settle()
    assert [one.data for one in end.drain()] == [b"x"]
    assert [type(one) for one in receiver.out("confirmer")] == [ToConfirm]
    clock.advance(10 * ureceiver.STILL_HERE)
    assert receiver.out("confirmer") == []


def test_what_comes_after_the_user_closed_the_receiver_is_not_confirmed(receiver: Bench) -> None:
    receiver.extras["packages"].close()
    receiver.put(received(datagram(0)))
    assert receiver.out("confirmer") == []


def test_a_cancelled_ureceiver_ends_though_the_user_is_behind(receiver: Bench, clock: ManualClock) -> None:
    end: PackageEnd = receiver.extras["packages"]
    end.put_all([InPackage(b"old", Reliability.UNORDERED, Peers.PLAYERS, HERE, 0.0)] * (CAPACITY + 1))
    receiver.cancel()
    assert receiver.ended()


def test_a_datagram_that_crashes_ureceiver_is_dropped_unconfirmed(
    receiver: Bench, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison = received(datagram(1))
    receiver.close()
    break_handler(monkeypatch, UReceiver, "_received", poison)
    receiver.mailbox = receiver.station.mailbox = Mailbox("ureceiver", clock)
    receiver.mailbox.put_all([received(datagram(0)), poison, received(datagram(2))])
    receiver.start()
    receiver.restart()
    assert [wire_id for one in receiver.out("confirmer") for wire_id in one.ids] == [0, 2]
    assert len(receiver.extras["packages"].drain()) == 2
    assert receiver.counters()["poisoned"] == 1
