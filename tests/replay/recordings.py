"""Traffic recorded from the protocol's original, and what packhorse is expected to do in its place.

What an original does not see is left out of the comparison: introductions and refusals, which it drops with a warning,
the low four bits of a package's flags, the id bytes in the header of a confirmation, and behind its ids what is too
short for one, all of which it ignores (`seen`).

Packhorse differs on purpose in some recordings; `expected` takes that into account, by name:

| recording        | the original                                   | packhorse                        |
|------------------|------------------------------------------------|----------------------------------|
| invalid_and_odd  | cuts datagrams over 508 bytes and accepts them | drops them                       |
| retransmission_* | reports a failed peer twice                    | reports it once                  |
| graceful_end     | confirms at its usual time after the end       | confirms at once when it ends    |
| invalid_and_odd  | ignores the bits of a hint, which it never     | with an identity, refuses a hint |
|                  | sends; the recorded peer set them once         | that nobody has introduced       |
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packhorse import MAX_DATAGRAM, OutPackage, Peers, Reliability
from packhorse.protocol.header import CONTROL, INTRODUCTION, REFUSAL

if TYPE_CHECKING:
    from packhorse import Address, InPackage

GOLDEN = Path(__file__).parents[1] / "golden"

ELSEWHERE = {"encodings"}
"""Recordings that are no traffic; see tests/protocol/test_bincode.py and its neighbours."""

WITH_A_PEER = [
    "confirm_batch_250",
    "confirm_batch_40",
    "confirmation_odd",
    "confirmed_at_third_try",
    "duplicates_reconfirmed",
    "graceful_end",
    "graceful_end_unconfirmed",
    "headers",
    "ids_per_target",
    "invalid_and_odd",
    "receive_3_unordered",
    "retransmission_never_confirmed_0",
    "retransmission_never_confirmed_1",
    "retransmission_never_confirmed_2",
    "semiordered_before_unordered",
    "semiordered_mix",
    "send_3_unordered_confirmed",
    "too_many_skipped",
]
STRANGE_HINT = "invalid_and_odd"
"""It is replayed by a stack without an identity."""
BETWEEN_STACKS = ["stack_to_stack_3_unordered", "stack_to_stack_delay20"]

_RELIABILITIES = {"u": Reliability.UNRELIABLE, "o": Reliability.UNORDERED, "s": Reliability.SEMI_ORDERED}
_PEERS = {"P": Peers.PLAYERS, "S": Peers.SERVER}
_LOG_LATENESS = 0.001
"""Seconds by which the recorder may have noted that something was sent after it saw the datagram."""

Content = tuple[str, str, str]
"""Reliability, peers and data (in hexadecimal) of a received package, as in the recordings."""


@dataclass(frozen=True)
class Datagram:
    time: float
    data: bytes


@dataclass(frozen=True)
class Expected:
    """What a stack does in a recording."""

    datagrams: list[Datagram]
    received: list[Content]
    failures: int


def seen(datagram: bytes) -> bytes | None:
    """Return a datagram as an original reads it; None if it drops it."""
    if datagram[0] in (INTRODUCTION, REFUSAL):
        return None
    if datagram[0] == CONTROL:
        ids = datagram[4:]
        return bytes([CONTROL, 0, 0, 0]) + (ids[: len(ids) // 3 * 3] if any(datagram[1:4]) else ids)
    return bytes([datagram[0] & 0xF0]) + datagram[1:]


def load(name: str) -> dict[str, Any]:
    recording: dict[str, Any] = json.loads((GOLDEN / f"{name}.json").read_text())
    return recording


def inputs(recording: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what happens to the stack, in order: packages sent, datagrams from the peer, the end."""

    def time(event: dict[str, Any]) -> float:
        happened: float = event["t"]
        return happened - _LOG_LATENESS if event.get("event") == "sent" else happened

    events = [
        event
        for event in recording["events"]
        if event.get("event") in ("sent", "end") or event.get("dir") == "peer->stack"
    ]
    return sorted(events, key=time)


def expected(recording: dict[str, Any]) -> Expected:
    events = recording["events"]
    name = recording["name"]
    datagrams = [
        Datagram(event["t"], bytes.fromhex(event["hex"])) for event in events if event.get("dir") == "stack->peer"
    ]
    received = [
        (event["reliability"], event["peers"], event["data"]) for event in events if event.get("event") == "received"
    ]
    failures = sum(event.get("event") == "conn_error" for event in events)
    if name == "invalid_and_odd":
        full = 2 * (MAX_DATAGRAM - 4)
        received = [content for content in received if len(content[2]) < full]
        datagrams = [datagram for datagram in datagrams if datagram.data.hex() != "80000000000002"]
    if name.startswith("retransmission"):
        failures //= 2
    return Expected(datagrams, received, failures)


def out_package(spec: str, peer: Address) -> OutPackage:
    """Make a package of reliability:peers:hex, perhaps with :host:port."""
    reliability, peers, data, *elsewhere = spec.split(":")
    target = (elsewhere[0], int(elsewhere[1])) if elsewhere else peer
    return OutPackage(bytes.fromhex(data), _RELIABILITIES[reliability], _PEERS[peers], target)


def content(package: InPackage) -> Content:
    return package.reliability.name.lower().replace("_", ""), package.peers.name.lower(), package.data.hex()
