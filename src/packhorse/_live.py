"""Looking into a running program: a local socket that tells a stack's numbers to `packhorse top`.

The rules:

- only a program that asks for it has such a socket; it is a Unix socket, so the file's permissions say who may look
  (its owner only);
- whoever connects gets one line of JSON, `StackStats.as_dict()`, for each newline it sends;
- the socket goes with the stack, or when it is closed.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import stat
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from .protocol import Closed

if TYPE_CHECKING:
    from collections.abc import Callable

    from .actors.stats import StackStats

__all__ = ["StatsServer"]

LONGEST_WAIT = 60.0
"""Seconds that a connection may be silent."""


class StatsServer:
    """Tells the numbers of a stack to whoever connects; made by `Stack.serve_stats`."""

    def __init__(self, path: Path, stats: Callable[[], StackStats]) -> None:
        if "\0" in os.fspath(path):
            raise ValueError(f"a path has no NUL in it, as {os.fspath(path)!r} has")
        self.path = path
        self._stats = stats
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        _remove_stale(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            mask = os.umask(0o177)
            try:
                self._socket.bind(os.fspath(path))
            finally:
                os.umask(mask)
            self._socket.listen()
        except BaseException as error:
            self._socket.close()
            if not isinstance(error, OSError):
                raise
            raise OSError(error.errno, f"cannot serve stats: {error.strerror or error}", os.fspath(path)) from error
        self._serve(self._accept)

    def close(self) -> None:
        """Stop telling, and remove the file. May be repeated."""
        for endpoint in (self._socket, *self._open):
            with contextlib.suppress(OSError):
                endpoint.shutdown(socket.SHUT_RDWR)
            endpoint.close()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()
        self.path.unlink(missing_ok=True)

    def _serve(self, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, name=f"packhorse-stats-{self.path.name}", daemon=True)
        self._threads = [known for known in self._threads if known.is_alive()] + [thread]
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                connection, _ = self._socket.accept()
                self._open.add(connection)
                self._serve(lambda connection=connection: self._answer(connection))  # type: ignore[misc] # bound early

    def _answer(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, Closed), connection:
            connection.settimeout(LONGEST_WAIT)
            while connection.recv(1024):
                connection.sendall(json.dumps(self._stats().as_dict()).encode() + b"\n")
        self._open.discard(connection)


def _remove_stale(path: Path) -> None:
    """Remove the socket of a program that is gone; leave anything else alone.

    Raises:
        FileExistsError: there is something that is no socket.
    """
    if not path.exists():
        return
    if not stat.S_ISSOCK(path.stat().st_mode):
        raise FileExistsError(errno.EEXIST, "cannot serve stats: it is there already, and no socket", os.fspath(path))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink()
