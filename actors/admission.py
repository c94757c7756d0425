"""Admission: how much the user may have waiting, per target and in all.

The rules:

- a package waits from the moment it is admitted until it has an id (or is given up): in usender's mailbox, then in the
  backlog;
- at most 1024 packages of one target wait, so that a dead target stops nobody who sends to another one. Each target has
  a *lane*: whoever sends takes the lane's next ticket, and whatever waits no longer gives one back;
- at most 64 MiB wait in all. Each package counts 504 bytes there, whatever its size, so that is a limit for how many:
  what the backlog leaves of it is how long the mailbox may be, the *brim*;
- nothing slips in once the sender was closed: then the brim is below an empty mailbox.

All of this is decided under a lock, held for a moment only: nothing under it waits. A package is in the mailbox as soon
as it has its ticket, so that none is lost with those before, whatever interrupts `send_many`. But the lock, and the
counting under it, would be most of what sending costs. So `PackageSender.send` takes a ticket without the lock, which
is one step of the interpreter's, and puts the package if the lane has room to spare (`PLENTY`), so that it does not
matter if other threads do the same. Then it looks at the brim: if there is too much in the mailbox, or the sender was
closed meanwhile, it takes the package back. If it is not there any more, usender has it, and it is sent.
"""

from __future__ import annotations

from collections import Counter
from itertools import count
from math import inf
from typing import TYPE_CHECKING, Final

from ..protocol.errors import Closed, Full, Timeout
from ..protocol.header import MAX_PAYLOAD
from .clock import Clock, Condition, Promise, deadline_after
from .mailbox import BATCH_LIMIT
from .messages import FlushAll, Forget

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ..protocol.address import Address
    from ..protocol.packages import OutPackage
    from .mailbox import Mailbox

__all__ = ["MAX_WAITING", "MAX_WAITING_BYTES", "MAX_WAITING_IN_ALL", "PLENTY", "Admission", "Lane"]

MAX_WAITING: Final = 1024
PLENTY: Final = MAX_WAITING - 16
"""Tickets up to which nobody needs the lock. While as many threads as are missing to the limit give one back, the limit
still holds."""
ROOMY: Final = MAX_WAITING // 2
"""Packages of a target that still wait when those who wait for room are woken in any case."""
SPARING: Final = 0.002
"""Seconds between two times that they are woken for less room."""
MAX_WAITING_BYTES: Final = 64 * 1024 * 1024
MAX_WAITING_IN_ALL: Final = MAX_WAITING_BYTES // MAX_PAYLOAD
LANES: Final = 1024
"""Lanes from which on those where nothing waits are given up."""


class Lane:
    """How many packages of one target wait.

    Attributes:
        target: the target; the very tuple that its packages have.
        ticket: takes the next ticket, numbered from 0. Needs no lock.
        back: how many tickets were given back. Written with the lock held.
        retired: whoever sees this has to look for the target's present lane.
    """

    __slots__ = ("back", "retired", "target", "ticket")

    def __init__(self, target: Address) -> None:
        self.target = target
        self.ticket = count().__next__
        self.back = 0
        self.retired = False

    def waiting(self) -> int:
        """Return how many packages wait. With the lock held."""
        waiting = self.ticket() - self.back
        self.back += 1
        return waiting


class Admission:
    """The gate in front of usender's mailbox. Thread-safe.

    Attributes:
        lanes: by target, those where something waits and some others. Changed with the lock held.
        brim: how many packages may be in the mailbox; less than none once the sender was closed.
    """

    def __init__(self, mailbox: Mailbox, clock: Clock) -> None:
        self.mailbox = mailbox
        self.lanes: dict[Address, Lane] = {}
        self.brim = MAX_WAITING_IN_ALL - BATCH_LIMIT
        self._held = 0
        self._overfull = False
        """Somebody found no room because of what others send."""
        self._clock = clock
        self._condition = Condition(clock)
        self._most_lanes = LANES
        self._blocked: Counter[Address] = Counter()
        self._woke_at = -inf
        self._closed: Exception | None = None
        self._flushes: set[Promise[None]] = set()

    def send(self, packages: Iterable[OutPackage], timeout: float | None) -> None:
        """Put packages, in order, waiting up to `timeout` seconds in all for room (None: for ever; 0: not at all).

        Raises:
            Full: there was no room and `timeout` is 0. The packages before the one concerned are sent.
            Timeout: there was no room in time. The packages before the one concerned are sent.
            Closed: the sender was closed or the stack has ended.
            StackFailed: the stack gave up.
            TypeError, ValueError: `timeout` is no number.
        """
        deadline = deadline_after(self._clock, timeout)
        waiting = list(packages)
        at = self._admit(waiting, 0)
        while at < len(waiting):
            self._wait(waiting[at], timeout, deadline)
            at = self._admit(waiting, at + 1)

    def give_back(self, lane: Lane) -> None:
        """Take back a ticket of which no use was made."""
        with self._condition.lock:
            lane.back += 1

    def put_over_the_brim(self, lane: Lane, package: OutPackage, timeout: float | None) -> None:
        """Take back, and `send`, a package put when there was no room, or behind the end; unless it is sent already."""
        with self._condition.lock:
            if len(self.mailbox) <= self.brim or not self.mailbox.take_back(package):
                return
            lane.back += 1
        self.send((package,), timeout)

    def flush(self) -> Promise[None]:
        """Put a flush behind everything admitted so far and return its promise.

        Raises:
            Closed, StackFailed: as `send`.
        """
        promise: Promise[None] = Promise(self._clock)
        with self._condition.lock:
            self._check_open()
            self._flushes = {flush for flush in self._flushes if not flush.kept}
            self._flushes.add(promise)
            self.mailbox.put(FlushAll(promise))
        return promise

    def forget(self, target: Address) -> None:
        """Put a request to forget a target behind everything admitted so far."""
        self.mailbox.put(Forget(target))

    def release(self, gone: Mapping[Address, int], held: int) -> None:
        """Note how many packages of each target wait no longer, and how many wait in the backlog. Called by usender."""
        with self._condition.lock:
            wake, self._overfull = self._overfull, False
            self._held = held
            if self._closed is None:
                self.brim = MAX_WAITING_IN_ALL - BATCH_LIMIT - held  # a batch may be being handled
            for target, number in gone.items():
                lane = self._lane(target)
                before = lane.waiting()
                left = max(0, before - number)  # an incarnation that hung may have said so already
                lane.back += before - left
                if target in self._blocked:
                    wake = wake or left <= ROOMY or self._clock.now() >= self._woke_at + SPARING
            # Whoever waits is not woken for every few packages: at full speed that would cost more than they do.
            if self._blocked and wake:
                self._woke_at = self._clock.now()
                self._condition.notify_all()

    def waiting(self, target: Address) -> int:
        """Return how many packages of a target wait for an id, and tickets that are about to be given back."""
        with self._condition.lock:
            return self.lanes[target].waiting() if target in self.lanes else 0

    def close(self, error: Exception | None = None) -> None:
        """Admit nothing more; callers get `error`, or else `Closed`. The first error stays, except over `Closed`."""
        with self._condition.lock:
            if self._closed is None or isinstance(self._closed, Closed):
                self._closed = error or self._closed or Closed("this sender was closed")
            self.brim = -1
            self._condition.notify_all()

    def end(self, error: Exception) -> None:
        """Close, and let those who wait for a flush know that nothing more will happen."""
        self.close(error)
        for promise in self._flushes:
            promise.fail(error)

    def orphan(self, error: Exception) -> None:
        """Close the copy that a fork made: whoever holds the lock is not there to release it."""
        self._condition = Condition(self._clock)
        self.close(error)

    def _admit(self, packages: Sequence[OutPackage], at: int) -> int:
        """Put packages, from a place on, while there is room; return the place of the first that there is none for."""
        with self._condition.lock:
            try:
                while at < len(packages) and self._enter(packages[at]):
                    at += 1
            finally:
                if self.mailbox.idle:
                    self.mailbox.wake()
        return at

    def _wait(self, package: OutPackage, timeout: float | None, deadline: float | None) -> None:
        """Wait for room and put a package."""

        def look() -> bool | None:
            self._check_open()
            return self._enter(package) or None

        with self._condition.lock:
            self._blocked[package.target] += 1
        try:
            if self._condition.wait_for(look, deadline):
                if self.mailbox.idle:
                    self.mailbox.wake()
                return
        finally:
            with self._condition.lock:
                self._blocked[package.target] -= 1
                self._blocked += Counter()  # forget those that nobody waits for
        with self._condition.lock:
            waiting, in_all = self._lane(package.target).waiting(), self._held + len(self.mailbox)
        message = f"{waiting} packages for {package.target} wait already, {in_all} in all"
        raise (Full(message) if timeout == 0 else Timeout(f"{message}, and none left within {timeout} seconds"))

    # With the lock held.

    def _enter(self, package: OutPackage) -> bool:
        """Take a ticket for a package and put it, softly, if there is room for it."""
        lane = self._lane(package.target)
        if len(self.mailbox) >= self.brim:
            self._overfull = True
            return False
        ticket = None
        try:
            ticket = lane.ticket()
            if ticket - lane.back < MAX_WAITING:
                self.mailbox.items.append(package)
                return True
        except BaseException:
            if ticket is None:  # Ctrl-C took it before we had it
                lane.back += 1
            raise
        lane.back += 1
        return False

    def _lane(self, target: Address) -> Lane:
        lane = self.lanes.get(target)
        if lane is None:
            if len(self.lanes) >= self._most_lanes:
                self._retire_lanes()
            lane = self.lanes[target] = Lane(target)
        lane.target = target
        return lane

    def _retire_lanes(self) -> None:
        for target, lane in list(self.lanes.items()):
            lane.retired = True  # before looking: who takes a ticket now is seen to wait, or sees this
            if lane.waiting():
                lane.retired = False
            else:
                del self.lanes[target]
        self._most_lanes = max(LANES, 2 * len(self.lanes))

    def _check_open(self) -> None:
        if self._closed is not None:
            raise self._closed.with_traceback(None)  # shared by all callers: it must not collect their frames
