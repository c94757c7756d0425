"""A sequence diagram as Mermaid, for READMEs and issues.

Mermaid has no time, so an arrow stands where it arrives, and the label says when; what was lost ends in a cross.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from .sequence import Kind
from .text import milliseconds

if TYPE_CHECKING:
    from .sequence import Arrow, Diagram, Lane

__all__ = ["mermaid"]


def mermaid(diagram: Diagram) -> str:
    """Return the drawing."""
    return "\n".join(_lines(diagram)) + "\n"


def _lines(diagram: Diagram) -> Iterator[str]:
    names = {lane: f"p{place}" for place, lane in enumerate(diagram.lanes)}
    yield "sequenceDiagram"
    for machine in diagram.machines:
        yield f"    box {_plain(machine)}"
        for lane in diagram.lanes:
            if lane.machine == machine:
                yield f"    {'actor' if lane.actor == 'user' else 'participant'} {names[lane]} as {lane.actor}"
        yield "    end"
    steps = [
        (arrow.begin if arrow.end is None else arrow.end, _arrow(arrow, names, diagram)) for arrow in diagram.arrows
    ]
    steps += [(note.at, f"Note over {names[note.lane]}: {_plain(note.text)}") for note in diagram.notes]
    for _, line in sorted(steps, key=lambda step: step[0]):
        yield f"    {line}"


def _arrow(arrow: Arrow, names: dict[Lane, str], diagram: Diagram) -> str:
    dashed = arrow.kind in (Kind.CONFIRM, Kind.INSIDE)
    line = ("--x" if dashed else "-x") if arrow.lost else ("-->>" if dashed else "->>")
    when = milliseconds(arrow.begin - diagram.start)
    if arrow.end is not None and arrow.end > arrow.begin:
        when += f" to {milliseconds(arrow.end - diagram.start)}"
    return f"{names[arrow.start]}{line}{names[arrow.stop]}: {_plain(arrow.label)}, {when} ms"


def _plain(text: str) -> str:
    """Write what has a meaning in Mermaid as an entity."""
    return text.replace("#", "#35;").replace(";", "#59;").replace("#35#59;", "#35;")
