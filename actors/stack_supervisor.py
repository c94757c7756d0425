"""StackSupervisor: wires the seven nodes, restarts one that crashed, ends them in order, hands out the user's ends.

The rules, besides those of `Supervisor`:

- the socket is bound before anything is started, so a taken port is an OSError where the stack is started;
- a node that crashed is restarted with its mailbox, its state and its counters; the item it crashed over comes first,
  marked as poisoned. One that hangs is left behind, and its successor works on a copy of its state;
- a node that was dismissed (its supervisor told it to stop) and that ended normally has ended for good; those that
  `wiring` says are stopped then. One that crashes while it is stopping is restarted and stopped again; one that was
  stopped from outside is restarted;
- only crashes of a node that had handled nothing since its restart count, within `PERIOD`: after `FRESH_PEER` of them
  what is known of the peer concerned is made anew, after `FRESH_STATE` everything, and with one more than `INTENSITY`
  the stack gives up: every handle raises `StackFailed`. Whatever is lost by that is reported;
- only when all nodes have ended the supervisor closes the socket and ends. Its own stop waits for that.
"""

from __future__ import annotations

import contextlib
import random as random_module
import time
import warnings
import weakref
from collections import defaultdict
from collections.abc import Callable, Collection
from itertools import count
from typing import TYPE_CHECKING, Any, ClassVar, Final

from ..protocol.address import host_port
from ..protocol.congestion import Controller, DelayController
from ..protocol.errors import Closed, StackFailed
from ..protocol.identity import make_identity
from ..protocol.packages import normalized
from ..protocol.policy import ConfirmPolicy, ResendPolicy
from ..protocol.sources import MAX_PEERS
from . import wiring
from .assembly import NodeSpec, Parts, assemble, check_choices, identity_source
from .children import Child, Demand, Status
from .childspec import how_many, seconds
from .clock import SYSTEM_CLOCK, Clock
from .context import with_context
from .handles import LINGER, ConnErrorReceiver, PackageReceiver, PackageSender, StackCore
from .keeper import ABANDON_AFTER
from .log import choose_logger
from .messages import Abandoned, Death, DeathReason, EndClosed, Forget, GiveUpAt, Poisoned
from .node import Node
from .stats import StackStats, collect
from .supervisor import INTENSITY, PERIOD, Supervisor
from .tracing import Journal
from .transport import Transport, UdpTransport

if TYPE_CHECKING:
    from pykka import ActorProxy

    from ..protocol.address import Address

__all__ = ["FRESH_PEER", "FRESH_STATE", "RUNNING", "StackSupervisor"]

STOP_LINGER: Final = 0.25
"""Seconds that unconfirmed packages get when the supervisor is stopped: `stop_all` waits for one after another."""
HANG_AFTER: Final = 5.0
"""Seconds without progress after which a node at work counts as hung."""
FRESH_PEER: Final = 5
FRESH_STATE: Final = 10
"""Crashes in a row, with nothing handled in between, after which state is made anew."""

_stack_numbers = count(1)

RUNNING: Final[weakref.WeakSet[StackSupervisor]] = weakref.WeakSet()
"""The supervisors that were started; what is still open when the program ends is closed."""


class StackSupervisor(Supervisor):
    """A complete stack as one actor. `StackSupervisor.start(port=8082)` starts it and returns its ref.

    Args:
        port: the UDP port; 0 lets the system choose (see `address`).
        host: address of this machine to bind to. "0.0.0.0" is every IPv4 address, "::" every IPv6 and IPv4 address.
        logger: one of structlog or of logging to use instead of the one chosen by the rules in `log`.
        resend: when to send again and when to give up.
        confirm: when to confirm.
        controller: makes the congestion controller of a new peer; `packhorse.protocol.FixedController` for none.
        clock: the time; `packhorse.testing.ManualClock` for tests.
        transport: what to use instead of a UDP socket, for tests.
        random: returns uniformly random numbers from 0 to 1.
        identity: whether the stack has an identity, by which peers notice that it was started anew, and it that they
            were (see the specification). Without one nothing is sent that the protocol's original does not send.
        offload: whether the socket may take and give many datagrams in one system call, where the system can (Linux).
        inline: whether a node that has just been woken may handle a batch for dsender or ureceiver in their place while
            they sleep, which spares waking one more thread. False for every batch in its own node's thread.
        hang_after: seconds without progress after which a node at work counts as hung; None: never.
        max_peers: from how many addresses reliable packages are known at a time, 1 KB each (protocol/README.md,
            "Strangers").
        trace_sample: debug events tell only of packages whose id is a multiple of this, so that tracing costs little.
            Both ends tell of the same packages then.
        trace_peers: debug events tell only of packages for or from these addresses; None: of all.
        trace_context: names of structlog's context variables whose values, as they are when a package is sent, become
            part of its event `package:numbered`; "trace_id" and "span_id" are OpenTelemetry's, if that is installed
            (extra `otel`) and records.

    Raises:
        OSError: the port is taken or the address is not ours.
        TypeError, ValueError: host and port are no address, or an option is no number that it may be.
    """

    _fixed: ClassVar[bool] = True

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
        identity: bool = True,
        offload: bool = True,
        inline: bool = True,
        hang_after: float | None = HANG_AFTER,
        max_peers: int = MAX_PEERS,
        trace_sample: int = 1,
        trace_peers: Collection[Address] | None = None,
        trace_context: Collection[str] = (),
    ) -> None:
        number = next(_stack_numbers)
        self._stack = f"stack-{number}"
        if hang_after is not None and not seconds("hang_after", hang_after):
            raise ValueError("hang_after must be more than 0 seconds; None switches it off")
        max_peers = how_many("max_peers", max_peers)
        check_choices(resend, confirm, controller, clock, random)
        peers = None if trace_peers is None else [normalized(peer) for peer in trace_peers]
        self.journal = Journal(choose_logger(logger), clock, sample=trace_sample, peers=peers)
        carry = with_context(trace_context)
        transport = UdpTransport(host, port, offload=offload) if transport is None else transport
        super().__init__(
            intensity=INTENSITY,
            period=PERIOD,
            clock=clock,
            random=random,
            logger=self.journal.tracer(stack=self._stack, address=host_port(transport.address)),
            name=f"{self._stack}-supervisor",
        )
        self._closed_ends: set[str] = set()
        self._abandon_at: float | None = None
        self._renewed: defaultdict[str, set[Address | None]] = defaultdict(set)
        self._transport = transport
        self.address: Address = transport.address
        """The address that the stack's socket is bound to."""
        parts = Parts(
            stack=self._stack,
            clock=clock,
            transport=transport,
            journal=self.journal,
            resend=resend or ResendPolicy(),
            confirm=confirm or ConfirmPolicy(),
            controller=controller,
            random=random,
            hang_after=hang_after,
            inline=inline,
            max_peers=max_peers,
            identity=make_identity(identity_source(random), number, clock.now()) if identity else None,
        )
        self._nodes, make_core = assemble(parts)
        children = {name: self._admit(spec) for name, spec in self._nodes.items()}
        self._core = make_core(self._desk, {name: child.ref for name, child in children.items()}, carry)

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
        for name, node in self._nodes.items():
            result |= {f"{name}.{what}": number for what, number in dict(node.station.counters).items()}
            result[f"{name}.restarts"] = self._children[name].generation
        result["supervisor.left_behind"] = self._left_behind
        return result

    def stats(self) -> StackStats:
        """Return what the stack has done so far, as a whole and per peer, and what waits where."""
        stations = {name: node.station for name, node in self._nodes.items()}
        restarts = {name: child.generation for name, child in self._children.items()}
        return collect(stations, restarts, self.address, self._clock.now())

    def forget(self, target: Address) -> None:
        """Forget the numbering of a peer, both ways: it was started anew. Unconfirmed packages for it are reported.

        Raises:
            PackageError, TypeError: `target` is no address.
        """
        address = self._core.resolver.resolve(target)
        self._core.admission.forget(address)
        self._children["ureceiver"].mailbox.put(Forget(address))

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
        self._logger.info("stack:started", unix=time.time(), receive_buffer=self._transport.receive_buffer)
        super().on_start()

    def on_stop(self) -> None:
        """Say so in the log."""
        self._logger.info("stack:ended")

    def _on_note(self, what: Any) -> None:
        if type(what) is EndClosed:
            self._end_closed(what)
        elif type(what) is Abandoned:
            self._abandoned()
        else:
            super()._on_note(what)

    # Closing.

    def _end_closed(self, closed: EndClosed) -> None:
        if closed.end == "sender":
            self._core.admission.close()
            self._children["usender"].mailbox.stop()
        elif closed.end == "receiver":
            self._children["ureceiver"].mailbox.stop()
        self._closed_ends.add(closed.end)
        if self._closed_ends >= {"sender", "errors"}:
            give_up_at = self._clock.now() + closed.linger
            self._children["resender"].mailbox.put(GiveUpAt(give_up_at))
            if self._closed_ends >= {"receiver"}:
                abandon_at = give_up_at + ABANDON_AFTER
                self._abandon_at = abandon_at if self._abandon_at is None else min(self._abandon_at, abandon_at)

    def _abandoned(self) -> None:
        self._logger.warning("stack:abandoned", trigger="all handles are garbage")
        # With -W error this raises; then the log line has to do.
        with contextlib.suppress(ResourceWarning):
            warnings.warn(f"{self._stack} was never closed", ResourceWarning, stacklevel=1)
        self.close()

    def _end_all(self) -> None:
        self.close(STOP_LINGER)

    def _fail(self, cause: BaseException) -> None:
        if self._cause is not None:
            return
        self._remember(self._fail_handles(cause))
        self._logger.error("stack:failed", exc_info=cause)
        self._ending = True
        self._abandon_at = self._clock.now() + ABANDON_AFTER
        for child in self._children.values():
            child.mailbox.abort()
            if child.status is Status.RESTARTING:
                self._end_child(child)

    def _fail_handles(self, cause: BaseException) -> StackFailed:
        failed = StackFailed("the stack gave up")
        failed.__cause__ = cause
        self._core.admission.end(failed)
        self._core.packages.fail(cause)
        self._core.errors.fail(cause)
        return failed

    def _finish_if_over(self) -> None:
        if self._inbox.finished or any(child.status is not Status.ENDED for child in self._children.values()):
            return
        self._transport.close()
        self._core.admission.end(Closed("the stack has ended"))
        self._core.packages.end()
        self._core.errors.end()
        self._inbox.finished = True

    def _last_words(self, death: Death) -> None:
        """Whatever this actor died of, leave nothing behind that waits."""
        if not self._inbox.finished:
            cause = death.cause or StackFailed("the supervisor was ended from outside")
            self._logger.error("stack:crashed", exc_info=cause)
            self._fail_handles(cause)
            super()._last_words(death)
            self._transport.close()
        self._core.ended.keep(None)

    # The children.

    def _crashed(self, child: Child, death: Death) -> bool:
        mailbox = child.mailbox
        return (
            death.cause is not None or not mailbox.dismissed or (mailbox.stopped_from_outside and not mailbox.aborted)
        )

    def _may_restart(self, child: Child, death: Death, now: float) -> bool:
        self._count(child, child.crashes, death, now)
        if not self._has_own_state(death):
            return False
        if death.committed:
            child.counted.clear()
            self._renewed[child.spec.id].clear()
            return True
        self._count(child, child.counted, death, now)
        try:
            self._escalate(self._nodes[child.spec.id], death, len(child.counted), now)
        except Exception:
            self._logger.exception("actor:state_lost", node=child.spec.id)
            return False  # there is nothing to go on with
        return len(child.counted) <= INTENSITY

    def _escalate(self, node: NodeSpec, death: Death, crashes: int, now: float) -> None:
        """Make state anew, each part once in a row of crashes."""
        item = death.poisoned.item if type(death.poisoned) is Poisoned else death.poisoned
        peer: Address | None = getattr(item, "target", None) or getattr(item, "source", None)
        what = None if crashes >= FRESH_STATE else peer
        renewed = self._renewed[node.id]
        if crashes < FRESH_PEER or what in renewed or (what is None and crashes < FRESH_STATE):
            return
        renewed.add(what)
        node.renew(what, now)
        self._logger.warning("actor:state_renewed", node=node.id, peer=what, trigger="crashed again and again")

    @staticmethod
    def _has_own_state(death: Death) -> bool:
        """Tell whether the next incarnation has a state that no hung one can still change."""
        return death.reason is not DeathReason.HANG or death.cause is None or death.cause.__cause__ is None

    def _give_up(self, child: Child, cause: BaseException) -> None:
        self._fail(cause)
        self._end_child(child)

    def _end_child(self, child: Child) -> None:
        if child.status is Status.ENDED:
            return
        super()._end_child(child)
        name = child.spec.id
        if name == "resender":
            self._core.errors.end()
        elif name == "ureceiver":
            self._core.packages.end()
        for source, target in wiring.CANCELS:
            if source == name:
                self._children[target].mailbox.stop()
        for target, others in wiring.ENDS_AFTER.items():
            if name in others and all(self._children[other].status is Status.ENDED for other in others):
                self._children[target].mailbox.stop()

    def _step(self) -> None:
        if self._abandon_at is not None and self._clock.now() >= self._abandon_at:
            self._abandon_at = None
            for child in self._children.values():
                if child.status is Status.RUNNING:
                    child.mailbox.abort()
                    child.demand, child.asked = Demand.END, True
                    self._leave_behind(child, DeathReason.SHUTDOWN, "did not end in time")
                else:
                    self._end_child(child)
        super()._step()

    def _times(self) -> list[float]:
        times = super()._times()
        if self._abandon_at is not None:
            times.append(self._abandon_at)
        return times
