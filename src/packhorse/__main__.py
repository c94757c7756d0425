"""`python -m packhorse` is the command `packhorse`, as `python -m packhorse.cli` is."""

from .cli import main

main()
