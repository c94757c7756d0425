"""How fast one stack sends to many peers in turns, and a bare socket beside it.

    python tests/bench/fanout.py                                 # 50 peers
    python tests/bench/fanout.py --peers 5 --packages 5000       # a quick look

The peers are one process with one socket that confirms what comes (see `scripted`), so that what is measured is the
sender. The rate is that of arrival.
"""

from __future__ import annotations

import socket
import time
from multiprocessing.connection import Connection

import packhorse
from common import PATIENCE, Rounds, machine, parser, process, result_of
from contenders import Arrival, Sent, rate
from packhorse import OutPackage, Peers, Reliability
from scripted import addresses, answering

BATCH = 64
NAMES: dict[str, Reliability | None] = {
    "bare sendto": None,
    **{f"packhorse, {one.name.lower().replace('_', '-')}": one for one in Reliability},
}


def _send(pipe: Connection, port: int, peers: int, count: int, size: int, reliability: Reliability | None) -> None:
    """Send in a process of its own."""
    targets, data = addresses(peers, port), bytes(size)
    each = max(1, count // peers)
    if reliability is None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bare:
            began, cpu = time.monotonic(), time.process_time()
            for _ in range(each):
                for target in targets:
                    bare.sendto(data, target)
            pipe.send(Sent(began, time.process_time() - cpu))
        return
    with packhorse.startup(host="127.0.0.1") as stack:
        began, cpu, send = time.monotonic(), time.process_time(), stack.sender.send
        for _ in range(each):
            for target in targets:
                send(OutPackage(data, reliability, Peers.PLAYERS, target))
        stack.sender.flush(PATIENCE)
        pipe.send(Sent(began, time.process_time() - cpu, stack.counters().get("resender.resent", 0)))


def measure(reliability: Reliability | None, peers: int, count: int, size: int) -> dict[str, float]:
    """Let one contender have its turn."""
    count = max(1, count // peers) * peers
    with process(answering, BATCH) as receivers:
        with process(_send, result_of(receivers), peers, count, size, reliability) as sender:
            sent: Sent = result_of(sender, 2 * PATIENCE)
        receivers.send("that was all")
        arrival: Arrival = result_of(receivers)
    return {
        "arrived": min(1.0, arrival.arrived / count),
        "rate": rate(arrival._replace(arrived=min(arrival.arrived, count)), sent),
        "sending": sent.cpu / count * 1e6,
        "receiving": arrival.cpu / max(1, arrival.arrived) * 1e6,
        "again": sent.again,
        "twice": max(0, arrival.arrived - count) if reliability else 0,
    }


def main() -> None:
    """Print the table."""
    options = parser(__doc__, pin=True)
    options.add_argument("--peers", type=int, default=50, help="how many receive (default %(default)s)")
    options.add_argument("--packages", type=int, default=100_000, help="packages in all (default %(default)s)")
    options.add_argument("--size", type=int, default=64, help="bytes of data (default %(default)s)")
    given = options.parse_args()
    print(f"{machine()}, {given.packages} packages of {given.size} bytes, medians of {given.rounds} rounds\n")
    rounds = Rounds(list(NAMES))
    rounds.run(given.rounds, lambda name: measure(NAMES[name], given.peers, given.packages, given.size))
    rounds.flood_table(f"one to {given.peers} peers")


if __name__ == "__main__":
    main()
