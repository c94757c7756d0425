"""What one peer has not confirmed yet: the records that every way of loss recovery goes by.

The rules:

- packages are sent for the first time in *runs*: consecutive numbers, sent together. A run is one record, whatever its
  length; what is known of each package is its datagram;
- every copy of a package gets a *serial* when it is sent; the order of serials is the order of sending. Those of a run
  follow each other, so the serial of a package in it follows from its number;
- only a package of which further copies were sent has a record of its own (`Copies`). That is the exception, and so may
  cost more;
- a peer with nothing unconfirmed takes little memory: there may be thousands of them. So it gives up its tables, shares
  empty ones with all others like it, and gets new ones when something is sent. Tables are lists where a deque would do,
  since one takes 600 bytes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from .awaiting import Awaiting
from .header import Reliability
from .rtt import RoundTrip

__all__ = ["Copies", "Recovery", "Run"]

SPENT: Final = 256
"""Runs that are over before the table of runs is made shorter."""


_NOTHING: Final = Awaiting()
_NONE_HELD: Final[dict[int, bytes]] = {}
_NO_NUMBERS: Final[dict[int, None]] = {}
_NO_COPIES: Final[dict[int, Copies]] = {}
_NO_RUNS: Final[list[Run]] = []
_NO_FIRSTS: Final[list[int]] = []
"""What peers at rest share; nothing is ever put into these."""


@dataclass(slots=True)
class Run:
    """Copies that were sent together: consecutive numbers with consecutive serials.

    Attributes:
        number: the first number whose copy in this run may still matter.
        serial: of that copy.
        end: the number after the last one.
        time: when they were sent, in seconds.
        leaves_by: when they have left at the latest, while we do not know when they leave; else 0 (see `lateness`).
    """

    number: int
    serial: int
    end: int
    time: float
    leaves_by: float = 0.0

    def serial_of(self, number: int) -> int:
        """Return the serial of a package's copy in this run."""
        return self.serial + number - self.number


@dataclass(slots=True)
class Copies:
    """A package that was sent more than once. Times in seconds.

    Attributes:
        first_sent: when its first copy was sent.
        last_sent: when its last copy was sent.
        serial: of the last copy.
        round_sent: when the first copy was sent since the package was last judged lost.
        round_serial: of that copy.
        copies: how many were sent.
        lost: how often it was judged lost, or sent again for want of an answer, so that an older copy may be what is
            confirmed.
        first_serial: of the first copy that may be confirmed.
        doubtful: it was sent again for want of an answer, so a confirmation may well be that of an older copy.
    """

    first_sent: float
    last_sent: float
    serial: int
    round_sent: float
    round_serial: int
    first_serial: int
    copies: int = 1
    lost: int = 0
    doubtful: bool = False


class Recovery:
    """What every way of recovery has in common.

    Attributes:
        unconfirmed: datagrams by number, in ascending order.
        held: semi-ordered packages that are confirmed while an earlier number is not, by number. The receiver keeps
            them, and if the earlier one is given up, so must they be reported.
        reported: numbers, unconfirmed or held, of which the user was told that they were given up.
        oldest: the lowest unconfirmed number, or `next`.
        next: the number after the highest one.
        in_flight: bytes of what is unconfirmed.
        round_trip: what is known of the round-trip time.
        lost: how many packages were judged lost so far.
        not_lost: how many of them were not, as their confirmations have shown.
        triggers: why `due` has returned what it returned last: reasons, each for so many numbers.
    """

    __slots__ = (
        "_copies",
        "_firsts",
        "_runs",
        "_serial",
        "held",
        "in_flight",
        "lost",
        "next",
        "not_lost",
        "oldest",
        "reported",
        "round_trip",
        "triggers",
        "unconfirmed",
    )

    def __init__(self, first: int) -> None:
        self.unconfirmed: Awaiting
        self.held: dict[int, bytes]
        self.reported: dict[int, None]
        self.oldest = self.next = first
        self.in_flight = 0
        self.round_trip = RoundTrip()
        self.lost: int = 0
        self.not_lost: int = 0
        self.triggers: Sequence[tuple[str, int]] = ()
        self._serial = 0
        self._runs: list[Run]
        self._firsts: list[int]
        """The first number of each run."""
        self._copies: dict[int, Copies]
        self._rest()

    def sent(self, first: int, datagrams: Sequence[bytes], now: float) -> Run:
        """Expect the confirmation of packages that are sent for the first time; `first` is the number of the first."""
        if not self.unconfirmed:
            self._wake()
        end = first + len(datagrams)
        run = Run(first, self._serial + 1, end, now)
        self._serial += len(datagrams)
        self.unconfirmed.add(first, datagrams)
        self.in_flight += sum(map(len, datagrams))
        self.next = end
        if len(self._runs) > SPENT and self._runs[SPENT].end <= self.oldest:
            del self._runs[:SPENT], self._firsts[:SPENT]
        self._runs.append(run)
        self._firsts.append(first)
        self._sent(run)
        return run

    def confirmed(self, numbers: Sequence[int], now: float) -> tuple[int, float | None]:
        """Take the confirmation of these numbers.

        Returns:
            How many bytes of packages it was news of, and the round-trip time it gave a sample of, if it did.
        """
        raise NotImplementedError

    def due(self, now: float, heard: float | None = None) -> list[int]:
        """Return what is to be sent again now; it counts as sent.

        Everything that had arrived at the time `heard` is handled; None if that is all there is.
        """
        raise NotImplementedError

    def overdue(self, now: float) -> float | None:
        """Return since when a timeout is due that waits for what was heard; None if there is none."""
        del now
        return None

    def deadline(self, *, timeouts: bool = True) -> float | None:
        """Return when `due` has something, or None; without `timeouts`, what need not wait for what was heard."""
        raise NotImplementedError

    def extra_copies(self, number: int, times: Iterable[float]) -> None:
        """Send further copies of a package at these times, unless it is confirmed by then, if this way can do that."""

    def copies(self, number: int) -> Copies:
        """Return the record of an unconfirmed package; it stays, so ask only for what is, or will be, sent again."""
        copies = self._copies.get(number)
        if copies is None:
            run = self._run_of(number)
            serial = run.serial_of(number)
            copies = self._copies[number] = Copies(run.time, run.time, serial, run.time, serial, serial)
        return copies

    @property
    def mean_size(self) -> int:
        """Bytes of an unconfirmed package on the average; 0 if there is none."""
        return self.in_flight // max(1, len(self.unconfirmed))

    @property
    def oldest_sent(self) -> float:
        """When the oldest unconfirmed package was first sent; only if there is one."""
        copies = self._copies.get(self.oldest)
        return self._run_of(self.oldest).time if copies is None else copies.first_sent

    def revive(self, now: float) -> list[int]:
        """Begin anew with everything that is unconfirmed; return it, to be sent again now."""
        numbers = list(self.unconfirmed)
        for number in numbers:
            self._again(number, now).first_sent = now
        return numbers

    def not_taken(self, most: int, now: float) -> list[int]:
        """Count the oldest packages, at most so many, as first sent now, because none was taken before; return them."""
        numbers = list(islice(self.unconfirmed, most))
        for number in numbers:
            copies = self._again(number, now)
            copies.lost, copies.first_serial = 0, copies.serial
        return numbers

    def refused(self, most: int, now: float, until: float) -> list[int]:
        """Count as sent again, and return, those of the `most` oldest packages last sent by `until`; at least one."""
        oldest = list(islice(self.unconfirmed, most))
        numbers = [number for number in oldest if self._last_sent(number) <= until] or oldest[:1]
        for number in numbers:
            self._again(number, now)
        return numbers

    def take_over(self, old: Recovery, now: float) -> None:
        """Go on with the numbers and datagrams that another one knew, and with nothing else of it."""
        for number, datagram in sorted(old.unconfirmed.items()):
            self.sent(number, [datagram], now)
        self.next = max(self.next, old.next)
        self.held.update(old.held)
        self.reported.update(old.reported)

    def _sent(self, run: Run) -> None:
        """Note that a run was sent for the first time."""

    def _last_sent(self, number: int) -> float:
        copies = self._copies.get(number)
        return self._run_of(number).time if copies is None else copies.last_sent

    def _run_of(self, number: int) -> Run:
        """Return the run in which a number was sent for the first time."""
        return self._runs[bisect_right(self._firsts, number) - 1]

    def _take(self, numbers: Sequence[int]) -> tuple[int, int | None, list[Copies]]:
        """Note that numbers are confirmed.

        Returns:
            How many bytes it was news of; the highest number among them that was sent only once, if any; and the
            records of the others.
        """
        unconfirmed, copies = self.unconfirmed, self._copies
        taken = [] if copies else unconfirmed.take_run(numbers)
        news, once, again, oldest = sum(map(len, taken)), None, list[Copies](), self.oldest
        if taken:
            once = numbers[len(taken) - 1]
            if numbers[0] == oldest:
                oldest += len(taken)
            else:
                self.held.update(
                    (number, one)
                    for number, one in zip(numbers, taken, strict=False)
                    if one[0] & Reliability.SEMI_ORDERED
                )
        for number in numbers[len(taken) :]:
            datagram = unconfirmed.take(number) if number >= oldest else b""
            if not datagram:
                continue
            news += len(datagram)
            if number == oldest:
                oldest += 1
            elif datagram[0] & Reliability.SEMI_ORDERED:
                self.held[number] = datagram
            if copies and number in copies:
                again.append(copies.pop(number))
            elif once is None or number > once:
                once = number
        if news:
            self.in_flight -= news
            self._advance()
        return news, once, again

    def _advance(self) -> None:
        """Find the lowest unconfirmed number, and forget what only mattered below it."""
        before = self.oldest
        self.oldest = next(iter(self.unconfirmed), self.next)
        if self.held or self.reported:
            for number in range(before, self.oldest):
                self.held.pop(number, None)
                self.reported.pop(number, None)

    def _rest(self) -> None:
        """Give up the tables of what was unconfirmed; to be called by `confirmed` when nothing is any more."""
        self.unconfirmed, self.held = _NOTHING, _NONE_HELD
        self.reported = _NO_NUMBERS
        self._copies = _NO_COPIES
        self._runs = _NO_RUNS
        self._firsts = _NO_FIRSTS

    def _wake(self) -> None:
        """Make tables, now that something will be unconfirmed."""
        self.unconfirmed, self.held, self.reported, self._copies = Awaiting(), {}, {}, {}
        self._runs, self._firsts = [], []

    def _again(self, number: int, now: float) -> Copies:
        """Note that a package is sent again because it is taken for lost."""
        copies = self.copies(number)
        self._serial += 1
        copies.serial = copies.round_serial = self._serial
        copies.last_sent = copies.round_sent = now
        copies.copies += 1
        copies.lost += 1
        copies.doubtful = False
        return copies
