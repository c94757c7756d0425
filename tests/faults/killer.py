"""The random killer: one fault after the other in two stacks that never stop sending.

`python -m tests.faults.matrix --kills 10000 --seed 7`. After each fault something must get through in both directions,
so that the stacks stay within what escalation allows. The promises are those of the matrix, checked all the time.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from contextlib import suppress
from functools import partial

from packhorse import PackhorseError, Stack
from packhorse.actors import wiring
from packhorse.testing import Hold, Inventory, Trap, crash, crash_on, crash_on_start, hang

from .cells import Field, answered, stop

__all__ = ["kill"]

FAULTS = {"before": 25, "middle": 25, "after": 25, "now": 10, "on_start": 10, "stop": 10, "hang": 1}
"""What happens, and how often; a hang takes as long as fifty others."""
HANG_AFTER = 0.4


def kill(count: int, seed: int) -> int:
    """Run so many faults; return the exit status."""
    chance = random.Random(seed)
    inventory = Inventory()
    field = Field("poor", chance, random=chance.random, hang_after=HANG_AFTER)
    done: Counter[str] = Counter()
    began = time.monotonic()
    problem = None
    last = "nothing yet"
    try:
        for number in range(1, count + 1):
            fault, node = _choose(chance), chance.choice(wiring.NODES)
            stack = chance.choice((field.first, field.second))
            last = f"kill {number}: {fault} {node} of {'first' if stack is field.first else 'second'}"
            _kill(field, stack, node, fault, chance)
            done[fault] += 1
            for direction in field.directions:
                direction.compact()
            if number % 500 == 0:
                print(f"{number} kills after {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        field.settle("at the end")
        field.works()
        restarts = field.restarts()
    except Exception as error:  # noqa: BLE001 - told with the seed that repeats it
        problem = f"{type(error).__name__}: {error} (--seed {seed}, {last})"
        restarts = 0
        for name, stack in (("first", field.first), ("second", field.second)):
            with suppress(PackhorseError):
                print(f"{name}: {stack.stats()}")
    finally:
        field.pair.close()
    if problem is None and (left := inventory.left(within=5.0)):
        problem = f"left behind: {left}"
    faults = ", ".join(f"{name} {number}" for name, number in sorted(done.items()))
    delivered = sum(direction.delivered for direction in field.directions)
    print(
        f"{done.total()} kills in {time.monotonic() - began:.0f} s ({faults}), "
        f"{restarts} restarts of the first stack's nodes; {delivered} delivered, "
        f"{sum(len(direction.reported - direction.settled) for direction in field.directions)} only reported"
    )
    if problem:
        print(f"BROKEN {problem}")
    return 1 if problem else 0


def _choose(chance: random.Random) -> str:
    return chance.choices(list(FAULTS), list(FAULTS.values()))[0]


def _kill(field: Field, which: Stack, node: str, fault: str, chance: random.Random) -> None:
    nth = chance.randrange(1, 20)
    trap: Trap | None = None
    hold: Hold | None = None
    if fault == "now":
        trap = crash(which, node)
    elif fault == "on_start":
        trap = crash_on_start(which, node, times=chance.randrange(1, 3))
        crash(which, node)
    elif fault == "stop":
        stopped = stop(which, node)
        field.until(f"stop of {node}", lambda: answered(stopped))
    elif fault == "hang":
        trap = hold = hang(which, node, nth)
    else:
        trap = crash_on(which, node, nth, when=fault)
    if trap is not None:
        field.until(f"{fault} in {node}", partial(getattr, trap, "sprung"), count=chance.randrange(1, 20))
    goals = [direction.delivered + 5 for direction in field.directions]
    field.until(
        f"progress after {fault} in {node}",
        lambda: all(direction.delivered >= goal for direction, goal in zip(field.directions, goals, strict=True)),
        count=5,
    )
    if hold is not None:
        hold.release()
