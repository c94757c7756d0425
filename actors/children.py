"""Child: one child as its supervisor sees it, from its spec over its incarnations to its end."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, NamedTuple

from .messages import Death, DeathReason, Poisoned
from .refs import StableRef
from .supervised import Birth, SupervisedActor

if TYPE_CHECKING:
    from pykka import ActorRef, Future

    from .childspec import ChildSpec
    from .clock import Clock
    from .inbox import Inbox
    from .mailbox import Mailbox
    from .watchdog import Watchdog

__all__ = ["Child", "ChildInfo", "Demand", "NotStarted", "Status"]


class Status(Enum):
    """What a child is doing."""

    RUNNING = auto()
    RESTARTING = auto()
    """It waits for its next incarnation."""
    ENDED = auto()
    """It was terminated, or has ended and is not restarted."""


class Demand(Enum):
    """What its supervisor wants of a running child."""

    NONE = auto()
    CYCLE = auto()
    """To end after what it is handling, and be started again."""
    DROP = auto()
    """To end for good, before its group is started again."""
    END = auto()
    """To end for good."""


class ChildInfo(NamedTuple):
    """What `Supervisor.which_children` tells of a child.

    Attributes:
        id: its id.
        ref: the ref that stays valid over restarts.
        status: what it is doing.
        restarts: how often it was started again.
        last_death: what its last incarnation died of, if any did.
    """

    id: str
    ref: ActorRef[Any]
    status: Status
    restarts: int
    last_death: Death | None


class NotStarted(Exception):  # noqa: N818 - the event is the message
    """No incarnation could be started; its `__cause__`."""

    def __init__(self, phase: str) -> None:
        super().__init__(phase)
        self.phase = phase


class Child:
    """One child of a supervisor. Everything here is called in the supervisor's thread.

    Attributes:
        spec: what the user said.
        mailbox: what its incarnations read.
        ref: stays valid over all incarnations.
        generation: number of the present incarnation, or of the one to be started next.
        actor: the present incarnation, or the last one.
        inbox: its view of the mailbox.
        status: what it is doing.
        demand: what the supervisor wants of it.
        asked: it was told so.
        kill_at: when it should have ended.
        killed: that time is over; it has a last chance.
        restart_at: when the next incarnation is to be started at the earliest.
        crashes: when it crashed lately.
        counted: when it crashed lately, as far as that counts.
        last_death: the last death notice.
        waiting: set when it has ended.
    """

    def __init__(self, spec: ChildSpec, clock: Clock) -> None:
        self.spec = spec
        self.mailbox: Mailbox = spec.open_mailbox(clock)
        self.generation = 0
        self.actor: SupervisedActor | None = None
        self.inbox: Inbox | None = None
        self.status = Status.RESTARTING
        self.demand = Demand.NONE
        self.asked = False
        self.kill_at: float | None = None
        self.killed = False
        self.restart_at = clock.now()
        self.crashes: deque[float] = deque()
        self.counted: deque[float] = deque()
        self.last_death: Death | None = None
        self.waiting: list[Future[None]] = []
        factory = spec.factory
        actor_class = factory if isinstance(factory, type) else SupervisedActor
        self.ref = StableRef(actor_class, self.mailbox, lambda: self.actor)
        self._clock = clock
        clock.left()  # nobody handles what is in the mailbox until it is started

    @property
    def running(self) -> SupervisedActor:
        """The present incarnation."""
        if self.actor is None:
            raise RuntimeError(f"{self.spec.id} was never started")
        return self.actor

    def info(self) -> ChildInfo:
        """Return what the user may know."""
        return ChildInfo(self.spec.id, self.ref, self.status, self.generation, self.last_death)

    def start(self, report: Callable[[Death], None], watchdog: Watchdog) -> None:
        """Start the next incarnation.

        Raises:
            NotStarted: its constructor raised, or there was no thread for it.
        """
        self.status = Status.RUNNING
        self.demand, self.asked, self.kill_at, self.killed = Demand.NONE, False, None, False
        self._clock.joined()
        self.inbox = inbox = self.spec.open_inbox(self.mailbox)
        birth = Birth(name=self.spec.id, inbox=inbox, generation=self.generation, report=report, ref=self.ref)
        phase = "constructor"
        try:
            self.actor = actor = self.spec.make(birth)
            self.ref.actor_class = type(actor)
            if self.spec.hang_after is not None:
                watchdog.watch(inbox, self.spec.hang_after)
            phase = "thread"
            actor._start_actor_loop()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - Pykka's `start` would register it
        except BaseException as error:
            watchdog.forget(inbox)
            inbox.seal()
            raise NotStarted(phase) from error

    def join(self) -> None:
        """Wait for the thread of an incarnation whose notice has come; the notice is the last thing it does."""
        thread = getattr(self.actor, "thread", None)
        if thread is not None and thread.ident is not None:
            thread.join()

    def ask(self, now: float) -> None:
        """Tell the incarnation what is wanted of it."""
        self.asked = True
        shutdown = self.spec.shutdown
        self.kill_at = None if shutdown is None else now + shutdown
        if self.demand is Demand.CYCLE:
            self.running.leave()
        elif shutdown == 0:
            self.mailbox.abort()
        else:
            self.mailbox.stop()

    def hurry(self, kill_at: float) -> None:
        """Give an incarnation that has not ended in time a last chance."""
        self.killed = True
        self.kill_at = kill_at
        if self.demand is Demand.CYCLE:
            self.running.hurry()
        else:
            self.mailbox.abort()

    def leave_behind(self, reason: DeathReason, what: str) -> Death:
        """Fence an incarnation that hangs, and return its death notice in its place."""
        self._clock.joined()  # whoever hangs counts as at rest, or no time could have passed
        death = self.running.fence(reason, TimeoutError(f"{self.spec.id} {what}"))
        if death.cause is not None and death.cause.__cause__ is None:
            death.cause.__cause__ = self.spec.abandoned()
        return death

    def wait_until(self, time: float) -> None:
        """Wait with the next incarnation; what comes meanwhile stays in the mailbox."""
        if self.status is Status.RESTARTING:
            self.restart_at = max(self.restart_at, time)
            return
        if self.status is Status.ENDED:
            self.mailbox = self.spec.open_mailbox(self._clock)
            self.ref.revive(self.mailbox)
        self.status = Status.RESTARTING
        self.restart_at = time
        self._clock.left()

    def set_aside(self, item: Any) -> None:
        """Put the item that an incarnation crashed over first, marked as what it is."""
        if item is not None:
            # What cannot be saved either is tried again, and ends the supervisor if that never works.
            self.mailbox.put_front([item if type(item) is Poisoned else Poisoned(item)])

    def end(self) -> None:
        """Note that it has ended for good, or until it is started again."""
        if self.status is Status.ENDED:
            return
        if self.status is Status.RESTARTING:
            self._clock.joined()
        self.status = Status.ENDED
        self.demand, self.kill_at = Demand.NONE, None
        self.ref.actor_stopped.set()
        self.mailbox.close()
        for future in self.waiting:
            future.set(None)
        self.waiting.clear()
