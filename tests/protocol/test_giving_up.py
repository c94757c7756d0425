"""The sending half, second part: giving a peer up, reviving it, forgetting it."""

from __future__ import annotations

import pytest

from packhorse.protocol import FailureReason, PeerFailed, ResendPolicy
from packhorse.protocol.messages import (
    Dropped,
    Failed,
    Forgotten,
    Unknown,
)
from packhorse.protocol.redelivery import MEMORY

from .helpers import SEMI_ORDERED, A, datagram, package
from .resending import START, Resender

ALIVE: list[int] = []
"""What an empty control datagram confirms."""


@pytest.fixture
def resender() -> Resender:
    return Resender()


# Giving up.


def test_a_peer_fails_20_seconds_after_the_first_sending_if_it_never_answers(resender: Resender) -> None:
    resender.sent(0)
    resender.run(START + 19.999)
    assert resender.messages() == []
    resender.run(START + 20)
    assert resender.messages() == [Failed(A, 1)]


def test_a_peer_fails_20_seconds_after_its_last_control_datagram(resender: Resender) -> None:
    resender.sent(0, 2)
    resender.run(START + 7)
    resender.confirmed(1)
    resender.run(START + 11)
    resender.confirmed(*ALIVE)
    resender.run(START + 30.999)
    assert resender.messages() == []
    resender.run(START + 31)
    assert resender.messages() == [Failed(A, 1)]


def test_a_peer_fails_20_seconds_after_the_first_sending_of_its_oldest_package(resender: Resender) -> None:
    resender.sent(0)
    resender.run(START + 1)
    resender.confirmed(0)
    resender.run(START + 100)
    resender.sent(1)
    resender.run(START + 110)
    resender.sent(2)
    resender.run(START + 119.999)
    assert resender.messages() == []
    resender.run(START + 120)
    assert resender.messages() == [Failed(A, 1)]


def test_a_peer_that_answers_fails_when_one_package_is_60_seconds_old(resender: Resender) -> None:
    resender.sent(0)
    while resender.now < START + 59.5:
        resender.run(resender.now + 0.5)
        resender.confirmed(*ALIVE)
    assert resender.messages() == []
    resender.run(START + 61.5)
    assert resender.messages() == [Failed(A, 1)]
    resender.redelivery.dropped(Dropped(A, 1, []))
    assert resender.failures() == [(A, FailureReason.UNCONFIRMED, [b"\0"])]


def test_a_package_of_which_few_copies_were_sent_is_not_given_up_for_its_age() -> None:
    resender = Resender(ResendPolicy(longest_wait=6, age=10, silence=60))
    resender.sent(0)
    resender.run(START + 33.4)
    assert resender.redelivery.resent == 9, "0.3, 0.9, 2.1, 4.5, 9.3, 15.3, 21.3, 27.3 and 33.3 s after the first"
    assert resender.messages() == []
    resender.run(START + 39.3)
    assert resender.messages() == [Failed(A, 1)]


def test_a_failure_is_reported_once_with_everything_in_it(resender: Resender) -> None:
    resender.sent(0, 3)
    resender.run(START + 5)
    resender.confirmed(1)
    resender.run(START + 26)
    assert resender.messages() == [Failed(A, 1)]
    assert resender.failures() == [], "the backlog is not known yet"
    assert resender.redelivery.pending == 2
    resender.sent(3)
    resender.redelivery.dropped(Dropped(A, 1, [package(b"waits"), package(b"waits too")]))
    assert resender.failures() == [(A, FailureReason.SILENT, [b"\0", b"\2", b"\3", b"waits", b"waits too"])]
    assert resender.redelivery.pending == 0
    resender.run(START + 500)
    assert resender.failures() == []
    assert resender.messages() == []


def test_semi_ordered_packages_that_are_confirmed_behind_an_unconfirmed_number_are_reported_with_it(
    resender: Resender,
) -> None:
    """The receiver keeps them until the number before them comes, which it may never."""
    resender.sent(0)
    resender.sent(1, reliability=SEMI_ORDERED)
    resender.sent(2)
    resender.sent(3)
    resender.sent(4, reliability=SEMI_ORDERED)
    resender.confirmed(1, 2, 4)
    resender.fail()
    assert resender.failures() == [(A, FailureReason.SILENT, [b"\0", b"\1", b"\3", b"\4"])]
    assert resender.redelivery.pending == 0


def test_what_was_reported_while_held_is_not_reported_again(resender: Resender) -> None:
    resender.sent(0)
    resender.sent(1, reliability=SEMI_ORDERED)
    resender.confirmed(1)
    resender.fail()
    resender.failures()
    resender.revive(2)
    resender.sent(2, reliability=SEMI_ORDERED, life=2)
    resender.confirmed(2)
    resender.fail(life=2)
    assert resender.failures() == [(A, FailureReason.SILENT, [b"\2"])]


def test_semi_ordered_packages_with_nothing_unconfirmed_before_them_are_not_reported(resender: Resender) -> None:
    resender.sent(0, reliability=SEMI_ORDERED)
    resender.sent(1)
    resender.confirmed(0)
    resender.fail()
    assert resender.failures() == [(A, FailureReason.SILENT, [b"\1"])]


def test_a_report_is_a_connection_error_that_says_who_and_how_much(resender: Resender) -> None:
    resender.sent(0, 2)
    resender.fail()
    failure = resender.redelivery.failures[0]
    assert isinstance(failure, PeerFailed)
    assert isinstance(failure, ConnectionError)
    assert str(failure) == "10.0.0.1 port 1 failed (silent), 2 packages unconfirmed"


def test_a_failed_peer_is_sent_nothing(resender: Resender) -> None:
    resender.sent(0)
    resender.fail()
    before = len(resender.resent)
    resender.run(START + 500)
    assert len(resender.resent) == before


def test_what_is_confirmed_between_failure_and_report_is_not_reported(resender: Resender) -> None:
    resender.sent(0, 2)
    resender.run(START + 20)
    resender.confirmed(0)
    resender.redelivery.dropped(Dropped(A, 1, []))
    assert resender.failures() == [(A, FailureReason.SILENT, [b"\1"])]
    assert resender.redelivery.pending == 0


def test_a_failure_with_nothing_left_to_report_is_not_reported(resender: Resender) -> None:
    resender.sent(0)
    resender.run(START + 20)
    resender.confirmed(0)
    resender.redelivery.dropped(Dropped(A, 1, []))
    assert resender.failures() == []
    assert resender.redelivery.pending == 0


# Reviving.


def test_what_was_given_up_goes_first_and_unchanged_when_the_peer_is_revived(resender: Resender) -> None:
    resender.sent(0, 3)
    resender.fail()
    resender.resent.clear()
    resender.revive(3)
    resender.collect()
    assert [sent for _, sent in resender.resent] == [datagram(number, bytes([number])) for number in range(3)]
    assert resender.grants()[-1].limit == 512
    assert resender.redelivery.pending == 3


def test_a_revived_peer_has_20_seconds_again_and_nothing_is_reported_twice(resender: Resender) -> None:
    resender.sent(0, 2)
    resender.fail()
    assert resender.failures() == [(A, FailureReason.SILENT, [b"\0", b"\1"])]
    revived = resender.now = START + 300
    resender.now = revived
    resender.revive(2)
    resender.sent(2, life=2)
    resender.messages()
    resender.run(revived + 19.999)
    assert resender.messages() == []
    resender.run(revived + 20)
    assert resender.messages() == [Failed(A, 2)]
    resender.redelivery.dropped(Dropped(A, 2, []))
    assert resender.failures() == [(A, FailureReason.SILENT, [b"\2"])]
    assert resender.redelivery.pending == 0


def test_timers_from_before_the_failure_send_nothing_again_too_early(resender: Resender) -> None:
    resender.sent(0)
    resender.run(START + 20)
    last_copy = resender.resent[-1][0]
    resender.redelivery.dropped(Dropped(A, 1, []))
    revived = START + 20.1
    assert revived < last_copy + 1
    resender.now = revived
    resender.revive(1)
    resender.collect()
    resender.resent.clear()
    resender.run(revived + 0.8)
    assert [time for time, _ in resender.resent] == [pytest.approx(revived + 0.3)]


def test_a_revived_peer_whose_window_is_used_up_gets_room_when_the_oldest_is_confirmed() -> None:
    resender = Resender(window=4)
    resender.sent(0, 4)
    resender.fail()
    resender.revive(4)
    assert resender.messages() == []
    resender.confirmed(1, 0)
    assert resender.grants()[-1].limit == 6


def test_a_confirmation_of_a_failed_peer_that_comes_late_still_counts(resender: Resender) -> None:
    resender.sent(0, 3)
    resender.fail()
    resender.confirmed(0, 2)
    assert resender.redelivery.pending == 0
    resender.resent.clear()
    resender.revive(3)
    resender.collect()
    assert [sent for _, sent in resender.resent] == [datagram(1, b"\1")]
    assert resender.redelivery.pending == 1


def test_a_peer_that_confirmed_everything_late_is_revived_with_room_and_nothing_else(resender: Resender) -> None:
    resender.sent(0, 3)
    resender.fail()
    resender.confirmed(0, 1, 2)
    resender.resent.clear()
    resender.revive(3)
    resender.collect()
    assert resender.resent == []
    assert resender.grants()[-1].limit == 515


def test_reviving_a_dead_peer_again_and_again_goes_on_for_ever(resender: Resender) -> None:
    resender.sent(0)
    resender.fail()
    for life in range(2, 80):
        resender.revive(1, life=life)
        resender.fail(life=life)
    assert resender.redelivery.resent > 1024
    assert len(resender.failures()) == 1


def test_the_original_policy_gives_a_revived_peer_one_copy_and_one_wait() -> None:
    resender = Resender(ResendPolicy.original())
    resender.sent(0)
    resender.fail()
    resender.resent.clear()
    revived = resender.now
    resender.now = revived
    resender.revive(1)
    resender.collect()
    resender.run(revived + 7.039)
    assert Failed(A, 2) not in resender.messages()
    resender.run(revived + 7.041)
    assert resender.messages() == [Failed(A, 2)]
    assert len(resender.resent) == 1


# Forgetting.


def test_a_peer_with_nothing_pending_is_forgotten_600_seconds_after_it_was_heard(resender: Resender) -> None:
    resender.sent(0, 3)
    resender.run(START + 5)
    resender.confirmed(0, 1, 2)
    resender.run(START + 5 + MEMORY - 0.001)
    assert resender.messages() == []
    resender.run(START + 5 + MEMORY)
    assert resender.messages() == [Unknown(A, 1, 3)]
    assert resender.redelivery.deadline() is None


def test_a_failed_peer_is_forgotten_600_seconds_after_the_last_copy_was_sent(resender: Resender) -> None:
    """The receiver forgets by what it heard last: that copy, even if none of its confirmations came through."""
    resender.sent(0)
    resender.fail()
    last_copy = resender.resent[-1][0]
    assert last_copy > START + 18
    resender.run(last_copy + MEMORY - 0.001)
    assert resender.messages() == []
    resender.run(last_copy + MEMORY)
    assert resender.messages() == [Unknown(A, 1, 1)]
    assert resender.redelivery.deadline() is None


def test_reviving_a_forgotten_peer_is_answered_that_it_is_unknown(resender: Resender) -> None:
    resender.now = START
    resender.revive(7)
    assert resender.messages() == [Unknown(A, 2, 7)]


def test_a_sending_that_crosses_the_word_that_its_peer_is_unknown_meets_it_anew(resender: Resender) -> None:
    resender.sent(0, 300)
    resender.confirmed(*range(168))
    resender.confirmed(*range(168, 300))
    resender.run(START + MEMORY)
    assert Unknown(A, 1, 300) in resender.messages()
    resender.sent(300)
    assert resender.redelivery.pending == 1
    assert resender.grants()[-1].limit == 812
    resender.confirmed(300)
    assert resender.redelivery.pending == 0


def test_the_user_can_have_a_peer_forgotten(resender: Resender) -> None:
    resender.sent(0, 2)
    resender.redelivery.forgotten(Forgotten(A, 1, [package(b"waits")]))
    assert resender.failures() == [(A, FailureReason.FORGOTTEN, [b"\0", b"\1", b"waits"])]
    assert resender.redelivery.pending == 0
    resender.run(START + 2 * MEMORY)
    assert resender.resent == []
    assert resender.messages() == []


def test_having_an_unknown_peer_forgotten_reports_what_waited(resender: Resender) -> None:
    resender.redelivery.forgotten(Forgotten(A, 1, []))
    assert resender.failures() == []
    resender.redelivery.forgotten(Forgotten(A, 1, [package(b"waits")]))
    assert resender.failures() == [(A, FailureReason.FORGOTTEN, [b"waits"])]


def test_having_a_failed_peer_forgotten_reports_nothing_again(resender: Resender) -> None:
    resender.sent(0)
    resender.fail()
    resender.failures()
    resender.redelivery.forgotten(Forgotten(A, 1, []))
    assert resender.failures() == []
    assert resender.redelivery.pending == 0


def test_a_peer_forgotten_while_it_fails_is_reported_once(resender: Resender) -> None:
    resender.sent(0)
    resender.run(START + 20)
    resender.redelivery.forgotten(Forgotten(A, 1, [package(b"waits")]))
    assert resender.failures() == [(A, FailureReason.SILENT, [b"\0", b"waits"])]
    assert resender.redelivery.pending == 0


def test_a_backlog_dropped_for_a_peer_that_is_gone_is_reported(resender: Resender) -> None:
    resender.redelivery.dropped(Dropped(A, 1, [package(b"waits")]))
    assert resender.failures() == [(A, FailureReason.SILENT, [b"waits"])]
