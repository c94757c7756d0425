"""The wiring of a stack, as data: the supervisor builds by it, stops by it, and the drawings are held against it."""

from __future__ import annotations

from typing import Final

__all__ = ["CANCELS", "CHANNELS", "ENDS_AFTER", "HOLDS_BACK", "NODES", "STATE", "USER_ENDS", "mermaid"]

NODES: Final = ("usender", "dsender", "resender", "confirmer", "dreceiver", "ureceiver", "sreceiver")

CHANNELS: Final = (
    ("usender", "dsender"),
    ("resender", "dsender"),
    ("confirmer", "dsender"),
    ("dreceiver", "ureceiver"),
    ("dreceiver", "sreceiver"),
)
"""Datagrams go along these; in the original they are channels too."""

STATE: Final = (
    ("usender", "resender"),
    ("resender", "usender"),
    ("sreceiver", "resender"),
    ("ureceiver", "confirmer"),
)
"""These replace the state that the original shares behind mutexes."""

HOLDS_BACK: Final = (
    ("usender", "resender"),
    ("usender", "dsender"),
    ("resender", "dsender"),
    ("sreceiver", "resender"),
    ("confirmer", "dsender"),
    ("ureceiver", "confirmer"),
)
"""The first takes no data while the second has too much to do. There must be no circle; dreceiver drops instead."""

CANCELS: Final = (
    ("usender", "resender"),
    ("resender", "sreceiver"),
    ("ureceiver", "confirmer"),
)
"""When the first has ended, the supervisor sends the second a stop message."""

ENDS_AFTER: Final = {
    "dsender": ("usender", "resender", "confirmer"),
    "dreceiver": ("ureceiver", "sreceiver"),
}
"""A node here gets its stop message when all of those have ended: nobody is left to feed it, or for it to feed."""

USER_ENDS: Final = (
    ("PackageSender", "usender"),
    ("resender", "ConnErrorReceiver"),
    ("ureceiver", "PackageReceiver"),
)
"""What the user holds."""


def mermaid() -> str:
    """Draw the wiring as a Mermaid flowchart; `packhorse diagram` prints it and diagrams/stack.mmd contains it."""
    lines = ["flowchart TD"]
    lines += [f"    {node}[{node}]" for node in NODES]
    handles = [name for pair in USER_ENDS for name in pair if name not in NODES]
    lines += [f"    {handle}([{handle}])" for handle in handles]
    lines.append("    %% channels: datagrams and packages")
    lines += [f"    {source} --> {target}" for source, target in (*CHANNELS, *USER_ENDS)]
    lines.append("    %% state: what the original shares behind mutexes")
    lines += [f"    {source} -.-> {target}" for source, target in STATE]
    lines.append("    %% cancellation: a stop message when the first has ended")
    lines += [f"    {source} == stop ==> {target}" for source, target in CANCELS]
    lines.append("    %% the last ones: a stop message when all of these have ended")
    for node, others in ENDS_AFTER.items():
        lines += [f"    {other} == last stop ==> {node}" for other in others]
    return "\n".join(lines) + "\n"
