"""Sources without an identity, whose restarts are only guessed; and how echoes are confirmed."""

from __future__ import annotations

from packhorse.protocol.confirmations import Confirmations
from packhorse.protocol.header import pack_confirmation, unpack_confirmation
from packhorse.protocol.identity import mark_of, refusal
from packhorse.protocol.messages import Refuse, Restarted, ToConfirm
from packhorse.protocol.policy import ConfirmPolicy
from packhorse.protocol.receiving import Receiving

from .helpers import SEMI_ORDERED, A
from .introduced import US, take


def test_a_duplicate_that_is_too_old_is_the_first_package_after_a_restart() -> None:
    receiving = Receiving(US)
    assert take(receiving, 0, 0, 1, 2) == [0, 1, 2]
    assert take(receiving, 0, 0, 1, now=119.0) == []
    assert take(receiving, 0, 0, 1, 2, now=240.0) == [0, 1, 2]
    assert receiving.to_usender == [Restarted(A, None)]
    assert take(receiving, 0, 0, now=241.0) == [], "that is a duplicate again"


def test_while_packages_come_old_numbers_become_old_too() -> None:
    receiving = Receiving(US)
    for number in range(25):
        assert take(receiving, 0, number, now=10.0 * number) == [number]
    assert take(receiving, 0, 12, now=241.0) == [], "it came 121 s ago, which is not looked at yet"
    assert receiving.to_usender == []
    assert take(receiving, 0, 0, now=241.0) == [0]
    assert receiving.to_usender == [Restarted(A, None)]


def test_what_filled_a_hole_lately_may_be_sent_again() -> None:
    receiving = Receiving(US)
    take(receiving, 0, 0, 2)
    assert take(receiving, 0, 1, now=200.0) == [1]
    assert take(receiving, 0, 1, now=201.0) == []
    assert receiving.to_usender == []


# Confirming.


def test_ids_of_different_numberings_share_no_datagram_and_are_not_repeated() -> None:
    confirmations = Confirmations(ConfirmPolicy())
    confirmations.add(ToConfirm(A, [1, 2], urgent=False, time=0.0, echo=5))
    confirmations.add(ToConfirm(A, [0], urgent=False, time=0.001, echo=6))
    confirmations.tick(0.1)
    sent = [datagram for run in confirmations.to_dsender for datagram in run.datagrams]
    assert sent == [pack_confirmation([1, 2], 5), pack_confirmation([0], 6)]


def test_an_introduction_is_acknowledged_without_ids_if_none_come_along() -> None:
    confirmations = Confirmations(ConfirmPolicy())
    confirmations.add(ToConfirm(A, [], urgent=False, time=0.0, echo=5))
    assert confirmations.deadline() == 0.005
    confirmations.tick(0.005)
    confirmations.refuse(Refuse(A, 3, 9))
    sent = [datagram for run in confirmations.to_dsender for datagram in run.datagrams]
    assert sent == [pack_confirmation([], 5), refusal(3, 9)]


def test_with_an_echo_a_datagram_has_room_for_one_id_less() -> None:
    confirmations = Confirmations(ConfirmPolicy())
    confirmations.add(ToConfirm(A, list(range(200)), urgent=True, time=0.0, echo=5))
    confirmations.tick(0.0)
    sent = [datagram for run in confirmations.to_dsender for datagram in run.datagrams]
    assert sent[0] == pack_confirmation(range(167), 5)
    assert unpack_confirmation(sent[1])[:33] == list(range(167, 200))


def test_a_package_with_a_hint_that_nobody_knows_changes_nothing_for_a_source_without() -> None:
    receiving = Receiving(US)
    assert take(receiving, 0, 0, 2, 3, reliability=SEMI_ORDERED) == [0], "2 and 3 are kept"
    assert take(receiving, 9, 2, now=601.0, reliability=SEMI_ORDERED) == []
    assert receiving.to_refuse == [Refuse(A, 9, mark_of(US))]
    assert take(receiving, 0, 1, now=602.0, reliability=SEMI_ORDERED) == [1, 2, 3]
