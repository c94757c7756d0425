"""What a node finds in its inbox besides Pykka's messages and the protocol's (`packhorse.protocol.messages`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Any, Final

import msgspec

from ..protocol.address import Address
from .clock import Promise

__all__ = [
    "Abandoned",
    "Batch",
    "Cancel",
    "Crashed",
    "Death",
    "DeathReason",
    "EndClosed",
    "Fault",
    "FlushAll",
    "Forget",
    "GiveUpAt",
    "Poisoned",
    "Readable",
    "Tick",
]


class Batch:
    """Everything that waited in the mailbox, up to the next ask or tell.

    Iterating over it handles it item by item, and keeps account of that.

    Attributes:
        items: what waited, oldest first.
        begun: how many of them were handled or have begun to be. After a crash the last of these is set aside, and the
            rest goes back.
    """

    __slots__ = ("begun", "items")

    def __init__(self, items: list[Any]) -> None:
        self.items = items
        self.begun = 0

    def __iter__(self) -> Iterator[Any]:
        for item in self.items:
            self.begun += 1
            yield item


class Crashed(msgspec.Struct, frozen=True):
    """Another thread handled the node's last batch, and this came of it; the node's own thread is to raise it."""

    error: BaseException


class Tick(msgspec.Struct, frozen=True, gc=False):
    """The node's deadline has passed."""


class Readable(msgspec.Struct, frozen=True, gc=False):
    """The socket has datagrams (dreceiver only)."""


class Cancel(msgspec.Struct, frozen=True, gc=False):
    """Nothing more will come that must be handled; end when your stop rule is met. Comes once per incarnation."""


class Fault(msgspec.Struct, frozen=True):
    """`packhorse.testing` -> node: do this in your thread."""

    strike: Callable[[Any], None]


class Poisoned(msgspec.Struct, frozen=True):
    """This item crashed the node before; save of it what can be saved."""

    item: Any


class Forget(msgspec.Struct, frozen=True):
    """User -> usender, ureceiver: forget the numbering of this peer."""

    target: Address


class FlushAll(msgspec.Struct, frozen=True):
    """User -> usender: keep this promise when everything sent so far is confirmed or given up."""

    promise: Promise[None]


class GiveUpAt(msgspec.Struct, frozen=True):
    """Supervisor -> resender: fail at this time whatever is still unconfirmed."""

    deadline: float


class EndClosed(msgspec.Struct, frozen=True):
    """Handle -> supervisor: the user closed an end. Unconfirmed packages get `linger` seconds from now."""

    end: str
    linger: float


class Abandoned(msgspec.Struct, frozen=True):
    """Finalizer -> supervisor: all handles of the stack are garbage."""


class DeathReason(StrEnum):
    """What an actor died of."""

    STOPPED = "stopped"
    """Nothing: it was told to stop, or stopped itself."""
    CONSTRUCTOR = "constructor"
    """Its constructor raised."""
    THREAD = "thread"
    """No thread could be started for it."""
    START = "start"
    """`on_start` raised."""
    HANDLER = "run"
    """A handler raised."""
    STOP = "stop"
    """`on_stop` raised."""
    EXIT = "exit"
    """SystemExit, wherever it was raised."""
    HANG = "hang"
    """A handler, or `on_start`, did not return for too long."""
    SHUTDOWN = "shutdown"
    """It was told to stop and had not ended when its shutdown time was over."""


_FORCED: Final = ("hang", "shutdown")


class Death(msgspec.Struct, frozen=True):
    """Incarnation -> supervisor: its only death notice.

    Attributes:
        node: name of the child.
        generation: which incarnation it was.
        phase: what it was doing: `constructor`, `thread` (none could be started), `start`, `run` or `stop`; or what was
            done to it: `hang` (it made no progress for too long), `shutdown` (it did not end in time).
        cause: the exception that it died of; None if it ended as it should.
        poisoned: the item that was being handled, if any.
        committed: it has handled something, so it did not live for nothing.
    """

    node: str
    generation: int
    phase: str
    cause: BaseException | None
    poisoned: Any = None
    committed: bool = False

    @property
    def reason(self) -> DeathReason:
        """What it died of, in one word."""
        if self.cause is None:
            return DeathReason.STOPPED
        if isinstance(self.cause, SystemExit) and self.phase not in _FORCED:
            return DeathReason.EXIT
        return DeathReason(self.phase)
