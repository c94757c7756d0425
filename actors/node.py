"""What the seven nodes have in common.

The rules:

- a node handles item by item: its part of the protocol computes first and then changes state and outputs together;
- outputs are passed on after each batch, and also when a crash ends one: what was produced before is not lost;
- state, mailbox and counters belong to the node's `Station` and outlive its incarnations;
- an incarnation gives exactly one death notice, whatever it dies of. SystemExit in a handler is a crash of that node;
- what a hung and sealed incarnation produces later is not passed on.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

import pykka

from .messages import Batch, Cancel, Crashed, Death, Poisoned, Readable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from structlog.typing import FilteringBoundLogger

    from .clock import Clock
    from .inbox import Inbox
    from .mailbox import Feed, Mailbox

S = TypeVar("S")

__all__ = ["Node", "Station", "SupervisedActor"]


class ActorCrashed(Exception):  # noqa: N818 - the event is the message
    """A handler raised something that is not an Exception, such as SystemExit; its `__cause__`."""


class SupervisedActor(pykka.ThreadingActor):
    """An actor that reads a mailbox which outlives it, and that reports its death exactly once.

    Args:
        inbox: its view of the mailbox.
        generation: which incarnation it is.
        report: takes the death notice; called last, in the actor's own thread.

    Attributes:
        thread: where the actor runs.
    """

    thread: threading.Thread

    use_daemon_thread: ClassVar[bool] = True

    def __init__(self, name: str, inbox: Inbox, generation: int, report: Callable[[Death], None]) -> None:
        self._name = name
        self._inbox = inbox
        self._generation = generation
        self._report = report
        self._phase = "start"
        self._cause: BaseException | None = None
        super().__init__()

    def _create_actor_inbox(self) -> Inbox:  # type: ignore[override] # Pykka's is static; it calls it on the instance
        return self._inbox

    def _start_actor_loop(self) -> None:
        self.thread = threading.Thread(target=self._actor_loop, name=self._name, daemon=self.use_daemon_thread)
        try:
            self.thread.start()
        except RuntimeError:
            pykka.ActorRegistry.unregister(self.actor_ref)
            raise

    def _actor_loop(self) -> None:
        try:
            super()._actor_loop()
        except BaseException as error:  # noqa: BLE001 - reported to the supervisor
            self._remember(error)
        finally:
            pykka.ActorRegistry.unregister(self.actor_ref)
            self.actor_stopped.set()
            self._inbox.seal()
            self._report(Death(self._name, self._generation, self._phase, self._cause, self._inbox.poisoned))

    def _handle_receive(self, message: Any) -> Any:
        self._phase = "run"
        try:
            return super()._handle_receive(message)
        except Exception:
            raise
        except BaseException as error:
            # Pykka would stop every actor of the process.
            self._remember(error)
            self.actor_stopped.set()
            raise ActorCrashed(f"{type(error).__name__} in {self._name}") from error

    def _handle_failure(
        self,
        exception_type: type[BaseException] | None,  # noqa: ARG002 - Pykka's signature
        exception_value: BaseException | None,
        traceback: TracebackType | None,  # noqa: ARG002 - Pykka's signature
    ) -> None:
        if exception_value is not None:
            self._remember(exception_value)
        self.actor_stopped.set()

    def _stop(self) -> None:
        self._phase = "stop"
        super()._stop()

    def _remember(self, error: BaseException) -> None:
        if self._cause is None:
            self._cause = error


@dataclass(slots=True, kw_only=True)
class Station(Generic[S]):
    """What belongs to a node rather than to one of its incarnations.

    Attributes:
        name: the node's name.
        stack: the stack's name, for logs.
        mailbox: what the node reads.
        state: the node's part of the protocol.
        feeds: what must have room before the node takes data.
        outlets: mailboxes the node puts into, by the name of their node.
        clock: the stack's clock.
        logger: bound to stack and node.
        counters: what was counted; written by the node only.
        incarnation: the present actor, or the last one.
    """

    name: str
    stack: str
    mailbox: Mailbox
    state: S
    feeds: tuple[Feed, ...]
    outlets: Mapping[str, Mailbox]
    clock: Clock
    logger: FilteringBoundLogger
    counters: Counter[str] = field(default_factory=Counter[str])
    incarnation: Node[S] | None = None


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
        self._table: dict[type, Callable[[Any, float], None]] = {
            kind: getattr(self, name) for kind, name in self.handlers.items()
        }
        station.incarnation = self
        inbox.handler = self.on_receive

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
        self._pass_on()
        for mailbox in self._station.outlets.values():
            mailbox.wake_by(self._clock.now())  # the last incarnation may not have come to that
        self._inbox.deadline = self._deadline()

    def on_stop(self) -> None:
        """Say so in the log."""
        self._logger.info("actor:stopped")

    def on_receive(self, message: Any) -> None:
        """Handle a batch or a tick; see the module's rules."""
        now = self._clock.now()
        kind = message.__class__
        try:
            if kind is Batch:
                self._handle(message, now)
                self._inbox.batch_done()
            elif kind is Crashed:
                raise message.error
            elif kind is Readable:
                self._on_readable(now)
            elif kind is Cancel:
                self._draining = True
                self._on_cancel(now)
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
        if not self._inbox.sealed:
            self._emit()

    # What the nodes differ in.

    def _emit(self) -> None:
        """Put what the state has produced into the mailboxes it is for."""

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
