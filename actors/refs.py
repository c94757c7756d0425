"""References to supervised actors that stay valid when the actor behind them is restarted."""

from __future__ import annotations

import threading
import uuid
from typing import TYPE_CHECKING, Any

from pykka import ActorRef

if TYPE_CHECKING:
    from collections.abc import Callable

    from pykka import Actor
    from pykka._actor import ActorInbox

    from .mailbox import Mailbox

__all__ = ["StableRef"]


class StableRef(ActorRef[Any]):
    """A ref to whatever incarnation a supervised actor has.

    Asks and tells go to the mailbox, where they wait if the actor is being restarted. It is alive until the actor has
    ended for good. It is never what `actor.actor_ref` returns: that one dies with its incarnation.

    Args:
        actor_class: the actor's class, as far as it is known.
        mailbox: what the actor reads.
        incarnation: returns the present or the last incarnation, or None before the first.
    """

    def __init__(self, actor_class: type[Actor], mailbox: Mailbox, incarnation: Callable[[], Actor | None]) -> None:
        # Not calling super().__init__: that would tie this ref to one incarnation.
        self.actor_class = actor_class
        self.actor_urn = uuid.uuid4().urn
        self.actor_inbox: ActorInbox = mailbox  # type: ignore[assignment] # only put is ever called on a ref's
        self.actor_stopped = threading.Event()
        self._actor_weakref = incarnation  # type: ignore[assignment] # called like a weakref

    def revive(self, mailbox: Mailbox) -> None:
        """Be alive again, with a new mailbox: the actor had ended and is started again."""
        self.actor_inbox = mailbox  # type: ignore[assignment] # only put is ever called on a ref's
        self.actor_stopped.clear()

    def __hash__(self) -> int:
        return hash(self.actor_urn)
