"""Flushes: each is told when everything sent before it is settled, whatever becomes of its targets."""

# pyright: reportPrivateUsage=false
# The reason: it counts how often targets are looked at.
from __future__ import annotations

import pytest

from packhorse import Reliability
from packhorse.protocol.address import Address
from packhorse.protocol.messages import Confirmed, Flush, Grant, Restarted, Sent
from packhorse.protocol.numbering import Numbering
from packhorse.protocol.policy import ResendPolicy
from packhorse.protocol.redelivery import Redelivery
from packhorse.testing import Link, Simulation

from .helpers import A, B, datagram, package

MUCH = 10**6


def _flushed(numbering: Numbering) -> list[object]:
    tokens = [message.token for message in numbering.to_resender if type(message) is Flush]
    numbering.to_resender.clear()
    return tokens


def _grant(numbering: Numbering, target: tuple[str, int]) -> None:
    numbering.granted(Grant(target, numbering._targets[target].life, 1024, MUCH), 0.1)


@pytest.mark.parametrize("end", ["restarted", "forget"])
def test_a_target_that_has_nothing_left_is_not_waited_for_again_when_it_begins_anew(end: str) -> None:
    numbering = Numbering(identity=5 << 40)
    for target in (A, B):
        for _ in range(50):
            numbering.send(package(bytes(500), target=target), 0.0)
    numbering.flush("token")
    _grant(numbering, A)
    if end == "restarted":
        numbering.restarted(Restarted(A, 99), 0.2)
    else:
        numbering.forget(A)
    numbering.send(package(target=A), 0.3)
    assert _flushed(numbering) == [], "packages for the other one wait"
    _grant(numbering, B)
    assert numbering.waiting == 0
    assert _flushed(numbering) == ["token"]


def test_a_flush_ends_though_one_peer_is_restarted_while_another_is_slow() -> None:
    simulation = Simulation(1)
    here, quick, slow = (simulation.peer((f"10.0.0.{number}", 1)) for number in range(3))
    simulation.connect(here, quick, Link(delay=0.01), Link(delay=0.01, seed=1))
    simulation.connect(here, slow, Link(delay=0.5, bandwidth=1e6), Link(delay=0.5, seed=1))
    for peer, number in ((quick, 200), (slow, 500)):
        for _ in range(number):
            here.send(package(bytes(500), target=peer.address))
    here.flush("token")
    simulation.at(1.0, simulation.restart, quick)
    for second in range(1, 30):
        simulation.at(float(second), here.send, package(b"one", Reliability.UNORDERED, quick.address))
    simulation.run(60.0)
    assert len(slow.delivered) == 500
    assert here.flushed == ["token"]


def test_a_confirmation_makes_a_flush_look_at_its_own_target_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    redelivery = Redelivery(ResendPolicy(), lambda: 0.0)
    targets = [("10.0.0.1", port) for port in range(1, 101)]
    for target in targets:
        redelivery.sent(Sent(target, 1, 0, [datagram(0)], 0, 0.0))
    redelivery.flush(Flush(dict.fromkeys(targets, (1, 1)), "token"))
    looked: list[object] = []
    settled = redelivery._settled

    def look(target: Address, life: int, mark: int) -> bool:
        looked.append(target)
        return settled(target, life, mark)

    monkeypatch.setattr(redelivery, "_settled", look)
    for target in targets:
        assert redelivery.flushed == []
        redelivery.confirmed(Confirmed(target, [0], 0.1))
    assert redelivery.flushed == ["token"]
    assert looked == targets
