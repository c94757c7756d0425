"""The trace as Chrome's Trace Event Format, which Perfetto (ui.perfetto.dev) and chrome://tracing load.

Stacks are processes, their actors are threads, every event is a slice of its actor, and the steps of each package are
joined by a flow from slice to slice. The whole life of a package is an asynchronous slice at its sender; windows, round
trips and backlogs are counters.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from .reading import written

if TYPE_CHECKING:
    from .merging import Trace
    from .packages import Package
    from .reading import Record

__all__ = ["perfetto"]

SLICE: Final = 1.0
"""Microseconds that an event is shown as: an event takes no time, but a flow needs slices to join."""
OWN: Final = frozenset(("event", "level", "time", "seq", "stack", "address", "node"))
COUNTERS: Final = {
    "recovery:window_updated": ("window", "in_flight"),
    "recovery:rtt_updated": ("smoothed",),
    "package:queued": ("backlog",),
}
SUPERVISOR: Final = "supervisor"


def perfetto(trace: Trace) -> dict[str, Any]:
    """Return the trace, to be written as JSON."""
    return {"traceEvents": list(_events(trace)), "displayTimeUnit": "ms"}


def _events(trace: Trace) -> Iterator[dict[str, Any]]:
    processes = {stack: place for place, stack in enumerate(trace.stacks, 1)}
    threads: dict[tuple[int, str], int] = {}
    slices: dict[int, dict[str, Any]] = {}
    for stack, process in processes.items():
        yield {"ph": "M", "name": "process_name", "pid": process, "args": {"name": f"{stack.label} ({stack.name})"}}
    for record in trace.records:
        process, actor = processes[record.stack], record.node or SUPERVISOR
        thread = threads.get((process, actor))
        if thread is None:
            thread = threads[process, actor] = len(threads) + 1
            yield {"ph": "M", "name": "thread_name", "pid": process, "tid": thread, "args": {"name": actor}}
        slices[id(record)] = {"pid": process, "tid": thread, "ts": (record.at - trace.start) * 1e6}
        yield {
            **slices[id(record)],
            "ph": "X",
            "dur": SLICE,
            "name": record.event,
            "cat": record.event.partition(":")[0],
            "args": {name: found for name, found in record.data.items() if name not in OWN},
        }
        yield from _counters(record, slices[id(record)])
    for number, package in enumerate(trace.packages, 1):
        yield from _package(package, number, slices, trace.start)


def _counters(record: Record, where: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name in COUNTERS.get(record.event, ()):
        number = record.data.get(name)
        if isinstance(number, (int, float)):
            target = written(record.data.get("target"))
            yield {
                "ph": "C",
                "pid": where["pid"],
                "ts": where["ts"],
                "name": f"{name} to {target}",
                "args": {name: number},
            }


def _package(
    package: Package, number: int, slices: dict[int, dict[str, Any]], start: float
) -> Iterator[dict[str, Any]]:
    home = slices[id(package.steps[0].record)]
    begin = package.steps[0].at if package.accepted is None else package.accepted
    about = {"cat": "package", "name": package.name, "id": number}
    span = {"pid": home["pid"], "tid": home["tid"], **about}
    yield {"ph": "b", "ts": (begin - start) * 1e6, **span, "args": {"outcome": package.outcome}}
    yield {"ph": "e", "ts": (package.ended - start) * 1e6, **span}
    last = len(package.steps) - 1
    for place, step in enumerate(package.steps if last else ()):
        phase = "s" if not place else "f" if place == last else "t"
        yield {**slices[id(step.record)], **about, "ph": phase, **({"bp": "e"} if phase == "f" else {})}
