"""The sending half of a peer, first part: ids and the backlog (the usender's state).

The rules (protocol/README.md has them in full):

- unreliable packages take their ids from one counter per stack and never wait;
- reliable packages take theirs from one counter per target, starting at 0, in the order they were sent;
- a number is given only below the limit that `Redelivery` granted; what has none yet waits in the target's backlog;
- when the peer has failed its backlog is given up, and numbering goes on where it was: the next package for that target
  wakes `Redelivery`, which first sends again what it holds and then grants room.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .header import ID_MASK, pack_header
from .messages import Datagrams, Dropped, Expired, Failed, Flush, Forgotten, Grant, Revive, Sent

if TYPE_CHECKING:
    from .address import Address
    from .packages import OutPackage

__all__ = ["WINDOW", "Numbering"]

WINDOW = 512
"""Numbers that may be unconfirmed at once per target. Receivers refuse to have more than 1024 holes."""

MAX_RUN = 64
"""Datagrams per message at most, so that no run takes long to handle."""


@dataclass(slots=True)
class _Target:
    life: int
    next: int
    limit: int
    backlog: deque[OutPackage] = field(default_factory=deque[Any])
    asleep: bool = False
    """The peer failed and nothing was sent to it since."""


class Numbering:
    """Gives ids to packages and keeps what has to wait for one.

    Every method computes first and then changes state and outputs together, so an exception leaves both as they were.

    Attributes:
        to_resender: messages for `Redelivery`, oldest first. They must be passed on before `to_dsender`, or a
            fast confirmation could arrive before it is expected.
        to_dsender: datagrams to send.
        released: packages that no longer wait for a number.
        waiting: how many packages wait in backlogs.
    """

    def __init__(self, *, window: int = WINDOW) -> None:
        self.to_resender: list[Sent | Revive | Dropped | Forgotten | Flush] = []
        self.to_dsender: list[Datagrams] = []
        self.released: list[OutPackage] = []
        self.waiting = 0
        self._window = window
        self._targets: dict[Address, _Target] = {}
        self._unreliable = 0
        self._lives = 0

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
        if target.next < target.limit:
            self._number(target, package, now)
            return
        target.backlog.append(package)
        self.waiting += 1
        if target.asleep:
            target.asleep = False
            self._lives += 1
            target.life = self._lives
            self.to_resender.append(Revive(package.target, target.life, target.next))

    def granted(self, grant: Grant, now: float) -> None:
        """Use the room that was granted."""
        target = self._targets.get(grant.target)
        if target is not None and target.life == grant.life:
            target.limit = grant.limit
            self._drain(target, now)

    def failed(self, failed: Failed) -> None:
        """Give up the backlog of a failed peer; a new life begins when the user sends there again."""
        target = self._targets.get(failed.target)
        if target is None or target.life != failed.life:
            return
        self.to_resender.append(Dropped(failed.target, failed.life, self._give_up(target)))
        target.limit = target.next
        target.asleep = True

    def expired(self, expired: Expired, now: float) -> None:
        """Start at 0 again, unless numbers were given since."""
        target = self._targets.get(expired.target)
        if target is None or target.life != expired.life or target.next != expired.next:
            return
        if not target.backlog:
            del self._targets[expired.target]
            return
        fresh = self._targets[expired.target] = self._begin()
        fresh.backlog = target.backlog
        self._drain(fresh, now)

    def forget(self, address: Address) -> None:
        """Give up everything for a target; its next package gets id 0."""
        target = self._targets.pop(address, None)
        if target is not None:
            self.to_resender.append(Forgotten(address, target.life, self._give_up(target)))

    def flush(self, token: object) -> None:
        """Ask for word when everything sent so far is confirmed or given up."""
        marks = {
            address: (target.life, target.next + len(target.backlog))
            for address, target in self._targets.items()
            if not target.asleep
        }
        self.to_resender.append(Flush(marks, token))

    def _begin(self) -> _Target:
        self._lives += 1
        return _Target(life=self._lives, next=0, limit=self._window)

    def _give_up(self, target: _Target) -> list[OutPackage]:
        packages = list(target.backlog)
        target.backlog.clear()
        self.waiting -= len(packages)
        self.released += packages
        return packages

    def _drain(self, target: _Target, now: float) -> None:
        while target.backlog and target.next < target.limit:
            self._number(target, target.backlog[0], now)
            target.backlog.popleft()
            self.waiting -= 1

    def _number(self, target: _Target, package: OutPackage, now: float) -> None:
        number = target.next
        datagram = pack_header(package.reliability, package.peers, number) + package.data
        target.next = number + 1
        run = self.to_resender[-1] if self.to_resender else None
        if (
            type(run) is Sent
            and run.target == package.target
            and run.life == target.life
            and len(run.datagrams) < MAX_RUN
        ):
            run.datagrams.append(datagram)
        else:
            self.to_resender.append(Sent(package.target, target.life, number, [datagram], now))
        self._emit(package, datagram)

    def _emit(self, package: OutPackage, datagram: bytes) -> None:
        run = self.to_dsender[-1] if self.to_dsender else None
        if run is not None and run.target == package.target and len(run.datagrams) < MAX_RUN:
            run.datagrams.append(datagram)
        else:
            self.to_dsender.append(Datagrams(package.target, [datagram]))
        self.released.append(package)
