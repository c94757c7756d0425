"""Admission: how much the user may have waiting, per target and in all.

The rules:

- a package counts from the moment it is admitted until it has an id (or is given up), in usender's mailbox or in the
  backlog;
- at most 1024 packages of one target wait, so that a dead target stops nobody who sends to another one;
- at most 64 MiB wait in all;
- admitting and putting into the mailbox is one step, so that nothing can slip in after the sender was closed. It is a step under a plain
  lock, held for a moment only: nothing in it waits.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from itertools import groupby
from math import inf
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from ..protocol.errors import Closed, Full, Timeout
from ..protocol.header import MAX_PAYLOAD
from .clock import Clock, Condition, Promise
from .messages import FlushAll, Forget

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..protocol.address import Address
    from ..protocol.packages import OutPackage
    from .mailbox import Mailbox

__all__ = ["MAX_WAITING", "MAX_WAITING_BYTES", "Admission"]

MAX_WAITING: Final = 1024
ROOMY: Final = MAX_WAITING // 2
"""Packages of a target that still wait when those who wait for room are woken in any case."""
SPARING: Final = 0.002
"""Seconds between two times that they are woken for less room."""
MAX_WAITING_BYTES: Final = 64 * 1024 * 1024


_target_of = attrgetter("target")


class Admission:
    """The gate in front of usender's mailbox. Thread-safe."""

    def __init__(self, mailbox: Mailbox, clock: Clock) -> None:
        self._mailbox = mailbox
        self._clock = clock
        self._lock = threading.Lock()
        self._condition = Condition(clock, self._lock)
        self._waiting: defaultdict[Address, int] = defaultdict(int)
        self._bytes = 0
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
        """
        deadline = None if timeout is None or timeout == 0 else self._clock.now() + timeout
        admitted: list[OutPackage] = []
        with self._lock:
            try:
                for package in packages:
                    if self._closed is not None or not self._has_room(package):
                        self._mailbox.put_all(admitted)
                        admitted.clear()
                        self._wait(package, timeout, deadline)
                    self._waiting[package.target] += 1
                    self._bytes += len(package.data)
                    admitted.append(package)
            finally:
                self._mailbox.put_all(admitted)

    def send_one(self, package: OutPackage, timeout: float | None) -> None:
        """Put a single package, as `send`; what most calls come to, so without any detour."""
        target, lock = package.target, self._lock
        lock.acquire()  # half the cost of a `with`
        try:
            before = self._waiting.get(target, 0)
            total = self._bytes + len(package.data)
            if before < MAX_WAITING and total <= MAX_WAITING_BYTES and self._closed is None:
                self._waiting[target] = before + 1
                self._bytes = total
                self._mailbox.put_package(package)
                return
        finally:
            lock.release()
        self.send((package,), timeout)

    def flush(self) -> Promise[None]:
        """Put a flush behind everything admitted so far and return its promise.

        Raises:
            Closed, StackFailed: as `send`.
        """
        promise: Promise[None] = Promise(self._clock)
        with self._lock:
            self._check_open()
            self._flushes = {flush for flush in self._flushes if not flush.kept}
            self._flushes.add(promise)
            self._mailbox.put(FlushAll(promise))
        return promise

    def forget(self, target: Address) -> None:
        """Put a request to forget a target behind everything admitted so far."""
        self._mailbox.put(Forget(target))

    def release(self, packages: Iterable[OutPackage]) -> None:
        """Note that these packages wait no longer. Called by usender."""
        with self._lock:
            wake = self._bytes > MAX_WAITING_BYTES - MAX_PAYLOAD
            for target, run in groupby(packages, _target_of):
                sizes = [len(package.data) for package in run]
                left = self._waiting[target] - len(sizes)
                if left > 0:
                    self._waiting[target] = left
                else:
                    del self._waiting[target]
                self._bytes -= sum(sizes)
                if target in self._blocked:
                    wake = wake or left <= ROOMY or self._clock.now() >= self._woke_at + SPARING
            # Whoever waits is not woken for every few packages: at full speed that would cost more than they do.
            if self._blocked and wake:
                self._woke_at = self._clock.now()
                self._condition.notify_all()

    def waiting(self, target: Address) -> int:
        """Return how many packages of a target wait for an id."""
        with self._lock:
            return self._waiting.get(target, 0)

    def close(self, error: Exception | None = None) -> None:
        """Admit nothing more; callers get `error`, or else `Closed`. The first error stays, except over `Closed`."""
        with self._lock:
            if self._closed is None or isinstance(self._closed, Closed):
                self._closed = error or self._closed or Closed("this sender was closed")
            self._condition.notify_all()

    def end(self, error: Exception) -> None:
        """Close, and let those who wait for a flush know that nothing more will happen."""
        self.close(error)
        for promise in self._flushes:
            promise.fail(error)

    def _wait(self, package: OutPackage, timeout: float | None, deadline: float | None) -> None:
        self._check_open()
        if timeout != 0:
            self._blocked[package.target] += 1
            try:
                self._condition.wait_for(lambda: self._closed is not None or self._has_room(package), deadline)
            finally:
                self._blocked[package.target] -= 1
                self._blocked += Counter()  # forget those that nobody waits for
            self._check_open()
        if not self._has_room(package):
            waiting = self._waiting.get(package.target, 0)
            message = f"{waiting} packages for {package.target} wait already, {self._bytes} bytes in all"
            raise (Full(message) if timeout == 0 else Timeout(f"{message}, and none left within {timeout} seconds"))

    def _has_room(self, package: OutPackage) -> bool:
        return (
            self._waiting.get(package.target, 0) < MAX_WAITING and self._bytes + len(package.data) <= MAX_WAITING_BYTES
        )

    def _check_open(self) -> None:
        if self._closed is not None:
            raise self._closed.with_traceback(None)  # shared by all callers: it must not collect their frames
