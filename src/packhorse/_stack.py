"""`startup` and the `Stack` it returns: the whole stack for programs that are not actors themselves."""

from __future__ import annotations

import atexit
import os
import time
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypedDict, Unpack

from pykka import ActorDeadError

from ._live import StatsServer
from .actors.clock import SYSTEM_CLOCK, deadline_after
from .actors.handles import LINGER, ConnErrorReceiver, PackageReceiver, PackageSender, StackCore
from .actors.messages import Abandoned, EndClosed
from .actors.stack_supervisor import RUNNING, StackSupervisor
from .protocol import Closed, OutPackage, PeerFailed, Peers, Reliability, Timeout
from .protocol.address import host_port

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from types import TracebackType

    from pykka import ActorRef

    from .actors.clock import Clock
    from .actors.keeper import Desk
    from .actors.stats import StackStats
    from .actors.transport import Transport
    from .protocol import Address, ConfirmPolicy, Controller, ResendPolicy

__all__ = ["Stack", "startup"]

AT_EXIT = 0.9
"""Seconds that open stacks get, all together, when the program ends."""

GRACE = 1.0
"""Seconds beyond the timeout that closing may take until the nodes have ended."""


class StackOptions(TypedDict, total=False):
    """The options of a stack; `StackSupervisor` says what they mean."""

    logger: Any
    resend: ResendPolicy | None
    confirm: ConfirmPolicy | None
    controller: Callable[[], Controller]
    clock: Clock
    transport: Transport | None
    random: Callable[[], float]
    identity: bool
    offload: bool
    inline: bool
    hang_after: float | None
    max_peers: int
    trace_sample: int
    trace_peers: Collection[Address] | None
    trace_context: Collection[str]


class _Lifeline:
    """Held by everything the user holds of one stack; its finalizer closes the stack."""

    __slots__ = ("__weakref__",)


def _abandon(supervisor: Desk) -> None:
    supervisor.put(Abandoned())


class Stack:
    """A running stack. Use it in a `with` statement, or `close` it.

    Attributes:
        sender: where to send packages.
        receiver: where to take those that arrive.
        errors: where to learn of failed peers.
        address: the address the stack is bound to.
        supervisor: ref of the supervising actor.
        journal: the events of the stack; `packhorse.testing.capture_events` listens to it.
    """

    def __init__(self, supervisor: ActorRef[StackSupervisor]) -> None:
        core: StackCore = supervisor.proxy().core().get()
        lifeline = _Lifeline()
        self._core = core
        self._unread: list[PeerFailed] = []
        self._servers: list[StatsServer] = []
        self._thread = supervisor.proxy().thread.get()
        self._finalizer = weakref.finalize(lifeline, _abandon, core.supervisor)
        self._finalizer.atexit = False  # _close_all does that, with a limit
        self.supervisor = supervisor
        self.journal = core.journal
        self.sender = PackageSender(core, "usender", lifeline)
        self.receiver = PackageReceiver(core, "ureceiver", lifeline)
        self.errors = ConnErrorReceiver(core, "resender", lifeline)
        self.address: Address = core.address

    def send(
        self,
        data: bytes,
        to: Address,
        *,
        reliability: Reliability = Reliability.UNORDERED,
        peers: Peers = Peers.PLAYERS,
        timeout: float | None = None,
    ) -> None:
        """Send one package; short for `stack.sender.send(OutPackage(...))`, which says what it raises."""
        self.sender.send(OutPackage(data, reliability, peers, to), timeout)

    def forget(self, target: Address) -> None:
        """Forget the numbering of a peer, both ways, because it was started anew; with an identity it needs no call.

        Packages for it that are not confirmed are reported as failed; the next one sent to it gets id 0.

        Raises:
            PackageError, TypeError: `target` is no address.
            Closed: the stack has ended.
        """
        self._ask("forget", target)

    def counters(self) -> dict[str, int]:
        """Return what the nodes have counted so far, such as `resender.resent` or `dreceiver.dropped`.

        Raises:
            Closed: the stack has ended.
        """
        counters: dict[str, int] = self._ask("counters")
        return counters

    def stats(self) -> StackStats:
        """Return what the stack has done so far, as a whole and per peer, and what waits where. Cheap.

        Raises:
            Closed: the stack has ended.
        """
        stats: StackStats = self._ask("stats")
        return stats

    def serve_stats(self, path: str | Path) -> StatsServer:
        """Let `packhorse top` look at this stack through a Unix socket at `path`, until the stack is closed.

        Only the user whose program this is can look. The socket of a program that is gone is replaced.

        Raises:
            OSError: the socket cannot be made there.
            ValueError: there is a NUL in the path.
            Closed: the stack has ended.
        """
        self.stats()  # raises Closed before anything is opened
        server = StatsServer(Path(path), self.stats)
        self._servers.append(server)
        return server

    def close(self, timeout: float = LINGER) -> list[PeerFailed]:
        """Close all three ends and wait until the stack has ended.

        Packages that are not confirmed yet, whether they have an id or still wait for one, get `timeout` seconds.

        Returns:
            What stayed unconfirmed: the failures that nobody has read.

        Raises:
            Timeout: the stack did not end, within a second more; a node hangs.
            TypeError, ValueError: `timeout` is no number of seconds from 0 on.
        """
        if deadline_after(SYSTEM_CLOCK, timeout) is None or timeout < 0:
            raise ValueError(f"a stack is closed within 0 seconds or more, not {timeout!r}")
        self._finalizer.detach()
        for server in self._servers:
            server.close()
        self._core.admission.close()
        self._core.packages.close()
        self._core.errors.close()
        for end in ("sender", "receiver", "errors"):
            self._core.supervisor.put(EndClosed(end, timeout))
        try:
            self._core.ended.get(timeout + GRACE)
        except Timeout:
            raise Timeout(f"the stack did not end within {timeout + GRACE} seconds") from None
        self._thread.join()
        self._unread += self._core.errors.leftovers()
        return list(self._unread)

    def _ask(self, method: str, *arguments: Any) -> Any:
        if self._core.ended.kept:
            raise Closed("this stack has ended")
        try:
            return getattr(self.supervisor.proxy(), method)(*arguments).get()
        except ActorDeadError:
            raise Closed("this stack has ended") from None

    def __repr__(self) -> str:
        return f"<packhorse.Stack {host_port(self.address)}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Any]:
        """Unpack into sender, receiver and errors; closing all three ends the stack."""
        return iter((self.sender, self.receiver, self.errors))


def startup(port: int = 0, host: str = "0.0.0.0", **options: Unpack[StackOptions]) -> Stack:  # noqa: S104 - the original's default
    """Start a stack.

    Args:
        port: the UDP port; 0 lets the system choose (see `Stack.address`).
        host: address or name of this machine to bind to. "0.0.0.0" is every IPv4 address of it, "::" every address.
        options: see `StackSupervisor`: `logger`, `resend`, `confirm`, `controller`, `identity`, `offload`, `inline`,
            `hang_after`, `max_peers`, `trace_sample`, `trace_peers`, `trace_context`, and for tests `clock`,
            `transport`, `random`.

    Raises:
        OSError: the port is taken or the address is not ours. Nothing is left running.
        TypeError, ValueError: host and port are no address, or an option is nothing that it may be.
    """
    return Stack(StackSupervisor.start(port, host, **options))


def _close_all() -> None:
    """Close the stacks that the program left open, so that what was sent still has a chance."""
    deadline = time.monotonic() + AT_EXIT
    supervisors = list(RUNNING)
    for supervisor in supervisors:
        for end in ("sender", "receiver", "errors"):
            supervisor.core().supervisor.put(EndClosed(end, AT_EXIT / 2))
    for supervisor in supervisors:
        supervisor.thread.join(max(0.0, deadline - time.monotonic()))


atexit.register(_close_all)


def _orphan_all() -> None:
    """Fail the stacks that a fork has copied: their threads are not here, so what is sent would go nowhere."""
    for supervisor in RUNNING:
        supervisor.core().orphan()
    RUNNING.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_orphan_all)
