"""The sending half of a peer, first part: ids and the backlog (the usender's state).

The rules (protocol/README.md has them in full):

- unreliable packages take their ids from one counter per stack and never wait;
- reliable packages take theirs from one counter per target, starting at 0, in the order they were sent;
- a number is given only within what `Redelivery` granted, in numbers and in bytes; what has none yet waits in the
  target's backlog, at most for its lifetime;
- packages that wait together may be handled together, as a *run*; `send_run` does at once what `send` does one by one;
- in a run of packages that may arrive in any order those of a size go out together, since the system sends equal sizes
  at a fraction of the cost. Nothing else changes their order;
- a numbering is introduced ahead of its first packages until the peer knows it, and all its packages carry a hint at it
  (see `identity`). When the peer knows nothing of it any more it is given up, and what waits goes on in a new one;
- when the peer has failed its backlog is given up, and numbering goes on where it was: the next package for that target
  wakes `Redelivery`, which first sends again what it holds and then grants room.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import inf
from typing import Any

from .address import Address
from .ageing import Ageing
from .errors import FailureReason, PeerFailed, PeerRestarted
from .header import CONTROL, ID_MASK
from .identity import VOUCHED, introduction
from .introducing import Restarts, introduce
from .messages import (
    Acknowledged,
    Datagrams,
    Dropped,
    Failed,
    Flush,
    Forgotten,
    Grant,
    Restarted,
    Revive,
    Sent,
    Unknown,
)
from .notes import Note, numbered, queued
from .packages import OutPackage
from .runs import MAX_RUN, by_size, end_of_run, like_by_size, pack_run
from .target import Target

__all__ = ["WINDOW", "Numbering"]

WINDOW = 1024
"""Numbers that may be unconfirmed at once per target. Receivers refuse to have more than 1024 holes."""


class Numbering:
    """Gives ids to packages and keeps what has to wait for one.

    Every method computes first and then changes state and outputs together, so an exception leaves both as they were.

    Args:
        window: numbers that may be unconfirmed at once per target.
        identity: of our own stack; None introduces nothing.

    Attributes:
        to_resender: messages for `Redelivery`, oldest first. They must be passed on before `to_dsender`, or a
            fast confirmation could arrive before it is expected.
        to_dsender: datagrams to send.
        released: how many packages no longer wait for a number, by target.
        failures: reports of packages whose lifetime passed while they waited, of backlogs that `renew` gave up, and of
            restarts that left nothing unconfirmed.
        waiting: how many packages wait in backlogs.
        urgent: whether `Redelivery` should look at `to_resender` at once: something waits for its answer, or soon will.
            Set to True here, and to False by whoever passes that on.
    """

    notes: list[Note] | None = None

    def __init__(self, *, window: int = WINDOW, identity: int | None = None) -> None:
        self.to_resender: list[Sent | Revive | Dropped | Forgotten | Flush] = []
        self.to_dsender: list[Datagrams] = []
        self.released: Counter[Address] = Counter()
        self.failures: list[PeerFailed] = []
        self.waiting = 0
        self.urgent = False
        self._window = window
        self._identity = identity
        self._restarts = Restarts()
        self._targets: dict[Address, Target] = {}
        self._unreliable = 0
        self._marks = 0
        self._expiries: Ageing[Address] = Ageing()
        self._lives = 0
        self._flushes: list[tuple[object, dict[Address, int]]] = []

    def send(self, package: OutPackage, now: float) -> None:
        """Send a package, or keep it until there is room."""
        if not package.reliability:
            self._unreliable_run([package])
            return
        self._note("package:accepted", target=package.target, count=1)
        target = self._targets.get(package.target)
        if target is None:
            target = self._targets[package.target] = self._begin(package.target, now)
            self._note("peer:first_seen", target=package.target)
        if not target.backlog and target.room([package]):
            self._number(target, [package], now)
            return
        expires = inf if package.lifetime is None else now + package.lifetime
        target.queue([package], expires, -inf if self.notes is None else now)
        self.waiting += 1
        self._note_queue(target, package.target, 1)
        if expires < inf and target.look_at(expires):
            self._expiries.add(package.target, expires)
        if target.asleep:
            target.asleep = False
            self._lives += 1
            target.life = self._lives
            self.to_resender.append(Revive(package.target, target.life, target.next, target.total))
            self.urgent = True

    def send_run(self, items: Sequence[Any], at: int, now: float) -> int:
        """Send the packages that begin at a place in a list and can be sent together; return the place behind them.

        That place is `at` itself if it takes `send` to send the first.
        """
        end = end_of_run(items, at)
        if end == at:
            return at
        run: list[OutPackage] = list(items[at:end])
        if not run[0].reliability:
            self._unreliable_run(run)
            return end
        target = self._targets.get(run[0].target)
        if target is None or target.asleep:
            return at
        if target.backlog:
            self._note("package:accepted", target=run[0].target, count=len(run))
            target.queue(run, since=-inf if self.notes is None else now)
            self.waiting += end - at
            self._note_queue(target, items[at].target, end - at)
            return end
        room = target.room(run)
        if room:
            self._note("package:accepted", target=run[0].target, count=room)
            self._number(target, run[:room], now)
        return at + room

    def granted(self, grant: Grant, now: float) -> None:
        """Use the room that was granted."""
        target = self._targets.get(grant.target)
        if target is not None and target.life == grant.life:
            target.grant(grant.limit, grant.budget)
            self._drain(grant.target, target, now)

    def failed(self, failed: Failed) -> None:
        """Give up the backlog of a failed peer; a new life begins when the user sends there again."""
        target = self._targets.get(failed.target)
        if target is None or target.life != failed.life:
            return
        self.to_resender.append(Dropped(failed.target, failed.life, self._give_up(failed.target, target)))
        self.urgent = True
        target.limit, target.budget = target.next, target.total
        target.asleep = True
        self._pass_flushes(failed.target)

    def unknown(self, unknown: Unknown, now: float) -> None:
        """Start at 0 again, unless numbers were given since."""
        target = self._targets.get(unknown.target)
        if target is None or target.life != unknown.life or target.next != unknown.next:
            return
        if not target.backlog:
            del self._targets[unknown.target]
            return
        self._go_on(unknown.target, target, now)

    def acknowledged(self, acknowledged: Acknowledged) -> None:
        """Let packages carry the hint that the peer assigned."""
        target = self._targets.get(acknowledged.target)
        if target is not None and target.series == acknowledged.series:
            target.hint, target.acknowledged = acknowledged.hint, True
            if acknowledged.by is not None:
                target.peer, target.base = acknowledged.by, acknowledged.base

    def restarted(self, restarted: Restarted, now: float) -> None:
        """Give up a numbering that its peer knows nothing of; what waits for a number goes on in a new one.

        That a peer was restarted is often noticed twice, by what it sends and by how it answers, but reported once.
        """
        address, by = restarted.target, restarted.by
        target = self._targets.get(address)
        if restarted.series and (target is None or target.series != restarted.series):
            return
        reason = restarted.reason
        if reason is FailureReason.RESTARTED and not self._restarts.is_news(address, by):
            reason = FailureReason.FORGOTTEN
        if target is None or (not restarted.series and by is not None and by == target.peer):
            # There is no numbering, or it is for that life already.
            if reason is FailureReason.RESTARTED:
                self.failures.append(PeerRestarted(address))
            return
        self.to_resender.append(Forgotten(address, target.life, [], reason))
        self.urgent = True
        del self._targets[address]
        if target.backlog:
            self._go_on(address, target, now)
        else:
            self._pass_flushes(address)

    def forget(self, address: Address) -> None:
        """Give up everything for a target; its next package gets id 0."""
        target = self._targets.pop(address, None)
        if target is not None:
            self.to_resender.append(Forgotten(address, target.life, self._give_up(address, target)))
            self.urgent = True
            self._pass_flushes(address)

    def flush(self, token: object) -> None:
        """Ask for word when everything sent so far is confirmed or given up, as soon as none of it waits any more."""
        goals = {address: target.left + target.waits for address, target in self._targets.items() if target.waits}
        self._flushes.append((token, goals))
        self._pass_flushes()

    def deadline(self) -> float | None:
        """Return when `tick` wants to be called next, or None."""
        return self._expiries.deadline()

    def tick(self, now: float) -> None:
        """Drop packages whose lifetime has passed while they waited."""

        def look(address: Address) -> float | None:
            target = self._targets.get(address)
            if target is None:
                return None
            target.looked(now)
            self._expire(address, target, now)
            soonest = target.soonest()
            return soonest if soonest < inf and target.look_at(soonest) else None

        self._expiries.collect(now, look)

    def peers(self) -> list[tuple[Address, dict[str, Any]]]:
        """Return what was sent to each target and what waits for it. May be called from another thread."""
        return [
            (address, {"sent": target.next, "backlog": target.waits}) for address, target in list(self._targets.items())
        ]

    def renew(self, address: Address | None, now: float) -> None:
        """Make anew what is known of a target, or of all if None, because handling it crashes again and again.

        What waits for a number is given up and reported. Numbers, lives and room stay: they are all that is needed to
        go on.
        """
        del now
        chosen = list(self._targets) if address is None else [known for known in self._targets if known == address]
        for known in chosen:
            packages = self._give_up(known, self._targets[known])
            self._targets[known] = self._targets[known].renewed()
            if packages:
                self.failures.append(PeerFailed(known, FailureReason.POISONED, packages))
        if address is None:
            self._expiries = Ageing()
        self.waiting = sum(target.waits for target in self._targets.values())
        self._pass_flushes()

    def _pass_flushes(self, address: Address | None = None) -> None:
        """Pass on the flushes for which nothing waits any more; if given, only `address` can have changed."""
        for token, goals in self._flushes.copy():
            for one in list(goals) if address is None else [address]:
                target = self._targets.get(one)
                if one in goals and (target is None or target.left >= goals[one]):
                    del goals[one]  # for good: what the target does next is not asked for
            if not goals:
                known = self._targets.items()
                marks = {one: (target.life, target.next) for one, target in known if not target.asleep}
                self.to_resender.append(Flush(marks, token))
                self.urgent = True
        self._flushes = [(token, goals) for token, goals in self._flushes if goals]

    def _begin(self, address: Address, now: float) -> Target:
        self._lives += 1
        return Target.begin(self._lives, self._window, self._restarts.last(address), self._identity, now)

    def _go_on(self, address: Address, target: Target, now: float) -> None:
        """Let what waits for a number get it in a new numbering."""
        fresh = self._targets[address] = self._begin(address, now)
        fresh.backlog, fresh.waits = target.backlog, target.waits
        fresh.looks, fresh.left = target.looks, target.left
        self._drain(address, fresh, now)

    def _give_up(self, address: Address, target: Target) -> list[OutPackage]:
        packages = target.give_up()
        self.waiting -= len(packages)
        self.released[address] += len(packages)
        return packages

    def _drain(self, address: Address, target: Target, now: float) -> None:
        """Give numbers to what waits, as far as there is room."""
        while target.backlog:
            if target.looks:
                self._expire(address, target, now)
            run = target.fitting(MAX_RUN)
            if not run:
                break
            waited = () if self.notes is None else target.waited(len(run), now)
            self._number(target, run, now, waited)
            target.leave(len(run))
            self.waiting -= len(run)
        self._pass_flushes(address)

    def _expire(self, address: Address, target: Target, now: float) -> None:
        """Drop what has waited for too long."""
        expired = target.expire(now)
        if expired:
            self.waiting -= len(expired)
            self.released[address] += len(expired)
            self.failures.append(PeerFailed(address, FailureReason.EXPIRED, expired))
            self._pass_flushes(address)

    def _number(self, target: Target, run: list[OutPackage], now: float, waited: Sequence[float] = ()) -> None:
        """Give the next numbers to a run of packages for which there is room; `waited` is for notes."""
        came, run = run, by_size(run)
        if waited and run is not came:
            waited = like_by_size(came, waited)
        number, address, eager = target.next, run[0].target, run[0].eager
        datagrams = pack_run(run, number + target.base, target.hint)
        before = target.total
        target.next = number + len(run)
        target.total = before + sum(map(len, datagrams))
        if target.budget - target.total < target.scarce:
            self.urgent = True
        last = self.to_resender[-1] if self.to_resender else None
        if (
            type(last) is Sent
            and last.target == address
            and last.life == target.life
            and last.eager == eager == 1
            and len(last.datagrams) + len(run) <= MAX_RUN
        ):
            last.datagrams.extend(datagrams)
        else:
            self._marks += 1
            sent = Sent(address, target.life, number, datagrams, before, now, eager, target.series, self._marks)
            self.to_resender.append(sent)
        if self._identity is None or not target.series or target.acknowledged:
            self._emit(address, run, datagrams, range(number, number + len(run)), mark=self._marks, waited=waited)
            return
        for start in range(0, len(run), VOUCHED):
            end = start + VOUCHED
            part, last_mark = datagrams[start:end], self._marks if end >= len(run) else 0
            introduce(self.to_dsender, address, introduction(self._identity, target.series, target.hint), part)
            numbers = range(number + start, number + start + len(part))
            self._emit(address, run[start:end], part, numbers, mark=last_mark, waited=waited[start:end])

    def _unreliable_run(self, run: list[OutPackage]) -> None:
        self._note("package:accepted", target=run[0].target, count=len(run))
        run, number = by_size(run), self._unreliable
        datagrams = pack_run(run, number)
        self._unreliable = (number + len(run)) & ID_MASK
        self._emit(run[0].target, run, datagrams, range(number, number + len(run)))

    def _note(self, event: str, **fields: Any) -> None:
        if self.notes is not None:
            self.notes.append((event, fields))

    def _note_queue(self, target: Target, address: Address, count: int) -> None:
        if self.notes is not None:
            short = "numbers" if target.next >= target.limit else "window"
            self.notes += queued(address, count, target.waits, short)

    def _emit(
        self,
        address: Address,
        run: Sequence[OutPackage],
        datagrams: list[bytes],
        numbers: Sequence[int],
        *,
        mark: int = 0,
        waited: Sequence[float] = (),
    ) -> None:
        if self.notes is not None and run:
            self.notes += numbered(run, numbers, waited)
        last = self.to_dsender[-1] if self.to_dsender else None
        fits = last is not None and last.target == address and len(last.datagrams) + len(datagrams) <= MAX_RUN
        if last is not None and fits and self.notes is None and not last.datagrams[0][0] & CONTROL:
            last.datagrams.extend(datagrams)  # but an introduction stays by itself
            if mark > last.mark:
                self.to_dsender[-1] = Datagrams(address, last.datagrams, (), mark)
        else:
            self.to_dsender.append(Datagrams(address, datagrams.copy(), () if self.notes is None else numbers, mark))
        self.released[address] += len(run)
