"""A clock that stands still until it is told to go on."""

from __future__ import annotations

import bisect
import threading

__all__ = ["ManualClock"]


class ManualClock:
    """A stack's clock, driven by hand. One clock may serve several stacks.

    Time passes only in `advance`, from one deadline to the next, and between two of them everything that follows is
    done: the clock knows which nodes have something to do. That works over a `MemoryNetwork`; with real sockets
    datagrams are under way without its knowledge, and `settle` would not return.

    Args:
        start: the first time, in seconds.
    """

    def __init__(self, start: float = 1000.0) -> None:
        self._now = start
        self._changed = threading.Condition()
        self._busy = 0
        self._resting: set[threading.Lock] = set()
        self._deadlines: list[tuple[float, int, threading.Lock]] = []
        self._serial = 0

    # For the test.

    def advance(self, seconds: float) -> None:
        """Let time pass, and wait until everything that happens in it has been done.

        Raises:
            TimeoutError: the nodes were still busy after 30 real seconds.
            ValueError: time does not go back.
        """
        if not seconds >= 0:
            raise ValueError(f"time passes by at least 0 seconds, not {seconds!r}")
        end = self._now + seconds
        self.settle()
        while True:
            with self._changed:
                if not self._deadlines or self._deadlines[0][0] > end:
                    self._now = end
                    return
                deadline, _, token = self._deadlines.pop(0)
                self._now = max(self._now, deadline)
                self._wake(token)
            self.settle()

    def settle(self) -> None:
        """Wait until every node has done all it has to do at the present time.

        Raises:
            TimeoutError: the nodes were still busy after 30 real seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._busy == 0, timeout=30.0):
                raise TimeoutError(f"{self._busy} nodes did not come to rest within 30 real seconds")

    # For the stack; see packhorse.actors.clock.Clock.

    def now(self) -> float:
        """Return the time."""
        return self._now

    def wait(self, token: threading.Lock, deadline: float | None) -> None:
        """Sleep until the token is released or the deadline has come."""
        with self._changed:
            entry = self._await(token, deadline)
        self._sleep(token, entry)

    def rest(self, token: threading.Lock, deadline: float | None) -> None:
        """Sleep as a node that has nothing to do."""
        with self._changed:
            entry = self._await(token, deadline)
            if token.locked() and (deadline is None or deadline > self._now):
                self._resting.add(token)
                self._busy -= 1
                self._changed.notify_all()
        self._sleep(token, entry)

    def wake(self, token: threading.Lock) -> None:
        """Release the token if it is held."""
        with self._changed:
            self._wake(token)

    def joined(self) -> None:
        """Note that there is one more node."""
        with self._changed:
            self._busy += 1

    def left(self) -> None:
        """Note that a node has ended."""
        with self._changed:
            self._busy -= 1
            self._changed.notify_all()

    def _await(self, token: threading.Lock, deadline: float | None) -> tuple[float, int, threading.Lock] | None:
        if deadline is None:
            return None
        if deadline <= self._now:
            self._wake(token)
            return None
        self._serial += 1
        entry = (deadline, self._serial, token)
        bisect.insort(self._deadlines, entry, key=lambda known: known[:2])
        return entry

    def _sleep(self, token: threading.Lock, entry: tuple[float, int, threading.Lock] | None) -> None:
        token.acquire()  # released by wake, which may be called before this
        with self._changed:
            if entry is not None and entry in self._deadlines:
                self._deadlines.remove(entry)

    def _wake(self, token: threading.Lock) -> None:
        if token in self._resting:
            self._resting.remove(token)
            self._busy += 1
        if token.locked():
            token.release()
