"""Latency and window over time, in the terminal and as SVG.

Latency is that of each package, when it was delivered (or confirmed, without the receiver's log); the window is what
congestion control allowed. Times in seconds from the first event.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib import import_module
from math import floor, log10
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .reading import TraceError, written

if TYPE_CHECKING:
    from .merging import Trace

__all__ = ["Series", "in_terminal", "plot_svg", "series"]

COLOURS: Final = ("#1d4ed8", "#c2410c", "#15803d", "#6d28d9", "#0e7490", "#a16207")
WIDTH: Final = 960
HEIGHT: Final = 230
LEFT, RIGHT, TOP, BETWEEN = 74, 24, 62, 64
TICKS: Final = 5
STYLE: Final = (
    "text{font:12px system-ui,-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif;fill:#1f2937}"
    ".title{font-size:16px;font-weight:600}.panel{font-size:13px;font-weight:600}.tick{font-size:11px;fill:#6b7280}"
)


@dataclass(slots=True)
class Series:
    """What is known of one direction: (seconds, milliseconds) of packages, and (seconds, KiB) of its window."""

    name: str
    latency: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    window: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])


def series(trace: Trace) -> list[Series]:
    """Return the series of every direction.

    Raises:
        TraceError: nothing can be plotted.
    """
    found: dict[str, Series] = {}

    def of(name: str) -> Series:
        return found.setdefault(name, Series(name))

    for package in trace.packages:
        latency, accepted = package.latency, package.accepted
        if latency is not None and accepted is not None:
            point = accepted + latency - trace.start, latency * 1000
            of(f"{package.source} -> {package.target}").latency.append(point)
    for record in trace.records:
        window = record.data.get("window")
        if record.event == "recovery:window_updated" and isinstance(window, (int, float)):
            target = trace.named(written(record.data.get("target")))
            of(f"{record.stack.label} -> {target}").window.append((record.at - trace.start, window / 1024))
    if not found:
        raise TraceError("nothing to plot: that takes the debug events of a sender")
    for one in found.values():
        one.latency.sort()
    return [found[name] for name in sorted(found)]


def in_terminal(found: Sequence[Series], width: int = 100, height: int = 15) -> str:
    """Return the plots as text, with colours (ANSI). It takes plotext, of the extra `cli`.

    Raises:
        TraceError: plotext is not there.
    """
    try:
        plotext: Any = import_module("plotext")
    except ModuleNotFoundError as error:
        raise TraceError("a plot in the terminal needs plotext: pip install 'packhorse[cli]'") from error
    parts: list[str] = []
    for title, points in _panels(found):
        plotext.clear_figure()
        plotext.theme("clear")
        plotext.plot_size(width, height)
        plotext.title(title)
        for place, (name, values) in enumerate(points):
            times, numbers = [time for time, _ in values], [number for _, number in values]
            draw = plotext.scatter if title.startswith("latency") else plotext.plot
            draw(times, numbers, label=name, marker="braille", color=("blue", "orange", "green", "magenta")[place % 4])
        plotext.ylim(0, max(number for _, values in points for _, number in values) or 1)
        plotext.xlabel("s")
        parts.append(plotext.build())
    return "\n".join(parts)


def _panels(found: Sequence[Series]) -> Iterator[tuple[str, list[tuple[str, list[tuple[float, float]]]]]]:
    latency = [(one.name, one.latency) for one in found if one.latency]
    window = [(one.name, one.window) for one in found if one.window]
    if latency:
        yield "latency of each package, ms", latency
    if window:
        yield "window, KiB", window


class _Scale(NamedTuple):
    """Maps values from 0 (or `low`) to `high` onto pixels."""

    low: float
    high: float
    start: float
    stop: float

    def __call__(self, number: float) -> float:
        return self.start + (number - self.low) / (self.high - self.low) * (self.stop - self.start)

    def ticks(self) -> Iterator[float]:
        """Yield round numbers inside."""
        rough = (self.high - self.low) / TICKS
        power = 10.0 ** floor(log10(rough))
        step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
        number = (floor(self.low / step) + (self.low % step > 0)) * step
        while number <= self.high * 1.0001:
            yield number
            number += step


def plot_svg(found: Sequence[Series], title: str = "latency and window") -> str:
    """Return the plots as SVG."""
    panels = list(_panels(found))
    times = [time for _, points in panels for _, values in points for time, _ in values]
    across = _Scale(min(0.0, *times), max(*times, 1e-3), LEFT, WIDTH - RIGHT)
    height = TOP + len(panels) * (HEIGHT + BETWEEN) + 14
    size = f"{WIDTH} {height}"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" width="{WIDTH}" height="{height}" role="img">',
        f"<title>{escape(title)}</title><style>{STYLE}</style>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text class="title" x="{LEFT}" y="30">{escape(title)}</text>',
    ]
    for place, (name, points) in enumerate(panels):
        lines += _panel(name, points, across, TOP + place * (HEIGHT + BETWEEN))
    x = float(LEFT)
    for place, one in enumerate(found):
        lines.append(f'<circle cx="{x + 5:.1f}" cy="{height - 14}" r="4" fill="{COLOURS[place % len(COLOURS)]}"/>')
        lines.append(f'<text class="tick" x="{x + 14:.1f}" y="{height - 10}">{escape(one.name)}</text>')
        x += 40 + 6.4 * len(one.name)
    return "\n".join([*lines, "</svg>"]) + "\n"


def _panel(
    name: str, points: Sequence[tuple[str, Sequence[tuple[float, float]]]], across: _Scale, top: float
) -> Iterator[str]:
    highest = max(number for _, values in points for _, number in values)
    down = _Scale(0.0, (highest or 1.0) * 1.05, top + HEIGHT, top)
    yield f'<text class="panel" x="{LEFT}" y="{top - 10}">{escape(name)}</text>'
    width = WIDTH - LEFT - RIGHT
    yield f'<rect x="{LEFT}" y="{top}" width="{width}" height="{HEIGHT}" fill="#f8fafc" stroke="#e2e8f0"/>'
    for number in down.ticks():
        y = down(number)
        yield f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#e2e8f0"/>'
        yield f'<text class="tick" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{number:g}</text>'
    for number in across.ticks():
        x = across(number)
        yield f'<line x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{top + HEIGHT}" stroke="#e2e8f0"/>'
        yield f'<text class="tick" x="{x:.1f}" y="{top + HEIGHT + 16}" text-anchor="middle">{number:g} s</text>'
    for place, (_, values) in enumerate(points):
        colour = COLOURS[place % len(COLOURS)]
        if name.startswith("latency"):
            for time, number in values:
                x, y = across(time), down(number)
                yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.2" fill="{colour}" fill-opacity="0.7"/>'
            continue
        path = ""
        for time, number in values:
            x, y = across(time), down(number)
            path += f"H{x:.1f}V{y:.1f}" if path else f"M{x:.1f} {y:.1f}"
        yield f'<path d="{path}H{across.stop:.1f}" fill="none" stroke="{colour}" stroke-width="1.6"/>'
