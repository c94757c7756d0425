"""How a file goes through packages; `send`, `receive` and `demo` share it. No I/O here.

The rules:

- the sender's `Begin`, `Chunk`s and `End` are semi-ordered, so the receiver sees them in this order, each once;
- the receiver answers `Begin` with `Accepted` and the end with `Result`, which tells the sender what became of the
  file;
- the sender says `Alive` now and then, so the receiver can tell a slow one from a dead one. A receiver that does not
  know the sender answers whatever comes with `Result`: it is busy, or it was started anew and has lost what came
  before;
- either side may end early, with `Cancel` or `Result`, and says why;
- the size at the beginning is a hint (None: unknown, as of standard input); what counts is size and hash at the end.
"""

from __future__ import annotations

import hashlib
from array import array
from typing import Final

import msgspec

__all__ = [
    "ALIVE_EVERY",
    "CHUNK",
    "SILENCE",
    "Accepted",
    "Alive",
    "Begin",
    "Cancel",
    "Chunk",
    "End",
    "FromReceiver",
    "FromSender",
    "Incoming",
    "Result",
    "percentile",
]

CHUNK: Final = 476
"""Bytes of the file in one package; a package carries 504, the rest is for length, index and time."""

ALIVE_EVERY: Final = 3.0
"""Seconds between two words that the sender lives."""

SILENCE: Final = 30.0
"""Seconds without any package of the sender after which the receiver gives up."""


class Begin(msgspec.Struct, frozen=True, array_like=True, tag=0):
    """Here comes a file."""

    name: str
    size: int | None


class Chunk(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """The next part of the file. `sent` is `time.monotonic()`, for receivers on the same machine."""

    index: int
    data: bytes
    sent: float | None = None


class End(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """That was the file."""

    chunks: int
    size: int
    sha256: bytes


class Alive(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """The sender is still there, whatever it waits for."""


class Cancel(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """The sender gave up."""

    reason: str


class Accepted(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """The receiver expects the chunks."""


class Result(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """What became of the file; the receiver expects nothing more."""

    verified: bool
    reason: str = ""


FromSender = Begin | Chunk | End | Alive | Cancel
FromReceiver = Accepted | Result


class Incoming:
    """A file as it comes in: puts its chunks to the test.

    Attributes:
        chunks: how many came.
        size: bytes that came.
        repeated: chunks that came again.
        misplaced: chunks that came before one that belongs in front of them.
        latencies: seconds from sending to receiving, of chunks that say when they were sent.
    """

    def __init__(self) -> None:
        self.chunks = 0
        self.size = 0
        self.repeated = 0
        self.misplaced = 0
        self.latencies = array("d")
        self._next = 0
        self._hash = hashlib.sha256()

    def take(self, chunk: Chunk, time: float) -> bytes:
        """Count a chunk that came at this time (in `time.monotonic` seconds) and return what to write."""
        self.chunks += 1
        if chunk.sent is not None:
            self.latencies.append(time - chunk.sent)
        if chunk.index < self._next:
            self.repeated += 1
            return b""
        self.misplaced += chunk.index > self._next
        self._next = chunk.index + 1
        self.size += len(chunk.data)
        self._hash.update(chunk.data)
        return chunk.data

    @property
    def sha256(self) -> str:
        """The hash of what came so far, in hexadecimal."""
        return self._hash.hexdigest()

    def problem(self, end: End) -> str:
        """Return what is wrong with the whole file, or an empty text."""
        if self.repeated or self.misplaced:
            return f"{self.repeated} packages came twice and {self.misplaced} out of order"
        if (self.chunks, self.size) != (end.chunks, end.size):
            return f"{self.size} bytes in {self.chunks} packages came of {end.size} bytes in {end.chunks} packages"
        if self._hash.digest() != end.sha256:
            return f"SHA-256 is {self.sha256} here and {end.sha256.hex()} at the sender"
        return ""


def percentile(values: list[float], percent: float) -> float:
    """Return the smallest of the sorted values that at least so many percent of them do not exceed (nearest rank).

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("there is no percentile of nothing")
    rank = -(-len(values) * percent // 100)  # rounded up
    return values[max(0, int(rank) - 1)]
