"""What is kept of one target, for `numbering`: how far its numbers go, and what waits for one.

The rules:

- there is room for a package while its number is below `limit` and its bytes are within `budget`; both come from
  `Redelivery`;
- what waits leaves in the order it came: with a number, or dropped since its lifetime has passed, or given up with the
  rest;
- what waits is kept in runs, since nearly all of it came in runs, has no lifetime, and leaves in runs. What is special
  about a package (a lifetime, further copies) makes it a run by itself;
- a target at rest takes little memory: there may be thousands of them. So an empty backlog is shared by all that have
  none;
- the backlog is looked at when the next of its packages expires. A look is not taken back when that package leaves: it
  finds nothing.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from math import inf
from typing import Final

from .congestion import BURST, INITIAL
from .header import HEADER_SIZE, ID_MASK
from .identity import ATTEMPT_BITS, choose_hint
from .packages import OutPackage
from .runs import MAX_RUN

__all__ = ["NOTHING", "Target"]

MAX_SERIES: Final = ID_MASK >> ATTEMPT_BITS
"""Numberings of a stack before their series begin anew."""

Waiting = tuple[list[OutPackage], float, float]
"""A run, when it expires, and since when it waits."""

NOTHING: Final[deque[Waiting]] = deque(maxlen=0)
"""The backlog of every target that has none: an empty deque of its own would take 600 bytes."""


@dataclass(slots=True)
class Target:
    """One target.

    Attributes:
        life: of the numbering; see `messages`.
        next: the number that its next package gets.
        limit: numbers below this may be given.
        total: bytes sent in reliable datagrams.
        budget: bytes that may have been sent.
        scarce: with fewer of them left than this, more are needed at once.
        backlog: packages that wait, in runs; see `Waiting`.
        waits: how many they are.
        left: how many packages have left the backlog, whichever way.
        asleep: the peer failed and nothing was sent to it since.
        looks: when the backlog will be looked at for expired packages; the next time last.
        series: of the numbering; 0 if it is not introduced.
        hint: what packages carry.
        base: what their ids are ahead of their numbers.
        acknowledged: the peer knows the numbering.
        peer: the mark of the peer's life that the numbering is for, if that is known.
    """

    life: int
    next: int
    limit: int
    total: int = 0
    budget: int = INITIAL
    scarce: int = INITIAL // 2
    backlog: deque[Waiting] = field(default_factory=lambda: NOTHING)
    waits: int = 0
    left: int = 0
    asleep: bool = False
    looks: tuple[float, ...] = ()
    series: int = 0
    hint: int = 0
    base: int = 0
    acknowledged: bool = False
    peer: int | None = None

    @staticmethod
    def begin(life: int, window: int, peer: int | None, identity: int | None, now: float) -> Target:
        """Return a target whose numbering begins; it is not introduced if our `identity` is None."""
        target = Target(life, next=0, limit=window, peer=peer)
        if identity is not None:
            target.series = (1 + (life - 1) % MAX_SERIES) << ATTEMPT_BITS
            target.hint = choose_hint(identity, target.series, now)
        return target

    def room(self, run: Sequence[OutPackage]) -> int:
        """Return for how many of these packages, from the first on, there is room."""
        return _fitting(run, self.limit - self.next, self.budget - self.total)[0]

    def grant(self, limit: int, budget: int) -> None:
        """Have this room.

        More bytes are needed at once when half is used, at the latest when a burst is left; numbers come with
        confirmations anyway.
        """
        self.limit, self.budget = limit, budget
        self.scarce = min(BURST, (budget - self.total) // 2)

    def queue(self, run: list[OutPackage], expires: float = inf, since: float = -inf) -> None:
        """Let packages wait behind those that wait already. The list is not the caller's any more.

        Runs of different times stay apart, so `since` is only given while somebody wants to know it.
        """
        if not self.backlog:  # not `is NOTHING`: a hung node's state is copied, and that too
            self.backlog = deque()
        self.waits += len(run)
        if expires == inf and run[0].eager == 1 and self.backlog:
            last, last_expires, last_since = self.backlog[-1]
            alike = last_expires == inf and last[0].eager == 1 and last_since == since
            if alike and len(last) + len(run) <= MAX_RUN:
                last += run
                return
        self.backlog.append((run, expires, since))

    def fitting(self, most: int) -> list[OutPackage]:
        """Return the head of the backlog that there is room for, at most so many packages; an eager one alone."""
        fitting: list[OutPackage] = []
        most = min(most, self.limit - self.next)
        left = self.budget - self.total
        for run, _, _ in self.backlog:
            eager = run[0].eager > 1
            if eager and fitting:
                break
            count, size = _fitting(run, most - len(fitting), left)
            fitting += run[:count]
            left -= size
            if eager or count < len(run):
                break
        return fitting

    def waited(self, count: int, now: float) -> list[float]:
        """Return the seconds that each of so many packages at the head has waited; infinity if nobody took note."""
        waited: list[float] = []
        for run, _, since in self.backlog:
            waited += [now - since] * min(len(run), count - len(waited))
            if len(waited) == count:
                break
        return waited

    def leave(self, count: int) -> None:
        """Take so many packages out of the head of the backlog."""
        self.waits -= count
        self.left += count
        while count:
            run, expires, since = self.backlog[0]
            if len(run) > count:
                self.backlog[0] = (run[count:], expires, since)
                return
            self.backlog.popleft()
            count -= len(run)
        if not self.backlog:
            self.backlog = NOTHING

    def look_at(self, expires: float) -> bool:
        """Note that there should be a look at that time; return False if there will be one no later anyway."""
        if self.looks and self.looks[-1] <= expires:
            return False
        self.looks += (expires,)
        return True

    def looked(self, now: float) -> None:
        """Note that the looks up to now are over."""
        while self.looks and self.looks[-1] <= now:
            self.looks = self.looks[:-1]

    def expire(self, now: float) -> list[OutPackage]:
        """Take out what has waited for too long."""
        expired = [package for run, expires, _ in self.backlog if expires <= now for package in run]
        if expired:
            self.backlog = deque(item for item in self.backlog if item[1] > now)
        self.waits -= len(expired)
        self.left += len(expired)
        return expired

    def soonest(self) -> float:
        """Return when the first package that waits expires; infinity if none does."""
        return min((expires for _, expires, _ in self.backlog), default=inf)

    def give_up(self) -> list[OutPackage]:
        """Take out everything that waits."""
        packages = [package for run, _, _ in self.backlog for package in run]
        self.backlog = NOTHING
        self.waits = 0
        self.left += len(packages)
        return packages

    def renewed(self) -> Target:
        """Return a target with what is needed to go on where this one was, which has given up what waited."""
        fresh = Target(self.life, self.next, self.limit, self.total, self.budget, asleep=self.asleep)
        fresh.series, fresh.hint, fresh.base, fresh.peer = self.series, self.hint, self.base, self.peer
        fresh.acknowledged, fresh.left = self.acknowledged, self.left
        return fresh


def _fitting(run: Sequence[OutPackage], most: int, left: int) -> tuple[int, int]:
    """Return how many of these packages, from the first on, at most so many, fit into so many bytes; and their size."""
    if most < len(run):
        run = run[: max(0, most)]
    size = HEADER_SIZE * len(run) + sum([len(package.data) for package in run])
    if size <= left:
        return len(run), size
    ends = list(accumulate([HEADER_SIZE + len(package.data) for package in run]))
    count = bisect_right(ends, left)
    return count, ends[count - 1] if count else 0
