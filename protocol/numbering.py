"""The sending half of a peer, first part: ids and the backlog (the usender's state).

The rules (protocol/README.md has them in full):

- unreliable packages take their ids from one counter per stack and never wait;
- reliable packages take theirs from one counter per target, starting at 0, in the order they were sent;
- a number is given only within what `Redelivery` granted, in numbers and in bytes; what has none yet waits in the target's
  backlog, at most for its lifetime;
- when the peer has failed its backlog is given up, and numbering goes on where it was: the next package for that target
  wakes `Redelivery`, which first sends again what it holds and then grants room.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Any

from .ageing import Ageing
from .congestion import INITIAL
from .errors import FailureReason, PeerFailed
from .header import HEADER_SIZE, ID_MASK, pack_header
from .messages import Datagrams, Dropped, Expired, Failed, Flush, Forgotten, Grant, Revive, Sent

if TYPE_CHECKING:
    from .address import Address
    from .packages import OutPackage

__all__ = ["WINDOW", "Numbering"]

WINDOW = 1024
"""Numbers that may be unconfirmed at once per target. Receivers refuse to have more than 1024 holes."""

MAX_RUN = 64
"""Datagrams per message at most, so that no run takes long to handle."""


@dataclass(slots=True)
class _Target:
    life: int
    next: int
    limit: int
    total: int = 0
    """Bytes sent in reliable datagrams."""
    budget: int = INITIAL
    backlog: deque[tuple[OutPackage, float]] = field(default_factory=deque[Any])
    """Packages that wait, and when each expires."""
    left: int = 0
    """How many packages have left the backlog, whichever way."""
    asleep: bool = False
    """The peer failed and nothing was sent to it since."""
    looks: list[float] = field(default_factory=list[float])
    """When the backlog will be looked at for expired packages; the next time last."""


class Numbering:
    """Gives ids to packages and keeps what has to wait for one.

    Every method computes first and then changes state and outputs together, so an exception leaves both as they were.

    Attributes:
        to_resender: messages for `Redelivery`, oldest first. They must be passed on before `to_dsender`, or a
            fast confirmation could arrive before it is expected.
        to_dsender: datagrams to send.
        released: packages that no longer wait for a number.
        failures: reports of packages whose lifetime passed while they waited.
        waiting: how many packages wait in backlogs.
    """

    def __init__(self, *, window: int = WINDOW) -> None:
        self.to_resender: list[Sent | Revive | Dropped | Forgotten | Flush] = []
        self.to_dsender: list[Datagrams] = []
        self.released: list[OutPackage] = []
        self.failures: list[PeerFailed] = []
        self.waiting = 0
        self._window = window
        self._targets: dict[Address, _Target] = {}
        self._unreliable = 0
        self._expiries: Ageing[Address] = Ageing()
        self._lives = 0
        self._flushes: list[tuple[object, dict[Address, int]]] = []

    def send(self, package: OutPackage, now: float) -> None:
        """Send a package, or keep it until there is room."""
        if not package.reliability:
            datagram = pack_header(package.reliability, package.peers, self._unreliable) + package.data
            self._unreliable = (self._unreliable + 1) & ID_MASK
            self._emit(package, datagram)
            return
        target = self._targets.get(package.target)
        if target is None:
            target = self._targets[package.target] = self._begin()
        if not target.backlog and self._has_room(target, package):
            self._number(target, package, now)
            return
        expires = inf if package.lifetime is None else now + package.lifetime
        target.backlog.append((package, expires))
        self.waiting += 1
        if expires < inf and not (target.looks and target.looks[-1] <= expires):
            target.looks.append(expires)
            self._expiries.add(package.target, expires)
        if target.asleep:
            target.asleep = False
            self._lives += 1
            target.life = self._lives
            self.to_resender.append(Revive(package.target, target.life, target.next, target.total))

    def granted(self, grant: Grant, now: float) -> None:
        """Use the room that was granted."""
        target = self._targets.get(grant.target)
        if target is not None and target.life == grant.life:
            target.limit, target.budget = grant.limit, grant.budget
            self._drain(target, now)

    def failed(self, failed: Failed) -> None:
        """Give up the backlog of a failed peer; a new life begins when the user sends there again."""
        target = self._targets.get(failed.target)
        if target is None or target.life != failed.life:
            return
        self.to_resender.append(Dropped(failed.target, failed.life, self._give_up(target)))
        target.limit, target.budget = target.next, target.total
        target.asleep = True
        self._pass_flushes()

    def expired(self, expired: Expired, now: float) -> None:
        """Start at 0 again, unless numbers were given since."""
        target = self._targets.get(expired.target)
        if target is None or target.life != expired.life or target.next != expired.next:
            return
        if not target.backlog:
            del self._targets[expired.target]
            return
        fresh = self._targets[expired.target] = self._begin()
        fresh.backlog, fresh.looks, fresh.left = target.backlog, target.looks, target.left
        self._drain(fresh, now)

    def forget(self, address: Address) -> None:
        """Give up everything for a target; its next package gets id 0."""
        target = self._targets.pop(address, None)
        if target is not None:
            self.to_resender.append(Forgotten(address, target.life, self._give_up(target)))
            self._pass_flushes()

    def flush(self, token: object) -> None:
        """Ask for word when everything sent so far is confirmed or given up, as soon as none of it waits any more."""
        goals = {
            address: target.left + len(target.backlog) for address, target in self._targets.items() if target.backlog
        }
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
            looks = target.looks
            while looks and looks[-1] <= now:
                looks.pop()
            soonest = self._expire(address, target, now)
            if soonest is None or (looks and looks[-1] <= soonest):
                return None
            looks.append(soonest)
            return soonest

        self._expiries.collect(now, look)
        if self._flushes:
            self._pass_flushes()

    def renew(self, address: Address | None, now: float) -> None:
        """Make anew what is known of a target, or of all if None, because handling it crashes again and again.

        What waits for a number is given up and reported. Numbers, lives and room stay: they are all that is needed to go on.
        """
        del now
        chosen = list(self._targets) if address is None else [known for known in self._targets if known == address]
        for known in chosen:
            old = self._targets[known]
            packages = [package for package, _ in old.backlog]
            fresh = _Target(old.life, old.next, old.limit, old.total, old.budget, asleep=old.asleep)
            fresh.left = old.left + len(packages)
            self._targets[known] = fresh
            self.released += packages
            if packages:
                self.failures.append(PeerFailed(known, FailureReason.POISONED, packages))
        if address is None:
            self._expiries = Ageing()
        self.waiting = sum(len(target.backlog) for target in self._targets.values())
        self._pass_flushes()

    def _pass_flushes(self) -> None:
        waiting: list[tuple[object, dict[Address, int]]] = []
        for token, goals in self._flushes:
            targets = self._targets
            if any(address in targets and targets[address].left < goal for address, goal in goals.items()):
                waiting.append((token, goals))
                continue
            marks = {address: (target.life, target.next) for address, target in targets.items() if not target.asleep}
            self.to_resender.append(Flush(marks, token))
        self._flushes = waiting

    def _begin(self) -> _Target:
        self._lives += 1
        return _Target(life=self._lives, next=0, limit=self._window)

    def _give_up(self, target: _Target) -> list[OutPackage]:
        packages = [package for package, _ in target.backlog]
        target.backlog.clear()
        self._leave(target, len(packages))
        self.released += packages
        return packages

    def _leave(self, target: _Target, count: int) -> None:
        target.left += count
        self.waiting -= count

    def _drain(self, target: _Target, now: float) -> None:
        while target.backlog:
            package, expires = target.backlog[0]
            if expires <= now:
                self._expire(package.target, target, now)
            elif self._has_room(target, package):
                self._number(target, package, now)
                target.backlog.popleft()
                self._leave(target, 1)
            else:
                break
        if self._flushes:
            self._pass_flushes()

    @staticmethod
    def _has_room(target: _Target, package: OutPackage) -> bool:
        return target.next < target.limit and target.total + HEADER_SIZE + len(package.data) <= target.budget

    def _expire(self, address: Address, target: _Target, now: float) -> float | None:
        """Drop what has waited for too long; return when the next one will have."""
        expired = [package for package, expires in target.backlog if expires <= now]
        if expired:
            target.backlog = deque(item for item in target.backlog if item[1] > now)
            self._leave(target, len(expired))
            self.released += expired
            self.failures.append(PeerFailed(address, FailureReason.EXPIRED, expired))
        soonest = min((expires for _, expires in target.backlog), default=inf)
        return soonest if soonest < inf else None

    def _number(self, target: _Target, package: OutPackage, now: float) -> None:
        number = target.next
        datagram = pack_header(package.reliability, package.peers, number) + package.data
        before = target.total
        target.next = number + 1
        target.total = before + len(datagram)
        run = self.to_resender[-1] if self.to_resender else None
        if (
            type(run) is Sent
            and run.target == package.target
            and run.life == target.life
            and run.eager == package.eager == 1
            and len(run.datagrams) < MAX_RUN
        ):
            run.datagrams.append(datagram)
        else:
            run = Sent(package.target, target.life, number, [datagram], before, now, package.eager)
            self.to_resender.append(run)
        self._emit(package, datagram)

    def _emit(self, package: OutPackage, datagram: bytes) -> None:
        run = self.to_dsender[-1] if self.to_dsender else None
        if run is not None and run.target == package.target and len(run.datagrams) < MAX_RUN:
            run.datagrams.append(datagram)
        else:
            self.to_dsender.append(Datagrams(package.target, [datagram]))
        self.released.append(package)
