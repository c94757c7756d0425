"""Loss recovery of one peer: what is unconfirmed, and when it is sent again.

The rules of `MeasuredRecovery`, after RFC 8985 (RACK) and RFC 6298:

- every copy of a package gets a *serial* when it is sent; the order of serials is the order of sending, which ids are
  not, since a package that is sent again keeps its id;
- a package is lost when a copy sent `tolerance` copies after its last one was confirmed; or when any later copy was,
  and 9/8 of a round trip has passed since. After a full control datagram, which more may follow, that is judged a
  moment later, since the original sends the newest piece first;
- `tolerance` is one to begin with. It doubles when sending again was needless: the confirmation came sooner than any
  round trip could have been. It shrinks by one for every 16 times it was not;
- if nothing tells of a loss, the packages sent longest ago are sent again after RTO. As long as still nothing is
  confirmed, two of them are sent as *probes*, at intervals that double up to `longest_wait`; what a probe's
  confirmation says of the rest is the first rule;
- a confirmation of a package that had timed out may be that of its first copy: then the peer was only slow, and those
  of the others follow. So what it says of others is judged when none has come for a quarter of a round trip (of the
  first timeout, while none is known). When confirmations come again after a timeout, everything that was sent once has
  RTO from then on. While no round trip is known, any confirmation of a package that was sent again counts as that of
  its first copy;
- where more than 2 % are lost, what was lost once is sent again in two copies a few milliseconds apart. That costs no
  more bandwidth than the loss rate, and spares most packages that are lost twice a second round trip.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from math import inf
from typing import Final

from .header import MAX_CONFIRMED
from .rtt import INITIAL_TIMEOUT
from .unconfirmed import Copies, Recovery, Run

__all__ = ["MeasuredRecovery"]

SETTLE: Final = 0.001
"""Seconds between a full confirmation, of which more pieces may follow, and the judgement of what it says."""
MAX_TOLERANCE: Final = 1024
"""As many as may be under way: a fast stream over jitter has hundreds overtake. A high one costs an eighth of a round
trip, since that is judged too."""
TOO_SOON: Final = 0.75
"""Share of the smallest round trip in which no confirmation can come; less than one, since that is itself a
measurement."""
FORGIVENESS: Final = 16
"""Losses that were real for one step of tolerance back."""
FIRST_RESENDS: Final = 32
"""Packages sent again when the timeout passes for the first time; the rest waits for what their confirmation says."""
PROBES: Final = 2
MAX_DOUBLINGS: Final = 30
"""More would not change a wait that has a limit; 1024 would overflow, for a dead peer that is sent to again and
again."""
DOUBT: Final = 0.25
"""Share of the round trip, or of the first timeout while none is known, for which it is in doubt which copy was
confirmed of a package that had timed out."""
TWIN_GAP: Final = 0.004
"""Seconds between two copies of a package that was lost."""
TWIN_LOSS: Final = 0.02
"""Share of packages lost from which on a lost one is sent again in two copies."""
LOSS_MEMORY: Final = 256
"""Packages over which the loss rate is averaged."""


_NO_ORDER: Final[list[Run]] = []
_NO_TWINS: Final[list[tuple[float, int, int]]] = []
"""As in `unconfirmed`: what peers at rest share."""


class MeasuredRecovery(Recovery):
    """Recovery by what is measured; see the module's rules."""

    __slots__ = (
        "_backoff",
        "_doubt",
        "_doubt_until",
        "_judge_at",
        "_longest_wait",
        "_newest",
        "_order",
        "_probed_at",
        "_real_losses",
        "_resumed",
        "_twins",
        "loss_rate",
        "tolerance",
    )

    def __init__(self, first: int, longest_wait: float) -> None:
        super().__init__(first)
        self.loss_rate = 0.0
        self.tolerance = 1
        self._longest_wait = longest_wait
        self._order: list[Run]
        """Copies in order of sending; one that is not its package's last copy means nothing."""
        self._newest = 0
        """The highest serial known to have arrived."""
        self._judge_at: float | None = None
        self._doubt = 0
        """The highest serial that may have arrived."""
        self._doubt_until = inf
        self._backoff = 0
        self._probed_at = 0.0
        self._resumed = 0.0
        """When something was confirmed again after a timeout."""
        self._twins: list[tuple[float, int, int]]
        """A heap of (time, number, round serial) of copies to send."""
        self._real_losses = 0

    def extra_copies(self, number: int, times: Iterable[float]) -> None:
        """Send further copies of a package at these times, unless it is confirmed by then."""
        round_serial = self.copies(number).round_serial
        for time in times:
            heapq.heappush(self._twins, (time, number, round_serial))

    def confirmed(self, numbers: Sequence[int], now: float) -> tuple[int, float | None]:
        """Take the confirmation of these numbers; see `Recovery.confirmed`."""
        first = numbers[0] if numbers else None
        measured = self._sent_at(first)
        before = len(self.unconfirmed)
        news, once, again = self._take(numbers)
        sample = None
        if measured is not None and news:
            sample = max(0.0, now - measured)
            self.round_trip.sample(sample)
        if news:
            if self._backoff:
                self._backoff, self._resumed = 0, now
            # Nothing stays the very same nothing, which idle peers share.
            self.loss_rate = self.loss_rate and self.loss_rate * (1 - 1 / LOSS_MEMORY) ** (
                before - len(self.unconfirmed)
            )
        certain, doubtful = self._arrived(once, again, now)
        if not self.unconfirmed:
            self._judge_at = None
            self._rest()
        elif max(certain, doubtful) > self._newest:
            judge_at = now + SETTLE if len(numbers) >= MAX_CONFIRMED - 1 else now
            if self._judge_at is None or self._judge_at > judge_at:
                self._judge_at = judge_at
        self._newest = max(self._newest, certain)
        self._doubt = max(self._doubt, doubtful)
        if not self.unconfirmed or self._doubt <= self._newest:
            self._doubt, self._doubt_until = 0, inf
        elif doubtful or once is not None:
            self._doubt_until = now + max(SETTLE, DOUBT * (self.round_trip.smoothed or INITIAL_TIMEOUT))
        return news, sample

    def _arrived(self, once: int | None, again: Sequence[Copies], now: float) -> tuple[int, int]:
        """Return the highest serials of which a confirmation tells that they have arrived: for certain, and perhaps."""
        certain = doubtful = 0
        if once is not None:
            certain = self._run_of(once).serial_of(once)
        for copies in again:
            took = now - copies.round_sent
            if copies.lost and self.round_trip.minimum is not None and took < self.round_trip.minimum * TOO_SOON:
                self._needless()
                self.not_lost += 0 if copies.doubtful else 1
                continue
            if copies.lost:
                self._needed()
            if copies.doubtful:
                doubtful = max(doubtful, copies.round_serial)
            elif copies.lost and self.round_trip.minimum is None:
                certain = max(certain, copies.first_serial)  # by its time nobody can tell yet which copy it was
            else:
                certain = max(certain, copies.round_serial)
        return certain, doubtful

    def due(self, now: float, heard: float | None = None) -> list[int]:
        """Return what is to be sent again now; it counts as sent. See `Recovery.due`."""
        heard = now if heard is None else heard
        numbers: list[int] = []
        if heard >= self._doubt_until:
            self._newest = max(self._newest, self._doubt)
            self._judge_at = now
            self._doubt, self._doubt_until = 0, inf
        if self._judge_at is not None and now >= self._judge_at:
            self._judge(now, numbers)
        overtaken = len(numbers)
        late_at = self._late_at(now)
        if late_at is not None and late_at <= heard:
            again = "probe" if self._backoff else "timeout"
            self._time_out(now, heard, numbers)
            late = len(numbers) - overtaken
        else:
            again, late = "timeout", 0
        extra: list[tuple[str, int]] = []
        while self._twins and self._twins[0][0] <= now:
            _, number, round_serial = heapq.heappop(self._twins)
            copies = self._copies.get(number)
            if copies is not None and copies.round_serial == round_serial:
                self._serial += 1
                copies.serial = self._serial
                copies.last_sent = now
                copies.copies += 1
                self._order.append(Run(number, copies.serial, number + 1, now))
                numbers.append(number)
                extra.append(("twin" if copies.lost else "eager", 1))
        self.triggers = (("overtaken", overtaken), (again, late), *extra)
        return numbers

    def overdue(self, now: float) -> float | None:
        """Return since when a timeout is due, or a doubt ends; see `Recovery.overdue`."""
        at = min(inf if (late_at := self._late_at(now)) is None else late_at, self._doubt_until)
        return at if at <= now else None

    def deadline(self, *, timeouts: bool = True) -> float | None:
        """Return when `due` has something, or None; see `Recovery.deadline`."""
        oldest = self._oldest()
        if oldest is None:
            return None
        deadline = min(self._timeout_at(oldest), self._doubt_until) if timeouts else inf
        if self._judge_at is not None:
            deadline = min(deadline, self._judge_at)
        if self._twins:
            deadline = min(deadline, self._twins[0][0])
        return deadline

    def revive(self, now: float) -> list[int]:
        """Begin anew with everything that is unconfirmed; return it, to be sent again now."""
        self._backoff = 0
        self._judge_at = None
        self._doubt, self._doubt_until = 0, inf
        self._twins.clear()
        return super().revive(now)

    def refused(self, most: int, now: float, until: float) -> list[int]:
        """Send again what was refused; see `Recovery.refused`. Who refuses is there: no reason to wait longer."""
        self._backoff = 0
        return super().refused(most, now, until)

    def _sent(self, run: Run) -> None:
        self._order.append(run)

    def _rest(self) -> None:
        super()._rest()
        self._order, self._twins = _NO_ORDER, _NO_TWINS

    def _wake(self) -> None:
        super()._wake()
        self._order, self._twins = [], []

    def _again(self, number: int, now: float) -> Copies:
        copies = super()._again(number, now)
        self._order.append(Run(number, copies.serial, number + 1, now))
        if self.loss_rate > TWIN_LOSS:
            heapq.heappush(self._twins, (now + TWIN_GAP, number, copies.round_serial))
        return copies

    def _sent_at(self, number: int | None) -> float | None:
        """Return when an unconfirmed package was sent, if it was sent only once since it is judged by order."""
        if number is None or number not in self.unconfirmed:
            return None
        copies = self._copies.get(number)
        if copies is None:
            run = self._run_of(number)
            return None if run.leaves_by else run.time
        return None if copies.lost else copies.round_sent

    def _oldest(self) -> Run | None:
        """Return what begins with the copy, of those that are their package's last, that was sent longest ago."""
        order, unconfirmed, copies = self._order, self.unconfirmed, self._copies
        while order:
            run = order[0]
            ahead = min(self.oldest, run.end) - run.number
            if ahead > 0:
                run.number += ahead
                run.serial += ahead
            while run.number < run.end:
                number = run.number
                if number in unconfirmed and (number not in copies or copies[number].serial == run.serial):
                    return run
                run.number += 1
                run.serial += 1
            del order[0]
        return None

    def _take_oldest(self, run: Run) -> int:
        """Take the copy that `_oldest` has found out of the order."""
        number = run.number
        run.number += 1
        run.serial += 1
        return number

    def _judge(self, now: float, numbers: list[int]) -> None:
        """Find what is lost, from the oldest copy on."""
        self._judge_at = None
        patience = (self.round_trip.smoothed or 0.0) * 9 / 8 + SETTLE
        lost: list[int] = []
        while (run := self._oldest()) is not None:
            # What was sent again itself would have been confirmed before what came later, by whichever copy.
            newest = max(self._newest, self._doubt) if run.number in self._copies else self._newest
            if run.serial >= newest:
                break
            if run.leaves_by > now:
                break  # what has overtaken it was an older copy's confirmation
            if run.serial + self.tolerance > newest and now < run.time + patience:
                self._judge_at = run.time + patience
                break
            lost.append(self._take_oldest(run))
        for number in lost:
            self._again(number, now)
        self.lost += len(lost)
        self.loss_rate += (1.0 - self.loss_rate) * min(1.0, len(lost) / LOSS_MEMORY)
        numbers += lost

    def _late_at(self, now: float) -> float | None:
        """Return when the next timeout is; what has not left yet begins to wait anew: it cannot be sent before now."""
        oldest = self._oldest()
        if oldest is None:
            return None
        if oldest.leaves_by > now:
            oldest.time = max(oldest.time, now)
        return self._timeout_at(oldest)

    def _timeout_at(self, oldest: Run) -> float:
        timeout = self.round_trip.timeout
        if self._backoff == 0:
            return self._waits_since(oldest) + timeout
        return self._probed_at + min(
            timeout * 2.0 ** min(self._backoff, MAX_DOUBLINGS), max(timeout, self._longest_wait)
        )

    def _waits_since(self, run: Run) -> float:
        """Return since when the first copy of a run waits for its confirmation."""
        return run.time if run.number in self._copies else max(run.time, self._resumed)

    def _time_out(self, now: float, heard: float, numbers: list[int]) -> None:
        """Send again what was sent longest ago."""
        latest = heard if self._backoff else heard - self.round_trip.timeout
        for _ in range(PROBES if self._backoff else FIRST_RESENDS):
            oldest = self._oldest()
            if oldest is None or oldest.time == now or oldest.leaves_by > now or self._waits_since(oldest) > latest:
                break
            number = self._take_oldest(oldest)
            self._again(number, now).doubtful = True
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
