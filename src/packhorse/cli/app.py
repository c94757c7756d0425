"""The commands as the user sees them: options and help. What they do is in the modules named after them."""

from __future__ import annotations

import platform
import signal
import sys
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer

from packhorse import MAX_PAYLOAD, Reliability
from packhorse.actors.wiring import mermaid

from .options import exit_with as _exit
from .options import given as _given
from .options import status_of
from .run import parse_address, parse_probability, parse_seconds
from .trace_command import trace

__all__ = ["run"]

SHORTEST_LOOK: Final = 0.05
"""Seconds between two looks of `top`, at least."""

app = typer.Typer(
    name="packhorse",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def run() -> int:
    """Run the command line and return its exit status."""
    # While a command is at work, `attend` takes signals; before and after, one ends the program in the usual way.
    signal.signal(signal.SIGTERM, _terminate)
    return status_of(app)


def _terminate(number: int, _: Any) -> NoReturn:
    sys.exit(128 + number)


def _version(wanted: bool) -> None:
    if wanted:
        try:
            number = version("packhorse")
        except PackageNotFoundError:
            number = "(not installed)"
        typer.echo(f"packhorse {number}, Python {platform.python_version()}")
        raise typer.Exit


Target = Annotated[
    str,
    typer.Argument(
        metavar="HOST:PORT", help="Where to: 10.0.0.7:8082, example.org:8082 or [::1]:8082.", show_default=False
    ),
]
Port = Annotated[
    int, typer.Option(min=0, max=65535, help="UDP port to listen on; 0 for any free one, which is printed.")
]
Host = Annotated[str | None, typer.Option(help="Address of this machine to listen on.", show_default="all of them")]
ForPrograms = Annotated[bool, typer.Option("--report", hidden=True)]


class Mode(StrEnum):
    """The reliabilities, as the command line writes them."""

    UNRELIABLE = "unreliable"
    UNORDERED = "unordered"
    SEMI_ORDERED = "semi-ordered"


@app.callback()
def packhorse(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Reliable UDP packages: see it work, and move files with it.

    Start with `packhorse demo`.

    Exit status: 0 done; 1 something went wrong, and a line on standard error
    says what; 2 the command line was wrong; 130 or 143 interrupted (Ctrl-C) or
    terminated before the job was done.
    """


@app.command()
def demo(
    *,
    file: Annotated[Path | None, typer.Option(help="What to send.", show_default="packhorse's own sources")] = None,
    loss: Annotated[
        str,
        typer.Option(
            metavar="LOSS",
            help="Share of datagrams that is lost, each way: 20% or 0.2.",
        ),
    ] = "20%",
    delay: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="Time that a datagram takes, each way: 20ms or 0.02 (seconds). Up to half of it is added at random.",
        ),
    ] = "20ms",
    seed: Annotated[int, typer.Option(help="Of the link's bad luck; the same seed has the same luck.")] = 1,
) -> None:
    """Send a file between two processes over a bad link, and check what arrived.

    The link loses, delays, doubles and reorders datagrams in both directions;
    the file arrives all the same, each part once and in order. The exit status
    is 1 if anything does not match.

    Examples:
      packhorse demo
      packhorse demo --loss 40% --delay 50ms
      packhorse demo --file holiday.jpg --seed 7
    """
    from .demo import demo  # noqa: PLC0415 - rich takes a while to import

    share = _given(parse_probability, loss, "--loss")
    seconds = _given(parse_seconds, delay, "--delay")
    _exit(lambda: demo(file, loss=share, delay=seconds, seed=seed))


@app.command()
def receive(
    *,
    port: Port = 8082,
    out: Annotated[
        Path | None,
        typer.Option(help="File to write; it is there only once it is verified.", show_default="standard output"),
    ] = None,
    host: Host = None,
    report: ForPrograms = False,
) -> None:
    """Wait for one file that `packhorse send` sends, and verify it.

    Without --out the file goes to standard output as it comes, before it is
    verified: look at the exit status. After the end this stays for 2 s more and
    goes on confirming, so that the sender hears what became of its file.

    Interrupted before the file is complete, it keeps nothing and ends with 130
    (Ctrl-C) or 143 (SIGTERM), even if no sender has come yet.

    Examples:
      packhorse receive --port 8082 --out holiday.jpg
      packhorse receive --port 8082 | tar x
    """
    from .receiving import receive  # noqa: PLC0415 - as above

    if report and out is None:
        raise typer.BadParameter("--report needs --out: standard output is for the report")
    _exit(lambda: receive(host, port, out, report=report))


@app.command()
def send(
    target: Target,
    file: Annotated[str, typer.Argument(metavar="FILE", help="A path, or - for standard input.")],
    *,
    rate: Annotated[
        float, typer.Option(min=0, help="Packages a second, of 476 bytes each; 0: as fast as it goes.")
    ] = 0,
    report: ForPrograms = False,
) -> None:
    """Send a file to `packhorse receive`, until it says that the file is right.

    It ends with 1 if nobody answers within 3 s, or no more for 20 s, and with
    130 (Ctrl-C) or 143 (SIGTERM) if it is interrupted.

    Examples:
      packhorse send 10.0.0.7:8082 holiday.jpg
      tar c holidays | packhorse send example.org:8082 -
    """
    from .sending import send  # noqa: PLC0415 - as above

    host, port = _given(parse_address, target, "HOST:PORT")
    _exit(lambda: send(host, port, file, rate=rate, report=report))


@app.command()
def ping(
    target: Target,
    *,
    count: Annotated[
        int | None, typer.Option("--count", "-c", min=1, help="Pings to send.", show_default="until Ctrl-C")
    ] = None,
    interval: Annotated[
        str,
        typer.Option("--interval", "-i", metavar="TIME", help="Time between two pings."),
    ] = "1s",
    reliability: Annotated[
        Mode,
        typer.Option(help="Of pings and replies. Only unreliable ones can be lost; the others come late instead."),
    ] = Mode.UNRELIABLE,
) -> None:
    """Measure round trips to `packhorse echo`, from program to program.

    Ctrl-C or SIGTERM is a normal end. The exit status is 0 if there was any
    reply, else 1.

    Examples:
      packhorse ping 10.0.0.7:8082
      packhorse ping -c 100 -i 10ms --reliability unordered [::1]:8082
    """
    from .pinging import ping  # noqa: PLC0415 - as above

    host, port = _given(parse_address, target, "HOST:PORT")
    seconds = _given(parse_seconds, interval, "--interval")
    mode = Reliability[reliability.name]
    _exit(lambda: ping(host, port, count=count, interval=seconds, reliability=mode))


@app.command()
def echo(*, port: Port = 8082, host: Host = None) -> None:
    """Send back every package, with the same reliability.

    It goes on until Ctrl-C or SIGTERM, which is its normal end: exit status 0.

    Example:
      packhorse echo --port 8082
    """
    from .pinging import echo  # noqa: PLC0415 - as above

    _exit(lambda: echo(host, port))


@app.command()
def bench(
    target: Annotated[
        str | None, typer.Argument(metavar="HOST:PORT", help="Where `bench --serve` runs.", show_default=False)
    ] = None,
    *,
    serve: Annotated[bool, typer.Option("--serve", help="Be the other end, for any number of benches.")] = False,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="With --serve: UDP port to listen on; 0 for any.", show_default="8082"),
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="With --serve: address of this machine to listen on.", show_default="all of them")
    ] = None,
    reliability: Annotated[
        list[Mode] | None, typer.Option(help="Measure only this one; may be given again.", show_default="all three")
    ] = None,
    size: Annotated[int, typer.Option(min=8, max=MAX_PAYLOAD, help="Bytes of data in each package.")] = 64,
    seconds: Annotated[
        str, typer.Option(metavar="TIME", help="How long to send without a pause, and to go there and back.")
    ] = "3s",
    packages: Annotated[
        int | None, typer.Option(min=1, help="How many to send without a pause.", show_default="for --seconds")
    ] = None,
    trips: Annotated[int, typer.Option(min=0, help="Round trips, at most.")] = 10_000,
) -> None:
    """Measure how fast packages go between two machines, and the round trip.

    Start `packhorse bench --serve` on one and this with its address on the
    other. For each reliability it sends as fast as it can, so do not do this
    to a network that others need; then packages go there and back, one by one.

    The serving end goes on until Ctrl-C or SIGTERM, its normal end. The other
    ends with 1 if nobody answers within 3 s, or no more.

    Examples:
      packhorse bench --serve --port 8082
      packhorse bench 10.0.0.7:8082
      packhorse bench 10.0.0.7:8082 --size 500 --seconds 10s --reliability unordered
    """
    from .benching import Plan  # noqa: PLC0415 - as above
    from .benching import bench as measure  # noqa: PLC0415
    from .counting import serve as count  # noqa: PLC0415

    if serve == (target is not None):
        raise typer.BadParameter("give either HOST:PORT or --serve", param_hint="HOST:PORT")
    if target is None:
        _exit(lambda: count(host, 8082 if port is None else port))
    if port is not None or host is not None:
        raise typer.BadParameter("these are for --serve", param_hint="--port, --host")
    to_host, to_port = _given(parse_address, target, "HOST:PORT")
    plan = Plan(
        tuple(Reliability[mode.name] for mode in dict.fromkeys(reliability or Mode)),
        size,
        _given(parse_seconds, seconds, "--seconds"),
        packages,
        trips,
    )
    _exit(lambda: measure(to_host, to_port, plan))


Share = Annotated[str, typer.Option(metavar="SHARE", help="5% or 0.05, each way.")]
Time = Annotated[str, typer.Option(metavar="TIME", help="20ms or 0.02 (seconds), each way.")]


@app.command()
def link(
    *,
    to: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where datagrams go.", show_default=False)],
    listen: Port = 0,
    host: Annotated[str, typer.Option(help="Address of this machine to listen on.")] = "127.0.0.1",
    loss: Share = "0%",
    delay: Time = "0ms",
    jitter: Annotated[str, typer.Option(metavar="TIME", help="Up to so much on top of the delay, at random.")] = "0ms",
    duplicate: Share = "0%",
    reorder: Share = "0%",
    burst_every: Annotated[
        float | None, typer.Option(min=1, help="Mean number of datagrams between two bursts of loss.")
    ] = None,
    burst_length: Annotated[float, typer.Option(min=1, help="Mean number of datagrams lost in a burst.")] = 1,
    bandwidth: Annotated[
        float | None, typer.Option(min=1, help="Bits a second, each way; without it no limit.")
    ] = None,
    queue: Annotated[int, typer.Option(min=1, help="Datagrams that may wait for their share of the bandwidth.")] = 64,
    seed: Annotated[int, typer.Option(help="Of the link's bad luck; the same seed has the same luck.")] = 1,
) -> None:
    """Be a bad link in front of any UDP program, packhorse's or another.

    Clients send to this instead of to the program; replies find their way back.
    It goes on until Ctrl-C or SIGTERM, which is its normal end: exit status 0.

    Examples:
      packhorse link --listen 9000 --to 127.0.0.1:8082 --loss 5% --delay 20ms
      packhorse link --to 10.0.0.7:8082 --bandwidth 10e6 --queue 64 --delay 20ms
    """
    from .linking import link  # noqa: PLC0415 - as above

    target = _given(parse_address, to, "--to")
    options = {
        "loss": _given(parse_probability, loss, "--loss"),
        "delay": _given(parse_seconds, delay, "--delay"),
        "jitter": _given(parse_seconds, jitter, "--jitter"),
        "duplicate": _given(parse_probability, duplicate, "--duplicate"),
        "reorder": _given(parse_probability, reorder, "--reorder"),
        "burst_every": burst_every,
        "burst_length": burst_length,
        "bandwidth": bandwidth,
        "queue": queue,
    }
    _exit(lambda: link((host, listen), *target, seed=seed, options=options))


app.command()(trace)


def _parse_look(text: str) -> float:
    seconds = parse_seconds(text)
    if seconds < SHORTEST_LOOK:
        raise ValueError(f"{text!r} is too short, at least {SHORTEST_LOOK * 1000:g}ms")
    return seconds


@app.command()
def top(
    socket: Annotated[
        Path,
        typer.Argument(metavar="SOCKET", help="What the program has opened with stack.serve_stats(SOCKET)."),
    ],
    *,
    interval: Annotated[str, typer.Option(metavar="TIME", help="Time between two looks, 50ms at least.")] = "1s",
    once: Annotated[bool, typer.Option("--once", help="Look once and end.")] = False,
) -> None:
    """Show the numbers of a running stack as they change.

    It goes on until the stack ends, or until Ctrl-C or SIGTERM, which are its
    normal end too: exit status 0.

    Examples:
      packhorse top /run/user/1000/game.stats
      packhorse top --once game.stats
    """
    from .topping import top  # noqa: PLC0415 - as above

    seconds = _given(_parse_look, interval, "--interval")
    _exit(lambda: top(socket, interval=seconds, once=once))


@app.command()
def diagram() -> None:
    """Print how the nodes of a stack are wired, as a Mermaid drawing.

    Paste it where Mermaid is understood, such as a README.

    Example:
      packhorse diagram > stack.mmd
    """
    typer.echo(mermaid(), nl=False)
