"""How a stack is put together: each node's class, its state, and what it is given, by the tables in `wiring`."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from ..protocol.confirmations import Confirmations
from ..protocol.numbering import Numbering
from ..protocol.policy import ConfirmPolicy, ResendPolicy
from ..protocol.receiving import Receiving
from ..protocol.redelivery import Redelivery
from . import wiring
from .admission import Admission
from .clock import Clock, Promise
from .confirmer import Confirmer
from .dreceiver import DReceiver
from .dsender import DSender
from .ends import ErrorEnd, PackageEnd
from .handles import StackCore
from .inbox import Inbox
from .mailbox import Mailbox
from .messages import Death
from .node import Node, Station
from .refs import StableRef
from .resender import Resender
from .resolver import Resolver
from .sreceiver import SReceiver
from .transport import Transport
from .ureceiver import UReceiver
from .usender import USender

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import FilteringBoundLogger

    from ..protocol.congestion import Controller

__all__ = ["Child", "Parts", "assemble"]

RESENDER_NAP: Final = 0.01
"""Seconds; less than usender's `SOON`, so that in steady traffic usender never has to wake resender."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a stack is made of besides its nodes; everything that may differ between two stacks."""

    stack: str
    clock: Clock
    transport: Transport
    logger: FilteringBoundLogger
    resend: ResendPolicy
    confirm: ConfirmPolicy
    controller: Callable[[], Controller]
    random: Callable[[], float]
    inline: bool


@dataclass(slots=True)
class Child:
    """One node, as the supervisor sees it.

    Attributes:
        station: what outlives its incarnations.
        start: starts an incarnation.
        ref: stays valid over all incarnations.
        generation: number of the present incarnation, or of the one to be started next.
        inbox: the present incarnation's view of the mailbox.
        ended: it has ended for good.
        crashes: when it crashed, as far as that counts.
        restart_at: when the next incarnation is to be started, while it waits for that.
    """

    station: Station[Any]
    start: Callable[[Inbox, int], None]
    ref: StableRef
    generation: int = 0
    inbox: Inbox | None = None
    ended: bool = False
    crashes: deque[float] = field(default_factory=deque[float])
    restart_at: float | None = None


def assemble(parts: Parts, supervisor: Mailbox) -> tuple[dict[str, Child], StackCore]:
    """Make everything that belongs to a stack; nothing is started yet."""
    clock, transport = parts.clock, parts.transport
    naps = {"resender": RESENDER_NAP, "confirmer": parts.confirm.delay}
    mailboxes = {
        name: Mailbox(
            name,
            clock,
            parking=transport if name == "dreceiver" else None,
            nap=naps.get(name, 0.0),
            lends=parts.inline and name in ("dsender", "ureceiver"),
        )
        for name in wiring.NODES
    }
    packages, errors = PackageEnd(clock), ErrorEnd(clock)
    admission = Admission(mailboxes["usender"], clock)
    specs: dict[str, tuple[type[Node[Any]], Any, dict[str, Any]]] = {
        "usender": (USender, Numbering(), {"admission": admission, "errors": errors}),
        "dsender": (DSender, None, {"transport": transport}),
        "resender": (Resender, Redelivery(parts.resend, parts.random, controller=parts.controller), {"errors": errors}),
        "confirmer": (Confirmer, Confirmations(parts.confirm), {}),
        "dreceiver": (DReceiver, None, {"transport": transport}),
        "ureceiver": (UReceiver, Receiving(), {"packages": packages, "policy": parts.confirm}),
        "sreceiver": (SReceiver, None, {}),
    }
    children: dict[str, Child] = {}
    for name, (node, state, extras) in specs.items():
        outlets = {target: mailboxes[target] for source, target in (*wiring.CHANNELS, *wiring.STATE) if source == name}
        feeds = tuple(outlets[target] for source, target in wiring.HOLDS_BACK if source == name)
        station: Station[Any] = Station(
            name=name,
            stack=parts.stack,
            mailbox=mailboxes[name],
            state=state,
            feeds=(*feeds, packages) if name == "ureceiver" else feeds,
            outlets=outlets,
            clock=clock,
            logger=parts.logger.bind(node=name),
        )
        start = _starter(node, station, supervisor.put, extras)
        children[name] = Child(station, start, StableRef(station, node))
    core = StackCore(
        supervisor=supervisor,
        nodes={name: child.ref for name, child in children.items()},
        admission=admission,
        packages=packages,
        errors=errors,
        resolver=Resolver(transport.address),
        ended=Promise(clock),
    )
    return children, core


def _starter(
    node: type[Node[Any]], station: Station[Any], report: Callable[[Death], None], extras: dict[str, Any]
) -> Callable[[Inbox, int], None]:
    def start(inbox: Inbox, generation: int) -> None:
        node.start(station, inbox, generation, report, **extras)

    return start
