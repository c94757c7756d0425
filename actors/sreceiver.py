"""sreceiver: handles control datagrams: confirmations, and refusals of packages whose sender is not known.

Keeps nothing. When cancelled it ends at once: the resender, the only one who wants to know, has ended before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ..protocol.header import REFUSAL, unpack_confirmation
from ..protocol.identity import read_echo, read_refusal
from ..protocol.messages import Confirmed, Listen, Received, Refused
from ..protocol.notes import which
from .messages import Death
from .node import Node, Station

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .inbox import Inbox

__all__ = ["SReceiver"]


class SReceiver(Node[None]):
    """The node that reads control datagrams."""

    handlers: ClassVar[Mapping[type, str]] = {Received: "_received", Listen: "_listen"}

    def __init__(self, station: Station[None], inbox: Inbox, generation: int, report: Callable[[Death], None]) -> None:
        super().__init__(station, inbox, generation, report)
        self._resender = station.outlets["resender"]
        self._read: list[Confirmed | Listen | Refused] = []

    def _received(self, received: Received, now: float) -> None:
        del now
        buffer, size = received.buffer, received.size
        self._counters["datagrams"] += -(-len(buffer) // size)
        for start in range(0, len(buffer), size):
            datagram = buffer[start : start + size]
            if datagram[0] == REFUSAL:
                self._read.append(Refused(received.source, *read_refusal(datagram), received.time))
            else:
                one = Confirmed(received.source, unpack_confirmation(datagram), received.time, read_echo(datagram))
                self._read.append(one)
                if self._traced:
                    named = which(one.ids) if one.ids else {"count": 0}
                    self._logger.debug("transport:confirmation_received", source=one.source, **named)

    def _listen(self, listen: Listen, now: float) -> None:
        del now
        self._read.append(listen)

    def _emit(self) -> None:
        self._resender.put_all(self._read)
        self._read.clear()
