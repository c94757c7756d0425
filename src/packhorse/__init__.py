"""Reliable UDP packages for Pykka actor systems.

    with packhorse.startup(port=8082) as stack:
        stack.send(b"hi", to=("10.0.0.7", 8082))
        package = stack.receiver.recv(timeout=1.0)

`startup` is the front door; `StackSupervisor` is the same as an actor inside a larger system. `packhorse.protocol` is
the protocol without I/O, `packhorse.actors` the nodes, `packhorse.testing` a clock and a network for tests.
"""

from __future__ import annotations

from ._stack import Stack, startup
from .actors import (
    ChildSpec,
    ConnErrorReceiver,
    PackageReceiver,
    PackageSender,
    StackSupervisor,
    SupervisedActor,
    Supervisor,
)
from .protocol import (
    MAX_DATAGRAM,
    MAX_PAYLOAD,
    Address,
    Closed,
    ConfirmPolicy,
    DecodeError,
    EncodeError,
    FailureReason,
    Full,
    InPackage,
    MessageDecoder,
    OutPackage,
    PackageBuilder,
    PackageError,
    PackageIterator,
    PackhorseError,
    PeerFailed,
    PeerRestarted,
    Peers,
    Reliability,
    ResendPolicy,
    StackFailed,
    Timeout,
)

ConnectionError = PeerFailed  # noqa: A001 - the original's name
"""The name that the protocol's original gives to `PeerFailed`."""

__all__ = [
    "MAX_DATAGRAM",
    "MAX_PAYLOAD",
    "Address",
    "ChildSpec",
    "Closed",
    "ConfirmPolicy",
    "ConnErrorReceiver",
    "ConnectionError",
    "DecodeError",
    "EncodeError",
    "FailureReason",
    "Full",
    "InPackage",
    "MessageDecoder",
    "OutPackage",
    "PackageBuilder",
    "PackageError",
    "PackageIterator",
    "PackageReceiver",
    "PackageSender",
    "PackhorseError",
    "PeerFailed",
    "PeerRestarted",
    "Peers",
    "Reliability",
    "ResendPolicy",
    "Stack",
    "StackFailed",
    "StackSupervisor",
    "SupervisedActor",
    "Supervisor",
    "Timeout",
    "startup",
]
