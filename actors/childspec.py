"""What a supervisor is told, as data: children, strategies, limits. Everything is checked when it is given.

The names and their meaning are those of OTP's `supervisor` (https://www.erlang.org/doc/apps/stdlib/supervisor.html).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

from ..protocol.checks import how_many, seconds
from .inbox import Inbox
from .mailbox import Mailbox
from .supervised import Birth, PlainInbox, SupervisedActor

if TYPE_CHECKING:
    from .clock import Clock

__all__ = ["AutoShutdown", "Backoff", "ChildSpec", "Restart", "Strategy", "how_many", "one_of", "seconds"]

E = TypeVar("E", bound=StrEnum)


class Restart(StrEnum):
    """When a child that has ended by itself is started again."""

    PERMANENT = "permanent"
    """Always."""
    TRANSIENT = "transient"
    """When it crashed; not when it was stopped."""
    TEMPORARY = "temporary"
    """Never. Its spec goes with it."""


class Strategy(StrEnum):
    """Who is restarted together with a child that has ended."""

    ONE_FOR_ONE = "one_for_one"
    """Nobody."""
    ONE_FOR_ALL = "one_for_all"
    """All the others."""
    REST_FOR_ONE = "rest_for_one"
    """Those that were started after it."""


class AutoShutdown(StrEnum):
    """Whether a supervisor ends when significant children have ended by themselves and are not restarted."""

    NEVER = "never"
    ANY_SIGNIFICANT = "any_significant"
    """When one has."""
    ALL_SIGNIFICANT = "all_significant"
    """When the last one has."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long a child waits for its restart: not at all the first time within the period, then ever longer.

    Attributes:
        first: seconds before the second restart; each further one waits twice as long.
        longest: seconds at the most. Both are multiplied by a random number from 0.5 to 1.5.

    Raises:
        TypeError, ValueError: these are no such times.
    """

    first: float = 0.01
    longest: float = 0.25

    def __post_init__(self) -> None:
        seconds("first", self.first)
        seconds("longest", self.longest)
        if self.longest < self.first:
            raise ValueError(f"the longest wait, {self.longest!r}, is shorter than the first, {self.first!r}")

    def wait(self, earlier: int, luck: float) -> float:
        """Return the seconds to wait after so many earlier crashes; `luck` is from 0 to 1."""
        if not earlier:
            return 0.0
        doublings = min(earlier - 1, 64)  # far beyond any longest wait
        return min(self.longest, self.first * 2.0**doublings) * (0.5 + luck)


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """One child of a `Supervisor`.

    Attributes:
        id: its name within the supervisor.
        factory: makes an incarnation, not started: a subclass of `SupervisedActor`, or `functools.partial` of one with
            its arguments. It is called in the supervisor's thread; what takes long belongs into the actor's `on_start`.
        restart: when it is started again: "permanent", "transient" or "temporary".
        shutdown: seconds that it gets to handle what is in its mailbox and to end, when it is told to. 0: it ends after
            what it is handling. None: as long as it takes, which is right for supervisors.
        significant: whether its end may end the supervisor; see `AutoShutdown`.
        hang_after: seconds without any progress, though it is at work, after which it counts as hung: it is left
            behind and, by its restart type, replaced. None: never.

    Raises:
        TypeError, ValueError: one of these makes no sense; the message says which and why.
    """

    id: str
    factory: Callable[[], SupervisedActor]
    restart: Restart | str = Restart.PERMANENT
    shutdown: float | None = 5.0
    significant: bool = False
    hang_after: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.id, str):  # pyright: ignore[reportUnnecessaryIsInstance] - users may be mistaken
            raise TypeError(f"the id of a child is a str, not {self.id!r}")
        if not self.id:
            raise ValueError("the id of a child must not be empty")
        self._check_factory()
        object.__setattr__(self, "restart", one_of(Restart, f"restart of {self.id!r}", self.restart))
        if self.shutdown is not None:
            seconds(f"shutdown of {self.id!r}", self.shutdown)
        if not isinstance(self.significant, bool):  # pyright: ignore[reportUnnecessaryIsInstance] - users may be mistaken
            raise TypeError(f"significant of {self.id!r} is True or False, not {self.significant!r}")
        if self.significant and self.restart is Restart.PERMANENT:
            raise ValueError(
                f"{self.id!r} is permanent, so its end cannot be significant; make it transient or temporary"
            )
        if self.hang_after is not None and not seconds(f"hang_after of {self.id!r}", self.hang_after):
            raise ValueError(f"hang_after of {self.id!r} must be more than 0; None switches it off")

    def _check_factory(self) -> None:
        factory: object = self.factory
        if isinstance(factory, SupervisedActor):
            raise TypeError(f"the factory of {self.id!r} is an actor; give its class, so that it can be made again")
        if not callable(factory):
            raise TypeError(f"the factory of {self.id!r} must be callable, which {factory!r} is not")
        if isinstance(factory, type) and not issubclass(factory, SupervisedActor):
            raise TypeError(
                f"{factory.__name__} is no subclass of SupervisedActor, so {self.id!r} cannot be supervised"
            )

    # What special kinds of children do differently.

    def open_mailbox(self, clock: Clock) -> Mailbox:
        """Make the mailbox that the child's incarnations read."""
        return Mailbox(self.id, clock)

    def open_inbox(self, mailbox: Mailbox) -> Inbox:
        """Make an incarnation's view of it."""
        return PlainInbox(mailbox)

    def make(self, birth: Birth) -> SupervisedActor:
        """Make an incarnation.

        Raises:
            TypeError: the factory made something else.
            BaseException: what the factory raised.
        """
        actor = self.factory()
        if not isinstance(actor, SupervisedActor):  # pyright: ignore[reportUnnecessaryIsInstance] - users may be mistaken
            raise TypeError(f"the factory of {self.id!r} made {actor!r}, which is no SupervisedActor")
        if actor.adopted:
            raise TypeError(f"the factory of {self.id!r} made an actor that was started or supervised before")
        actor.adopt(birth)
        return actor

    def abandoned(self) -> BaseException | None:
        """Separate what the next incarnation works on from a hung one; return what could not be, if so."""
        return None


def one_of(kind: type[E], what: str, value: object) -> E:
    """Return a value as a member of an enum, or raise ValueError that lists them."""
    try:
        return kind(value)  # type: ignore[arg-type] # what is no member is refused
    except ValueError:
        raise ValueError(f"{what} must be one of {', '.join(kind)}, not {value!r}") from None
