"""Our own stack's lateness: what has not left is not lost, and what has arrived is handled before a timeout counts."""

# pyright: reportPrivateUsage=false
# The reason: what was measured is not shown to anybody else.
from __future__ import annotations

import pytest

from packhorse.protocol import Address, ResendPolicy
from packhorse.protocol.lateness import PATIENCE, STUCK
from packhorse.protocol.messages import Confirmed, Left, Listen, Sent
from packhorse.protocol.redelivery import Redelivery
from packhorse.protocol.rtt import GRANULARITY, INITIAL_TIMEOUT
from packhorse.protocol.unconfirmed import Recovery

from .helpers import A, B, datagram


class Late:
    """A `Redelivery` in a stack that is late."""

    def __init__(self) -> None:
        self.redelivery = Redelivery(ResendPolicy(), lambda: 0.0, lateness=True)
        self.marks = 0

    def send(self, number: int, now: float, *, count: int = 1, target: Address = A, eager: int = 1) -> int:
        """Give a run its numbers; return its mark."""
        self.marks += 1
        datagrams = [datagram(one) for one in range(number, number + count)]
        self.redelivery.sent(Sent(target, 1, number, datagrams, 5 * number, now, eager, mark=self.marks))
        return self.marks

    def measure(self, seconds: float, target: Address = A) -> None:
        """Let a first round trip take so long, from 0 on."""
        self.redelivery.left(Left(self.send(0, 0.0, target=target), 0.0))
        self.confirm(seconds, 0, target=target)

    def confirm(self, now: float, *numbers: int, target: Address = A) -> None:
        self.redelivery.confirmed(Confirmed(target, numbers, now))
        self.tick(now)

    def tick(self, now: float, *, answered: bool = False) -> list[int]:
        """Do what is due, and if that is a question answer it; return the numbers that are sent again."""
        self.redelivery.tick(now)
        if answered:
            for question in self.asked():
                self.redelivery.heard(question)
            self.redelivery.tick(now)
        again = [int.from_bytes(one[1:4], "big") for run in self.redelivery.to_dsender for one in run.datagrams]
        self.redelivery.to_dsender.clear()
        return again

    def asked(self) -> list[Listen]:
        asked = self.redelivery.to_dreceiver.copy()
        self.redelivery.to_dreceiver.clear()
        return asked

    def recovery(self) -> Recovery:
        return self.redelivery._peers[A].recovery

    def deadline(self) -> float:
        deadline = self.redelivery.deadline()
        assert deadline is not None
        return deadline


def test_the_wait_begins_when_a_package_has_left() -> None:
    late = Late()
    mark = late.send(0, 10.0)
    assert late.tick(10.0 + INITIAL_TIMEOUT, answered=True) == []
    late.redelivery.left(Left(mark, 10.5))
    assert late.tick(10.5 + INITIAL_TIMEOUT - 0.001, answered=True) == []
    assert late.tick(10.5 + INITIAL_TIMEOUT, answered=True) == [0]


def test_the_timer_goes_off_in_time_however_late_the_package_left() -> None:
    late = Late()
    mark = late.send(0, 10.0)
    late.tick(10.0 + INITIAL_TIMEOUT)
    assert late.deadline() == pytest.approx(10.0 + 2 * INITIAL_TIMEOUT)
    late.redelivery.left(Left(mark, 10.1))
    assert late.deadline() == pytest.approx(10.1 + INITIAL_TIMEOUT)


def test_a_package_of_which_nobody_says_that_it_left_is_sent_again_all_the_same() -> None:
    late = Late()
    late.send(0, 10.0)
    now, again = 10.0, list[int]()
    while not again:
        now = late.deadline()
        again = late.tick(now, answered=True)
    assert again == [0]
    assert 10.0 + STUCK <= now <= 10.0 + STUCK + 2 * INITIAL_TIMEOUT


def test_a_mark_stands_for_everything_before_it() -> None:
    late = Late()
    late.send(0, 10.0)
    late.redelivery.left(Left(late.send(1, 10.0), 10.2))
    assert late.tick(10.499, answered=True) == []
    assert late.tick(10.5, answered=True) == [0, 1]


def test_a_round_trip_is_measured_from_when_the_package_left() -> None:
    late = Late()
    late.redelivery.left(Left(late.send(0, 10.0), 10.4))
    late.confirm(10.45, 0)
    assert late.recovery().round_trip.smoothed == pytest.approx(0.05)


def test_no_round_trip_is_measured_by_a_package_of_which_we_do_not_know_when_it_left() -> None:
    late = Late()
    late.send(0, 10.0)
    late.confirm(10.45, 0)
    assert late.recovery().round_trip.smoothed is None


def test_what_has_not_left_is_not_overtaken() -> None:
    late = Late()
    late.redelivery.left(Left(late.send(0, 10.0), 10.0))
    late.send(1, 10.01, count=3)
    assert late.tick(10.0 + INITIAL_TIMEOUT, answered=True) == [0]
    late.confirm(10.31, 0)
    assert late.tick(10.5, answered=True) == []


def test_an_eager_package_does_not_wait_for_word() -> None:
    late = Late()
    late.send(0, 10.0, eager=2)
    assert late.tick(10.003) == [0]
    assert late.tick(10.0 + INITIAL_TIMEOUT + 0.01, answered=True) == [0]


def test_a_timeout_asks_whether_everything_is_handled_that_has_arrived() -> None:
    late = Late()
    late.measure(0.05)
    late.redelivery.left(Left(late.send(1, 10.0), 10.0))
    due = 10.0 + late.recovery().round_trip.timeout
    assert late.tick(due) == []
    assert late.asked() == [Listen(due)]
    late.redelivery.heard(Listen(due))
    assert late.tick(due + 0.02) == [1]


def test_what_was_confirmed_before_the_answer_is_not_sent_again() -> None:
    late = Late()
    late.measure(0.05)
    late.redelivery.left(Left(late.send(1, 10.0), 10.0))
    due = 10.0 + late.recovery().round_trip.timeout
    late.tick(due)
    late.redelivery.confirmed(Confirmed(A, (1,), 10.06))
    late.redelivery.heard(Listen(due))
    assert late.tick(due + 0.02) == []


def test_a_question_without_an_answer_counts_as_answered_after_a_while() -> None:
    late = Late()
    late.redelivery.left(Left(late.send(0, 10.0), 10.0))
    asked = 10.0 + INITIAL_TIMEOUT
    late.tick(asked)
    assert late.deadline() == pytest.approx(asked + PATIENCE)
    assert late.tick(asked + PATIENCE) == [0]
    late.redelivery.heard(Listen(asked))
    assert late.tick(asked + PATIENCE) == [], "the answer comes too late to matter"


def test_one_question_serves_all_peers_but_not_those_that_come_later() -> None:
    late = Late()
    for target, now in ((A, 10.0), (B, 10.01)):
        late.redelivery.left(Left(late.send(0, now, target=target), now))
    late.tick(10.0 + INITIAL_TIMEOUT)
    late.tick(10.01 + INITIAL_TIMEOUT)
    (asked,) = late.asked()
    late.redelivery.heard(asked)
    assert late.tick(10.4) == [0], "what was asked for A says nothing of what came for B since"
    assert late.asked() == [Listen(10.4)]
    late.redelivery.heard(Listen(10.4))
    assert late.tick(10.4) == [0]


def test_probes_are_late_neither() -> None:
    late = Late()
    late.redelivery.left(Left(late.send(0, 10.0), 10.0))
    assert late.tick(10.3, answered=True) == [0]
    assert late.tick(10.9) == []
    assert late.asked() == [Listen(10.9)]
    late.redelivery.confirmed(Confirmed(A, (0,), 10.85))
    late.redelivery.heard(Listen(10.9))
    assert late.tick(10.95) == []


def test_a_renewed_redelivery_asks_anew() -> None:
    late = Late()
    late.redelivery.left(Left(late.send(0, 10.0), 10.0))
    late.tick(10.3)
    late.redelivery.renew(None, 10.4)
    assert late.tick(10.5) == []
    late.redelivery.heard(Listen(10.3))
    assert late.tick(10.5 + PATIENCE) == [], "the peer has failed; what was given up waits for the user"


def test_an_ordinary_loss_costs_no_time() -> None:
    late = Late()
    late.measure(0.05)
    late.redelivery.left(Left(late.send(1, 10.0, count=3), 10.0))
    late.redelivery.confirmed(Confirmed(A, (2, 3), 10.05))
    assert late.tick(10.05) == [1]
    assert late.asked() == []


def test_without_lateness_nothing_is_asked() -> None:
    redelivery = Redelivery(ResendPolicy(), lambda: 0.0)
    redelivery.sent(Sent(A, 1, 0, [datagram(0)], 0, 10.0, mark=1))
    redelivery.tick(10.0 + INITIAL_TIMEOUT + GRANULARITY)
    assert [run.datagrams for run in redelivery.to_dsender] == [[datagram(0)]]
    assert redelivery.to_dreceiver == []
