"""Logs for tests: of random runs, and written by hand."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

from packhorse import OutPackage, Peers, Reliability
from packhorse.actors.events import EVENTS
from packhorse.testing import Link
from packhorse.trace import Trace, merge, read

from .logged import LoggedPeer, LoggedSimulation, lines

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

HERE, THERE = "10.0.0.1:8082", "10.0.0.2:8082"


class Script:
    """A log written by hand; its clock begins at `start`, and its wall clock is wrong by `wall` then."""

    def __init__(self, address: str, *, wall: float | None = 0.0, start: float = 0.0, stack: str = "stack-1") -> None:
        self.records: list[dict[str, Any]] = []
        self.address = address
        self.stack = stack
        self.add("stack:started", start, **({} if wall is None else {"unix": 1_700_000_000.0 + wall}))

    def add(self, event: str, time: float, **fields: Any) -> Script:
        head = {"event": event, "level": EVENTS[event].level, "time": time, "seq": len(self.records)}
        self.records.append({**head, "stack": self.stack, "address": self.address, "node": "node", **fields})
        return self

    def sends(self, time: float, target: str, wire_id: int, **fields: Any) -> Script:
        about: dict[str, Any] = {"target": target, "id": wire_id, "count": 1, "reliability": "unordered", "size": 1}
        return self.add("package:numbered", time, **about | fields)

    def gets(self, time: float, source: str, wire_id: int, **fields: Any) -> Script:
        about: dict[str, Any] = {"source": source, "id": wire_id, "count": 1, "reliability": "unordered", "size": 1}
        self.add("package:received", time, **about | fields)
        return self.add("package:delivered", time, **about | fields)

    def hears(self, time: float, target: str, wire_id: int) -> Script:
        return self.add("recovery:package_confirmed", time, target=target, id=wire_id, count=1)

    def text(self) -> str:
        return "".join(json.dumps(record) + "\n" for record in self.records)


def merged(folder: Path, *logs: Script | str, aliases: Mapping[str, str] | None = None) -> Trace:
    """Write logs into files log0, log1, ... and merge them."""
    return merge(read(written(folder, *logs)), aliases)


def written(folder: Path, *logs: Script | str) -> Sequence[Path]:
    paths = [folder / f"log{place}" for place in range(len(logs))]
    for path, log in zip(paths, logs, strict=True):
        path.write_text(log if isinstance(log, str) else log.text())
    return paths


class RandomRun:
    """Two peers that send to each other over bad links, with clocks that do not agree."""

    def __init__(self, seed: int, *, skewed: bool = False) -> None:
        rng = self.random = random.Random(seed)
        self.simulation = LoggedSimulation(seed)
        skew = rng.uniform(-10.0, 10.0) * skewed
        window = rng.choice((4, 1024))

        self.here = self.simulation.logged(("10.0.0.1", 8082), uptime=rng.uniform(0, 1e6), window=window)
        self.there = self.simulation.logged(("10.0.0.2", 8082), uptime=rng.uniform(0, 1e6), skew=skew, window=window)
        self.links = [self._link() for _ in range(2)]
        self.simulation.connect(self.here, self.there, *self.links)
        self.sent: dict[bytes, tuple[LoggedPeer, OutPackage, float]] = {}
        time = 0.0
        for number in range(rng.choice((20, 80))):
            time += rng.choice((0.0, 0.001, 0.02, 0.3))
            one, other = rng.choice(((self.here, self.there), (self.there, self.here)))
            reliability = rng.choice(tuple(Reliability))
            data = b"%d:" % number + b"x" * rng.choice((0, 1, 400))
            choices: dict[str, Any] = {}
            if reliability:
                choices = {"lifetime": rng.choice((None, None, 0.01)), "eager": rng.choice((1, 1, 3))}
            package = OutPackage(data, reliability, Peers.PLAYERS, other.address, **choices)
            self.simulation.at(time, self._send, one, package)
        if rng.random() < 0.3:
            self.simulation.at(time * rng.random(), setattr, self.links[0], "up", False)
            self.simulation.at(time + rng.choice((0.1, 25.0)), setattr, self.links[0], "up", True)

    def _link(self) -> Link:
        rng = self.random
        return Link(
            loss=rng.choice((0.0, 0.1, 0.4)),
            delay=rng.choice((0.001, 0.02, 0.1)),
            jitter=rng.choice((0.0, 0.01)),
            duplicate=rng.choice((0.0, 0.1)),
            seed=rng.getrandbits(32),
        )

    def _send(self, peer: LoggedPeer, package: OutPackage) -> None:
        self.sent[package.data] = peer, package, self.simulation.now
        peer.send(package)

    def run(self) -> RandomRun:
        self.simulation.run(60.0)
        for link in self.links:
            link.heal()
        self.simulation.settle(200.0)
        return self

    def merged(self, folder: Path) -> Trace:
        return merged(folder, lines(self.here), lines(self.there))
