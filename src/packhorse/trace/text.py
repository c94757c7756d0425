"""What the logs say, as text: a summary, one package's story, the slowest, every resend."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .merging import Trace
    from .packages import Package, Step

__all__ = ["missing_before", "resends", "slowest", "story", "summary"]

RECENT: Final = 946_684_800.0
"""The year 2000 in Unix seconds: times below it are those of no wall clock."""

SHOWN: Final = 0.00005
"""Seconds that are not 0.0 ms."""
_WHAT: Final = {
    "package:numbered": "got its id",
    "transport:datagram_sent": "datagram sent",
    "recovery:package_lost": "judged lost",
    "recovery:package_resent": "sent again",
    "recovery:package_confirmed": "confirmed",
    "package:given_up": "given up",
    "package:received": "received",
    "package:kept": "kept, since earlier ones are missing",
    "package:delivered": "delivered to the user",
    "package:duplicated": "received once more",
    "package:refused": "refused",
    "transport:confirmation_sent": "confirmation sent",
    "transport:confirmation_received": "confirmation received",
}


def milliseconds(seconds: float | None) -> str:
    """Write a time, or a dash."""
    return "-" if seconds is None else f"{seconds * 1000:.1f}"


def summary(trace: Trace) -> Iterator[str]:
    """Say what the logs hold."""
    log = trace.log
    end = trace.records[-1].at
    since = f" from {datetime.fromtimestamp(trace.start, UTC):%Y-%m-%d %H:%M:%S} UTC" if trace.start > RECENT else ""
    others = log.foreign + log.undated
    took = f"{end - trace.start:.3f} s{since}"
    yield f"{log.events} events of {len(log.stacks)} stacks in {took}; {others} other lines"
    for stack in log.stacks:
        shift = f", clock shifted by {stack.shift * 1000:+.3f} ms by the exchanges" if stack.shift else ""
        yield f"  {stack.label}: {stack.name} in {stack.file}, {len(stack.records)} events{shift}"
    for note in dict.fromkeys(trace.notes):
        yield f"note: {note}"
    outcomes = Counter(package.outcome for package in trace.packages)
    yield f"{len(trace.packages)} packages: " + (
        ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common())
        or "package events are at level debug; log that to see them"
    )
    again = sum(1 for package in trace.packages if package.resends)
    if again:
        yield f"{again} of them were sent again; --resends says why"


def slowest(packages: Iterable[Package], count: int = 10) -> Iterator[str]:
    """List the packages that took longest, and where their time went, in milliseconds."""
    timed = [(latency, package) for package in packages if (latency := package.latency) is not None]
    if not timed:
        yield "no package whose time can be told: that takes the log of its sender"
        return
    timed.sort(key=lambda item: -item[0])
    rows: list[tuple[str, ...]] = [("package", "took ms", "waited", "lost", "path", "kept", "sent", "outcome")]
    for latency, package in timed[:count]:
        parts = package.parts
        times = (latency, parts.waited, parts.lost, parts.path, parts.kept)
        rows.append((package.name, *map(milliseconds, times), f"{len(package.sendings)}x", package.outcome))
    yield from _table(rows)


def resends(trace: Trace) -> Iterator[str]:
    """List every resend with its reason."""
    rows: list[tuple[str, ...]] = [("time s", "package", "why", "copy", "after ms")]
    reasons: Counter[str] = Counter()
    found: list[tuple[float, tuple[str, ...]]] = []
    for package in trace.packages:
        before = package.sendings[0].at if package.sendings else 0.0
        for step in package.resends:
            why = str(step.get("trigger") or "not logged")
            reasons[why] += 1
            place = 1 + package.sendings.index(step)
            after = step.at - before if place > 1 else None
            row = (f"{step.at - trace.start:.6f}", package.name, why, str(place), milliseconds(after))
            found.append((step.at, row))
            before = step.at
    if not found:
        yield "nothing was sent again"
        return
    rows += [row for _, row in sorted(found, key=lambda item: item[0])]
    yield from _table(rows)
    yield f"{len(found)} resends: " + ", ".join(f"{count} {why}" for why, count in reasons.most_common())


def story(trace: Trace, package: Package) -> Iterator[str]:
    """Tell what happened to one package, and where its time went."""
    about = [str(found) for field in ("reliability",) if (found := package.said(field))]
    if (size := package.said("size")) is not None:
        about.append(f"{size} bytes")
    yield f"{package.name}{': ' if about else ''}{', '.join(about)}"
    yield _verdict(trace, package)
    yield ""
    accepted, first = package.accepted, package.steps[0]
    begin = first.at if accepted is None else accepted
    rows = [("time s", "ms", "where", "what")]
    if accepted is not None:
        rows.append((f"{accepted - trace.start:.6f}", "0.0", f"{package.source} usender", "accepted from the user"))
    for step in told(package):
        where = f"{step.record.stack.label} {step.record.node}".strip()
        rows.append((f"{step.at - trace.start:.6f}", milliseconds(step.at - begin), where, _what(package, step)))
    yield from _table(rows)


def told(package: Package) -> list[Step]:
    """Return the steps worth telling: confirmations of what is confirmed already say nothing new."""
    steps: list[Step] = []
    for step in package.steps:
        if step.event.startswith("transport:confirmation") and any(
            other.event == "recovery:package_confirmed" for other in steps
        ):
            continue
        steps.append(step)
    return steps


def missing_before(trace: Trace, package: Package) -> Package | None:
    """Return the package whose arrival let a kept one be delivered, if that was logged."""
    delivered = package.first("package:delivered")
    if delivered is None or not package.has("package:kept"):
        return None
    return trace.last_received_before(package, delivered.record)


def _what(package: Package, step: Step) -> str:
    text = _WHAT.get(step.event, step.event)
    details: list[str] = []
    if step.event == "recovery:package_resent":
        details.append(f"copy {package.sendings.index(step) + 1}")
    if (trigger := step.get("trigger")) is not None:
        details.append(str(trigger))
    return f"{text} ({', '.join(details)})" if details else text


def _verdict(trace: Trace, package: Package) -> str:
    latency, parts = package.latency, package.parts
    text = package.outcome if latency is None else f"{package.outcome} after {milliseconds(latency)} ms"
    reasons: list[str] = []
    if (parts.waited or 0.0) >= SHOWN:
        reasons.append(f"waited {milliseconds(parts.waited)} ms for room")
    if parts.lost:
        copies = package.copies
        arrived = next(place for place, copy in enumerate(copies) if copy.arrived == package.when("package:received"))
        reasons.append(f"lost {_times(arrived)}, which took {milliseconds(parts.lost)} ms")
    if parts.path is not None:
        reasons.append(f"{milliseconds(parts.path)} ms on the way")
    if (parts.kept or 0.0) >= SHOWN:
        before = missing_before(trace, package)
        behind = "" if before is None else f" for #{before.number}"
        reasons.append(f"kept {milliseconds(parts.kept)} ms{behind}")
    if parts.confirmed is not None:
        reasons.append(f"its sender knew {milliseconds(parts.confirmed)} ms after it arrived")
    return f"{text}: {'; '.join(reasons)}" if reasons else text


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lay out rows, the first of which is the heading: numbers to the right, text to the left."""
    columns = list(zip(*rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    words = [place for place, column in enumerate(columns) if any(not _is_number(cell) for cell in column[1:])]
    for row in rows:
        cells = [
            cell.ljust(width) if place in words else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def _is_number(cell: str) -> bool:
    return cell == "-" or cell.removesuffix("x").lstrip("+-").replace(".", "", 1).isdecimal()
