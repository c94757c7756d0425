"""`python -m packhorse.cli` is the command `packhorse`."""

from . import main

main()
