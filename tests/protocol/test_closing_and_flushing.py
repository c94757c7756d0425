"""The sending half, second part: the ends of things, and what is left when a node crashed."""

from __future__ import annotations

import pytest

from packhorse.protocol import FailureReason
from packhorse.protocol.messages import (
    Datagrams,
    Dropped,
    Failed,
    Flush,
    Forgotten,
    Revive,
    Sent,
)

from .helpers import A, B, datagram, package
from .resending import START, Resender


@pytest.fixture
def resender() -> Resender:
    return Resender()


# Closing.


def test_at_the_deadline_everything_pending_fails_and_later_packages_at_once(resender: Resender) -> None:
    resender.sent(0, target=A)
    resender.sent(0, target=B, life=2)
    resender.confirmed(0, source=B)
    resender.redelivery.give_up_at(START + 5)
    resender.run(START + 4.999)
    assert resender.messages() == []
    resender.run(START + 5)
    assert resender.messages() == [Failed(A, 1)]
    resender.redelivery.dropped(Dropped(A, 1, [package(b"waits")]))
    assert resender.failures() == [(A, FailureReason.CLOSED, [b"\0", b"waits"])]
    resender.sent(1, target=B, life=2)
    assert resender.messages() == [Failed(B, 2)]


def test_the_earliest_deadline_for_giving_up_holds(resender: Resender) -> None:
    resender.sent(0)
    resender.redelivery.give_up_at(START + 0.1)
    resender.redelivery.give_up_at(START + 5)
    assert resender.redelivery.deadline() == START + 0.1


def test_the_closing_deadline_wakes_nobody_while_nothing_is_pending(resender: Resender) -> None:
    resender.redelivery.give_up_at(START + 5)
    assert resender.redelivery.deadline() is None
    resender.sent(0)
    assert resender.redelivery.deadline() == START + 0.3


def test_a_package_that_comes_after_the_closing_deadline_is_given_up_at_once(resender: Resender) -> None:
    resender.redelivery.give_up_at(START + 5)
    resender.now = START + 6
    resender.sent(0)
    assert resender.redelivery.deadline() == START + 5
    resender.redelivery.tick(resender.now)
    assert resender.messages() == [Failed(A, 1)]


def test_a_peer_revived_after_the_closing_deadline_fails_at_once_with_its_backlog(resender: Resender) -> None:
    resender.sent(0)
    resender.fail()
    resender.failures()
    resender.redelivery.give_up_at(resender.now)
    resender.redelivery.tick(resender.now)
    resender.revive(1)
    assert Failed(A, 2) in resender.messages()
    resender.redelivery.dropped(Dropped(A, 2, [package(b"waits")]))
    assert resender.failures() == [(A, FailureReason.CLOSED, [b"waits"])]
    assert resender.redelivery.pending == 0


def test_without_numbering_failures_are_reported_without_its_answer(resender: Resender) -> None:
    resender.sent(0, target=A)
    resender.run(START + 20)
    resender.sent(0, target=B, life=2)
    resender.redelivery.backlog_ended()
    assert resender.failures() == [(A, FailureReason.SILENT, [b"\0"])]
    resender.redelivery.give_up_at(START + 21)
    resender.run(START + 22)
    assert resender.failures() == [(B, FailureReason.CLOSED, [b"\0"])]
    assert resender.redelivery.pending == 0


# Flushing.


def _flushed(resender: Resender) -> list[object]:
    flushed = list(resender.redelivery.flushed)
    resender.redelivery.flushed.clear()
    return flushed


def test_a_flush_is_done_when_everything_below_its_marks_is_confirmed(resender: Resender) -> None:
    resender.sent(0, 3)
    resender.redelivery.flush(Flush({A: (1, 2)}, "token"))
    resender.confirmed(2, 1)
    assert _flushed(resender) == []
    resender.confirmed(0)
    assert _flushed(resender) == ["token"]


def test_a_flush_of_nothing_is_done_at_once(resender: Resender) -> None:
    resender.sent(0)
    resender.redelivery.flush(Flush({}, "empty"))
    resender.redelivery.flush(Flush({A: (1, 0), B: (2, 5)}, "settled or unknown"))
    assert _flushed(resender) == ["empty", "settled or unknown"]


def test_a_flush_of_an_older_life_is_done_at_once(resender: Resender) -> None:
    resender.sent(0, life=2)
    resender.redelivery.flush(Flush({A: (1, 1)}, "token"))
    assert _flushed(resender) == ["token"]


def test_a_flush_waits_for_all_its_targets(resender: Resender) -> None:
    resender.sent(0, target=A)
    resender.sent(0, target=B, life=2)
    resender.redelivery.flush(Flush({A: (1, 1), B: (2, 1)}, "token"))
    resender.confirmed(0, source=B)
    assert _flushed(resender) == []
    resender.confirmed(0, source=A)
    assert _flushed(resender) == ["token"]


def test_a_flush_waits_for_numbers_that_are_still_to_come(resender: Resender) -> None:
    resender.sent(0)
    resender.redelivery.flush(Flush({A: (1, 2)}, "token"))
    resender.confirmed(0)
    assert _flushed(resender) == []
    resender.sent(1)
    resender.confirmed(1)
    assert _flushed(resender) == ["token"]


def test_a_flush_is_done_when_the_peer_is_given_up(resender: Resender) -> None:
    resender.sent(0)
    resender.redelivery.flush(Flush({A: (1, 1)}, "token"))
    resender.run(START + 20)
    assert _flushed(resender) == [], "not reported yet"
    resender.redelivery.dropped(Dropped(A, 1, []))
    assert _flushed(resender) == ["token"]
    resender.redelivery.flush(Flush({A: (1, 5)}, "too late"))
    assert _flushed(resender) == ["too late"]


def test_a_flush_is_done_when_the_peer_is_forgotten(resender: Resender) -> None:
    resender.sent(0)
    resender.redelivery.flush(Flush({A: (1, 1)}, "token"))
    resender.redelivery.forgotten(Forgotten(A, 1, []))
    assert _flushed(resender) == ["token"]


def test_a_flush_of_a_revived_peer_waits_for_what_was_given_up(resender: Resender) -> None:
    resender.sent(0)
    resender.fail()
    resender.revive(1)
    resender.redelivery.flush(Flush({A: (2, 2)}, "token"))
    resender.sent(1, life=2)
    resender.confirmed(1)
    assert _flushed(resender) == []
    resender.confirmed(0)
    assert _flushed(resender) == ["token"]


# Messages over which a node crashed.


def test_a_poisoned_sending_fails_its_peer_and_is_reported_with_the_rest(resender: Resender) -> None:
    resender.sent(0)
    poison = Sent(A, 1, 1, [datagram(1, b"poison")], 5, START)
    resender.redelivery.poisoned(poison, START)
    assert resender.messages() == [Failed(A, 1)]
    resender.redelivery.dropped(Dropped(A, 1, [package(b"waits")]))
    assert resender.failures() == [(A, FailureReason.POISONED, [b"\0", b"poison", b"waits"])]
    assert resender.redelivery.pending == 0


def test_a_sending_that_was_poisoned_after_it_was_handled_counts_once(resender: Resender) -> None:
    poison = Sent(A, 1, 0, [datagram(0, b"poison")], 0, START)
    resender.redelivery.sent(poison)
    resender.redelivery.poisoned(poison, START)
    assert resender.redelivery.pending == 1
    resender.redelivery.dropped(Dropped(A, 1, []))
    assert resender.failures() == [(A, FailureReason.POISONED, [b"poison"])]
    assert resender.redelivery.pending == 0


def test_a_poisoned_first_sending_is_reported_and_leaves_no_hole(resender: Resender) -> None:
    resender.redelivery.poisoned(Sent(A, 1, 0, [datagram(0, b"poison")], 0, START), START)
    assert resender.messages() == [Failed(A, 1)]
    resender.redelivery.dropped(Dropped(A, 1, []))
    assert resender.failures() == [(A, FailureReason.POISONED, [b"poison"])]
    resender.now = START + 1
    resender.revive(1)
    assert resender.redelivery.to_dsender == [Datagrams(A, [datagram(0, b"poison")])]
    resender.confirmed(0)
    assert resender.redelivery.pending == 0


def test_a_poisoned_revival_reports_the_backlog_and_nothing_twice(resender: Resender) -> None:
    resender.sent(0)
    resender.fail()
    resender.failures()
    resender.redelivery.poisoned(Revive(A, 2, 1, 5), resender.now)
    assert resender.messages() == [Failed(A, 2)]
    resender.redelivery.dropped(Dropped(A, 2, [package(b"waits")]))
    assert resender.failures() == [(A, FailureReason.POISONED, [b"waits"])]
    assert resender.redelivery.pending == 0


@pytest.mark.parametrize("known", [True, False])
def test_a_poisoned_revival_of_a_peer_with_nothing_unconfirmed_does_not_strand_the_backlog(
    resender: Resender, *, known: bool
) -> None:
    if known:
        resender.sent(0)
        resender.fail()
        resender.failures()
        resender.confirmed(0)
    resender.redelivery.poisoned(Revive(A, 2, 1, 5), resender.now)
    assert resender.messages() == [Failed(A, 2)]
    resender.redelivery.dropped(Dropped(A, 2, [package(b"waits")]))
    assert resender.failures() == [(A, FailureReason.POISONED, [b"waits"])]
    assert resender.redelivery.pending == 0
