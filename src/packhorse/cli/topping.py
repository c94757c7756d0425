"""`packhorse top`: the numbers of a running stack, as they change."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from .run import Problem, attend

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["picture", "top"]

Look = Callable[[], dict[str, Any] | None]

PATIENCE = 5.0
"""Seconds to wait for an answer."""


def top(path: Path, *, interval: float, once: bool) -> int:
    """Show the numbers until a signal comes or the stack has ended.

    Args:
        path: of the socket that the program opened with `stack.serve_stats`.
        interval: seconds between two looks.
        once: look once only.

    Raises:
        Problem: there is no such socket, or nobody answers there.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as endpoint:
        endpoint.settimeout(PATIENCE)
        try:
            endpoint.connect(os.fspath(path))
        except FileNotFoundError:
            raise Problem(
                f"{path} does not exist; the program has to open it: stack.serve_stats({str(path)!r})"
            ) from None
        except OSError as error:
            raise Problem(f"nobody answers at {path}: {error.strerror or error}") from error
        with endpoint.makefile("rb") as lines:

            def look() -> dict[str, Any] | None:
                try:
                    endpoint.sendall(b"\n")
                    line = lines.readline()
                except TimeoutError:
                    raise Problem(f"no answer at {path} within {PATIENCE:g} seconds") from None
                except OSError:
                    return None
                try:
                    return json.loads(line) if line else None
                except ValueError:
                    raise Problem(f"what answers at {path} is no packhorse stack") from None

            first = look()
            if first is None:
                raise Problem(f"nobody answers at {path}")
            console = Console()
            if once:
                console.print(picture(first, None))
                return 0
            stopped = threading.Event()

            def stop() -> None:
                stopped.set()
                endpoint.shutdown(socket.SHUT_RDWR)  # in case it waits for an answer

            attend(lambda: _follow(look, first, console, interval, stopped), stop)
    return 0


def _follow(look: Look, first: dict[str, Any], console: Console, interval: float, stopped: threading.Event) -> None:
    """Show the numbers again and again: in place on a terminal, else one below the other."""
    before: dict[str, Any] | None = None
    now: dict[str, Any] | None = first
    with Live(console=console, screen=True, auto_refresh=False) if console.is_terminal else nullcontext() as live:
        while now is not None:
            if live is None:
                console.print(picture(now, before))
            else:
                live.update(picture(now, before), refresh=True)
            stopped.wait(min(interval, threading.TIMEOUT_MAX))
            before, now = now, None if stopped.is_set() else look()
    if not stopped.is_set():
        console.print("the stack has ended")


def picture(now: dict[str, Any], before: dict[str, Any] | None) -> Group:
    """Draw the numbers; with those of an earlier look also how fast they change."""
    elapsed = now["time"] - before["time"] if before is not None else 0.0

    def rate(name: str) -> str:
        if before is None or elapsed <= 0:
            return f"{now[name]:,}"
        return f"{now[name]:,} ({(now[name] - before[name]) / elapsed:,.0f}/s)"

    whole = Table(title=f"packhorse {now['address']}", title_justify="left")
    for name in ("sent", "received", "resent", "lost", "duplicates"):
        whole.add_column(name, justify="right")
    whole.add_column("dropped", justify="right")
    whole.add_row(
        *(rate(name) for name in ("sent", "received", "resent", "lost", "duplicates")),
        ", ".join(f"{reason}: {count:,}" for reason, count in now["dropped"].items()) or "0",
    )
    peers = Table(title="peers", title_justify="left")
    for name in ("peer", "sent", "received", "resent", "lost", "rtt ms", "window", "in flight", "backlog"):
        peers.add_column(name, justify="left" if name == "peer" else "right")
    busiest = sorted(now["peers"].items(), key=lambda item: -(item[1]["sent"] + item[1]["received"]))
    for address, peer in busiest[:20]:
        rtt = "" if peer["rtt"] is None else f"{peer['rtt'] * 1000:.2f}"
        window = "" if peer["window"] is None else f"{peer['window']:,.0f}"
        counts = (f"{peer[name]:,}" for name in ("sent", "received", "resent", "lost"))
        peers.add_row(address, *counts, rtt, window, f"{peer['in_flight']:,}", f"{peer['backlog']:,}")
    if len(busiest) > 20:  # noqa: PLR2004 - as many as are shown
        peers.caption = f"and {len(busiest) - 20} more"
    nodes = Table(title="nodes", title_justify="left")
    for name in ("node", "mailbox", "high water", "restarts"):
        nodes.add_column(name, justify="left" if name == "node" else "right")
    for name, node in now["nodes"].items():
        nodes.add_row(name, f"{node['depth']:,}", f"{node['high_water']:,}", f"{node['restarts']:,}")
    return Group(whole, peers, nodes)
