"""Mailboxes and inboxes: order, batches, stops, crashes, pauses, and that no wake-up is ever lost."""

from __future__ import annotations

import contextlib
import gc
import threading
from typing import TYPE_CHECKING, Any

import pykka
import pytest
from pykka import ActorDeadError
from pykka._envelope import Envelope
from pykka.messages import ProxyCall, _ActorStop  # pyright: ignore[reportPrivateUsage]

from packhorse.actors.clock import SYSTEM_CLOCK
from packhorse.actors.inbox import Inbox
from packhorse.actors.mailbox import BATCH_LIMIT, Mailbox
from packhorse.actors.messages import Batch, Cancel, Readable, Tick
from packhorse.testing import ManualClock

from .helpers import finished, in_background

if TYPE_CHECKING:
    from collections.abc import Callable


def ask(message: Any = "question") -> tuple[Envelope[Any], pykka.Future[Any]]:
    future: pykka.Future[Any] = pykka.ThreadingFuture()
    return Envelope(message, reply_to=future), future


def stop() -> tuple[Envelope[Any], pykka.Future[Any]]:
    return ask(_ActorStop())


def given(inbox: Inbox) -> Any:
    """What the inbox gives out next: the items of a batch, or the message."""
    message = inbox.get().message
    if type(message) is Batch:
        items = list(message.items)
        inbox.batch_done()
        return items
    return message


class Full:
    """A feed that is over its capacity until it says so."""

    name = "full"

    def __init__(self) -> None:
        self.full = True
        self.asked = threading.Event()
        self._feeder: Mailbox | None = None

    def over_capacity(self, feeder: Mailbox) -> bool:
        self._feeder = feeder if self.full else None
        self.asked.set()
        return self.full

    def make_room(self) -> None:
        self.full = False
        assert self._feeder is not None
        self._feeder.wake()


class Bell:
    """A place to sleep that is not only about the mailbox, such as a socket."""

    def __init__(self) -> None:
        self.rung = False
        self._event = threading.Event()

    def ready(self) -> bool:
        return self.rung

    def park(self, deadline: float | None) -> bool:
        del deadline
        assert self._event.wait(20)
        self._event.clear()
        return True

    def unpark(self) -> None:
        self._event.set()


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox("node", SYSTEM_CLOCK)


@pytest.fixture
def inbox(mailbox: Mailbox) -> Inbox:
    return Inbox(mailbox)


# Order.


def test_everything_that_waits_comes_as_one_batch_in_order(mailbox: Mailbox, inbox: Inbox) -> None:
    mailbox.put(1)
    mailbox.put_all([2, 3])
    assert given(inbox) == [1, 2, 3]
    assert len(mailbox) == 0


def test_asks_and_tells_keep_their_places_in_line(mailbox: Mailbox, inbox: Inbox) -> None:
    question, _ = ask("question")
    mailbox.put_all([1, 2])
    mailbox.put(question)
    mailbox.put(3)
    mailbox.put(Envelope("told"))
    mailbox.put(4)
    assert given(inbox) == [1, 2]
    assert inbox.get() is question
    assert given(inbox) == [3]
    assert given(inbox) == "told"
    assert given(inbox) == [4]


def test_a_batch_is_limited(mailbox: Mailbox, inbox: Inbox) -> None:
    mailbox.put_all(range(BATCH_LIMIT + 1))
    assert given(inbox) == list(range(BATCH_LIMIT))
    assert given(inbox) == [BATCH_LIMIT]


def test_the_order_of_each_of_several_writers_is_kept(mailbox: Mailbox, inbox: Inbox) -> None:
    def write(writer: int) -> None:
        for number in range(2000):
            mailbox.put((writer, number))

    threads = [in_background(lambda writer=writer: write(writer)) for writer in range(4)]  # type: ignore[misc] # bound early
    seen: list[tuple[int, int]] = []
    while len(seen) < 8000:
        seen += given(inbox)
    assert all(finished(thread) for thread in threads)
    for writer in range(4):
        assert [number for who, number in seen if who == writer] == list(range(2000))


# Deadlines.


def test_a_deadline_that_has_come_is_one_tick_before_an_ask() -> None:
    clock = ManualClock()
    mailbox = Mailbox("node", clock)
    inbox = Inbox(mailbox)
    question, _ = ask()
    mailbox.put(question)
    inbox.deadline = clock.now()
    assert type(given(inbox)) is Tick
    assert inbox.deadline is None
    assert inbox.get() is question


def test_a_batch_that_waits_when_the_deadline_comes_is_given_out_in_place_of_the_tick() -> None:
    clock = ManualClock()
    mailbox = Mailbox("node", clock)
    inbox = Inbox(mailbox)
    mailbox.put(1)
    inbox.deadline = clock.now()
    assert given(inbox) == [1]
    assert inbox.deadline is None


def test_a_sleeping_reader_gets_its_tick_when_the_time_comes() -> None:
    clock = ManualClock()
    mailbox = Mailbox("node", clock)
    inbox = Inbox(mailbox)
    inbox.deadline = clock.now() + 5
    got: list[Any] = []

    def read() -> None:
        got.append(given(inbox))
        mailbox.close()

    thread = in_background(read)
    clock.advance(4.9)
    assert got == []
    clock.advance(0.2)
    assert finished(thread)
    assert [type(message) for message in got] == [Tick]


# Stopping.


def test_a_stop_overtakes_nothing_and_brings_one_cancel_when_the_mailbox_is_empty(
    mailbox: Mailbox, inbox: Inbox
) -> None:
    question, _ = ask()
    mailbox.put(1)
    mailbox.stop()
    mailbox.put(question)
    mailbox.put(2)
    assert given(inbox) == [1]
    assert inbox.get() is question
    assert given(inbox) == [2]
    assert type(given(inbox)) is Cancel
    mailbox.stop()
    mailbox.put(3)
    assert given(inbox) == [3]
    inbox.deadline = 0.0
    assert type(given(inbox)) is Tick


def test_the_next_incarnation_gets_a_cancel_of_its_own(mailbox: Mailbox, inbox: Inbox) -> None:
    mailbox.stop()
    assert type(given(inbox)) is Cancel
    inbox.seal()
    assert type(given(Inbox(mailbox))) is Cancel


def test_pykkas_stop_comes_when_the_node_says_it_is_done(mailbox: Mailbox, inbox: Inbox) -> None:
    mailbox.stop()
    assert type(given(inbox)) is Cancel
    mailbox.put(1)
    inbox.finished = True
    assert isinstance(given(inbox), _ActorStop)


def test_an_abort_is_a_stop_before_everything_that_waits(mailbox: Mailbox, inbox: Inbox) -> None:
    mailbox.put(1)
    mailbox.abort()
    assert isinstance(given(inbox), _ActorStop)


def test_whoever_waits_for_a_stop_is_answered_when_the_mailbox_is_closed(mailbox: Mailbox, inbox: Inbox) -> None:
    envelope, reply = stop()
    mailbox.put(envelope)
    assert mailbox.stopping
    assert type(given(inbox)) is Cancel
    inbox.seal()
    with pytest.raises(pykka.Timeout):
        reply.get(timeout=0)
    mailbox.close()
    assert reply.get(timeout=0) is None


@pytest.mark.parametrize("wake_up", [Mailbox.stop, Mailbox.abort])
def test_a_sleeping_reader_hears_of_a_stop(mailbox: Mailbox, inbox: Inbox, wake_up: Callable[[Mailbox], None]) -> None:
    got: list[Any] = []
    thread = in_background(lambda: got.append(given(inbox)))
    wake_up(mailbox)
    assert finished(thread)
    assert isinstance(got[0], Cancel | _ActorStop)


# Crashes.


def test_a_crash_sets_the_item_aside_and_gives_the_rest_of_the_batch_back(mailbox: Mailbox, inbox: Inbox) -> None:
    mailbox.put_all([1, 2, 3, 4])
    batch = iter(inbox.get().message)
    assert [next(batch), next(batch)] == [1, 2]
    mailbox.put(5)
    inbox.seal()
    assert inbox.poisoned == 2
    assert given(Inbox(mailbox)) == [3, 4, 5]


def test_a_crash_before_the_first_item_sets_nothing_aside(mailbox: Mailbox, inbox: Inbox) -> None:
    mailbox.put_all([1, 2])
    inbox.get()
    inbox.seal()
    assert inbox.poisoned is None
    assert given(Inbox(mailbox)) == [1, 2]


def test_a_crash_over_the_last_item_gives_nothing_back(mailbox: Mailbox, inbox: Inbox) -> None:
    mailbox.put_all([1, 2])
    list(inbox.get().message)
    inbox.seal()
    assert inbox.poisoned == 2
    assert len(mailbox) == 0


def test_a_crash_after_the_batch_was_done_sets_nothing_aside(mailbox: Mailbox, inbox: Inbox) -> None:
    mailbox.put_all([1, 2])
    assert given(inbox) == [1, 2]
    inbox.seal()
    assert inbox.poisoned is None
    assert len(mailbox) == 0


def test_sealing_twice_gives_back_once(mailbox: Mailbox, inbox: Inbox) -> None:
    mailbox.put_all([1, 2, 3])
    next(iter(inbox.get().message))
    inbox.seal()
    inbox.seal()
    assert given(Inbox(mailbox)) == [2, 3]


def test_pykkas_teardown_seals_the_view_and_drains_nothing(mailbox: Mailbox, inbox: Inbox) -> None:
    question, reply = ask()
    mailbox.put(question)
    assert inbox.empty()
    assert inbox.sealed
    assert Inbox(mailbox).get() is question
    with pytest.raises(pykka.Timeout):
        reply.get(timeout=0)


def test_a_sealed_view_gives_out_nothing_but_the_end(mailbox: Mailbox, inbox: Inbox) -> None:
    inbox.seal()
    mailbox.put(1)
    assert isinstance(given(inbox), _ActorStop)


def test_asks_that_reach_a_sealed_view_are_answered(mailbox: Mailbox, inbox: Inbox) -> None:
    inbox.seal()
    question, reply = ask()
    inbox.put(question)
    with pytest.raises(ActorDeadError, match="node"):
        reply.get(timeout=0)
    assert len(mailbox) == 0


def test_asks_through_the_mailbox_wait_for_the_next_incarnation(mailbox: Mailbox, inbox: Inbox) -> None:
    inbox.seal()
    question, _ = ask()
    mailbox.put(question)
    assert Inbox(mailbox).get() is question


# Closing.


def test_a_closed_mailbox_answers_asks_and_takes_no_more(mailbox: Mailbox) -> None:
    before, before_reply = ask()
    mailbox.put(1)
    mailbox.put(before)
    mailbox.close()
    after, after_reply = ask()
    mailbox.put(after)
    mailbox.put(2)
    mailbox.put_all([3])
    ending, ending_reply = stop()
    mailbox.put(ending)
    for reply in (before_reply, after_reply):
        with pytest.raises(ActorDeadError):
            reply.get(timeout=0)
    assert ending_reply.get(timeout=0) is None
    assert mailbox.waiting() == [1]
    assert mailbox.take_back(1)
    assert not mailbox.take_back(1)


@pytest.mark.usefixtures("hasty")
def test_no_ask_and_no_stop_stays_unanswered_when_a_mailbox_closes_under_them() -> None:
    for _ in range(300):
        mailbox = Mailbox("node", SYSTEM_CLOCK)
        replies: list[pykka.Future[Any]] = []
        errors: list[BaseException] = []
        barrier = threading.Barrier(4)

        def put(
            mailbox: Mailbox = mailbox,
            replies: list[pykka.Future[Any]] = replies,
            errors: list[BaseException] = errors,
            barrier: threading.Barrier = barrier,
        ) -> None:
            barrier.wait(20)
            try:
                for make in (ask, stop, ask, ask):
                    envelope, reply = make()
                    replies.append(reply)
                    mailbox.put(envelope)
            except BaseException as error:  # noqa: BLE001 - whatever it is, it must not reach the caller
                errors.append(error)

        threads = [in_background(put) for _ in range(3)]
        barrier.wait(20)
        mailbox.close()
        assert all(finished(thread) for thread in threads)
        assert errors == []
        assert len(replies) == 12
        for reply in replies:
            with contextlib.suppress(ActorDeadError):
                reply.get(timeout=0)


# Pausing.


def test_while_a_feed_is_over_its_capacity_only_asks_and_tells_are_given_out(mailbox: Mailbox) -> None:
    feed = Full()
    inbox = Inbox(mailbox, (feed,))
    question, _ = ask()
    mailbox.put(1)
    mailbox.put(question)
    mailbox.put(2)
    mailbox.stop()
    assert inbox.get() is question
    got: list[Any] = []
    feed.asked.clear()
    thread = in_background(lambda: got.append(given(inbox)))
    assert feed.asked.wait(20)
    another, _ = ask("another")
    mailbox.put(another)
    assert finished(thread)
    assert got == ["another"]
    feed.make_room()
    assert given(inbox) == [1, 2]
    assert type(given(inbox)) is Cancel


def test_a_paused_reader_sleeps_through_data_and_wakes_for_room(mailbox: Mailbox) -> None:
    feed = Full()
    inbox = Inbox(mailbox, (feed,))
    got: list[Any] = []
    thread = in_background(lambda: got.append(given(inbox)))
    assert feed.asked.wait(20)
    mailbox.put_all([1, 2])
    mailbox.put(3)
    assert got == []
    feed.make_room()
    assert finished(thread)
    assert got == [[1, 2, 3]]


def test_an_abort_reaches_a_paused_reader(mailbox: Mailbox) -> None:
    feed = Full()
    inbox = Inbox(mailbox, (feed,))
    got: list[Any] = []
    thread = in_background(lambda: got.append(given(inbox)))
    assert feed.asked.wait(20)
    mailbox.abort()
    assert finished(thread)
    assert isinstance(got[0], _ActorStop)


def test_a_pause_brings_a_tick_after_the_time_the_node_named() -> None:
    clock = ManualClock()
    mailbox = Mailbox("node", clock)
    inbox = Inbox(mailbox, (Full(),))
    inbox.pause_tick = 1.0
    began = clock.now()
    got: list[Any] = []

    def read() -> None:
        got.append(given(inbox))
        mailbox.close()

    thread = in_background(read)
    clock.advance(0.9)
    assert got == []
    clock.advance(0.2)
    assert finished(thread)
    assert type(got[0]) is Tick
    assert inbox.paused_since == began


def test_a_mailbox_is_over_its_capacity_until_its_reader_has_taken_enough() -> None:
    mailbox = Mailbox("node", SYSTEM_CLOCK, capacity=2)
    feeder = Mailbox("feeder", SYSTEM_CLOCK)
    mailbox.put_all([1, 2])
    assert not mailbox.over_capacity(feeder)
    mailbox.put(3)
    assert mailbox.over_capacity(feeder)
    feeding = Inbox(feeder, (mailbox,))
    feeder.put("data")
    got: list[Any] = []
    thread = in_background(lambda: got.append(given(feeding)))
    assert given(Inbox(mailbox)) == [1, 2, 3]
    assert finished(thread)
    assert got == [["data"]]


def test_a_feeder_is_woken_when_the_mailbox_it_feeds_closes() -> None:
    mailbox = Mailbox("node", SYSTEM_CLOCK, capacity=0)
    feeder = Mailbox("feeder", SYSTEM_CLOCK)
    mailbox.put(1)
    feeder.put("data")
    got: list[Any] = []
    thread = in_background(lambda: got.append(given(Inbox(feeder, (mailbox,)))))
    mailbox.close()
    assert finished(thread)
    assert got == [["data"]]


# Waking.


@pytest.mark.usefixtures("hasty")
def test_no_wake_up_is_lost_between_lock_free_puts_and_a_sleeping_reader(mailbox: Mailbox, inbox: Inbox) -> None:
    """The reader empties the mailbox faster than one writer fills it, so it goes to sleep all the time."""
    rounds = 100_000
    seen: list[int] = []

    def read() -> None:
        while not seen or seen[-1] != rounds - 1:
            seen.extend(given(inbox))

    thread = in_background(read)
    for number in range(rounds):
        mailbox.put(number)
    assert finished(thread)
    assert seen == list(range(rounds))


@pytest.mark.usefixtures("hasty")
def test_no_wake_up_is_lost_in_a_game_of_ping_pong() -> None:
    """Each put finds the other side asleep or just about to sleep."""
    left, right = Mailbox("left", SYSTEM_CLOCK), Mailbox("right", SYSTEM_CLOCK)
    rounds = 20_000

    def play(mine: Mailbox, other: Mailbox) -> None:
        inbox = Inbox(mine)
        for _ in range(rounds):
            (ball,) = given(inbox)
            other.put(ball + 1)

    threads = [in_background(lambda: play(left, right)), in_background(lambda: play(right, left))]
    left.put(0)
    assert all(finished(thread) for thread in threads)
    assert given(Inbox(left)) == [2 * rounds]


@pytest.mark.usefixtures("hasty")
def test_no_wake_up_is_lost_along_a_chain_of_small_mailboxes() -> None:
    """Feeders pause and are woken all the time."""
    first = Mailbox("first", SYSTEM_CLOCK)
    second = Mailbox("second", SYSTEM_CLOCK, capacity=1)
    third = Mailbox("third", SYSTEM_CLOCK, capacity=1)
    rounds = 30_000
    seen: list[int] = []

    def pass_on(inbox: Inbox, to: Mailbox) -> None:
        passed = 0
        while passed < rounds:
            items = given(inbox)
            to.put_all(items)
            passed += len(items)

    def read() -> None:
        inbox = Inbox(third)
        while len(seen) < rounds:
            seen.extend(given(inbox))

    threads = [
        in_background(lambda: pass_on(Inbox(first, (second,)), second)),
        in_background(lambda: pass_on(Inbox(second, (third,)), third)),
        in_background(read),
    ]
    for number in range(rounds):
        first.put(number)
    assert all(finished(thread) for thread in threads)
    assert seen == list(range(rounds))


def test_asks_are_answered_while_data_is_held_back(mailbox: Mailbox) -> None:
    feed = Full()
    inbox = Inbox(mailbox, (feed,))
    seen: list[int] = []

    def read() -> None:
        while len(seen) < 1000:
            envelope = inbox.get()
            if type(envelope.message) is Batch:
                seen.extend(envelope.message.items)
                inbox.batch_done()
            else:
                assert envelope.reply_to is not None
                envelope.reply_to.set(envelope.message)

    thread = in_background(read)
    for number in range(1000):
        mailbox.put(number)
        question, reply = ask(number)
        mailbox.put(question)
        assert reply.get(timeout=20) == number
    assert seen == []
    feed.make_room()
    assert finished(thread)
    assert seen == list(range(1000))


def test_a_reader_that_waits_for_a_socket_too_hears_of_both() -> None:
    bell = Bell()
    mailbox = Mailbox("node", SYSTEM_CLOCK, parking=bell)
    inbox = Inbox(mailbox)
    got: list[Any] = []
    thread = in_background(lambda: got.append(given(inbox)))
    mailbox.put(1)
    assert finished(thread)
    thread = in_background(lambda: got.append(given(inbox)))
    bell.rung = True
    bell.unpark()
    assert finished(thread)
    assert got == [[1], Readable()]


def test_a_stop_comes_before_what_a_socket_brings() -> None:
    bell = Bell()
    bell.rung = True
    mailbox = Mailbox("node", SYSTEM_CLOCK, parking=bell)
    mailbox.stop()
    inbox = Inbox(mailbox)
    assert type(given(inbox)) is Cancel
    assert type(given(inbox)) is Readable


def test_a_finalizer_may_put_in_the_middle_of_anything(mailbox: Mailbox, inbox: Inbox) -> None:
    """The collector runs finalizers wherever something is allocated, in the reader and in a put as well."""

    class Dropped:
        def __init__(self) -> None:
            self.circle = self

        def __del__(self) -> None:
            mailbox.put("dropped")

    rounds = 2000
    seen: list[Any] = []

    def read() -> None:
        while seen.count("dropped") < rounds or len(seen) < 2 * rounds:
            seen.extend(given(inbox))

    threshold = gc.get_threshold()
    gc.set_threshold(10)
    try:
        thread = in_background(read)
        for _ in range(rounds):
            Dropped()
            mailbox.put("kept")
        gc.collect()
        assert finished(thread)
    finally:
        gc.set_threshold(*threshold)
    assert seen.count("dropped") == rounds


def test_a_told_proxy_call_is_an_envelope_like_any_other(mailbox: Mailbox, inbox: Inbox) -> None:
    call = ProxyCall(attr_path=("counters",), args=(), kwargs={})
    mailbox.put(1)
    mailbox.put(Envelope(call))
    assert given(inbox) == [1]
    assert given(inbox) == call
