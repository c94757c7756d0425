"""A sequence diagram as SVG: time goes down, so what takes time slopes.

Long pauses are shortened (the distance grows with the logarithm of the time), and what happens at the same time is
drawn one below the other, in order. The file needs no font and no script.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from math import atan2, degrees, hypot, log2
from typing import TYPE_CHECKING, Final

from .sequence import Arrow, Kind, Note
from .text import milliseconds

if TYPE_CHECKING:
    from .sequence import Diagram, Lane

__all__ = ["svg"]

MARGIN: Final = 28
AXIS: Final = 84
"""Width of the column of times."""
LANE: Final = 116
"""Between two lanes of a machine."""
GAP: Final = 330
"""Between two machines, where most labels are."""
TOP: Final = 128
ROW: Final = 20
PER_DOUBLING: Final = 11
TIME_TEXT: Final = 13
"""Between two times of the axis, at least."""
FLIGHT: Final = 34
"""How far down a copy comes that never arrives."""

COLOURS: Final = {
    Kind.USER: "#6d28d9",
    Kind.DATA: "#1d4ed8",
    Kind.AGAIN: "#c2410c",
    Kind.DUPLICATE: "#78716c",
    Kind.CONFIRM: "#15803d",
    Kind.INSIDE: "#15803d",
}
LOST: Final = "#b91c1c"
LEGEND: Final = (
    (COLOURS[Kind.DATA], "first copy"),
    (COLOURS[Kind.AGAIN], "sent again"),
    (COLOURS[Kind.DUPLICATE], "arrived again"),
    (LOST, "lost"),
    (COLOURS[Kind.CONFIRM], "confirmation"),
    (COLOURS[Kind.USER], "user"),
)
STYLE: Final = (
    "text{font:12px system-ui,-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif;fill:#1f2937}"
    ".title{font-size:16px;font-weight:600}.machine{font-size:13px;font-weight:600}"
    ".time{font-size:11px;fill:#6b7280}.note{font-size:11px;fill:#78350f}"
)


def svg(diagram: Diagram) -> str:
    """Return the drawing."""
    return "\n".join(_Drawing(diagram).lines()) + "\n"


class _Drawing:
    def __init__(self, diagram: Diagram) -> None:
        self.diagram = diagram
        self.across = self._place_lanes()
        self.down: dict[tuple[int, bool], float] = {}
        """Where each arrow begins (False) and ends (True), and each note is, by its place among both."""
        self.times: list[tuple[float, float]] = []
        self.items: list[Arrow | Note] = [*diagram.arrows, *diagram.notes]
        self.bottom = self._place_rows() + ROW

    def _place_lanes(self) -> dict[Lane, float]:
        across: dict[Lane, float] = {}
        x, machine = float(MARGIN + AXIS + LANE / 2), None
        for lane in self.diagram.lanes:
            if machine is not None:
                x += LANE if lane.machine == machine else GAP
            across[lane], machine = x, lane.machine
        return across

    def _place_rows(self) -> float:
        moments: list[tuple[float, int, int, bool]] = []
        for place, item in enumerate(self.items):
            begin = item.at if isinstance(item, Note) else item.begin
            # At the same time: first what arrives, then what follows from it, then what is said about it.
            moments.append((begin, 2 if isinstance(item, Note) else 1, place, False))
            if isinstance(item, Arrow) and item.end is not None and item.end > item.begin:
                moments.append((item.end, 0, place, True))
        moments.sort()
        y, before = float(TOP), None
        for time, _, place, ends in moments:
            if before is not None:
                y += ROW + PER_DOUBLING * log2(1 + (time - before) * 1000)
            if isinstance(self.items[place], Note) and not ends:
                y += 4
            self.down[place, ends] = y
            self.times.append((time, y))
            before = time
        return max([y, *(self._end(place)[1] for place, item in enumerate(self.items) if isinstance(item, Arrow))])

    def _end(self, place: int) -> tuple[float, float]:
        """Return where an arrow ends."""
        arrow = self.items[place]
        assert isinstance(arrow, Arrow)  # noqa: S101 - asked for arrows only
        begin, x0, x1 = self.down[place, False], self.across[arrow.start], self.across[arrow.stop]
        if arrow.lost:
            return x0 + (x1 - x0) * 0.62, begin + FLIGHT
        return x1, self.down.get((place, True), begin)

    def lines(self) -> Iterator[str]:
        across = self.across.values()
        width = max([*across, MARGIN + AXIS + 420]) + LANE / 2 + MARGIN
        height = self.bottom + 2 * MARGIN + 8
        yield (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
            f'width="{width:.0f}" height="{height:.0f}" role="img">'
        )
        yield f"<title>{escape(self.diagram.title)}</title><style>{STYLE}</style>"
        yield f'<rect width="{width:.0f}" height="{height:.0f}" fill="#ffffff"/>'
        yield f'<text class="title" x="{MARGIN}" y="{MARGIN + 6}">{escape(self.diagram.title)}</text>'
        yield from self._heads()
        yield from self._axis(width)
        for place, item in enumerate(self.items):
            if isinstance(item, Arrow):
                yield from self._arrow(item, place)
        for place, item in enumerate(self.items):
            if isinstance(item, Note):
                yield from self._note(item, place)
        yield from self._legend(height)
        yield "</svg>"

    def _heads(self) -> Iterator[str]:
        for machine in self.diagram.machines:
            places = [x for lane, x in self.across.items() if lane.machine == machine]
            left, right = min(places) - LANE / 2 + 4, max(places) + LANE / 2 - 4
            yield (
                f'<rect x="{left:.1f}" y="50" width="{right - left:.1f}" height="{self.bottom - 40:.1f}" rx="10" '
                'fill="#f8fafc" stroke="#e2e8f0"/>'
            )
            yield (
                f'<text class="machine" x="{(left + right) / 2:.1f}" y="70" '
                f'text-anchor="middle">{escape(machine)}</text>'
            )
        for lane, x in self.across.items():
            fill = "#ede9fe" if lane.actor == "user" else "#e0e7ff"
            yield (
                f'<line x1="{x:.1f}" y1="104" x2="{x:.1f}" y2="{self.bottom:.1f}" '
                'stroke="#94a3b8" stroke-dasharray="3 4"/>'
            )
            yield f'<rect x="{x - 44:.1f}" y="80" width="88" height="24" rx="6" fill="{fill}"/>'
            yield f'<text x="{x:.1f}" y="96" text-anchor="middle">{escape(lane.actor)}</text>'

    def _axis(self, width: float) -> Iterator[str]:
        shown = float("-inf")
        for time, y in self.times:
            yield (
                f'<line x1="{MARGIN + AXIS - 12}" y1="{y:.1f}" x2="{width - MARGIN:.1f}" y2="{y:.1f}" '
                'stroke="#f1f5f9"/>'
            )
            if y - shown >= TIME_TEXT:
                when = milliseconds(time - self.diagram.start)
                yield f'<text class="time" x="{MARGIN + AXIS - 18}" y="{y + 4:.1f}" text-anchor="end">{when} ms</text>'
                shown = y

    def _arrow(self, arrow: Arrow, place: int) -> Iterator[str]:
        colour = LOST if arrow.lost else COLOURS[arrow.kind]
        x0, y0 = self.across[arrow.start], self.down[place, False]
        x1, y1 = self._end(place)
        length = hypot(x1 - x0, y1 - y0) or 1.0
        ux, uy = (x1 - x0) / length, (y1 - y0) / length
        dash = ' stroke-dasharray="6 4"' if arrow.kind is Kind.CONFIRM else ""
        yield (
            f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}" '
            f'stroke="{colour}" stroke-width="1.6"{dash}/>'
        )
        yield f'<circle cx="{x0:.1f}" cy="{y0:.1f}" r="2.6" fill="{colour}"/>'
        if arrow.lost:
            cross = f"M{x1 - 6:.1f} {y1 - 6:.1f}l12 12m0 -12l-12 12"
            yield f'<path d="{cross}" stroke="{colour}" stroke-width="2.4" stroke-linecap="round" fill="none"/>'
        else:
            bx, by = x1 - 9 * ux, y1 - 9 * uy
            head = f"M{x1:.1f} {y1:.1f}L{bx - 4 * uy:.1f} {by + 4 * ux:.1f}L{bx + 4 * uy:.1f} {by - 4 * ux:.1f}Z"
            yield f'<path d="{head}" fill="{colour}"/>'
        yield self._label(arrow, place, colour)

    def _label(self, arrow: Arrow, place: int, colour: str) -> str:
        """Write along the line: between neighbours in the middle, else where it leaves its machine's lanes."""
        x0, y0 = self.across[arrow.start], self.down[place, False]
        x1, y1 = self._end(place)
        machines = [x for lane, x in self.across.items() if lane.machine == arrow.start.machine]
        text = escape(arrow.label + (", lost" if arrow.lost else ""))
        if arrow.start.machine == arrow.stop.machine:
            x, anchor = (x0 + x1) / 2, "middle"
        elif x1 > x0:
            x, anchor = max(max(machines) + 14, x0 + 12), "start"
            x = min(x, max(x0 + 12, x1 - 7 * len(text))) if arrow.lost else x
        else:
            x, anchor = min(min(machines) - 14, x0 - 12), "end"
        y = y0 + (y1 - y0) * (x - x0) / (x1 - x0)
        angle = degrees(atan2(y1 - y0, x1 - x0)) if x1 > x0 else degrees(atan2(y0 - y1, x0 - x1))
        return (
            f'<text x="{x:.1f}" y="{y - 5:.1f}" text-anchor="{anchor}" style="fill:{colour}" '
            f'transform="rotate({angle:.1f} {x:.1f} {y:.1f})">{text}</text>'
        )

    def _note(self, note: Note, place: int) -> Iterator[str]:
        x, y, width = self.across[note.lane], self.down[place, False], 6.1 * len(note.text) + 16
        yield (
            f'<rect x="{x - width / 2:.1f}" y="{y - 10:.1f}" width="{width:.1f}" height="20" rx="4" '
            'fill="#fef3c7" stroke="#fcd34d"/>'
        )
        yield f'<text class="note" x="{x:.1f}" y="{y + 4:.1f}" text-anchor="middle">{escape(note.text)}</text>'

    def _legend(self, height: float) -> Iterator[str]:
        x, y = float(MARGIN + AXIS), height - MARGIN + 8
        for colour, text in LEGEND:
            line = f'<line x1="{x:.1f}" y1="{y - 4:.1f}" x2="{x + 18:.1f}" y2="{y - 4:.1f}"'
            yield f'{line} stroke="{colour}" stroke-width="2.4"/>'
            yield f'<text class="time" x="{x + 24:.1f}" y="{y:.1f}">{text}</text>'
            x += 40 + 6.2 * len(text)
