"""How long packages are under way over a lossy link: packhorse, the original's schedule, ENet, a bare `sendto`.

    python tests/bench/latency.py                    # the table (some ten minutes)
    python tests/bench/latency.py --packages 500     # a quick look
    python tests/bench/latency.py --plot latency.svg # and the distribution at 20 % loss as a picture

Sender, link and receiver are three processes; the link delays by 20 ms each way and loses in both directions. Latency
is from just before `send` until just after `recv`, by `time.monotonic`, which processes share on Linux.
"""

from __future__ import annotations

import importlib
import importlib.util
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import packhorse
from common import PATIENCE, Table, machine, parser, process, quantile, result_of
from packhorse import ConfirmPolicy, OutPackage, Peers, Reliability, ResendPolicy
from packhorse.testing import Link, UdpLink

RATE = 200
DELAY = 0.02


@dataclass(frozen=True)
class Column:
    """What is measured: which sender, with which promise."""

    name: str
    reliability: Reliability | None
    original: bool = False
    enet: bool = False

    def options(self) -> dict[str, Any]:
        """Return the options of the stacks."""
        if not self.original:
            return {}
        return {"resend": ResendPolicy.original(), "confirm": ConfirmPolicy.original()}


COLUMNS = (
    Column("bare sendto", None),
    Column("original's schedule, unordered", Reliability.UNORDERED, original=True),
    Column("original's schedule, semi-ordered", Reliability.SEMI_ORDERED, original=True),
    Column("packhorse, unordered", Reliability.UNORDERED),
    Column("packhorse, semi-ordered", Reliability.SEMI_ORDERED),
)
ENET = Column("ENet, reliable", None, enet=True)
"""One reliable packet for each, in the order they were sent; ENet knows no reliable ones without."""


def _receive(pipe: Connection, column: Column, count: int) -> None:
    """Receive in a process of its own; send back the port, then the latencies."""
    latencies: list[float] = []
    if column.enet:
        _receive_by_enet(pipe, latencies, count)
    elif column.reliability is None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bare:
            bare.bind(("127.0.0.1", 0))
            pipe.send(bare.getsockname())
            bare.settimeout(2.0)
            try:
                while len(latencies) < count:
                    data = bare.recv(2048)
                    latencies.append(time.monotonic() - int.from_bytes(data[:8], "big") / 1e9)
            except TimeoutError:
                pass
    else:
        with packhorse.startup(host="127.0.0.1", **column.options()) as stack:
            pipe.send(stack.address)
            try:
                while len(latencies) < count:
                    data = stack.receiver.recv(timeout=30.0).data
                    latencies.append(time.monotonic() - int.from_bytes(data[:8], "big") / 1e9)
            except packhorse.Timeout:
                pass
    pipe.send(latencies)


def _receive_by_enet(pipe: Connection, latencies: list[float], count: int) -> None:
    enet: Any = importlib.import_module("enet")
    host = enet.Host(enet.Address(b"127.0.0.1", 0), 1, 1, 0, 0)
    pipe.send(("127.0.0.1", host.address.port))
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        event = host.service(10)
        if event.type == enet.EVENT_TYPE_RECEIVE:
            latencies.append(time.monotonic() - int.from_bytes(event.packet.data[:8], "big") / 1e9)
            until = time.monotonic() + 30.0
            if len(latencies) == count:
                event.peer.send(0, enet.Packet(b"all there", enet.PACKET_FLAG_RELIABLE))
        elif event.type == enet.EVENT_TYPE_DISCONNECT:
            return


def _send_by_enet(to: packhorse.Address, count: int, stamp: Callable[[], bytes]) -> None:
    enet: Any = importlib.import_module("enet")
    host = enet.Host(None, 1, 1, 0, 0)
    peer = host.connect(enet.Address(to[0].encode(), to[1]), 1)
    while host.service(100).type != enet.EVENT_TYPE_CONNECT:
        pass
    start = time.monotonic()
    for number in range(count):
        while (wait := start + number / RATE - time.monotonic()) > 0:
            host.service(max(1, int(wait * 1000)))
        peer.send(0, enet.Packet(stamp(), enet.PACKET_FLAG_RELIABLE))
        host.flush()
    over = (enet.EVENT_TYPE_RECEIVE, enet.EVENT_TYPE_DISCONNECT)
    until = time.monotonic() + PATIENCE
    while host.service(10).type not in over and time.monotonic() < until:
        pass
    peer.disconnect_now(0)


def _relay(pipe: Connection, to: packhorse.Address, loss: float, seed: int) -> None:
    """Be the link in a process of its own, until the pipe is closed."""
    there, back = Link(loss=loss, delay=DELAY, seed=seed), Link(loss=loss, delay=DELAY, seed=seed + 1)
    with UdpLink(to, there=there, back=back) as link:
        pipe.send(link.address)
        pipe.poll(None)


def _send(column: Column, to: packhorse.Address, count: int, size: int) -> int:
    """Send at a steady rate from this process; return how many packages were reported as failed."""
    filler = bytes(size - 8)

    def stamp() -> bytes:
        return int(time.monotonic() * 1e9).to_bytes(8, "big") + filler

    def pace(number: int) -> None:
        wait = start + number / RATE - time.monotonic()
        if wait > 0:
            time.sleep(wait)

    if column.enet:
        _send_by_enet(to, count, stamp)
        return 0
    start = time.monotonic()
    if column.reliability is None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bare:
            for number in range(count):
                pace(number)
                bare.sendto(stamp(), to)
        return 0
    with packhorse.startup(host="127.0.0.1", **column.options()) as stack:
        for number in range(count):
            pace(number)
            stack.sender.send(OutPackage(stamp(), column.reliability, Peers.PLAYERS, to))
        stack.sender.flush(60.0)
        return sum(failure.count for failure in stack.errors.drain())


def measure(column: Column, loss: float, size: int, count: int, seed: int) -> list[float]:
    """Return the latencies in seconds, in order of size; those of packages that never arrived are missing."""
    with process(_receive, column, count) as receiver, process(_relay, result_of(receiver), loss, seed) as relay:
        _send(column, result_of(relay), count, size)
        latencies: list[float] = result_of(receiver)
    return sorted(latencies)


def cell(latencies: list[float], count: int) -> str:
    """Write p50 / p99 in milliseconds, and how many never arrived."""
    if not latencies:
        return "nothing arrived"
    p50, p99 = (quantile(latencies, share) * 1000 for share in (0.5, 0.99))
    missing = count - len(latencies)
    return f"{p50:.1f} / {p99:.1f}" + (f", {missing / count:.1%} missing" if missing else "")


def plot(results: dict[str, list[float]], file: Path) -> None:
    """Draw the share of packages that arrived within a time."""
    pyplot: Any = importlib.import_module("matplotlib.pyplot")  # only needed here: dependency group bench
    figure, axes = pyplot.subplots(figsize=(8, 4.5))
    for name, latencies in results.items():
        axes.plot(
            [latency * 1000 for latency in latencies],
            [(place + 1) / len(latencies) for place in range(len(latencies))],
            label=name,
        )
    axes.set_xscale("log")
    axes.set_xlabel("one-way delivery, ms (20 ms link, 20 % loss each way, 200 packages/s)")
    axes.set_ylabel("share delivered")
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(file)


def main() -> None:
    """Print the table."""
    made = parser(__doc__, rounds=None)
    made.add_argument("--packages", type=int, default=2000, help="packages per figure (default 2000)")
    made.add_argument("--sizes", type=int, nargs="+", default=[64, 504], help="bytes of data (default 64 504)")
    made.add_argument("--losses", type=float, nargs="+", default=[0.0, 0.05, 0.2], help="each way (default 0 0.05 0.2)")
    made.add_argument("--seed", type=int, default=1)
    made.add_argument("--plot", type=Path, help="draw the distribution at the last loss and first size as SVG")
    options = made.parse_args()
    print(f"{machine()}, {options.packages} packages per figure, ms p50 / p99\n")
    pictured: dict[str, list[float]] = {}
    columns = COLUMNS if importlib.util.find_spec("enet") is None else (*COLUMNS, ENET)
    for size in options.sizes:
        table = Table(f"{size} bytes", *(f"{loss:.0%} loss" for loss in options.losses))
        for column in columns:
            cells: list[str] = []
            for loss in options.losses:
                latencies = measure(column, loss, size, options.packages, options.seed)
                cells.append(cell(latencies, options.packages))
                if size == options.sizes[0] and loss == options.losses[-1] and (column.enet or column.reliability):
                    pictured[column.name] = latencies
            table.row(column.name, *cells)
        table.end()
    if options.plot is not None:
        plot(pictured, options.plot)
        print(f"drawn to {options.plot}", file=sys.stderr)


if __name__ == "__main__":
    main()
