"""What is promised of packages between two peers, checked against what became of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from packhorse import FailureReason, Reliability

if TYPE_CHECKING:
    from packhorse import OutPackage
    from packhorse.testing import SimulatedPeer


def check(sender: SimulatedPeer, receiver: SimulatedPeer, sent: Sequence[OutPackage]) -> None:
    """Check the promises of all reliable packages from one peer to the other, given in the order they were sent.

    No two of them may have the same data.
    """
    place = {package.data: number for number, package in enumerate(sent)}
    assert len(place) == len(sent)
    reported_at: dict[int, float] = {}
    expired: set[int] = set()
    for failure, time in zip(sender.failures, sender.failed_at, strict=True):
        if failure.target == receiver.address:
            assert failure.count == len(failure.unconfirmed) > 0
            places = [place[package.data] for package in failure.unconfirmed]
            assert all(
                _same(sent[number], package) for number, package in zip(places, failure.unconfirmed, strict=True)
            )
            assert not reported_at.keys() & set(places), "reported twice"
            assert len(set(places)) == len(places), "reported twice"
            reported_at.update(dict.fromkeys(places, time))
            if failure.reason is FailureReason.EXPIRED:
                expired.update(places)
    settled: set[int] = set()
    arrived: Counter[int] = Counter()
    first_open = 0
    for package, time in zip(receiver.delivered, receiver.delivered_at, strict=True):
        if package.source != sender.address or not package.reliability:
            continue
        number = place[package.data]
        assert (package.reliability, package.peers) == (sent[number].reliability, sent[number].peers)
        arrived[number] += 1
        assert arrived[number] == 1, "delivered twice"
        assert number not in expired, "expired and delivered all the same"
        if package.reliability is Reliability.SEMI_ORDERED:
            while first_open in settled or reported_at.get(first_open, time + 1) <= time:
                first_open += 1
            assert number <= first_open, "semi-ordered came too early"
        settled.add(number)
    missing = set(range(len(sent))) - settled - reported_at.keys()
    assert not missing, f"neither delivered nor reported: {sorted(missing)}"


def _same(one: OutPackage, other: OutPackage) -> bool:
    return (one.reliability, one.peers, one.target) == (other.reliability, other.peers, other.target)
