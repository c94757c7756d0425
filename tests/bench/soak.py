"""Whether packhorse holds a load for long, and what a light load costs.

    python tests/bench/soak.py                                                           # eleven minutes
    python tests/bench/soak.py --minutes 0.05 --peak 5000 --paced 1000                   # a quick look

First a short flood tells the peak. Then a share of it is sent for minutes: memory must not grow, nothing may be lost.
*KiB a minute* is the slope of the resident memory, without the first fifth of the time. Latency is from just before the
first `send` of a millisecond's share until just after `recv_many`, of one package in sixteen.

Last, the seconds of CPU for packages at 10 000 a second, sent one at a time or ten every millisecond. The original
takes 3.7 s for sending and 2.2 s for receiving 100 000 of them.
"""

from __future__ import annotations

import statistics
import time
from array import array
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import NamedTuple

import packhorse
from common import PATIENCE, Rounds, Table, machine, memory, paced, parser, process, quantile, result_of
from contenders import STUCK, Arrival, Bare, Contender, Packhorse, Sent, bare_socket
from flood import measure as flood
from packhorse import Address, OutPackage, Peers, Reliability

HOST = "127.0.0.1"
EVERY = 16
"""One package of so many has its latency taken."""

BUCKET = 1e-5
BUCKETS = 500_000
"""Latencies are counted in steps of 10 us up to 5 s."""

SAMPLE = 0.5
"""Seconds between two looks at the memory."""

SAMPLES = 100_000


class Memory:
    """The resident memory of this process over time. It takes all its room at once, so as not to grow itself."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._next = self._start
        self._times = array("d", bytes(8 * SAMPLES))
        self._bytes = array("d", bytes(8 * SAMPLES))
        self._count = 0

    def look(self) -> None:
        """Take a sample if it is time."""
        now = time.monotonic()
        if now >= self._next and self._count < SAMPLES:
            self._next = now + SAMPLE
            self._times[self._count], self._bytes[self._count] = now - self._start, memory()
            self._count += 1

    def slope(self) -> float:
        """Return bytes a minute, without the first fifth."""
        late = slice(self._count // 5, self._count)
        if late.stop - late.start < 2:
            return float("nan")
        return statistics.linear_regression(self._times[late], self._bytes[late]).slope * 60

    def last(self) -> int:
        """Return the bytes of the last sample."""
        return int(self._bytes[self._count - 1])


class End(NamedTuple):
    """What one end of the soak has to say."""

    packages: int
    seconds: float
    cpu: float
    memory: int
    slope: float
    latencies: tuple[float, float, float] = (0.0, 0.0, 0.0)
    again: int = 0
    failed: int = 0


def _send(pipe: Connection, to: Address, count: int, rate: float, size: int, reliability: Reliability) -> None:
    filler, memory_of = bytes(size - 8), Memory()
    with packhorse.startup(host=HOST) as stack:
        send, peers = stack.sender.send, Peers.PLAYERS
        start, cpu = time.monotonic(), time.process_time()
        for due in paced(count, rate, max(1, int(rate / 1000))):
            data = time.monotonic_ns().to_bytes(8, "big") + filler
            for _ in range(due):
                send(OutPackage(data, reliability, peers, to))
            memory_of.look()
        seconds, cpu = time.monotonic() - start, time.process_time() - cpu
        stack.sender.flush(PATIENCE)
        failed = sum(failure.count for failure in stack.errors.drain())
        again = stack.counters().get("resender.resent", 0)
        pipe.send(End(count, seconds, cpu, memory_of.last(), memory_of.slope(), again=again, failed=failed))


def _receive(pipe: Connection, count: int) -> None:
    histogram, memory_of, arrived = array("Q", bytes(8 * BUCKETS)), Memory(), 0
    with packhorse.startup(host=HOST) as stack:
        pipe.send(stack.address)
        start, cpu = time.monotonic(), time.process_time()
        try:
            while arrived < count:
                packages = stack.receiver.recv_many(1024, STUCK)
                now = time.monotonic_ns()
                for package in packages[-arrived % EVERY :: EVERY]:
                    latency = (now - int.from_bytes(package.data[:8], "big")) / 1e9
                    histogram[min(BUCKETS - 1, int(latency / BUCKET))] += 1
                arrived += len(packages)
                memory_of.look()
        except packhorse.Timeout:
            pass
        seconds, cpu = time.monotonic() - start, time.process_time() - cpu
    pipe.send(End(arrived, seconds, cpu, memory_of.last(), memory_of.slope(), _quantiles(histogram)))


def _quantiles(histogram: Sequence[int]) -> tuple[float, float, float]:
    """Return p50, p99 and the largest, in seconds."""
    total, below, found = sum(histogram), 0, list[float]()
    wanted = iter((0.5, 0.99, 1.0))
    share = next(wanted)
    for bucket, number in enumerate(histogram):
        below += number
        while number and below >= share * total:
            found.append((bucket + 1) * BUCKET)
            share = next(wanted, 2.0)
    p50, p99, largest = found
    return p50, p99, largest


def soak(contender: Packhorse, rate: float, minutes: float, size: int) -> None:
    """Hold a rate, and print the table."""
    count = max(1, int(rate * minutes * 60))
    patience = PATIENCE + 4 * 60 * minutes
    with process(_receive, count) as receiver:
        to = result_of(receiver)
        with process(_send, to, count, rate, size, contender.reliability) as sender:
            sent: End = result_of(sender, patience)
            arrived: End = result_of(receiver)
    table = Table(contender.name, "packages", "a second", "CPU us each", "resident MiB at the end", "KiB a minute")
    for name, end in (("sent", sent), ("arrived", arrived)):
        table.row(
            name, f"{end.packages:,}", f"{end.packages / end.seconds:,.0f}",
            f"{end.cpu / max(1, end.packages) * 1e6:.2f}",
            f"{end.memory / 2**20:.1f}", f"{end.slope / 1024:+.1f}",
        )  # fmt: skip
    p50, p99, largest = (f"{seconds * 1000:.2f}" for seconds in arrived.latencies)
    print(
        f"\nlatency p50 / p99 / largest {p50} / {p99} / {largest} ms; {sent.packages - arrived.packages} missing, ",
        end="",
    )
    print(f"{sent.failed} reported as failed, {sent.again} sent again\n", flush=True)


class Paced:
    """A contender that sends at a rate, so many at a time."""

    def __init__(self, contender: Bare | Packhorse, batch: int, rate: float) -> None:
        self.contender = contender
        self.batch = batch
        self.rate = rate
        self.name = f"{contender.name}, {batch} at a time"

    def send(self, pipe: Connection, to: Address, size: int, count: int) -> None:
        """Send in a process of its own, and say `Sent`."""
        data = bytes(size)
        if isinstance(self.contender, Bare):
            with bare_socket() as bare:
                began, cpu = time.monotonic(), time.process_time()
                for due in paced(count, self.rate, self.batch):
                    for _ in range(due):
                        bare.sendto(data, to)
                pipe.send(Sent(began, time.process_time() - cpu))
            return
        with packhorse.startup(host=HOST) as stack:
            began, cpu, send, reliability = (
                time.monotonic(),
                time.process_time(),
                stack.sender.send,
                self.contender.reliability,
            )
            for due in paced(count, self.rate, self.batch):
                for _ in range(due):
                    send(OutPackage(data, reliability, Peers.PLAYERS, to))
            stack.sender.flush(PATIENCE)
            pipe.send(Sent(began, time.process_time() - cpu))

    def measure(self, size: int, count: int) -> dict[str, float]:
        """Return seconds of CPU."""
        receiving: Contender = self.contender
        with process(receiving.receive, count) as receiver:
            to = result_of(receiver)
            with process(self.send, to, size, count) as sender:
                sent: Sent = result_of(sender, PATIENCE + 2 * count / self.rate)
                arrival: Arrival = result_of(receiver)
        return {"sending": sent.cpu, "receiving": arrival.cpu, "arrived": arrival.arrived / count}


def paced_table(reliability: Reliability, count: int, rate: float, size: int, rounds: int) -> None:
    """Print what a light load costs."""
    batches = sorted({1, max(1, int(rate / 1000))})
    everyone = [Paced(one, batch, rate) for batch in batches for one in (Bare(), Packhorse(reliability))]
    figures = Rounds([one.name for one in everyone])
    by_name = {one.name: one for one in everyone}
    figures.run(rounds, lambda name: by_name[name].measure(size, count))
    table = Table(f"{count:,} packages at {rate:,.0f} a second", "arrived", "CPU s sending", "CPU s receiving")
    for one in everyone:
        cells = (f"{figures.median(one.name, figure):.2f}" for figure in ("sending", "receiving"))
        table.row(one.name, f"{figures.median(one.name, 'arrived'):.1%}", *cells)
    table.end()


def main() -> None:
    """Print the tables."""
    options = parser(__doc__, rounds=1, pin=True)
    options.add_argument("--minutes", type=float, default=10.0, help="how long (default %(default)s)")
    options.add_argument("--share", type=float, default=0.8, help="of the peak (default %(default)s)")
    options.add_argument("--peak", type=int, default=200_000, help="packages that tell the peak (default %(default)s)")
    options.add_argument("--paced", type=int, default=100_000, help="packages of a light load (default %(default)s)")
    options.add_argument("--rate", type=float, default=10_000, help="their rate a second (default %(default)s)")
    options.add_argument("--size", type=int, default=64, help="bytes of data (default %(default)s)")
    options.add_argument("--reliability", default="SEMI_ORDERED", choices=[one.name for one in Reliability if one])
    given = options.parse_args()
    contender = Packhorse(Reliability[given.reliability])
    print(f"{machine()}, packages of {given.size} bytes\n")
    peaks = sorted(flood(contender, [bytes(given.size)], given.peak)["rate"] for _ in range(3))
    peak = quantile(peaks, 0.5)
    print(f"peak {peak:,.0f} a second; {given.share:.0%} of it for {given.minutes:g} minutes\n")
    soak(contender, peak * given.share, given.minutes, given.size)
    paced_table(contender.reliability, given.paced, given.rate, given.size, given.rounds)


if __name__ == "__main__":
    main()
