"""Making state anew from the bare facts: what is lost is reported, and numbering goes on without a hole."""

# pyright: reportPrivateUsage=false
# The reason: tables are broken and looked into.
from __future__ import annotations

import pickle
import random

import pytest

from packhorse.protocol import FailureReason, OutPackage, PeerFailed, Peers
from packhorse.protocol.messages import Dropped, Failed, Flush, Grant, Sent
from packhorse.protocol.numbering import Numbering
from packhorse.testing import Link, Simulation

from ..simulation.promises import check
from .helpers import SEMI_ORDERED, A, B, package
from .resending import Resender
from .test_receiving import Receiver


def numbers(numbering: Numbering, target: tuple[str, int] = A) -> list[int]:
    """Take the numbers given for a target."""
    runs = [run for run in numbering.to_resender if isinstance(run, Sent) and run.target == target]
    numbering.to_resender.clear()
    return [run.first + place for run in runs for place in range(len(run.datagrams))]


# Numbering.


@pytest.mark.parametrize("address", [A, None])
def test_a_renewed_target_reports_its_backlog_and_goes_on_counting(address: tuple[str, int] | None) -> None:
    numbering = Numbering(window=3)
    for place in range(5):
        numbering.send(package(b"%d" % place), 0.0)
    assert numbers(numbering) == [0, 1, 2]
    numbering.renew(address, 1.0)
    (failure,) = numbering.failures
    assert failure.reason is FailureReason.POISONED
    assert [lost.data for lost in failure.unconfirmed] == [b"3", b"4"]
    assert numbering.waiting == 0
    assert numbering.released == {A: 5}
    numbering.granted(Grant(A, 1, 10, 100_000), 2.0)
    numbering.send(package(), 3.0)
    assert numbers(numbering) == [3]


def test_renewing_counts_anew_what_waits() -> None:
    """A wrong count would keep usender from ending for ever."""
    numbering = Numbering(window=1)
    for target in (A, A, B, B, B):
        numbering.send(package(target=target), 0.0)
    numbering.waiting = 99
    numbering.renew(A, 1.0)
    assert numbering.waiting == 2


def test_renewing_one_target_leaves_the_others_alone() -> None:
    numbering = Numbering(window=1)
    for target in (A, B):
        for _ in range(3):
            numbering.send(package(target=target), 0.0)
    numbering.renew(A, 1.0)
    assert [failure.target for failure in numbering.failures] == [A]
    assert numbering.waiting == 2


def test_a_flush_does_not_wait_for_what_a_renewal_gave_up() -> None:
    numbering = Numbering(window=1)
    for _ in range(3):
        numbering.send(package(), 0.0)
    numbering.flush("token")
    assert not any(isinstance(message, Flush) for message in numbering.to_resender)
    numbering.renew(A, 1.0)
    assert [message.token for message in numbering.to_resender if isinstance(message, Flush)] == ["token"]


def test_renewing_what_is_not_known_changes_nothing() -> None:
    numbering, resender, receiver = Numbering(), Resender(), Receiver()
    numbering.renew(A, 1.0)
    resender.redelivery.renew(A, 1.0)
    receiver.receiving.renew(A, 1.0)
    assert (numbering.failures, resender.redelivery.to_usender, receiver.confirmed()) == ([], [], [])


# Redelivery.


@pytest.mark.parametrize("address", [A, None])
def test_a_renewed_peer_is_reported_and_what_it_holds_goes_first_later(address: tuple[str, int] | None) -> None:
    resender = Resender()
    resender.sent(0, 4, reliability=SEMI_ORDERED)
    resender.confirmed(0, 2)
    resender.redelivery.renew(address, resender.now)
    assert resender.messages() == [Failed(A, 1)]
    resender.redelivery.dropped(Dropped(A, 1, [package(b"backlog")]))
    # Number 2 is confirmed, but the receiver keeps it behind 1.
    assert resender.failures() == [(A, FailureReason.POISONED, [b"\x01", b"\x02", b"\x03", b"backlog"])]
    assert resender.redelivery.pending == 0
    resender.revive(4)
    resender.collect()
    assert [datagram[3] for _, datagram in resender.resent] == [1, 3]


def test_a_peer_whose_timers_are_broken_works_after_a_renewal() -> None:
    resender = Resender()
    resender.sent(0, 2)
    resender.redelivery._timers = None  # type: ignore[assignment] # what a bug might leave
    resender.redelivery.renew(None, resender.now)
    resender.redelivery.dropped(Dropped(A, 1, []))
    assert resender.failures() == [(A, FailureReason.POISONED, [b"\x00", b"\x01"])]
    resender.revive(2)
    resender.run(resender.now + 5.0)
    resender.confirmed(0, 1)
    assert resender.redelivery.pending == 0


def test_a_renewed_peer_that_had_failed_is_not_reported_twice() -> None:
    resender = Resender()
    resender.sent(0, 2)
    resender.fail()
    assert len(resender.failures()) == 1
    resender.redelivery.renew(None, resender.now)
    assert resender.failures() == []
    assert resender.messages() == []
    resender.revive(2)
    resender.collect()
    assert [datagram[3] for _, datagram in resender.resent][-2:] == [0, 1]


# Receiving.


@pytest.mark.parametrize("address", [A, None])
def test_a_renewed_source_loses_and_doubles_nothing(address: tuple[str, int] | None) -> None:
    receiver = Receiver()
    delivered = receiver.take(0, SEMI_ORDERED) + receiver.take(2, SEMI_ORDERED) + receiver.take(4, SEMI_ORDERED)
    receiver.receiving._sources[A].kept_order = []  # what a bug might leave
    receiver.receiving.renew(address, 2.0)
    assert receiver.receiving.kept == 2
    for number in (0, 2, 1, 4, 3):
        delivered += receiver.take(number, SEMI_ORDERED, time=3.0)
    assert delivered == [0, 1, 2, 3, 4]
    assert receiver.receiving.kept == 0


# All of it.


@pytest.mark.parametrize("seed", range(40))
def test_renewing_at_random_moments_breaks_no_promise(seed: int) -> None:
    rng = random.Random(seed)
    simulation = Simulation(seed=seed)
    one, other = simulation.peer(("10.0.0.1", 1)), simulation.peer(("10.0.0.2", 2))
    links = [Link(loss=rng.choice((0.0, 0.2)), delay=0.02, seed=seed + place) for place in range(2)]
    simulation.connect(one, other, *links)
    sent: list[OutPackage] = []

    def send(number: int) -> None:
        sent.append(OutPackage(b"%d" % number, SEMI_ORDERED, Peers.PLAYERS, other.address))
        one.send(sent[-1])

    for number in range(400):
        simulation.at(rng.random() * 2.5, send, number)
    for _ in range(rng.randrange(1, 5)):
        moment = rng.random() * 3.0
        half = rng.choice((one.numbering, one.redelivery, other.receiving))
        simulation.at(moment, half.renew, rng.choice((None, other.address, one.address)), moment)
    simulation.at(4.0, send, 400)  # what was given up goes first now
    simulation.run(60.0)
    check(one, other, sent)


def test_a_report_survives_copying_and_pickling() -> None:
    failure = PeerFailed(A, FailureReason.SILENT, [package(b"x")], 7)
    again = pickle.loads(pickle.dumps(failure))  # noqa: S301 - our own
    assert (again.target, again.reason, again.unconfirmed, again.count) == (A, failure.reason, failure.unconfirmed, 7)
    assert str(again) == str(failure)
