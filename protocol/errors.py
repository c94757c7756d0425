"""The exceptions of packhorse: one tree that says who is at fault.

| raised                          | at fault        | meaning                                             |
|---------------------------------|-----------------|-----------------------------------------------------|
| `PackageError`, `EncodeError`   | the caller      | this package or message cannot be sent as it is     |
| `Closed`                        | the caller      | the handle was closed, or the stack has ended       |
| `Full`, `Timeout`               | nobody, for now | try again later                                     |
| `DecodeError`                   | the other side  | these bytes are not a message of the expected type  |
| `PeerFailed`                    | the other side  | a peer did not confirm; handed out, seldom raised   |
| `PeerRestarted`                 | the other side  | a peer was started anew and knows nothing of us     |
| `StackFailed`                   | packhorse       | the stack gave up; its cause is `__cause__`         |
"""

from __future__ import annotations

import builtins
from enum import StrEnum
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .address import Address
    from .packages import OutPackage

__all__ = [
    "Closed",
    "DecodeError",
    "EncodeError",
    "FailureReason",
    "Full",
    "PackageError",
    "PackhorseError",
    "PeerFailed",
    "PeerRestarted",
    "StackFailed",
    "Timeout",
]


class PackhorseError(Exception):
    """Base of every exception that packhorse defines."""


class Closed(PackhorseError):  # noqa: N818 - the state is the message
    """The handle was closed, or its stack has ended."""


class Full(PackhorseError):  # noqa: N818 - named as in queue
    """There is no room for this package right now."""


class Timeout(PackhorseError, TimeoutError):  # noqa: N818 - named as in pykka
    """What was waited for did not happen within the timeout."""


class StackFailed(PackhorseError):  # noqa: N818 - the event is the message
    """The stack gave up; `__cause__` says why. Start a new one."""


class PackageError(PackhorseError, ValueError):
    """The package cannot be sent: empty, too large, or for an impossible target."""


class EncodeError(PackhorseError, ValueError):
    """The message does not fit the type it should be encoded as."""


class DecodeError(PackhorseError, ValueError):
    """The bytes are not a message of the expected type.

    Attributes:
        offset: where in the package the broken message, or the broken part of it, begins (bytes).
    """

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(f"{message} (at offset {offset})")
        self.offset = offset


class FailureReason(StrEnum):
    """Why packages for a peer were given up."""

    SILENT = "silent"
    """No control datagram for the give-up time while packages waited for confirmation."""
    UNCONFIRMED = "unconfirmed"
    """The peer answers, but one package was sent again and again and never confirmed."""
    CLOSED = "closed"
    """The stack was closed before the peer had confirmed everything."""
    EXPIRED = "expired"
    """The packages' lifetime passed while they waited for an id."""
    FORGOTTEN = "forgotten"
    """The user asked the stack to forget the peer."""
    POISONED = "poisoned"
    """Handling these packages crashed a node."""
    RESTARTED = "restarted"
    """The peer was started anew; always a `PeerRestarted`."""


class PeerFailed(PackhorseError, builtins.ConnectionError):  # noqa: N818 - the event is the message
    """Packages for a peer were given up.

    A package listed here **may have been delivered** all the same (its confirmation may be what was lost), and
    may still be delivered when the program sends to this target again. It is never delivered twice.

    Attributes:
        target: address of the peer.
        reason: why packhorse gave up.
        unconfirmed: the packages, oldest first. Payloads are kept up to 16 MiB in all; packages beyond that are
            only counted.
        count: how many packages were given up, including those not kept.
    """

    def __init__(
        self,
        target: Address,
        reason: FailureReason,
        unconfirmed: Sequence[OutPackage] = (),
        count: int | None = None,
    ) -> None:
        self.target = target
        self.reason = reason
        self.unconfirmed = tuple(unconfirmed)
        self.count = len(self.unconfirmed) if count is None else count
        noun = "package" if self.count == 1 else "packages"
        what = "was restarted" if reason is FailureReason.RESTARTED else f"failed ({reason})"
        super().__init__(f"{target[0]} port {target[1]} {what}, {self.count} {noun} unconfirmed")

    def __reduce__(self) -> tuple[type[Self], tuple[object, ...]]:
        """Copy and pickle by what it was made of, not by the text that was made of that."""
        return type(self), (self.target, self.reason, self.unconfirmed, self.count)


class PeerRestarted(PeerFailed):
    """Another program, or another life of the same one, is behind a peer's address now, and knows nothing of before.

    Reported even when nothing was unconfirmed. What is sent to the target from now on is new to it.
    The attributes are those of `PeerFailed`; the reason is `FailureReason.RESTARTED`.
    """

    def __init__(self, target: Address, unconfirmed: Sequence[OutPackage] = (), count: int | None = None) -> None:
        super().__init__(target, FailureReason.RESTARTED, unconfirmed, count)

    def __reduce__(self) -> tuple[type[Self], tuple[object, ...]]:
        """Copy and pickle by what it was made of."""
        return type(self), (self.target, self.unconfirmed, self.count)
