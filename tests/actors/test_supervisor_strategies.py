"""Supervisor: who is restarted with whom, in which order, and what happens when that goes wrong too."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pykka
import pytest

from packhorse.actors import ChildSpec, DeathReason, Status, Supervisor
from packhorse.actors.keeper import ABANDON_AFTER

from .supervising import WAIT, Bug, House

if TYPE_CHECKING:
    from pykka import ActorRef

GROUPS = {
    ("one_for_one", "a"): "a",
    ("one_for_one", "b"): "b",
    ("one_for_one", "c"): "c",
    ("one_for_all", "a"): "abc",
    ("one_for_all", "b"): "abc",
    ("one_for_all", "c"): "abc",
    ("rest_for_one", "a"): "abc",
    ("rest_for_one", "b"): "bc",
    ("rest_for_one", "c"): "c",
}


@pytest.mark.parametrize(("case", "group"), GROUPS.items(), ids="-".join)
def test_each_strategy_restarts_its_group_in_order(house: House, case: tuple[str, str], group: str) -> None:
    strategy, crashed = case
    house.start("a", "b", "c", strategy=strategy)
    house.book.of()
    house.crash(crashed)
    others = [label for label in reversed(group) if label != crashed]
    assert house.book.of("stop", "start") == [f"stop {label}" for label in others] + [
        f"start {label}" for label in group
    ]
    assert {label: house.info(label).restarts for label in "abc"} == {label: int(label in group) for label in "abc"}


def test_a_group_is_stopped_one_after_the_other(house: House) -> None:
    house.start("a", "b", house.spec("c", shutdown=3.0), strategy="one_for_all")
    house.do("c", "hang")
    house.book.of()
    house.crash("a")
    assert house.book.of("stop", "start") == []  # b waits for c
    house.clock.advance(3.0 + ABANDON_AFTER)
    assert house.book.of("stop", "start") == ["stop b", "start a", "start b", "start c"]


def test_those_restarted_with_others_handle_each_message_once_and_in_order(house: House) -> None:
    house.start("a", "b", strategy="one_for_all")
    ref = house.child("b")
    for number in range(500):
        if number in {50, 250}:
            house.child("a").proxy().die.defer(Bug())
        ref.tell(number)
    house.clock.advance(1.0)
    assert ref.ask("last", timeout=WAIT) == "last"
    assert house.info("b").restarts == 2
    assert house.book.got == [*range(500), "last"]


def test_a_temporary_child_in_the_group_is_ended_and_not_started_again(house: House) -> None:
    house.start("a", house.spec("b", restart="temporary"), "c", strategy="one_for_all")
    ref = house.child("b")
    house.book.of()
    house.crash("a")
    assert house.book.of("stop", "start") == ["stop c", "stop b", "start a", "start c"]
    assert [info.id for info in house.proxy.which_children().get()] == ["a", "c"]
    assert not ref.is_alive()


def test_a_child_that_had_ended_is_started_with_its_group_as_otp_does(house: House) -> None:
    house.start("a", house.spec("b", restart="transient"), strategy="one_for_all")
    ref = house.child("b")
    ref.stop(timeout=WAIT)
    house.clock.settle()
    assert house.running() == ["a"]
    house.crash("a")
    assert house.running() == ["a", "b"]
    assert ref.ask("hello", timeout=WAIT) == "hello"


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_each_crash_counts_for_the_one_that_crashed_and_too_many_end_the_group(house: House, strategy: str) -> None:
    house.start("a", "b", strategy=strategy, intensity=1)
    house.crash("a")
    house.crash("b")
    assert house.running() == ["a", "b"]
    house.book.of()
    house.child("a").proxy().die.defer(Bug())
    assert house.ended()
    assert house.book.of("stop", "start") == ["stop b"]


# Another child fails while the group restarts.


@pytest.mark.parametrize("place", ["make", "start"])
def test_a_child_that_cannot_start_during_a_restart_takes_its_group_down_again(house: House, place: str) -> None:
    house.start("a", "b", "c", strategy="one_for_all")
    house.book.plan(place, "b", Bug("second"), Bug("third"))
    house.crash("a")
    house.clock.advance(1.0)
    assert house.running() == ["a", "b", "c"]
    assert house.info("b").restarts == 3
    assert house.info("c").restarts >= 1
    for label in "abc":
        assert house.child(label).ask(label, timeout=WAIT) == label


def test_a_child_that_never_starts_again_ends_the_supervisor(house: House) -> None:
    house.start("a", "b", strategy="one_for_all", intensity=2)
    house.book.plan("make", "b", *[Bug() for _ in range(10)])
    house.child("a").proxy().die.defer(Bug())
    house.clock.advance(5.0)
    assert house.ended()


def test_a_child_that_crashes_while_it_is_stopped_with_its_group_is_not_counted(house: House) -> None:
    house.start("a", "b", strategy="one_for_all", intensity=1)
    house.book.plan("stop", "b", Bug("in on_stop"))
    house.crash("a")
    assert house.running() == ["a", "b"]
    death = house.info("b").last_death
    assert death is not None
    assert death.reason is DeathReason.STOP
    house.crash("b")  # so this is its first
    assert house.running() == ["a", "b"]


def test_a_child_before_the_rest_that_crashes_while_the_rest_goes_down_takes_all_down(house: House) -> None:
    house.start("a", "b", house.spec("c", shutdown=5.0), strategy="rest_for_one")
    house.do("c", "hang")
    house.book.of()
    house.crash("b")
    house.crash("a")
    assert house.book.of("start") == []
    house.clock.advance(5.0 + ABANDON_AFTER)
    assert house.book.of("start") == ["start a", "start b", "start c"]
    assert house.running() == ["a", "b", "c"]


def test_a_restart_that_hangs_is_left_behind_and_tried_again(house: House) -> None:
    house.start("a", house.spec("b", hang_after=4.0), strategy="one_for_all")
    house.book.hangs.add(("start", "b"))
    house.crash("a")
    house.clock.advance(10.0)
    assert house.running() == ["a", "b"]
    death = house.info("b").last_death
    assert death is not None
    assert death.reason is DeathReason.HANG
    assert house.child("b").ask("hello", timeout=WAIT) == "hello"


def test_stopping_the_supervisor_while_a_group_restarts_ends_everything(house: House) -> None:
    house.start("a", house.spec("b", shutdown=5.0), strategy="one_for_all")
    house.do("b", "hang")
    house.crash("a")
    future = house.ref.stop(block=False)
    house.clock.advance(5.0 + 2 * ABANDON_AFTER + 5.0)
    assert future.get(timeout=WAIT) is True
    assert house.ended()


# Significant children.


def significant(house: House, *labels: str, restart: str = "transient") -> list[ChildSpec]:
    return [house.spec(label, restart=restart, significant=True) for label in labels]


def test_the_end_of_any_significant_child_ends_the_supervisor(house: House) -> None:
    house.start(*significant(house, "a", "b"), "c", auto_shutdown="any_significant")
    house.book.of()
    house.child("a").stop(timeout=WAIT)
    assert house.ended()
    assert house.book.of("stop") == ["stop a", "stop c", "stop b"]


def test_the_end_of_the_last_significant_child_ends_the_supervisor(house: House) -> None:
    house.start(*significant(house, "a", "b"), "c", auto_shutdown="all_significant")
    house.child("a").stop(timeout=WAIT)
    house.clock.settle()
    assert house.running() == ["b", "c"]
    house.child("b").stop(timeout=WAIT)
    assert house.ended()


def test_a_significant_transient_child_that_crashes_is_restarted(house: House) -> None:
    house.start(*significant(house, "a"), auto_shutdown="any_significant")
    house.crash("a")
    assert house.running() == ["a"]


def test_a_significant_temporary_child_that_crashes_ends_the_supervisor(house: House) -> None:
    house.start(*significant(house, "a", restart="temporary"), "b", auto_shutdown="any_significant")
    house.child("a").proxy().die.defer(Bug())
    assert house.ended()


def test_a_significant_child_that_its_supervisor_terminates_ends_nothing(house: House) -> None:
    house.start(*significant(house, "a"), "b", auto_shutdown="any_significant")
    house.proxy.terminate_child("a").get(timeout=WAIT).get(timeout=WAIT)
    house.clock.settle()
    assert house.running() == ["b"]


# Trees.


def tree(house: House, label: str, *children: Any, restart: str = "permanent", **options: Any) -> ChildSpec:
    make = partial(Supervisor, children, clock=house.clock, random=lambda: 0.5, **options)
    return ChildSpec(label, make, restart=restart, shutdown=None)


def leaf(inner: ActorRef[Any], label: str) -> ActorRef[Any]:
    ref: ActorRef[Any] = inner.proxy().child(label).get(timeout=WAIT)
    return ref


def crash(house: House, ref: ActorRef[Any]) -> None:
    ref.proxy().die.defer(Bug())
    house.clock.settle()


def test_a_tree_starts_from_the_top_and_stops_in_reverse_order(house: House) -> None:
    house.start("a", tree(house, "s", house.spec("b"), house.spec("c")), "d")
    assert sorted(house.book.of("start")) == ["start a", "start b", "start c", "start d"]
    house.ref.stop(timeout=WAIT)
    assert house.ended()
    assert house.book.of("stop") == ["stop d", "stop c", "stop b", "stop a"]
    assert pykka.ActorRegistry.get_all() == []


def test_a_crash_in_a_branch_stays_there(house: House) -> None:
    house.start("a", tree(house, "s", house.spec("b")), strategy="one_for_all")
    inner = house.child("s")
    crash(house, leaf(inner, "b"))
    assert leaf(inner, "b").ask("hello", timeout=WAIT) == "hello"
    assert house.info("s").restarts == 0
    assert house.info("a").restarts == 0


def test_a_branch_that_gives_up_is_restarted_with_new_children(house: House) -> None:
    house.start("a", tree(house, "s", house.spec("b"), house.spec("c"), intensity=0))
    inner = house.child("s")
    old = leaf(inner, "b")
    crash(house, old)
    assert house.running() == ["a", "s"]
    assert house.info("s").restarts == 1
    assert leaf(inner, "b").ask("hello", timeout=WAIT) == "hello"
    assert not old.is_alive()


def test_branches_that_give_up_again_and_again_end_the_whole_tree(house: House) -> None:
    house.start("a", tree(house, "s", house.spec("b"), intensity=0), intensity=1)
    inner = house.child("s")
    crash(house, leaf(inner, "b"))
    leaf(inner, "b").proxy().die.defer(Bug())
    assert house.ended()
    assert "stop a" in house.book.of("stop")


def test_a_branch_in_a_group_is_restarted_with_it_and_ends_its_children_first(house: House) -> None:
    house.start("a", tree(house, "s", house.spec("b"), house.spec("c")), strategy="one_for_all")
    house.book.of()
    house.crash("a")
    assert house.book.of("stop", "start") == ["stop c", "stop b", "start a", "start b", "start c"]
    assert house.running() == ["a", "s"]
    assert leaf(house.child("s"), "b").ask("hello", timeout=WAIT) == "hello"


def test_a_branch_that_shuts_down_by_itself_is_not_restarted_if_transient(house: House) -> None:
    branch = tree(house, "s", *significant(house, "b"), restart="transient", auto_shutdown="any_significant")
    house.start("a", branch)
    leaf(house.child("s"), "b").stop(timeout=WAIT)
    house.clock.settle()
    assert house.info("s").status is Status.ENDED
    assert house.running() == ["a"]


def test_a_branch_killed_by_a_bad_message_ends_its_children_and_is_restarted(house: House) -> None:
    house.start("a", tree(house, "s", house.spec("b")))
    inner = house.child("s")
    house.book.of()
    inner.proxy().child.defer("nobody")
    house.clock.settle()
    assert house.book.of("stop", "start") == ["stop b", "start b"]
    death = house.info("s").last_death
    assert death is not None
    assert isinstance(death.cause, ValueError)
    assert leaf(inner, "b").ask("hello", timeout=WAIT) == "hello"


def test_notices_for_an_older_incarnation_of_a_branch_mean_nothing_to_the_next(house: House) -> None:
    house.start(tree(house, "s", house.spec("b"), intensity=0))
    inner = house.child("s")
    for _ in range(3):
        crash(house, leaf(inner, "b"))
        house.clock.advance(1.0)
    assert house.info("s").restarts == 3
    assert leaf(inner, "b").ask("hello", timeout=WAIT) == "hello"


def test_stop_all_ends_a_deep_tree_in_order(house: House) -> None:
    deep = tree(house, "s3", house.spec("d"))
    for label in ("s2", "s1"):
        deep = tree(house, label, house.spec(f"w{label}"), deep)
    house.start("a", deep)
    assert pykka.ActorRegistry.stop_all(timeout=WAIT) == [True]
    assert house.ended()
    assert house.book.of("stop") == ["stop d", "stop ws2", "stop ws1", "stop a"]
