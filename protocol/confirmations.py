"""The receiving half of a peer, second part: what to confirm and when (the confirmer's state).

The rules (protocol/README.md has them in full):

- ids are confirmed in the order in which their packages came, each as often as its package came;
- a source's ids go out together: `ConfirmPolicy.delay` after the oldest, sooner when there are `count` of them or when
  one is urgent. Those of other sources that would be due within a fifth of the delay go with them: a thread that is
  woken for each of many sources would cost more than everything else;
- what was confirmed within the last `ConfirmPolicy.repeat` seconds is confirmed once more in spare room, up to 32 ids
  behind the fresh ones: so the loss of a control datagram seldom makes a sender send again;
- at most `max_peers` wait, and as many are remembered; with one more the oldest is confirmed at once, or no longer
  remembered;
- ids of different numberings of a source, which their *echo* tells, never share a datagram (see `identity`). An
  introduction is acknowledged by an echo alone if no ids come along;
- a control datagram holds 168 ids, one less with an echo. Of more the oldest go first, since what is confirmed in order
  costs a sender the least; the original cuts from the newest end and sends that first (`ConfirmPolicy.newest_first`).
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from .header import MAX_CONFIRMED, pack_confirmation
from .identity import refusal
from .messages import Datagrams, Refuse, StillHere, ToConfirm
from .notes import Note, which
from .sources import MAX_PEERS

if TYPE_CHECKING:
    from .address import Address
    from .policy import ConfirmPolicy

__all__ = ["Confirmations"]


TOGETHER: Final = 1 / 5
"""Share of the delay by which ids go out early with those of another source."""

REPEATED: Final = 32
"""Ids that are confirmed again in spare room, at most."""


@dataclass(slots=True)
class _Waiting:
    since: float
    echo: int
    ids: list[int] = field(default_factory=list[int])


@dataclass(slots=True)
class _Recent:
    """Ids that were confirmed lately, and when; the last one last. No deques, an empty one of which takes 600 bytes."""

    echo: int
    ids: list[int] = field(default_factory=list[int])
    times: list[float] = field(default_factory=list[float])


class Confirmations:
    """Collects ids per source and makes control datagrams of them.

    Args:
        policy: when to confirm.
        max_peers: of how many sources ids may wait, or be remembered, at a time.

    Attributes:
        to_dsender: control datagrams to send.
        confirmed: how many ids went into datagrams so far.
    """

    notes: list[Note] | None = None

    def __init__(self, policy: ConfirmPolicy, *, max_peers: int = MAX_PEERS) -> None:
        self.to_dsender: list[Datagrams] = []
        self.confirmed = 0
        self._policy = policy
        self._max_peers = max_peers
        self._waiting: dict[Address, _Waiting] = {}  # oldest first
        self._due: dict[Address, None] = {}
        self._recent: dict[Address, _Recent] = {}

    def add(self, message: ToConfirm) -> None:
        """Take ids to confirm; those that should not wait go out with the next `tick`."""
        waiting = self._waiting.get(message.source)
        if waiting is not None and waiting.echo != message.echo:
            self._confirm(message.source, message.time)
            waiting = None
        if waiting is None:
            if len(self._waiting) >= self._max_peers:
                oldest = next(iter(self._waiting))
                self._confirm(oldest, message.time)
                self._due.pop(oldest, None)
            waiting = self._waiting[message.source] = _Waiting(message.time, message.echo)
        waiting.ids += message.ids
        if (message.urgent and self._policy.urgent) or len(waiting.ids) >= self._policy.count:
            self._due[message.source] = None

    def still_here(self, message: StillHere) -> None:
        """Tell these sources that we live, though nothing can be confirmed at the moment."""
        self.to_dsender += [Datagrams(source, [pack_confirmation([])]) for source in message.sources]

    def refuse(self, message: Refuse) -> None:
        """Tell a source that its packages are not taken."""
        self.to_dsender.append(Datagrams(message.source, [refusal(message.hint, message.by)]))

    def deadline(self) -> float | None:
        """Return when `tick` wants to be called next, or None."""
        for waiting in self._waiting.values():
            return waiting.since + self._policy.delay
        return None

    def tick(self, now: float) -> None:
        """Confirm what is due."""
        for source in self._due:
            self._confirm(source, now)
        self._due.clear()
        deadline = self.deadline()
        if deadline is None or now < deadline:
            return
        soon = now + self._policy.delay * TOGETHER
        while deadline is not None and deadline <= soon:
            self._confirm(next(iter(self._waiting)), now)
            deadline = self.deadline()

    def confirm_all(self, now: float) -> None:
        """Confirm everything without waiting."""
        for source in list(self._waiting):
            self._confirm(source, now)
        self._due.clear()

    def _confirm(self, source: Address, now: float) -> None:
        ids, echo = self._waiting[source].ids, self._waiting[source].echo
        most = MAX_CONFIRMED - 1 if echo else MAX_CONFIRMED
        pieces = [ids]
        if len(ids) > most:
            pieces = [ids[start : start + most] for start in range(0, len(ids), most)]
            if self._policy.newest_first:
                pieces = [ids[max(0, end - most) : end] for end in range(len(ids), 0, -most)]
        if self._policy.repeat and ids:
            pieces[-1] = pieces[-1] + self._repeat(source, echo, ids, most - len(pieces[-1]), now)
        self.to_dsender.append(Datagrams(source, [pack_confirmation(piece, echo) for piece in pieces]))
        self.confirmed += len(ids)
        if self.notes is not None and ids:
            self.notes.append(("transport:confirmation_sent", {"target": source, **which(ids)}))
        del self._waiting[source]

    def _repeat(self, source: Address, echo: int, fresh: list[int], room: int, now: float) -> list[int]:
        """Return recent ids to confirm again, the latest first, and remember the fresh ones."""
        recent = self._recent.pop(source, None)
        if recent is None or recent.echo != echo:
            recent = _Recent(echo)
        self._recent[source] = recent  # the last in use is the last in order
        ids, times, since = recent.ids, recent.times, now - self._policy.repeat
        count = min(room, REPEATED, len(ids) - bisect_left(times, since))
        again = ids[: -1 - count : -1]  # so many from the end, backwards
        ids += fresh[-REPEATED:]
        times += [now] * (len(ids) - len(times))
        if len(ids) > 2 * REPEATED:
            del ids[:-REPEATED], times[:-REPEATED]
        while True:  # those out of use, which are the first in order, need no memory
            oldest = next(iter(self._recent))
            if self._recent[oldest].times[-1] >= since and len(self._recent) <= self._max_peers:
                break
            del self._recent[oldest]
        return again
