"""When to send again, when to give up, when to confirm: the choices the wire leaves open.

| policy                    | sends again after                              | gives a peer up                         |
|---------------------------|------------------------------------------------|-----------------------------------------|
| `ResendPolicy()`          | losses as measured, else RTO by RFC 6298, then | after 20 s of silence, or if a package  |
|                           | probes, at most 1 s apart (see `recovery`)     | is 60 s old with ten copies sent        |
| `ResendPolicy.original()` | 220 ms * 2^n and up to half of that on top,    | at the end of the sixth wait            |
|                           | n = 0, 1, 2, ...                               |                                         |

Silence is counted from the later of the peer's last control datagram and the first sending of its oldest
unconfirmed package.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Final

from .checks import how_many, seconds
from .original import ORIGINAL_COPIES, OriginalRecovery
from .recovery import MeasuredRecovery

if TYPE_CHECKING:
    from collections.abc import Callable

    from .unconfirmed import Recovery

__all__ = ["ConfirmPolicy", "ResendPolicy"]

ORIGINAL_LONGEST: Final = 60.0
"""Seconds, more than the six waits can take together: only they fail a peer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResendPolicy:
    """When an unconfirmed package is sent again and when its peer is given up. All times in seconds.

    Without an identity (`startup(identity=False)`) keep `silence` and `age` at 60 or below: a package that comes again
    more than 120 seconds after its first copy is taken for that of a restarted sender, and delivered once more.

    Attributes:
        longest_wait: no two probes are further apart than this, unless the round trip takes longer.
        silence: a peer that sent no control datagram for so long, while packages waited for one, has failed.
        age: a package so old, of which `copies` copies were sent, fails its peer even if the peer still answers.
        copies: see `age`.

    Raises:
        TypeError: a time is no number, or `copies` is not an int.
        ValueError: a time is not above 0, or `copies` is less than 1.
    """

    longest_wait: float = 1.0
    silence: float = 20.0
    age: float = 60.0
    copies: int = 10

    def __post_init__(self) -> None:
        for name, time in (("longest_wait", self.longest_wait), ("silence", self.silence), ("age", self.age)):
            if time != inf and not seconds(name, time):
                raise ValueError(f"{name} is a number of seconds above 0, not {time!r}")
        how_many("copies", self.copies)

    @staticmethod
    def original() -> ResendPolicy:
        """Return the schedule of the protocol's original, for comparison and for tests against recorded traffic."""
        return _OriginalPolicy(silence=ORIGINAL_LONGEST)

    def recovery(self, first: int, random: Callable[[], float]) -> Recovery:
        """Make the loss recovery of one peer.

        Args:
            first: the first number that it will see.
            random: returns uniformly random numbers from 0 to 1.
        """
        del random
        return MeasuredRecovery(first, self.longest_wait)

    def exhausted(self, copies: int, age: float) -> bool:
        """Tell whether a package, `age` seconds after its first copy was sent, should not get another one."""
        return copies >= self.copies and age >= self.age


class _OriginalPolicy(ResendPolicy):
    __slots__ = ()

    def recovery(self, first: int, random: Callable[[], float]) -> Recovery:
        return OriginalRecovery(first, random)

    def exhausted(self, copies: int, age: float) -> bool:
        del age
        return copies >= ORIGINAL_COPIES


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmPolicy:
    """When received packages are confirmed.

    Attributes:
        delay: a package is confirmed at most so many seconds after it came. The wire allows up to 0.1.
        count: as many ids as this are confirmed without waiting any longer.
        urgent: confirm at once what came doubled or out of order, because its sender may be about to send again.
        repeat: for so many seconds ids are confirmed again in spare room, in case a confirmation is lost; 0 for never.
        newest_first: of more ids than a datagram holds, the newest go in the first one; else the oldest do, for which a
            sender waits.

    Raises:
        TypeError: a time is no number, or `count` is not an int.
        ValueError: `delay` is not from 0 to 0.1, `count` is less than 1, or `repeat` is negative or endless.
    """

    delay: float = 0.005
    count: int = 32
    urgent: bool = True
    repeat: float = 1.0
    newest_first: bool = False

    def __post_init__(self) -> None:
        if seconds("delay", self.delay) > 0.1:  # noqa: PLR2004 - the wire's limit, named in the message
            raise ValueError(f"delay is at most 0.1 seconds, not {self.delay!r}: senders count on it")
        how_many("count", self.count)
        seconds("repeat", self.repeat)

    @staticmethod
    def original() -> ConfirmPolicy:
        """Return the habit of the protocol's original: everything 100 ms after the oldest, the newest first."""
        return ConfirmPolicy(delay=0.1, count=1 << 62, urgent=False, repeat=0.0, newest_first=True)
