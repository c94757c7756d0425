"""sreceiver and confirmer: control datagrams in and out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from packhorse import ConfirmPolicy
from packhorse.actors.confirmer import Confirmer
from packhorse.actors.mailbox import Mailbox
from packhorse.actors.sreceiver import SReceiver
from packhorse.protocol.confirmations import Confirmations
from packhorse.protocol.header import pack_confirmation
from packhorse.protocol.messages import Confirmed, Datagrams, Listen, StillHere, ToConfirm
from packhorse.testing import ManualClock

from .one_node import HERE, THERE, Bench, break_handler, received

if TYPE_CHECKING:
    from collections.abc import Callable


def test_sreceiver_reads_confirmations_as_they_came(bench: Callable[..., Bench]) -> None:
    node = bench(SReceiver)
    node.put(received(pack_confirmation([3, 1]), time=5.0), received(pack_confirmation([]) + b"\x00\x00", time=6.0))
    assert node.out("resender") == [Confirmed(THERE, [3, 1], 5.0), Confirmed(THERE, [], 6.0)]


def test_what_was_read_before_a_crash_is_passed_on(
    bench: Callable[..., Bench], clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison = received(pack_confirmation([2]))
    break_handler(monkeypatch, SReceiver, "_received", poison)
    node = bench(SReceiver)
    node.close()
    node.mailbox = node.station.mailbox = Mailbox("sreceiver", clock)
    node.mailbox.put_all([received(pack_confirmation([1])), poison, received(pack_confirmation([3]))])
    node.start()
    node.restart()
    assert [one.ids for one in node.out("resender")] == [[1], [3]]


def test_sreceiver_passes_a_question_on_in_its_place(bench: Callable[..., Bench]) -> None:
    made = bench(SReceiver)
    made.put(received(pack_confirmation([1])), Listen(1.0), received(pack_confirmation([2])))
    assert [type(item) for item in made.out("resender")] == [Confirmed, Listen, Confirmed]


def test_sreceiver_ends_at_once(bench: Callable[..., Bench]) -> None:
    node = bench(SReceiver)
    node.cancel()
    assert node.ended()


def test_confirmer_waits_a_little_and_confirms_together(bench: Callable[..., Bench], clock: ManualClock) -> None:
    node = bench(Confirmer, Confirmations(ConfirmPolicy(delay=0.005, count=32)))
    node.put(ToConfirm(THERE, [1], False, clock.now()), ToConfirm(THERE, [2], False, clock.now()))
    assert node.out("dsender") == []
    clock.advance(0.006)
    assert node.out("dsender") == [Datagrams(THERE, [pack_confirmation([1, 2])])]
    assert node.counters() == {"confirmed": 2}


def test_confirmer_does_not_wait_with_what_is_urgent(bench: Callable[..., Bench], clock: ManualClock) -> None:
    node = bench(Confirmer, Confirmations(ConfirmPolicy()))
    node.put(ToConfirm(THERE, [1], True, clock.now()))
    assert node.out("dsender") == [Datagrams(THERE, [pack_confirmation([1])])]


def test_confirmer_tells_that_we_live(bench: Callable[..., Bench]) -> None:
    node = bench(Confirmer, Confirmations(ConfirmPolicy()))
    node.put(StillHere([THERE]))
    assert node.out("dsender") == [Datagrams(THERE, [bytes.fromhex("80000000")])]


def test_a_cancelled_confirmer_confirms_all_it_knows_of(bench: Callable[..., Bench], clock: ManualClock) -> None:
    node = bench(Confirmer, Confirmations(ConfirmPolicy(delay=0.1)))
    node.put(ToConfirm(THERE, [1], False, clock.now()), ToConfirm(HERE, [2], False, clock.now()))
    node.cancel()
    assert node.ended()
    assert node.out("dsender") == [
        Datagrams(THERE, [pack_confirmation([1])]),
        Datagrams(HERE, [pack_confirmation([2])]),
    ]
