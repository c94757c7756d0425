"""The protocol of packhorse, without I/O: no thread, socket, clock, logger or random source of its own.

What happens is passed in together with the time; what follows is collected until it is taken. The two halves of a peer,
and the two parts of each half, share nothing and are joined by the messages in `messages`:

    Numbering -> Redelivery       the sending half: ids and backlog; what is unconfirmed, and sending it again
    Receiving -> Confirmations    the receiving half: what is new and in order; what to confirm and when

README.md beside this file is the specification of the wire protocol.
"""

from __future__ import annotations

from .address import Address
from .builder import PackageBuilder, PackageIterator
from .codecs import Bincode, Codec, bincode, msgpack
from .congestion import Controller, DelayController, FixedController
from .decoder import MessageDecoder
from .errors import (
    Closed,
    DecodeError,
    EncodeError,
    FailureReason,
    Full,
    PackageError,
    PackhorseError,
    PeerFailed,
    PeerRestarted,
    StackFailed,
    Timeout,
)
from .header import MAX_DATAGRAM, MAX_PAYLOAD, Peers, Reliability
from .packages import InPackage, OutPackage
from .policy import ConfirmPolicy, ResendPolicy

__all__ = [
    "MAX_DATAGRAM",
    "MAX_PAYLOAD",
    "Address",
    "Bincode",
    "Closed",
    "Codec",
    "ConfirmPolicy",
    "Controller",
    "DecodeError",
    "DelayController",
    "EncodeError",
    "FailureReason",
    "FixedController",
    "Full",
    "InPackage",
    "MessageDecoder",
    "OutPackage",
    "PackageBuilder",
    "PackageError",
    "PackageIterator",
    "PackhorseError",
    "PeerFailed",
    "PeerRestarted",
    "Peers",
    "Reliability",
    "ResendPolicy",
    "StackFailed",
    "Timeout",
    "bincode",
    "msgpack",
]
