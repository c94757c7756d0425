"""SupervisedActor: an actor that a `Supervisor` can watch, restart and leave behind.

The rules:

- the mailbox outlives the actor: one *incarnation* reads it through an inbox of its own, the next one goes on there;
- an incarnation gives exactly one death notice, whatever it dies of, as the last thing that its thread does;
- SystemExit, or anything else that is no Exception, is a crash of that actor, not the end of all actors of the program;
- an incarnation that was *fenced* (it hung) gets nothing more, and its death is no news any more when it comes;
- without a supervisor it is an ordinary Pykka actor.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

import pykka
from pykka._envelope import Envelope  # Pykka's own; tests/actors/test_pykka_contract.py holds it to that

from .clock import SYSTEM_CLOCK
from .inbox import Inbox
from .mailbox import Mailbox
from .messages import Batch, Cancel, Death, DeathReason

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

__all__ = ["ActorCrashed", "Birth", "PlainInbox", "SupervisedActor"]

LEAVE_WITHIN: Final = 1.0
"""Seconds for a thread that has nothing to do but to end."""

_logger = logging.getLogger("packhorse")


class ActorCrashed(Exception):  # noqa: N818 - the event is the message
    """A handler raised something that is not an Exception, such as SystemExit; its `__cause__`."""


class PlainInbox(Inbox):
    """The inbox of an actor like any other of Pykka's: it ends when it has handled what was there before the stop.

    Attributes:
        stop_rule: the actor has a stop rule of its own all the same, and wants its `Cancel`.
    """

    stop_rule = False

    def get(self) -> Envelope[Any]:
        """Wait for the next message."""
        envelope = super().get()
        if not self.stop_rule and type(envelope) is Envelope and type(envelope.message) is Cancel:
            self.finished = True
            return super().get()
        return envelope


@dataclass(frozen=True, slots=True, kw_only=True)
class Birth:
    """What a supervisor gives to an incarnation.

    Attributes:
        name: the id of the child.
        inbox: its view of the mailbox.
        generation: which incarnation it is, from 0.
        report: takes the death notice.
        ref: the ref that stays valid over all incarnations.
    """

    name: str
    inbox: Inbox
    generation: int
    report: Callable[[Death], None]
    ref: pykka.ActorRef[Any]


class SupervisedActor(pykka.ThreadingActor):
    """Base of actors that live under a `Supervisor`. Subclass it as you would `pykka.ThreadingActor`.

    A subclass calls `super().__init__()` without arguments; name, inbox, generation and report are for actors that are
    given theirs when they are constructed, as the nodes of a stack.

    Args:
        name: for thread and logs; the name of the class if None.
        inbox: its view of a mailbox; one of its own if None.
        generation: which incarnation it is.
        report: takes the death notice; called last, in the actor's own thread.

    Attributes:
        thread: where the actor runs.
        stable_ref: the ref to hand out: it stays valid when this actor is restarted, unlike `actor_ref`. Without a
            supervisor the two are the same.
    """

    thread: threading.Thread

    use_daemon_thread: ClassVar[bool] = True

    def __init__(
        self,
        name: str | None = None,
        inbox: Inbox | None = None,
        generation: int = 0,
        report: Callable[[Death], None] | None = None,
    ) -> None:
        self._name = name or type(self).__name__
        self._inbox = PlainInbox(Mailbox(self._name, SYSTEM_CLOCK)) if inbox is None else inbox
        self._generation = generation
        self._report = report
        self._fenced = False
        self._committed = False
        self._phase = "start"
        self._died_in: str | None = None
        self._cause: BaseException | None = None
        super().__init__()
        self.stable_ref: pykka.ActorRef[Any] = self.actor_ref

    # For the supervisor.

    @property
    def adopted(self) -> bool:
        """Whether it has a supervisor, or was started without one."""
        return self._report is not None or hasattr(self, "thread")

    def adopt(self, birth: Birth) -> None:
        """Take name, inbox and ref from a supervisor. Called once, after the constructor and before the start.

        What the constructor told this actor stays first in line.
        """
        own = self._inbox.mailbox
        self._name = birth.name
        self._inbox = self.actor_inbox = self.actor_ref.actor_inbox = birth.inbox
        self._generation = birth.generation
        self._report = birth.report
        self.stable_ref = birth.ref
        early: list[Any] = []
        while (taken := own.take()) is not None:
            early += taken if isinstance(taken, list) else [taken]
        birth.inbox.mailbox.put_front(early)
        own.close()

    def leave(self) -> None:
        """End after what is being handled; the rest is for the next incarnation. Called by the supervisor's thread."""
        self.hurry()  # they differ in a supervisor, which ends its children in order first, or does not

    def hurry(self) -> None:
        """End at once. Called by the supervisor's thread."""
        self._inbox.finished = True
        self._inbox.mailbox.wake()

    def fence(self, reason: DeathReason, cause: BaseException) -> Death:
        """Note that this incarnation hangs, and return the death notice for it. Called by the supervisor's thread."""
        self._fenced = True
        if not self._inbox.fence():
            cause.__cause__ = RuntimeError(f"{self._name} hangs while it passes on what it has produced")
        if self._inbox.lent:
            # Its own thread only sleeps. It must be gone before its successor can, or it might take a wake-up meant for
            # that one.
            self.thread.join(LEAVE_WITHIN)
        return self._death(reason.value, cause)

    # Instead of Pykka's.

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
            self._notify()

    def _notify(self) -> None:
        inbox = self._inbox
        death = self._death(self._died_in or self._phase, self._cause)
        try:
            self._last_words(death)
        except Exception:
            _logger.exception("last words of %s failed", self._name)
        if self._report is None:
            inbox.mailbox.close()
        else:
            self._report(death)
        if self._fenced:
            inbox.mailbox.clock.left()  # it was counted anew when it was fenced

    def _death(self, phase: str, cause: BaseException | None) -> Death:
        inbox = self._inbox
        committed = self._committed or inbox.committed or inbox.handled > 0
        return Death(self._name, self._generation, phase, cause, inbox.poisoned, committed)

    def _last_words(self, death: Death) -> None:
        """Do what must be done whatever this actor died of, before anybody hears of it."""

    def _handle_receive(self, message: Any) -> Any:
        self._phase = "run"
        try:
            result = super()._handle_receive(message)
        except Exception:
            raise
        except BaseException as error:
            # Pykka would stop every actor of the process.
            self._remember(error)
            self._exit(error)
            raise ActorCrashed(f"{type(error).__name__} in {self._name}") from error
        if message.__class__ is Batch:
            self._committed = True
        return result

    def _exit(self, error: BaseException) -> None:
        """End because a handler raised something that is no Exception."""
        del error
        self.actor_stopped.set()

    def _handle_failure(
        self,
        exception_type: type[BaseException] | None,
        exception_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exception_value is not None:
            self._remember(exception_value)
        if self._report is None:
            super()._handle_failure(exception_type, exception_value, traceback)  # nobody else would log it
        self.actor_stopped.set()

    def _stop(self) -> None:
        self._phase = "stop"
        super()._stop()

    def _remember(self, error: BaseException) -> None:
        if self._cause is None:
            self._cause = error
            self._died_in = self._phase
