"""What an inbox shows to a supervisor, and what a supervisor does to it."""

from __future__ import annotations

import threading
from typing import Any

import pykka
import pytest
from pykka import ActorDeadError
from pykka._envelope import Envelope
from pykka.messages import _ActorStop  # pyright: ignore[reportPrivateUsage]

from packhorse.actors.clock import SYSTEM_CLOCK
from packhorse.actors.inbox import Inbox
from packhorse.actors.mailbox import Mailbox
from packhorse.actors.messages import Batch, Cancel
from packhorse.actors.supervised import PlainInbox
from packhorse.actors.watchdog import NO_WATCH

from .helpers import finished, in_background


class Alarm:
    """A watch that notes who armed it."""

    def __init__(self) -> None:
        self.armed = False
        self.rung = threading.Event()

    def arm(self) -> None:
        self.armed = True
        self.rung.set()


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox("node", SYSTEM_CLOCK)


def ask(message: Any) -> tuple[Envelope[Any], pykka.Future[Any]]:
    future: pykka.Future[Any] = pykka.ThreadingFuture()
    return Envelope(message, reply_to=future), future


def test_each_return_for_more_is_a_beat(mailbox: Mailbox) -> None:
    inbox = Inbox(mailbox)
    assert inbox.beats == 0
    for number in range(1, 4):
        mailbox.put(number)
        inbox.get()
        inbox.batch_done()
        assert inbox.beats == number


def test_a_reader_that_sleeps_is_parked_and_arms_the_watch_when_it_wakes_up(mailbox: Mailbox) -> None:
    inbox, alarm = Inbox(mailbox), Alarm()
    inbox.watch = alarm
    assert not inbox.parked
    reader = in_background(inbox.get)
    while not inbox.parked:
        reader.join(0.001)
    assert not alarm.armed
    mailbox.put("data")
    assert alarm.rung.wait(20)
    assert finished(reader)
    assert not inbox.parked


def test_nobody_looks_unless_told_to(mailbox: Mailbox) -> None:
    assert Inbox(mailbox).watch is NO_WATCH
    assert NO_WATCH.armed


@pytest.mark.parametrize(("begun", "handled"), [(0, 0), (1, 0), (2, 1), (3, 2)])
def test_a_sealed_view_tells_how_many_items_were_handled(mailbox: Mailbox, begun: int, handled: int) -> None:
    inbox = Inbox(mailbox)
    mailbox.put_all([1, 2, 3])
    batch = inbox.get().message
    assert type(batch) is Batch
    for _, _ in zip(range(begun), batch, strict=False):
        pass
    inbox.seal()
    assert inbox.handled == handled


def test_whoever_was_left_behind_and_wakes_up_handles_no_more_of_its_batch(mailbox: Mailbox) -> None:
    inbox = Inbox(mailbox)
    mailbox.put_all([1, 2, 3])
    batch = iter(inbox.get().message)
    assert next(batch) == 1
    inbox.fence()
    assert list(batch) == []
    assert mailbox.waiting() == [2, 3]


def test_fencing_answers_the_ask_that_the_reader_hangs_over_and_no_other(mailbox: Mailbox) -> None:
    inbox = Inbox(mailbox)
    (first, hung), (second, waits) = ask("first"), ask("second")
    mailbox.put(first)
    mailbox.put(second)
    assert inbox.get() is first
    inbox.fence()
    with pytest.raises(ActorDeadError):
        hung.get(timeout=20)
    assert Inbox(mailbox).get() is second
    second.reply_to.set("answered")  # type: ignore[union-attr] # it was made with one
    assert waits.get(timeout=20) == "answered"


def test_fencing_after_the_answer_changes_nothing(mailbox: Mailbox) -> None:
    inbox = Inbox(mailbox)
    envelope, future = ask("question")
    mailbox.put(envelope)
    inbox.get()
    future.set("answer")
    inbox.fence()
    assert future.get(timeout=20) == "answer"


def test_a_fenced_view_gives_out_nothing_but_the_end(mailbox: Mailbox) -> None:
    inbox = Inbox(mailbox)
    inbox.fence()
    mailbox.put("data")
    assert isinstance(inbox.get().message, _ActorStop)
    assert mailbox.waiting() == ["data"]


def test_fencing_tells_whether_something_was_passed_on_by_half(mailbox: Mailbox) -> None:
    assert Inbox(mailbox).fence()
    inbox = Inbox(mailbox)
    with inbox.passing:
        assert not inbox.fence()
    assert inbox.sealed


def test_going_on_after_a_stop_answers_who_waited_for_it(mailbox: Mailbox) -> None:
    envelope, future = ask(_ActorStop())
    mailbox.put(envelope)
    assert mailbox.stopping
    mailbox.resume()
    assert not mailbox.stopping
    assert future.get(timeout=20) is None
    mailbox.put("data")
    assert list(Inbox(mailbox).get().message.items) == ["data"]


def test_a_plain_view_ends_when_what_was_there_before_the_stop_is_handled(mailbox: Mailbox) -> None:
    inbox = PlainInbox(mailbox)
    tell: Envelope[Any] = Envelope("tell")
    mailbox.put(tell)
    mailbox.stop()
    assert inbox.get() is tell
    assert isinstance(inbox.get().message, _ActorStop)


def test_a_plain_view_of_an_actor_with_a_stop_rule_hands_out_the_cancel(mailbox: Mailbox) -> None:
    inbox = PlainInbox(mailbox)
    inbox.stop_rule = True
    mailbox.stop()
    assert type(inbox.get().message) is Cancel
