"""`packhorse send`: sends one file and learns what became of it.

The rules:

- one thread reads the file and sends; another one hears what the receiver says, and that nothing is heard;
- without any control datagram for 3 s after the beginning, nobody is there. After that the stack decides (20 s);
- the file arrived when the receiver says so, not when all packages are confirmed.
"""

from __future__ import annotations

import hashlib
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from packhorse import Closed, DecodeError, PackhorseError, PeerRestarted, Reliability, Timeout
from packhorse.protocol.address import host_port

from .run import Bar, Problem, Report, attend, open_towards, package, resolve, say
from .transfer import ALIVE_EVERY, CHUNK, Accepted, Alive, Begin, Cancel, Chunk, End, FromReceiver, Result

if TYPE_CHECKING:
    from collections.abc import Generator

    from packhorse import Address, InPackage, OutPackage, Stack

    from .run import Watcher

__all__ = ["send"]

NOBODY: Final = 3.0
"""Seconds without any control datagram after which nobody is there."""

LOOK: Final = 1.0
"""Seconds between two looks at what the stack has to report, while the receiver says nothing."""

BLOCK: Final = 64 * CHUNK
"""Bytes read in one go."""

LONGEST_NAME: Final = 100

GOODBYE: Final = 1.0
"""Seconds that the receiver gets to confirm that we give up."""


def send(host: str, port: int, file: str, *, rate: float, report: bool) -> int:
    """Send a file and return the exit status.

    Args:
        host: where to.
        port: where to.
        file: a path, or "-" for standard input.
        rate: packages a second; 0 for as fast as it goes.
        report: report to another program, rather than to a person.

    Raises:
        Problem: the file cannot be read, or did not arrive.
    """
    target = resolve(host, port)
    watcher: Watcher = Report() if report else Bar("sending")
    with _source(file) as source, open_towards(target) as stack:
        name = "standard input" if file == "-" else Path(file).name
        sender = _Sender(stack, target, source, name, watcher, rate=rate, stamped=report)
        try:
            outcome = attend(sender.run, sender.stop)
        finally:
            stack.close(0)
    if outcome.signal is not None and not outcome.value:
        say(f"{outcome.reason} after {sender.size} bytes were sent; the receiver keeps nothing")
        return outcome.status
    return 0


class _Sender:
    """Sends one file.

    Attributes:
        size: bytes handed to the stack so far.
    """

    def __init__(
        self,
        stack: Stack,
        target: Address,
        source: BinaryIO,
        name: str,
        watcher: Watcher,
        *,
        rate: float,
        stamped: bool,
    ) -> None:
        self.size = 0
        self._stack = stack
        self._target = target
        self._source = source
        self._name = name[:LONGEST_NAME]
        self._watcher = watcher
        self._rate = rate
        self._stamped = stamped
        self._chunks = 0
        self._began = time.monotonic()
        self._accepted = False
        self._heard = False
        self._gave_up = False
        self._reading_failed: OSError | None = None

    def run(self) -> bool:
        """Send the file, until the receiver has said that it arrived."""
        size = _size(self._source)
        self._watcher.started(self._name, size)
        self._stack.sender.send(package(Begin(self._name, size), self._target))
        pusher = threading.Thread(target=self._push, name="reading", daemon=True)
        pusher.start()
        try:
            self._hear()
        except BaseException:
            self._watcher.done()
            raise
        self._watcher.done(packages=self._chunks + 2, resent=self._stack.counters()["resender.resent"])
        seconds = time.monotonic() - self._began
        say(f"sent {self.size} bytes to {host_port(self._target)} in {seconds:.1f} s, verified by the receiver")
        return True

    def stop(self) -> None:
        """Tell the receiver, and make `run` return."""
        self._give_up("it was interrupted")
        self._stack.close(GOODBYE)

    # What the receiver says.

    def _hear(self) -> None:
        spoken = self._began
        while True:
            try:
                received = self._stack.receiver.recv(LOOK)
                if received.source == self._target and self._is_over(received):
                    return
            except Timeout:
                pass
            except Closed:
                if self._reading_failed is None:
                    raise
                raise Problem(f"cannot read {self._name}: {self._reading_failed.strerror}") from None
            self._look()
            if time.monotonic() >= spoken + ALIVE_EVERY:
                spoken = time.monotonic()
                with suppress(PackhorseError):  # there is no room: then chunks are under way, which say the same
                    self._stack.sender.try_send(self._word(Alive()))

    def _is_over(self, received: InPackage) -> bool:
        try:
            message: FromReceiver = next(received.decode(FromReceiver))
        except (DecodeError, StopIteration):
            raise Problem(f"what listens on {host_port(self._target)} is not `packhorse receive`") from None
        match message:
            case Accepted():
                self._accepted = True
                return False
            case Result(verified, reason):
                if not verified:
                    raise Problem(f"the receiver did not take {self._name}: {reason}")
                return True

    def _look(self) -> None:
        for failure in self._stack.errors.drain():
            if isinstance(failure, PeerRestarted):
                raise Problem(
                    f"{host_port(self._target)} was started anew and knows nothing of {self._name}; send it again"
                )
            raise Problem(f"{host_port(self._target)} does not answer any more ({failure.reason}); it may be gone")
        if not self._heard and time.monotonic() >= self._began + NOBODY:
            self._heard = self._stack.counters().get("sreceiver.datagrams", 0) > 0
            if not self._heard:
                raise Problem(
                    f"nobody answers at {host_port(self._target)}: no control datagram within {NOBODY:.0f} s. "
                    f"Is `packhorse receive --port {self._target[1]}` running there, and no firewall in between?"
                )

    # The file.

    def _push(self) -> None:
        try:
            end = self._read()
            self._stack.sender.send(package(end, self._target))
        except OSError as error:
            self._reading_failed = error
            self._give_up(f"the file cannot be read: {error.strerror}")
            self._stack.receiver.close()
        except Closed:
            pass  # the transfer has ended early

    def _read(self) -> End:
        digest = hashlib.sha256()
        block = CHUNK if self._rate else BLOCK
        while data := self._source.read(block):
            digest.update(data)
            if self._rate:
                time.sleep(max(0.0, self._began + self._chunks / self._rate - time.monotonic()))
            for start in range(0, len(data), CHUNK):
                if self._gave_up:
                    raise Closed("we gave up")
                sent = time.monotonic() if self._stamped else None
                chunk = Chunk(self._chunks, data[start : start + CHUNK], sent)
                self._stack.sender.send(package(chunk, self._target))
                self._chunks += 1
            self.size += len(data)
            self._watcher.moved(self.size)
        return End(self._chunks, self.size, digest.digest())

    def _give_up(self, reason: str) -> None:
        self._gave_up = True
        with suppress(PackhorseError):
            self._stack.sender.send(self._word(Cancel(reason)), GOODBYE)

    def _word(self, message: Alive | Cancel) -> OutPackage:
        """Make a package that passes by the chunks, but not by the beginning."""
        reliability = Reliability.UNORDERED if self._accepted else Reliability.SEMI_ORDERED
        return package(message, self._target, reliability)


@contextmanager
def _source(file: str) -> Generator[BinaryIO]:
    """Open a file, or standard input, unbuffered: what is there is sent, however little.

    Raises:
        Problem: it cannot be read.
    """
    if file == "-":
        with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as source:
            yield source
        return
    try:
        source = Path(file).open("rb", buffering=0)  # noqa: SIM115 - errors of what follows are not its own
    except OSError as error:
        raise Problem(f"cannot read {file}: {error.strerror}") from error
    with source:
        yield source


def _size(source: BinaryIO) -> int | None:
    if not source.seekable():
        return None
    at = source.tell()
    size = source.seek(0, 2) - at
    source.seek(at)
    return size
