"""Mailboxes: the channels between the nodes.

The rules:

- a mailbox belongs to the supervisor and outlives the actors that read it, one *incarnation* after the other; each
  reads through an `Inbox` of its own, which is what Pykka sees;
- a put never waits and takes no lock: it appends, and wakes the reader only if that sleeps. So a put is allowed
  anywhere, in a finalizer too. (Putting an ask or a tell takes a lock for a moment.)
- a put may be *soft*: it wakes nobody. `wake_by` then says by when the reader should look, and wakes one that would
  sleep longer. A reader that gets soft puts *naps* for a moment when it has nothing to do, so that the next ones need
  not wake it;
- a put may let the calling thread handle the batch in the place of a reader that sleeps (see `inbox`): one thread less
  to wake;
- everything that waits is taken in one go and handed out as one `Batch`; asks and tells keep their places in line;
- while a mailbox that its node feeds is over its capacity, the reader hands out no data, only asks, ticks and stops;
- a stop has a lane of its own: it marks the mailbox, and when no data is left the node gets one `Cancel`. The node says
  when it is done; only then it gets Pykka's stop. Whoever waits for the stop is answered when the node has ended;
- after a crash the item that was being handled is set aside, and the rest of its batch goes back to the front.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress
from itertools import repeat, starmap
from typing import TYPE_CHECKING, Any, Protocol

from pykka import ActorDeadError
from pykka._envelope import Envelope  # Pykka's own; tests/actors/test_pykka_contract.py holds it to that
from pykka.messages import _ActorStop  # pyright: ignore[reportPrivateUsage] - a stop has no public name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .clock import Clock
    from .inbox import Inbox

__all__ = ["BATCH_LIMIT", "Feed", "Mailbox", "Parking", "answer_dead"]

BATCH_LIMIT = 1024
"""Items per batch at most, so that a node looks up now and then."""


class Parking(Protocol):
    """Where a reader sleeps that waits for something besides its mailbox (a socket)."""

    def ready(self) -> bool:
        """Tell, without waiting, whether that other thing has happened."""
        ...

    def park(self, deadline: float | None) -> bool:
        """Sleep until it happens, until `unpark`, or until the deadline.

        Returns False if it had happened, or `unpark` had been called, before this call; else True.
        """
        ...

    def unpark(self) -> None:
        """Wake the reader. Takes no lock."""
        ...


class Feed(Protocol):
    """Something that a node puts into: another mailbox, or a user's end."""

    name: str

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

    def park(self, deadline: float | None) -> bool:
        self._clock.rest(self._token, deadline)
        return True

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
        nap: seconds that a reader with nothing to do waits for soft puts before it sleeps for good.
        lends: whether other threads may handle a batch in the place of a reader that sleeps.

    Attributes:
        stopping: a stop has come.
        dismissed: it came from the supervisor, so it means the node; one from outside means the present incarnation.
        closed: the node has ended for good; whatever is put is discarded.
        aborted: the node should end at once, whatever waits.
        weight_put: how many packages were put so far, if whoever puts them counts: one message may carry many.
        weight_taken: how many of them the reader has begun to handle.
        high_water: the most messages that ever waited when the reader came to look.
        items: what waits. Whoever appends data here, to save a call, wakes the reader if it is idle.
        idle: the reader sleeps, and wants to be woken when something is put.
    """

    def __init__(
        self,
        name: str,
        clock: Clock,
        *,
        capacity: int = 256,
        parking: Parking | None = None,
        nap: float = 0.0,
        lends: bool = False,
    ) -> None:
        self.name = name
        self.clock = clock
        self.capacity = capacity
        self.nap = nap
        self.lends = lends
        self.stopping = False
        self.dismissed = False
        self.closed = False
        self.aborted = False
        self.items: deque[Any] = deque()
        self._stop_replies: deque[Envelope[Any]] = deque()
        self._feeders: set[Mailbox] = set()
        self._asking = threading.RLock()  # a finalizer, which runs in the middle of anything, may tell something too
        self._asks_put = 0
        self._asks_taken = 0
        self.parking: Parking = _TokenParking(clock) if parking is None else parking
        self.idle = False
        self._wakes_at: float | None = None
        self.weight_put = 0
        self.weight_taken = 0
        self.high_water = 0
        self._sleeper: Inbox | None = None
        clock.joined()

    def __len__(self) -> int:
        return len(self.items)

    @property
    def stopped_from_outside(self) -> bool:
        """Whether a stop has come that was not the supervisor's, and nobody has answered it yet."""
        return bool(self._stop_replies)

    @property
    def weight(self) -> int:
        """How many packages wait, as far as they are counted."""
        return self.weight_put - self.weight_taken

    def put(self, item: Any) -> None:
        """Add one message: data, or one of Pykka's envelopes."""
        if isinstance(item, Envelope):
            self._put_envelope(item)  # pyright: ignore[reportUnknownArgumentType] - any envelope will do
            return
        if self.closed:
            return
        self.items.append(item)
        if self.idle:
            self.wake()

    def put_all(self, items: Sequence[Any]) -> None:
        """Add messages, all of them data, with one wake-up, if there are any."""
        if self.closed or not items:
            return
        self.items.extend(items)
        if self.idle:
            self.wake()

    def put_softly(self, items: Iterable[Any]) -> None:
        """Add messages, all of them data, without waking the reader; `wake_by` is to follow."""
        if not self.closed:
            self.items.extend(items)

    def wake_by(self, time: float) -> None:
        """See to it that the reader has looked at what waits by this time."""
        if self.idle and (self._wakes_at is None or self._wakes_at > time):
            self.wake()

    def handle_here(self) -> None:
        """Handle what was put softly, here and now, if the reader sleeps and lends itself to that; else wake it."""
        if self.idle:
            sleeper = self._sleeper
            if not self.lends or sleeper is None or not sleeper.handle_here():
                self.wake()

    def take_back(self, item: Any) -> bool:
        """Take something out again, even of a closed mailbox; return whether it was there still.

        It is this very object, and of several the one that was put last. If items are taken from the front meanwhile it
        moves to where we have not looked yet.
        """
        items = self.items
        for place in range(len(items) - 1, -1, -1):
            try:
                # Between looking and deleting no other thread runs: there is neither a call nor a jump back.
                if items[place] is item:
                    del items[place]
                    return True
            except IndexError:
                continue
        return False

    def put_front(self, items: Iterable[Any]) -> None:
        """Give back what a crashed incarnation did not come to. Only while nobody reads."""
        returned = list(items)
        with self._asking:
            self._asks_put += sum(isinstance(item, Envelope) for item in returned)
        self.items.extendleft(reversed(returned))

    def stop(self) -> None:
        """Ask the node to end when it has done what its stop rule says. For the supervisor."""
        self.dismissed = True
        self.stopping = True
        self.wake()

    def resume(self) -> None:
        """Go on after a stop from outside, for the next incarnation; those who waited for the stop are answered."""
        self.stopping = self.dismissed
        self._answer_stops()

    def abort(self) -> None:
        """Ask the node to end at once. For the supervisor."""
        self.aborted = True
        self.dismissed = True
        self.stopping = True
        self.wake()

    def wake(self) -> None:
        """Let the reader look at everything again."""
        try:
            self.idle = False
            self.parking.unpark()
        except BaseException:  # Ctrl-C between the two would have the reader sleep for ever
            self.parking.unpark()
            raise

    def over_capacity(self, feeder: Mailbox) -> bool:
        """Tell whether `feeder` should pause; if so it is woken when there is room."""
        if len(self.items) <= self.capacity or self.closed:
            return False
        self._feeders.add(feeder)
        if self.idle:
            self.wake()  # what was put softly must not hold anybody back until the reader looks by itself
        # The reader may have emptied or closed the mailbox before it could see the feeder.
        return len(self.items) > self.capacity and not self.closed

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
        return list(self.items)

    def _put_envelope(self, envelope: Envelope[Any]) -> None:
        # Only a plain envelope can hold a stop; looking into another one may mean something (see `subscription`).
        if type(envelope) is Envelope and isinstance(envelope.message, _ActorStop):
            self._stop_replies.append(envelope)
            self.stopping = True
        else:
            with self._asking:
                self._asks_put += 1  # before it can be seen, so that `asked` is never wrong about what is there
            self.items.append(envelope)
        self.wake()  # even a paused reader, which sleeps through data
        if self.closed:
            self._answer_leftovers()

    def _answer_leftovers(self) -> None:
        # Whoever puts into a closed mailbox does this too; then somebody else may take the last one. Data stays, for
        # `take_back`.
        self._answer_stops()
        for item in list(self.items):
            if isinstance(item, Envelope) and self.take_back(item):
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

    @property
    def asked(self) -> bool:
        """Whether an ask or a tell may be among what waits."""
        return self._asks_put != self._asks_taken

    @property
    def data_next(self) -> bool:
        """Whether what `take` gives now is data."""
        try:
            return not (self.asked and isinstance(self.items[0], Envelope)) and bool(self.items)
        except IndexError:  # something was taken back meanwhile
            return False

    def take(self) -> list[Any] | Envelope[Any] | None:
        """Take the next ask or tell, or all data before it, or None if nothing waits."""
        items = self.items
        waiting = len(items)
        if not waiting:
            if self._feeders:
                self._wake_feeders()
            return None
        self.high_water = max(self.high_water, waiting)
        count = min(waiting, BATCH_LIMIT)
        batch = list[Any]()
        try:
            if not self.asked:  # looked at after counting: what came meanwhile is not taken now
                batch.extend(starmap(items.popleft, repeat((), count)))  # which keeps what it has when there is no more
            elif isinstance(items[0], Envelope):
                envelope: Envelope[Any] = items.popleft()
                self._asks_taken += 1
                return envelope
            else:
                while len(batch) < count and not isinstance(items[0], Envelope):
                    batch.append(items.popleft())
        except IndexError:
            pass  # something was taken back meanwhile
        if self._feeders and len(items) <= self.capacity:
            self._wake_feeders()
        return batch or None

    def take_envelope(self) -> Envelope[Any] | None:
        """Take the next ask or tell and leave the data."""
        if not self.asked:
            return None
        for item in list(self.items):
            if isinstance(item, Envelope):
                self.items.remove(item)
                self._asks_taken += 1
                return item  # pyright: ignore[reportUnknownVariableType] - any envelope will do
        return None

    def sleep(self, reader: Inbox, deadline: float | None, *, paused: bool) -> bool:
        """Sleep until something is put; a paused reader sleeps through data. Returns whether it had to sleep."""
        self._wakes_at = deadline
        self._sleeper = None if paused else reader
        if not paused:
            self.idle = True
            if self.items:
                self.idle = False
                return False
        slept = self.parking.park(deadline)
        self.idle = False
        return slept
