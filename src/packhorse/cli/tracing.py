"""`packhorse trace`: logs in, answers and pictures out; the engine is `packhorse.trace`."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from packhorse.trace import TraceError, merge, read, resends, slowest, story, summary
from packhorse.trace.mermaid import mermaid
from packhorse.trace.perfetto import perfetto
from packhorse.trace.plot import in_terminal, plot_svg, series
from packhorse.trace.qlog import qlog
from packhorse.trace.sequence import Diagram, draw, during
from packhorse.trace.svg import svg

from .run import Problem, say

if TYPE_CHECKING:
    from packhorse.trace import Package, Trace

__all__ = ["Wanted", "dissector", "parse_alias", "trace"]

WIDEST = 120
"""Columns of a plot in the terminal, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What `packhorse trace` was asked for; files are paths, or - for standard output."""

    package: str | None = None
    begin: float | None = None
    end: float | None = None
    slowest: int = 10
    resends: bool = False
    mermaid: str | None = None
    svg: str | None = None
    perfetto: str | None = None
    qlog: str | None = None
    plot: str | None = None


def dissector() -> str:
    """Return the Wireshark dissector, in Lua."""
    return files("packhorse.trace").joinpath("packhorse.lua").read_text(encoding="utf-8")


def parse_alias(text: str) -> tuple[str, str]:
    """Split A=B.

    Raises:
        ValueError: it is nothing of the kind.
    """
    name, equals, meant = text.partition("=")
    if not (name and equals and meant):
        raise ValueError(f"an alias is A=B, as in 127.0.0.1:9000=127.0.0.1:8082, not {text!r}")
    return name, meant


def trace(logs: Sequence[Path], aliases: dict[str, str], wanted: Wanted) -> int:
    """Answer from these logs."""
    try:
        merged = merge(read(list(dict.fromkeys(logs))), aliases)
        _answer(merged, wanted)
    except TraceError as error:
        raise Problem(str(error)) from error
    return 0


def _answer(merged: Trace, wanted: Wanted) -> None:
    package = None if wanted.package is None else merged.find(wanted.package)
    chosen: list[Package] | None = None if package is None else [package]
    if package is None and (wanted.begin is not None or wanted.end is not None):
        length = merged.records[-1].at - merged.start
        chosen = during(merged, wanted.begin or 0.0, length if wanted.end is None else wanted.end)
    outputs: list[tuple[str | None, Callable[[], str]]] = [
        (wanted.mermaid, lambda: mermaid(_diagram(merged, chosen, wanted))),
        (wanted.svg, lambda: svg(_diagram(merged, chosen, wanted))),
        (wanted.perfetto, lambda: json.dumps(perfetto(merged), default=str) + "\n"),
        (wanted.qlog, lambda: json.dumps(qlog(merged), default=str) + "\n"),
        (wanted.plot, lambda: _plot(merged, wanted.plot)),
    ]
    for note in dict.fromkeys(merged.notes):
        say(f"note: {note}")
    asked = [(where, make) for where, make in outputs if where is not None]
    for where, make in asked:
        _write(where, make())
    if package is not None and not any(where == "-" for where, _ in asked):
        _print(story(merged, package))
    if wanted.resends:
        _print(resends(merged))
    elif not asked and package is None:
        _print(summary(merged))
        print()  # noqa: T201 - what a command line does
        _print(slowest(merged.packages if chosen is None else chosen, wanted.slowest))


def _diagram(merged: Trace, chosen: Sequence[Package] | None, wanted: Wanted) -> Diagram:
    if chosen is None:
        timed = [package for package in merged.packages if package.latency is not None]
        if not timed:
            raise TraceError("no package whose time can be told; say which to draw with --package")
        chosen = [max(timed, key=lambda package: package.latency or 0.0)]
        say(f"drawing the slowest package, {chosen[0].name}; --package, or --from and --to, choose others")
    if len(chosen) == 1:
        title = f"{chosen[0].name}: {chosen[0].outcome}"
        if (latency := chosen[0].latency) is not None:
            title += f" after {latency * 1000:.1f} ms"
    else:
        title = f"{len(chosen)} packages from {wanted.begin or 0.0:g} s"
    return draw(merged, chosen, title)


def _plot(merged: Trace, where: str | None) -> str:
    found = series(merged)
    if where == "-":
        return in_terminal(found, min(WIDEST, shutil.get_terminal_size().columns)) + "\n"
    return plot_svg(found)


def _write(where: str, text: str) -> None:
    if where == "-":
        sys.stdout.write(text)
        return
    try:
        Path(where).write_text(text, encoding="utf-8")
    except OSError as error:
        raise Problem(f"cannot write {where}: {error.strerror}") from error
    say(f"wrote {where}")


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)  # noqa: T201 - what a command line does
