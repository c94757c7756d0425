"""Who knows a numbering: what the sending half makes of echoes and refusals."""

# pyright: reportPrivateUsage=false
# The reason: it looks at which life was reported.
from __future__ import annotations

import copy
import pickle

from hypothesis import given
from hypothesis import strategies as st

from packhorse.protocol import FailureReason, OutPackage, PeerRestarted, Peers, ResendPolicy
from packhorse.protocol.header import INTRODUCTION, pack_header
from packhorse.protocol.identity import (
    NOBODY,
    mark_of_numbering,
    pack_echo,
    read_echo,
)
from packhorse.protocol.introducing import Restarts
from packhorse.protocol.messages import (
    Confirmed,
    Refused,
    Restarted,
)
from packhorse.protocol.numbering import Numbering
from packhorse.protocol.redelivery import Redelivery

from .helpers import SEMI_ORDERED, UNORDERED, A, package
from .sending import FIRST, ONE, SECOND, TWO, US, Sender, chosen, echo, introduced, with_hint


def test_each_package_is_introduced_until_the_numbering_is_acknowledged() -> None:
    sender = Sender()
    packages = [with_hint(number, b"x", chosen()) for number in range(4)]
    assert sender.send(b"x") == introduced(packages[0])
    assert sender.send(b"x") == introduced(packages[1])
    assert sender.send(b"x", now=5.0) == introduced(packages[2])
    sender.confirm(0, echo=echo(), now=5.1)
    assert sender.send(b"x", now=5.2) == [with_hint(3, b"x", 3)]


def test_packages_that_leave_together_are_introduced_together() -> None:
    sender = Sender()
    packages = [with_hint(number, b"x", chosen()) for number in range(70)]
    assert sender.send(*[b"x"] * 70) == introduced(*packages[:64]) + introduced(*packages[64:])


def test_runs_are_introduced_64_packages_at_a_time() -> None:
    sender = Sender()
    sender.send(b"x")
    run = [package(b"y")] * 100
    assert sender.numbering.send_run(run, 0, 0.0) == 100
    packages = [with_hint(number, b"y", chosen()) for number in range(1, 101)]
    assert sender.send() == introduced(*packages[:64]) + introduced(*packages[64:])
    again = sender.refuse(chosen(), now=0.1)
    first = with_hint(0, b"x", chosen())
    assert again == introduced(first, *packages[:31], attempt=1)


def test_an_original_that_confirms_is_introduced_to_no_more() -> None:
    sender = Sender()
    sender.send(b"a")
    sender.confirm(0)
    assert sender.send(b"b", now=1.0) == [with_hint(1, b"b", chosen())]


def test_a_numbering_that_the_peer_knows_is_not_introduced_again() -> None:
    sender = Sender()
    sender.send(b"a")
    sender.confirm(0, echo=echo())
    assert len(sender.send(b"b")) == 1


def test_each_target_has_a_numbering_of_its_own() -> None:
    sender = Sender()
    sender.send(b"a")
    other = OutPackage(b"b", UNORDERED, Peers.PLAYERS, ("10.0.0.9", 9))
    sender.numbering.send(other, 0.0)
    first = with_hint(0, b"b", chosen(SECOND))
    assert sender.numbering.to_dsender[0].datagrams == introduced(first, series=SECOND)[:1]


def test_it_goes_ahead_again_of_whatever_is_sent_again_until_it_is_acknowledged() -> None:
    sender = Sender()
    sender.send(b"a")
    assert sender.tick(0.3) == introduced(with_hint(0, b"a", chosen()))
    sender.confirm(0, echo=echo(), now=0.4)
    assert sender.send(b"b", now=1.0) == [with_hint(1, b"b", 3)]
    assert sender.tick(5.0) == [with_hint(1, b"b", 3)]


def test_what_is_sent_again_carries_the_hint_in_use() -> None:
    sender = Sender()
    sender.send(b"a", b"b")
    sender.confirm(1, echo=echo(), now=0.1)
    assert sender.tick(0.2) == [with_hint(0, b"a", 3)]


def test_an_original_ends_the_introductions_by_confirming() -> None:
    sender = Sender()
    sender.send(b"a", b"b")
    sender.confirm(0, now=0.1)
    assert sender.tick(1.0) == [with_hint(1, b"b", chosen())]
    anything = read_echo(bytes.fromhex("80FF0001000001"))  # an original may leave that in these bits
    sender.confirm(1, echo=anything, now=1.1)
    assert sender.redelivery.pending == 0
    assert sender.failures() == []


def test_a_sign_of_life_does_not_end_them() -> None:
    sender = Sender()
    sender.send(b"a")
    sender.confirm()
    assert sender.tick(0.5) == introduced(with_hint(0, b"a", chosen()))


def test_a_confirmation_of_another_life_of_ours_is_ignored_altogether() -> None:
    sender = Sender()
    sender.send(b"a")
    sender.confirm(0, echo=echo(SECOND))
    assert (sender.redelivery.pending, sender.redelivery.strange) == (1, 1)
    assert sender.tick(0.5) == introduced(with_hint(0, b"a", chosen())), "it acknowledges nothing"


def test_nor_is_one_whose_mark_differs_only_in_what_is_behind_the_ids() -> None:
    sender = Sender()
    sender.send(b"a")
    mark = mark_of_numbering(US, FIRST)
    sender.confirm(0, echo=pack_echo(3, mark ^ 1 << 25, ONE))
    sender.confirm(0, echo=pack_echo(3, mark ^ 1 << 10, ONE))
    assert (sender.redelivery.pending, sender.redelivery.strange) == (1, 2)


def test_a_peer_that_refuses_the_hint_it_assigned_was_restarted() -> None:
    sender = Sender()
    sender.send(b"a", b"b")
    sender.confirm(0, echo=echo())
    assert sender.refuse(3, TWO, 0.5) == []
    (failure,) = sender.failures()
    assert isinstance(failure, PeerRestarted)
    assert (failure.reason, failure.target) == (FailureReason.RESTARTED, A)
    assert [gone.data for gone in failure.unconfirmed] == [b"b"]
    assert sender.redelivery.pending == 0
    first = with_hint(0, b"c", chosen(SECOND, 1.0))
    assert sender.send(b"c", now=1.0) == introduced(first, series=SECOND, now=1.0)


def test_a_peer_that_refuses_the_hint_it_assigned_was_restarted_though_we_forgot_that_it_assigned_it() -> None:
    """Redelivery forgets the peer while Numbering sends to it once more: their messages cross."""
    sender = Sender()
    sender.send(b"a")
    sender.confirm(0, echo=echo())
    sender.numbering.send(package(b"b"), 600.2)
    sender.redelivery.tick(600.2)
    assert sender.send(now=600.2) == [with_hint(1, b"b", 3)], "it needs no introduction"
    assert sender.tick(now=600.6) == [with_hint(1, b"b", 3)], "nor does it when it is sent again"
    assert sender.refuse(3, by=TWO, now=600.7) == []
    (failure,) = sender.failures()
    assert (type(failure), [gone.data for gone in failure.unconfirmed]) == (PeerRestarted, [b"b"])
    packages = [with_hint(0, b"c", chosen(SECOND, 600.8), SECOND)]
    assert sender.send(b"c", now=600.8) == introduced(*packages, series=SECOND, now=600.8)


def test_what_it_had_to_keep_is_reported_too() -> None:
    sender = Sender()
    sender.send(b"a", b"b", kind=SEMI_ORDERED)
    sender.confirm(1, echo=echo())
    sender.refuse(3, TWO, 0.5)
    (failure,) = sender.failures()
    assert [gone.data for gone in failure.unconfirmed] == [b"a", b"b"]


def test_what_had_no_number_yet_goes_on_to_the_new_life() -> None:
    sender = Sender(window=1)
    sender.send(b"a", b"b", kind=UNORDERED)
    sender.confirm(echo=echo())
    first = with_hint(0, b"b", chosen(SECOND, 1.0))
    assert sender.refuse(3, TWO, 1.0) == introduced(first, series=SECOND, now=1.0)
    (failure,) = sender.failures()
    assert [gone.data for gone in failure.unconfirmed] == [b"a"]


def test_a_restart_is_told_once_though_both_halves_notice_it() -> None:
    sender = Sender()
    sender.send(b"a")
    sender.confirm(0, echo=echo())
    sender.refuse(3, TWO)
    sender.send(b"b", now=1.0)
    assert sender.restarted(TWO) == []
    assert len(sender.failures()) == 1
    assert sender.redelivery.pending == 1, "the new numbering is for that life"
    sender.confirm(0, echo=echo(SECOND, 4, TWO), now=1.1)
    assert sender.redelivery.pending == 0
    sender.restarted(79)
    assert [type(failure) for failure in sender.failures()] == [PeerRestarted], "the next life"


def test_a_restart_is_told_though_nothing_was_ever_sent_to_the_peer() -> None:
    sender = Sender()
    sender.restarted(ONE)
    (failure,) = sender.failures()
    assert isinstance(failure, PeerRestarted)
    assert failure.count == 0
    assert str(failure) == "10.0.0.1 port 1 was restarted, 0 packages unconfirmed"


def test_a_numbering_that_the_new_life_has_acknowledged_goes_on() -> None:
    sender = Sender()
    sender.send(b"a", b"b")
    sender.confirm(0, echo=echo(by=TWO))
    sender.restarted(TWO)
    (failure,) = sender.failures()
    assert failure.count == 0
    assert sender.send(b"c") == [with_hint(2, b"c", 3, by=TWO)]


def test_an_echo_of_another_life_than_the_one_that_acknowledged_tells_of_a_restart() -> None:
    sender = Sender()
    sender.send(b"a", b"b")
    sender.confirm(0, echo=echo())
    sender.confirm(1, echo=echo(by=TWO))
    (failure,) = sender.failures()
    assert isinstance(failure, PeerRestarted)
    assert failure.count == 1, "the new life may have it, but not the old one"


def test_a_peer_that_has_only_forgotten_us_is_not_reported_as_restarted() -> None:
    sender = Sender()
    sender.send(b"a")
    sender.confirm(0, echo=echo())
    assert sender.refuse(3, ONE) == []
    assert sender.failures() == []
    sender.send(b"b", now=1.0)
    sender.confirm(echo=echo(SECOND))
    sender.refuse(3, ONE)
    (failure,) = sender.failures()
    assert (failure.reason, failure.count) == (FailureReason.FORGOTTEN, 1)


def test_a_peer_that_begins_or_ceases_to_echo_was_replaced() -> None:
    sender = Sender()
    sender.send(b"a", b"b")
    sender.confirm(0, echo=echo())
    sender.confirm(1)
    assert [failure.count for failure in sender.failures()] == [1]
    assert sender.numbering._restarts.last(A) == NOBODY
    sender.send(b"c", b"d", now=1.0)
    sender.confirm(0, now=1.1)
    sender.confirm(echo=echo(SECOND, by=TWO), now=1.2)
    assert [failure.count for failure in sender.failures()] == [1]


def test_after_the_user_closed_the_sender_a_restart_is_reported_at_once() -> None:
    sender = Sender()
    sender.send(b"a")
    sender.confirm(echo=echo())
    sender.redelivery.backlog_ended()
    sender.refuse(3, TWO)
    assert [type(failure) for failure in sender.failures()] == [PeerRestarted]
    assert sender.redelivery.pending == 0


def test_a_failed_peer_that_was_restarted_meanwhile_gets_nothing_of_before() -> None:
    sender = Sender()
    sender.send(b"a")
    sender.confirm(echo=echo())
    sender.tick(21.0)
    assert [failure.reason for failure in sender.failures()] == [FailureReason.SILENT]
    assert sender.send(b"b", now=30.0)[0] == with_hint(0, b"a", 3)
    assert sender.refuse(3, TWO, 30.1) == []
    (failure,) = sender.failures()
    assert isinstance(failure, PeerRestarted)
    assert [gone.data for gone in failure.unconfirmed] == [b"b"], "the other one was reported before"
    assert sender.send(b"c", now=31.0)[0][0] == INTRODUCTION


def test_without_an_identity_nothing_is_introduced_and_no_echo_understood() -> None:
    numbering, redelivery = Numbering(), Redelivery(ResendPolicy(), lambda: 0.5)
    numbering.send(package(b"a"), 0.0)
    (run,) = numbering.to_dsender
    assert run.datagrams == [pack_header(UNORDERED, Peers.PLAYERS, 0) + b"a"]
    redelivery.sent(numbering.to_resender[0])  # type: ignore[arg-type]
    redelivery.refused(Refused(A, 0, ONE, 0.1))
    redelivery.confirmed(Confirmed(A, [0], 0.1, echo(SECOND)))
    assert redelivery.pending == 0
    assert not any(isinstance(message, Restarted) for message in redelivery.to_usender)


def test_only_the_latest_restarts_are_remembered() -> None:
    restarts = Restarts()
    for number in range(2000):
        assert restarts.is_news((str(number), 1), ONE)
    assert not restarts.is_news(("1999", 1), ONE)
    assert restarts.is_news(("0", 1), ONE), "long forgotten"
    assert len(restarts._marks) == 1024


def test_state_that_is_made_anew_goes_on_with_the_same_numbering() -> None:
    sender = Sender()
    sender.send(b"a", b"b")
    sender.confirm(0, echo=echo())
    sender.numbering.renew(A, 0.2)
    assert sender.send(b"c", now=0.2) == [with_hint(2, b"c", 3)]
    sender.redelivery.renew(A, 0.3)
    sender.tick(0.3)
    assert sender.refuse(3, TWO, 0.4) == []
    assert isinstance(sender.failures()[-1], PeerRestarted)


def test_a_restart_is_copied_and_pickled_as_what_it_is() -> None:
    told = PeerRestarted(A, [package(b"a")], 3)
    for again in (copy.copy(told), pickle.loads(pickle.dumps(told))):  # noqa: S301 - our own
        assert type(again) is PeerRestarted
        assert (again.target, again.reason, again.unconfirmed, again.count) == (
            A,
            FailureReason.RESTARTED,
            (package(b"a"),),
            3,
        )


@given(
    st.lists(
        st.tuples(st.integers(0, 15), st.integers(0, 3), st.integers(0, 2), st.booleans(), st.floats(0, 3)), max_size=30
    )
)
def test_whatever_echoes_and_refusals_come_each_package_is_confirmed_or_reported_once(
    answers: list[tuple[int, int, int, bool, float]],
) -> None:
    sender, now = Sender(), 0.0
    confirmed = reported = 0
    for sent, (hint, mark, by, refusing, later) in enumerate(answers, 1):
        now += later
        sender.send(b"%d" % sent, now=now)
        if refusing:
            sender.refuse(hint, by, now)
        else:
            pending = sender.redelivery.pending
            sender.confirm(0, 1, echo=pack_echo(hint, mark_of_numbering(US, 16 * mark), by), now=now)
            gone = sum(failure.count for failure in sender.redelivery.failures + sender.numbering.failures)
            confirmed += pending - sender.redelivery.pending - gone
        reported += sum(failure.count for failure in sender.failures())
        assert confirmed + reported + sender.redelivery.pending + sender.numbering.waiting == sent
