"""The user's three ends as handles: `PackageSender`, `PackageReceiver`, `ConnErrorReceiver`.

The rules:

- handles are thread-safe, may be sent to other actors, and stay valid when the node behind them is restarted;
- only here a thread of the user's ever waits, and every wait takes a timeout in seconds (None: for ever);
- what is wrong with a package is said by the call that was given it;
- closing is explicit and may be repeated; a closed handle raises `Closed` at once;
- when the stack has given up, every call that sends or receives raises `StackFailed`, with the cause.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from ..protocol.address import Address, host_port
from ..protocol.errors import Closed, PeerFailed, StackFailed, Timeout
from ..protocol.packages import InPackage, OutPackage
from .admission import PLENTY, Lane
from .messages import EndClosed
from .transport import UdpTransport

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from pykka import ActorProxy, ActorRef

    from .admission import Admission
    from .clock import Promise
    from .ends import ErrorEnd, PackageEnd, UserEnd
    from .keeper import Desk
    from .node import Node
    from .refs import StableRef
    from .resolver import Resolver
    from .tracing import Journal
    from .transport import Transport

T = TypeVar("T")

__all__ = ["LINGER", "ConnErrorReceiver", "PackageReceiver", "PackageSender", "StackCore"]

LINGER: Final = 5.0
"""Seconds that unconfirmed packages get after sender and errors were closed."""


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False, kw_only=True)
class StackCore:
    """What the handles of one stack share with its supervisor. All of it is thread-safe."""

    address: Address
    supervisor: Desk
    nodes: Mapping[str, StableRef]
    admission: Admission
    packages: PackageEnd
    errors: ErrorEnd
    resolver: Resolver
    ended: Promise[None]
    carry: Callable[[OutPackage], OutPackage] | None
    journal: Journal
    unsettled: Callable[[], Counter[Address]]
    """How many packages for each target wait for an id or are unconfirmed."""
    transport: Transport

    def orphan(self) -> None:
        """Fail the copy that a fork made, since its threads are not here. Called in the child, by its only thread."""
        failed = StackFailed("a stack does not come along when its process forks: start one in the child")
        self.admission.orphan(failed)
        self.packages.orphan(failed)
        self.errors.orphan(failed)
        self.ended.orphan(None)
        if isinstance(self.transport, UdpTransport):
            self.transport.orphan()


class _Handle:
    def __init__(self, core: StackCore, node: str, lifeline: object = None) -> None:
        self._core = core
        self._node = node
        self._lifeline = lifeline

    def __repr__(self) -> str:
        return f"<packhorse.{type(self).__name__} of {host_port(self._core.address)}>"

    @property
    def proxy(self) -> ActorProxy[Node[Any]]:
        """A Pykka proxy of the node behind this handle; it stays valid when the node is restarted.

        Raises:
            pykka.ActorDeadError: the node has ended.
        """
        return self._core.nodes[self._node].proxy()


_NAMED: Final = 3
"""Targets that a message names at most."""
_NO_PACKAGE: Final = "an OutPackage can be sent, not {}"


class PackageSender(_Handle):
    """Where the user sends packages."""

    def __init__(self, core: StackCore, node: str, lifeline: object = None) -> None:
        super().__init__(core, node, lifeline)
        self._carry = core.carry
        self._admission = core.admission
        self._lanes = core.admission.lanes if core.carry is None else dict[Address, Lane]()
        self._mailbox = core.admission.mailbox
        self._items = self._mailbox.items

    def send(self, package: OutPackage, timeout: float | None = None) -> None:
        """Send a package, waiting while 1024 packages for its target wait already (or 133 152 in all, which is 64 MiB).

        Args:
            package: what to send. A host name in its target is resolved here, once.
            timeout: seconds to wait for room; None waits for ever.

        Raises:
            Timeout: there was no room in time. (`Full` if `timeout` is 0.)
            PackageError: the target's name is unknown, or its address family is not this stack's.
            TypeError: it is not an `OutPackage`.
            Closed: the handle was closed or the stack has ended.
            StackFailed: the stack gave up.
        """
        # What nearly every call comes to, without a lock and without a further call; see `admission`.
        lane = self._lanes.get(package.target) if package.__class__ is OutPackage else None
        if lane is not None and lane.target is package.target:
            ticket = None
            try:
                ticket = lane.ticket()
                if ticket - lane.back < PLENTY and not lane.retired:
                    self._items.append(package)
                    if self._mailbox.idle:
                        self._mailbox.wake()
                    if len(self._items) > self._admission.brim:
                        self._admission.put_over_the_brim(lane, package, timeout)
                    return
            except BaseException:
                if ticket is None:  # Ctrl-C took it before we had it
                    self._admission.give_back(lane)
                raise
            self._admission.give_back(lane)
        self._admission.send((self._checked(package),), timeout)

    def try_send(self, package: OutPackage) -> None:
        """Send a package without waiting.

        Raises:
            Full: there is no room.
            PackageError, TypeError, Closed, StackFailed: as `send`.
        """
        self.send(package, 0)

    def send_many(self, packages: Iterable[OutPackage], timeout: float | None = None) -> None:
        """Send packages in order; cheaper than one by one. If it raises, those before the one concerned are sent.

        Args:
            packages: what to send.
            timeout: seconds to wait for room, in all.

        Raises:
            Timeout, Full, PackageError, TypeError, Closed, StackFailed: as `send`. Unsuitable packages are found before
                anything is sent.
        """
        self._admission.send([self._checked(package) for package in packages], timeout)

    def flush(self, timeout: float | None = None) -> None:
        """Wait until everything sent so far is confirmed or given up (errors tell which).

        Raises:
            Timeout: it took longer than `timeout` seconds. The message says how much is unconfirmed, and of whom most.
            Closed, StackFailed: as `send`.
        """
        try:
            self._admission.flush().get(timeout)
        except Timeout:
            counts = self._core.unsettled()
            worst = counts.most_common(_NAMED)
            most = ", ".join(f"{count} for {host_port(target)}" for target, count in worst if count)
            left = f"{counts.total()} packages are not: {most}" if most else "what was sent last is still in the stack"
            more = ", ..." if len(+counts) > _NAMED else ""
            raise Timeout(f"not everything was confirmed within {timeout} seconds; {left}{more}") from None

    def close(self) -> None:
        """Send nothing more. What was sent is still delivered."""
        self._close(LINGER)

    def _close(self, linger: float) -> None:
        self._admission.close()
        self._core.supervisor.put(EndClosed("sender", linger))

    def _checked(self, package: OutPackage) -> OutPackage:
        if type(package) is not OutPackage:
            raise TypeError(_NO_PACKAGE.format(type(package).__name__))
        package = self._core.resolver.resolved(package)
        return package if self._carry is None else self._carry(package)


class _Receiver(_Handle, Generic[T]):
    _end: UserEnd[T]

    def recv(self, timeout: float | None = None) -> T:
        """Take the next one.

        Args:
            timeout: seconds to wait; None waits for ever, 0 not at all.

        Raises:
            Timeout: none came in time.
            Closed: the handle was closed; or the stack has ended and everything was taken.
            StackFailed: the stack gave up and everything was taken.
        """
        return self._end.recv(timeout)

    def drain(self) -> list[T]:
        """Take everything that waits, perhaps nothing, without waiting."""
        return self._end.drain()

    def subscribe(self, ref: ActorRef[Any], *, batch: bool = False) -> None:
        """Tell each one to an actor from now on, those that wait already first.

        With `batch` the actor is told lists, each of what came together; that is much cheaper when much comes.

        At most 1024 are in the actor's inbox and not handled yet. If the actor dies, those it did not begin to handle
        wait for `recv`. There is one subscriber at a time: subscribing again replaces it. A subscription keeps the
        handle open.

        Raises:
            Closed: the handle was closed.
        """
        self._end.subscribe(ref, batch=batch, keeps=self._lifeline)

    def unsubscribe(self) -> None:
        """Tell nothing more; what comes waits for `recv`."""
        self._end.unsubscribe()

    def __iter__(self) -> Iterator[T]:
        """Iterate until the handle is closed or the stack has ended.

        Raises:
            StackFailed: the stack gave up.
        """
        while True:
            try:
                item = self.recv()
            except Closed:
                return
            yield item


class PackageReceiver(_Receiver[InPackage]):
    """Where the user takes the packages that arrived."""

    def __init__(self, core: StackCore, node: str, lifeline: object = None) -> None:
        super().__init__(core, node, lifeline)
        self._end = core.packages

    def recv_many(self, most: int, timeout: float | None = None) -> list[InPackage]:
        """Take up to `most` packages, at least one; cheaper than one by one.

        Raises:
            TypeError, ValueError: `most` is no int, or less than 1.
            Timeout, Closed, StackFailed: as `recv`.
        """
        if type(most) is not int:
            raise TypeError(f"how many packages are asked for is an int, not {most!r}")
        if most < 1:
            raise ValueError(f"at least one package has to be asked for, not {most!r}")
        return self._end.recv_many(most, timeout)

    def close(self) -> None:
        """Receive nothing more. What waits is dropped; what arrives from now on is not confirmed."""
        self._close(LINGER)

    def _close(self, linger: float) -> None:
        self._core.packages.close()
        self._core.supervisor.put(EndClosed("receiver", linger))


class ConnErrorReceiver(_Receiver[PeerFailed]):
    """Where the user learns which peers have failed. Nobody has to read it: unread failures hold up nothing."""

    def __init__(self, core: StackCore, node: str, lifeline: object = None) -> None:
        super().__init__(core, node, lifeline)
        self._end = core.errors

    def close(self) -> None:
        """Hear of no more failures. Once the sender is closed too, unconfirmed packages get 5 seconds more."""
        self._close(LINGER)

    def _close(self, linger: float) -> None:
        self._core.errors.close()
        self._core.supervisor.put(EndClosed("errors", linger))
