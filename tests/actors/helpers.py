"""What tests of the actors share: a clock that says when somebody sleeps, and threads that are waited for."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import structlog

from packhorse.actors.tracing import Journal
from packhorse.testing import ManualClock

if TYPE_CHECKING:
    from collections.abc import Callable


class SignallingClock(ManualClock):
    """Says when somebody is about to sleep."""

    def __init__(self) -> None:
        super().__init__()
        self.sleeping = threading.Semaphore(0)

    def wait(self, token: threading.Lock, deadline: float | None) -> None:
        self.sleeping.release()
        super().wait(token, deadline)


def in_background(work: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def finished(thread: threading.Thread) -> bool:
    thread.join(20)
    return not thread.is_alive()


def quiet(clock: ManualClock) -> Journal:
    """Return a journal that nobody reads."""

    def drop(*_: Any) -> Any:
        raise structlog.DropEvent

    bound = structlog.make_filtering_bound_logger(20)
    return Journal(structlog.wrap_logger(None, processors=[drop], wrapper_class=bound), clock)
