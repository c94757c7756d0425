"""Coverage-guided fuzzing of everything that datagrams reach: `python tests/fuzz/fuzz_datagrams.py [-runs=N]`.

It takes the options of libFuzzer (https://llvm.org/docs/LibFuzzer.html) and needs the dependency group `fuzz`. An input that fails is
written to a file `crash-*`; with that file's name as the only argument it is tried again.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

LIMITS = ("-max_len=1024", "-len_control=0", "-timeout=5", "-rss_limit_mb=1024", "-print_final_stats=1")
"""Bytes of an input, seconds that it may take, megabytes that the process may take in all."""
REPORTED = 10_000
"""Inputs between two lines that say how much there was."""


def main() -> None:
    atheris: Any = import_module("atheris")
    with atheris.instrument_imports(include=["packhorse"]):
        inputs: Any = import_module("inputs")

    def take(data: bytes) -> None:
        inputs.take_datagrams(data)
        if inputs.SEEN["inputs"] % REPORTED == 0:
            print(dict(inputs.SEEN))

    atheris.Setup([sys.argv[0], *LIMITS, *sys.argv[1:]], take)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
