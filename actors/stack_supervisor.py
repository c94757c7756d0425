"""StackSupervisor: wires the seven nodes, restarts one that crashed, ends them in order, hands out the user's ends.

The rules:

- the socket is bound before anything is started, so a taken port is an OSError where the stack is started;
- a node that crashed is restarted with its mailbox, its state and its counters; the item it crashed over comes first, marked
  as poisoned. The first restart follows at once, later ones ever more slowly;
- a node whose mailbox is marked stopping and that ended normally has ended for good; those that `wiring` says are
  stopped then. A node that crashes while it is stopping is restarted and stopped again;
- more than `INTENSITY` restarts of one node within `PERIOD` and the stack gives up: every handle raises `StackFailed`;
- only when all nodes have ended the supervisor closes the socket and ends. Its own stop waits for that.
"""

from __future__ import annotations

import contextlib
import random as random_module
import warnings
import weakref
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from ..protocol.congestion import Controller, DelayController
from ..protocol.errors import Closed, StackFailed
from ..protocol.policy import ConfirmPolicy, ResendPolicy
from . import wiring
from .assembly import Child, Parts, assemble
from .clock import SYSTEM_CLOCK, Clock
from .handles import LINGER, ConnErrorReceiver, PackageReceiver, PackageSender, StackCore
from .log import choose_logger
from .mailbox import Inbox, Mailbox
from .messages import Abandoned, Batch, Cancel, Death, EndClosed, Forget, GiveUpAt, Poisoned
from .node import Node, SupervisedActor
from .transport import Transport, UdpTransport

if TYPE_CHECKING:
    from collections.abc import Callable

    from pykka import ActorProxy

    from ..protocol.address import Address

__all__ = ["RUNNING", "StackSupervisor"]

INTENSITY: Final = 20
PERIOD: Final = 10.0
"""Seconds."""
FIRST_BACKOFF: Final = 0.01
LONGEST_BACKOFF: Final = 0.25
"""Seconds, so short that a crash loop is over before the first crash is out of the period, whatever the jitter."""
STOP_LINGER: Final = 0.25
"""Seconds that unconfirmed packages get when the supervisor itself is stopped: `stop_all` waits for one after another."""
ABANDON_AFTER: Final = 0.4
"""Seconds after which a node that should have ended long ago is left behind."""

_stack_numbers = count(1)

RUNNING: Final[weakref.WeakSet[StackSupervisor]] = weakref.WeakSet()
"""The supervisors that were started; what is still open when the program ends is closed."""


class StackSupervisor(SupervisedActor):
    """A complete stack as one actor. `StackSupervisor.start(port=8082)` starts it and returns its ref.

    Args:
        port: the UDP port; 0 lets the system choose (see `address`).
        host: address of this machine to bind to. "0.0.0.0" is every IPv4 address, "::" every IPv6 and IPv4 address.
        logger: a structlog logger to use instead of the one chosen by the rules in `log`.
        resend: when to send again and when to give up.
        confirm: when to confirm.
        controller: makes the congestion controller of a new peer; `packhorse.protocol.FixedController` for none.
        clock: the time; `packhorse.testing.ManualClock` for tests.
        transport: what to use instead of a UDP socket, for tests.
        random: returns uniformly random numbers from 0 to 1.

    Raises:
        OSError: the port is taken or the address is not ours.
        TypeError, ValueError: host and port are no address.
    """

    def __init__(
        self,
        port: int = 0,
        host: str = "0.0.0.0",  # noqa: S104 - a stack serves the network; the original's default
        *,
        logger: Any = None,
        resend: ResendPolicy | None = None,
        confirm: ConfirmPolicy | None = None,
        controller: Callable[[], Controller] = DelayController,
        clock: Clock = SYSTEM_CLOCK,
        transport: Transport | None = None,
        random: Callable[[], float] = random_module.random,
    ) -> None:
        self._stack = f"stack-{next(_stack_numbers)}"
        self._clock = clock
        self._random = random
        self._logger = choose_logger(logger).bind(stack=self._stack)
        self._closed_ends: set[str] = set()
        self._failure: BaseException | None = None
        self._abandon_at: float | None = None
        self._transport = UdpTransport(host, port) if transport is None else transport
        self.address: Address = self._transport.address
        """The address that the stack's socket is bound to."""
        self._mailbox = Mailbox("supervisor", clock)
        parts = Parts(
            stack=self._stack,
            clock=clock,
            transport=self._transport,
            logger=self._logger,
            resend=resend or ResendPolicy(),
            confirm=confirm or ConfirmPolicy(),
            controller=controller,
            random=random,
        )
        self._children, self._core = assemble(parts, self._mailbox)
        super().__init__(f"{self._stack}-supervisor", Inbox(self._mailbox), 0, self._last_words)

    # The user's side. These run in the supervisor's thread; through a proxy they return futures.

    def sender(self) -> PackageSender:
        """Return a handle to send packages with."""
        return PackageSender(self._core, "usender")

    def receiver(self) -> PackageReceiver:
        """Return a handle to take packages from."""
        return PackageReceiver(self._core, "ureceiver")

    def errors(self) -> ConnErrorReceiver:
        """Return a handle to learn of failed peers from."""
        return ConnErrorReceiver(self._core, "resender")

    def node(self, name: str) -> ActorProxy[Node[Any]]:
        """Return a Pykka proxy of a node; it stays valid when the node is restarted.

        Raises:
            ValueError: there is no such node.
            pykka.ActorDeadError: the node has ended.
        """
        if name not in self._children:
            raise ValueError(f"there is no node {name!r}; the nodes are {', '.join(wiring.NODES)}")
        return self._children[name].ref.proxy()

    def counters(self) -> dict[str, int]:
        """Return what the nodes have counted, as `node.what`, and the restarts of each node."""
        result: dict[str, int] = {}
        for name, child in self._children.items():
            result |= {f"{name}.{what}": number for what, number in dict(child.station.counters).items()}
            result[f"{name}.restarts"] = child.generation
        return result

    def forget(self, target: Address) -> None:
        """Forget the numbering of a peer, both ways: it was started anew. Unconfirmed packages for it are reported.

        Raises:
            PackageError, TypeError: `target` is no address.
        """
        address = self._core.resolver.resolve(target)
        self._core.admission.forget(address)
        self._children["ureceiver"].station.mailbox.put(Forget(address))

    def close(self, linger: float = LINGER) -> None:
        """Begin to close all three ends; unconfirmed packages get `linger` seconds. The actor ends when all is done."""
        for end in ("sender", "receiver", "errors"):
            self._end_closed(EndClosed(end, linger))

    def core(self) -> StackCore:
        """Return what handles are made of."""
        return self._core

    # Its own life.

    def _start_actor_loop(self) -> None:
        try:
            super()._start_actor_loop()
        except RuntimeError:
            self._transport.close()
            raise

    def on_start(self) -> None:
        """Start the nodes."""
        RUNNING.add(self)
        self._logger.info("stack:started", address=self.address, receive_buffer=self._transport.receive_buffer)
        for name in self._children:
            self._start_child(name)
        self._look_at_time()

    def on_receive(self, message: Any) -> None:
        """Handle what handles and nodes report, and what is due."""
        if type(message) is Batch:
            for item in message.items:
                if type(item) is Death:
                    self._on_death(item)
                elif type(item) is EndClosed:
                    self._end_closed(item)
                elif type(item) is Abandoned:
                    self._abandoned()
            self._inbox.batch_done()
        elif type(message) is Cancel:
            self.close(STOP_LINGER)
        self._look_at_time()

    def on_stop(self) -> None:
        """Say so in the log."""
        self._logger.info("stack:ended")

    # Closing.

    def _end_closed(self, closed: EndClosed) -> None:
        if closed.end == "sender":
            self._core.admission.close()
            self._children["usender"].station.mailbox.stop()
        elif closed.end == "receiver":
            self._children["ureceiver"].station.mailbox.stop()
        self._closed_ends.add(closed.end)
        if self._closed_ends >= {"sender", "errors"}:
            give_up_at = self._clock.now() + closed.linger
            self._children["resender"].station.mailbox.put(GiveUpAt(give_up_at))
            if self._closed_ends >= {"receiver"}:
                abandon_at = give_up_at + ABANDON_AFTER
                self._abandon_at = abandon_at if self._abandon_at is None else min(self._abandon_at, abandon_at)

    def _abandoned(self) -> None:
        self._logger.warning("stack:abandoned", trigger="all handles are garbage")
        # With -W error this raises; then the log line has to do.
        with contextlib.suppress(ResourceWarning):
            warnings.warn(f"{self._stack} was never closed", ResourceWarning, stacklevel=1)
        self.close()

    def _give_up(self, cause: BaseException) -> None:
        if self._failure is not None:
            return
        self._failure = cause
        self._logger.error("stack:failed", exc_info=cause)
        self._fail_handles(cause)
        for child in self._children.values():
            child.station.mailbox.abort()
            if child.inbox is None or child.restart_at is not None:
                self._child_ended(child)
        self._abandon_at = self._clock.now() + ABANDON_AFTER

    def _fail_handles(self, cause: BaseException) -> None:
        failed = StackFailed("the stack gave up")
        failed.__cause__ = cause
        self._core.admission.end(failed)
        self._core.packages.fail(cause)
        self._core.errors.fail(cause)

    def _finish(self) -> None:
        self._transport.close()
        self._core.admission.end(Closed("the stack has ended"))
        self._core.packages.end()
        self._core.errors.end()
        self._inbox.finished = True

    def _last_words(self, death: Death) -> None:
        """Whatever this actor died of, leave nothing behind that waits."""
        if death.cause is not None:
            self._logger.error("stack:crashed", exc_info=death.cause)
            self._fail_handles(death.cause)
            for child in self._children.values():
                self._end_wait(child)
                child.station.mailbox.abort()
                child.station.mailbox.close()
                child.ref.actor_stopped.set()
            self._transport.close()
        self._mailbox.close()
        self._core.ended.keep(None)

    # The children.

    def _start_child(self, name: str) -> None:
        child = self._children[name]
        self._end_wait(child)
        child.inbox = inbox = Inbox(child.station.mailbox, child.station.feeds)
        try:
            child.start(inbox, child.generation)
        except Exception as error:  # noqa: BLE001 - no thread could be started, or the constructor crashed
            inbox.seal()
            self._on_death(Death(name, child.generation, "constructor", error, None))

    def _on_death(self, death: Death) -> None:
        child = self._children[death.node]
        if child.ended or death.generation != child.generation:
            return
        mailbox = child.station.mailbox
        if child.station.incarnation is not None and death.phase != "constructor":
            child.station.incarnation.thread.join()  # the notice is the last thing it does
        if mailbox.aborted or (death.cause is None and mailbox.stopping):
            self._child_ended(child)
            return
        self._logger.error(
            "actor:crashed",
            node=death.node,
            generation=death.generation,
            phase=death.phase,
            item=type(death.poisoned).__name__,
            exc_info=death.cause,
        )
        if death.poisoned is not None:
            # What cannot be saved either is tried again, and ends the stack if that never works.
            again = type(death.poisoned) is Poisoned
            mailbox.put_front([death.poisoned if again else Poisoned(death.poisoned)])
        now = self._clock.now()
        child.crashes.append(now)
        while child.crashes[0] < now - PERIOD:
            child.crashes.popleft()
        if len(child.crashes) > INTENSITY:
            self._give_up(death.cause or StackFailed(f"{death.node} ended by itself again and again"))
            if not child.ended:
                self._child_ended(child)
            return
        child.generation += 1
        earlier = len(child.crashes) - 1
        wait = min(LONGEST_BACKOFF, FIRST_BACKOFF * 2 ** (earlier - 1)) * (0.5 + self._random()) if earlier else 0.0
        child.restart_at = now + wait
        self._clock.left()  # nobody handles what is in its mailbox until then
        self._logger.warning("actor:restarted", node=death.node, generation=child.generation, wait=wait)
        if not wait:
            self._start_child(death.node)

    def _end_wait(self, child: Child) -> None:
        if child.restart_at is not None:
            child.restart_at = None
            self._clock.joined()

    def _child_ended(self, child: Child) -> None:
        child.ended = True
        self._end_wait(child)
        child.ref.actor_stopped.set()
        child.station.mailbox.close()
        name = child.station.name
        if name == "resender":
            self._core.errors.end()
        elif name == "ureceiver":
            self._core.packages.end()
        for source, target in wiring.CANCELS:
            if source == name:
                self._children[target].station.mailbox.stop()
        for target, others in wiring.ENDS_AFTER.items():
            if name in others and all(self._children[other].ended for other in others):
                self._children[target].station.mailbox.stop()
        if all(other.ended for other in self._children.values()):
            self._finish()

    def _look_at_time(self) -> None:
        """Restart what is due, leave behind what hangs, and ask for the next tick."""
        now = self._clock.now()
        for name, child in self._children.items():
            if child.restart_at is not None and child.restart_at <= now:
                self._start_child(name)
        if self._abandon_at is not None and now >= self._abandon_at:
            self._abandon_at = None
            for child in self._children.values():
                if not child.ended:
                    self._leave_behind(child)
        times = [child.restart_at for child in self._children.values() if child.restart_at is not None]
        if self._abandon_at is not None and not all(child.ended for child in self._children.values()):
            times.append(self._abandon_at)
        self._inbox.deadline = min(times, default=None)

    def _leave_behind(self, child: Child) -> None:
        self._logger.error("actor:left_behind", node=child.station.name, generation=child.generation)
        child.station.mailbox.abort()
        if child.inbox is not None:
            child.inbox.sealed = True
        self._child_ended(child)
