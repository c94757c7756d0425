"""resender: delivers again what was not confirmed in time, and tells the user when a peer has failed.

Owns the unconfirmed packages, round-trip times and timers (`Redelivery`). When cancelled it goes on until everything is
confirmed or has failed; once the user has closed errors as well, for a limited time (`GiveUpAt`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from ..protocol.messages import Confirmed, Dropped, Flush, Forgotten, Left, Listen, Refused, Revive, Sent
from ..protocol.redelivery import Redelivery
from .messages import Death, GiveUpAt
from .node import Node, Station

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .ends import ErrorEnd
    from .inbox import Inbox

__all__ = ["Resender"]


class Resender(Node[Redelivery]):
    """The node behind `ConnErrorReceiver`."""

    handlers: ClassVar[Mapping[type, str]] = {
        Sent: "_sent",
        Left: "_left",
        Listen: "_heard",
        Confirmed: "_confirmed",
        Refused: "_refused",
        Revive: "_revive",
        Dropped: "_dropped",
        Forgotten: "_forgotten",
        Flush: "_flush",
        GiveUpAt: "_give_up_at",
    }

    def __init__(
        self,
        station: Station[Redelivery],
        inbox: Inbox,
        generation: int,
        report: Callable[[Death], None],
        *,
        errors: ErrorEnd,
    ) -> None:
        super().__init__(station, inbox, generation, report)
        self._errors = errors
        self._usender = station.outlets["usender"]
        self._dsender = station.outlets["dsender"]
        self._dreceiver = station.outlets["dreceiver"]

    def _sent(self, sent: Sent, now: float) -> None:
        del now
        self._state.sent(sent)

    def _left(self, left: Left, now: float) -> None:
        del now
        self._state.left(left)

    def _heard(self, listen: Listen, now: float) -> None:
        del now
        self._state.heard(listen)

    def _confirmed(self, confirmed: Confirmed, now: float) -> None:
        del now
        self._state.confirmed(confirmed)

    def _refused(self, refused: Refused, now: float) -> None:
        del now
        self._state.refused(refused)

    def _revive(self, revive: Revive, now: float) -> None:
        self._state.revive(revive, now)

    def _dropped(self, dropped: Dropped, now: float) -> None:
        del now
        self._state.dropped(dropped)

    def _forgotten(self, forgotten: Forgotten, now: float) -> None:
        del now
        self._state.forgotten(forgotten)

    def _flush(self, flush: Flush, now: float) -> None:
        del now
        self._state.flush(flush)

    def _give_up_at(self, message: GiveUpAt, now: float) -> None:
        del now
        self._state.give_up_at(message.deadline)

    def _after(self, now: float) -> None:
        self._state.tick(now)

    def _deadline(self) -> float | None:
        return self._state.deadline()

    def _on_cancel(self, now: float) -> None:
        del now
        self._state.backlog_ended()

    def _is_done(self) -> bool:
        return not self._state.pending

    def _emit(self) -> None:
        state = self._state
        for failure in state.failures:
            self._logger.warning(
                "peer:failed", target=failure.target, trigger=failure.reason.value, unconfirmed=failure.count
            )
            self._errors.put(failure)
        state.failures.clear()
        self._usender.put_all(state.to_usender)
        state.to_usender.clear()
        self._dsender.put_all(state.to_dsender)
        state.to_dsender.clear()
        self._dreceiver.put_all(state.to_dreceiver)
        state.to_dreceiver.clear()
        self._counters["resent"] = state.resent
        self._counters["strange"] = state.strange
        for token in state.flushed:
            promise: Any = token  # what usender put into the Flush
            promise.keep(None)
        state.flushed.clear()

    def _salvage(self, item: Any, now: float) -> None:
        kind = item.__class__
        if kind is Sent or kind is Revive:
            self._state.poisoned(item, now)
        elif kind in (Dropped, Forgotten, Flush, GiveUpAt):
            self._table[kind](item, now)  # nothing heals the loss of these, so they are tried once more
