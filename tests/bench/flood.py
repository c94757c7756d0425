"""How fast packages go without a pause over a clean loopback, and a bare `sendto` loop, ENet and TCP beside them.

    python tests/bench/flood.py                      # 200 000 of 64 and of 504 bytes, and of sizes at random
    python tests/bench/flood.py --packages 10000     # a quick look

Sender and receiver are two processes. The rate is that of arrival, from the first send until the last is received; a
bare loop loses what finds no room in the receiver's buffer, packhorse must lose nothing that is reliable.
"""

from __future__ import annotations

import random

from common import PATIENCE, Rounds, machine, parser, process, result_of
from contenders import Arrival, Contender, Sent, rate
from others import everyone

LARGEST_MESSAGE = 499
"""Bytes of data in a message that still fits a package."""


def payloads(sizes: str, seed: int = 1) -> list[bytes]:
    """Make the payloads: all of one size, or 997 of a range, at random."""
    least, _, most = sizes.partition("-")
    luck = random.Random(seed)
    return [bytes(luck.randint(int(least), int(most))) for _ in range(997)] if most else [bytes(int(least))]


def measure(contender: Contender, data: list[bytes], count: int) -> dict[str, float]:
    """Let one contender have its turn."""
    with process(contender.receive, count) as receiver:
        to = result_of(receiver)
        with process(contender.send, to, data, count) as sender:
            sent: Sent = result_of(sender, 2 * PATIENCE)
            arrival: Arrival = result_of(receiver)
    return {
        "arrived": arrival.arrived / count,
        "rate": rate(arrival, sent),
        "sending": sent.cpu / count * 1e6,
        "receiving": arrival.cpu / max(1, arrival.arrived) * 1e6,
        "again": sent.again,
        "twice": arrival.twice,
    }


def main() -> None:
    """Print the tables."""
    options = parser(__doc__, pin=True)
    options.add_argument("--packages", type=int, default=200_000, help="packages per figure (default %(default)s)")
    options.add_argument(
        "--sizes", nargs="+", default=["64", "504", "20-108"], help="bytes of data, or a range (default 64 504 20-108)"
    )
    options.add_argument("--only", default="", help="only contenders whose names contain this; the bare loop always")
    given = options.parse_args()
    known = everyone(flood=True)
    chosen = {name: one for place, (name, one) in enumerate(known.items()) if not place or given.only in name}
    print(f"{machine()}, {given.packages} packages per figure, medians of {given.rounds} rounds\n")
    for sizes in given.sizes:
        data = payloads(sizes)
        if len(max(data, key=len)) > LARGEST_MESSAGE:
            names = [name for name in chosen if "messages" not in name]
        else:
            names = list(chosen)
        rounds = Rounds(names)

        def turn(name: str, data: list[bytes] = data) -> dict[str, float]:
            return measure(chosen[name], data, given.packages)

        rounds.run(given.rounds, turn)
        rounds.flood_table(f"{sizes} bytes")


if __name__ == "__main__":
    main()
