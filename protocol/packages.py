"""Packages: what users send and receive.

The rules:

- a package has 1 to 504 bytes of data; both limits are checked where the package is made;
- a package has one target, brought into canonical form where the package is made (see `address`); a host name stays
  as it is until the package is sent, and is resolved there;
- what arrives may be empty: the wire allows it, and nothing that arrives raises.
"""

from __future__ import annotations

from typing import Any, TypeGuard, TypeVar, overload

import msgspec

from .address import Address, canonical, check_port, check_target, is_numeric
from .codecs import Codec, msgpack
from .decoder import MessageDecoder
from .errors import PackageError
from .header import MAX_PAYLOAD, Peers, Reliability

__all__ = ["InPackage", "OutPackage", "normalized"]

T = TypeVar("T")

MAX_EAGER = 8

_KNOWN_LIMIT = 65536
_known: dict[Any, Address] = {}
"""Targets as they were given, and in canonical form. Finding that form takes 10 us, so a program with many peers needs
them all here. All threads of the process use it without a lock: each step is a single one of the dict, the form of a
target never changes, and what another thread has cleared meanwhile is only found anew."""


def _is_tuple(target: object) -> TypeGuard[tuple[Any, ...]]:
    return isinstance(target, tuple)


def normalized(target: object) -> Address:
    """Bring a user's `(host, port)` into canonical form, as far as that is possible without resolving names.

    Raises:
        TypeError: it is not a tuple of a host and a port.
        PackageError: no package can be sent there (see `address`).
    """
    if not _is_tuple(target) or len(target) not in (2, 4):
        raise TypeError(f"a target is a tuple (host, port), or IPv6's (host, port, flow, scope), not {target!r}")
    host, port = target[0], target[1]
    if not isinstance(host, str) or not host:
        raise TypeError(f"a target's host is a non-empty str, not {host!r}")
    check_port(port)
    if not is_numeric(host):
        return host, port
    scope = target[3] if len(target) > 2 else 0  # noqa: PLR2004 - IPv6
    if type(scope) is not int or scope < 0:
        raise TypeError(f"a target's scope is an int from 0, the number of a network interface, not {scope!r}")
    return check_target(canonical(host, port, scope))


class OutPackage(msgspec.Struct, frozen=True, gc=False):
    """A package to send.

    Attributes:
        data: the payload, 1 to 504 bytes.
        reliability: what is promised of it.
        peers: whom it is for.
        target: where to: `(host, port)`.
        lifetime: seconds that a reliable package may wait for an id. If it has none by then it is dropped and reported;
            once it has one it goes the whole way. None: for ever.
        eager: in how many copies a reliable package is sent, a few milliseconds apart and until it is confirmed, for
            what must not wait a round trip when a copy is lost. 1 to 8.

    Raises:
        PackageError: the data is empty or over 504 bytes, or nothing can be sent to the target.
        TypeError: an argument has the wrong type.
    """

    data: bytes
    reliability: Reliability
    peers: Peers
    target: Address
    lifetime: float | None = None
    eager: int = 1

    def __post_init__(self) -> None:
        data = self.data
        try:
            if (
                data.__class__ is bytes
                and 0 < len(data) <= MAX_PAYLOAD
                and self.reliability.__class__ is Reliability
                and self.peers.__class__ is Peers
                and self.lifetime is None
                and self.eager == 1
                and _known[self.target] is self.target
            ):
                return  # nothing to complain of and nothing to change, as nearly always
        except (KeyError, TypeError):
            pass
        self._check()

    def _check(self) -> None:
        data = self.data
        if type(data) is not bytes:
            raise TypeError(f"a package's data is bytes, not {type(data).__name__}")
        if not 0 < len(data) <= MAX_PAYLOAD:
            raise PackageError(f"a package carries 1 to {MAX_PAYLOAD} bytes of data, not {len(data)}")
        if type(self.reliability) is not Reliability:
            raise TypeError(f"reliability is a packhorse.Reliability, not {self.reliability!r}")
        if type(self.peers) is not Peers:
            raise TypeError(f"peers is a packhorse.Peers, not {self.peers!r}")
        if self.lifetime is not None or self.eager != 1:
            self._check_options()
        self._normalize()

    def _normalize(self) -> None:
        try:
            target = _known.get(self.target)
        except TypeError:
            target = None
        if target is None:
            target = normalized(self.target)
            if target == self.target:
                target = self.target  # the caller's own tuple, so that the next package for it needs no change
            if len(_known) >= _KNOWN_LIMIT:
                _known.clear()
            _known[self.target] = target
        if target is not self.target:
            msgspec.structs.force_setattr(self, "target", target)

    def _check_options(self) -> None:
        if type(self.lifetime) not in (float, int, type(None)):
            raise TypeError(f"a lifetime is a number of seconds, or None, not {self.lifetime!r}")
        if type(self.eager) is not int:
            raise TypeError(f"eager is a number of copies, an int, not {self.eager!r}")
        if self.lifetime is not None and not self.lifetime > 0:
            raise PackageError(f"a lifetime is a positive number of seconds, or None, not {self.lifetime!r}")
        if self.lifetime is not None and not self.reliability:
            raise PackageError("an unreliable package never waits for an id; lifetime is for reliable ones")
        if self.eager != 1 and not self.reliability:
            raise PackageError("an unreliable package would be delivered once per copy; eager is for reliable ones")
        if self.eager not in range(1, MAX_EAGER + 1):
            raise PackageError(f"eager is a number of copies from 1 to {MAX_EAGER}, not {self.eager!r}")

    @classmethod
    def encode(
        cls,
        message: object,
        reliability: Reliability,
        peers: Peers,
        target: Address,
        *,
        codec: Codec = msgpack,
    ) -> OutPackage:
        """Make a package of a single message; `PackageBuilder` packs several into one.

        Raises:
            PackageError: the encoded message is over 504 bytes.
            EncodeError: the codec cannot encode the message.
        """
        return cls(codec.encode(message), reliability, peers, target)


class InPackage(msgspec.Struct, frozen=True, gc=False):
    """A package that was received.

    Attributes:
        data: the payload, 0 to 504 bytes.
        reliability: what its sender asked for.
        peers: whom its sender meant it for.
        source: address of its sender, in canonical form.
        time: when it was received, in `time.monotonic` seconds of this machine (of the stack's clock).
    """

    data: bytes
    reliability: Reliability
    peers: Peers
    source: Address
    time: float

    @overload
    def decode(self, message_type: type[T], *, codec: Codec = msgpack) -> MessageDecoder[T]: ...
    @overload
    def decode(self, message_type: object, *, codec: Codec = msgpack) -> MessageDecoder[Any]: ...
    def decode(self, message_type: Any, *, codec: Codec = msgpack) -> MessageDecoder[Any]:
        """Iterate over the messages in this package; see `MessageDecoder`. A union of types is a type too."""
        return MessageDecoder(self.data, message_type, codec=codec)
