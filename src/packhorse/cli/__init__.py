"""The command `packhorse`: files, pings, measurements and a demonstration over packhorse's own packages.

    app         the commands, their options and help; trace_command has those of trace, options what they share
    transfer    how a file goes through packages: messages and checks, shared by send, receive and demo
    sending, receiving, pinging, demo, linking, tracing, topping    what the commands do
    benching, counting    what bench does, at either end
    run         what they share: addresses, errors, signals, progress

Needs the extra `cli` (typer and rich); without it, only the hint to install that.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

__all__ = ["main"]


def main() -> None:
    """Run the command line and exit with its status."""
    missing = [name for name in ("typer", "rich") if find_spec(name) is None]
    if missing:
        sys.exit(
            f"packhorse: the command line needs {' and '.join(missing)}, not installed here. "
            "Install with: pip install 'packhorse[cli]'"
        )
    try:
        from .app import run  # noqa: PLC0415 - importable only now that typer is known to be there

        status = run()
    except KeyboardInterrupt:
        status = 130
    sys.exit(status)
