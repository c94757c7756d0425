"""What the tests of `Supervisor` share: actors that do what they are told, and a book of what happened to them."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from packhorse.actors import ChildInfo, ChildSpec, Status, SupervisedActor, Supervisor
from packhorse.testing import ManualClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from pykka import ActorProxy, ActorRef

WAIT = 20.0
"""Seconds after which something that should have happened counts as lost."""


class Bug(Exception):  # noqa: N818 - the word for it
    """What a test puts into an actor."""


class Book:
    """What happened, in order, and what is to happen: errors that the next ones in that place raise."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.events: list[tuple[str, str]] = []
        self.times: list[float] = []
        self.got: list[Any] = []
        self.raises: dict[tuple[str, str], list[BaseException]] = {}
        self.hangs: set[tuple[str, str]] = set()
        self.released: list[threading.Lock] = []

    def note(self, what: str, name: str) -> None:
        self.events.append((what, name))
        self.times.append(self.clock.now())
        if (what, name) in self.hangs:
            self.hangs.remove((what, name))
            self.hang()
        planned = self.raises.get((what, name))
        if planned:
            raise planned.pop(0)

    def plan(self, what: str, name: str, *errors: BaseException) -> None:
        """Let the next ones raise."""
        self.raises[what, name] = list(errors)

    def hang(self) -> None:
        """Wait until the test is over, as something that does not return."""
        token = threading.Lock()
        token.acquire()
        self.released.append(token)
        self.clock.rest(token, None)

    def release(self) -> None:
        for token in self.released:
            self.clock.wake(token)
        self.released.clear()

    def of(self, *kinds: str) -> list[str]:
        """The events of these kinds, as "kind name", and nothing older at the next call."""
        found = [f"{what} {name}" for what, name in self.events if what in kinds]
        self.events.clear()
        self.times.clear()
        return found


class Worker(SupervisedActor):
    """An actor that does what it is told."""

    def __init__(self, book: Book, label: str) -> None:
        super().__init__()
        self._book = book
        self.label = label
        self.seen: list[Any] = []
        book.note("make", label)

    def on_start(self) -> None:
        self._book.note("start", self.label)

    def on_stop(self) -> None:
        self._book.note("stop", self.label)

    def on_receive(self, message: Any) -> Any:
        self.seen.append(message)
        self._book.got.append(message)
        return message

    def die(self, error: BaseException) -> None:
        raise error

    def hang(self) -> None:
        self._book.hang()

    def end(self) -> None:
        self.stop()


class Kept(Supervisor):
    """A supervisor whose thread can be waited for though it may be over at once."""

    threads: ClassVar[list[threading.Thread]] = []

    def _start_actor_loop(self) -> None:
        super()._start_actor_loop()
        self.threads.append(self.thread)


class House:
    """A supervisor of workers under a clock that stands still."""

    def __init__(self, clock: ManualClock, book: Book) -> None:
        self.clock = clock
        self.book = book
        self.ref: ActorRef[Kept]
        self.thread: threading.Thread

    def spec(self, label: str, **options: Any) -> ChildSpec:
        return ChildSpec(label, partial(Worker, self.book, label), **options)

    def start(self, *children: str | ChildSpec, **options: Any) -> None:
        specs = [child if isinstance(child, ChildSpec) else self.spec(child) for child in children]
        self.ref = Kept.start(specs, clock=self.clock, **{"random": lambda: 0.5, **options})
        self.thread = Kept.threads.pop()
        self.clock.settle()

    @property
    def proxy(self) -> ActorProxy[Kept]:
        return self.ref.proxy()

    def child(self, label: str) -> ActorRef[Any]:
        ref: ActorRef[Any] = self.proxy.child(label).get(timeout=WAIT)
        return ref

    def info(self, label: str) -> ChildInfo:
        infos: list[ChildInfo] = self.proxy.which_children().get(timeout=WAIT)
        return {info.id: info for info in infos}[label]

    def running(self) -> list[str]:
        return [info.id for info in self.proxy.which_children().get(timeout=WAIT) if info.status is Status.RUNNING]

    def crash(self, label: str, error: BaseException | None = None) -> None:
        """Let a child die of a raising tell, and what follows happen."""
        self.child(label).proxy().die.defer(error or Bug(label))
        self.clock.settle()

    def do(self, label: str, method: str) -> None:
        getattr(self.child(label).proxy(), method).defer()
        self.clock.settle()

    def ended(self) -> bool:
        self.thread.join(WAIT)
        return not self.thread.is_alive()

    def close(self) -> None:
        self.book.release()
        if hasattr(self, "ref") and self.thread.is_alive():
            self.ref.stop(block=False)
            while self.thread.is_alive():
                self.clock.advance(1.0)
                self.thread.join(0.001)


def in_thread(work: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread
