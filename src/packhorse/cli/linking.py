"""`packhorse link`: a bad link in front of any UDP program."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from packhorse.protocol.address import host_port
from packhorse.testing import Link, UdpLink

from .run import Problem, attend, resolve, say

if TYPE_CHECKING:
    from packhorse import Address

__all__ = ["link"]


def link(listen: Address, host: str, port: int, *, seed: int, options: dict[str, Any]) -> int:
    """Relay until a signal comes; that is the normal end.

    Args:
        listen: where clients send to.
        host: where datagrams go.
        port: where datagrams go.
        seed: of the way there; the way back has the next one.
        options: of `Link`, in both directions.

    Raises:
        Problem: the port cannot be used, there is no such host, or the options make no sense.
    """
    target = resolve(host, port)
    try:
        there, back = Link(seed=seed, **options), Link(seed=seed + 1, **options)
        relay = UdpLink(target, there=there, back=back, listen=listen)
    except OSError as error:
        raise Problem(error.strerror or str(error)) from error
    except ValueError as error:
        raise Problem(str(error)) from error
    stopped = threading.Event()
    with relay:
        say(f"listening on {host_port(relay.address)}")
        outcome = attend(stopped.wait, stopped.set)
    ways = "; ".join(
        f"{name}: {way.passed} passed, {way.lost} lost, {way.duplicated} doubled"
        for name, way in (("there", there), ("back", back))
    )
    say(f"{outcome.reason}; {ways}")
    return 0
