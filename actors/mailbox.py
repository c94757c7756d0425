"""Mailboxes: the channels between the nodes.

The rules:

- a mailbox belongs to the supervisor and outlives the actors that read it, one *incarnation* after the other; each reads
  through an `Inbox` of its own, which is what Pykka sees;
- a put never waits and takes no lock: it appends, and wakes the reader only if that sleeps. So a put is allowed anywhere,
  in a finalizer too;
- everything that waits is taken in one go and handed out as one `Batch`; asks and tells keep their places in line;
- while a mailbox that its node feeds is over its capacity, the reader hands out no data, only asks, ticks and stops;
- a stop has a lane of its own: it marks the mailbox, and when no data is left the node gets one `Cancel`. The node says
  when it is done; only then it gets Pykka's stop. Whoever waits for the stop is answered when the node has ended;
- after a crash the item that was being handled is set aside, and the rest of its batch goes back to the front.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from pykka import ActorDeadError
from pykka._envelope import Envelope  # Pykka's own; tests/actors/test_pykka_contract.py holds it to that
from pykka.messages import _ActorStop  # pyright: ignore[reportPrivateUsage] - a stop has no public name

from .messages import Batch, Cancel, Readable, Tick
from .watchdog import NO_WATCH, Watch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .clock import Clock

__all__ = ["BATCH_LIMIT", "Feed", "Inbox", "Mailbox", "Parking", "answer_dead"]

BATCH_LIMIT = 256
"""Items per batch at most, so that a node looks up now and then."""

_TICK = Tick()
_CANCEL = Cancel()
_READABLE = Readable()


class Parking(Protocol):
    """Where a reader sleeps that waits for something besides its mailbox (a socket)."""

    def ready(self) -> bool:
        """Tell, without waiting, whether that other thing has happened."""
        ...

    def park(self, deadline: float | None) -> None:
        """Sleep until it happens, until `unpark`, or until the deadline."""
        ...

    def unpark(self) -> None:
        """Wake the reader. Takes no lock."""
        ...


class Feed(Protocol):
    """Something that a node puts into: another mailbox, or a user's end."""

    def over_capacity(self, feeder: Mailbox) -> bool:
        """Tell whether `feeder` should pause; if so it is woken when there is room."""
        ...


class _TokenParking:
    """Sleep on the clock alone."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._token = threading.Lock()
        self._token.acquire()

    def ready(self) -> bool:
        return False

    def park(self, deadline: float | None) -> None:
        self._clock.rest(self._token, deadline)

    def unpark(self) -> None:
        self._clock.wake(self._token)


def answer_dead(envelope: Envelope[Any], who: str) -> None:
    """Answer an ask that nobody will handle, as Pykka would."""
    if envelope.reply_to is not None:
        error = ActorDeadError(f"{who} stopped before handling the message")
        envelope.reply_to.set_exception((ActorDeadError, error, None))


class Mailbox:
    """What waits for one node.

    Args:
        name: the node's name.
        clock: the stack's clock.
        capacity: how many messages may wait before those who feed this mailbox pause.
        parking: where the reader sleeps, if it waits for more than this mailbox.

    Attributes:
        stopping: a stop has come.
        closed: the node has ended for good; whatever is put is discarded.
        aborted: the node should end at once, whatever waits.
    """

    def __init__(self, name: str, clock: Clock, *, capacity: int = 256, parking: Parking | None = None) -> None:
        self.name = name
        self.clock = clock
        self.capacity = capacity
        self.stopping = False
        self.closed = False
        self.aborted = False
        self._items: deque[Any] = deque()
        self._stop_replies: deque[Envelope[Any]] = deque()
        self._feeders: set[Mailbox] = set()
        self.parking: Parking = _TokenParking(clock) if parking is None else parking
        self._idle = False
        clock.joined()

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: Any) -> None:
        """Add one message: data, or one of Pykka's envelopes."""
        if isinstance(item, Envelope):
            self._put_envelope(item)  # pyright: ignore[reportUnknownArgumentType] - any envelope will do
            return
        if self.closed:
            return
        self._items.append(item)
        if self._idle:
            self.wake()

    def put_all(self, items: Iterable[Any]) -> None:
        """Add messages, all of them data, with one wake-up."""
        if self.closed:
            return
        self._items.extend(items)
        if self._idle:
            self.wake()

    def put_front(self, items: Iterable[Any]) -> None:
        """Give back what a crashed incarnation did not come to. Only while nobody reads."""
        self._items.extendleft(reversed(list(items)))

    def stop(self) -> None:
        """Ask the node to end when it has done what its stop rule says."""
        self.stopping = True
        self.wake()

    def resume(self) -> None:
        """Go on after a stop, for the next incarnation; those who waited for the stop are answered."""
        self.stopping = False
        self._answer_stops()

    def abort(self) -> None:
        """Ask the node to end at once."""
        self.aborted = True
        self.stopping = True
        self.wake()

    def wake(self) -> None:
        """Let the reader look at everything again."""
        self._idle = False
        self.parking.unpark()

    def over_capacity(self, feeder: Mailbox) -> bool:
        """Tell whether `feeder` should pause; if so it is woken when there is room."""
        if len(self._items) <= self.capacity or self.closed:
            return False
        self._feeders.add(feeder)
        # The reader may have emptied or closed the mailbox before it could see the feeder.
        return len(self._items) > self.capacity and not self.closed

    def close(self) -> None:
        """Take no more; answer everyone who still waits for an answer."""
        if self.closed:
            return
        self.closed = True
        self.clock.left()
        self._wake_feeders()
        self._answer_leftovers()

    def waiting(self) -> list[Any]:
        """Return what waits at the moment."""
        return list(self._items)

    def _put_envelope(self, envelope: Envelope[Any]) -> None:
        # Only a plain envelope can hold a stop; looking into another one may mean something (see ends._Delivery).
        if type(envelope) is Envelope and isinstance(envelope.message, _ActorStop):
            self._stop_replies.append(envelope)
            self.stopping = True
        else:
            self._items.append(envelope)
        self.wake()  # even a paused reader, which sleeps through data
        if self.closed:
            self._answer_leftovers()

    def _answer_leftovers(self) -> None:
        # Whoever puts into a closed mailbox does this too; then somebody else may take the last one.
        self._answer_stops()
        with suppress(IndexError):
            while True:
                item = self._items.popleft()
                if isinstance(item, Envelope):
                    answer_dead(item, self.name)  # pyright: ignore[reportUnknownArgumentType] - any envelope will do

    def _answer_stops(self) -> None:
        with suppress(IndexError):
            while True:
                reply_to = self._stop_replies.popleft().reply_to
                if reply_to is not None:
                    reply_to.set(None)

    def _wake_feeders(self) -> None:
        try:
            while self._feeders:
                self._feeders.pop().wake()
        except KeyError:
            pass  # somebody else took the last one

    # For the reader.

    def take(self) -> list[Any] | Envelope[Any] | None:
        """Take the next ask or tell, or all data before it, or None if nothing waits."""
        items = self._items
        batch: list[Any] = []
        for _ in range(min(len(items), BATCH_LIMIT)):
            item = items.popleft()
            if isinstance(item, Envelope):
                if not batch:
                    return item  # pyright: ignore[reportUnknownVariableType] - any envelope will do
                items.appendleft(item)
                break
            batch.append(item)
        if self._feeders and len(items) <= self.capacity:
            self._wake_feeders()
        return batch or None

    def take_envelope(self) -> Envelope[Any] | None:
        """Take the next ask or tell and leave the data."""
        for item in list(self._items):
            if isinstance(item, Envelope):
                self._items.remove(item)
                return item  # pyright: ignore[reportUnknownVariableType] - any envelope will do
        return None

    def sleep(self, deadline: float | None, *, paused: bool) -> None:
        """Sleep until something is put; a paused reader sleeps through data."""
        if not paused:
            self._idle = True
            if self._items:
                self._idle = False
                return
        self.parking.park(deadline)
        self._idle = False


class Inbox:
    """One incarnation's view of its mailbox; what Pykka calls `actor_inbox`.

    Attributes:
        deadline: when the node wants a `Tick`, or None.
        feeds: mailboxes that hold back data while they are over their capacity.
        finished: set by the node when its stop rule is met.
        sealed: the incarnation has ended; it gets nothing more, and what it produces must not be passed on.
        poisoned: the item that was being handled when the incarnation crashed, or None.
        beats: how often the reader came back for more, as a sign of life.
        parked: the reader sleeps.
        handled: after `seal`, how many items of the last batch were handled.
        watch: hears that the reader is at work again.
        passing: held while the incarnation passes on what it produced, so that it is fenced before that or after.
        paused_since: since when data is held back, or None.
        pause_tick: seconds after which a pause brings a tick, or None.
    """

    def __init__(self, mailbox: Mailbox, feeds: tuple[Feed, ...] = ()) -> None:
        self.mailbox = mailbox
        self.feeds = feeds
        self.deadline: float | None = None
        self.finished = False
        self.sealed = False
        self.poisoned: Any = None
        self.beats = 0
        self.parked = False
        self.handled = 0
        self.watch: Watch = NO_WATCH
        self.passing = threading.Lock()
        self._asked: Envelope[Any] | None = None
        self.paused_since: float | None = None
        self.pause_tick: float | None = None
        self._cancelled = False
        self._batch: list[Any] = []
        self._iterator: Iterator[Any] = iter(())

    def put(self, envelope: Envelope[Any], /) -> None:
        """Put through the actor's own ref, which dies with this incarnation."""
        if self.sealed:
            answer_dead(envelope, self.mailbox.name)
        else:
            self.mailbox.put(envelope)

    def get(self) -> Envelope[Any]:
        """Wait for the next thing to do; the order of the checks is the order of precedence."""
        mailbox, clock = self.mailbox, self.mailbox.clock
        self.beats += 1
        self._asked = None
        while True:
            if mailbox.aborted or self.finished or self.sealed:
                return Envelope(_ActorStop())
            paused = self._paused()
            if self.deadline is not None and clock.now() >= self.deadline:
                self.deadline = None
                return Envelope(_TICK)
            taken = mailbox.take_envelope() if paused else mailbox.take()
            if isinstance(taken, list):
                return Envelope(self._hand_out(taken))
            if taken is not None:
                self._asked = taken
                return taken
            if mailbox.stopping and not self._cancelled and not paused:
                self._cancelled = True
                return Envelope(_CANCEL)
            if mailbox.parking.ready():
                return Envelope(_READABLE)
            self.parked = True
            mailbox.sleep(self.deadline, paused=paused)
            self.parked = False
            if not self.watch.armed:
                self.watch.arm()

    def empty(self) -> bool:
        """Seal the view. Pykka calls this only when the actor has ended, to drain what we keep for the successor."""
        self.seal()
        return True

    def batch_done(self) -> None:
        """Note that everything handed out was handled."""
        self._batch = []

    def seal(self) -> None:
        """End this view: set aside the item that was being handled and give back the rest of its batch."""
        if self.sealed:
            return
        self.sealed = True
        rest = list(self._iterator)
        begun = len(self._batch) - len(rest)
        if begun:
            self.handled = begun - 1
            self.poisoned = self._batch[begun - 1]
        self.mailbox.put_front(rest)

    def fence(self) -> bool:
        """Seal a view whose reader hangs, and answer the ask that it hangs over, if it is one.

        Returns:
            Whether nothing of what it produced was passed on by half.
        """
        clean = self.passing.acquire(blocking=False)
        self.seal()
        if clean:
            self.passing.release()
        asked = self._asked
        if asked is not None:
            with suppress(queue.Full):  # that one is answered already
                answer_dead(asked, self.mailbox.name)
        return clean

    def _hand_out(self, batch: list[Any]) -> Batch:
        self._batch = batch
        self._iterator = iter(batch)
        return Batch(self._iterator)

    def _paused(self) -> bool:
        paused = any(feed.over_capacity(self.mailbox) for feed in self.feeds)
        if not paused:
            self.paused_since = None
        elif self.paused_since is None:
            self.paused_since = now = self.mailbox.clock.now()
            if self.pause_tick is not None:
                look = now + self.pause_tick
                self.deadline = look if self.deadline is None else min(look, self.deadline)
        return paused
