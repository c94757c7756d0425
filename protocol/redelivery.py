"""The sending half of a peer, second part: what is unconfirmed, and sending it again (the resender's state).

The rules (protocol/README.md has them in full):

- a package is unconfirmed from the moment it got its number until a control datagram lists its id;
- it is sent again, unchanged, when `ResendPolicy.wait` has passed since its last copy;
- at most `window` numbers are open at once: `Grant` tells `Numbering` how far it may go;
- a peer fails by silence or by one package's age (see `policy`). Failing takes two steps, so that it is reported once:
  `Numbering` is told, hands over the backlog, and then everything goes into one report. The numbers given up stay here;
- when the user sends to a failed peer again, those go first, as they were: the receiver must not be left with a hole;
- a peer with nothing pending is forgotten `memory` seconds after the last traffic with it. What we sent counts too: it is
  what the peer, which must not forget us sooner, has last seen of us.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from math import inf

from .address import Address
from .errors import FailureReason, PeerFailed
from .header import HEADER_SIZE, unpack_header, unwrap
from .messages import Confirmed, Datagrams, Dropped, Expired, Failed, Flush, Forgotten, Grant, Revive, Sent
from .numbering import MAX_RUN, WINDOW
from .packages import OutPackage
from .policy import ResendPolicy
from .rtt import RoundTrip

__all__ = ["MEMORY", "Redelivery"]

MEMORY = 600.0
"""Seconds without traffic after which a peer with nothing pending is forgotten (wire specification)."""


class _Phase(Enum):
    ACTIVE = auto()
    FAILING = auto()
    """Given up; waiting for `Numbering` to hand over the backlog."""
    FAILED = auto()
    """Reported; what was given up waits for a `Revive`."""


@dataclass(slots=True)
class _Unconfirmed:
    datagram: bytes
    first_sent: float
    last_sent: float
    copies: int = 1
    reported: bool = False


@dataclass(slots=True)
class _Peer:
    life: int
    next: int
    """The number after the highest one seen."""
    oldest: int
    """The lowest unconfirmed number, or `next`."""
    limit: int
    """What was granted last."""
    heard: float
    """When its last control datagram arrived, or else when it was first sent to."""
    sent: float
    """When anything was last sent to it."""
    phase: _Phase = _Phase.ACTIVE
    reason: FailureReason = FailureReason.SILENT
    look_at: float = inf
    """When a timer will look whether the peer has failed or may be forgotten."""
    unconfirmed: dict[int, _Unconfirmed] = field(default_factory=dict[int, _Unconfirmed])
    round_trip: RoundTrip = field(default_factory=RoundTrip)


@dataclass(slots=True, order=True)
class _Timer:
    time: float
    serial: int
    target: Address = field(compare=False)
    peer: _Peer = field(compare=False)
    numbers: list[int] = field(compare=False)
    """Packages to look at; with none, the peer itself."""
    copies: int = field(compare=False)
    """A package that has more copies than this by now has a later timer."""


class Redelivery:
    """Keeps unconfirmed packages and sends them again.

    Args:
        policy: when to send again and when to give up.
        random: returns uniformly random numbers from 0 to 1.
        window: numbers that may be unconfirmed at once per peer.

    Attributes:
        to_usender: messages for `Numbering`.
        to_dsender: datagrams to send again.
        failures: reports for the user.
        flushed: tokens of the `Flush` messages that are done.
        resent: how many datagrams were sent again so far.
        pending: how many packages wait for confirmation or for being reported.
    """

    def __init__(
        self,
        policy: ResendPolicy,
        random: Callable[[], float],
        *,
        window: int = WINDOW,
        memory: float = MEMORY,
    ) -> None:
        self.to_usender: list[Grant | Failed | Expired] = []
        self.to_dsender: list[Datagrams] = []
        self.failures: list[PeerFailed] = []
        self.flushed: list[object] = []
        self.resent = 0
        self.pending = 0
        self._policy = policy
        self._random = random
        self._window = window
        self._memory = memory
        self._peers: dict[Address, _Peer] = {}
        self._timers: list[_Timer] = []
        self._serial = 0
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
            peer = self._meet(sent.target, sent.life, sent.first, now)
        numbers = list(range(sent.first, sent.first + len(sent.datagrams)))
        peer.unconfirmed.update(
            {number: _Unconfirmed(datagram, now, now) for number, datagram in zip(numbers, sent.datagrams, strict=True)}
        )
        peer.next = sent.first + len(numbers)
        peer.sent = now
        self.pending += len(numbers)
        self._wait_for(sent.target, peer, numbers, 1, now)
        self._watch(sent.target, peer)
        self._grant(sent.target, peer)
        if self._given_up:
            self._fail(sent.target, peer, FailureReason.CLOSED)

    def poisoned(self, message: Sent | Revive, now: float) -> None:
        """Give up a peer because handling `message` crashed; what that carried is reported with the rest."""
        peer = self._peers.get(message.target)
        if peer is None:
            first = message.first if isinstance(message, Sent) else message.next
            peer = self._meet(message.target, message.life, first, now)
        if isinstance(message, Sent):
            for number, datagram in enumerate(message.datagrams, message.first):
                if number not in peer.unconfirmed and number >= peer.next:
                    peer.unconfirmed[number] = _Unconfirmed(datagram, message.time, message.time)
                    self.pending += peer.phase is not _Phase.FAILED
            peer.next = max(peer.next, message.first + len(message.datagrams))
        peer.life = message.life
        if peer.phase is _Phase.FAILED:
            peer.phase = _Phase.ACTIVE
            self.pending += len(peer.unconfirmed)
        self._fail(message.target, peer, FailureReason.POISONED)
        self._watch(message.target, peer)

    def revive(self, revive: Revive, now: float) -> None:
        """Send again what was given up, then grant room for new packages."""
        peer = self._peers.get(revive.target)
        if peer is None:
            self.to_usender.append(Expired(revive.target, revive.life, revive.next))
            return
        peer.life = revive.life
        peer.phase = _Phase.ACTIVE
        for package in peer.unconfirmed.values():
            package.first_sent = now
        self.pending += len(peer.unconfirmed)
        self._resend(revive.target, peer, list(peer.unconfirmed), now)
        self._watch(revive.target, peer)
        peer.limit = peer.next
        self._grant(revive.target, peer)
        if self._given_up:
            self._fail(revive.target, peer, FailureReason.CLOSED)

    def dropped(self, dropped: Dropped) -> None:
        """Report a failed peer, now that its backlog is known."""
        peer = self._peers.get(dropped.target)
        if peer is not None and peer.phase is _Phase.FAILING and peer.life == dropped.life:
            self._report(dropped.target, peer, dropped.packages)
            self._watch(dropped.target, peer)
        else:
            self._report_packages(dropped.target, FailureReason.SILENT, dropped.packages)

    def forgotten(self, forgotten: Forgotten) -> None:
        """Report what is pending for a target and forget it."""
        peer = self._peers.pop(forgotten.target, None)
        if peer is None:
            self._report_packages(forgotten.target, FailureReason.FORGOTTEN, forgotten.packages)
            return
        if peer.phase is _Phase.ACTIVE:
            peer.reason = FailureReason.FORGOTTEN
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
        ids = confirmed.ids
        oldest = peer.oldest
        numbers = [unwrap(wire_id, oldest) for wire_id in ids]
        first = peer.unconfirmed.get(numbers[0]) if numbers else None
        peer.heard = max(peer.heard, confirmed.time)
        if first is not None and first.copies == 1:
            peer.round_trip.sample(max(0.0, confirmed.time - first.last_sent))
        unconfirmed = peer.unconfirmed
        before = len(unconfirmed)
        for number in numbers:
            unconfirmed.pop(number, None)
        if peer.phase is not _Phase.FAILED:
            self.pending -= before - len(unconfirmed)
        while oldest < peer.next and oldest not in unconfirmed:
            oldest += 1
        peer.oldest = oldest
        self._grant(confirmed.source, peer)
        self._check_flushes()

    # What time tells.

    def deadline(self) -> float | None:
        """Return when `tick` wants to be called next, or None if only a message can change anything."""
        first = self._timers[0].time if self._timers else None
        if self._give_up_at is None or self._given_up or not self.pending:
            return first
        return self._give_up_at if first is None else min(first, self._give_up_at)

    def tick(self, now: float) -> None:
        """Do what is due: send again, give up, forget."""
        if self._give_up_at is not None and now >= self._give_up_at and not self._given_up:
            self._given_up = True
            for target, peer in self._peers.items():
                if peer.unconfirmed:
                    self._fail(target, peer, FailureReason.CLOSED)
        timers = self._timers
        while timers and timers[0].time <= now:
            timer = timers[0]
            if self._peers.get(timer.target) is timer.peer:
                if timer.numbers:
                    self._look_at_packages(timer, now)
                else:
                    self._look_at_peer(timer, now)
            # Removed only now, so that a crash loses no timer; those added meanwhile are all later.
            heapq.heappop(timers)

    def _look_at_packages(self, timer: _Timer, now: float) -> None:
        peer = timer.peer
        if peer.phase is not _Phase.ACTIVE:
            return
        unconfirmed = peer.unconfirmed
        due = [n for n in timer.numbers if n in unconfirmed and unconfirmed[n].copies == timer.copies]
        if due and self._policy.exhausted(timer.copies, now - unconfirmed[due[0]].first_sent):
            self._fail(timer.target, peer, FailureReason.UNCONFIRMED)
        elif due:
            self._resend(timer.target, peer, due, now)

    def _look_at_peer(self, timer: _Timer, now: float) -> None:
        peer = timer.peer
        if timer.time != peer.look_at:
            return
        peer.look_at = inf
        if now < self._next_look(peer):
            self._watch(timer.target, peer)
        elif peer.unconfirmed and peer.phase is not _Phase.FAILED:
            self._fail(timer.target, peer, FailureReason.SILENT)
        else:
            del self._peers[timer.target]
            self.to_usender.append(Expired(timer.target, peer.life, peer.next))

    def _next_look(self, peer: _Peer) -> float:
        """Return when the peer will have failed, or may be forgotten if nothing is pending."""
        if peer.unconfirmed and peer.phase is not _Phase.FAILED:
            return max(peer.heard, peer.unconfirmed[peer.oldest].first_sent) + self._policy.silence
        return max(peer.heard, peer.sent) + self._memory

    def _watch(self, target: Address, peer: _Peer) -> None:
        """See to it that a timer looks whether the peer has failed, or may be forgotten."""
        time = self._next_look(peer)
        if time < peer.look_at:
            peer.look_at = time
            self._add_timer(time, target, peer, [], 0)

    def _wait_for(self, target: Address, peer: _Peer, numbers: list[int], copies: int, now: float) -> None:
        """Look after the policy's wait whether these numbers, sent just now, were confirmed."""
        wait = self._policy.wait(copies, peer.round_trip.timeout, self._random())
        self._add_timer(now + wait, target, peer, numbers, copies)

    def _add_timer(self, time: float, target: Address, peer: _Peer, numbers: list[int], copies: int) -> None:
        self._serial += 1
        heapq.heappush(self._timers, _Timer(time, self._serial, target, peer, numbers, copies))

    def _resend(self, target: Address, peer: _Peer, numbers: list[int], now: float) -> None:
        by_copies: dict[int, list[int]] = {}
        for number in numbers:
            package = peer.unconfirmed[number]
            package.copies += 1
            package.last_sent = now
            by_copies.setdefault(package.copies, []).append(number)
        for start in range(0, len(numbers), MAX_RUN):
            run = [peer.unconfirmed[number].datagram for number in numbers[start : start + MAX_RUN]]
            self.to_dsender.append(Datagrams(target, run))
        self.resent += len(numbers)
        peer.sent = now
        for copies, group in by_copies.items():
            self._wait_for(target, peer, group, copies, now)

    # Inner steps.

    def _meet(self, target: Address, life: int, first: int, now: float) -> _Peer:
        peer = _Peer(life, first, first, self._window, now, now)  # the limit is what Numbering begins with
        self._peers[target] = peer
        return peer

    def _grant(self, target: Address, peer: _Peer) -> None:
        """Grant more room when much has come free, or when Numbering may be waiting for it."""
        limit = peer.oldest + self._window
        if peer.phase is _Phase.ACTIVE and limit > peer.limit and peer.limit - peer.next <= self._window // 2:
            peer.limit = limit
            self.to_usender.append(Grant(target, peer.life, limit))

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
        if peer.phase is not _Phase.FAILED:
            self.pending -= len(peer.unconfirmed)
        peer.phase = _Phase.FAILED
        packages: list[OutPackage] = []
        for package in peer.unconfirmed.values():
            if not package.reported:
                package.reported = True
                reliability, peers, _ = unpack_header(package.datagram)
                packages.append(OutPackage(package.datagram[HEADER_SIZE:], reliability, peers, target))
        self._report_packages(target, peer.reason, packages + backlog)
        self._check_flushes()

    def _report_packages(self, target: Address, reason: FailureReason, packages: list[OutPackage]) -> None:
        if packages:
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
        return peer is None or peer.life != life or peer.phase is _Phase.FAILED or peer.oldest >= mark
