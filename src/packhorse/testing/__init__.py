"""Tools to test programs that use packhorse: a clock that stands still, and networks that misbehave on request.

clock = ManualClock()
network = MemoryNetwork(clock)
stack = packhorse.startup(clock=clock, transport=network.transport(("10.0.0.1", 1)))
peer = network.peer(("10.0.0.2", 2))
stack.send(b"hi", to=peer.address)
clock.advance(0.5)      # everything that half a second brings has happened when this returns
"""

from __future__ import annotations

from .clock import ManualClock
from .events import CapturedEvents, capture_events
from .link import Link
from .network import MemoryNetwork, MemoryTransport, ScriptedPeer
from .relay import UdpLink
from .simulation import SimulatedPeer, Simulation

__all__ = [
    "CapturedEvents",
    "Link",
    "ManualClock",
    "MemoryNetwork",
    "MemoryTransport",
    "ScriptedPeer",
    "SimulatedPeer",
    "Simulation",
    "UdpLink",
    "capture_events",
]
