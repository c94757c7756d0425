"""The sending half of a peer, second part: what is unconfirmed, and sending it again (the resender's state).

The rules (protocol/README.md has them in full):

- a package is unconfirmed from the moment it got its number until a control datagram lists its id; when it is sent
  again, unchanged, is said in `recovery`;
- `Grant` tells `Numbering` how far it may go: never more than `window` numbers beyond the oldest unconfirmed one, never
  more bytes than the congestion controller allows, and not in bursts (see `congestion`);
- a peer fails by silence or by one package's age (see `policy`). How it is given up, reported and in the end forgotten
  is said in `giving_up`; the numbers given up stay here;
- when the user sends to a failed peer again, those go first, as they were: the receiver must not be left with a hole;
- who is behind a target is noticed by how it answers (see `identity`): what is sent again carries the hint in use, and
  an introduction goes ahead until the peer has acknowledged it. When the peer knows nothing of the numbering any more,
  `Numbering` is told, and answers with `Forgotten`.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from math import inf

from .address import Address
from .ageing import Ageing
from .congestion import Controller, DelayController, Room
from .errors import FailureReason
from .giving_up import GivingUp
from .header import unwrap_all
from .identity import HINT_BITS
from .introducing import Answer, Introducing
from .lateness import Lateness
from .messages import (
    Acknowledged,
    Confirmed,
    Datagrams,
    Forgotten,
    Grant,
    Left,
    Listen,
    Refused,
    Restarted,
    Revive,
    Sent,
    Unknown,
)
from .notes import confirmed as noted
from .notes import resent
from .numbering import WINDOW
from .peer import Peer, Phase
from .policy import ResendPolicy
from .runs import MAX_RUN

__all__ = ["MEMORY", "Redelivery"]

MEMORY = 600.0
"""Seconds without traffic after which a peer with nothing pending is forgotten (wire specification)."""
EAGER_GAP = 0.003
"""Seconds between the copies of an eager package."""
NOT_TAKEN = 32
"""Packages that are sent again at most because the peer did not know whose they are."""


class Redelivery(GivingUp):
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
        super().__init__(memory)
        self.to_dsender: list[Datagrams] = []
        self.to_dreceiver: list[Listen] = []
        self.resent = 0
        self.lost = 0
        self.strange = 0
        self._identity = identity
        self._policy = policy
        self._random = random
        self._controller = controller
        self._window = window
        self._timers: list[tuple[float, int, Address, Peer]] = []
        """A heap of (time, serial, target, peer)."""
        self._serial = 0
        self._lateness: Lateness[tuple[Address, Peer]] | None = Lateness() if lateness else None

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
                self.pending += 0 if peer.phase is Phase.FAILED else len(unknown)
        peer.life = message.life
        if peer.phase is Phase.FAILED:
            peer.phase = Phase.ACTIVE
            self.pending += len(peer.recovery.unconfirmed)
        self._fail(message.target, peer, FailureReason.POISONED)

    def revive(self, revive: Revive, now: float) -> None:
        """Send again what was given up, then grant room for new packages."""
        peer = self._peers.get(revive.target)
        if peer is None:
            self.to_usender.append(Unknown(revive.target, revive.life, revive.next))
            return
        peer.life = revive.life
        peer.phase = Phase.ACTIVE
        peer.room.close(peer.recovery.next, revive.before)
        self.pending += len(peer.recovery.unconfirmed)
        self._note("peer:revived", target=revive.target, pending=len(peer.recovery.unconfirmed))
        numbers = peer.recovery.revive(now)
        self._send_again(revive.target, peer, numbers, now, [("revived", len(numbers))])
        self._grant(revive.target, peer, now)
        if self._given_up:
            self._fail(revive.target, peer, FailureReason.CLOSED)
        self._set_timer(revive.target, peer)

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
        not_lost, mean_size = recovery.not_lost, recovery.mean_size
        news, round_trip = recovery.confirmed(numbers, now)
        if count := recovery.not_lost - not_lost:
            peer.room.controller.not_lost(count, count * mean_size)
        if news:
            peer.room.controller.confirmed(before - len(unconfirmed), news, in_flight, round_trip, now)
        if self.notes is not None and fresh:
            self.notes += noted(confirmed.source, fresh, round_trip, recovery.round_trip)
            if peer.room.controller.window != window:
                window, in_flight = peer.room.controller.window, recovery.in_flight
                self._note("recovery:window_updated", target=confirmed.source, window=window, in_flight=in_flight)
        if peer.phase is not Phase.FAILED:
            self.pending -= before - len(unconfirmed)
        self._grant(confirmed.source, peer, now)
        if self._flushes:
            self._check_flushes(confirmed.source)
        self._set_timer(confirmed.source, peer)

    def _judge(self, confirmed: Confirmed, peer: Peer, known: Introducing, numbers: Sequence[int]) -> bool:
        """Tell whether a confirmation is about the present numbering; learn from it who is there."""
        target, awaited = confirmed.source, peer.recovery.unconfirmed
        answer = known.confirmed(confirmed.echo, awaited=any(number in awaited for number in numbers))
        if answer in (Answer.ACKNOWLEDGED, Answer.SPURNED, Answer.PLAIN):
            self.to_usender.append(Acknowledged(target, known.series, known.hint, known.by, known.base))
            if answer is Answer.SPURNED and peer.phase is Phase.ACTIVE:
                self._send_refused(target, peer, peer.recovery.not_taken(NOT_TAKEN, confirmed.time), confirmed.time)
            elif answer is Answer.ACKNOWLEDGED and not numbers and peer.phase is Phase.ACTIVE:
                self._send_refused(
                    target, peer, peer.recovery.refused(1, confirmed.time, confirmed.time), confirmed.time
                )
        elif answer is Answer.STRANGER:
            self._begin_anew(target, peer, known)
        elif answer is Answer.LATE:
            self.strange += 1
        return answer not in (Answer.LATE, Answer.STRANGER)

    def refused(self, refused: Refused) -> None:
        """Introduce the numbering again, or begin another one, because the peer does not know who we are."""
        target, now = refused.source, refused.time
        peer = self._peers.get(target)
        if peer is None or peer.introducing is None:
            return
        answer = peer.introducing.refused(refused)
        if answer is Answer.STRANGER:
            self._begin_anew(target, peer, peer.introducing)
        elif answer is Answer.LOST and peer.phase is Phase.ACTIVE:
            peer.heard = max(peer.heard, now)
            until = peer.introducing.refused_until(now)
            self._send_refused(target, peer, peer.recovery.refused(NOT_TAKEN, now, until), now)
            self._set_timer(target, peer)

    def _begin_anew(self, target: Address, peer: Peer, known: Introducing) -> None:
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
            self._fail_all()
        for target, peer in self._lateness.answered(now) if self._lateness is not None else ():
            peer.listening = False
            if self._peers.get(target) is peer:
                self._look(target, peer, now)
        timers = self._timers
        while timers and timers[0][0] <= now:
            timer = timers[0]
            time, _, target, peer = timer
            if self._peers.get(target) is peer and time == peer.look_at:
                self._look(target, peer, now)
            # Removed only now, so that a crash loses no timer; it may be no longer the first.
            if timers[0] is timer:
                heapq.heappop(timers)
            else:
                timers.remove(timer)
                heapq.heapify(timers)
        self._ageing.collect(now, lambda target: self._forget(target, now))

    def _look(self, target: Address, peer: Peer, now: float) -> None:
        """Do what is due for one peer."""
        peer.look_at = inf
        if peer.phase is not Phase.ACTIVE:
            return
        if peer.recovery.unconfirmed:
            if now >= peer.silent_at(self._policy.silence):
                self._fail(target, peer, FailureReason.SILENT)
            else:
                self._recover(target, peer, now)
        self._grant(target, peer, now)
        self._set_timer(target, peer)

    def _recover(self, target: Address, peer: Peer, now: float) -> None:
        recovery, late, heard = peer.recovery, self._lateness, now
        if late is not None:
            heard = late.heard
        lost = recovery.lost
        numbers = recovery.due(now, heard)
        if late is not None and not peer.listening and recovery.overdue(now) is not None:
            peer.listening = True
            self.to_dreceiver += late.ask((target, peer), now)
        for number in numbers:
            copies = recovery.copies(number)
            if self._policy.exhausted(copies.copies - 1, now - copies.first_sent):
                self._fail(target, peer, FailureReason.UNCONFIRMED)
                return
        if count := recovery.lost - lost:
            self.lost += count
            peer.room.controller.lost(count, count * recovery.mean_size, now)
        self._send_again(target, peer, numbers, now, recovery.triggers)

    def _set_timer(self, target: Address, peer: Peer) -> None:
        """See to it that a timer goes off when something is due for the peer; one too early does no harm."""
        if peer.phase is not Phase.ACTIVE:
            return
        time = peer.room.opens_at
        recovery = peer.recovery.deadline(timeouts=not peer.listening)
        if recovery is not None:
            time = min(time, recovery, peer.silent_at(self._policy.silence))
        if time < peer.look_at:
            peer.look_at = time
            self._serial += 1
            heapq.heappush(self._timers, (time, self._serial, target, peer))

    def renew(self, address: Address | None, now: float) -> None:
        """Make anew what is known of a peer, or of all if None, because handling it crashes again and again.

        Numbers and datagrams stay, since the receiver must not be left with a hole: the peer counts as failed.
        """
        if address is None:
            self._timers, self._ageing, self._aged = [], Ageing(), set()
            self._lateness = None if self._lateness is None else Lateness()
        for target, old in list(self._peers.items()):
            if address in (None, target):
                peer = self._meet(target, old.life, min(old.recovery.unconfirmed, default=old.recovery.next), now)
                peer.recovery.take_over(old.recovery, now)
                peer.phase, peer.reason, peer.introducing = old.phase, old.reason, old.introducing
                self._fail(target, peer, FailureReason.POISONED)
        self.pending = sum(peer.pending for peer in self._peers.values())

    # Inner steps.

    def _meet(self, target: Address, life: int, first: int, now: float, by: Sent | Revive | None = None) -> Peer:
        peer = Peer(
            life,
            heard=now,
            sent=now,
            recovery=self._policy.recovery(first, self._random),
            room=Room(self._window, self._controller()),
        )
        if isinstance(by, Sent) and by.series and self._identity is not None:
            peer.introducing = Introducing(self._identity, by.series, by.datagrams[0][0] & HINT_BITS, now)
        self._peers[target] = peer
        self._forget_later(target, now)
        return peer

    def _send_refused(self, target: Address, peer: Peer, numbers: list[int], now: float) -> None:
        self._send_again(target, peer, numbers, now, [("refused", len(numbers))])

    def _send_again(
        self, target: Address, peer: Peer, numbers: list[int], now: float, triggers: Sequence[tuple[str, int]]
    ) -> None:
        if not numbers:
            return
        if self.notes is not None:
            self.notes += resent(target, numbers, triggers)
        peer.sent = now
        known = peer.introducing
        for start in range(0, len(numbers), MAX_RUN):
            part = numbers[start : start + MAX_RUN]
            run = [peer.recovery.unconfirmed[number] for number in part]
            if known is not None:
                run = known.with_hint(part, run)
                self.to_dsender += [Datagrams(target, [ahead]) for ahead in known.ahead(now, run)]
            told = () if self.notes is None else part
            self.to_dsender.append(Datagrams(target, run, told))
        self.resent += len(numbers)
        peer.resent += len(numbers)

    def _grant(self, target: Address, peer: Peer, now: float) -> None:
        """Grant more room when Numbering may soon be waiting for it."""
        recovery, room = peer.recovery, peer.room
        if peer.phase is Phase.ACTIVE and room.more(recovery.oldest, recovery.next, recovery.in_flight, now):
            last = self.to_usender[-1] if self.to_usender else None
            if type(last) is Grant and last.target == target:
                self.to_usender.pop()  # the latest grant says it all
            self.to_usender.append(Grant(target, peer.life, room.limit, room.budget))
