"""How a stack is put together: each node's spec, its state, and what it is given, by the tables in `wiring`."""

from __future__ import annotations

import random as random_module
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from ..protocol.address import host_port
from ..protocol.confirmations import Confirmations
from ..protocol.numbering import Numbering
from ..protocol.policy import ConfirmPolicy, ResendPolicy
from ..protocol.receiving import Receiving
from ..protocol.redelivery import Redelivery
from . import wiring
from .admission import Admission
from .childspec import ChildSpec, Restart
from .clock import Clock, Promise
from .confirmer import Confirmer
from .dreceiver import DReceiver
from .dsender import DSender
from .ends import ErrorEnd, PackageEnd
from .handles import StackCore
from .inbox import Inbox
from .mailbox import Mailbox
from .node import Node, Station
from .resender import Resender
from .resolver import Resolver
from .sreceiver import SReceiver
from .supervised import Birth, SupervisedActor
from .transport import Transport
from .ureceiver import GATHER, UReceiver
from .usender import USender

if TYPE_CHECKING:
    from ..protocol.address import Address
    from ..protocol.congestion import Controller
    from ..protocol.packages import OutPackage
    from .keeper import Desk
    from .refs import StableRef
    from .tracing import Journal

__all__ = ["NodeSpec", "Parts", "assemble", "check_choices", "identity_source"]

RESENDER_NAP: Final = 0.01
"""Seconds; less than usender's `SOON`, so that in steady traffic usender never has to wake resender."""
COPY_TRIES: Final = 3
"""A hung node may be changing its state while it is copied."""


def check_choices(resend: object, confirm: object, controller: object, clock: object, random: object) -> None:
    """Raise TypeError if a stack cannot be made with these, before anything is opened for it."""
    if not isinstance(resend, ResendPolicy | None):
        raise TypeError(f"resend is a packhorse.ResendPolicy, not {resend!r}")
    if not isinstance(confirm, ConfirmPolicy | None):
        raise TypeError(f"confirm is a packhorse.ConfirmPolicy, not {confirm!r}")
    if not isinstance(clock, Clock):
        raise TypeError(
            f"clock is a packhorse.actors.clock.Clock, such as packhorse.testing.ManualClock(), not {clock!r}"
        )
    if not callable(random):
        raise TypeError(f"random is a function that returns numbers from 0 to 1, not {random!r}")
    if not callable(controller):
        raise TypeError(
            f"controller makes the Controller of a new peer, so it is a class or a function, not {controller!r}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a stack is made of besides its nodes; everything that may differ between two stacks."""

    stack: str
    clock: Clock
    transport: Transport
    journal: Journal
    resend: ResendPolicy
    confirm: ConfirmPolicy
    controller: Callable[[], Controller]
    random: Callable[[], float]
    hang_after: float | None
    inline: bool
    max_peers: int
    identity: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSpec(ChildSpec):
    """A node as a child: its mailbox is there before it, since others are wired to it, and its state outlives it.

    Attributes:
        node: its class.
        station: what belongs to it.
        fresh: makes a state as at the start.
        extras: what else its constructor takes.
    """

    node: type[Node[Any]]
    station: Station[Any]
    fresh: Callable[[], Any]
    extras: Mapping[str, Any]

    def open_mailbox(self, clock: Clock) -> Mailbox:
        """Return the station's mailbox; a stack's node is never started again once it has ended."""
        del clock
        return self.station.mailbox

    def open_inbox(self, mailbox: Mailbox) -> Inbox:
        """Make a view that is held back by what the node feeds."""
        return Inbox(mailbox, self.station.feeds)

    def make(self, birth: Birth) -> SupervisedActor:
        """Make an incarnation that works on the station."""
        return self.node(self.station, birth.inbox, birth.generation, birth.report, **self.extras)

    def abandoned(self) -> BaseException | None:
        """Let the next incarnation work on a copy of the state."""
        failed: BaseException | None = None
        for _ in range(COPY_TRIES):
            try:
                self.station.copy_state()
            except Exception as error:  # noqa: BLE001 - whatever is in the state, or a change while it was copied
                failed = error
            else:
                return None
        return failed

    def renew(self, peer: Address | None, now: float) -> None:
        """Make anew what is known of a peer, or of all of them if it is None; report what is lost by that.

        Raises:
            Exception: not even the facts can be read.
        """
        state = self.station.state
        if hasattr(state, "renew"):
            state.renew(peer, now)
        else:
            self.station.state = self.fresh()


def assemble(
    parts: Parts,
) -> tuple[
    dict[str, NodeSpec],
    Callable[[Desk, Mapping[str, StableRef], Callable[[OutPackage], OutPackage] | None], StackCore],
]:
    """Make everything that belongs to a stack; nothing is started yet.

    Returns:
        The specs of the nodes, and what makes the core of the handles when the supervisor has made children of them.
    """
    clock, transport = parts.clock, parts.transport
    naps = {"resender": RESENDER_NAP, "confirmer": min(parts.confirm.delay, GATHER)}
    mailboxes = {
        name: Mailbox(
            name,
            clock,
            parking=transport if name == "dreceiver" else None,
            nap=naps.get(name, 0.0),
            lends=parts.inline and name in ("dsender", "ureceiver", "sreceiver"),
        )
        for name in wiring.NODES
    }
    packages, errors = PackageEnd(clock), ErrorEnd(clock)
    admission = Admission(mailboxes["usender"], clock)
    made: dict[str, tuple[type[Node[Any]], Callable[[], Any], dict[str, Any]]] = {
        "usender": (USender, lambda: Numbering(identity=parts.identity), {"admission": admission, "errors": errors}),
        "dsender": (DSender, _no_state, {"transport": transport}),
        "resender": (
            Resender,
            lambda: Redelivery(
                parts.resend, parts.random, controller=parts.controller, identity=parts.identity, lateness=True
            ),
            {"errors": errors},
        ),
        "confirmer": (Confirmer, lambda: Confirmations(parts.confirm, max_peers=parts.max_peers), {}),
        "dreceiver": (DReceiver, _no_state, {"transport": transport}),
        "ureceiver": (
            UReceiver,
            lambda: Receiving(parts.identity, max_peers=parts.max_peers),
            {"packages": packages, "policy": parts.confirm},
        ),
        "sreceiver": (SReceiver, _no_state, {}),
    }
    specs: dict[str, NodeSpec] = {}
    for name, (node, fresh, extras) in made.items():
        outlets = {target: mailboxes[target] for source, target in (*wiring.CHANNELS, *wiring.STATE) if source == name}
        feeds = tuple(outlets[target] for source, target in wiring.HOLDS_BACK if source == name)
        station: Station[Any] = Station(
            name=name,
            mailbox=mailboxes[name],
            state=fresh(),
            feeds=(*feeds, packages) if name == "ureceiver" else feeds,
            outlets=outlets,
            clock=clock,
            logger=parts.journal.tracer(stack=parts.stack, node=name, address=host_port(transport.address)),
        )
        specs[name] = NodeSpec(
            id=name,
            factory=cast("Callable[[], SupervisedActor]", node),  # called by `make`, with what it takes
            node=node,
            restart=Restart.TRANSIENT,
            hang_after=parts.hang_after,
            station=station,
            fresh=fresh,
            extras=extras,
        )

    def make_core(
        supervisor: Desk, refs: Mapping[str, StableRef], carry: Callable[[OutPackage], OutPackage] | None
    ) -> StackCore:
        return StackCore(
            address=transport.address,
            supervisor=supervisor,
            nodes=refs,
            admission=admission,
            packages=packages,
            errors=errors,
            resolver=Resolver(transport.address),
            ended=Promise(clock),
            carry=carry,
            journal=parts.journal,
            unsettled=unsettled,
            transport=transport,
        )

    def unsettled() -> Counter[Address]:
        counts: Counter[Address] = Counter()
        for node, figure in (("usender", "backlog"), ("resender", "in_flight")):
            counts.update({target: known[figure] for target, known in specs[node].station.state.peers()})
        return counts

    return specs, make_core


def identity_source(random: Callable[[], float]) -> Callable[[], float]:
    """Return where an identity comes from: seeding Python's generator must not give each life the same one."""
    return random_module.SystemRandom().random if random is random_module.random else random


def _no_state() -> None:
    """Some nodes keep nothing."""
