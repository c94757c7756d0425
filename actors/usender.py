"""usender: takes packages from the user and gives them ids.

Owns the id counters and the backlog of every target (`Numbering`). Tells the resender about a package before it gives
the datagram to dsender, so that no confirmation can come unexpected. When cancelled it ends once no backlog is left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from ..protocol.errors import FailureReason, PeerFailed
from ..protocol.messages import Acknowledged, Failed, Grant, Restarted, Unknown
from ..protocol.numbering import Numbering
from ..protocol.packages import OutPackage
from ..protocol.runs import by_target
from .context import TracedPackage
from .messages import Batch, Death, FlushAll, Forget
from .node import Node, Station

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .admission import Admission
    from .ends import ErrorEnd
    from .inbox import Inbox

__all__ = ["USender"]

SOON: Final = 0.02
"""Seconds in which resender should hear of what was sent, if nobody waits for room."""

SHORT: Final = 8
"""Packages in a run that are few enough to look for more of the same target further behind."""


class USender(Node[Numbering]):
    """The node behind `PackageSender`."""

    handlers: ClassVar[Mapping[type, str]] = {
        OutPackage: "_send",
        TracedPackage: "_send",
        Grant: "_granted",
        Failed: "_failed",
        Unknown: "_unknown",
        Acknowledged: "_acknowledged",
        Restarted: "_restarted",
        Forget: "_forget",
        FlushAll: "_flush",
    }

    def __init__(
        self,
        station: Station[Numbering],
        inbox: Inbox,
        generation: int,
        report: Callable[[Death], None],
        *,
        admission: Admission,
        errors: ErrorEnd,
    ) -> None:
        super().__init__(station, inbox, generation, report)
        self._admission = admission
        self._errors = errors
        self._resender = station.outlets["resender"]
        self._dsender = station.outlets["dsender"]
        self._wake_by: float | None = None

    def _handle(self, batch: Batch, now: float) -> None:
        """Send the packages of a batch in runs, and handle everything else, and what is irregular, item by item.

        Where targets take turns, what is left of the batch is ordered by target, so that there are runs.
        """
        items, send_run, table = batch.items, self._state.send_run, self._table
        at, ordered = 0, False
        while at < len(items):
            item = items[at]
            if item.__class__ is OutPackage:
                try:
                    behind = send_run(items, at, now)
                except Exception:  # noqa: BLE001 - one package of the run; `_send` finds out which, and crashes over it alone
                    behind = at
                if behind > at:
                    batch.begun = behind
                    if behind - at < SHORT and not ordered and behind < len(items):
                        items[behind:] = by_target(items[behind:])
                        ordered = True
                    at = behind
                    continue
            batch.begun = at = at + 1
            handler = table.get(item.__class__)
            if handler is None:
                self._unexpected(item, now)
            else:
                handler(item, now)

    def _send(self, package: OutPackage, now: float) -> None:
        self._state.send(package, now)

    def _granted(self, grant: Grant, now: float) -> None:
        self._state.granted(grant, now)

    def _failed(self, failed: Failed, now: float) -> None:
        del now
        self._state.failed(failed)

    def _unknown(self, unknown: Unknown, now: float) -> None:
        self._state.unknown(unknown, now)

    def _acknowledged(self, acknowledged: Acknowledged, now: float) -> None:
        del now
        self._state.acknowledged(acknowledged)

    def _restarted(self, restarted: Restarted, now: float) -> None:
        self._state.restarted(restarted, now)

    def _forget(self, forget: Forget, now: float) -> None:
        del now
        self._state.forget(forget.target)

    def _flush(self, flush: FlushAll, now: float) -> None:
        del now
        self._state.flush(flush.promise)

    def _after(self, now: float) -> None:
        self._state.tick(now)

    def _deadline(self) -> float | None:
        return self._state.deadline()

    def _emit(self) -> None:
        state = self._state
        for failure in state.failures:
            self._tell_user(failure)
        state.failures.clear()
        if state.to_resender:
            self._resender.put_softly(state.to_resender)
            state.to_resender.clear()
            self._wake_by = self._clock.now() + (0.0 if state.urgent else SOON)
            state.urgent = False
        if state.to_dsender:
            self._hand_over(self._dsender, state.to_dsender, sum([len(run.datagrams) for run in state.to_dsender]))
            state.to_dsender.clear()
        if state.released or state.waiting:
            self._admission.release(state.released, state.waiting)
            state.released.clear()

    def _wake_others(self) -> None:
        # resender has to know first, but that it is woken can wait until the datagrams are on their way.
        if self._wake_by is not None:
            self._resender.wake_by(self._wake_by)
            self._wake_by = None

    def _tell_user(self, failure: PeerFailed) -> None:
        if failure.count:
            self._logger.warning(
                "package:given_up", target=failure.target, trigger=failure.reason.value, count=failure.count
            )
        self._errors.put(failure)

    def _is_done(self) -> bool:
        return not self._state.waiting

    def _salvage(self, item: Any, now: float) -> None:
        if isinstance(item, OutPackage):
            # It got no id, so it leaves no hole.
            self._admission.release({item.target: 1}, self._state.waiting)
            self._tell_user(PeerFailed(item.target, FailureReason.POISONED, [item]))
        elif type(item) in self._table:
            self._table[type(item)](item, now)  # nothing heals the loss of these, so they are tried once more
