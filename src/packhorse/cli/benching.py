"""`packhorse bench`: how fast packages go between two machines, and how long a round trip takes.

The rules:

- the server only counts, or sends back (`counting`); what is measured, and for how long, is the client's choice;
- what the two say to each other is semi-ordered and for the server, what is measured is for the players: `Peers` tells
  them apart;
- a rate is that of arrival, from the first packages to the last, by the server's clock, so that the clocks need not
  agree;
- round trips come one after the other, each sent when the one before is back, or lost: so they show the path, not a
  queue;
- reliabilities take turns, and each is measured in a run of its own: `Begin`, `Ready`, packages, `End`, `Result`.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from packhorse import DecodeError, OutPackage, Peers, Reliability, Timeout
from packhorse.protocol.address import host_port

from .counting import BATCH, Begin, End, FromServer, Ready, Result, word
from .run import Problem, attend, open_towards, resolve, say
from .transfer import percentile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from packhorse import Address, InPackage, Stack

T = TypeVar("T")

__all__ = ["STAMP", "Figures", "Plan", "bench"]

STAMP: Final = 8
"""Bytes of a package's number, so the smallest size there is."""

NOBODY: Final = 3.0
"""Seconds without any control datagram after which nobody is there."""

PATIENCE: Final = 20.0
"""Seconds to wait for an answer of a server that is there. Its stack may first have to send again what was lost."""

LATE: Final = 0.5
"""Seconds that the last unreliable packages get to arrive, and an unreliable one to come back."""

LOOK: Final = 0.25
"""Seconds between two looks at what the stack has to report."""


class Plan(msgspec.Struct, frozen=True):
    """What to measure.

    Attributes:
        reliabilities: each in a run of its own.
        size: bytes of data in each package, at least `STAMP`.
        seconds: how long to send without a pause.
        packages: how many to send instead; None: as many as go in that time.
        trips: round trips, at most; they take no longer than `seconds` either.
    """

    reliabilities: tuple[Reliability, ...]
    size: int
    seconds: float
    packages: int | None
    trips: int


class Figures(msgspec.Struct):
    """What was measured of one reliability.

    Attributes:
        reliability: of the packages.
        sent: packages sent without a pause.
        again: datagrams that were sent again meanwhile.
        arrived: packages that the server has counted.
        size: bytes of data in them.
        first: how many of them the server took at first.
        seconds: from then until it took the last.
        trips: seconds of each round trip.
        lost: round trips that never ended.
    """

    reliability: Reliability
    sent: int = 0
    again: int = 0
    arrived: int = 0
    size: int = 0
    first: int = 0
    seconds: float = 0.0
    trips: list[float] = msgspec.field(default_factory=list[float])
    lost: int = 0

    def rows(self) -> dict[str, str]:
        """Return what the table says, by the titles of its rows."""
        rate = (self.arrived - self.first) / self.seconds if self.seconds else 0.0
        bits = 8 * rate * self.size / self.arrived if self.arrived else 0.0
        missing = max(0, self.sent - self.arrived) / self.sent if self.sent else 0.0
        ordered = sorted(self.trips)
        p50, p99 = (f"{1000 * percentile(ordered, share):.3f} ms" if ordered else "-" for share in (50, 99))
        return {
            "packages sent": f"{self.sent:,}",
            "lost": f"{missing:.2%}",
            "sent again": f"{self.again:,}",
            "packages a second": f"{rate:,.0f}" if rate else "-",
            "Mbit a second": f"{bits / 1e6:,.1f}" if rate else "-",
            "round trips": f"{len(ordered):,}",
            "round trips lost": f"{self.lost:,}",
            "p50": p50,
            "p99": p99,
        }


def bench(host: str, port: int, plan: Plan) -> int:
    """Measure, print the table, and return the exit status.

    Raises:
        Problem: nobody answers there, somebody else does, or nobody does any more.
    """
    target = resolve(host, port)
    with open_towards(target) as stack:
        client = _Client(stack, target, plan)
        try:
            outcome = attend(client.run, lambda: stack.close(0))
        finally:
            stack.close(0)
            if client.figures:
                _show(target, plan.size, client.figures)
    if outcome.signal is not None:
        say(f"{outcome.reason} before everything was measured")
    return outcome.status


def _show(target: Address, size: int, figures: Sequence[Figures]) -> None:
    from rich.console import Console  # noqa: PLC0415 - takes a while to import; the server does without
    from rich.table import Table  # noqa: PLC0415

    table = Table(title=f"packages of {size} bytes to {host_port(target)}")
    table.add_column("")
    for column in figures:
        table.add_column(_name(column.reliability), justify="right")
    for title, *cells in zip(figures[0].rows(), *(column.rows().values() for column in figures), strict=True):
        table.add_row(title, *cells)
    Console().print(table)


def _name(reliability: Reliability) -> str:
    return reliability.name.lower().replace("_", "-")


class _Client:
    """Measures one reliability after the other.

    Attributes:
        figures: what was measured so far.
    """

    def __init__(self, stack: Stack, target: Address, plan: Plan) -> None:
        self.figures: list[Figures] = []
        self._stack = stack
        self._target = target
        self._plan = plan
        self._known = False

    def run(self) -> None:
        for reliability in self._plan.reliabilities:
            say(f"{_name(reliability)} packages ...")
            figures = Figures(reliability)
            self._flood(figures)
            self._ping(figures)
            self.figures.append(figures)

    def _flood(self, figures: Figures) -> None:
        self._begin(echo=False)
        data, reliability, target = bytes(self._plan.size), figures.reliability, self._target
        send, now = self._stack.sender.send, time.monotonic
        again = self._stack.counters().get("resender.resent", 0)
        most = self._plan.packages
        until = now() + self._plan.seconds if most is None else float("inf")
        sent = 0
        while sent != most and now() < until:
            send(OutPackage(data, reliability, Peers.PLAYERS, target))
            sent += 1
            if sent % BATCH == 0:
                self._look()
        if reliability is Reliability.UNRELIABLE:
            time.sleep(LATE)  # nothing holds the end back until they have arrived
        result = self._end()
        figures.sent = sent
        figures.again = self._stack.counters().get("resender.resent", 0) - again
        figures.arrived, figures.size = result.packages, result.size
        figures.first, figures.seconds = result.first, result.seconds

    def _ping(self, figures: Figures) -> None:
        self._begin(echo=True)
        filler, reliability = bytes(self._plan.size - STAMP), figures.reliability
        until = time.monotonic() + self._plan.seconds
        for number in range(self._plan.trips):
            if time.monotonic() >= until:
                break
            data = number.to_bytes(STAMP, "big") + filler
            start = time.monotonic()
            self._stack.sender.send(OutPackage(data, reliability, Peers.PLAYERS, self._target))
            if self._is_back(data, LATE if reliability is Reliability.UNRELIABLE else PATIENCE):
                figures.trips.append(time.monotonic() - start)
            else:
                figures.lost += 1
        self._end()

    def _is_back(self, data: bytes, patience: float) -> bool:
        """Wait until this package has come back; others are late ones of before."""
        until = time.monotonic() + patience
        with suppress(Timeout):
            while (left := until - time.monotonic()) > 0:
                if self._stack.receiver.recv(left).data == data:
                    return True
        self._look()
        return False

    def _begin(self, *, echo: bool) -> None:
        self._stack.sender.send(word(Begin(echo), self._target))
        self._answer(Ready)

    def _end(self) -> Result:
        self._flush()
        self._stack.sender.send(word(End(), self._target))
        result = self._answer(Result)
        if not result.known:
            raise Problem(
                f"{host_port(self._target)} has forgotten what it was counting; it may have been started anew"
            )
        return result

    def _flush(self) -> None:
        """Wait until everything is confirmed, however long a slow path takes."""
        while True:
            with suppress(Timeout):
                self._stack.sender.flush(LOOK)
                return
            self._look()

    def _answer(self, kind: type[T]) -> T:
        """Wait for the server's answer."""
        began = time.monotonic()
        while time.monotonic() < began + PATIENCE:
            with suppress(Timeout):
                received = self._stack.receiver.recv(LOOK)
                if received.source == self._target and received.peers is Peers.SERVER:
                    answer = self._decoded(received)
                    if isinstance(answer, kind):
                        self._known = True
                        return answer
            self._look()
            if not self._known and time.monotonic() >= began + NOBODY:
                self._find_out()
        raise Problem(f"{host_port(self._target)} has not answered for {PATIENCE:.0f} s")

    def _decoded(self, received: InPackage) -> FromServer:
        try:
            answer: FromServer = next(received.decode(FromServer))
        except (DecodeError, StopIteration):
            raise self._somebody_else() from None
        return answer

    def _find_out(self) -> None:
        if self._stack.counters().get("sreceiver.datagrams", 0):
            raise self._somebody_else()
        raise Problem(
            f"nobody answers at {host_port(self._target)}: no control datagram within {NOBODY:.0f} s. "
            f"Is `packhorse bench --serve --port {self._target[1]}` running there, and no firewall in between?"
        )

    def _somebody_else(self) -> Problem:
        return Problem(f"what listens on {host_port(self._target)} is not `packhorse bench --serve`")

    def _look(self) -> None:
        for failure in self._stack.errors.drain():
            raise Problem(f"{host_port(self._target)} does not answer any more ({failure.reason}); it may be gone")
