"""How fast packages go without a pause over a clean loopback: packhorse, and a bare `sendto` loop beside it.

    python tests/bench/flood.py                      # 100 000 packages of 64 and of 504 bytes
    python tests/bench/flood.py --packages 10000     # a quick look

Sender and receiver are two processes. The rate is that of arrival, from the first package to the last; a bare loop loses what finds
no room in the receiver's buffer, packhorse must lose nothing.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import socket
import time
from multiprocessing.connection import Connection

import packhorse
from packhorse import OutPackage, Peers, Reliability

SPAWN = multiprocessing.get_context("spawn")
KINDS: dict[str, Reliability | None] = {
    "bare sendto": None,
    "packhorse, unreliable": Reliability.UNRELIABLE,
    "packhorse, unordered": Reliability.UNORDERED,
    "packhorse, semi-ordered": Reliability.SEMI_ORDERED,
}


def _receive(reliability: Reliability | None, count: int, pipe: Connection) -> None:
    """Receive in a process of its own; send back the address, then how many came and in how many seconds."""
    arrived, first, last = 0, 0.0, 0.0
    if reliability is None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bare:
            bare.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
            bare.bind(("127.0.0.1", 0))
            pipe.send(bare.getsockname())
            bare.settimeout(1.0)
            try:
                while arrived < count:
                    bare.recvfrom(2048)
                    last = time.monotonic()
                    first = first or last
                    arrived += 1
            except TimeoutError:
                pass
    else:
        with packhorse.startup(host="127.0.0.1") as stack:
            pipe.send(stack.address)
            try:
                while arrived < count:
                    arrived += len(stack.receiver.recv_many(1000, timeout=1.0 if not reliability else 30.0))
                    last = time.monotonic()
                    first = first or last
            except packhorse.Timeout:
                pass
    pipe.send((arrived, last - first))


def measure(reliability: Reliability | None, size: int, count: int) -> tuple[int, float, int]:
    """Return how many arrived, how many a second, and how many datagrams were sent again."""
    here, there = SPAWN.Pipe()
    receiver = SPAWN.Process(target=_receive, args=(reliability, count, there), daemon=True)
    receiver.start()
    to = here.recv()
    data, resent = bytes(size), 0
    if reliability is None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bare:
            for _ in range(count):
                bare.sendto(data, to)
    else:
        with packhorse.startup(host="127.0.0.1") as stack:
            send = stack.sender.send
            for _ in range(count):
                send(OutPackage(data, reliability, Peers.PLAYERS, to))
            stack.sender.flush(120.0)
            resent = stack.counters()["resender.resent"]
    arrived, seconds = here.recv()
    receiver.join()
    return arrived, arrived / seconds if seconds else 0.0, resent


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packages", type=int, default=100_000, help="packages per figure (default 100 000)")
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 504], help="bytes of data (default 64 504)")
    options = parser.parse_args()
    versions = f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}"
    print(f"{time.strftime('%Y-%m-%d')}, {versions}, {options.packages} packages per figure\n")
    for size in options.sizes:
        print(f"| {size} bytes | arrived | packages/s | to the bare loop | sent again |")
        print("|---|---|---|---|---|")
        bare = 0.0
        for name, reliability in KINDS.items():
            arrived, rate, resent = measure(reliability, size, options.packages)
            bare = bare or rate
            share = f"{arrived / options.packages:.1%}"
            print(f"| {name} | {share} | {rate:,.0f} | {rate / bare:.2f} | {resent} |", flush=True)
        print()


if __name__ == "__main__":
    main()
