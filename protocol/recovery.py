"""Loss recovery of one peer: what is unconfirmed, and when it is sent again.

The rules of `MeasuredRecovery`, after RFC 8985 (RACK) and RFC 6298:

- every copy of a package gets a *serial* when it is sent; the order of serials is the order of sending, which ids are not,
  since a package that is sent again keeps its id;
- a package is lost when a copy sent `tolerance` copies after its last one was confirmed; or when any later copy was, and
  9/8 of a round trip has passed since. After a full control datagram, which more may follow, that is judged a moment later, since
  the original sends the newest piece first;
- `tolerance` is one to begin with. It doubles when sending again was needless: the confirmation came sooner than any round
  trip could have been. It shrinks by one for every 16 times it was not;
- if nothing tells of a loss, the packages sent longest ago are sent again after RTO. As long as still nothing is confirmed,
  two of them are sent as *probes*, at intervals that double up to `longest_wait`; what a probe's confirmation says of
  the rest is the first rule;
- where more than 2 % are lost, what was lost once is sent again in two copies a few milliseconds apart. That costs no more
  bandwidth than the loss rate, and spares most packages that are lost twice a second round trip.

`OriginalRecovery` keeps the fixed schedule of the protocol's original.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from .header import MAX_CONFIRMED, Reliability
from .rtt import RoundTrip

__all__ = ["ORIGINAL_COPIES", "MeasuredRecovery", "OriginalRecovery", "Recovery", "Unconfirmed"]

SETTLE: Final = 0.001
"""Seconds between a full confirmation, of which more pieces may follow, and the judgement of what it says."""
MAX_TOLERANCE: Final = 64
TOO_SOON: Final = 0.75
"""Share of the smallest round trip in which no confirmation can come; less than one, since that is itself a measurement."""
FORGIVENESS: Final = 16
"""Losses that were real for one step of tolerance back."""
FIRST_RESENDS: Final = 32
"""Packages sent again when the timeout passes for the first time; the rest waits for what their confirmation says."""
PROBES: Final = 2
MAX_DOUBLINGS: Final = 30
"""More would not change a wait that has a limit; 1024 would overflow, for a dead peer that is sent to again and again."""
TWIN_GAP: Final = 0.004
"""Seconds between two copies of a package that was lost."""
TWIN_LOSS: Final = 0.02
"""Share of packages lost from which on a lost one is sent again in two copies."""
LOSS_MEMORY: Final = 256
"""Packages over which the loss rate is averaged."""
ORIGINAL_COPIES: Final = 6
ORIGINAL_BASE: Final = 0.22
"""Seconds of the original's first wait; each is twice as long as the one before, and up to half of it longer."""


@dataclass(slots=True)
class Unconfirmed:
    """A package that waits for its confirmation. Times in seconds.

    Attributes:
        datagram: what was sent.
        first_sent: when its first copy was sent.
        last_sent: when its last copy was sent.
        serial: of the last copy.
        round_sent: when the first copy was sent since the package was last judged lost.
        round_serial: of that copy.
        copies: how many were sent.
        lost: how often it was judged lost, or sent again for want of an answer.
        reported: the user was told that it was given up.
    """

    datagram: bytes
    first_sent: float
    last_sent: float
    serial: int
    round_sent: float
    round_serial: int
    copies: int = 1
    lost: int = 0
    reported: bool = False


class Recovery:
    """What every way of recovery has in common.

    Attributes:
        unconfirmed: by number.
        held: semi-ordered packages that are confirmed while an earlier number is not, by number. The receiver keeps
            them, and if the earlier one is given up, so must they be reported.
        oldest: the lowest unconfirmed number, or `next`.
        next: the number after the highest one.
        in_flight: bytes of what is unconfirmed.
        round_trip: what is known of the round-trip time.
        lost: how many packages were judged lost so far.
    """

    def __init__(self, first: int) -> None:
        self.unconfirmed: dict[int, Unconfirmed] = {}
        self.held: dict[int, Unconfirmed] = {}
        self.oldest = self.next = first
        self.in_flight = 0
        self.round_trip = RoundTrip()
        self.lost = 0
        self._serial = 0

    def sent(self, number: int, datagram: bytes, now: float) -> None:
        """Expect the confirmation of a package that is sent for the first time."""
        self._serial = serial = self._serial + 1
        self.unconfirmed[number] = Unconfirmed(datagram, now, now, serial, now, serial)
        self.in_flight += len(datagram)
        self.next = number + 1

    def confirmed(self, numbers: Iterable[int], now: float) -> tuple[int, float | None]:
        """Take the confirmation of these numbers.

        Returns:
            How many bytes of packages it was news of, and the round-trip time it gave a sample of, if it did.
        """
        raise NotImplementedError

    def due(self, now: float) -> list[int]:
        """Return what is to be sent again now; it counts as sent."""
        raise NotImplementedError

    def deadline(self) -> float | None:
        """Return when `due` has something, or None."""
        raise NotImplementedError

    def extra_copies(self, number: int, times: Iterable[float]) -> None:
        """Send further copies of a package at these times, unless it is confirmed by then, if this way can do that."""

    def revive(self, now: float) -> list[int]:
        """Begin anew with everything that is unconfirmed; return it, to be sent again now."""
        numbers = list(self.unconfirmed)
        for number in numbers:
            self.unconfirmed[number].first_sent = now
            self._again(number, now)
        return numbers

    def take_over(self, old: Recovery, now: float) -> None:
        """Go on with the numbers and datagrams that another one knew, and with nothing else of it."""
        for number, package in sorted(old.unconfirmed.items()):
            self.sent(number, package.datagram, now)
            self.unconfirmed[number].reported = package.reported
        self.next = max(self.next, old.next)
        self.held.update(old.held)

    def _take(self, number: int) -> Unconfirmed | None:
        """Note that a number is confirmed; return its package if that is news."""
        package = self.unconfirmed.pop(number, None)
        if package is not None:
            self.in_flight -= len(package.datagram)
            if package.datagram[0] & Reliability.SEMI_ORDERED:
                self.held[number] = package
        return package

    def _advance(self) -> None:
        """Find the lowest unconfirmed number."""
        oldest = self.oldest
        while oldest < self.next and oldest not in self.unconfirmed:
            self.held.pop(oldest, None)
            oldest += 1
        self.oldest = oldest

    def _again(self, number: int, now: float) -> Unconfirmed:
        package = self.unconfirmed[number]
        self._serial += 1
        package.serial = package.round_serial = self._serial
        package.last_sent = package.round_sent = now
        package.copies += 1
        package.lost += 1
        return package


class MeasuredRecovery(Recovery):
    """Recovery by what is measured; see the module's rules."""

    def __init__(self, first: int, longest_wait: float) -> None:
        super().__init__(first)
        self.loss_rate = 0.0
        self.tolerance = 1
        self._longest_wait = longest_wait
        self._order: deque[tuple[int, int]] = deque()
        """(serial, number) of copies in order of sending; one that is not its package's last copy means nothing."""
        self._newest = 0
        """The highest serial known to have arrived."""
        self._judge_at: float | None = None
        self._backoff = 0
        self._probed_at = 0.0
        self._twins: list[tuple[float, int, int]] = []
        """A heap of (time, number, round serial) of copies to send."""
        self._real_losses = 0

    def sent(self, number: int, datagram: bytes, now: float) -> None:
        """Expect the confirmation of a package that is sent for the first time."""
        super().sent(number, datagram, now)
        self._order.append((self._serial, number))

    def extra_copies(self, number: int, times: Iterable[float]) -> None:
        """Send further copies of a package at these times, unless it is confirmed by then."""
        package = self.unconfirmed[number]
        for time in times:
            heapq.heappush(self._twins, (time, number, package.round_serial))

    def confirmed(self, numbers: Iterable[int], now: float) -> tuple[int, float | None]:
        """Take the confirmation of these numbers; see `Recovery.confirmed`."""
        news, sample, place = 0, None, 0
        newest = self._newest
        for place, number in enumerate(numbers):
            package = self._take(number)
            if package is None:
                continue
            news += len(package.datagram)
            self.loss_rate -= self.loss_rate / LOSS_MEMORY
            took = now - package.round_sent
            if not package.lost:
                if place == 0:
                    sample = max(0.0, took)
                    self.round_trip.sample(sample)
            elif self.round_trip.minimum is not None and took < self.round_trip.minimum * TOO_SOON:
                self._needless()
                continue
            else:
                self._needed()
            newest = max(newest, package.round_serial)
        if news:
            self._backoff = 0
            self._advance()
        if not self.unconfirmed:
            self._judge_at = None
        elif newest > self._newest:
            judge_at = now + SETTLE if place + 1 >= MAX_CONFIRMED else now
            if self._judge_at is None or self._judge_at > judge_at:
                self._judge_at = judge_at
        self._newest = newest
        return news, sample

    def due(self, now: float) -> list[int]:
        """Return what is to be sent again now; it counts as sent."""
        numbers: list[int] = []
        if self._judge_at is not None and now >= self._judge_at:
            self._judge(now, numbers)
        oldest = self._oldest()
        if oldest is not None and now >= self._timeout_at(oldest):
            self._time_out(now, numbers)
        while self._twins and self._twins[0][0] <= now:
            _, number, round_serial = heapq.heappop(self._twins)
            package = self.unconfirmed.get(number)
            if package is not None and package.round_serial == round_serial:
                self._serial = serial = self._serial + 1
                package.serial = serial
                package.last_sent = now
                package.copies += 1
                self._order.append((package.serial, number))
                numbers.append(number)
        return numbers

    def deadline(self) -> float | None:
        """Return when `due` has something, or None."""
        oldest = self._oldest()
        if oldest is None:
            return None
        deadline = self._timeout_at(oldest)
        if self._judge_at is not None:
            deadline = min(deadline, self._judge_at)
        if self._twins:
            deadline = min(deadline, self._twins[0][0])
        return deadline

    def revive(self, now: float) -> list[int]:
        """Begin anew with everything that is unconfirmed; return it, to be sent again now."""
        self._backoff = 0
        self._judge_at = None
        self._twins.clear()
        return super().revive(now)

    def _again(self, number: int, now: float) -> Unconfirmed:
        package = super()._again(number, now)
        self._order.append((package.serial, number))
        if self.loss_rate > TWIN_LOSS:
            heapq.heappush(self._twins, (now + TWIN_GAP, number, package.round_serial))
        return package

    def _oldest(self) -> Unconfirmed | None:
        """Return the package whose last copy was sent longest ago."""
        order = self._order
        while order:
            serial, number = order[0]
            package = self.unconfirmed.get(number)
            if package is not None and package.serial == serial:
                return package
            order.popleft()
        return None

    def _judge(self, now: float, numbers: list[int]) -> None:
        """Find what is lost, from the oldest copy on."""
        self._judge_at = None
        patience = (self.round_trip.smoothed or 0.0) * 9 / 8 + SETTLE
        lost: list[int] = []
        while (package := self._oldest()) is not None and package.serial < self._newest:
            if package.serial + self.tolerance > self._newest and now < package.last_sent + patience:
                self._judge_at = package.last_sent + patience
                break
            lost.append(self._order.popleft()[1])
        for number in lost:
            self._again(number, now)
        self.lost += len(lost)
        self.loss_rate += (1.0 - self.loss_rate) * min(1.0, len(lost) / LOSS_MEMORY)
        numbers += lost

    def _timeout_at(self, oldest: Unconfirmed) -> float:
        timeout = self.round_trip.timeout
        if self._backoff == 0:
            return oldest.last_sent + timeout
        return self._probed_at + min(
            timeout * 2.0 ** min(self._backoff, MAX_DOUBLINGS), max(timeout, self._longest_wait)
        )

    def _time_out(self, now: float, numbers: list[int]) -> None:
        """Send again what was sent longest ago."""
        wait = 0.0 if self._backoff else self.round_trip.timeout
        for _ in range(PROBES if self._backoff else FIRST_RESENDS):
            oldest = self._oldest()
            if oldest is None or oldest.last_sent == now or oldest.last_sent + wait > now:
                break
            number = self._order.popleft()[1]
            self._again(number, now)
            numbers.append(number)
        self._backoff += 1
        self._probed_at = now

    def _needless(self) -> None:
        self.tolerance = min(MAX_TOLERANCE, self.tolerance * 2)
        self._real_losses = 0

    def _needed(self) -> None:
        self._real_losses += 1
        if self._real_losses >= FORGIVENESS:
            self._real_losses = 0
            self.tolerance = max(1, self.tolerance - 1)


class OriginalRecovery(Recovery):
    """The original's schedule: every package by itself, at fixed times with some jitter."""

    def __init__(self, first: int, random: Callable[[], float]) -> None:
        super().__init__(first)
        self._random = random
        self._timers: list[tuple[float, int, int]] = []

    def sent(self, number: int, datagram: bytes, now: float) -> None:
        """Expect the confirmation of a package that is sent for the first time."""
        super().sent(number, datagram, now)
        self._wait(number, self.unconfirmed[number])

    def confirmed(self, numbers: Iterable[int], now: float) -> tuple[int, float | None]:
        """Take the confirmation of these numbers; see `Recovery.confirmed`."""
        del now
        before = self.in_flight
        for number in numbers:
            self._take(number)
        self._advance()
        return before - self.in_flight, None

    def due(self, now: float) -> list[int]:
        """Return what is to be sent again now; it counts as sent."""
        numbers: list[int] = []
        while self._timers and self._timers[0][0] <= now:
            _, serial, number = heapq.heappop(self._timers)
            package = self.unconfirmed.get(number)
            if package is not None and package.serial == serial:
                self._again(number, now)
                numbers.append(number)
        return numbers

    def deadline(self) -> float | None:
        """Return when `due` has something, or None."""
        while self._timers:
            time, serial, number = self._timers[0]
            package = self.unconfirmed.get(number)
            if package is not None and package.serial == serial:
                return time
            heapq.heappop(self._timers)
        return None

    def _again(self, number: int, now: float) -> Unconfirmed:
        package = super()._again(number, now)
        self._wait(number, package)
        return package

    def _wait(self, number: int, package: Unconfirmed) -> None:
        wait = ORIGINAL_BASE * 2.0 ** (min(package.copies, ORIGINAL_COPIES) - 1) * (1 + self._random() / 2)
        heapq.heappush(self._timers, (package.last_sent + wait, package.serial, number))
