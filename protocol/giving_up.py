"""What becomes of peers: how they fail, are reported and are forgotten. `Redelivery` is built on it.

The rules (protocol/README.md has them in full):

- failing takes two steps, so that it is reported once: `Numbering` is told, hands over the backlog, and then everything
  goes into one report: what is unconfirmed, and the semi-ordered packages that the receiver has confirmed but keeps
  behind it;
- once `Numbering` has ended nothing is handed over any more, and one step does;
- a flush is done when everything below its marks is confirmed, reported or forgotten;
- a peer with nothing pending is forgotten `memory` seconds after the last traffic with it. What we sent counts too: it
  is what the peer, which must not forget us sooner, has last seen of us.
"""

from __future__ import annotations

from typing import Any

from .address import Address
from .ageing import Ageing
from .errors import FailureReason, PeerFailed, PeerRestarted
from .messages import Acknowledged, Dropped, Failed, Flush, Forgotten, Grant, Restarted, Unknown
from .notes import Note, which
from .packages import OutPackage
from .peer import Peer, Phase

__all__ = ["GivingUp"]


class GivingUp:
    """Keeps the table of peers, and gives them up.

    Args:
        memory: seconds after which a silent peer is forgotten.

    Attributes:
        to_usender: messages for `Numbering`.
        failures: reports for the user.
        flushed: tokens of the `Flush` messages that are done.
        pending: how many packages wait for confirmation or for being reported.
    """

    notes: list[Note] | None = None

    def __init__(self, memory: float) -> None:
        self.to_usender: list[Grant | Failed | Unknown | Acknowledged | Restarted] = []
        self.failures: list[PeerFailed] = []
        self.flushed: list[object] = []
        self.pending = 0
        self._memory = memory
        self._peers: dict[Address, Peer] = {}
        self._ageing: Ageing[Address] = Ageing()
        self._aged: set[Address] = set()
        """What is in there: a target once, however often its numbering begins anew."""
        self._flushes: list[Flush] = []
        self._backlog_ended = False
        self._give_up_at: float | None = None
        self._given_up = False

    def dropped(self, dropped: Dropped) -> None:
        """Report a failed peer, now that its backlog is known."""
        peer = self._peers.get(dropped.target)
        if peer is not None and peer.phase is Phase.FAILING and peer.life == dropped.life:
            self._report(dropped.target, peer, dropped.packages)
        else:
            self._report_packages(dropped.target, FailureReason.SILENT, dropped.packages)

    def forgotten(self, forgotten: Forgotten) -> None:
        """Report what is pending for a target and forget it."""
        peer = self._peers.pop(forgotten.target, None)
        if peer is None:
            self._report_packages(forgotten.target, forgotten.reason, forgotten.packages)
            return
        if peer.phase is Phase.ACTIVE or forgotten.reason is FailureReason.RESTARTED:
            peer.reason = forgotten.reason
        self._report(forgotten.target, peer, forgotten.packages)

    def flush(self, flush: Flush) -> None:
        """Put `flush.token` into `flushed` as soon as everything below the marks is settled."""
        self._flushes.append(flush)
        self._check_flushes()

    def backlog_ended(self) -> None:
        """Note that no message of `Numbering` will come any more."""
        self._backlog_ended = True
        for target, peer in self._peers.items():
            if peer.phase is Phase.FAILING:
                self._report(target, peer, [])

    def give_up_at(self, deadline: float) -> None:
        """Fail every peer that has something pending at `deadline`, and at once whatever comes after it."""
        if self._give_up_at is None or deadline < self._give_up_at:
            self._give_up_at = deadline

    def peers(self) -> list[tuple[Address, dict[str, Any]]]:
        """Return what is known of each target. May be called from another thread."""
        return [(address, peer.figures()) for address, peer in list(self._peers.items())]

    # Inner steps, which `Redelivery` takes too.

    def _note(self, event: str, **fields: Any) -> None:
        if self.notes is not None:
            self.notes.append((event, fields))

    def _fail(self, target: Address, peer: Peer, reason: FailureReason) -> None:
        if peer.phase is not Phase.ACTIVE:
            return
        peer.phase = Phase.FAILING
        peer.reason = reason
        if self._backlog_ended:
            self._report(target, peer, [])
        else:
            self.to_usender.append(Failed(target, peer.life))

    def _fail_all(self) -> None:
        """Fail every peer that has something pending, because the time for that is over."""
        self._given_up = True
        for target, peer in self._peers.items():
            if peer.recovery.unconfirmed:
                self._fail(target, peer, FailureReason.CLOSED)

    def _report(self, target: Address, peer: Peer, backlog: list[OutPackage]) -> None:
        self.pending -= peer.pending
        numbers, packages = peer.give_up(target)
        if numbers:
            self._note("package:given_up", target=target, **which(numbers), trigger=peer.reason.value)
        self._report_packages(target, peer.reason, packages + backlog)
        self._check_flushes(target)

    def _report_packages(self, target: Address, reason: FailureReason, packages: list[OutPackage]) -> None:
        if reason is FailureReason.RESTARTED:
            self.failures.append(PeerRestarted(target, packages))
        elif packages:
            self.failures.append(PeerFailed(target, reason, packages))

    def _forget_later(self, target: Address, now: float) -> None:
        """Look at a new peer when it may be forgotten."""
        if target not in self._aged:
            self._aged.add(target)
            self._ageing.add(target, now + self._memory)

    def _forget(self, target: Address, now: float) -> float | None:
        """Forget a peer with nothing pending if it is time; return when to try again."""
        peer = self._peers.get(target)
        if peer is None:
            self._aged.discard(target)
            return None
        forget_at = max(peer.heard, peer.sent) + self._memory
        if now < forget_at:
            return forget_at
        if peer.phase is Phase.FAILING or (peer.phase is Phase.ACTIVE and peer.recovery.unconfirmed):
            return now + self._memory
        del self._peers[target]
        self._aged.discard(target)
        self._note("peer:forgotten", target=target, trigger="silence")
        self.to_usender.append(Unknown(target, peer.life, peer.recovery.next))
        return None

    def _check_flushes(self, target: Address | None = None) -> None:
        """Find the flushes that nothing is awaited for any more; only `target` can have changed, if it is given."""
        for flush in self._flushes.copy():
            marks = flush.marks
            for one in list(marks) if target is None else [target]:
                if one in marks and self._settled(one, *marks[one]):
                    del marks[one]
            if not marks:
                self.flushed.append(flush.token)
        self._flushes = [flush for flush in self._flushes if flush.marks]

    def _settled(self, target: Address, life: int, mark: int) -> bool:
        peer = self._peers.get(target)
        return peer is None or peer.life != life or peer.phase is Phase.FAILED or peer.recovery.oldest >= mark
