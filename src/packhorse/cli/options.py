"""What the definitions of the commands share: how one ends, and how options are parsed."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import NoReturn, TypeVar

import typer

from .run import Problem

T = TypeVar("T")

__all__ = ["exit_with", "given"]


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
