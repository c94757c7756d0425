"""The one clock of a stack.

Whatever waits in a stack, waits here: a node for its mailbox, a user for a package, the supervisor for a restart.
Waiting is always the same thing, a *token*: a lock that the waiting thread acquires and another thread releases. So a
clock that is driven by hand (`packhorse.testing.ManualClock`) drives all of it, and tests need no sleep.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar, runtime_checkable

from ..protocol.errors import Timeout

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

T = TypeVar("T")

__all__ = ["SYSTEM_CLOCK", "Clock", "Condition", "Promise", "SystemClock"]


@runtime_checkable
class Clock(Protocol):
    """What a stack needs of time. All times are seconds of one monotonic clock."""

    def now(self) -> float:
        """Return the time."""
        ...

    def wait(self, token: threading.Lock, deadline: float | None) -> None:
        """Sleep until the token is released, at the latest until `deadline`."""
        ...

    def wake(self, token: threading.Lock) -> None:
        """Release the token if it is held. Takes no lock, so that it may be called from a finalizer."""
        ...

    def joined(self) -> None:
        """Note that there is one more mailbox with a node that handles what is in it."""
        ...

    def left(self) -> None:
        """Note that such a mailbox is closed."""
        ...

    def rest(self, token: threading.Lock, deadline: float | None) -> None:
        """Wait as a node that has nothing to do until the token is released or the deadline has come."""
        ...


class SystemClock:
    """`time.monotonic` and real waiting."""

    def now(self) -> float:
        """Return `time.monotonic()`."""
        return time.monotonic()

    def wait(self, token: threading.Lock, deadline: float | None) -> None:
        """Sleep until the token is released, at the latest until `deadline`."""
        if deadline is None:
            token.acquire()
        else:
            token.acquire(timeout=min(max(0.0, deadline - time.monotonic()), threading.TIMEOUT_MAX))

    def wake(self, token: threading.Lock) -> None:
        """Release the token if it is held."""
        try:  # noqa: SIM105 - `suppress` costs twice as much, at every wake-up
            token.release()
        except RuntimeError:
            pass  # somebody else woke it already

    def joined(self) -> None:
        """Do nothing: real time passes by itself."""

    def left(self) -> None:
        """Do nothing: real time passes by itself."""

    def rest(self, token: threading.Lock, deadline: float | None) -> None:
        """Wait; in real time an idle node is nothing special."""
        self.wait(token, deadline)


SYSTEM_CLOCK = SystemClock()


class Condition:
    """A condition variable that waits by a stack's clock. Use it as `threading.Condition`.

    Args:
        clock: the stack's clock.
        lock: what is held while a predicate is looked at, if others need that lock too.
    """

    def __init__(self, clock: Clock, lock: threading.Lock | None = None) -> None:
        self._clock = clock
        self._lock: Any = threading.RLock() if lock is None else lock
        self._sleeping: deque[threading.Lock] = deque()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    def wait_for(self, predicate: Callable[[], bool], deadline: float | None) -> bool:
        """Sleep until the predicate holds or the deadline has passed; return whether it holds.

        The condition is held while the predicate is called, and released while sleeping.
        """
        while not predicate():
            if deadline is not None and self._clock.now() >= deadline:
                return False
            token = threading.Lock()
            token.acquire()
            self._sleeping.append(token)
            self._lock.release()
            try:
                self._clock.wait(token, deadline)
            finally:
                self._lock.acquire()
                if token in self._sleeping:
                    self._sleeping.remove(token)
        return True

    def notify_all(self) -> None:
        """Let everything that sleeps here look at its predicate again."""
        while self._sleeping:
            self._clock.wake(self._sleeping.popleft())


class Promise(Generic[T]):
    """A value that another thread will set once, or an exception."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._condition = Condition(clock)
        self._result: tuple[T | None, BaseException | None] | None = None

    def __deepcopy__(self, memo: object) -> Self:
        """Return itself: whoever waits, waits for this one. State that holds promises is copied when a node hangs."""
        return self

    @property
    def kept(self) -> bool:
        """Whether there is a value or an exception."""
        return self._result is not None

    def keep(self, value: T) -> None:
        """Set the value, unless there is one already."""
        self._settle((value, None))

    def fail(self, error: BaseException) -> None:
        """Set an exception for everyone who waits, unless there is a value already."""
        self._settle((None, error))

    def get(self, timeout: float | None = None) -> T:
        """Wait for the value.

        Raises:
            Timeout: there was none within `timeout` seconds.
        """
        deadline = None if timeout is None else self._clock.now() + timeout
        with self._condition:
            self._condition.wait_for(lambda: self.kept, deadline)
        if self._result is None:
            raise Timeout(f"not done within {timeout} seconds")
        value, error = self._result
        if error is not None:
            raise error.with_traceback(None)  # shared by all who wait, so it must not collect their frames
        return value  # type: ignore[return-value] # without an error there is a value

    def _settle(self, result: tuple[T | None, BaseException | None]) -> None:
        with self._condition:
            if self._result is None:
                self._result = result
            self._condition.notify_all()
