"""What the seven nodes have in common.

The rules:

- a node handles item by item: its part of the protocol computes first and then changes state and outputs together;
- outputs are passed on after each batch, and also when a crash ends one: what was produced before is not lost;
- state, mailbox and counters belong to the node's `Station` and outlive its incarnations;
- what a hung and sealed incarnation produces later is not passed on; its successor works on a copy of its state.

How an incarnation ends and reports its death is `SupervisedActor`'s part.
"""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, Protocol, Self, TypeVar

import pykka

from .messages import Batch, Cancel, Crashed, Death, Fault, Poisoned, Readable
from .supervised import SupervisedActor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..protocol.notes import Note
    from .clock import Clock
    from .inbox import Inbox
    from .mailbox import Feed, Mailbox
    from .tracing import Tracer


FEW: Final = 16
"""Datagrams that are handled in another node's place at most: with more, two threads are quicker than one."""


class Noting(Protocol):
    """A part of the protocol, as far as every node knows it."""

    notes: list[Note] | None


S = TypeVar("S", bound="Noting | None")

__all__ = ["Node", "Station"]


@dataclass(slots=True, kw_only=True)
class Station(Generic[S]):
    """What belongs to a node rather than to one of its incarnations.

    Attributes:
        name: the node's name.
        mailbox: what the node reads.
        state: the node's part of the protocol.
        feeds: what must have room before the node takes data.
        outlets: mailboxes the node puts into, by the name of their node.
        clock: the stack's clock.
        logger: what it writes with, bound to stack and node.
        counters: what was counted; written by the node only.
        incarnation: the present actor, or the last one.
        prepare: called with each new incarnation before it is started; for `packhorse.testing.faults`.
    """

    name: str
    mailbox: Mailbox
    state: S
    feeds: tuple[Feed, ...]
    outlets: Mapping[str, Mailbox]
    clock: Clock
    logger: Tracer
    counters: Counter[str] = field(default_factory=Counter[str])
    incarnation: Node[S] | None = None
    prepare: Callable[[Node[S]], None] | None = None

    def copy_state(self) -> None:
        """Go on with a copy of the state, because a hung incarnation holds the present one.

        Raises:
            Exception: it cannot be copied, or is being changed.
        """
        hung = None if self.incarnation is None else self.incarnation.thread
        before = hung is not None and hung.is_alive()
        copied = copy.deepcopy(self.state)
        if before and hung is not None and not hung.is_alive():
            copied = copy.deepcopy(self.state)  # it woke up and may have changed something meanwhile
        self.state = copied


class Node(SupervisedActor, Generic[S]):
    """Base of the seven nodes.

    Subclasses name their handlers in `handlers`, by the type of the item; each takes the item and the time.
    """

    handlers: ClassVar[Mapping[type, str]] = {}

    def __init__(self, station: Station[S], inbox: Inbox, generation: int, report: Callable[[Death], None]) -> None:
        super().__init__(station.name, inbox, generation, report)
        self._station = station
        self._state = station.state
        self._clock = station.clock
        self._counters = station.counters
        self._logger = station.logger
        self._draining = False
        self._borrowed: list[Mailbox] = []
        self._traced = False
        self._table: dict[type, Callable[[Any, float], None]] = {
            kind: getattr(self, name) for kind, name in self.handlers.items()
        }
        station.incarnation = self
        inbox.handler = self.on_receive
        inbox.on_pause = self._note_pause
        if station.prepare is not None:
            station.prepare(self)

    @classmethod
    def start(  # pyright: ignore[reportIncompatibleMethodOverride] - it is what Pykka declares
        cls, *args: Any, **kwargs: Any
    ) -> pykka.ActorRef[Self]:
        """Start without an entry in Pykka's registry: it lists the supervisor alone, which ends its nodes in order."""
        actor = cls(*args, **kwargs)
        actor._start_actor_loop()
        return actor.actor_ref

    def counters(self) -> dict[str, int]:
        """Return what this node has counted since the stack was started."""
        return dict(self._counters)

    def on_start(self) -> None:
        """Take up the state as the last incarnation left it."""
        self._logger = self._station.logger.bind(generation=self._generation)
        self._logger.info("actor:started")
        self._trace()
        self._pass_on()
        for mailbox in self._station.outlets.values():
            mailbox.wake_by(self._clock.now())  # the last incarnation may not have come to that
        self._inbox.deadline = self._deadline()

    def on_stop(self) -> None:
        """Say so in the log."""
        self._logger.info("actor:stopped")

    def on_receive(self, message: Any) -> None:
        """Handle a batch or a tick; see the module's rules."""
        if self._logger.traced is not self._traced:
            self._trace()
        now = self._clock.now()
        kind = message.__class__
        try:
            if kind is Batch:
                self._handle(message, now)
                self._inbox.batch_done()
            elif kind is Crashed:
                raise message.error
            elif kind is Fault:
                message.strike(self)
            elif kind is Readable:
                self._on_readable(now)
            elif kind is Cancel and self._inbox.mailbox.dismissed:
                self._draining = True
                self._on_cancel(now)
            elif kind is Cancel:
                self._inbox.finished = True  # somebody else's stop means this incarnation, not the node
            self._after(now)
        finally:
            self._pass_on()
        self._inbox.deadline = self._deadline()
        if self._draining and self._is_done():
            self._inbox.finished = True

    def _handle(self, batch: Batch, now: float) -> None:
        """Handle a batch item by item."""
        table = self._table
        for item in batch:
            handler = table.get(item.__class__)
            if handler is None:
                self._unexpected(item, now)
            else:
                handler(item, now)

    def _unexpected(self, item: Any, now: float) -> None:
        if type(item) is Poisoned:
            self._counters["poisoned"] += 1
            self._logger.warning("actor:item_set_aside", item=type(item.item).__name__)
            self._salvage(item.item, now)
        else:
            self._counters["unexpected"] += 1
            self._logger.warning("actor:message_dropped", message_type=type(item).__name__, trigger="unexpected")

    def _pass_on(self) -> None:
        with self._inbox.passing:
            if self._inbox.sealed:
                return
            if self._traced and self._state is not None and self._state.notes:
                # Told before anybody can see it, so that whoever has a package finds its events.
                self._logger.note(self._state.notes)
                self._state.notes.clear()
            self._emit()
        while self._borrowed:
            self._borrowed.pop(0).handle_here()
        self._wake_others()

    def _trace(self) -> None:
        """Begin, go on or end to tell of every package, as the journal wants it."""
        self._traced = self._logger.traced
        if self._state is not None:
            self._state.notes = (self._state.notes or []) if self._traced else None

    def _note_pause(self, full: str, lasted: float | None) -> None:
        if not self._traced:
            return
        if lasted is None:
            self._logger.debug("actor:mailbox_full", mailbox=full)
        else:
            self._logger.debug("actor:mailbox_drained", mailbox=full, lasted=lasted)

    def _hand_over(self, mailbox: Mailbox, items: list[Any], weight: int) -> None:
        """Put items, with so many datagrams in all.

        If they are few and nothing else is to be done, they are handled in the other node's place when everything is
        passed on.
        """
        if weight <= FEW and mailbox.lends and self._inbox.slept:
            mailbox.put_softly(items)
            self._borrowed.append(mailbox)
        else:
            mailbox.put_all(items)

    # What the nodes differ in.

    def _emit(self) -> None:
        """Put what the state has produced into the mailboxes it is for."""

    def _wake_others(self) -> None:
        """Wake those whose turn comes when everything else is done."""

    def _after(self, now: float) -> None:
        """Do what is due at this time, after a batch or for a tick."""

    def _deadline(self) -> float | None:
        """Return when the node wants a tick."""
        return None

    def _on_readable(self, now: float) -> None:
        """Read the socket."""

    def _on_cancel(self, now: float) -> None:
        """Begin to end."""

    def _is_done(self) -> bool:
        """Tell whether the stop rule is met; asked after a cancel."""
        return True

    def _salvage(self, item: Any, now: float) -> None:
        """Save what can be saved of an item that crashed the last incarnation."""
