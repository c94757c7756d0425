"""Every recording of the original's traffic, replayed in virtual time against a whole stack."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

import packhorse
from packhorse import ConfirmPolicy, FailureReason, ResendPolicy
from packhorse.protocol.header import CONTROL, INTRODUCTION, REFUSAL, unpack_confirmation
from packhorse.testing import ManualClock, MemoryNetwork

from .recordings import (
    BETWEEN_STACKS,
    ELSEWHERE,
    GOLDEN,
    STRANGE_HINT,
    WITH_A_PEER,
    Content,
    Datagram,
    content,
    expected,
    inputs,
    load,
    out_package,
    seen,
)

if TYPE_CHECKING:
    from packhorse import Address, PeerFailed, Stack

STACK = ("10.0.0.1", 1)
PEER = ("10.0.0.2", 2)
LINGER = 5.0
"""Seconds that the original gives unconfirmed packages when it ends."""
RECORDED = 0.002
"""Seconds by which a recorded time may be off: the original took some to react, and the recorder to note it."""


class Replay:
    """A stack that is told what the recorded one was told, and what came of it."""

    def __init__(
        self, name: str, resend: ResendPolicy, confirm: ConfirmPolicy, *, identity: bool | None = None
    ) -> None:
        self.clock = ManualClock()
        network = MemoryNetwork(self.clock)
        self._start = self.clock.now() + 1
        self._peer = network.peer(PEER)
        self.stack = packhorse.startup(
            clock=self.clock,
            transport=network.transport(STACK),
            resend=resend,
            confirm=confirm,
            random=lambda: 0.5,
            identity=name != STRANGE_HINT if identity is None else identity,
        )
        self.left: list[PeerFailed] = []
        self.received: list[Content] = []
        self.failures: list[PeerFailed] = []
        recording = load(name)
        try:
            for event in inputs(recording):
                self._wait_for(event["t"])
                self._happen(event)
        finally:
            self._close()

    @property
    def raw(self) -> list[Datagram]:
        """What the stack sent, with times as in the recording."""
        return [Datagram(arrival.time - self._start, arrival.datagram) for arrival in self._peer.arrivals]

    @property
    def datagrams(self) -> list[Datagram]:
        """The same, as an original reads it."""
        read = [(datagram.time, seen(datagram.data)) for datagram in self.raw]
        return [Datagram(time, data) for time, data in read if data is not None]

    def _wait_for(self, time: float) -> None:
        self.clock.advance(max(0.0, self._start + time - self.clock.now()))

    def _happen(self, event: dict[str, Any]) -> None:
        if event.get("event") == "sent":
            self.stack.sender.send(out_package(event["spec"], PEER))
        elif event.get("event") == "end":
            self.received = [content(package) for package in self.stack.receiver.drain()]
            self.failures = self.stack.errors.drain()
        else:
            self._peer.send(STACK, bytes.fromhex(event["hex"]))

    def _close(self) -> None:
        _begin_to_close(self.stack)
        self.clock.advance(LINGER)
        self.left = self.stack.errors.drain()
        assert self.stack.close() == []


def _begin_to_close(stack: Stack) -> None:
    stack.supervisor.proxy().close(LINGER).get()


def _up_to_the_end(name: str, datagrams: list[Datagram]) -> list[Datagram]:
    """Leave out what the stack sent while it closed, unless that was recorded too."""
    if name.startswith("graceful_end"):
        return datagrams
    end = next(event["t"] for event in load(name)["events"] if event.get("event") == "end")
    return [datagram for datagram in datagrams if datagram.time < end]


def _is_confirmation(datagram: Datagram) -> bool:
    return datagram.data[0] == CONTROL


def test_every_recording_is_replayed() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == {*WITH_A_PEER, *BETWEEN_STACKS, *ELSEWHERE}


@pytest.mark.parametrize("name", WITH_A_PEER)
def test_with_the_originals_policies_a_stack_does_what_the_original_did(name: str) -> None:
    replay = Replay(name, ResendPolicy.original(), ConfirmPolicy.original())
    recorded = expected(load(name))
    sent = _up_to_the_end(name, replay.datagrams)
    assert [datagram.data for datagram in sent] == [datagram.data for datagram in recorded.datagrams]
    assert replay.received == recorded.received
    assert [failure.target for failure in replay.failures] == [PEER] * recorded.failures
    copies: dict[bytes, list[float]] = {}
    for ours, theirs in zip(sent, recorded.datagrams, strict=True):
        earlier = copies.setdefault(ours.data, [])
        if earlier and not _is_confirmation(ours):
            base = 0.22 * 2 ** (len(earlier) - 1)
            assert base <= ours.time - earlier[-1] < 1.5 * base
        elif name == "graceful_end":
            assert ours.time <= theirs.time
        else:
            assert abs(ours.time - theirs.time) <= RECORDED
        earlier.append(ours.time)


@pytest.mark.parametrize("name", WITH_A_PEER)
def test_with_its_own_policies_a_stack_sends_receives_and_confirms_the_same(name: str) -> None:
    replay = Replay(name, ResendPolicy(), ConfirmPolicy())
    recorded = expected(load(name))
    sent = _up_to_the_end(name, replay.datagrams)
    assert replay.received == recorded.received
    assert [failure.target for failure in replay.failures] == [PEER] * recorded.failures

    def packages(datagrams: list[Datagram]) -> list[bytes]:
        """Return each package once, in the order of first sendings."""
        return list(dict.fromkeys(datagram.data for datagram in datagrams if not _is_confirmation(datagram)))

    def confirmed(datagrams: list[Datagram]) -> list[int]:
        """Return every id in order of confirmation."""
        return [
            number
            for datagram in datagrams
            if _is_confirmation(datagram)
            for number in unpack_confirmation(datagram.data)
        ]

    def first(ids: list[int]) -> list[int]:
        """Return each id once, in order of first confirmation."""
        return list(dict.fromkeys(ids))

    assert packages(sent) == packages(recorded.datagrams)
    in_order = recorded.datagrams
    if name == "confirm_batch_250":  # more than a datagram holds, which the original confirms newest first
        in_order = in_order[::-1]
    ours, theirs = confirmed(sent), confirmed(in_order)
    assert first(ours) == first(theirs)
    assert not Counter(theirs) - Counter(ours), "recent ids may be confirmed again, but none less often than it came"


@pytest.mark.parametrize("name", WITH_A_PEER)
def test_without_an_identity_not_even_a_bit_is_different(name: str) -> None:
    replay = Replay(name, ResendPolicy(), ConfirmPolicy(), identity=False)
    assert replay.raw == replay.datagrams


def test_a_hint_that_nobody_introduced_is_refused() -> None:
    replay = Replay(STRANGE_HINT, ResendPolicy(), ConfirmPolicy(), identity=True)
    plain = Replay(STRANGE_HINT, ResendPolicy(), ConfirmPolicy(), identity=False)
    missing = Counter(plain.received) - Counter(replay.received)
    assert missing == {("unordered", "players", "ab"): 1}
    assert [datagram.data[:2].hex() for datagram in replay.raw if datagram.data[0] == REFUSAL] == ["82f0"]


@pytest.mark.parametrize("name", [name for name in WITH_A_PEER if name != STRANGE_HINT])
def test_with_an_identity_an_original_sees_what_it_sees_without_one(name: str) -> None:
    plain, told = (Replay(name, ResendPolicy(), ConfirmPolicy(), identity=identity) for identity in (False, True))
    assert told.datagrams == plain.raw
    assert told.received == plain.received
    assert [(failure.reason, failure.count) for failure in told.failures] == [
        (failure.reason, failure.count) for failure in plain.failures
    ]
    if any(not _is_confirmation(datagram) and datagram.data[0] & 0x60 for datagram in plain.raw):
        first = next(datagram for datagram in told.raw if datagram.data[0] & 0x60 or datagram.data[0] == INTRODUCTION)
        assert first.data[0] == INTRODUCTION, "an introduction goes ahead of the first reliable package"


@pytest.mark.parametrize("name", ["graceful_end", "graceful_end_unconfirmed"])
def test_a_stack_that_ends_leaves_unconfirmed_what_the_original_left(name: str) -> None:
    replay = Replay(name, ResendPolicy.original(), ConfirmPolicy.original())
    stopped = next(event for event in load(name)["events"] if event.get("event") == "stopped")
    assert sum(failure.count for failure in replay.left) == stopped["pending"]
    assert all(failure.reason is FailureReason.CLOSED for failure in replay.left)
    assert not replay.stack.supervisor.is_alive()


class Wire(MemoryNetwork):
    """A network that notes what it carries."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.carried: list[tuple[str, str]] = []

    def carry(self, source: Address, target: Address, datagram: bytes) -> None:
        read = seen(datagram)
        if read is not None:
            self.carried.append(("up" if source == STACK else "down", read.hex()))
        super().carry(source, target, datagram)


@pytest.mark.parametrize("name", BETWEEN_STACKS)
@pytest.mark.parametrize("original", [True, False])
def test_two_stacks_exchange_what_two_originals_did(name: str, *, original: bool) -> None:
    recording = load(name)
    clock = ManualClock()
    wire = Wire(clock)
    policies: dict[str, Any] = (
        {"resend": ResendPolicy.original(), "confirm": ConfirmPolicy.original()} if original else {}
    )
    sender, receiver = (
        packhorse.startup(clock=clock, transport=wire.transport(address), **policies) for address in (STACK, PEER)
    )
    for spec in recording["sender_spec"].split(","):
        sender.sender.send(out_package(spec, PEER))
    clock.advance(10.0)
    received = [content(package) for package in receiver.receiver.drain()]
    for stack in (sender, receiver):
        _begin_to_close(stack)
    clock.advance(0.0)
    assert sender.close() == receiver.close() == []
    assert wire.carried == [(datagram["dir"], datagram["hex"]) for datagram in recording["datagrams"]]
    assert received == [(event["reliability"], event["peers"], event["data"]) for event in recording["receiver_app"]]
