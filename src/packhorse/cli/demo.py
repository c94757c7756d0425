"""`packhorse demo`: a file through a bad network, between two processes.

The rules:

- the two processes are `packhorse receive` and `packhorse send`, as anybody would start them, each with a stack of its
  own;
- between them, in this process, a `UdpLink` loses, delays, doubles and reorders what they say, in both directions;
- what is shown at the end is not taken on trust: both files are hashed here.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn
from rich.table import Table

import packhorse
from packhorse import Closed
from packhorse.protocol.address import host_port
from packhorse.testing import Link, UdpLink

from .run import Problem, attend, say
from .transfer import CHUNK

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Run", "demo", "show", "sources"]

DUPLICATE: Final = 0.02
REORDER: Final = 0.05

USUAL_RATE: Final = 500
"""Packages a second; a game sends about as many."""
LONGEST: Final = 10.0
"""Seconds that the file should take; a longer one is sent at a higher rate."""

ENDED_WITHIN: Final = 0.5
"""Seconds that a process gets to end when it is asked to."""

COMMANDS: Final = {"send": "sent", "receive": "delivered"}
"""The two processes, and what each of them moves bytes to."""

FRAMING: Final = 2
"""Packages that are no part of the file: its beginning and its end."""


def demo(file: Path | None, *, loss: float, delay: float, seed: int) -> int:
    """Run the demonstration, print the table, and return 0 if everything matches, else 1.

    Raises:
        Problem: the file cannot be read, or the transfer failed.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="packhorse-")))
        if file is None:
            file = folder / "packhorse-sources"
            file.write_bytes(b"".join(sources()))
        elif not file.is_file():
            raise Problem(f"cannot read {file}: {'it is not a file' if file.exists() else 'there is no such file'}")
        run = Run(file, folder / "received", loss=loss, delay=delay, seed=seed)
        try:
            outcome = attend(run.run, run.stop)
        finally:
            run.stop()
        if outcome.signal is not None:
            say(f"{outcome.reason} after {run.there.passed} datagrams had come through")
            return outcome.status
        return 0 if show(run) else 1


def sources() -> Iterator[bytes]:
    """Return packhorse's own installed sources, file by file, in an order that is the same everywhere."""
    root = Path(packhorse.__file__).parent
    paths: list[Path] = []
    for folder, _, names in os.walk(root, followlinks=True):  # in a checkout two folders are links
        paths += [Path(folder, name) for name in names if name.endswith(".py")]
    for path in sorted(paths, key=lambda path: path.relative_to(root).as_posix()):
        yield path.read_bytes()


class Run:
    """One transfer over a bad link.

    Attributes:
        file, received: what is sent, and where it arrives.
        facts: what the two processes reported at the end, by their commands.
        there, back: the two directions of the link.
        seconds: how long it took.
    """

    def __init__(self, file: Path, received: Path, *, loss: float, delay: float, seed: int) -> None:
        self.file = file
        self.received = received
        self.size = file.stat().st_size
        self.facts: dict[str, dict[str, Any]] = {}
        self.seconds = 0.0
        self.there, self.back = (
            Link(loss=loss, delay=delay, jitter=delay / 2, duplicate=DUPLICATE, reorder=REORDER, seed=number)
            for number in (2 * seed, 2 * seed + 1)
        )
        self._children: dict[str, _Child] = {}
        self._reports: SimpleQueue[tuple[str, dict[str, Any]]] = SimpleQueue()
        self._lock = threading.Lock()
        self._stopped = False

    def run(self) -> None:
        """Run both processes, and the link between them, until both have reported how it ended."""
        say(f"sending {self.file.name} from one process to another over a bad link")
        self._start("receive", "--host", "127.0.0.1", "--port", "0", "--out", str(self.received))
        address = self._next()[1]["address"]
        with UdpLink(tuple(address), there=self.there, back=self.back) as link, _Screen(self) as screen:
            began = time.monotonic()
            rate = max(USUAL_RATE, self.size / CHUNK / LONGEST)
            self._start("send", "--rate", str(rate), host_port(link.address), str(self.file))
            while len(self.facts) < len(COMMANDS):
                command, report = self._next()
                if "moved" in report:
                    screen.moved(command, report["moved"])
                elif "done" in report:
                    screen.moved(command, self.size)
                    self.facts[command] = report["done"]
            self.seconds = time.monotonic() - began

    def stop(self) -> None:
        """End both processes."""
        with self._lock:
            self._stopped = True
        for child in self._children.values():
            child.terminate()
        for child in self._children.values():
            child.end()

    def _start(self, command: str, *arguments: str) -> None:
        log = self.received.with_name(f"{command}.log")
        with self._lock:
            if self._stopped:
                raise Closed("the demonstration was stopped")
            self._children[command] = _Child(command, arguments, log, self._reports)

    def _next(self) -> tuple[str, dict[str, Any]]:
        command, report = self._reports.get()
        if self._stopped:
            raise Closed("the demonstration was stopped")
        if report.get("status"):
            said = self._children[command].log.read_text().strip().removeprefix("packhorse: ")
            raise Problem(f"`packhorse {command}` failed: {said}")
        return command, report


class _Child:
    """A packhorse command as a process of its own, whose reports go into a queue, last of all its exit status."""

    def __init__(
        self, command: str, arguments: tuple[str, ...], log: Path, reports: SimpleQueue[tuple[str, dict[str, Any]]]
    ) -> None:
        self.log = log
        self._command = command
        self._reports = reports
        with log.open("wb") as errors:
            self._process = subprocess.Popen(  # noqa: S603 - ourselves
                [sys.executable, "-m", "packhorse.cli", command, "--report", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,  # Ctrl-C reaches us alone, and we end both in order
            )
        self._thread = threading.Thread(target=self._read, name=f"{command}-reports", daemon=True)
        self._thread.start()

    def terminate(self) -> None:
        """Ask the process to end."""
        self._process.terminate()

    def end(self) -> None:
        """Wait until the process has ended, and use force if that takes too long."""
        try:
            self._process.wait(ENDED_WITHIN)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._thread.join()

    def _read(self) -> None:
        with self._process as process:
            for line in process.stdout or ():
                self._reports.put((self._command, msgspec.json.decode(line)))
        self._reports.put((self._command, {"status": process.returncode}))


class _Screen:
    """Live progress on standard error, if that is a terminal."""

    def __init__(self, run: Run) -> None:
        console = Console(stderr=True)
        self._run = run
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TextColumn("{task.fields[lost]}", markup=False),
            console=console,
            disable=not console.is_terminal,
        )
        self._tasks = {
            command: self._progress.add_task(verb, total=run.size, lost="") for command, verb in COMMANDS.items()
        }

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def moved(self, command: str, size: int) -> None:
        """Show how far a command has come, and what became of its datagrams on the way."""
        link = self._run.there if command == "send" else self._run.back
        lost = f"{link.lost} of {link.lost + link.passed} datagrams lost"
        self._progress.update(self._tasks[command], completed=size, lost=lost)


def show(run: Run) -> bool:
    """Print the table and return whether everything matches."""
    sent, received = run.facts["send"], run.facts["receive"]
    chunks = sent["packages"] - FRAMING
    once = received["chunks"] == chunks and not received["repeated"]
    in_order = not received["misplaced"] and not received["repeated"]
    hashes = [_sha256(run.file), _sha256(run.received)]
    lost, passed = run.there.lost + run.back.lost, run.there.passed + run.back.passed
    latency = "no packages"
    if "p50" in received:
        latency = f"{1000 * received['p50']:.0f} ms / {1000 * received['p99']:.0f} ms"

    table = Table(title=f"{run.file.name}, {decimal(run.size)} in {run.seconds:.1f} s", show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    table.add_row("packages", str(sent["packages"]))
    table.add_row("datagrams lost on the way", f"{lost} of {lost + passed} ({lost / max(1, lost + passed):.1%})")
    table.add_row("doubled on the way", str(run.there.duplicated + run.back.duplicated))
    table.add_row("resent", str(sent["resent"]))
    table.add_row("delivered once", _verdict(once, f"{received['chunks']} of {chunks} parts of the file"))
    table.add_row("in order", _verdict(in_order, f"{received['misplaced']} out of order"))
    table.add_row("SHA-256 sent", hashes[0])
    table.add_row("SHA-256 received", hashes[1])
    equal = hashes[0] == hashes[1] == received["sha256"]
    table.add_row("equal", _verdict(equal, ""))
    table.add_row("latency p50 / p99", latency)
    Console().print(table)
    return once and in_order and equal


def _verdict(good: bool, details: str) -> str:
    word = "[green]yes[/green]" if good else "[red]no[/red]"
    return f"{word}, {details}" if details else word


def _sha256(path: Path) -> str:
    if not path.exists():
        return "there is no file"
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
