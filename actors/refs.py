"""References to nodes that stay valid when the node behind them is restarted."""

from __future__ import annotations

import threading
import uuid
from typing import TYPE_CHECKING, Any

from pykka import ActorRef

from .node import Node

if TYPE_CHECKING:
    from pykka._actor import ActorInbox

    from .node import Station

__all__ = ["StableRef"]


class StableRef(ActorRef[Node[Any]]):
    """A ref to whatever incarnation a node has.

    Asks and tells go to the mailbox, where they wait if the node is being restarted. It is alive until the node has
    ended for good. It is never what `actor.actor_ref` returns: that one dies with its incarnation.
    """

    def __init__(self, station: Station[Any], actor_class: type[Node[Any]]) -> None:
        # Not calling super().__init__: that would tie this ref to one incarnation.
        self.actor_class = actor_class
        self.actor_urn = uuid.uuid4().urn
        self.actor_inbox: ActorInbox = station.mailbox  # type: ignore[assignment] # only put is ever called on a ref's
        self.actor_stopped = threading.Event()
        self._actor_weakref = lambda: station.incarnation  # type: ignore[assignment] # called like a weakref

    def __hash__(self) -> int:
        return hash(self.actor_urn)
