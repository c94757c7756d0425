"""The receiving half of a peer, second part: what to confirm and when (the confirmer's state).

The rules (protocol/README.md has them in full):

- ids are confirmed in the order in which their packages came, each as often as its package came;
- a source's ids go out together: `ConfirmPolicy.delay` after the oldest, sooner when there are `count` of them or when
  one is urgent;
- a control datagram holds 168 ids. More are cut from the newest end, so that the newest datagram goes first, as in
  the original.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .header import MAX_CONFIRMED, pack_confirmation
from .messages import Datagrams, StillHere, ToConfirm

if TYPE_CHECKING:
    from .address import Address
    from .policy import ConfirmPolicy

__all__ = ["Confirmations"]


@dataclass(slots=True)
class _Waiting:
    since: float
    ids: list[int] = field(default_factory=list[int])


class Confirmations:
    """Collects ids per source and makes control datagrams of them.

    Attributes:
        to_dsender: control datagrams to send.
        confirmed: how many ids went into datagrams so far.
    """

    def __init__(self, policy: ConfirmPolicy) -> None:
        self.to_dsender: list[Datagrams] = []
        self.confirmed = 0
        self._policy = policy
        self._waiting: dict[Address, _Waiting] = {}  # oldest first
        self._due: dict[Address, None] = {}

    def add(self, message: ToConfirm) -> None:
        """Take ids to confirm; those that should not wait go out with the next `tick`."""
        waiting = self._waiting.get(message.source)
        if waiting is None:
            waiting = self._waiting[message.source] = _Waiting(message.time)
        waiting.ids += message.ids
        if (message.urgent and self._policy.urgent) or len(waiting.ids) >= self._policy.count:
            self._due[message.source] = None

    def still_here(self, message: StillHere) -> None:
        """Tell these sources that we live, though nothing can be confirmed at the moment."""
        self.to_dsender += [Datagrams(source, [pack_confirmation([])]) for source in message.sources]

    def deadline(self) -> float | None:
        """Return when `tick` wants to be called next, or None."""
        for waiting in self._waiting.values():
            return waiting.since + self._policy.delay
        return None

    def tick(self, now: float) -> None:
        """Confirm what is due."""
        for source in self._due:
            self._confirm(source)
        self._due.clear()
        while self._waiting:
            source, waiting = next(iter(self._waiting.items()))
            if now < waiting.since + self._policy.delay:
                return
            self._confirm(source)

    def confirm_all(self) -> None:
        """Confirm everything without waiting."""
        for source in list(self._waiting):
            self._confirm(source)
        self._due.clear()

    def _confirm(self, source: Address) -> None:
        ids = self._waiting[source].ids
        pieces = [
            pack_confirmation(ids[max(0, end - MAX_CONFIRMED) : end]) for end in range(len(ids), 0, -MAX_CONFIRMED)
        ]
        self.to_dsender.append(Datagrams(source, pieces))
        self.confirmed += len(ids)
        del self._waiting[source]
