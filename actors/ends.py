"""The user's ends: where received packages and failures wait until somebody takes them.

The rules:

- an end is *open*, *ended* (nothing more will come), *failed* (the stack gave up) or *closed* (the user wants nothing
  more). What waits can be taken until the end is closed; only then, or when nothing waits, the state shows;
- a subscriber gets everything by tell, at most 1024 items ahead of what it has handled;
- what a subscriber had not begun to handle when it died waits for `recv` again;
- a full package end pauses ureceiver; failures never hold up anything: there is one slot per target, a second failure
  merges into an unread one, and payloads are kept up to 16 MiB in all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from contextlib import suppress
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from pykka import ActorRef

from ..protocol.errors import Closed, PeerFailed, PeerRestarted, StackFailed, Timeout
from ..protocol.packages import InPackage
from .clock import Clock, Condition, deadline_after
from .subscription import UNHANDLED, Subscription

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..protocol.address import Address
    from .mailbox import Mailbox

T = TypeVar("T")

__all__ = ["CAPACITY", "ErrorEnd", "PackageEnd", "UserEnd"]

CAPACITY: Final = 1024
"""Packages that may wait for the user before ureceiver pauses."""
MAX_PAYLOADS: Final = 16 * 1024 * 1024
"""Bytes of unconfirmed packages kept for the user to look at."""


class _State(Enum):
    OPEN = auto()
    ENDED = auto()
    FAILED = auto()
    CLOSED = auto()


class UserEnd(ABC, Generic[T]):
    """What the two receiving ends have in common. Thread-safe."""

    def __init__(self, clock: Clock, name: str) -> None:
        self._clock = clock
        self.name = name
        self._condition = Condition(clock)
        self._state = _State.OPEN
        self._cause: BaseException | None = None
        self._returned: deque[T] = deque()
        self._subscription: Subscription[T] | None = None

    # For the user.

    def recv(self, timeout: float | None) -> T:
        """Take the next item; see `PackageReceiver.recv`."""
        return self.recv_many(1, timeout)[0]

    def recv_many(self, most: int, timeout: float | None) -> list[T]:
        """Take up to `most` items, at least one; see `PackageReceiver.recv_many`."""
        items = self._condition.wait_for(lambda: self._look(most), deadline_after(self._clock, timeout))
        if items is None:
            raise Timeout(f"nothing came within {timeout} seconds")
        return items

    def drain(self) -> list[T]:
        """Take everything that waits."""
        with self._condition.lock:
            return self._take_up_to(1 << 62) if self._state is not _State.CLOSED else []

    def subscribe(self, ref: ActorRef[Any], *, batch: bool = False, keeps: object = None) -> None:
        """Tell everything to `ref` from now on, what waits already first; `keeps` lives as long as the subscription."""
        if not isinstance(ref, ActorRef):  # pyright: ignore[reportUnnecessaryIsInstance] - a public edge
            raise TypeError(f"a subscriber is the ref of an actor, which `start` returns, not {ref!r}")
        with self._condition.lock:
            if self._state is _State.CLOSED:
                raise Closed(f"this {self.name} was closed")
            self._subscription = Subscription(self, ref, batch=batch, keeps=keeps)
            self._tell()

    def unsubscribe(self) -> None:
        """Tell nothing more; what comes waits for `recv`."""
        with self._condition.lock:
            self._subscription = None

    @property
    def closed(self) -> bool:
        """Whether the user has closed this end."""
        return self._state is _State.CLOSED

    # For the stack.

    def close(self) -> None:
        """Take nothing more and drop what waits."""
        with self._condition.lock:
            self._leave(_State.CLOSED)
            self._made_room()

    def end(self) -> None:
        """Note that nothing more will come."""
        self._leave(_State.ENDED)

    def fail(self, cause: BaseException) -> None:
        """Note that the stack gave up."""
        self._cause = cause
        self._leave(_State.FAILED)

    def orphan(self, cause: BaseException) -> None:
        """Fail the copy that a fork made: what waits is taken in the parent, and whoever held the lock is not here."""
        self._condition = Condition(self._clock)
        self._subscription = None
        self.drain()
        self.fail(cause)

    def _leave(self, state: _State) -> None:
        with self._condition.lock:
            if self._state is _State.OPEN or state is _State.CLOSED:
                self._state = state
            if state is _State.CLOSED:
                self._subscription = None
            self._condition.notify_all()

    # What the two ends differ in. All are called with the condition held.

    @abstractmethod
    def _pop(self) -> T | None: ...

    def _made_room(self) -> None:
        """Called after items were taken."""

    # Inner steps, with the condition held.

    def _look(self, most: int) -> list[T] | None:
        """Take up to `most` items, at least one; None if there is none yet."""
        if self._state is not _State.CLOSED:
            items = self._take_up_to(most)
            if items:
                return items
        if self._state is _State.FAILED:
            raise StackFailed(f"the stack of this {self.name} gave up") from self._cause
        if self._state is not _State.OPEN:
            why = "was closed" if self._state is _State.CLOSED else "has nothing more to come: the stack has ended"
            raise Closed(f"this {self.name} {why}")
        return None

    def _take_up_to(self, most: int) -> list[T]:
        items: list[T] = []
        while len(items) < most:
            item = self._returned.popleft() if self._returned else self._pop()
            if item is None:
                break
            items.append(item)
        self._made_room()
        return items

    def _came(self) -> None:
        """Hand on what has come."""
        if self._subscription is not None:
            self._tell()
        else:
            self._condition.notify_all()

    def _tell(self) -> None:
        subscription = self._subscription
        if subscription is not None:
            subscription.tell(self._take_up_to(UNHANDLED - len(subscription.unhandled)))

    # For the subscription.

    def subscriber_handled(self, subscription: Subscription[T]) -> None:
        """Tell more, now that the subscriber has caught up by half."""
        with self._condition.lock:
            if self._subscription is subscription:
                self._tell()

    def subscriber_died(self, subscription: Subscription[T]) -> None:
        """Take back what the subscriber did not begin to handle."""
        with self._condition.lock:
            if subscription.dead:
                return
            subscription.dead = True
            self._returned.extendleft(reversed(list(subscription.unhandled)))
            if self._subscription is subscription:
                self._subscription = None
                self._condition.notify_all()
            else:
                self._came()


class PackageEnd(UserEnd[InPackage]):
    """Where received packages wait."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock, "receiver")
        self._packages: deque[InPackage] = deque()
        self._feeder: Mailbox | None = None

    def recv(self, timeout: float | None) -> InPackage:
        """Take the next package; see `PackageReceiver.recv`."""
        # Nearly always one waits and nothing is special: taking it needs no lock then.
        if self._state is _State.OPEN and not self._returned:
            try:
                package = self._packages.popleft()
            except IndexError:
                pass
            else:
                if self._feeder is not None:
                    with self._condition.lock:
                        self._made_room()
                return package
        return super().recv(timeout)

    def put_all(self, packages: Iterable[InPackage]) -> None:
        """Add packages. Called by ureceiver."""
        with self._condition.lock:
            if self._state is not _State.CLOSED:
                self._packages.extend(packages)
                self._came()

    def over_capacity(self, feeder: Mailbox) -> bool:
        """Tell whether ureceiver should pause; it is woken when there is room.

        One that was told to stop should not: a user who never reads must not keep the stack from ending.
        """
        with self._condition.lock:
            self._feeder = feeder  # before looking, since taking a package may hold no lock
            if len(self._packages) > CAPACITY and not (self.closed or feeder.stopping):
                return True
            self._feeder = None
            return False

    def _pop(self) -> InPackage | None:
        try:
            return self._packages.popleft()
        except IndexError:  # a `recv`, which holds no lock, may have taken the last one
            return None

    def _take_up_to(self, most: int) -> list[InPackage]:
        if self._returned:
            return super()._take_up_to(most)
        take = self._packages.popleft
        items: list[InPackage] = []
        # What is counted here may be taken by a `recv` meanwhile, which holds no lock.
        with suppress(IndexError):
            for _ in range(min(most, len(self._packages))):
                items.append(take())  # noqa: PERF401 - what was taken before an IndexError counts
        self._made_room()
        return items

    def _made_room(self) -> None:
        if self._feeder is not None and (len(self._packages) <= CAPACITY or self._state is _State.CLOSED):
            self._feeder.wake()
            self._feeder = None


class ErrorEnd(UserEnd[PeerFailed]):
    """Where failures wait, one slot per target."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock, "error receiver")
        self._slots: dict[Address, PeerFailed] = {}
        self._payloads = 0

    def put(self, failure: PeerFailed) -> None:
        """Add a failure."""
        with self._condition.lock:
            unread = self._slots.pop(failure.target, None)
            room = MAX_PAYLOADS - self._payloads
            kept: list[Any] = []
            for package in failure.unconfirmed:
                room -= len(package.data)
                if room < 0:
                    break
                kept.append(package)
            self._payloads += sum(len(package.data) for package in kept)
            before = unread.unconfirmed if unread is not None else ()
            count = failure.count + (unread.count if unread is not None else 0)
            if isinstance(failure, PeerRestarted) or isinstance(unread, PeerRestarted):
                # Once it was restarted, nobody should miss that.
                self._slots[failure.target] = PeerRestarted(failure.target, (*before, *kept), count)
            else:
                self._slots[failure.target] = PeerFailed(failure.target, failure.reason, (*before, *kept), count)
            self._came()

    def leftovers(self) -> list[PeerFailed]:
        """Take what nobody read, even from a closed end."""
        with self._condition.lock:
            return self._take_up_to(1 << 62)

    def _pop(self) -> PeerFailed | None:
        if not self._slots:
            return None
        failure = self._slots.pop(next(iter(self._slots)))
        self._payloads -= sum(len(package.data) for package in failure.unconfirmed)
        return failure
