"""A target's backlog: kept in runs, it is the queue of single packages that it stands for."""

from __future__ import annotations

from math import inf
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from packhorse import OutPackage, Peers, Reliability
from packhorse.protocol.header import HEADER_SIZE
from packhorse.protocol.runs import MAX_RUN
from packhorse.protocol.target import NOTHING, Target

A = ("10.0.0.1", 1)


def _package(size: int, eager: int = 1) -> OutPackage:
    return OutPackage(bytes(size), Reliability.UNORDERED, Peers.PLAYERS, A, eager=eager)


def _fitting(queue: list[tuple[OutPackage, float]], most: int, target: Target) -> list[OutPackage]:
    """Say it package by package."""
    run: list[OutPackage] = []
    left = target.budget - target.total
    for package, _ in queue[: max(0, min(most, target.limit - target.next))]:
        left -= HEADER_SIZE + len(package.data)
        if left < 0 or (run and (package.eager > 1 or run[0].eager > 1)):
            break
        run.append(package)
    return run


SIZES = st.integers(1, 30)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("run"), st.lists(SIZES, min_size=1, max_size=9)),
        st.tuples(st.just("mortal"), SIZES, st.integers(1, 9)),
        st.tuples(st.just("eager"), SIZES),
        st.tuples(st.just("drain"), st.integers(1, 12), st.integers(-1, 12), st.integers(0, 100)),
        st.tuples(st.just("expire"), st.integers(0, 9)),
        st.tuples(st.just("give up")),
    ),
    max_size=25,
)


@given(STEPS)
def test_what_waits_leaves_in_the_order_it_came_as_far_as_there_is_room(steps: list[Any]) -> None:
    target = Target(1, next=0, limit=0)
    queue: list[tuple[OutPackage, float]] = []
    left = 0
    for step in steps:
        match step:
            case ("run", sizes):
                run = [_package(size) for size in sizes]
                queue += [(package, inf) for package in run]
                target.queue(run)
            case ("mortal", size, expires):
                queue.append((_package(size), expires))
                target.queue([queue[-1][0]], expires)
            case ("eager", size):
                queue.append((_package(size, eager=2), inf))
                target.queue([queue[-1][0]])
            case ("drain", most, limit, budget):
                target.limit, target.budget = target.next + limit, target.total + budget
                fitting = target.fitting(most)
                assert fitting == _fitting(queue, most, target)
                assert len(fitting) <= target.room([package for package, _ in queue])
                target.leave(len(fitting))
                del queue[: len(fitting)]
                left += len(fitting)
            case ("expire", now):
                assert target.expire(now) == [package for package, expires in queue if expires <= now]
                left += sum(expires <= now for _, expires in queue)
                queue = [item for item in queue if item[1] > now]
            case _:
                assert target.give_up() == [package for package, _ in queue]
                left += len(queue)
                queue.clear()
        assert (target.waits, target.left) == (len(queue), left)
        assert [package for run, _, _ in target.backlog for package in run] == [package for package, _ in queue]
        assert target.soonest() == min((expires for _, expires in queue), default=inf)
        assert bool(target.backlog) is bool(queue)
    assert not NOTHING


def test_runs_that_come_one_after_the_other_are_kept_as_few() -> None:
    target = Target(1, next=0, limit=0)
    for _ in range(MAX_RUN + 1):
        target.queue([_package(1)])
    assert [len(run) for run, _, _ in target.backlog] == [MAX_RUN, 1]


def test_the_bytes_of_every_run_count() -> None:
    target = Target(1, next=0, limit=9)
    target.queue([_package(1)], 1.0)
    target.queue([_package(2), _package(3)])
    target.budget = target.total + 3 * HEADER_SIZE + 5
    assert [len(package.data) for package in target.fitting(9)] == [1, 2]
