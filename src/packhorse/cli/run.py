"""What the commands share: addresses, errors, signals, progress.

The rules:

- what the user can do something about is a `Problem`: one line on standard error, exit status 1, no traceback;
- a command works in a thread of its own, and the main thread waits for its end or for SIGINT or SIGTERM, whichever
  comes first. So nothing is ever interrupted halfway: a command ends because its stack was closed;
- standard output is for results; everything else goes to standard error, in colour only on a terminal.
"""

from __future__ import annotations

import signal
import socket
import sys
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

import msgspec

from packhorse import Closed, OutPackage, PackageError, Peers, Reliability, Stack, startup
from packhorse.protocol.address import canonical, check_target

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from packhorse import Address

    from .transfer import FromReceiver, FromSender

T = TypeVar("T")

__all__ = [
    "Bar",
    "Outcome",
    "Problem",
    "Report",
    "Watcher",
    "attend",
    "everywhere",
    "open_stack",
    "open_towards",
    "package",
    "parse_address",
    "parse_probability",
    "parse_seconds",
    "resolve",
    "say",
]

PORTS: Final = 65536
ENDING: Final = 1.0
"""Seconds that a command gets to end once its stack is closed; one that waits for a file or a pipe is left behind."""


class Problem(Exception):  # noqa: N818 - it is shown to the user, not handled
    """Something the user should know; the message is the whole story."""


def say(text: str) -> None:
    """Write a line to standard error, at once."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - what a command line does


# Addresses and numbers.


def parse_address(text: str) -> tuple[str, int]:
    """Split HOST:PORT, where an IPv6 host stands in brackets.

    Raises:
        ValueError: it is nothing of the kind; the message says what would be right.
    """
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if bracketed:
        host = host[1:-1]
    if not colon or not host or (":" in host) != bracketed or set("[]") & set(host):
        raise ValueError(f"{text!r} is not HOST:PORT, such as 10.0.0.7:8082, example.org:8082 or [::1]:8082")
    if not (port.isascii() and port.isdecimal() and 0 < int(port) < PORTS):
        raise ValueError(f"the port in {text!r} is not a number from 1 to 65535")
    return host, int(port)


def parse_probability(text: str) -> float:
    """Read "20%" or "0.2".

    Raises:
        ValueError: it is not from 0 to 1.
    """
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise ValueError(f"{text!r} is not a probability, such as 20% or 0.2")
    return value


def parse_seconds(text: str) -> float:
    """Read "20ms" or "0.02" or "0.02s".

    Raises:
        ValueError: it is not a finite time of at least 0.
    """
    number, scale = (text.removesuffix("ms"), 1000) if text.endswith("ms") else (text.removesuffix("s"), 1)
    try:
        value = float(number) / scale
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise ValueError(f"{text!r} is not a time, such as 20ms or 0.02")
    return value


def resolve(host: str, port: int) -> Address:
    """Look a host up; of its addresses IPv4 comes first, because that is what stacks are bound to by default.

    Raises:
        Problem: there is no such host, or it is not a single one.
    """
    try:
        found: list[Any] = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise Problem(f"the host {host!r} cannot be found: {reason}") from error
    found.sort(key=lambda entry: entry[0] != socket.AF_INET)
    address = found[0][4]
    try:
        return check_target(canonical(address[0].partition("%")[0], address[1], *address[3:]))
    except PackageError as error:
        raise Problem(str(error)) from error


# Stacks.


def open_stack(host: str, port: int) -> Stack:
    """Start a stack.

    Raises:
        Problem: the port is taken, not allowed, or not of this machine.
    """
    try:
        return startup(port, host)
    except OSError as error:
        raise Problem(error.strerror or str(error)) from error


def open_towards(target: Address) -> Stack:
    """Start a stack of the target's family, on any port, wherever the way there begins.

    Raises:
        Problem: there is no such stack to be had.
    """
    return open_stack("::" if ":" in target[0] else "0.0.0.0", 0)  # noqa: S104 - bound to nothing, since the way decides


def everywhere() -> str:
    """Return the host that means every address of this machine."""
    return "::" if socket.has_dualstack_ipv6() else "0.0.0.0"  # noqa: S104 - what was asked for


def package(
    message: FromSender | FromReceiver, target: Address, reliability: Reliability = Reliability.SEMI_ORDERED
) -> OutPackage:
    """Make a package of one message of a transfer."""
    return OutPackage.encode(message, reliability, Peers.PLAYERS, target)


# Signals.


class Outcome(Generic[T]):
    """How a command ended.

    Attributes:
        value: what it returned; None if it was stopped before.
        signal: the signal that stopped it; None if it ended by itself.
    """

    def __init__(self, value: T | None, number: int | None) -> None:
        self.value = value
        self.signal = number

    @property
    def status(self) -> int:
        """The exit status of a command that did not do its job when it was stopped: 130 or 143."""
        return 0 if self.signal is None else 128 + self.signal

    @property
    def reason(self) -> str:
        """What to say of the signal."""
        return "terminated" if self.signal == signal.SIGTERM else "interrupted"


def attend(work: Callable[[], T], stop: Callable[[], object]) -> Outcome[T]:
    """Run `work` in a thread until it returns, or until a signal; then `stop` has to make it return.

    Raises:
        Exception: whatever `work` raised; but no `Closed` after a signal, because that is how a closed stack stops it.
    """
    values: list[T] = []
    errors: list[BaseException] = []
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)

    def run() -> None:
        try:
            values.append(work())
        except BaseException as error:  # noqa: BLE001 - raised again in the main thread
            errors.append(error)
        with suppress(OSError):  # after a signal nobody listens any more
            theirs.send(b"\0")

    with ours, theirs, _handling(theirs):
        thread = threading.Thread(target=run, name="command", daemon=True)
        thread.start()
        number = ours.recv(1)[0] or None
    # From here on a second signal ends the process, in case something hangs.
    if number is not None:
        stop()
    thread.join(ENDING)
    if errors and not (number is not None and isinstance(errors[0], Closed)):
        raise errors[0]
    return Outcome(values[0] if values else None, number)


def _noted(number: int, frame: Any) -> None:
    """Do nothing: that there is a handler lets the signal be written to the socket."""


@contextmanager
def _handling(notified: socket.socket) -> Generator[None]:
    """Let signals be written to a socket, by number; one that comes just before somebody waits there is not missed."""
    before = {number: signal.signal(number, _noted) for number in (signal.SIGINT, signal.SIGTERM)}
    earlier_socket = signal.set_wakeup_fd(notified.fileno(), warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(earlier_socket)
        for number, earlier in before.items():
            signal.signal(number, earlier)


# Progress.


class Watcher(Protocol):
    """Is told how a transfer goes on."""

    def listening(self, address: Address) -> None:
        """Note where others can reach us."""
        ...

    def started(self, name: str, size: int | None) -> None:
        """Note that the file has begun."""
        ...

    def moved(self, size: int) -> None:
        """Note how many bytes there are so far."""
        ...

    def done(self, **facts: Any) -> None:
        """Note how it ended."""
        ...


class Bar:
    """A progress bar on standard error, if that is a terminal."""

    def __init__(self, verb: str) -> None:
        # rich takes a while to import; what reports to another program does without.
        from rich.console import Console  # noqa: PLC0415
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn  # noqa: PLC0415

        console = Console(stderr=True)
        self._verb = verb
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task: Any = None

    def listening(self, address: Address) -> None:
        """Do nothing; it was said already."""

    def started(self, name: str, size: int | None) -> None:
        """Show the bar."""
        self._progress.start()
        self._task = self._progress.add_task(f"{self._verb} {name}", total=size)

    def moved(self, size: int) -> None:
        """Move the bar."""
        if self._task is not None:
            self._progress.update(self._task, completed=size)

    def done(self, **facts: Any) -> None:
        """Leave the bar as it is."""
        del facts
        self._progress.stop()


class Report:
    """One line of JSON on standard output for each thing that happens, for another program (`demo`)."""

    EVERY = 0.1

    def __init__(self) -> None:
        self._last = 0.0

    def listening(self, address: Address) -> None:
        """Report the address."""
        self._write(address=address)

    def started(self, name: str, size: int | None) -> None:
        """Report nothing; the reader knows."""

    def moved(self, size: int) -> None:
        """Report the bytes, ten times a second."""
        now = time.monotonic()
        if now >= self._last + self.EVERY:
            self._last = now
            self._write(moved=size)

    def done(self, **facts: Any) -> None:
        """Report the facts."""
        self._write(done=facts)

    @staticmethod
    def _write(**what: Any) -> None:
        print(msgspec.json.encode(what).decode(), flush=True)  # noqa: T201 - the report
