"""The builder: packs messages back to back into as few packages as their order allows.

The rules:

- messages stay in the order they were pushed; a message is never split;
- the package under construction is complete when the next message does not fit into it any more; complete packages can
  be taken at any time, the one under construction when it is old enough (`build_old`) or always (`build_all`);
- a push either takes the message or raises and changes nothing;
- a package leaves the builder when the iterator hands it out: what is not taken from an iterator comes out of the next;
- time is the caller's: seconds on any clock, as long as it is the same one for every call.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Any

from .codecs import Codec, msgpack
from .errors import PackageError
from .header import MAX_PAYLOAD, Peers, Reliability
from .packages import OutPackage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .address import Address

__all__ = ["PackageBuilder", "PackageIterator"]


class PackageIterator:
    """Takes packages out of a builder, oldest first.

    It gives at most as many as there were when it was made, so it ends even if messages are pushed meanwhile.
    """

    def __init__(self, packages: deque[OutPackage]) -> None:
        self._packages = packages
        self._left = len(packages)

    def __iter__(self) -> Iterator[OutPackage]:
        return self

    def __next__(self) -> OutPackage:
        if not self._left or not self._packages:
            raise StopIteration
        self._left -= 1
        return self._packages.popleft()


class PackageBuilder:
    """Builds packages for one target from single messages.

    Args:
        reliability: what is promised of the packages.
        peers: whom they are for.
        target: where to: `(host, port)`.
        codec: how messages are encoded.

    `len(builder)` is the number of packages that `build_all` would give now.

    Raises:
        PackageError: nothing can be sent to the target.
        TypeError: an argument has the wrong type.
    """

    def __init__(self, reliability: Reliability, peers: Peers, target: Address, *, codec: Codec = msgpack) -> None:
        # A package's own checks, made now rather than when the first package is built.
        probe = OutPackage(b"\0", reliability, peers, target)
        self._reliability = reliability
        self._peers = peers
        self._target = probe.target
        if not callable(getattr(codec, "encode", None)):
            raise TypeError(f"a codec has `encode` and `decode`, as packhorse.msgpack has, not {codec!r}")
        self._encode = codec.encode
        self._complete: deque[OutPackage] = deque()
        self._messages: list[bytes] = []
        self._size = 0
        self._oldest = math.inf
        self._latest: float | None = None

    def __len__(self) -> int:
        return len(self._complete) + bool(self._messages)

    @property
    def latest(self) -> float | None:
        """The latest time given with a message since the builder was last empty; None if there was none."""
        return self._latest if self else None

    def push(self, message: Any, time: float | None = None) -> None:
        """Add a message behind those pushed before.

        Args:
            message: what to encode.
            time: when the message was made, in seconds on the caller's clock. Without it the message counts as older
                than any threshold.

        Raises:
            PackageError: the encoded message is over 504 bytes, or takes none, which no receiver could notice.
            EncodeError: the codec cannot encode the message.
            TypeError: the codec does not support the message's type.
        """
        encoded = self._encode(message)
        before = self._size
        size = before + len(encoded)
        if not 0 < before < size <= MAX_PAYLOAD:
            size = self._begin(encoded)
        self._messages.append(encoded)
        self._size = size
        if time is None:
            self._oldest = -math.inf
        else:
            self._oldest = min(self._oldest, time)
            self._latest = time if self._latest is None else max(self._latest, time)

    def build_old(self, threshold: float) -> PackageIterator:
        """Take the complete packages, and the one under construction if its oldest message is old enough.

        Args:
            threshold: seconds on the caller's clock. A message made at this time or before it is old enough.
        """
        if self._oldest <= threshold:
            self._finish()
        return PackageIterator(self._complete)

    def build_all(self) -> PackageIterator:
        """Take everything that was pushed. The builder can be used again at once."""
        self._finish()
        return PackageIterator(self._complete)

    def _begin(self, encoded: bytes) -> int:
        """Make room for the first message of a package, and return its size; raise if it fits into none."""
        if not 0 < len(encoded) <= MAX_PAYLOAD:
            raise PackageError(f"an encoded message has 1 to {MAX_PAYLOAD} bytes; this one has {len(encoded)}")
        self._finish()
        if not self._complete:
            self._latest = None
        return len(encoded)

    def _finish(self) -> None:
        """Complete the package under construction, if there is one."""
        if self._messages:
            self._complete.append(OutPackage(b"".join(self._messages), self._reliability, self._peers, self._target))
            self._messages.clear()
            self._size = 0
            self._oldest = math.inf
