"""How one incarnation of a node reads its mailbox.

The rules:

- an inbox is what Pykka sees of a mailbox. It dies with its incarnation; the mailbox does not;
- what it hands out is, in this order: the end, if it is due; a tick, unless a batch comes instead; data, asks and tells
  as they wait; one cancel; the news that the socket can be read. While a mailbox that the node feeds is over its
  capacity it hands out no data;
- after a crash the item that was being handled is set aside, and the rest of its batch goes back to the front of the
  mailbox;
- a node whose mailbox *lends* it may have a batch handled by the thread that put it, while its own thread sleeps:
  waking a thread takes longer than most batches. Whoever handles a batch holds `turn`, so there is never more than one;
  the node's own thread holds it except while it sleeps. What such a batch raises is kept, and raised by the node's own
  thread, so a crash is what it always is.
"""

from __future__ import annotations

import queue
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pykka._envelope import Envelope  # Pykka's own; tests/actors/test_pykka_contract.py holds it to that
from pykka.messages import _ActorStop  # pyright: ignore[reportPrivateUsage] - a stop has no public name

from .mailbox import answer_dead
from .messages import Batch, Cancel, Crashed, Readable, Tick
from .watchdog import NO_WATCH, Watch

if TYPE_CHECKING:
    from collections.abc import Callable

    from .mailbox import Feed, Mailbox

__all__ = ["Inbox"]

_TICK = Tick()
_CANCEL = Cancel()
_READABLE = Readable()


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
        committed: a batch was handled in another thread.
        lent: another thread is handling a batch.
        watch: hears that the reader is at work again.
        passing: held while the incarnation passes on what it produced, so that it is fenced before that or after.
        paused_since: since when data is held back, or None.
        handler: what handles a batch; set by the node.
        slept: whether the node had nothing to do before what it handles now. If so latency matters more than keeping
            other nodes busy.
        pause_tick: seconds after which a pause brings a tick, or None.
        on_pause: hears of a pause, and of its end together with how many seconds it lasted.
    """

    def __init__(self, mailbox: Mailbox, feeds: tuple[Feed, ...] = ()) -> None:
        self.mailbox = mailbox
        self.handler: Callable[[Any], Any] | None = None
        self.slept = True
        self.feeds = feeds
        self.deadline: float | None = None
        self.finished = False
        self.sealed = False
        self.poisoned: Any = None
        self.beats = 0
        self.parked = False
        self.handled = 0
        self.committed = False
        self.watch: Watch = NO_WATCH
        self.passing = threading.Lock()
        self._asked: Envelope[Any] | None = None
        self.paused_since: float | None = None
        self.pause_tick: float | None = None
        self.turn = threading.Lock()
        self.turn.acquire()
        self.on_pause: Callable[[str, float | None], None] = _tell_nobody
        self._full = ""
        self._cancelled = False
        self._batch: Batch | None = None
        self._crash: BaseException | None = None
        self._napped = False
        self._queued = False
        self.lent = False
        self._handing = threading.Lock()
        """Held while items are taken and handed out, so that this is over before the view is sealed."""

    def put(self, envelope: Envelope[Any], /) -> None:
        """Put through the actor's own ref, which dies with this incarnation."""
        if self.sealed:
            answer_dead(envelope, self.mailbox.name)
        else:
            self.mailbox.put(envelope)

    def get(self) -> Envelope[Any]:
        """Wait for the next thing to do; the order of the checks is the order of precedence."""
        mailbox, clock = self.mailbox, self.mailbox.clock
        self.slept = False
        self.beats += 1
        self._asked = None
        while True:
            if self._crash is not None:
                crash, self._crash = self._crash, None
                return Envelope(Crashed(crash))
            if mailbox.aborted or self.finished or self.sealed:
                return Envelope(_ActorStop())
            paused = self._paused()
            if self.deadline is not None and clock.now() >= self.deadline:
                self.deadline = None
                # Nodes do what is due after every batch too, and what was put softly belongs to it.
                if paused or not mailbox.data_next:
                    return Envelope(_TICK)
            taken = self._take(paused=paused)
            if taken is not None:
                return taken
            if self.sealed:
                continue
            if mailbox.stopping and not self._cancelled and not paused:
                self._cancelled = True
                return Envelope(_CANCEL)
            if mailbox.parking.ready():
                return Envelope(_READABLE)
            self.slept = self._sleep(paused=paused)

    def empty(self) -> bool:
        """Seal the view. Pykka calls this only when the actor has ended, to drain what we keep for the successor."""
        self.seal()
        return True

    def batch_done(self) -> None:
        """Note that everything handed out was handled."""
        self._batch = None

    def seal(self) -> None:
        """End this view: set aside the item that was being handled and give back the rest of its batch."""
        with self._handing:
            if self.sealed:
                return
            self.sealed = True
            batch = self._batch
        if batch is not None:
            if batch.begun:
                self.handled = batch.begun - 1
                self.poisoned = batch.items[batch.begun - 1]
            rest = batch.items[batch.begun :]
            del batch.items[batch.begun :]  # an incarnation that hung, and wakes up, handles no more of them
            self.mailbox.put_front(rest)

    def handle_here(self) -> bool:
        """Handle what waits in the calling thread, if the node's own sleeps and nothing but data waits.

        Returns whether the node's own thread may sleep on.
        """
        mailbox = self.mailbox
        if self.handler is None or not self.turn.acquire(blocking=False):
            return False
        try:
            if mailbox.asked or mailbox.stopping or self.sealed or self._crash is not None or self._paused():
                return False
            with self._handing:
                if self.sealed:
                    return False
                items = mailbox.take()
                if not isinstance(items, list):
                    return items is None
                batch = self._hand_out(items)
            before, self.slept = self.deadline, True
            self.lent, self.parked = True, False
            self.beats += 1
            if not self.watch.armed:
                self.watch.arm()
            try:
                self.handler(batch)
                self.committed = True
            except BaseException as error:  # noqa: BLE001 - raised where it belongs, in the node's own thread
                self._crash = error
            self.lent, self.parked = False, not self.sealed
            return self._crash is None and not (self.finished or self.sealed) and self.deadline == before
        finally:
            self._give_turn()

    def fence(self) -> bool:
        """Seal a view whose reader hangs, and answer the ask that it hangs over, if it is one.

        Returns:
            Whether nothing of what it produced was passed on by half.
        """
        clean = self.passing.acquire(blocking=False)
        self.seal()
        if clean:
            self.passing.release()
        if self.lent:
            # It is another node's thread that hangs; the own one sleeps, and can end.
            self._give_turn()
            self.mailbox.wake()
        asked = self._asked
        if asked is not None:
            with suppress(queue.Full):  # that one is answered already
                answer_dead(asked, self.mailbox.name)
        return clean

    def _take(self, *, paused: bool) -> Envelope[Any] | None:
        """Take what is next, and hand it out; None if nothing waits, or it is for a successor."""
        with self._handing:
            if self.sealed:
                return None
            taken = self.mailbox.take_envelope() if paused else self.mailbox.take()
            if isinstance(taken, list):
                self._napped = False
                return Envelope(self._hand_out(taken))
            self._asked = taken
            return taken

    def _sleep(self, *, paused: bool) -> bool:
        deadline = self.deadline
        if self.mailbox.nap and not self._napped and not paused:
            self._napped = True
            until = self.mailbox.clock.now() + self.mailbox.nap
            deadline = until if deadline is None else min(deadline, until)
        self.parked = True
        self.turn.release()
        try:
            return self.sealed or self.mailbox.sleep(self, deadline, paused=paused)
        finally:
            if self.sealed:
                self.mailbox.wake()  # who was left behind, and sleeps here, may have taken its successor's wake-up
            self._take_turn()
            self.parked = False
            if not self.watch.armed:
                self.watch.arm()

    def _take_turn(self) -> None:
        """Wait until nobody handles a batch in our place."""
        if not self.turn.acquire(blocking=False):
            # To a clock that is driven by hand we are at rest meanwhile: time must be able to pass if that one hangs.
            self._queued = True
            self.mailbox.clock.left()
            self.turn.acquire()
            if self._queued:
                self._queued = False
                self.mailbox.clock.joined()

    def _give_turn(self) -> None:
        if self._queued:
            self._queued = False
            self.mailbox.clock.joined()  # in the place of whoever waits, so that no time passes before it is awake
        try:  # noqa: SIM105 - `suppress` costs twice as much, at every batch handled here
            self.turn.release()
        except RuntimeError:
            pass  # fencing has released it

    def _hand_out(self, items: list[Any]) -> Batch:
        self._batch = batch = Batch(items)
        return batch

    def _paused(self) -> bool:
        full = None
        for feed in self.feeds:
            if feed.over_capacity(self.mailbox):
                full = feed
                break
        if full is None:
            if self.paused_since is not None:
                self.on_pause(self._full, self.mailbox.clock.now() - self.paused_since)
            self.paused_since = None
        elif self.paused_since is None:
            self.paused_since = now = self.mailbox.clock.now()
            self._full = full.name
            self.on_pause(full.name, None)
            if self.pause_tick is not None:
                look = now + self.pause_tick
                self.deadline = look if self.deadline is None else min(look, self.deadline)
        return full is not None


def _tell_nobody(full: str, lasted: float | None) -> None:
    """Take no note of a pause."""
