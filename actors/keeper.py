"""Keeper: how a supervisor keeps its children: starting, restarting, ending, leaving behind.

`Supervisor` says the rules, and is what users see; this is the machine below it. It never waits. Everything that should
happen is noted at a child (`status`, `demand`, `restart_at`, `kill_at`), and after each message `_step` does what can
be done now:

1. leave behind who hangs or has had its time to end;
2. tell the last of those that should end, one at a time, in reverse order of the start;
3. start those whose time has come, in order, unless somebody is still on the way down to be started with them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..protocol.errors import PackhorseError
from .children import Child, Demand, NotStarted, Status
from .childspec import AutoShutdown, Backoff, Restart, Strategy
from .clock import Clock
from .inbox import Inbox
from .mailbox import Mailbox
from .messages import Death, DeathReason
from .supervised import SupervisedActor
from .watchdog import LOOKS, Watchdog

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

__all__ = ["ABANDON_AFTER", "Busy", "Desk", "Died", "GaveUp", "Keeper", "Leave", "Note"]

ABANDON_AFTER: Final = 0.4
"""Seconds after which a child that should have ended long ago is left behind."""


class GaveUp(PackhorseError):  # noqa: N818 - the event is the message
    """A child crashed too often, so its supervisor gave up; `__cause__` is what it crashed of."""


class Busy:
    """Watchdog -> supervisor: somebody is at work."""


class Leave:
    """Parent -> supervisor: end, and leave what waits to the next incarnation."""


class Died(NamedTuple):
    """Incarnation -> supervisor: a child has died."""

    child: Child
    death: Death


class Note:
    """A message, and which incarnation of the supervisor it is for."""

    __slots__ = ("desk", "what")

    def __init__(self, desk: Desk, what: Any) -> None:
        self.desk = desk
        self.what = what


class Desk:
    """Where others put messages for one incarnation of a supervisor: the next one must not take them for its own."""

    def __init__(self, mailbox: Mailbox) -> None:
        self.mailbox = mailbox

    def put(self, what: Any) -> None:
        """Add a message. Takes no lock, so that a finalizer may call it."""
        self.mailbox.put(Note(self, what))


class Keeper(SupervisedActor):
    """An actor with children. See `Supervisor` for the arguments."""

    def __init__(
        self,
        name: str,
        *,
        strategy: Strategy,
        intensity: int,
        period: float,
        auto_shutdown: AutoShutdown,
        backoff: Backoff,
        clock: Clock,
        random: Callable[[], float],
        logger: FilteringBoundLogger,
    ) -> None:
        self._strategy = strategy
        self._intensity = intensity
        self._period = period
        self._auto_shutdown = auto_shutdown
        self._backoff = backoff
        self._clock = clock
        self._random = random
        self._logger = logger
        self._children: dict[str, Child] = {}
        self._ending = False
        self._left_behind = 0
        self._watchdog = Watchdog(lambda: self._desk.put(Busy()))
        mailbox = Mailbox(name, clock)
        self._desk = Desk(mailbox)
        super().__init__(name, Inbox(mailbox))

    # Ending.

    def _fail(self, cause: BaseException) -> None:
        """Die of this, when the children have ended."""
        self._remember(cause)
        self._logger.error("supervisor:failed", supervisor=self._name, exc_info=cause)
        self._end_all()

    def _end_all(self) -> None:
        """Begin to end the children, and to end when they have."""
        self._ending = True
        for child in list(self._children.values()):
            if child.status is Status.RESTARTING:
                self._end_child(child)
            elif child.status is Status.RUNNING and child.demand is not Demand.END:
                child.demand = Demand.END
                child.asked = False

    def _abort_children(self) -> None:
        for child in reversed(list(self._children.values())):
            if child.status is not Status.ENDED:
                child.mailbox.abort()
                child.end()

    # The children.

    def _launch(self, child: Child) -> None:
        def report(death: Death) -> None:
            self._desk.put(Died(child, death))

        child.start(report, self._watchdog)

    def _start_child(self, child: Child) -> None:
        try:
            self._launch(child)
        except NotStarted as error:
            self._on_death(child, Death(child.spec.id, child.generation, error.phase, error.__cause__))

    def _on_death(self, child: Child, death: Death) -> None:
        if child.status is not Status.RUNNING or death.generation != child.generation:
            return
        if self._children.get(child.spec.id) is not child:
            return
        if death.reason not in (DeathReason.HANG, DeathReason.SHUTDOWN):
            child.join()
        self._watchdog.forget(child.inbox)
        child.last_death = death
        demand, child.demand, child.kill_at = child.demand, Demand.NONE, None
        if death.cause is not None:
            self._logger.error(
                "actor:crashed",
                node=child.spec.id,
                generation=death.generation,
                phase=death.phase,
                trigger=death.reason.value,
                item=type(death.poisoned).__name__,
                exc_info=death.cause,
            )
        if self._ending or demand in {Demand.DROP, Demand.END}:
            self._end_child(child)
        elif demand is Demand.CYCLE:
            child.set_aside(death.poisoned)
            self._restart(child, child.restart_at)
        else:
            self._ended_by_itself(child, death)

    def _ended_by_itself(self, child: Child, death: Death) -> None:
        restart = child.spec.restart
        if restart is Restart.TEMPORARY or (restart is Restart.TRANSIENT and not self._crashed(child, death)):
            self._end_child(child)
            if child.spec.significant:
                self._significant_ended()
            return
        child.set_aside(death.poisoned)
        self._go_on(child, death)
        now = self._clock.now()
        if not self._may_restart(child, death, now):
            cause = death.cause or GaveUp(f"{child.spec.id} ended by itself again and again")
            self._give_up(child, cause)
            return
        wait = self._backoff.wait(len(child.crashes) - 1, self._random())
        self._logger.warning("actor:restarted", node=child.spec.id, generation=child.generation + 1, wait=wait)
        self._restart(child, now + wait)
        self._restart_others(child, now + wait)

    def _go_on(self, child: Child, death: Death) -> None:
        """Forget a stop that was meant for the incarnation that has died, since it is to be restarted."""
        if death.cause is None or death.reason is DeathReason.STOP:
            child.mailbox.resume()

    def _crashed(self, child: Child, death: Death) -> bool:
        """Tell whether this was no orderly end."""
        del child
        return death.cause is not None

    def _may_restart(self, child: Child, death: Death, now: float) -> bool:
        """Count a crash; tell whether there may be one more restart."""
        self._count(child, child.crashes, death, now)
        return len(child.crashes) <= self._intensity

    def _count(self, child: Child, crashes: deque[float], death: Death, now: float) -> None:
        """Add a crash and forget those out of the period, in which the time that the child hung does not count."""
        if death.reason is DeathReason.HANG and child.spec.hang_after is not None:
            hung = child.spec.hang_after * (1 + 1 / LOOKS)
            times = [time + hung for time in crashes]
            crashes.clear()
            crashes.extend(times)
        crashes.append(now)
        while crashes[0] < now - self._period:
            crashes.popleft()

    def _give_up(self, child: Child, cause: BaseException) -> None:
        gave_up = GaveUp(f"{child.spec.id} crashed more than {self._intensity} times within {self._period:g} s")
        gave_up.__cause__ = cause
        self._end_child(child)
        self._fail(gave_up)

    def _restart(self, child: Child, time: float) -> None:
        child.generation += 1
        child.wait_until(time)

    def _restart_others(self, failed: Child, time: float) -> None:
        if self._strategy is Strategy.ONE_FOR_ONE:
            return
        children = list(self._children.values())
        first = children.index(failed) + 1 if self._strategy is Strategy.REST_FOR_ONE else 0
        for child in children[first:]:
            if child is failed:
                continue
            if child.status is Status.RUNNING and child.demand is not Demand.END:
                child.demand = Demand.DROP if child.spec.restart is Restart.TEMPORARY else Demand.CYCLE
                child.restart_at = time
            elif child.status is Status.RESTARTING:
                child.wait_until(time)
            elif child.status is Status.ENDED:  # as OTP does: the group is started, all of it
                self._restart(child, time)

    def _end_child(self, child: Child) -> None:
        child.end()
        if child.spec.restart is Restart.TEMPORARY and not self._ending:
            self._children.pop(child.spec.id, None)

    def _significant_ended(self) -> None:
        others = any(child.spec.significant and child.status is not Status.ENDED for child in self._children.values())
        if self._auto_shutdown is AutoShutdown.ANY_SIGNIFICANT or not others:
            self._logger.info("supervisor:ended", supervisor=self._name, trigger=self._auto_shutdown.value)
            self._end_all()

    # What is due.

    def _step(self) -> None:
        """Do what can be done now, and ask for the next tick."""
        now = self._clock.now()
        running = [child for child in self._children.values() if child.status is Status.RUNNING]
        for inbox in self._watchdog.look(now):
            for child in running:
                if child.inbox is inbox:
                    self._leave_behind(child, DeathReason.HANG, f"made no progress for {child.spec.hang_after} s")
        for child in running:
            if child.kill_at is not None and child.kill_at <= now:
                self._overdue(child, now)
        self._stop_one(now)
        self._start_due(now)
        self._stop_one(now)  # one that could not be started may take others down
        self._finish_if_over()
        self._watchdog.schedule(now)
        self._inbox.deadline = min(self._times(), default=None)

    def _start_due(self, now: float) -> None:
        for child in list(self._children.values()):
            if self._ending or self._cycling():
                return
            if child.status is Status.RESTARTING and child.restart_at <= now:
                self._start_child(child)

    def _cycling(self) -> bool:
        return any(child.demand in {Demand.CYCLE, Demand.DROP} for child in self._children.values())

    def _times(self) -> list[float]:
        children = self._children.values()
        times = [child.kill_at for child in children if child.kill_at is not None]
        if not self._cycling():
            times += [child.restart_at for child in children if child.status is Status.RESTARTING]
        if self._watchdog.look_at is not None:
            times.append(self._watchdog.look_at)
        return times

    def _stop_one(self, now: float) -> None:
        """Tell the last of those that should end to do so, unless one is ending already."""
        wanted = [child for child in self._children.values() if child.demand is not Demand.NONE]
        if wanted and not any(child.asked for child in wanted):
            wanted[-1].ask(now)

    def _overdue(self, child: Child, now: float) -> None:
        if child.killed:
            self._leave_behind(child, DeathReason.SHUTDOWN, "did not end in time")
        else:
            child.hurry(now + ABANDON_AFTER)

    def _leave_behind(self, child: Child, reason: DeathReason, what: str) -> None:
        self._left_behind += 1
        self._logger.error(
            "actor:left_behind",
            node=child.spec.id,
            generation=child.generation,
            trigger=reason.value,
            count=self._left_behind,
        )
        self._on_death(child, child.leave_behind(reason, what))

    def _finish_if_over(self) -> None:
        if self._ending and all(child.status is Status.ENDED for child in self._children.values()):
            self._inbox.finished = True
