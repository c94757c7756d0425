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
    ("ureceiver", "usender"),
    ("dsender", "resender"),
    ("resender", "dreceiver"),
)
"""These replace the state that the original shares behind mutexes. The last three are new: they tell of sources that
were restarted, when datagrams have left, and ask whether everything is handled that has arrived."""

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
    ("usender", "ConnErrorReceiver"),
    ("ureceiver", "PackageReceiver"),
)
"""What the user holds. usender reports packages that had no id yet, because it crashed over them or their lifetime
passed, and restarts that left nothing unconfirmed."""

_LEGEND: Final = """\
    subgraph legend
        a1(( )) -- datagrams, packages, failures --> b1(( ))
        a2(( )) -. state: what the original keeps behind mutexes .-> b2(( ))
        a3(( )) == stop: sent when the other has ended ==> b3(( ))
        a4(( )) == last: sent when all of these have ended ==> b4(( ))
    end"""


def mermaid() -> str:
    """Draw the wiring as a Mermaid flowchart; `packhorse diagram` prints it and diagrams/stack.mmd contains it."""
    handles = sorted({name for pair in USER_ENDS for name in pair if name not in NODES})
    stops = [f"{source} == stop ==> {target}" for source, target in CANCELS]
    lasts = [f"{source} == last ==> {target}" for target, sources in ENDS_AFTER.items() for source in sources]
    parts = {
        "nodes": [f"{node}[{node}]" for node in NODES],
        "what the user holds": [f"{handle}([{handle}])" for handle in handles],
        "datagrams, packages and failures": [f"{source} --> {target}" for source, target in (*CHANNELS, *USER_ENDS)],
        "state": [f"{source} -. state .-> {target}" for source, target in STATE],
        "stops": stops + lasts,
    }
    lines = ["flowchart TB"]
    for title, part in parts.items():
        lines += [f"    %% {title}", *(f"    {line}" for line in part)]
    return "\n".join([*lines, _LEGEND, ""])
