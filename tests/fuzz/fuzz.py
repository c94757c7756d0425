"""Coverage-guided fuzzing: `python -m tests.fuzz.fuzz TARGET [OPTION OF LIBFUZZER ...]`; dependency group `fuzz`.

README.md beside this says what the targets are, and what to do with a finding.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from hashlib import sha256
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from resource import RLIMIT_DATA, RUSAGE_SELF, getrlimit, getrusage, setrlimit
from signal import ITIMER_PROF, SIGPROF, setitimer, signal
from typing import Any, Final

__all__ = ["Watch", "main"]

LONGEST: Final = {"stream": 600, "sequences": 1024, "messages": 505}
"""The targets, and how many bytes an input of each has at most."""
LIMITS: Final = ("-timeout=600", "-rss_limit_mb=1024", "-print_final_stats=1")
"""What ends the process if `SLOWEST` and `MOST_MEMORY` do not: seconds of an input, and megabytes."""
SLOWEST: Final = 1.0
"""Seconds of processor that an input may take."""
MOST_MEMORY: Final = 512 * 1024 * 1024
"""Bytes that the process may take."""
FUZZED: Final = ("packhorse.protocol", "packhorse.actors.dreceiver", "packhorse.actors.sreceiver")
"""What is instrumented."""
REPORTED: Final = 30.0
"""Seconds between two lines that say how far it is."""
FOLDER: Final = Path(".fuzz")
"""Where corpora and findings are kept."""


class Watch:
    """Hands inputs to a target, and says how far it is. One that takes too long, or too much memory, fails at once.

    Args:
        take: the target.
        folder: where `past` is written to.
        past: what a failure needs besides the last input, if anything.
        said: what else there is to say, if anything.
    """

    def __init__(
        self,
        take: Callable[[bytes], object],
        folder: Path,
        past: Callable[[], bytes] | None = None,
        said: Callable[[], str] = str,
    ) -> None:
        self._take = take
        self._past = past
        self._said = said
        self._folder = folder
        self._inputs = 0
        self._slowest = 0.0
        self._began = self._reported = time.monotonic()
        self._memory = getrlimit(RLIMIT_DATA)
        self._limit = 0.0

    def begin(self) -> None:
        """Limit this process, and how long an input may take."""
        self._limit = SLOWEST
        setrlimit(RLIMIT_DATA, (MOST_MEMORY, self._memory[1]))
        signal(SIGPROF, _too_slow)

    def one(self, data: bytes) -> None:
        """Take one input."""
        before = time.process_time()
        setitimer(ITIMER_PROF, self._limit)
        try:
            self._take(data)
        except Exception:
            setrlimit(RLIMIT_DATA, self._memory)
            if self._past is not None:
                past = self._past()
                path = self._folder / f"past-{sha256(past).hexdigest()[:16]}"
                path.write_bytes(past)
                print(f"the inputs that led to this: {path}", flush=True)
            raise
        finally:
            setitimer(ITIMER_PROF, 0.0)
        self._inputs += 1
        self._slowest = max(self._slowest, time.process_time() - before)
        if not self._inputs % 256 and time.monotonic() - self._reported > REPORTED:
            self.report()

    def report(self) -> None:
        """Say how far it is."""
        self._reported = time.monotonic()
        seconds = self._reported - self._began
        memory = getrusage(RUSAGE_SELF).ru_maxrss // 1024
        print(
            f"{self._inputs} inputs in {seconds:.0f} s, {self._inputs / seconds:.0f} a second, "
            f"in {time.process_time():.0f} s of processor; slowest {self._slowest * 1000:.1f} ms; "
            f"at most {memory} MB; {self._said()}",
            flush=True,
        )


def main(arguments: list[str]) -> None:
    """Fuzz until an option says that it is enough, or something fails."""
    target, *options = arguments or [""]
    if target not in LONGEST:
        raise SystemExit(f"the first argument is one of {', '.join(LONGEST)}, not {target!r}")
    module: Any
    if target == "stream" and options[:1] == ["--again"]:
        module = import_module("tests.fuzz.stream")
        with module.narrow():
            module.again(Path(options[1]).read_bytes())
        return
    atheris: Any = import_module("atheris")
    with atheris.instrument_imports(include=["packhorse"], exclude=list(_others())):
        module = import_module(f"tests.fuzz.{target}")
    corpus = FOLDER / target
    corpus.mkdir(parents=True, exist_ok=True)
    defaults = [f"-max_len={LONGEST[target]}", *LIMITS, f"-artifact_prefix={FOLDER / target}-"]
    folders = [] if any(not option.startswith("-") for option in options) else [str(corpus)]
    if target == "stream":
        stream = module.Stream()
        watch = Watch(stream.take, FOLDER, stream.past, stream.said)
    else:
        watch = Watch(module.take, FOLDER)
    watch.begin()
    atheris.Setup([target, *defaults, *options, *folders], watch.one)
    with module.narrow() if target == "stream" else nullcontext():
        atheris.Fuzz()


def _too_slow(*_: object) -> None:
    raise TimeoutError(f"an input took more than {SLOWEST} s")


def _others() -> Iterator[str]:
    """Give the names of all modules of packhorse that are not fuzzed: what only surrounds them should not cost time."""
    spec = find_spec("packhorse")
    assert spec is not None
    assert spec.submodule_search_locations
    top = Path(spec.submodule_search_locations[0])
    for path in (*top.glob("*.py"), *top.glob("*/*.py"), *top.glob("*/*/*.py")):
        name = ".".join(("packhorse", *path.relative_to(top).with_suffix("").parts)).removesuffix(".__init__")
        if not name.startswith(FUZZED):
            yield name


if __name__ == "__main__":
    main(sys.argv[1:])
