"""What a package costs with 1, 100 and 10 000 peers at the same rate, what an idle peer costs, and 100 stacks at once.

    python tests/bench/peers.py                                               # four minutes
    python tests/bench/peers.py --peers 1 100 --packages 2000 --stacks 5      # a quick look

The peers are one socket with many addresses (see `scripted`). It confirms each package by a datagram of its own,
however many peers there are, and sends from one source after the other. *User CPU* is what the stack's process spends
outside of system calls, with the loop that sends or receives. Before anything is measured each peer has had one
package. Memory is what the process has grown by then. Of several rounds the cheapest counts: work beside it only ever
adds.
"""

from __future__ import annotations

import gc
import resource
import threading
import time
from contextlib import ExitStack
from itertools import cycle, islice
from multiprocessing.connection import Connection
from typing import NamedTuple

import packhorse
from common import PATIENCE, Table, machine, memory, paced, parser, process, result_of, user_time
from packhorse import OutPackage, Peers, Reliability
from scripted import addresses, answering, sources

SIZE = 64
ENOUGH = 1000
"""Peers from which on the growth of the process says what one takes."""


class Cost(NamedTuple):
    """What peers cost a stack.

    Attributes:
        package: seconds of user CPU for each package.
        peer: bytes for each idle peer.
        idle: share of a CPU that is busy while all are idle.
        switches: times a second that a thread wakes up meanwhile.
    """

    package: float
    peer: float
    idle: float
    switches: float


class Pause(NamedTuple):
    """Seconds until everything about the first packages is over, and seconds of nothing that are measured."""

    settle: float
    idle: float


class _Idle:
    """Measures a stack that has met its peers and has nothing to do."""

    def __init__(self, peers: int, pause: Pause) -> None:
        gc.collect()
        self._peers = peers
        self._pause = pause
        self._memory = memory()
        self.peer = self.idle = self.switches = 0.0

    def measure(self) -> None:
        seconds = self._pause.idle
        time.sleep(self._pause.settle)
        gc.collect()
        self.peer = (memory() - self._memory) / self._peers
        cpu, switches = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
        time.sleep(seconds)
        self.idle = (time.process_time() - cpu) / seconds
        self.switches = (resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - switches - 1) / seconds


def _send(pipe: Connection, port: int, peers: int, count: int, rate: float, pause: Pause) -> None:
    """Send to so many peers, in a process of its own."""
    turns, data, batch = cycle(addresses(peers, port)), bytes(SIZE), max(1, int(rate / 1000))
    with packhorse.startup(host="127.0.0.1") as stack:
        idle = _Idle(peers, pause)

        def send(number: int) -> None:
            for due in paced(number, rate, batch):
                for target in islice(turns, due):
                    stack.sender.send(OutPackage(data, Reliability.UNORDERED, Peers.PLAYERS, target))
            stack.sender.flush(PATIENCE)

        send(peers)
        idle.measure()
        user = user_time()
        send(count)
        pipe.send(Cost((user_time() - user) / count, idle.peer, idle.idle, idle.switches))


def _receive(pipe: Connection, peers: int, count: int, pause: Pause) -> None:
    """Receive from so many peers, in a process of its own."""
    with packhorse.startup(host="127.0.0.1") as stack:
        idle = _Idle(peers, pause)

        def receive(number: int) -> None:
            while number > 0:
                number -= len(stack.receiver.recv_many(1024, PATIENCE))

        pipe.send(stack.address)
        receive(peers)
        idle.measure()
        user = user_time()
        pipe.send("go on")
        receive(count)
        pipe.send(Cost((user_time() - user) / count, idle.peer, idle.idle, idle.switches))


def sending(peers: int, count: int, rate: float, pause: Pause) -> Cost:
    """Measure a stack that sends to so many peers."""
    with (
        process(answering, 1) as scripted,
        process(_send, result_of(scripted), peers, count, rate, pause) as sender,
    ):
        cost: Cost = result_of(sender, 2 * PATIENCE)
    return cost


def receiving(peers: int, count: int, rate: float, pause: Pause) -> Cost:
    """Measure a stack that receives from so many peers."""
    with (
        process(_receive, peers, count, pause) as receiver,
        process(sources, result_of(receiver), peers, rate, SIZE) as scripted,
    ):
        scripted.send(peers)
        result_of(receiver)
        scripted.send(count)
        cost: Cost = result_of(receiver, 2 * PATIENCE)
    return cost


def _stacks(pipe: Connection, number: int, count: int, pause: Pause) -> None:
    """Run so many stacks, each of which sends to the next, in a process of its own."""
    before, start = memory(), time.monotonic()
    with ExitStack() as opened:
        stacks = [opened.enter_context(packhorse.startup(host="127.0.0.1")) for _ in range(number)]
        started = time.monotonic() - start
        threads, each = threading.active_count(), (memory() - before) / number
        cpu, start = time.process_time(), time.monotonic()
        for turn in range(count):
            stacks[turn % number].send(bytes(SIZE), to=stacks[(turn + 1) % number].address)
        arrived = 0
        for stack in stacks:
            stack.sender.flush(PATIENCE)
        for stack in stacks:
            arrived += len(stack.receiver.drain())
        rate, cpu = count / (time.monotonic() - start), (time.process_time() - cpu) / count
        time.sleep(pause.settle)
        idle = time.process_time()
        time.sleep(pause.idle)
        idle = (time.process_time() - idle) / pause.idle
        start = time.monotonic()
    ended = time.monotonic() - start
    pipe.send((f"{started:.2f}", f"{threads}", f"{each / 1024:,.0f}", f"{arrived / count:.1%}", f"{rate:,.0f}",
               f"{cpu * 1e6:.1f}", f"{idle:.2%}", f"{ended:.2f}"))  # fmt: skip


def main() -> None:
    """Print the tables."""
    options = parser(__doc__, pin=True)
    options.add_argument("--peers", type=int, nargs="+", default=[1, 100, 10_000], help="default 1 100 10 000")
    options.add_argument("--packages", type=int, default=50_000, help="packages per figure (default %(default)s)")
    options.add_argument("--rate", type=float, default=10_000, help="packages a second (default %(default)s)")
    options.add_argument("--idle", type=float, default=5.0, help="seconds without any (default %(default)s)")
    options.add_argument("--settle", type=float, default=1.0, help="seconds before these (default %(default)s)")
    options.add_argument("--stacks", type=int, default=100, help="stacks in one process (default %(default)s)")
    given = options.parse_args()
    pause = Pause(given.settle, given.idle)
    print(f"{machine()}, {given.packages} packages of {SIZE} bytes at {given.rate:,.0f} a second\n")
    for name, measure in (("sending to", sending), ("receiving from", receiving)):
        table = Table(
            f"{name} peers", "user CPU us per package", f"to {given.peers[0]}", "bytes per idle peer", "CPU while idle",
            "wake-ups a second",
        )  # fmt: skip
        first = 0.0
        for peers in given.peers:
            costs = [measure(peers, given.packages, given.rate, pause) for _ in range(given.rounds)]
            cost = min(costs)
            first = first or cost.package
            table.row(
                f"{peers:,}",
                f"{cost.package * 1e6:.2f}",
                f"{cost.package / first:.2f}" if first else "-",
                f"{cost.peer:,.0f}" if peers >= ENOUGH else "-",
                f"{cost.idle:.2%}",
                f"{cost.switches:.1f}",
            )
        table.end()
    table = Table(
        "stacks in one process", "s to start", "threads", "KiB each", "arrived", "packages a second",
        "CPU us per package",
        "CPU while idle", "s to close",
    )  # fmt: skip
    with process(_stacks, given.stacks, given.packages, pause) as stacks:
        table.row(str(given.stacks), *result_of(stacks, 2 * PATIENCE))
    table.end()


if __name__ == "__main__":
    main()
