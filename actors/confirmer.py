"""confirmer: sends confirmations, and refusals.

Owns the ids to confirm and when (`Confirmations`). When cancelled it first confirms everything it knows of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ..protocol.confirmations import Confirmations
from ..protocol.messages import Refuse, StillHere, ToConfirm
from .messages import Death
from .node import Node, Station

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .inbox import Inbox

__all__ = ["Confirmer"]


class Confirmer(Node[Confirmations]):
    """The node that sends control datagrams."""

    handlers: ClassVar[Mapping[type, str]] = {
        ToConfirm: "_add",
        Refuse: "_refuse",
        StillHere: "_still_here",
    }

    def __init__(
        self, station: Station[Confirmations], inbox: Inbox, generation: int, report: Callable[[Death], None]
    ) -> None:
        super().__init__(station, inbox, generation, report)
        self._dsender = station.outlets["dsender"]

    def _add(self, message: ToConfirm, now: float) -> None:
        del now
        self._state.add(message)

    def _refuse(self, message: Refuse, now: float) -> None:
        del now
        self._state.refuse(message)

    def _still_here(self, message: StillHere, now: float) -> None:
        del now
        self._state.still_here(message)

    def _after(self, now: float) -> None:
        if self._draining:
            self._state.confirm_all(now)
        else:
            self._state.tick(now)

    def _deadline(self) -> float | None:
        return self._state.deadline()

    def _emit(self) -> None:
        if self._state.to_dsender:
            self._hand_over(self._dsender, self._state.to_dsender)
            self._state.to_dsender.clear()
        self._counters["confirmed"] = self._state.confirmed
