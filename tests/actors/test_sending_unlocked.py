"""Sending without the gate's lock: what nearly every `send` does is what it stands for, in the races too."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from packhorse import Closed, Full, OutPackage, Peers, Reliability
from packhorse.actors import admission as module
from packhorse.actors import handles
from packhorse.actors.admission import LANES, Admission
from packhorse.actors.clock import SYSTEM_CLOCK
from packhorse.actors.handles import PackageSender
from packhorse.actors.inbox import Inbox
from packhorse.actors.mailbox import Mailbox
from packhorse.actors.resolver import Resolver

HERE = ("10.0.0.1", 1)
THERE = ("10.0.0.2", 2)


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox("usender", SYSTEM_CLOCK)


@pytest.fixture
def gate(mailbox: Mailbox) -> Admission:
    return Admission(mailbox, SYSTEM_CLOCK)


def package(to: tuple[str, int] = HERE) -> OutPackage:
    return OutPackage(b"x", Reliability.UNORDERED, Peers.PLAYERS, to)


def take(mailbox: Mailbox) -> list[OutPackage]:
    """Take what waits, as usender does."""
    return cast("list[OutPackage]", mailbox.take() or [])


def handle(gate: Admission) -> PackageSender:
    """Make a handle with nothing behind it but the gate."""
    core: Any = SimpleNamespace(admission=gate, resolver=Resolver(("127.0.0.1", 1)), carry=None)
    return PackageSender(core, "usender")


@given(st.lists(st.one_of(st.sampled_from([HERE, THERE]), st.just("release")), max_size=40))
def test_sending_without_the_lock_comes_to_what_it_comes_to_with_it(steps: list[Any]) -> None:
    """The limit is set low, so that the edge is reached."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MAX_WAITING", 6)
        patch.setattr(handles, "PLENTY", 3)
        outcomes: list[Any] = []
        for quick in (False, True):
            mailbox = Mailbox("usender", SYSTEM_CLOCK)
            gate = Admission(mailbox, SYSTEM_CLOCK)
            sender = handle(gate)
            refused: list[int] = []
            for place, step in enumerate(steps):
                if step == "release":
                    gone = Counter(one.target for one in take(mailbox))
                    gate.release(gone, 0)
                    continue
                try:
                    numbered = OutPackage(b"%d" % place, Reliability.UNORDERED, Peers.PLAYERS, step)
                    sender.try_send(numbered) if quick else gate.send((numbered,), 0)
                except Full:
                    refused.append(place)
            outcomes.append((refused, mailbox.waiting(), gate.waiting(HERE), gate.waiting(THERE)))
    assert outcomes[0] == outcomes[1]


def test_all_packages_of_a_target_have_the_very_same_one(gate: Admission, mailbox: Mailbox) -> None:
    """Nodes tell by identity what belongs together."""
    sender = handle(gate)
    other = package()
    msgspec.structs.force_setattr(other, "target", (*HERE,))
    for one in (package(), other, package()):
        sender.try_send(one)
    first, second, third = mailbox.waiting()
    assert first.target is second.target is third.target
    assert other.target is not first.target


def test_a_lane_follows_its_target_when_that_is_resolved_anew(gate: Admission) -> None:
    """Or sending there would take the lock for ever."""
    sender, other = handle(gate), package()
    msgspec.structs.force_setattr(other, "target", (*HERE,))
    sender.try_send(package())
    gate.send((other,), 0)
    assert gate.lanes[HERE].target is other.target


def test_a_package_put_over_the_brim_is_taken_back(gate: Admission, mailbox: Mailbox) -> None:
    sender = handle(gate)
    sender.try_send(package())
    gate.brim = 1
    with pytest.raises(Full):
        sender.try_send(package())
    assert len(mailbox) == gate.waiting(HERE) == 1


def test_a_package_put_while_the_gate_closes_is_sent_or_refused(gate: Admission, mailbox: Mailbox) -> None:
    """Close between the ticket and the put; then usender takes the package, or does not."""
    sender = handle(gate)
    sender.try_send(package())
    append = mailbox.items.append
    for taken in (True, False):

        class Closing:
            def append(self, item: OutPackage) -> None:
                gate.close()
                append(item)
                if taken:  # noqa: B023 - called in this turn of the loop
                    mailbox.take()
                else:
                    mailbox.close()

            def __len__(self) -> int:
                return len(mailbox)

        sender._items = cast("Any", Closing())
        if taken:
            sender.try_send(package())
        else:
            with pytest.raises(Closed):
                sender.try_send(package())
        assert mailbox.waiting() == []


def test_a_ticket_of_a_lane_that_is_given_up_meanwhile_is_not_used(gate: Admission, mailbox: Mailbox) -> None:
    sender = handle(gate)
    sender.try_send(package())
    mailbox.take()
    gate.release({HERE: 1}, 0)
    lane = gate.lanes[HERE]
    gate._retire_lanes()
    assert HERE not in gate.lanes
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sender, "_lanes", {HERE: lane})  # as it was when the sender looked
        sender.try_send(package())
    assert gate.lanes[HERE] is not lane
    assert gate.waiting(HERE) == len(mailbox) == 1


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("lanes", [LANES, 1])
def test_what_many_senders_send_is_counted_right(
    gate: Admission, mailbox: Mailbox, lanes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With few lanes they are given up all the time."""
    monkeypatch.setattr(module, "LANES", lanes)
    gate._most_lanes = lanes
    monkeypatch.setattr(module, "MAX_WAITING", 80)
    monkeypatch.setattr(handles, "PLENTY", 80 - 64)
    senders, each = 4, 2000
    sender = handle(gate)

    def send() -> None:
        for number in range(each):
            sender.send(package(THERE if number % 7 == 0 else HERE), 20)

    threads = [threading.Thread(target=send) for _ in range(senders)]
    for thread in threads:
        thread.start()
    taken = 0
    inbox = Inbox(mailbox)
    while taken < senders * each:
        items = list(inbox.get().message.items)
        inbox.batch_done()
        taken += len(items)
        gate.release(Counter(one.target for one in items), 0)
        assert Counter(one.target for one in mailbox.waiting())[HERE] <= 80
    for thread in threads:
        thread.join(20)
    assert gate.waiting(HERE) == gate.waiting(THERE) == 0


@pytest.mark.usefixtures("hasty")
def test_of_what_is_sent_while_the_gate_closes_everything_is_taken_or_refused() -> None:
    for _ in range(50):
        mailbox = Mailbox("usender", SYSTEM_CLOCK)
        gate = Admission(mailbox, SYSTEM_CLOCK)
        sent: list[int] = []

        def send(sender: PackageSender, sent: list[int]) -> None:
            with suppress(Closed):
                while True:
                    sender.send(package())
                    sent.append(1)

        threads = [threading.Thread(target=send, args=(handle(gate), sent)) for _ in range(3)]
        for thread in threads:
            thread.start()
        taken = 0
        while taken < 100:
            items = take(mailbox)
            taken += len(items)
            gate.release({HERE: len(items)} if items else {}, 0)  # there is no lane before the first package
        gate.close()
        taken += len(take(mailbox))
        mailbox.close()
        for thread in threads:
            thread.join(20)
        assert len(sent) == taken
        assert mailbox.waiting() == []
