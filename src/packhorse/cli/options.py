"""What the definitions of the commands share: how one ends, and how options are parsed.

A command whose standard output takes no more ends with status 1: with a line about it if a disk is full, without a word
if a reader has gone away. One that was closed before is as good as none.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, NoReturn, TypeVar

import typer

from .run import Problem, say

T = TypeVar("T")

__all__ = ["exit_with", "given", "status_of"]

FULL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
GONE: Final = {errno.EPIPE}
"""What standard output says when nothing more can be written to it."""


def status_of(app: Callable[[], object]) -> int:
    """Run the whole command line and return its exit status."""
    if sys.stdout is None:  # pyright: ignore[reportUnnecessaryComparison] - so it is when it was closed
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the end
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except OSError as error:
        if error.errno not in FULL | GONE:
            raise
        if error.errno in FULL:
            say(f"packhorse: cannot write to standard output: {error.strerror}")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is left in its buffer
        return 1
    return 0


def exit_with(command: Callable[[], int]) -> NoReturn:
    """Run a command and end with its status; what went wrong is one line on standard error."""
    try:
        status = command()
    except Problem as problem:
        typer.secho(f"packhorse: {problem}", fg="red", err=True)
        status = 1
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        status = 128 + signal.SIGINT
    raise typer.Exit(status)


def given(parse: Callable[[str], T], text: str, name: str) -> T:
    """Parse what was given, or say what is wrong with it as typer does."""
    try:
        return parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=name) from error
