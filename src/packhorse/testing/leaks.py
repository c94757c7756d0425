"""What a test, or a program, may not leave behind: threads, sockets and other descriptors, Pykka's entries."""

from __future__ import annotations

import gc
import os
import threading
import time
from contextlib import suppress
from typing import Final

import pykka

__all__ = ["Inventory"]

DESCRIPTORS: Final = "/proc/self/fd"


class Inventory:
    """What there is at the moment; `left` tells what has been added since.

    Descriptors are looked at where the system has `/proc`.
    """

    def __init__(self) -> None:
        self._before = self._alive()

    def left(self, within: float = 0.0) -> list[str]:
        """Return what is there now and was not then, as text.

        Args:
            within: seconds that it gets to go.
        """
        deadline = time.monotonic() + within
        if not self._new():
            return []
        gc.collect()  # what only a cycle of garbage holds is not left behind
        for thing in self._new():
            if isinstance(thing, threading.Thread):
                thread_gets = deadline - time.monotonic()
                if thread_gets > 0:
                    thing.join(thread_gets)
        return sorted(map(str, self._new()))

    def _new(self) -> set[object]:
        return self._alive() - self._before

    @staticmethod
    def _alive() -> set[object]:
        descriptors: set[object] = set()
        with suppress(FileNotFoundError):  # a system without /proc
            for name in os.listdir(DESCRIPTORS):  # noqa: PTH208 - every test asks twice; pathlib takes longer
                with suppress(OSError):  # the one that this listing itself was made by
                    descriptors.add(f"descriptor {name} ({os.readlink(f'{DESCRIPTORS}/{name}')})")  # noqa: PTH115 - as above
        return {*threading.enumerate(), *pykka.ActorRegistry.get_all(), *descriptors}
