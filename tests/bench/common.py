"""What the benches share: processes, rounds, pacing, percentiles, tables.

The rules:

- whoever sends and whoever receives is a process of its own, made of one that has imported packhorse already;
- where two processes are measured, each has a CPU of its own, unless `--no-pin` is given: whether the system moves them
  about decides more than what they do, for everybody who is compared;
- what is compared runs in turns, round after round, since the machine drifts; a figure is the median of the rounds, and
  a ratio the median of the ratios within each round;
- a table opens with the machine and the date.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, ClassVar

__all__ = [
    "PATIENCE",
    "Rounds",
    "Table",
    "machine",
    "memory",
    "paced",
    "parser",
    "process",
    "quantile",
    "result_of",
    "user_time",
]

PATIENCE = 120.0
"""Seconds without a word of a process after which the bench gives up."""

PAGE = os.sysconf("SC_PAGE_SIZE")
CPUS = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["packhorse", "asyncio"])


class _Pinning(argparse.Action):
    """Whether processes are pinned to CPUs, and which are."""

    on = False
    running: ClassVar[list[int | None]] = []
    """Where each process runs, of those that do."""

    def __call__(self, *_: object) -> None:
        _Pinning.on = False


def parser(description: str | None, *, rounds: int | None = 3, pin: bool = False) -> argparse.ArgumentParser:
    """Return a parser with the options that benches share: how many rounds, if any, and where processes run."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    _Pinning.on = pin and len(CPUS) > 1
    if _Pinning.on:
        made.add_argument("--no-pin", action=_Pinning, nargs=0, help="let the system move the processes between CPUs")
    if rounds is not None:
        made.add_argument("--rounds", type=int, default=rounds, help="that the medians are of (default %(default)s)")
    return made


def machine() -> str:
    """Say when and where this runs."""
    versions = f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}"
    return f"{time.strftime('%Y-%m-%d')}, {versions}{', each process on a CPU of its own' if _Pinning.on else ''}"


class Table:
    """A Markdown table that is printed while it comes about."""

    def __init__(self, *titles: str) -> None:
        print("| " + " | ".join(titles) + " |")
        print("|" + "---|" * len(titles), flush=True)

    def row(self, *cells: str) -> None:
        """Print a row."""
        print("| " + " | ".join(cells) + " |", flush=True)

    def end(self) -> None:
        """Leave room for what follows."""
        print(flush=True)


class Rounds:
    """The figures of several contenders in several rounds. The first contender is what the others are compared to."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = list(names)
        self._figures: dict[str, dict[str, list[float]]] = {name: {} for name in names}

    def run(self, rounds: int, measure: Callable[[str], dict[str, float]]) -> None:
        """Let every contender have its turn, round after round."""
        for number in range(rounds):
            for name in self._names:
                print(f"round {number + 1} of {rounds}: {name}", file=sys.stderr, flush=True)
                for figure, value in measure(name).items():
                    self._figures[name].setdefault(figure, []).append(value)

    def median(self, name: str, figure: str) -> float:
        """Return the median of a contender's figure; not a number if it has none."""
        values = self._figures[name].get(figure)
        return statistics.median(values) if values else float("nan")

    def ratio(self, name: str, figure: str) -> str:
        """Write the median of the ratios to the first contender, round by round."""
        pairs = zip(self._figures[name].get(figure, []), self._figures[self._names[0]].get(figure, []), strict=False)
        ratios = [ours / first for ours, first in pairs if first]
        return f"{statistics.median(ratios):.2f}" if ratios else "-"

    def flood_table(self, title: str) -> None:
        """Print a flood's figures: `arrived`, `rate`, `sending` and `receiving` (CPU us for each), `again`, `twice`."""
        table = Table(
            title,
            "arrived",
            "a second",
            "to the bare loop",
            "CPU us sending",
            "CPU us receiving",
            "sent again",
            "for nothing",
        )
        for name in self._names:
            table.row(
                name,
                f"{self.median(name, 'arrived'):.1%}",
                f"{self.median(name, 'rate'):,.0f}",
                self.ratio(name, "rate"),
                f"{self.median(name, 'sending'):.2f}",
                f"{self.median(name, 'receiving'):.2f}",
                f"{self.median(name, 'again'):.0f}",
                f"{self.median(name, 'twice'):.0f}",
            )
        table.end()


def _run(place: int | None, work: Callable[..., None], *arguments: Any) -> None:
    if place is not None:
        os.sched_setaffinity(0, {place})
    work(*arguments)


@contextmanager
def process(work: Callable[..., None], *arguments: Any) -> Generator[Connection]:
    """Run `work(pipe, *arguments)` in a process of its own, and give the other end of the pipe."""
    here, there = CONTEXT.Pipe()
    free = [cpu for cpu in CPUS if cpu not in _Pinning.running]
    place = free[0] if _Pinning.on and free else None
    child = CONTEXT.Process(target=_run, args=(place, work, there, *arguments), daemon=True)
    child.start()
    _Pinning.running.append(place)
    there.close()
    try:
        yield here
    finally:
        here.close()
        _Pinning.running.remove(place)
        child.join(10.0)
        if child.is_alive():
            child.kill()
            child.join()


def result_of(pipe: Connection, patience: float = PATIENCE) -> Any:
    """Return the next word of a process.

    Raises:
        SystemExit: it said nothing, or ended before.
    """
    try:
        if pipe.poll(patience):
            return pipe.recv()
    except (EOFError, ConnectionError):
        sys.exit("a process of the bench has ended before its time; its error stands above")
    return sys.exit(f"a process of the bench has said nothing for {patience:.0f} s")


def paced(count: int, rate: float, batch: int = 1) -> Iterator[int]:
    """Give, at the right moments, how many to send now, so that `count` are sent at `rate` a second."""
    start = time.monotonic()
    for first in range(0, count, batch):
        wait = start + first / rate - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        yield min(batch, count - first)


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest of the ordered values that this share does not exceed; not a number if there are none."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("nan")


def memory() -> int:
    """Return the resident bytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def user_time() -> float:
    """Return the seconds of CPU that this process has spent outside of system calls."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_utime
