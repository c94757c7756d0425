"""ureceiver: hands packages to the user.

Owns what was received from each source (`Receiving`). Hands a package over before confirmer hears of it. Takes no data
while the user is behind; if that lasts, the senders are told that we live. Tells usender of sources that were started
anew, before the user has anything from them and may answer it. When cancelled it ends at once: what the user will not
take must not be confirmed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from ..protocol.messages import Received, StillHere
from ..protocol.receiving import Receiving
from .messages import Death, Forget
from .node import Node, Station

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..protocol.policy import ConfirmPolicy
    from .ends import PackageEnd
    from .inbox import Inbox

__all__ = ["UReceiver"]

STILL_HERE: Final = 1.0
"""Seconds that packages wait for the user before their senders are told that we live, and between two such words."""


GATHER: Final = 0.0005
"""Seconds that enough ids for a confirmation may wait for more, while confirmer has just sent some: at full speed that
makes them fewer."""
MANY: Final = 256
"""Ids that do not wait for more."""


class UReceiver(Node[Receiving]):
    """The node behind `PackageReceiver`."""

    handlers: ClassVar[Mapping[type, str]] = {Received: "_received", Forget: "_forget"}

    def __init__(
        self,
        station: Station[Receiving],
        inbox: Inbox,
        generation: int,
        report: Callable[[Death], None],
        *,
        packages: PackageEnd,
        policy: ConfirmPolicy,
    ) -> None:
        super().__init__(station, inbox, generation, report)
        self._packages = packages
        self._policy = policy
        self._unlooked = 0
        """Ids that confirmer was given since it was last woken for them."""
        self._confirmer = station.outlets["confirmer"]
        self._usender = station.outlets["usender"]
        inbox.pause_tick = STILL_HERE

    def on_start(self) -> None:
        """Count anew what waits: whether the item that the last incarnation died over was counted, nobody knows."""
        mailbox = self._station.mailbox
        waiting = sum(item.count for item in mailbox.waiting() if type(item) is Received)
        mailbox.weight_taken = mailbox.weight_put - waiting
        super().on_start()

    def _received(self, received: Received, now: float) -> None:
        del now
        self._station.mailbox.weight_taken += received.count
        if not self._packages.closed:
            self._state.received(received)

    def _forget(self, forget: Forget, now: float) -> None:
        del now
        self._state.forget(forget.target)

    def _after(self, now: float) -> None:
        self._state.tick(now)
        paused_since = self._inbox.paused_since
        if paused_since is not None and now >= paused_since + STILL_HERE:
            waiting = {item.source for item in self._station.mailbox.waiting() if type(item) is Received}
            if waiting:
                self._confirmer.put(StillHere(sorted(waiting)))

    def _deadline(self) -> float | None:
        deadline = self._state.deadline()
        if self._inbox.paused_since is None:
            return deadline
        still_here = self._clock.now() + STILL_HERE
        return still_here if deadline is None else min(deadline, still_here)

    def _confirm_by(self) -> float:
        """Return when confirmer should look at what it is given now."""
        policy, runs = self._policy, self._state.to_confirmer
        self._unlooked += sum([len(run.ids) for run in runs])
        if self._unlooked < policy.count and not any(run.urgent for run in runs):
            return runs[0].time + policy.delay
        if self._unlooked < MANY and not any(run.urgent for run in runs):
            return runs[0].time + GATHER
        self._unlooked = 0
        return runs[0].time

    def _salvage(self, item: Any, now: float) -> None:
        if type(item) is Forget:
            self._forget(item, now)  # nothing heals its loss, so it is tried once more
        elif type(item) is Received:
            self._logger.debug("package:dropped", source=item.source, count=item.count, trigger="poisoned")

    def _emit(self) -> None:
        state = self._state
        for restarted in state.to_usender:
            self._logger.info("peer:restarted", source=restarted.target)
        if state.to_usender:
            self._usender.put_all(state.to_usender)
            state.to_usender.clear()
        if state.to_user:
            self._packages.put_all(state.to_user)
            state.to_user.clear()
        if state.to_confirmer:
            by = self._confirm_by()
            self._confirmer.put_softly(state.to_confirmer)
            state.to_confirmer.clear()
            self._confirmer.wake_by(by)
        if state.to_refuse:
            self._confirmer.put_all(state.to_refuse)
            state.to_refuse.clear()
        counters = self._counters
        counters["strange"] = state.strange
        counters["duplicates"] = state.duplicates
        counters["refused"] = state.refused
        counters["kept"] = state.kept
        counters["evicted"] = state.evicted
        counters["turned_away"] = state.turned_away
