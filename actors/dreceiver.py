"""dreceiver: receives UDP datagrams.

Keeps nothing and never pauses. Packages go to ureceiver, control datagrams to sreceiver; what is neither is dropped and
counted. While too much waits for the user it drops packages (reliable ones come again) and goes on with control datagrams,
so that a user who does not receive can still send. When cancelled, those it feeds have ended, and so does it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..protocol.header import HEADER_SIZE, KINDS, MAX_DATAGRAM, Kind
from ..protocol.messages import Received
from .messages import Death
from .node import Node, Station

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..protocol.address import Address
    from .inbox import Inbox
    from .transport import Transport

__all__ = ["DReceiver"]

ROOM: Final = 4096
"""Receives that may wait for ureceiver, or for sreceiver, before more are dropped."""

RECEIVES: Final = 64
"""Receives in a row before the mailbox is looked at again."""


class DReceiver(Node[None]):
    """The node that reads the socket."""

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
        self._ureceiver = station.outlets["ureceiver"]
        self._sreceiver = station.outlets["sreceiver"]
        self._packages: list[Received] = []
        self._controls: list[Received] = []

    def _on_readable(self, now: float) -> None:
        for _ in range(RECEIVES):
            try:
                received = self._transport.receive()
            except OSError as error:
                self._drop("receive_failed", None, repr(error))
                continue
            if received is None:
                return
            self._classify(*received, now)

    def _classify(self, source: Address, datagram: bytes, now: float) -> None:
        kind = KINDS[datagram[0]] if HEADER_SIZE <= len(datagram) <= MAX_DATAGRAM else Kind.INVALID
        if source[1] == 0:
            self._drop("port_zero", source, datagram[:8].hex())
        elif kind is Kind.INVALID:
            self._drop("invalid", source, datagram[:8].hex())
        elif kind is Kind.CONTROL:
            self._controls.append(Received(source, len(datagram), datagram, now))
        else:
            self._packages.append(Received(source, len(datagram), datagram, now))

    def _emit(self) -> None:
        for received, mailbox in ((self._packages, self._ureceiver), (self._controls, self._sreceiver)):
            if not received:
                continue
            self._counters["datagrams"] += len(received)
            room = max(0, ROOM - len(mailbox))
            if self._inbox.slept and mailbox is self._ureceiver:
                mailbox.put_and_handle(received[:room])
            else:
                mailbox.put_all(received[:room])
            for dropped in received[room:]:
                self._drop("no_room", dropped.source, dropped.buffer[:8].hex())
            received.clear()

    def _drop(self, trigger: str, source: Address | None, what: str) -> None:
        self._counters["dropped"] += 1
        self._counters[f"dropped.{trigger}"] += 1
        self._logger.debug("transport:datagram_dropped", direction="in", source=source, trigger=trigger, what=what)
