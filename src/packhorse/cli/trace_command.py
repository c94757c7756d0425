"""The command `packhorse trace` as the user sees it: options and help. What it does is in `tracing`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import exit_with, given

__all__ = ["trace"]

Out = Annotated[str | None, typer.Option(metavar="FILE", help="Write this; - for standard output.", show_default=False)]


def trace(
    logs: Annotated[
        list[Path] | None, typer.Argument(metavar="LOG...", help="Logs of any number of stacks.", show_default=False)
    ] = None,
    *,
    package: Annotated[
        str | None,
        typer.Option(metavar="ADDR#ID", help="Tell the story of this package for ADDR.", show_default=False),
    ] = None,
    resends: Annotated[bool, typer.Option("--resends", help="List every resend with its reason.")] = False,
    slowest: Annotated[int, typer.Option(min=1, help="How many of the slowest packages to list.")] = 10,
    begin: Annotated[
        float | None,
        typer.Option("--from", metavar="SECONDS", help="Only what was under way since.", show_default=False),
    ] = None,
    end: Annotated[
        float | None, typer.Option("--to", metavar="SECONDS", help="Only what was under way until.", show_default=False)
    ] = None,
    svg: Out = None,
    mermaid: Out = None,
    plot: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Plot latency and window as SVG; - for in the terminal.", show_default=False),
    ] = None,
    perfetto: Out = None,
    qlog: Out = None,
    alias: Annotated[
        list[str] | None,
        typer.Option(metavar="A=B", help="A is a relay's address for the stack at B (or that logs to file B)."),
    ] = None,
    wireshark: Annotated[
        bool, typer.Option("--wireshark", help="Print a dissector for Wireshark, in Lua; needs no log.")
    ] = False,
) -> None:
    """Tell from logs where packages went, and why they took so long.

    Logs have one JSON object a line, as structlog writes them. Package events
    are at level debug. Clocks of several machines are joined.

    Without options: what the logs hold, and the slowest packages. Drawings are
    of --package, of --from and --to (seconds from the first event), or of the
    slowest package.

    Examples:
      packhorse trace client.log server.log
      packhorse trace *.log --package 10.0.0.7:8082#17 --svg story.svg
      packhorse trace *.log --resends
      packhorse trace --wireshark > ~/.local/lib/wireshark/plugins/packhorse.lua
    """
    from . import tracing  # noqa: PLC0415 - the engine takes a while to import

    if wireshark:
        typer.echo(tracing.dissector(), nl=False)
        return
    if not logs:
        raise typer.BadParameter("at least one log, as written by structlog's JSONRenderer", param_hint="LOG...")
    wanted = tracing.Wanted(
        package=package,
        begin=begin,
        end=end,
        slowest=slowest,
        resends=resends,
        svg=svg,
        mermaid=mermaid,
        plot=plot,
        perfetto=perfetto,
        qlog=qlog,
    )
    aliases = dict(given(tracing.parse_alias, text, "--alias") for text in alias or ())
    exit_with(lambda: tracing.trace(logs, aliases, wanted))
