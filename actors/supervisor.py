"""Supervisor: starts actors, restarts those that crash, and ends them in order, after OTP's `supervisor`.

The rules:

- children are data, `ChildSpec`; they are started in order and ended in reverse order, one after the other;
- a child keeps its mailbox and its ref when it is restarted: refs and proxies from before a crash work after it, asks
  wait;
- a child that ends by itself is restarted or not by its restart type, alone or with others by the strategy: those are
  told to end after what they are handling, and started together when all have ended;
- the first restart of a child follows at once, later ones ever more slowly. More than `intensity` restarts of one child
  within `period` seconds, and the supervisor gives up: it ends its children and dies, so that *its* supervisor sees it;
- told to end, a child gets `shutdown` seconds, then 0.4 s without what waits in its mailbox; then it is left behind:
  fenced, logged, its thread abandoned. So is a child that hangs (see `watchdog`);
- whatever the supervisor dies of, its children end.

A child may be a supervisor. Pykka's registry lists only the one at the top, so `stop_all()` ends the tree in order.
"""

from __future__ import annotations

import random as random_module
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

import pykka

from .children import Child, ChildInfo, Demand, NotStarted, Status
from .childspec import AutoShutdown, Backoff, ChildSpec, Strategy, one_of, seconds
from .clock import SYSTEM_CLOCK, Clock
from .keeper import Died, GaveUp, Keeper, Leave, Note
from .log import choose_logger
from .messages import Batch, Cancel, Death, DeathReason
from .supervised import ActorCrashed, Birth, PlainInbox

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["INTENSITY", "PERIOD", "ChildCount", "GaveUp", "Supervisor"]

INTENSITY: Final = 20
PERIOD: Final = 10.0
"""Seconds."""
FIRST_BACKOFF: Final = 0.01
LONGEST_BACKOFF: Final = 0.25
"""Seconds, so short that a crash loop is over before the first crash is out of the period, whatever the jitter."""


class ChildCount(NamedTuple):
    """What `Supervisor.count_children` tells, as OTP's.

    Attributes:
        specs: children, running or not.
        active: those that run.
        supervisors: those that are supervisors, as far as they were started once.
        workers: the others.
    """

    specs: int
    active: int
    supervisors: int
    workers: int


class Supervisor(Keeper):
    """Keeps actors running. `Supervisor.start([ChildSpec("name", Actor), ...])` starts it and returns its ref.

    It can be a child of another supervisor: `ChildSpec("group", partial(Supervisor, [...]), shutdown=None)`. A child
    whose constructor raises at the start is treated as one that crashed.

    Args:
        children: specs of the children, in the order in which they are started.
        strategy: who is restarted together: "one_for_one", "one_for_all" or "rest_for_one".
        intensity: how many restarts of one child within `period` are too many if there is one more.
        period: seconds.
        auto_shutdown: "never", "any_significant" or "all_significant".
        backoff: how long a child waits for its restart.
        clock: the time; `packhorse.testing.ManualClock` for tests.
        random: returns uniformly random numbers from 0 to 1.
        logger: a structlog logger to use instead of the one chosen by the rules in `log`.
        name: for thread and logs.

    Raises:
        TypeError, ValueError: something here makes no sense; the message says what.
    """

    _fixed: ClassVar[bool] = False
    """No children can be added or taken away."""

    def __init__(
        self,
        children: Iterable[ChildSpec] = (),
        *,
        strategy: Strategy | str = Strategy.ONE_FOR_ONE,
        intensity: int = INTENSITY,
        period: float = PERIOD,
        auto_shutdown: AutoShutdown | str = AutoShutdown.NEVER,
        backoff: Backoff | None = None,
        clock: Clock = SYSTEM_CLOCK,
        random: Callable[[], float] = random_module.random,
        logger: Any = None,
        name: str = "supervisor",
    ) -> None:
        if isinstance(intensity, bool) or not isinstance(intensity, int):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"intensity is a number of restarts, not {intensity!r}")
        if intensity < 0:
            raise ValueError(f"intensity is at least 0, not {intensity!r}")
        if not seconds("period", period):
            raise ValueError("period must be more than 0 seconds")
        super().__init__(
            name,
            strategy=one_of(Strategy, "strategy", strategy),
            intensity=intensity,
            period=period,
            auto_shutdown=one_of(AutoShutdown, "auto_shutdown", auto_shutdown),
            backoff=backoff or Backoff(FIRST_BACKOFF, LONGEST_BACKOFF),
            clock=clock,
            random=random,
            logger=choose_logger(logger),
        )
        for spec in children:
            self._admit(spec)

    # For the user. These run in the supervisor's thread; through a proxy they return futures.

    def child(self, child_id: str) -> pykka.ActorRef[Any]:
        """Return the ref of a child; it stays valid when the child is restarted.

        Raises:
            ValueError: there is no such child.
        """
        return self._known(child_id).ref

    def which_children(self) -> list[ChildInfo]:
        """Return what is known of the children, in the order of their start."""
        return [child.info() for child in self._children.values()]

    def count_children(self) -> ChildCount:
        """Return how many children there are."""
        children = self._children.values()
        supervisors = sum(isinstance(child.actor, Supervisor) for child in children)
        active = sum(child.status is Status.RUNNING for child in children)
        return ChildCount(len(children), active, supervisors, len(children) - supervisors)

    def add_child(self, spec: ChildSpec) -> pykka.ActorRef[Any]:
        """Start one more child, the last in order, and return its ref.

        Raises:
            TypeError, ValueError: it is no spec that makes sense here, or there is a child with that id, running or
                not.
            BaseException: what the constructor raised; then the child is not added.
        """
        self._check_open()
        child = self._admit(spec)
        try:
            self._launch(child)
        except NotStarted as error:
            del self._children[spec.id]
            child.end()
            raise error.__cause__ from None  # type: ignore[misc] # it always has one
        return child.ref

    def terminate_child(self, child_id: str) -> pykka.Future[None]:
        """Tell a child to end and return a future that is set when it has; if it is not running, at once.

        Its spec stays, for `restart_child` or a restart of the group, unless it is temporary.

        Raises:
            ValueError: there is no such child.
        """
        self._check_changeable()
        child = self._known(child_id)
        future: pykka.Future[None] = pykka.ThreadingFuture()
        if child.status is Status.ENDED:
            future.set(None)
            return future
        child.waiting.append(future)
        if child.status is Status.RESTARTING:
            self._end_child(child)
        elif child.demand is not Demand.END:
            child.demand = Demand.END
            child.asked = False
        return future

    def restart_child(self, child_id: str) -> pykka.ActorRef[Any]:
        """Start a child again that was terminated or has ended, and return its ref, which is the same as before.

        Raises:
            ValueError: there is no such child, or it is running or about to.
            BaseException: what the constructor raised; then the child stays as it was.
        """
        child = self._known(child_id)
        self._check_open()
        if child.status is not Status.ENDED:
            raise ValueError(f"{child_id!r} is {child.status.name.lower()}; terminate it first")
        child.generation += 1
        child.wait_until(self._clock.now())
        try:
            self._launch(child)
        except NotStarted as error:
            child.end()
            raise error.__cause__ from None  # type: ignore[misc] # it always has one
        return child.ref

    def delete_child(self, child_id: str) -> None:
        """Forget a child that was terminated or has ended.

        Raises:
            ValueError: there is no such child, or it is running or about to.
        """
        self._check_changeable()
        child = self._known(child_id)
        if child.status is not Status.ENDED:
            raise ValueError(f"{child_id!r} is {child.status.name.lower()}; terminate it first")
        del self._children[child_id]

    # Its own life.

    def adopt(self, birth: Birth) -> None:
        """Take name, inbox and ref from a supervisor of its own."""
        super().adopt(birth)
        if isinstance(birth.inbox, PlainInbox):
            birth.inbox.stop_rule = True
        self._desk.mailbox = birth.inbox.mailbox

    def leave(self) -> None:
        """End the children, then itself. Called by its supervisor's thread."""
        self._desk.put(Leave())

    def fence(self, reason: DeathReason, cause: BaseException) -> Death:
        """Hang, and take the children along. Called by its supervisor's thread."""
        death = super().fence(reason, cause)
        self._abort_children()
        return death

    def on_start(self) -> None:
        """Start the children."""
        self._step()

    def on_receive(self, message: Any) -> None:
        """Handle what children, parents and handles report."""
        if type(message) is Batch:
            for note in message:
                if type(note) is Note and note.desk is self._desk:
                    self._on_note(note.what)
            self._inbox.batch_done()
        elif type(message) is Cancel:
            self._on_cancel()

    def _on_note(self, what: Any) -> None:
        if type(what) is Died:
            self._on_death(what.child, what.death)
        elif type(what) is Leave:
            self._end_all()

    def _on_cancel(self) -> None:
        self._end_all()

    def _handle_receive(self, message: Any) -> Any:
        try:
            return super()._handle_receive(message)
        finally:
            if not self.actor_stopped.is_set():
                self._step()

    def _handle_failure(
        self,
        exception_type: type[BaseException] | None,
        exception_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(exception_value, ActorCrashed):
            return  # `_exit` has seen to it
        if exception_value is None or self._cause is not None or self._phase == "stop":
            super()._handle_failure(exception_type, exception_value, traceback)
            return
        self._fail(exception_value)  # and die when the children have ended
        self._step()

    def _exit(self, error: BaseException) -> None:
        self._fail(error)

    def _last_words(self, death: Death) -> None:
        del death
        self._abort_children()

    # What callers may have got wrong.

    def _admit(self, spec: ChildSpec) -> Child:
        if not isinstance(spec, ChildSpec):  # pyright: ignore[reportUnnecessaryIsInstance] - users may be mistaken
            raise TypeError(f"a child is described by a ChildSpec, not by {spec!r}")
        if spec.significant and self._auto_shutdown is AutoShutdown.NEVER:
            raise ValueError(f"{spec.id!r} is significant, but auto_shutdown is never; choose any_ or all_significant")
        if spec.id in self._children:
            status = self._children[spec.id].status.name.lower()
            raise ValueError(f"there is a child {spec.id!r} already, and it is {status}")
        child = self._children[spec.id] = Child(spec, self._clock)
        return child

    def _check_changeable(self) -> None:
        if self._fixed:
            raise ValueError(f"the children of a {type(self).__name__} come and go with it")

    def _check_open(self) -> None:
        self._check_changeable()
        if self._ending:
            raise ValueError("this supervisor is ending and starts no more children")

    def _known(self, child_id: str) -> Child:
        child = self._children.get(child_id)
        if child is None:
            known = ", ".join(self._children) or "none"
            raise ValueError(f"there is no child {child_id!r}; the children are: {known}")
        return child
