"""Tools to test programs that use packhorse: a clock that stands still, and networks that misbehave on request.

clock = ManualClock()
network = MemoryNetwork(clock)
stack = packhorse.startup(clock=clock, transport=network.transport(("10.0.0.1", 1)))
peer = network.peer(("10.0.0.2", 2))
stack.send(b"hi", to=peer.address)
clock.advance(0.5)      # everything that half a second brings has happened when this returns

Faults on request are in `faults`; fixtures for pytest in `pytest_plugin`.
"""

from __future__ import annotations

from .clock import ManualClock
from .events import CapturedEvents, capture_events
from .faults import crash, crash_on, crash_on_start, hang, pause
from .leaks import Inventory
from .link import Link
from .network import MemoryNetwork, MemoryTransport, ScriptedPeer
from .pair import StackPair
from .relay import UdpLink
from .simulation import SimulatedPeer, Simulation
from .traps import Hold, InjectedCrash, Trap

__all__ = [
    "CapturedEvents",
    "Hold",
    "InjectedCrash",
    "Inventory",
    "Link",
    "ManualClock",
    "MemoryNetwork",
    "MemoryTransport",
    "ScriptedPeer",
    "SimulatedPeer",
    "Simulation",
    "StackPair",
    "Trap",
    "UdpLink",
    "capture_events",
    "crash",
    "crash_on",
    "crash_on_start",
    "hang",
    "pause",
]
