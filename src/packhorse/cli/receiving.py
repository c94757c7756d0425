"""`packhorse receive`: takes one file and ends.

The rules:

- with `--out` the file is written under another name beside it, and gets its own name only when it is verified;
  without, it goes to standard output as it comes, and the exit status tells whether it was right;
- one sender at a time: who comes second is told so;
- after the end the receiver stays for 2 s and goes on confirming, so that the sender's last packages do not look lost.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, Protocol

from packhorse import Closed, DecodeError, PackhorseError, Reliability, Timeout
from packhorse.protocol.address import host_port

from .run import Bar, Problem, Report, attend, everywhere, open_stack, package, say
from .transfer import (
    SILENCE,
    Accepted,
    Alive,
    Begin,
    Cancel,
    Chunk,
    End,
    FromSender,
    Incoming,
    Result,
    percentile,
)

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from packhorse import Address, InPackage, OutPackage, Stack

    from .run import Watcher

__all__ = ["Receiver", "receive"]

LINGER: Final = 2.0
"""Seconds that the receiver goes on confirming after the end."""

CONFIRMED_WITHIN: Final = 5.0
"""Seconds that the sender gets to confirm the result, at the most."""

BATCH: Final = 256


def receive(host: str | None, port: int, out: Path | None, *, report: bool) -> int:
    """Receive a file and return the exit status.

    Raises:
        Problem: the file did not come, could not be written, or is not the one that was sent.
    """
    watcher: Watcher = Report() if report else Bar("receiving")
    output: _Output = _StandardOutput() if out is None else _File(out)
    with _discarding(output), open_stack(everywhere() if host is None else host, port) as stack:
        receiver = Receiver(stack, output, watcher)
        try:
            outcome = attend(receiver.run, receiver.stop)
        finally:
            stack.close(0)
    if not receiver.finished and outcome.signal is not None:
        say(f"{outcome.reason} after {receiver.file.size} bytes; the file is not complete")
        return outcome.status
    return 0


@contextmanager
def _discarding(output: _Output) -> Generator[None]:
    try:
        yield
    finally:
        output.discard()


class Receiver:
    """Receives one file.

    Attributes:
        file: what came so far.
        finished: whether the file is complete, verified and where it should be.
    """

    def __init__(self, stack: Stack, output: _Output, watcher: Watcher) -> None:
        self.file = Incoming()
        self.finished = False
        self._stack = stack
        self._output = output
        self._watcher = watcher
        self._source: Address | None = None
        self._began = 0.0

    def run(self) -> None:
        """Receive the file, answer, and linger."""
        say(f"listening on {host_port(self._stack.address)}")
        self._watcher.listening(self._stack.address)
        try:
            while not self.finished:
                for received in self._next():
                    self._take(received)
                self._watcher.moved(self.file.size)
        except Problem as problem:
            if self._source is not None:
                self._answer(Result(verified=False, reason=str(problem)))
                with suppress(PackhorseError):
                    self._stack.sender.flush(LINGER)
            raise
        finally:
            self._watcher.done(
                chunks=self.file.chunks,
                size=self.file.size,
                sha256=self.file.sha256,
                repeated=self.file.repeated,
                misplaced=self.file.misplaced,
                **self._latency(),
            )
        self._linger()

    def stop(self) -> None:
        """Tell the sender, and make `run` return."""
        if not self.finished:
            self._answer(Result(verified=False, reason="the receiver was interrupted"))
        self._stack.close(LINGER if not self.finished and self._source is not None else 0)

    def _next(self) -> list[InPackage]:
        try:
            return self._stack.receiver.recv_many(BATCH, None if self._source is None else SILENCE)
        except Timeout:
            raise Problem(f"the sender has said nothing for {SILENCE:.0f} s; the file is not complete") from None

    def _take(self, received: InPackage) -> None:
        try:
            message: FromSender = next(received.decode(FromSender))
        except (DecodeError, StopIteration):
            return  # whoever that is, it is not `packhorse send`
        if received.source != self._source:
            self._meet(received.source, message)
            return
        match message:
            case Chunk():
                self._write(self.file.take(message, received.time))
            case End():
                self._end(message)
            case Cancel(reason):
                self._source = None  # it waits for no answer
                raise Problem(f"the sender gave up: {reason}; the file is not complete")
            case Begin() | Alive():
                pass

    def _meet(self, source: Address, message: FromSender) -> None:
        if isinstance(message, Begin) and self._source is None:
            self._source = source
            self._began = time.monotonic()
            name = "".join(char if char.isprintable() else "?" for char in message.name)
            say(f"receiving {name!r} from {host_port(source)}")
            self._watcher.started(name, message.size)
            self._answer(Accepted())
        elif self._source is not None:
            self._turn_away(source, "the receiver is busy with another sender")
        else:
            self._turn_away(source, "the receiver knows of no such transfer; it may have been started anew")

    def _write(self, data: bytes) -> None:
        try:
            self._output.write(data)
        except OSError as error:
            raise Problem(f"the receiver cannot write: {error.strerror}") from error

    def _end(self, end: End) -> None:
        problem = self.file.problem(end)
        if problem:
            raise Problem(f"not the file that was sent: {problem}")
        try:
            self._output.keep()
        except OSError as error:
            raise Problem(f"the receiver cannot write: {error.strerror}") from error
        self.finished = True
        self._watcher.moved(self.file.size)
        self._answer(Result(verified=True))
        seconds = time.monotonic() - self._began
        say(f"received {self.file.size} bytes in {seconds:.1f} s, verified; SHA-256 {self.file.sha256}")

    def _linger(self) -> None:
        """Go on confirming, and turn away who comes now."""
        with suppress(Timeout):
            self._stack.sender.flush(CONFIRMED_WITHIN)
        until = time.monotonic() + LINGER
        with suppress(Timeout, Closed):
            while True:
                self._take_last(self._stack.receiver.recv(max(0.0, until - time.monotonic())))

    def _take_last(self, received: InPackage) -> None:
        if received.source != self._source:
            self._take(received)

    def _answer(self, message: Accepted | Result) -> None:
        if self._source is not None:
            self._tell(package(message, self._source))

    def _turn_away(self, source: Address, reason: str) -> None:
        # Unreliable: one who knew our predecessor on this port takes our reliable packages for old ones. More will come
        # from there, and each one is answered.
        self._tell(package(Result(verified=False, reason=reason), source, Reliability.UNRELIABLE))

    def _tell(self, answer: OutPackage) -> None:
        with suppress(PackhorseError):  # it cannot be told; it will notice
            self._stack.sender.try_send(answer)

    def _latency(self) -> dict[str, float]:
        latencies = sorted(self.file.latencies)
        if not latencies:
            return {}
        return {"p50": percentile(latencies, 50), "p99": percentile(latencies, 99)}


class _Output(Protocol):
    """Where the file goes."""

    def write(self, data: bytes) -> None:
        """Write the next part."""
        ...

    def keep(self) -> None:
        """The file is complete."""
        ...

    def discard(self) -> None:
        """Remove what was not kept."""
        ...


class _File:
    """A file that is not there before it is complete.

    Raises:
        Problem: it cannot be written there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.resolve()
        if self._path.exists() and not self._path.is_file():
            raise Problem(f"{path} is not a file; leave out --out and redirect standard output to write elsewhere")
        self._part = self._path.with_name(f".{self._path.name}.{os.getpid()}.part")
        try:
            self._stream = self._part.open("xb")
        except OSError as error:
            raise Problem(f"cannot write into {self._path.parent}: {error.strerror}") from error

    def write(self, data: bytes) -> None:
        self._stream.write(data)

    def keep(self) -> None:
        self._stream.close()
        self._part.replace(self._path)

    def discard(self) -> None:
        with suppress(OSError):
            self._stream.close()
        self._part.unlink(missing_ok=True)


class _StandardOutput:
    """Standard output, unbuffered: a thread that waits in it holds no lock that the end of the program needs."""

    def __init__(self) -> None:
        self._descriptor = sys.stdout.fileno()

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]

    def keep(self) -> None:
        """Let the reader see the end now; it need not wait while we linger."""
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, self._descriptor)
        os.close(nothing)

    def discard(self) -> None:
        """Do nothing: what was written cannot be taken back. The exit status tells."""
