"""dreceiver: receives UDP datagrams.

Keeps nothing and never pauses. Packages go to ureceiver, control datagrams to sreceiver; what is neither is dropped and
counted. While too much waits for the user it drops packages (reliable ones come again) and goes on with control
datagrams, so that a user who does not receive can still send. When cancelled, those it feeds have ended, and so does
it.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING, ClassVar, Final

from ..protocol.header import HEADER_SIZE, KINDS, MAX_DATAGRAM, Kind
from ..protocol.lateness import PATIENCE
from ..protocol.messages import Listen, Received
from .messages import Death
from .node import Node, Station

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..protocol.address import Address
    from .inbox import Inbox
    from .mailbox import Mailbox
    from .transport import Transport

__all__ = ["DReceiver", "by_kind", "kind_of"]

ROOM: Final = 4096
"""Packages that may wait for ureceiver before more are dropped; for sreceiver as many receives, times the datagrams of
the one that comes."""

RECEIVES: Final = 16
"""Receives in a row before what they brought is handed on."""

MANY: Final = 16
"""Datagrams in one receive that say that more are on their way."""

_KINDS: Final = tuple(Kind)
_KIND_BYTES: Final = bytes(KINDS)


def kind_of(datagram: bytes) -> Kind:
    """Say what a datagram is, whoever sent it."""
    return KINDS[datagram[0]] if HEADER_SIZE <= len(datagram) <= MAX_DATAGRAM else Kind.INVALID


def by_kind(size: int, buffer: bytes) -> list[tuple[Kind, int, bytes]]:
    """Split datagrams that lie back to back into stretches of one kind: (kind, size, buffer). Nearly always it is one.

    Each datagram has the kind that `kind_of` says. Its first byte says it, so the kinds of all are found at once; only
    the last may be too short.
    """
    kinds = buffer[::size].translate(_KIND_BYTES)
    if not HEADER_SIZE <= size <= MAX_DATAGRAM:
        kinds = bytes(len(kinds))  # Kind.INVALID
    odd = len(buffer) % size
    if odd and (odd < HEADER_SIZE or size > MAX_DATAGRAM):
        kinds = kinds[:-1] + bytes([kind_of(buffer[-odd:])])
    if odd != len(buffer) and kinds == kinds[:1] * len(kinds):
        return [(_KINDS[kinds[0]], size, buffer)]
    parts: list[tuple[Kind, int, bytes]] = []
    at = 0
    while kinds:
        rest = kinds.lstrip(kinds[:1])
        part = buffer[at : at + (len(kinds) - len(rest)) * size]
        parts.append((_KINDS[kinds[0]], min(size, len(part)), part))
        at += len(part)
        kinds = rest
    return parts


class DReceiver(Node[None]):
    """The node that reads the socket."""

    handlers: ClassVar[Mapping[type, str]] = {Listen: "_listen"}

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
        self._listened: list[Listen] = []

    def _listen(self, listen: Listen, now: float) -> None:
        """Pass the question on behind what has arrived; as long as there is more of that, ask ourselves again."""
        if self._read_all():
            self._listened.append(listen)
        elif now < listen.time + PATIENCE:
            self._station.mailbox.put(listen)

    def _on_readable(self, now: float) -> None:
        del now
        self._read_all(hasty=self._inbox.slept)

    def _read_all(self, *, hasty: bool = False) -> bool:
        """Read the socket; tell whether it is empty."""
        # After a sleep what came is handed on at once, unless it is one of many; under load it pays to collect.
        for _ in range(RECEIVES):
            if self._inbox.sealed:
                return False  # it hung, and was left behind: what comes is for its successor
            try:
                received = self._transport.receive()
            except OSError as error:
                self._drop("receive_failed", None, repr(error))
                continue
            if received is None:
                return True
            source, size, buffer = received
            # Stamped one by one: what comes while this goes on may answer what was sent later.
            self._classify(source, size, buffer, self._clock.now())
            if hasty and len(buffer) < MANY * size:
                return False
        return False

    def _classify(self, source: Address, size: int, buffer: bytes, now: float) -> None:
        if source[1] == 0:
            self._drop("port_zero", source, buffer, size)
        elif len(buffer) <= size:
            self._take(kind_of(buffer), source, size, buffer, now)
        else:
            for kind, part_size, part in by_kind(size, buffer):
                self._take(kind, source, part_size, part, now)

    def _take(self, kind: Kind, source: Address, size: int, buffer: bytes, now: float) -> None:
        if kind is Kind.INVALID:
            self._drop("invalid", source, buffer, size)
        elif kind is Kind.CONTROL:
            self._controls.append(Received(source, size, buffer, now))
        else:
            self._packages.append(Received(source, size, buffer, now))

    def _emit(self) -> None:
        self._counters["overflowed"] = self._transport.overflowed
        if self._packages:
            self._offer(self._packages, self._ureceiver)
            self._packages.clear()
        if self._controls:
            self._counters["datagrams"] += sum([received.count for received in self._controls])
            waiting = len(self._sreceiver)
            fitting = [one for place, one in enumerate(self._controls, waiting) if place * one.count < ROOM]
            self._hand_over(self._sreceiver, [*fitting, *self._listened], len(fitting))
            self._listened.clear()
            if len(fitting) < len(self._controls):
                self._no_room([one for place, one in enumerate(self._controls, waiting) if place * one.count >= ROOM])
            self._controls.clear()
        elif self._listened:
            self._hand_over(self._sreceiver, self._listened.copy(), 1)
            self._listened.clear()

    def _offer(self, packages: list[Received], ureceiver: Mailbox) -> None:
        counts = list(accumulate([received.count for received in packages]))
        self._counters["datagrams"] += counts[-1]
        if ureceiver.closed:
            return  # nobody would take off its weight again
        fitting = bisect_right(counts, ROOM - ureceiver.weight)
        self._no_room(packages[fitting:])
        if not fitting:
            return
        ureceiver.weight_put += counts[fitting - 1]
        self._hand_over(ureceiver, packages[:fitting], counts[fitting - 1])

    def _no_room(self, dropped: list[Received]) -> None:
        for received in dropped:
            self._drop("no_room", received.source, received.buffer, received.size)

    def _drop(self, trigger: str, source: Address | None, what: bytes | str, size: int = 1) -> None:
        count = -(-len(what) // max(1, size)) if isinstance(what, bytes) and what else 1
        self._counters["dropped"] += count
        self._counters[f"dropped.{trigger}"] += count
        start = what[:8].hex() if isinstance(what, bytes) else what
        self._logger.debug(
            "transport:datagram_dropped", direction="in", source=source, trigger=trigger, count=count, what=start
        )
