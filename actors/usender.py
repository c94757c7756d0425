"""usender: takes packages from the user and gives them ids.

Owns the id counters and the backlog of every target (`Numbering`). Tells the resender about a package before it gives
the datagram to dsender, so that no confirmation can come unexpected. When cancelled it ends once no backlog is left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from ..protocol.errors import FailureReason, PeerFailed
from ..protocol.messages import Expired, Failed, Grant
from ..protocol.numbering import Numbering
from ..protocol.packages import OutPackage
from .messages import Death, FlushAll, Forget
from .node import Node, Station

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .admission import Admission
    from .ends import ErrorEnd
    from .mailbox import Inbox

__all__ = ["USender"]


class USender(Node[Numbering]):
    """The node behind `PackageSender`."""

    handlers: ClassVar[Mapping[type, str]] = {
        OutPackage: "_send",
        Grant: "_granted",
        Failed: "_failed",
        Expired: "_expired",
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

    def _send(self, package: OutPackage, now: float) -> None:
        self._state.send(package, now)

    def _granted(self, grant: Grant, now: float) -> None:
        self._state.granted(grant, now)

    def _failed(self, failed: Failed, now: float) -> None:
        del now
        self._state.failed(failed)

    def _expired(self, expired: Expired, now: float) -> None:
        self._state.expired(expired, now)

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
        self._resender.put_all(state.to_resender)
        state.to_resender.clear()
        self._dsender.put_all(state.to_dsender)
        state.to_dsender.clear()
        if state.released:
            self._admission.release(state.released)
            state.released.clear()

    def _tell_user(self, failure: PeerFailed) -> None:
        self._logger.warning(
            "package:given_up", target=failure.target, trigger=failure.reason.value, count=failure.count
        )
        self._errors.put(failure)

    def _is_done(self) -> bool:
        return not self._state.waiting

    def _salvage(self, item: Any, now: float) -> None:
        if type(item) is OutPackage:
            # It got no id, so it leaves no hole.
            self._admission.release([item])
            self._tell_user(PeerFailed(item.target, FailureReason.POISONED, [item]))
        elif type(item) in self._table:
            self._table[type(item)](item, now)  # nothing heals the loss of these, so they are tried once more
