"""One cell of the fault matrix: a fault in one node, in one situation, over one link; and what must be true afterwards.

The rules:

- two stacks on real sockets send each other packages all the time, unordered and semi-ordered; the fault is in the
  first;
- afterwards each package that `try_send` took was delivered, and that once and in the promised order, or was reported;
- afterwards both stacks work: a package each way is delivered and confirmed. If the fault came during the shutdown both
  end instead;
- nothing is left: no thread, descriptor or registry entry;
- everything random in a cell comes from its name and the seed.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from typing import Any, Final

import pykka

from packhorse import Closed, Full, InPackage, OutPackage, PeerFailed, Peers, Reliability, Stack, Timeout
from packhorse.actors import wiring
from packhorse.testing import (
    Hold,
    Inventory,
    Link,
    StackPair,
    crash,
    crash_on,
    crash_on_start,
    hang,
    pause,
)

__all__ = ["CELLS", "FAULTS", "LINKS", "SITUATIONS", "WAIT", "Cell", "Field", "Outcome", "answered", "run", "stop"]

FAULTS: Final = ("before", "middle", "after", "on_start", "stop", "hang")
SITUATIONS: Final = ("idle", "load", "shutdown", "restart")
LOSS: Final = {"clean": 0.0, "poor": 0.05, "lossy": 0.2}
LINKS: Final = ("clean", "lossy")

WAIT: Final = 25.0
"""Seconds after which what should have happened counts as lost; a silent peer is reported after 20."""
HANG_AFTER: Final = 0.4
CLOSE_WITHIN: Final = 3.0


@dataclass(frozen=True)
class Cell:
    """One combination."""

    node: str
    fault: str
    situation: str
    link: str

    def __str__(self) -> str:
        return f"{self.node}/{self.fault}/{self.situation}/{self.link}"


CELLS: Final = [Cell(*what) for what in product(wiring.NODES, FAULTS, SITUATIONS, LINKS)]


@dataclass
class Outcome:
    """What became of a cell.

    Attributes:
        problem: what is wrong, or None.
        restarts: of all nodes together.
        struck: the fault did happen.
        reported: packages that were reported, as far as they are not counted as delivered too.
    """

    cell: Cell
    problem: str | None = None
    struck: bool = False
    restarts: int = 0
    delivered: int = 0
    reported: int = 0
    seconds: float = 0.0


class BrokenPromiseError(AssertionError):
    """A promise was not kept."""


@dataclass
class Direction:
    """The packages from one stack to the other, and what became of them.

    Attributes:
        accepted: how many were taken; they are numbered from 0.
        settled: the numbers of those that were delivered, as far as they must still be known.
        reported: the numbers of those that were reported.
        open: how many were neither delivered nor reported yet.
        first_open: all before this one were delivered or reported.
    """

    name: bytes
    sender: Stack
    receiver: Stack
    target: Any
    accepted: int = 0
    settled: set[int] = field(default_factory=set[int])
    reported: set[int] = field(default_factory=set[int])
    open: int = 0
    first_open: int = 0
    delivered: int = 0

    def send(self, count: int) -> None:
        """Send as many as are taken."""
        with suppress(Full):
            for _ in range(count):
                reliability = Reliability.UNORDERED if self.accepted % 3 == 1 else Reliability.SEMI_ORDERED
                data = b"%s%d" % (self.name, self.accepted)
                self.sender.sender.try_send(OutPackage(data, reliability, Peers.PLAYERS, self.target))
                self.accepted += 1
                self.open += 1

    def take(self, packages: list[InPackage], failures: list[PeerFailed]) -> None:
        """Note what has come, and hold it against the promises."""
        for failure in failures:
            for given_up in failure.unconfirmed:
                number = self._number(given_up.data)
                if not self._known(number):
                    self.open -= 1
                self.reported.add(number)
        for package in packages:
            number = self._number(package.data)
            if number in self.settled or (number < self.first_open and number not in self.reported):
                raise BrokenPromiseError(f"{self.name!r}: package {number} was delivered twice")
            if package.reliability is Reliability.SEMI_ORDERED:
                self._advance()
                if number > self.first_open:
                    raise BrokenPromiseError(f"{self.name!r}: package {number} came before {self.first_open}")
            if not self._known(number):
                self.open -= 1
            self.settled.add(number)
            self.delivered += 1

    def compact(self) -> None:
        """Forget what need not be known any more."""
        self._advance()
        self.settled = {number for number in self.settled if number >= self.first_open or number in self.reported}

    def missing(self) -> list[int]:
        """Return the numbers of those that were neither delivered nor reported."""
        return [number for number in range(self.first_open, self.accepted) if not self._known(number)]

    def _advance(self) -> None:
        while self.first_open in self.settled or self.first_open in self.reported:
            self.first_open += 1

    def _known(self, number: int) -> bool:
        return number < self.first_open or number in self.settled or number in self.reported

    def _number(self, data: bytes) -> int:
        if not data.startswith(self.name):
            raise BrokenPromiseError(f"{self.name!r}: {data!r} is not of this direction")
        return int(data.removeprefix(self.name))


class Field:
    """Two stacks with traffic in both directions."""

    def __init__(self, link: str, random_numbers: random.Random, **options: Any) -> None:
        loss = LOSS[link]
        there, back = (Link(loss=loss, seed=random_numbers.getrandbits(32)) for _ in range(2))
        self.pair = StackPair(there, back, **options)
        self.first, self.second = self.pair.first, self.pair.second
        self.out = Direction(b"out", self.first, self.second, self.pair.second_address)
        self.back = Direction(b"back", self.second, self.first, self.pair.first_address)
        self.directions = (self.out, self.back)
        self.struck = False

    def exchange(self, count: int) -> None:
        """Send some packages each way and take what comes."""
        for direction in self.directions:
            direction.send(count)
        self.take(0.002)

    def take(self, timeout: float = 0.0) -> None:
        """Take what has come, and wait a little if nothing has."""
        waiting = timeout
        for direction in self.directions:
            # Failures are read after packages: a package may only come early because of a failure that came before it.
            packages: list[InPackage] = []
            with suppress(Timeout, Closed):
                packages = direction.receiver.receiver.recv_many(4096, waiting)
                waiting = 0.0
            direction.take(packages, direction.sender.errors.drain())

    def settle(self, what: str) -> None:
        """Wait until every package was delivered or reported."""
        deadline = time.monotonic() + WAIT
        while any(direction.open for direction in self.directions):
            self.take(0.01)
            if time.monotonic() > deadline:
                missing = {
                    direction.name.decode(): direction.missing()[:10] for direction in self.directions if direction.open
                }
                raise BrokenPromiseError(f"{what}: neither delivered nor reported: {missing}")

    def works(self) -> None:
        """Both stacks deliver and confirm."""
        self.exchange(5)
        self.settle("afterwards")
        flushed = [
            threading.Thread(target=self._flush, args=(stack,), daemon=True) for stack in (self.first, self.second)
        ]
        for thread in flushed:
            thread.start()
        deadline = time.monotonic() + WAIT
        for thread in flushed:
            while thread.is_alive():
                self.take()
                thread.join(0.01)
                if time.monotonic() > deadline:
                    raise BrokenPromiseError("afterwards: a flush is not answered")

    def until(self, what: str, reached: Callable[[], bool], count: int = 10) -> None:
        """Keep the traffic going until something is reached."""
        deadline = time.monotonic() + WAIT
        while not reached():
            self.exchange(count)
            if time.monotonic() > deadline:
                raise BrokenPromiseError(f"{what} never came")

    def restarts(self) -> int:
        return sum(value for name, value in self.first.counters().items() if name.endswith(".restarts"))

    @staticmethod
    def _flush(stack: Stack) -> None:
        with suppress(Timeout, Closed):
            stack.sender.flush(WAIT)


def run(cell: Cell, seed: int) -> Outcome:
    """Run one cell."""
    random_numbers = random.Random(f"{seed} {cell}")
    outcome = Outcome(cell)
    began = time.monotonic()
    inventory = Inventory()
    holds: list[Hold] = []
    try:
        # Busy machines starve threads; only where a node is to hang may a slow one count as hung.
        options: dict[str, Any] = {"hang_after": HANG_AFTER} if cell.fault == "hang" else {}
        field = Field(cell.link, random_numbers, random=random_numbers.random, **options)
        try:
            SITUATION[cell.situation](field, cell, random_numbers, holds)
            if cell.situation != "shutdown":
                outcome.restarts = field.restarts()
        finally:
            for hold in holds:
                hold.release()
            field.pair.close()
        outcome.struck = field.struck
        outcome.delivered = sum(direction.delivered for direction in field.directions)
        outcome.reported = sum(len(direction.reported - direction.settled) for direction in field.directions)
        _check_left(inventory)
    except Exception as error:  # noqa: BLE001 - the table shows what went wrong
        outcome.problem = f"{type(error).__name__}: {error}"
    outcome.seconds = time.monotonic() - began
    return outcome


def _check_left(inventory: Inventory) -> None:
    left = inventory.left(within=5.0)
    if left:
        raise BrokenPromiseError(f"left behind: {left}")


def _fault(field: Field, cell: Cell, nth: int, holds: list[Hold]) -> Callable[[], bool]:
    """Set the fault; return what tells whether it has struck."""
    stack, node = field.first, cell.node
    if cell.fault in {"before", "middle", "after"}:
        return partial(getattr, crash_on(stack, node, nth, when=cell.fault), "sprung")
    if cell.fault == "on_start":
        trap = crash_on_start(stack, node)
        crash(stack, node)
        return partial(getattr, trap, "sprung")
    if cell.fault == "stop":
        stopped = stop(stack, node)
        return lambda: answered(stopped)
    hold = hang(stack, node) if nth == 1 else hang(stack, node, nth)
    holds.append(hold)
    return partial(getattr, hold, "sprung")


def stop(stack: Stack, node: str) -> pykka.Future[Any]:
    """Stop a node from outside."""
    stopped: pykka.Future[Any] = stack.supervisor.proxy().node(node).get(timeout=WAIT).actor_ref.stop(block=False)
    return stopped


def answered(future: pykka.Future[Any]) -> bool:
    """Tell whether a future has a result."""
    try:
        future.get(timeout=0)
    except pykka.Timeout:
        return False
    return True


def _idle(field: Field, cell: Cell, random_numbers: random.Random, holds: list[Hold]) -> None:
    """All nodes sleep; the fault strikes over what wakes them."""
    del random_numbers
    field.exchange(20)
    field.settle("before the fault")
    field.works()
    struck = _fault(field, cell, 1, holds)
    field.until("the fault", struck, count=1)
    field.struck = True
    field.works()


def _load(field: Field, cell: Cell, random_numbers: random.Random, holds: list[Hold]) -> None:
    """All nodes are at work, and stay so."""
    field.until("traffic", lambda: field.out.delivered >= 100)
    struck = _fault(field, cell, random_numbers.randrange(2, 60), holds)
    field.until("the fault", struck)
    field.struck = True
    after = field.out.delivered + field.out.open + 100
    field.until("traffic after the fault", lambda: field.out.delivered >= after or bool(field.out.reported))
    field.settle("under load")
    field.works()


def _restart(field: Field, cell: Cell, random_numbers: random.Random, holds: list[Hold]) -> None:
    """Another node crashes again and again meanwhile, and is being restarted."""
    others = [name for name in wiring.NODES if name != cell.node]
    other = random_numbers.choice(others)
    field.until("traffic", lambda: field.out.delivered >= 50)
    crashing = crash_on_start(field.first, other, times=4)
    crash(field.first, other)
    field.until("the other node's restart", lambda: crashing.sprung)
    struck = _fault(field, cell, 1, holds)
    field.until("the fault", struck)
    field.struck = True
    field.settle("during another restart")
    field.works()


def _shutdown(field: Field, cell: Cell, random_numbers: random.Random, holds: list[Hold]) -> None:
    """The first stack closes while its node has something to do; it ends all the same."""
    del random_numbers
    field.until("traffic", lambda: field.out.delivered >= 50)
    paused = pause(field.first, cell.node)
    holds.append(paused)
    if not paused.wait(WAIT):
        raise BrokenPromiseError("the node did not pause")
    field.exchange(30)
    waiting: Any = field.first._core.nodes[cell.node].actor_inbox
    field.until("something to do", lambda: cell.node == "dreceiver" or len(waiting) > 0, count=30)
    left: list[PeerFailed] = []

    def close() -> None:
        left.extend(field.first.close(CLOSE_WITHIN))

    closing = threading.Thread(target=close, daemon=True)
    closing.start()
    deadline = time.monotonic() + WAIT
    while not field.first._core.errors.closed and time.monotonic() < deadline:
        field.take(0.001)  # until the shutdown has begun
    struck = _fault(field, cell, 1, holds)
    paused.release()
    arrived: list[InPackage] = []  # only `close` tells what was reported, so they are held against that at the end
    while closing.is_alive():
        with suppress(Timeout):
            arrived += field.second.receiver.recv_many(4096, 0.01)
        if time.monotonic() > deadline:
            raise BrokenPromiseError("the shutdown does not end")
    arrived += field.second.receiver.drain()
    field.struck = struck()
    field.out.take(arrived, left)
    if field.out.open:
        raise BrokenPromiseError(f"at the end neither delivered nor reported: {field.out.missing()[:10]}")
    field.back.take([], field.second.close(0.0))  # whoever receives no more is not sent to: the user's choice


SITUATION: Final[dict[str, Callable[[Field, Cell, random.Random, list[Hold]], None]]] = {
    "idle": _idle,
    "load": _load,
    "shutdown": _shutdown,
    "restart": _restart,
}
