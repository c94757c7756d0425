"""The trace as qlog 0.3 (draft-ietf-quic-qlog-main-schema-02), which qvis loads.

One trace for each peer of each stack, as qlog has one for each end of a connection. The names of events are those of
QUIC, since that is what qvis draws, and packhorse's terms are put into QUIC's:

- a datagram is a packet. Its `packet_number` counts the datagrams from one stack to another, whatever they carry,
  because a packet number is used once and a package id is not; both ends' traces have the same, so qvis can join them;
- a copy of a package is a packet with a `stream` frame: stream 0 for reliable packages and 4 for unreliable ones, the
  id as offset;
- a confirmation is a packet with an `ack` frame that lists the packet numbers of the copies that had arrived.

Events of peers, actors and stacks keep their own names, as the schema allows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from .reading import written
from .sequence import same_datagram

if TYPE_CHECKING:
    from .merging import Trace
    from .packages import Package, Step
    from .reading import Record, Stack

__all__ = ["qlog"]

HEADER = 4
OWN = ("package", "transport", "recovery")


@dataclass(slots=True)
class _Datagram:
    sent: float | None
    arrived: float | None
    length: int
    package: Package | None = None
    """What it carries, or None."""
    confirms: Sequence[tuple[Package, float]] = ()
    """Packages that it confirms, and when."""
    number: int = 0

    @property
    def order(self) -> float:
        return self.sent if self.sent is not None else self.arrived or 0.0


def qlog(trace: Trace) -> dict[str, Any]:
    """Return the trace, to be written as JSON."""
    pairs = list(dict.fromkeys((package.source, package.target) for package in trace.packages))
    directions = {pair: _datagrams(trace, *pair) for pair in [*pairs, *((there, here) for here, there in pairs)]}
    copies: dict[Package, list[_Datagram]] = {}
    for datagrams in directions.values():
        for number, datagram in enumerate(datagrams):
            datagram.number = number
            if datagram.package is not None:
                copies.setdefault(datagram.package, []).append(datagram)
    traces: list[dict[str, Any]] = []
    for stack in trace.stacks:
        peers = sorted({there for here, there in directions if here == stack.label})
        traces += [_trace(trace, stack, peer, directions, copies) for peer in peers]
    return {
        "qlog_version": "0.3",
        "qlog_format": "JSON",
        "title": "packhorse",
        "description": "packhorse's packages in the terms of QUIC; see packhorse.trace.qlog",
        "traces": traces,
    }


def _datagrams(trace: Trace, source: str, target: str) -> list[_Datagram]:
    """Return everything that one stack sent another, in order."""
    found: list[_Datagram] = []
    confirmations: dict[Record, list[tuple[Package, Step]]] = {}
    for package in trace.packages:
        if (package.source, package.target) == (source, target):
            length = HEADER + int(package.said("size") or 0)
            copies = package.copies
            found += [_Datagram(copy.sent, copy.arrived, length, package) for copy in copies]
            if not copies and (received := package.when("package:received")) is not None:
                found.append(_Datagram(None, received, length, package))
        elif (package.source, package.target) == (target, source):
            for step in package.steps:
                if step.event == "transport:confirmation_sent":
                    confirmations.setdefault(step.record, []).append((package, step))
    for record, confirmed in confirmations.items():
        package, sent = confirmed[0]
        arrived = next(
            (
                step.at
                for step in package.steps
                if step.event == "transport:confirmation_received" and step.at >= sent.at and same_datagram(sent, step)
            ),
            None,
        )
        about = [(package, record.at) for package, _ in confirmed]
        found.append(_Datagram(record.at, arrived, HEADER + 3 * len(confirmed), confirms=about))
    return sorted(found, key=lambda datagram: datagram.order)


def _trace(
    trace: Trace,
    stack: Stack,
    peer: str,
    directions: dict[tuple[str, str], list[_Datagram]],
    copies: dict[Package, list[_Datagram]],
) -> dict[str, Any]:
    first, last = stack.records[0].at, stack.records[-1].at
    events: list[tuple[float, str, dict[str, Any]]] = []
    events += [
        (datagram.sent, "transport:packet_sent", _packet(datagram, copies))
        for datagram in directions.get((stack.label, peer), ())
        if datagram.sent is not None and first <= datagram.sent <= last
    ]
    events += [
        (datagram.arrived, "transport:packet_received", _packet(datagram, copies))
        for datagram in directions.get((peer, stack.label), ())
        if datagram.arrived is not None and first <= datagram.arrived <= last
    ]
    events += _losses(stack.label, peer, copies)
    events += _others(trace, stack, peer)
    events.sort(key=itemgetter(0))
    return {
        "title": f"{stack.label} with {peer}",
        "vantage_point": {"name": stack.label, "type": "client" if stack.label < peer else "server"},
        "common_fields": {
            "ODCID": "-".join(sorted((stack.label, peer))),
            "protocol_type": ["packhorse"],
            "reference_time": trace.start * 1000,
            "time_format": "relative",
        },
        "events": [
            {"time": round((at - trace.start) * 1000, 4), "name": name, "data": data} for at, name, data in events
        ],
    }


def _packet(datagram: _Datagram, copies: dict[Package, list[_Datagram]]) -> dict[str, Any]:
    frame: dict[str, Any]
    if datagram.package is None:
        numbers = {
            copy.number
            for package, at in datagram.confirms
            for copy in copies.get(package, ())
            if copy.arrived is not None and copy.arrived <= at
        }
        frame = {"frame_type": "ack", "acked_ranges": _ranges(sorted(numbers))}
    else:
        frame = {
            "frame_type": "stream",
            "stream_id": 0 if datagram.package.reliable else 4,
            "offset": datagram.package.id,
            "length": datagram.length - HEADER,
        }
    return {
        "header": {"packet_type": "1RTT", "packet_number": datagram.number},
        "raw": {"length": datagram.length},
        "frames": [frame],
    }


def _ranges(numbers: Iterable[int]) -> list[list[int]]:
    groups = [[n for _, n in group] for _, group in groupby(enumerate(numbers), key=lambda item: item[1] - item[0])]
    return [[group[0], group[-1]] for group in groups]


def _losses(
    source: str, target: str, copies: dict[Package, list[_Datagram]]
) -> Iterator[tuple[float, str, dict[str, Any]]]:
    for package, sent in copies.items():
        if (package.source, package.target) != (source, target):
            continue
        for step in package.steps:
            before = [copy.number for copy in sent if copy.sent is not None and copy.sent < step.at]
            if step.event == "recovery:package_lost" and before:
                trigger = "time_threshold" if step.get("trigger") == "timeout" else "reordering_threshold"
                header = {"packet_type": "1RTT", "packet_number": before[-1]}
                yield step.at, "recovery:packet_lost", {"header": header, "trigger": trigger}


def _others(trace: Trace, stack: Stack, peer: str) -> Iterator[tuple[float, str, dict[str, Any]]]:
    """Yield what is about the peer, or about the stack as a whole."""
    for record in stack.records:
        data = record.data
        about = written(data.get("target")) or written(data.get("source"))
        if about and trace.named(about) != peer:
            continue
        if record.event == "recovery:rtt_updated":
            names = {"latest_rtt": "latest", "smoothed_rtt": "smoothed", "min_rtt": "minimum"}
            found = {name: data[field] * 1000 for name, field in names.items() if field in data}
            yield record.at, "recovery:metrics_updated", found
        elif record.event == "recovery:window_updated":
            found = {"congestion_window": data.get("window"), "bytes_in_flight": data.get("in_flight")}
            yield record.at, "recovery:metrics_updated", found
        elif record.event.partition(":")[0] not in OWN:
            yield record.at, record.event, {name: data[name] for name in data if name not in ("event", "time")}
