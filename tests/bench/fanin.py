"""How fast one stack takes packages of many senders, and a bare socket beside it.

    python tests/bench/fanin.py                                  # 50 senders
    python tests/bench/fanin.py --senders 5 --packages 5000      # a quick look

The senders are stacks (or sockets) with a thread each, in one process or several; the receiver is a process of its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from multiprocessing.connection import Connection

import packhorse
from common import PATIENCE, Rounds, machine, parser, process, result_of
from contenders import Arrival, Bare, Contender, Packhorse, Sent, bare_socket, rate
from packhorse import Address, OutPackage, Peers, Reliability


def _send_all(
    pipe: Connection, to: Address, senders: int, each: int, size: int, reliability: Reliability | None
) -> None:
    """Be so many senders, each in a thread."""
    data, go, again = bytes(size), threading.Event(), 0
    with ExitStack() as opened:
        works: list[Callable[[], object]] = []
        stacks: list[packhorse.Stack] = []
        for _ in range(senders):
            if reliability is None:
                works.append(partial(opened.enter_context(bare_socket()).sendto, data, to))
            else:
                stacks.append(opened.enter_context(packhorse.startup(host="127.0.0.1")))
                works.append(partial(stacks[-1].sender.send, OutPackage(data, reliability, Peers.PLAYERS, to)))
        threads = [threading.Thread(target=_repeat, args=(go, each, work)) for work in works]
        for thread in threads:
            thread.start()
        began, cpu = time.monotonic(), time.process_time()
        go.set()
        for thread in threads:
            thread.join()
        for stack in stacks:
            stack.sender.flush(PATIENCE)
            again += stack.counters().get("resender.resent", 0)
        pipe.send(Sent(began, time.process_time() - cpu, again))


def _repeat(go: threading.Event, count: int, action: Callable[[], object]) -> None:
    go.wait()
    for _ in range(count):
        action()


def measure(contender: Contender, senders: int, processes: int, count: int, size: int) -> dict[str, float]:
    """Let one contender have its turn."""
    each = max(1, count // senders)
    shares = [senders // processes + (place < senders % processes) for place in range(processes)]
    reliability = contender.reliability if isinstance(contender, Packhorse) else None
    with ExitStack() as running:
        receiver = running.enter_context(process(contender.receive, each * senders))
        to = result_of(receiver)
        pipes = [
            running.enter_context(process(_send_all, to, share, each, size, reliability)) for share in shares if share
        ]
        sent: list[Sent] = [result_of(pipe, 2 * PATIENCE) for pipe in pipes]
        arrival: Arrival = result_of(receiver)
    return {
        "arrived": arrival.arrived / (each * senders),
        "rate": rate(arrival, *sent),
        "sending": sum(one.cpu for one in sent) / (each * senders) * 1e6,
        "receiving": arrival.cpu / max(1, arrival.arrived) * 1e6,
        "again": sum(one.again for one in sent),
        "twice": arrival.twice,
    }


def main() -> None:
    """Print the table."""
    options = parser(__doc__)
    options.add_argument("--senders", type=int, default=50, help="how many send (default %(default)s)")
    options.add_argument("--processes", type=int, default=2, help="processes they are in (default %(default)s)")
    options.add_argument("--packages", type=int, default=100_000, help="packages in all (default %(default)s)")
    options.add_argument("--size", type=int, default=64, help="bytes of data (default %(default)s)")
    given = options.parse_args()
    everyone: list[Contender] = [Bare(), *(Packhorse(reliability) for reliability in Reliability)]
    chosen = {contender.name: contender for contender in everyone}
    print(f"{machine()}, {given.packages} packages of {given.size} bytes, medians of {given.rounds} rounds\n")
    rounds = Rounds(list(chosen))
    rounds.run(
        given.rounds,
        lambda name: measure(chosen[name], given.senders, given.processes, given.packages, given.size),
    )
    rounds.flood_table(f"{given.senders} senders to one")


if __name__ == "__main__":
    main()
