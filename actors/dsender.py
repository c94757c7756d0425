"""dsender: sends UDP datagrams.

Keeps nothing. A datagram that the system refuses to send is dropped and counted; if its package is reliable, the
resender tries again until the peer counts as failed. When cancelled, all who feed it have ended: it sends what it holds
and ends.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, ClassVar

from ..protocol.header import RELIABILITY_BITS
from ..protocol.messages import Datagrams, Left
from ..protocol.notes import promised, which
from .messages import Death
from .node import Node, Station

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .inbox import Inbox
    from .transport import Transport

__all__ = ["DSender"]


class DSender(Node[None]):
    """The node that writes the socket."""

    handlers: ClassVar[Mapping[type, str]] = {Datagrams: "_send"}

    def __init__(
        self,
        station: Station[None],
        inbox: Inbox,
        generation: int,
        report: Callable[[Death], None],
        *,
        transport: Transport,
    ) -> None:
        super().__init__(station, inbox, generation, report)
        self._transport = transport
        self._resender = station.outlets["resender"]
        self._refusals: set[int | None] = set()

    def _send(self, run: Datagrams, now: float) -> None:
        del now  # of the batch, which may take long
        if run.mark:  # said before it is true, so that no confirmation comes sooner
            self._resender.put_softly((Left(run.mark, self._clock.now()),))
        refused = self._transport.send(run.target, run.datagrams)
        self._counters["datagrams"] += len(run.datagrams) - len(refused)
        if self._traced and run.numbers:
            self._logger.debug(
                "transport:datagram_sent",
                target=run.target,
                **which(run.numbers),
                reliability=promised([datagram[0] & RELIABILITY_BITS for datagram in run.datagrams]),
                bytes=sum(map(len, run.datagrams)),
            )
        for error in refused:
            self._refused(run, error)

    def _emit(self) -> None:
        self._counters["segmented"] = self._transport.segmented

    def _refused(self, run: Datagrams, error: OSError) -> None:
        reason = errno.errorcode.get(error.errno or 0, "unknown")
        self._counters["refused"] += 1
        self._counters[f"refused.{reason}"] += 1
        # Said aloud once per kind of error: a dead network would otherwise fill the log.
        log = self._logger.debug if error.errno in self._refusals else self._logger.warning
        self._refusals.add(error.errno)
        log("transport:datagram_dropped", direction="out", target=run.target, trigger=reason)
