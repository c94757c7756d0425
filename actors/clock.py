"""The one clock of a stack.

Whatever waits in a stack, waits here: a node for its mailbox, a user for a package, the supervisor for a restart.
Waiting is always the same thing, a *token*: a lock that the waiting thread acquires and another thread releases. So a
clock that is driven by hand (`packhorse.testing.ManualClock`) drives all of it, and tests need no sleep.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from math import isnan
from typing import TYPE_CHECKING, Generic, Protocol, Self, TypeVar, runtime_checkable

from ..protocol.errors import Timeout

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

__all__ = ["SYSTEM_CLOCK", "Clock", "Condition", "Promise", "SystemClock", "deadline_after"]


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


def deadline_after(clock: Clock, timeout: float | None) -> float | None:
    """Return when `timeout` seconds will have passed; None for never, if that is what `timeout` says.

    Raises:
        TypeError: it is no number.
        ValueError: it is not a number (`nan`), which would never have passed.
    """
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"a timeout is a number of seconds, or None for ever, not {timeout!r}")
    if isnan(timeout):
        raise ValueError("a timeout is a number of seconds, or None for ever, not nan")
    return clock.now() + timeout


class Condition:
    """Waiting, by a stack's clock, for something that a lock guards.

    The rules:

    - whoever looks at what is guarded, or changes it, does so `with condition.lock:`. That is one of the interpreter's
      own locks, since with these nothing, not even Ctrl-C, comes between taking the lock and the block it is for;
    - the thread that holds the lock may take it again, since signal handlers and finalizers run in the middle of
      anything. But then it does not wait: nobody else could change anything.
    """

    def __init__(self, clock: Clock) -> None:
        self.lock = threading.RLock()
        # It has no public name, but `threading.Condition` asks it too.
        self._is_ours: Callable[[], bool] = self.lock._is_owned  # type: ignore[attr-defined] # noqa: SLF001 # pyright: ignore[reportAttributeAccessIssue, reportPrivateUsage, reportUnknownMemberType]
        self._clock = clock
        self._sleeping: deque[threading.Lock] = deque()

    def wait_for(self, look: Callable[[], T | None], deadline: float | None) -> T | None:
        """Return what `look` returns, as soon as that is not None; None when the deadline has passed.

        It is called with the lock held, and again after every `notify_all`.
        """
        while True:
            with self.lock:
                found = look()
                if found is not None or (deadline is not None and self._clock.now() >= deadline):
                    return found
                token = threading.Lock()
                token.acquire()
                self._sleeping.append(token)
            try:
                if self._is_ours():
                    return None
                self._clock.wait(token, deadline)
            finally:
                with self.lock:
                    if token in self._sleeping:
                        self._sleeping.remove(token)

    def notify_all(self) -> None:
        """Let everything that sleeps here look again. With the lock held."""
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

    def orphan(self, value: T) -> None:
        """Set the value of the copy that a fork made: whoever held its lock is not here."""
        self._condition = Condition(self._clock)
        self.keep(value)

    def get(self, timeout: float | None = None) -> T:
        """Wait for the value.

        Raises:
            Timeout: there was none within `timeout` seconds.
            TypeError, ValueError: `timeout` is no number.
        """
        result = self._condition.wait_for(lambda: self._result, deadline_after(self._clock, timeout))
        if result is None:
            raise Timeout(f"not done within {timeout} seconds")
        value, error = result
        if error is not None:
            raise error.with_traceback(None)  # shared by all who wait, so it must not collect their frames
        return value  # type: ignore[return-value] # without an error there is a value

    def _settle(self, result: tuple[T | None, BaseException | None]) -> None:
        with self._condition.lock:
            if self._result is None:
                self._result = result
            self._condition.notify_all()
