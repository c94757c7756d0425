"""The logs of any number of stacks, merged: what happened to each package, in words and as pictures.

    trace = merge(read([Path("client.log"), Path("server.log")]))
    for line in story(trace, trace.find("10.0.0.7:8082#17")):
        print(line)

    reading     lines to events, and to stacks
    merging     one clock, and both ends of each package
    packages    what can be said of one package
    text        stories, summaries, resends
    sequence    what a drawing of packages has to show; mermaid and svg draw it
    perfetto, qlog    exports to tools that people already use
    plot        latency and window over time
    packhorse.lua     the dissector for Wireshark

Nothing here needs an extra but the plot for terminals. The events are those of `packhorse.actors.events`.
"""

from __future__ import annotations

from .merging import Trace, merge
from .packages import Package
from .reading import Log, Record, Stack, TraceError, read
from .text import resends, slowest, story, summary

__all__ = [
    "Log",
    "Package",
    "Record",
    "Stack",
    "Trace",
    "TraceError",
    "merge",
    "read",
    "resends",
    "slowest",
    "story",
    "summary",
]
