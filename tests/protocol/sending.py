"""A whole sending half, whose parts tell each other everything at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from packhorse.protocol import PeerFailed, Peers, Reliability, ResendPolicy
from packhorse.protocol.header import pack_header
from packhorse.protocol.identity import base_of, choose_hint, introduction, mark_of_numbering, pack_echo
from packhorse.protocol.messages import (
    Acknowledged,
    Confirmed,
    Dropped,
    Failed,
    Flush,
    Forgotten,
    Grant,
    Refused,
    Restarted,
    Revive,
    Sent,
    Unknown,
)
from packhorse.protocol.numbering import Numbering
from packhorse.protocol.redelivery import Redelivery

from .helpers import UNORDERED, A, package

if TYPE_CHECKING:
    from collections.abc import Callable

US = 5 << 40
"""Its identity."""
ONE = 77
"""The mark of its peer."""
FIRST, SECOND = 0x10, 0x20
"""Series."""
TWO = 78
"""The mark of the peer's next life; ONE is that of the first."""


class Sender:
    """A whole sending half; what its parts tell each other is passed on at once."""

    def __init__(self, window: int = 1024) -> None:
        self.numbering = Numbering(window=window, identity=US)
        self.redelivery = Redelivery(ResendPolicy(), lambda: 0.5, window=window, identity=US)

    def send(self, *data: bytes, kind: Reliability = UNORDERED, now: float = 0.0) -> list[bytes]:
        for one in data:
            self.numbering.send(package(one, kind), now)
        return self._pass_on(now)

    def confirm(self, *ids: int, echo: int = 0, now: float = 0.1) -> list[bytes]:
        self.redelivery.confirmed(Confirmed(A, ids, now, echo))
        return self._pass_on(now)

    def refuse(self, hint: int, by: int = ONE, now: float = 0.1) -> list[bytes]:
        self.redelivery.refused(Refused(A, hint, by, now))
        return self._pass_on(now)

    def tick(self, now: float) -> list[bytes]:
        self.redelivery.tick(now)
        return self._pass_on(now)

    def restarted(self, by: int | None, now: float = 1.0) -> list[bytes]:
        self.numbering.restarted(Restarted(A, by), now)
        return self._pass_on(now)

    def failures(self) -> list[PeerFailed]:
        failures = self.numbering.failures + self.redelivery.failures
        self.numbering.failures.clear()
        self.redelivery.failures.clear()
        return failures

    def _pass_on(self, now: float) -> list[bytes]:
        numbering, redelivery = self.numbering, self.redelivery
        handlers: dict[type, Callable[[Any], None]] = {
            Sent: redelivery.sent,
            Revive: lambda revive: redelivery.revive(revive, now),
            Dropped: redelivery.dropped,
            Forgotten: redelivery.forgotten,
            Flush: redelivery.flush,
            Grant: lambda grant: numbering.granted(grant, now),
            Failed: numbering.failed,
            Unknown: lambda unknown: numbering.unknown(unknown, now),
            Acknowledged: numbering.acknowledged,
            Restarted: lambda restarted: numbering.restarted(restarted, now),
        }
        while numbering.to_resender or redelivery.to_usender:
            for outputs in (numbering.to_resender, redelivery.to_usender):
                messages = list(outputs)
                outputs.clear()
                for message in messages:
                    handlers[type(message)](message)
        sent = [one for half in (redelivery, numbering) for run in half.to_dsender for one in run.datagrams]
        numbering.to_dsender.clear()
        redelivery.to_dsender.clear()
        return sent


def echo(series: int = FIRST, hint: int = 3, by: int = ONE) -> int:
    return pack_echo(hint, mark_of_numbering(US, series), by)


def chosen(series: int = FIRST, now: float = 0.0) -> int:
    return choose_hint(US, series, now)


def introduced(*packages: bytes, series: int = FIRST, now: float = 0.0, attempt: int = 0) -> list[bytes]:
    """Return what is sent of packages that go out together before their numbering is acknowledged."""
    return [introduction(US, series + attempt, chosen(series, now), packages), *packages]


def with_hint(number: int, data: bytes, hint: int, series: int = FIRST, by: int = ONE) -> bytes:
    base = base_of(US, series, by) if hint < 8 else 0
    return pack_header(UNORDERED, Peers.PLAYERS, number + base, hint) + data
