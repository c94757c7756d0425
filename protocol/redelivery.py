"""The sending half of a peer, second part: what is unconfirmed, and sending it again (the resender's state).

The rules (protocol/README.md has them in full):

- a package is unconfirmed from the moment it got its number until a control datagram lists its id; when it is sent again,
  unchanged, is said in `recovery`;
- `Grant` tells `Numbering` how far it may go: never more than `window` numbers beyond the oldest unconfirmed one, never more bytes
  than the congestion controller allows, and not in bursts (see `congestion`);
- a peer fails by silence or by one package's age (see `policy`). Failing takes two steps, so that it is reported once:
  `Numbering` is told, hands over the backlog, and then everything goes into one report: what is unconfirmed, and the
  semi-ordered packages that the receiver has confirmed but keeps behind it. The numbers given up stay here;
- when the user sends to a failed peer again, those go first, as they were: the receiver must not be left with a hole;
- who is behind a target is noticed by how it answers (see `identity`): what is sent again carries the hint in use, and an introduction
  goes ahead until the peer has acknowledged it. When the peer knows nothing of the numbering any more, `Numbering` is told, and
  answers with `Forgotten`;
- a peer with nothing pending is forgotten `memory` seconds after the last traffic with it. What we sent counts too: it is
  what the peer, which must not forget us sooner, has last seen of us.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from math import inf
from typing import Any

from .address import Address
from .ageing import Ageing
from .congestion import Controller, DelayController, Room
from .errors import FailureReason, PeerFailed, PeerRestarted
from .header import HEADER_SIZE, unpack_header, unwrap_all
from .identity import HINT_BITS
from .introducing import Answer, Introducing
from .lateness import Lateness
from .messages import (
    Acknowledged,
    Confirmed,
    Datagrams,
    Dropped,
    Expired,
    Failed,
    Flush,
    Forgotten,
    Grant,
    Left,
    Listen,
    Refused,
    Restarted,
    Revive,
    Sent,
)
from .notes import Note, resent, which
from .numbering import WINDOW
from .packages import OutPackage
from .policy import ResendPolicy
from .runs import MAX_RUN
from .unconfirmed import Recovery

__all__ = ["MEMORY", "Redelivery"]

MEMORY = 600.0
"""Seconds without traffic after which a peer with nothing pending is forgotten (wire specification)."""
EAGER_GAP = 0.003
"""Seconds between the copies of an eager package."""
NOT_TAKEN = 32
"""Packages that are sent again at most because the peer did not know whose they are."""


class _Phase(Enum):
    ACTIVE = auto()
    FAILING = auto()
    """Given up; waiting for `Numbering` to hand over the backlog."""
    FAILED = auto()
    """Reported; what was given up waits for a `Revive`."""


@dataclass(slots=True)
class _Peer:
    life: int
    heard: float
    """When its last control datagram arrived, or else when it was first sent to."""
    sent: float
    """When anything was last sent to it."""
    recovery: Recovery
    room: Room
    phase: _Phase = _Phase.ACTIVE
    reason: FailureReason = FailureReason.SILENT
    look_at: float = inf
    """When the next timer goes off."""
    listening: bool = False
    """A timeout is due, but perhaps not everything is handled that has arrived."""
    introducing: Introducing | None = None
    """Who knows the numbering; None if it is not introduced."""
    resent: int = 0


class Redelivery:
    """Keeps unconfirmed packages and sends them again.

    Args:
        policy: when to send again and when to give up.
        random: returns uniformly random numbers from 0 to 1.
        controller: makes the congestion controller of a new peer.
        window: numbers that may be unconfirmed at once per peer.
        memory: seconds after which a silent peer is forgotten.
        identity: of our own stack; None introduces nothing.
        lateness: our own stack may be late, and answers with `Left` and `Listen` (see `lateness`).

    Attributes:
        to_usender: messages for `Numbering`.
        to_dsender: datagrams to send again.
        to_dreceiver: questions that go the way of the confirmations.
        failures: reports for the user.
        flushed: tokens of the `Flush` messages that are done.
        resent: how many datagrams were sent again so far.
        lost: how many packages were judged lost so far.
        pending: how many packages wait for confirmation or for being reported.
        strange: how many confirmations were ignored so far because they are about another numbering.
    """

    notes: list[Note] | None = None

    def __init__(
        self,
        policy: ResendPolicy,
        random: Callable[[], float],
        *,
        controller: Callable[[], Controller] = DelayController,
        window: int = WINDOW,
        memory: float = MEMORY,
        identity: int | None = None,
        lateness: bool = False,
    ) -> None:
        self.to_usender: list[Grant | Failed | Expired | Acknowledged | Restarted] = []
        self.to_dsender: list[Datagrams] = []
        self.to_dreceiver: list[Listen] = []
        self.failures: list[PeerFailed] = []
        self.flushed: list[object] = []
        self.resent = 0
        self.lost = 0
        self.pending = 0
        self.strange = 0
        self._identity = identity
        self._policy = policy
        self._random = random
        self._controller = controller
        self._window = window
        self._memory = memory
        self._peers: dict[Address, _Peer] = {}
        self._timers: list[tuple[float, int, Address, _Peer]] = []
        """A heap of (time, serial, target, peer)."""
        self._ageing: Ageing[tuple[Address, _Peer]] = Ageing()
        self._serial = 0
        self._lateness: Lateness[tuple[Address, _Peer]] | None = Lateness() if lateness else None
        self._flushes: list[Flush] = []
        self._backlog_ended = False
        self._give_up_at: float | None = None
        self._given_up = False

    # What Numbering tells.

    def sent(self, sent: Sent) -> None:
        """Expect confirmations for a run of packages."""
        now = sent.time
        peer = self._peers.get(sent.target)
        if peer is None:
            peer = self._meet(sent.target, sent.life, sent.first, now, sent)
        before = peer.recovery.in_flight
        run = peer.recovery.sent(sent.first, sent.datagrams, now)
        peer.sent = now
        peer.room.total = sent.before + peer.recovery.in_flight - before
        self.pending += len(sent.datagrams)
        if self._lateness is not None and sent.mark and sent.eager == 1:
            self._lateness.expect(sent.mark, run, (sent.target, peer))
        if sent.eager > 1:
            peer.recovery.extra_copies(sent.first, [now + EAGER_GAP * copy for copy in range(1, sent.eager)])
        self._grant(sent.target, peer, now)
        if self._given_up:
            self._fail(sent.target, peer, FailureReason.CLOSED)
        self._set_timer(sent.target, peer)

    def left(self, left: Left) -> None:
        """Note that packages have left our stack."""
        for run, (target, peer) in self._lateness.left(left) if self._lateness is not None else ():
            if peer.look_at > run.time + peer.recovery.round_trip.timeout:
                self._set_timer(target, peer)

    def heard(self, listen: Listen) -> None:
        """Note that everything is handled which had arrived when this was asked; `tick` does what follows."""
        if self._lateness is not None:
            self._lateness.answer(listen)

    def poisoned(self, message: Sent | Revive, now: float) -> None:
        """Give up a peer because handling `message` crashed; what that carried is reported with the rest."""
        peer = self._peers.get(message.target)
        if peer is None:
            first = message.first if isinstance(message, Sent) else message.next
            peer = self._meet(message.target, message.life, first, now, message)
        if isinstance(message, Sent):
            unknown = message.datagrams[max(0, peer.recovery.next - message.first) :]
            if unknown:
                peer.recovery.sent(message.first + len(message.datagrams) - len(unknown), unknown, message.time)
                self.pending += 0 if peer.phase is _Phase.FAILED else len(unknown)
        peer.life = message.life
        if peer.phase is _Phase.FAILED:
            peer.phase = _Phase.ACTIVE
            self.pending += len(peer.recovery.unconfirmed)
        self._fail(message.target, peer, FailureReason.POISONED)
        self._set_timer(message.target, peer)

    def revive(self, revive: Revive, now: float) -> None:
        """Send again what was given up, then grant room for new packages."""
        peer = self._peers.get(revive.target)
        if peer is None:
            self.to_usender.append(Expired(revive.target, revive.life, revive.next))
            return
        peer.life = revive.life
        peer.phase = _Phase.ACTIVE
        peer.room.close(peer.recovery.next, revive.before)
        self.pending += len(peer.recovery.unconfirmed)
        self._note("peer:revived", target=revive.target, pending=len(peer.recovery.unconfirmed))
        numbers = peer.recovery.revive(now)
        self._send_again(revive.target, peer, numbers, now, [("revived", len(numbers))])
        self._grant(revive.target, peer, now)
        if self._given_up:
            self._fail(revive.target, peer, FailureReason.CLOSED)
        self._set_timer(revive.target, peer)

    def dropped(self, dropped: Dropped) -> None:
        """Report a failed peer, now that its backlog is known."""
        peer = self._peers.get(dropped.target)
        if peer is not None and peer.phase is _Phase.FAILING and peer.life == dropped.life:
            self._report(dropped.target, peer, dropped.packages)
        else:
            self._report_packages(dropped.target, FailureReason.SILENT, dropped.packages)

    def forgotten(self, forgotten: Forgotten) -> None:
        """Report what is pending for a target and forget it."""
        peer = self._peers.pop(forgotten.target, None)
        if peer is None:
            self._report_packages(forgotten.target, forgotten.reason, forgotten.packages)
            return
        if peer.phase is _Phase.ACTIVE or forgotten.reason is FailureReason.RESTARTED:
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
            if peer.phase is _Phase.FAILING:
                self._report(target, peer, [])

    def give_up_at(self, deadline: float) -> None:
        """Fail every peer that has something pending at `deadline`, and at once whatever comes after it."""
        if self._give_up_at is None or deadline < self._give_up_at:
            self._give_up_at = deadline

    # What the network tells.

    def confirmed(self, confirmed: Confirmed) -> None:
        """Forget packages that a peer has confirmed; ids that are not awaited are ignored."""
        peer = self._peers.get(confirmed.source)
        if peer is None:
            return
        recovery, now = peer.recovery, confirmed.time
        numbers = unwrap_all(confirmed.ids, recovery.oldest)
        if peer.introducing is not None and not self._judge(confirmed, peer, peer.introducing, numbers):
            return
        peer.heard = max(peer.heard, now)
        unconfirmed, in_flight = recovery.unconfirmed, recovery.in_flight
        before = len(unconfirmed)
        fresh = [] if self.notes is None else [number for number in numbers if number in unconfirmed]
        window = peer.room.controller.window
        news, round_trip = recovery.confirmed(numbers, now)
        if news:
            peer.room.controller.confirmed(news, in_flight, round_trip, now)
        if fresh:
            self._note_confirmed(confirmed.source, peer, fresh, round_trip, window)
        if peer.phase is not _Phase.FAILED:
            self.pending -= before - len(unconfirmed)
        self._grant(confirmed.source, peer, now)
        self._check_flushes()
        self._set_timer(confirmed.source, peer)

    def _judge(self, confirmed: Confirmed, peer: _Peer, known: Introducing, numbers: Sequence[int]) -> bool:
        """Tell whether a confirmation is about the present numbering; learn from it who is there."""
        target, awaited = confirmed.source, peer.recovery.unconfirmed
        answer = known.confirmed(confirmed.echo, awaited=any(number in awaited for number in numbers))
        if answer is Answer.ACKNOWLEDGED:
            self.to_usender.append(Acknowledged(target, known.series, known.hint, known.by or 0))
            if not numbers and peer.phase is _Phase.ACTIVE:
                # It takes nothing that was sent with our own hint, or all of that was lost.
                self._send_not_taken(target, peer, confirmed.time)
        elif answer is Answer.STRANGER:
            self._begin_anew(target, peer, known)
        elif answer is Answer.LATE:
            self.strange += 1
        return answer in (Answer.OURS, Answer.ACKNOWLEDGED)

    def refused(self, refused: Refused) -> None:
        """Introduce the numbering again, or begin another one, because the peer does not know who we are."""
        target, now = refused.source, refused.time
        peer = self._peers.get(target)
        if peer is None or peer.introducing is None:
            return
        answer = peer.introducing.refused(refused)
        if answer is Answer.STRANGER:
            self._begin_anew(target, peer, peer.introducing)
        elif answer is Answer.LOST and peer.phase is _Phase.ACTIVE:
            peer.heard = max(peer.heard, now)
            self._send_not_taken(target, peer, now)
            self._set_timer(target, peer)

    def _begin_anew(self, target: Address, peer: _Peer, known: Introducing) -> None:
        """Have a new numbering begun: who is there now knows nothing of this one."""
        reason = FailureReason.FORGOTTEN if known.stranger == known.by else FailureReason.RESTARTED
        if self._backlog_ended:
            self.forgotten(Forgotten(target, peer.life, [], reason))
        else:
            self.to_usender.append(Restarted(target, known.stranger, known.series, reason))

    # What time tells.

    def deadline(self) -> float | None:
        """Return when `tick` wants to be called next, or None if only a message can change anything."""
        first = self._ageing.deadline()
        if self._timers and (first is None or self._timers[0][0] < first):
            first = self._timers[0][0]
        late = None if self._lateness is None else self._lateness.deadline()
        if late is not None:
            first = late if first is None else min(first, late)
        if self._give_up_at is None or self._given_up or not self.pending:
            return first
        return self._give_up_at if first is None else min(first, self._give_up_at)

    def tick(self, now: float) -> None:
        """Do what is due: send again, grant, give up, forget."""
        if self._give_up_at is not None and now >= self._give_up_at and not self._given_up:
            self._given_up = True
            for target, peer in self._peers.items():
                if peer.recovery.unconfirmed:
                    self._fail(target, peer, FailureReason.CLOSED)
        for target, peer in self._lateness.answered(now) if self._lateness is not None else ():
            peer.listening = False
            if self._peers.get(target) is peer:
                self._look(target, peer, now)
        timers = self._timers
        while timers and timers[0][0] <= now:
            time, _, target, peer = timers[0]
            if self._peers.get(target) is peer and time == peer.look_at:
                self._look(target, peer, now)
            # Removed only now, so that a crash loses no timer; those added meanwhile are not before it.
            heapq.heappop(timers)
        self._ageing.collect(now, lambda known: self._forget(*known, now))

    def _forget(self, target: Address, peer: _Peer, now: float) -> float | None:
        """Forget a peer with nothing pending if it is time; return when to try again."""
        if self._peers.get(target) is not peer:
            return None
        forget_at = max(peer.heard, peer.sent) + self._memory
        if now < forget_at:
            return forget_at
        if peer.phase is _Phase.FAILING or (peer.phase is _Phase.ACTIVE and peer.recovery.unconfirmed):
            return now + self._memory
        del self._peers[target]
        self._note("peer:forgotten", target=target, trigger="silence")
        self.to_usender.append(Expired(target, peer.life, peer.recovery.next))
        return None

    def _look(self, target: Address, peer: _Peer, now: float) -> None:
        """Do what is due for one peer."""
        peer.look_at = inf
        if peer.phase is not _Phase.ACTIVE:
            return
        if peer.recovery.unconfirmed:
            if now >= self._silent_at(peer):
                self._fail(target, peer, FailureReason.SILENT)
            else:
                self._recover(target, peer, now)
        self._grant(target, peer, now)
        self._set_timer(target, peer)

    def _recover(self, target: Address, peer: _Peer, now: float) -> None:
        recovery, late, heard = peer.recovery, self._lateness, now
        if late is not None:
            overdue, heard = recovery.overdue(now), late.heard
            if overdue is not None and overdue > heard and not peer.listening:
                peer.listening = True
                self.to_dreceiver += late.ask((target, peer), now)
        lost = recovery.lost
        numbers = recovery.due(now, heard)
        for number in numbers:
            copies = recovery.copies(number)
            if self._policy.exhausted(copies.copies - 1, now - copies.first_sent):
                self._fail(target, peer, FailureReason.UNCONFIRMED)
                return
        if recovery.lost > lost:
            self.lost += recovery.lost - lost
            peer.room.controller.lost(recovery.lost - lost, now)
        self._send_again(target, peer, numbers, now, recovery.triggers)

    def _silent_at(self, peer: _Peer) -> float:
        """Return when a peer that stays silent will have failed."""
        return max(peer.heard, peer.recovery.oldest_sent) + self._policy.silence

    def _set_timer(self, target: Address, peer: _Peer) -> None:
        """See to it that a timer goes off when something is due for the peer; one too early does no harm."""
        if peer.phase is not _Phase.ACTIVE:
            return
        time = peer.room.opens_at
        recovery = peer.recovery.deadline(timeouts=not peer.listening)
        if recovery is not None:
            time = min(time, recovery, self._silent_at(peer))
        if time < peer.look_at:
            peer.look_at = time
            self._serial += 1
            heapq.heappush(self._timers, (time, self._serial, target, peer))

    def peers(self) -> list[tuple[Address, dict[str, Any]]]:
        """Return what is known of each target. May be called from another thread."""
        return [
            (
                address,
                {
                    "resent": peer.resent,
                    "lost": peer.recovery.lost,
                    "rtt": peer.recovery.round_trip.smoothed,
                    "window": peer.room.controller.window,
                    "in_flight": len(peer.recovery.unconfirmed),
                },
            )
            for address, peer in list(self._peers.items())
        ]

    def renew(self, address: Address | None, now: float) -> None:
        """Make anew what is known of a peer, or of all if None, because handling it crashes again and again.

        Numbers and datagrams stay, since the receiver must not be left with a hole: the peer counts as failed.
        """
        if address is None:
            self._timers, self._ageing = [], Ageing()
            self._lateness = None if self._lateness is None else Lateness()
        for target, old in list(self._peers.items()):
            if address in (None, target):
                peer = self._meet(target, old.life, min(old.recovery.unconfirmed, default=old.recovery.next), now)
                peer.recovery.take_over(old.recovery, now)
                peer.phase, peer.reason, peer.introducing = old.phase, old.reason, old.introducing
                self._fail(target, peer, FailureReason.POISONED)
        pending = (peer for peer in self._peers.values() if peer.phase is not _Phase.FAILED)
        self.pending = sum(len(peer.recovery.unconfirmed) for peer in pending)

    # Inner steps.

    def _note(self, event: str, **fields: Any) -> None:
        if self.notes is not None:
            self.notes.append((event, fields))

    def _note_confirmed(
        self, target: Address, peer: _Peer, numbers: list[int], round_trip: float | None, window: float
    ) -> None:
        known, now = peer.recovery.round_trip, peer.room.controller.window
        measured = {} if round_trip is None else {"rtt": round_trip}
        self._note("recovery:package_confirmed", target=target, **which(numbers), **measured)
        if round_trip is not None and known.smoothed is not None:
            self._note(
                "recovery:rtt_updated",
                target=target,
                latest=round_trip,
                smoothed=known.smoothed,
                minimum=known.minimum,
                timeout=known.timeout,
            )
        if now != window:
            self._note("recovery:window_updated", target=target, window=now, in_flight=peer.recovery.in_flight)

    def _meet(self, target: Address, life: int, first: int, now: float, by: Sent | Revive | None = None) -> _Peer:
        peer = _Peer(
            life,
            heard=now,
            sent=now,
            recovery=self._policy.recovery(first, self._random),
            room=Room(self._window, self._controller()),
        )
        if isinstance(by, Sent) and by.series and self._identity is not None:
            peer.introducing = Introducing(self._identity, by.series, by.datagrams[0][0] & HINT_BITS, now)
        self._peers[target] = peer
        self._ageing.add((target, peer), now + self._memory)
        return peer

    def _send_not_taken(self, target: Address, peer: _Peer, now: float) -> None:
        numbers = peer.recovery.not_taken(NOT_TAKEN, now)
        self._send_again(target, peer, numbers, now, [("refused", len(numbers))])

    def _send_again(
        self, target: Address, peer: _Peer, numbers: list[int], now: float, triggers: Sequence[tuple[str, int]]
    ) -> None:
        if not numbers:
            return
        if self.notes is not None:
            self.notes += resent(target, numbers, triggers)
        peer.sent = now
        known = peer.introducing
        if known is not None and (ahead := known.ahead(now)):
            self.to_dsender.append(Datagrams(target, ahead))
        for start in range(0, len(numbers), MAX_RUN):
            part = numbers[start : start + MAX_RUN]
            run = [peer.recovery.unconfirmed[number] for number in part]
            told = () if self.notes is None else part
            self.to_dsender.append(Datagrams(target, run if known is None else known.with_hint(part, run), told))
        self.resent += len(numbers)
        peer.resent += len(numbers)

    def _grant(self, target: Address, peer: _Peer, now: float) -> None:
        """Grant more room when Numbering may soon be waiting for it."""
        recovery, room = peer.recovery, peer.room
        if peer.phase is _Phase.ACTIVE and room.more(recovery.oldest, recovery.next, recovery.in_flight, now):
            last = self.to_usender[-1] if self.to_usender else None
            if type(last) is Grant and last.target == target:
                self.to_usender.pop()  # the latest grant says it all
            self.to_usender.append(Grant(target, peer.life, room.limit, room.budget))

    def _fail(self, target: Address, peer: _Peer, reason: FailureReason) -> None:
        if peer.phase is not _Phase.ACTIVE:
            return
        peer.phase = _Phase.FAILING
        peer.reason = reason
        if self._backlog_ended:
            self._report(target, peer, [])
        else:
            self.to_usender.append(Failed(target, peer.life))

    def _report(self, target: Address, peer: _Peer, backlog: list[OutPackage]) -> None:
        unconfirmed, reported = peer.recovery.unconfirmed, peer.recovery.reported
        if peer.phase is not _Phase.FAILED:
            self.pending -= len(unconfirmed)
        peer.phase = _Phase.FAILED
        packages: list[OutPackage] = []
        numbers = [number for number in sorted(unconfirmed | peer.recovery.held) if number not in reported]
        if numbers:
            self._note("package:given_up", target=target, **which(numbers), trigger=peer.reason.value)
        for number, datagram in sorted((unconfirmed | peer.recovery.held).items()):
            if number not in reported:
                reported[number] = None
                reliability, peers, _ = unpack_header(datagram)
                packages.append(OutPackage(datagram[HEADER_SIZE:], reliability, peers, target))
        self._report_packages(target, peer.reason, packages + backlog)
        self._check_flushes()

    def _report_packages(self, target: Address, reason: FailureReason, packages: list[OutPackage]) -> None:
        if reason is FailureReason.RESTARTED:
            self.failures.append(PeerRestarted(target, packages))
        elif packages:
            self.failures.append(PeerFailed(target, reason, packages))

    def _check_flushes(self) -> None:
        if not self._flushes:
            return
        waiting: list[Flush] = []
        for flush in self._flushes:
            marks = {target: mark for target, mark in flush.marks.items() if not self._settled(target, *mark)}
            if marks:
                waiting.append(Flush(marks, flush.token))
            else:
                self.flushed.append(flush.token)
        self._flushes = waiting

    def _settled(self, target: Address, life: int, mark: int) -> bool:
        peer = self._peers.get(target)
        return peer is None or peer.life != life or peer.phase is _Phase.FAILED or peer.recovery.oldest >= mark
