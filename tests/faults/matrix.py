"""The fault matrix, run for real: `python -m tests.faults.matrix`; exit status 1 if a promise was broken.

`--kills N` runs the random killer instead. See `cells` for what a cell is.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from .cells import CELLS, FAULTS, LINKS, SITUATIONS, Cell, Outcome, run

JOBS = 3 * (os.cpu_count() or 1)
"""Cells mostly wait."""


def table(outcomes: list[Outcome]) -> str:
    """Return the table in Markdown: how many cells kept all promises, how many did not, and what was only reported."""
    rows: defaultdict[tuple[str, str], list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        rows[outcome.cell.fault, outcome.cell.situation].append(outcome)
    lines = ["| fault | " + " | ".join(SITUATIONS) + " |", "|---" * (len(SITUATIONS) + 1) + "|"]
    for fault in FAULTS:
        cells = [rows[fault, situation] for situation in SITUATIONS]
        kept = [
            f"{sum(o.problem is None for o in row)} of {len(row)}, {sum(o.reported for o in row)} reported"
            for row in cells
        ]
        lines.append(f"| {fault} | " + " | ".join(kept) + " |")
    return "\n".join(lines)


def run_all(cells: list[Cell], seed: int, jobs: int) -> list[Outcome]:
    """Run cells side by side and say on standard error how far it is."""
    outcomes: list[Outcome] = []
    with ProcessPoolExecutor(jobs, initializer=_quiet) as pool:
        for outcome in pool.map(partial(run, seed=seed), cells):
            outcomes.append(outcome)
            if outcome.problem:
                print(f"BROKEN {outcome.cell} --seed {seed}: {outcome.problem}", flush=True)
            elif not outcome.struck:
                print(f"the node of {outcome.cell} had ended before its fault could strike", flush=True)
            elif sys.stderr.isatty():
                print(f"\r{len(outcomes)} of {len(cells)}", end="", file=sys.stderr, flush=True)
    return outcomes


def _quiet() -> None:
    logging.getLogger("packhorse").addHandler(logging.NullHandler())


def main(arguments: list[str] | None = None) -> int:
    """Run what the arguments say; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=JOBS)
    parser.add_argument("--only", default="", help="only cells whose name, as node/fault/situation/link, contains this")
    parser.add_argument("--kills", type=int, help="run the random killer: so many faults, one after the other")
    options = parser.parse_args(arguments)
    if options.kills is not None:
        from .killer import kill  # noqa: PLC0415 - it imports what the matrix does not need

        return kill(options.kills, options.seed)
    began = time.monotonic()
    cells = [cell for cell in CELLS if options.only in str(cell)]
    outcomes = run_all(cells, options.seed, options.jobs)
    broken = sum(outcome.problem is not None for outcome in outcomes)
    print(table(outcomes))
    delivered, restarts = (sum(getattr(o, what) for o in outcomes) for what in ("delivered", "restarts"))
    print(
        f"{len(outcomes)} cells in {time.monotonic() - began:.0f} s, {broken} broken, "
        f"{sum(o.struck for o in outcomes)} struck; {delivered} packages delivered, "
        f"{restarts} restarts; nodes: {', '.join(dict.fromkeys(cell.node for cell in cells))}; "
        f"links: {', '.join(LINKS)}"
    )
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
