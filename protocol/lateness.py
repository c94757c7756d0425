"""How late our own stack is, so that it does not take its own lateness for a loss.

A datagram waits in the stack before it goes out, and its confirmation waits after it has come in: for a thread, for the
processor, in the system's buffer. In a busy stack that takes longer than the network does. So:

- a package counts as sent when its datagram has *left* (`Left`), not when it got its number. Messages leave in the
  order of their *marks*. Until then a package can be neither lost nor overtaken, and no round trip is measured by it;
  but after `STUCK` seconds it is taken to have left, whatever became of the word of it;
- when a timeout is due, a question goes the way of the confirmations (`Listen`). When it comes back, everything is
  handled that had arrived when it was asked; only what is unconfirmed then has timed out. After `PATIENCE` seconds it
  counts as answered.
"""

from __future__ import annotations

from collections import deque
from math import inf
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from .messages import Listen

if TYPE_CHECKING:
    from .messages import Left
    from .unconfirmed import Run

__all__ = ["PATIENCE", "STUCK", "Lateness"]

STUCK: Final = 1.0
"""Seconds after which what was sent counts as having left, though nobody said so."""
PATIENCE: Final = 1.0
"""Seconds after which `Listen` counts as answered."""

P = TypeVar("P")


class Lateness(Generic[P]):
    """What has not left yet, and who waits for word that everything is handled which has arrived.

    Attributes:
        heard: everything that had arrived at this time is handled.
        asked: when the question was asked that is not answered yet; None if there is none.
    """

    def __init__(self) -> None:
        self.heard = -inf
        self.asked: float | None = None
        self._leaving: deque[tuple[int, Run, P]] = deque()
        self._waiting: list[P] = []

    def expect(self, mark: int, run: Run, peer: P) -> None:
        """Let the time of a run be that at which it leaves."""
        run.leaves_by = run.time + STUCK
        self._leaving.append((mark, run, peer))

    def left(self, left: Left) -> list[tuple[Run, P]]:
        """Note when runs have left; return them."""
        leaving, gone = self._leaving, list[tuple["Run", P]]()
        while leaving and leaving[0][0] <= left.mark:
            _, run, peer = leaving.popleft()
            run.time, run.leaves_by = left.time, 0.0
            gone.append((run, peer))
        return gone

    def ask(self, peer: P, now: float) -> list[Listen]:
        """Ask for somebody whose timeout is due; return the question, unless one is under way."""
        self._waiting.append(peer)
        if self.asked is not None:
            return []
        self.asked = now
        return [Listen(now)]

    def answer(self, listen: Listen) -> None:
        """Note that a question came back; one that counts as answered already is ignored."""
        if listen.time == self.asked:
            self.heard, self.asked = listen.time, None

    def deadline(self) -> float | None:
        """Return when the question counts as answered, or None if none is under way."""
        return None if self.asked is None else self.asked + PATIENCE

    def answered(self, now: float) -> list[P]:
        """Return who has waited for an answer that is there now, or counts as that."""
        if self.asked is not None and now >= self.asked + PATIENCE:
            self.heard, self.asked = self.asked, None
        if self.asked is not None or not self._waiting:
            return []
        waiting, self._waiting = self._waiting, []
        return waiting
