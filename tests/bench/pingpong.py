"""How long a round trip takes when nothing else is under way, and over a bare loop, ENet and TCP beside it.

    python tests/bench/pingpong.py                   # 20 000 round trips of 64 bytes
    python tests/bench/pingpong.py --packages 1000   # a quick look

The two ends are two processes. A round trip is from just before `send` until just after `recv`; the next begins when it
is over.
"""

from __future__ import annotations

from common import PATIENCE, Rounds, Table, machine, parser, process, quantile, result_of
from contenders import Contender
from others import everyone


def measure(contender: Contender, size: int, count: int) -> dict[str, float]:
    """Let one contender have its turn; microseconds. The first tenth is not counted."""
    with process(contender.echo) as echo, process(contender.ping, result_of(echo), size, count) as pinger:
        trips: list[float] = result_of(pinger, 2 * PATIENCE)
    ordered = sorted(trips[len(trips) // 10 :])
    return {"p50": quantile(ordered, 0.5) * 1e6, "p99": quantile(ordered, 0.99) * 1e6}


def main() -> None:
    """Print the table."""
    options = parser(__doc__, pin=True)
    options.add_argument("--packages", type=int, default=20_000, help="round trips per figure (default %(default)s)")
    options.add_argument("--sizes", type=int, nargs="+", default=[64], help="bytes of data (default 64)")
    given = options.parse_args()
    chosen = everyone(flood=False)
    print(f"{machine()}, {given.packages} round trips per figure, medians of {given.rounds} rounds\n")
    for size in given.sizes:
        rounds = Rounds(list(chosen))

        def turn(name: str, size: int = size) -> dict[str, float]:
            return measure(chosen[name], size, given.packages)

        rounds.run(given.rounds, turn)
        table = Table(f"{size} bytes", "p50 us", "p99 us", "p50 to the bare loop", "p99 to the bare loop")
        for name in chosen:
            p50, p99 = (f"{rounds.median(name, figure):.1f}" for figure in ("p50", "p99"))
            table.row(name, p50, p99, rounds.ratio(name, "p50"), rounds.ratio(name, "p99"))
        table.end()


if __name__ == "__main__":
    main()
