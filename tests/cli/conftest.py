"""Runs the command `packhorse` as processes of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

import pytest

import packhorse

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PATIENCE = 30.0
"""Seconds after which a process that should have said something has failed the test."""


class Command:
    """A running `packhorse` command."""

    def __init__(self, *arguments: str, program: Sequence[str]) -> None:
        root = Path(packhorse.__file__).parents[1]
        self.process = subprocess.Popen(  # noqa: S603 - what is under test
            [sys.executable, *program, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(root), "COLUMNS": "200"},
        )
        self.said: list[str] = []
        self._lines: SimpleQueue[str] = SimpleQueue()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._lines.put(line.decode())

    def hear(self, what: str) -> str:
        """Wait for a line on standard error that contains `what`, and return it."""
        while True:
            try:
                line = self._lines.get(timeout=PATIENCE)
            except Empty:
                raise AssertionError(f"no {what!r} in {self.said}") from None
            self.said.append(line)
            if what in line:
                return line

    @property
    def address(self) -> str:
        """HOST:PORT that the command listens on."""
        return self.hear("listening on ").removeprefix("listening on ").strip()

    def signal(self, number: int) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def write(self, data: bytes) -> None:
        """Write to the command's standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def output(self) -> bytes:
        """Return what is on standard output, up to its end."""
        assert self.process.stdout is not None
        return self.process.stdout.read()

    def status(self) -> int:
        """Wait for the end and return the exit status."""
        status = self.process.wait(PATIENCE)
        self._thread.join()
        while not self._lines.empty():
            self.said.append(self._lines.get())
        return status

    @property
    def errors(self) -> str:
        """Everything the command has said on standard error, once it has ended."""
        return "".join(self.said)

    def close(self) -> None:
        """Leave nothing behind."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._thread.join()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


class Commands:
    """Starts commands; the fixture ends them."""

    def __init__(self) -> None:
        self._running: list[Command] = []

    def __call__(self, *arguments: str, program: Sequence[str] = ("-m", "packhorse.cli")) -> Command:
        command = Command(*arguments, program=program)
        self._running.append(command)
        return command

    def receive(self, *arguments: str, linger: float | None = None) -> Command:
        """Start `packhorse receive` on a free port of this machine alone, perhaps to linger for other than 2 s."""
        options = ("receive", "--host", "127.0.0.1", "--port", "0", *arguments)
        if linger is None:
            return self(*options)
        program = f"from packhorse.cli import main, receiving; receiving.LINGER = {linger}; main()"
        return self(*options, program=("-c", program))

    def close(self) -> None:
        """End those that still run."""
        for command in self._running:
            command.close()


@pytest.fixture
def run() -> Iterator[Commands]:
    commands = Commands()
    yield commands
    commands.close()
