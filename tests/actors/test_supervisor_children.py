"""Supervisor: children that come and go, shutdown times, what it says about them, and specs that make no sense."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pykka
import pytest

from packhorse.actors import Backoff, ChildCount, ChildSpec, DeathReason, Status, SupervisedActor, Supervisor
from packhorse.actors.keeper import ABANDON_AFTER

from .supervising import WAIT, Bug, House, Worker

if TYPE_CHECKING:
    from collections.abc import Callable


def terminate(house: House, label: str) -> None:
    house.proxy.terminate_child(label).get(timeout=WAIT).get(timeout=WAIT)


# Coming and going.


def test_a_child_can_be_added_and_is_the_last_in_order(house: House) -> None:
    house.start("a")
    ref = house.proxy.add_child(house.spec("b")).get(timeout=WAIT)
    assert ref.ask("hello", timeout=WAIT) == "hello"
    assert ref is house.child("b")
    house.crash("b")
    assert house.running() == ["a", "b"]
    house.ref.stop(timeout=WAIT)
    assert house.ended()
    assert house.book.of("stop") == ["stop b", "stop a"]


def test_a_child_whose_constructor_raises_is_not_added(house: House) -> None:
    house.start("a")
    house.book.plan("make", "b", Bug("in the constructor"))
    with pytest.raises(Bug, match="in the constructor"):
        house.proxy.add_child(house.spec("b")).get(timeout=WAIT)
    assert [info.id for info in house.proxy.which_children().get()] == ["a"]
    house.proxy.add_child(house.spec("b")).get(timeout=WAIT)
    assert house.running() == ["a", "b"]


@pytest.mark.parametrize("ended", [False, True])
def test_an_id_is_taken_as_long_as_its_spec_is_there(house: House, *, ended: bool) -> None:
    house.start("a")
    if ended:
        terminate(house, "a")
    with pytest.raises(ValueError, match="'a' already, and it is " + ("ended" if ended else "running")):
        house.proxy.add_child(house.spec("a")).get(timeout=WAIT)


def test_a_terminated_child_stays_down_and_can_be_restarted_with_the_same_ref(house: House) -> None:
    house.start("a", "b")
    ref = house.child("a")
    terminate(house, "a")
    house.clock.advance(60.0)
    assert house.info("a").status is Status.ENDED
    with pytest.raises(pykka.ActorDeadError):
        ref.ask("anyone?", timeout=WAIT)
    assert house.proxy.restart_child("a").get(timeout=WAIT) is ref
    assert ref.ask("hello", timeout=WAIT) == "hello"
    house.crash("a")
    assert ref.ask("still there", timeout=WAIT) == "still there"


def test_a_child_handles_what_was_there_before_it_is_terminated(house: House) -> None:
    house.start("a")
    ref = house.child("a")
    for number in range(100):
        ref.tell(number)
    terminate(house, "a")
    assert house.book.got == list(range(100))


def test_a_temporary_child_that_is_terminated_is_gone(house: House) -> None:
    house.start(house.spec("a", restart="temporary"))
    terminate(house, "a")
    with pytest.raises(ValueError, match="no child 'a'; the children are: none"):
        house.proxy.restart_child("a").get(timeout=WAIT)


def test_a_child_can_be_terminated_while_it_waits_for_its_restart(house: House) -> None:
    house.start("a")
    house.crash("a")
    house.crash("a")
    assert house.info("a").status is Status.RESTARTING
    terminate(house, "a")
    house.clock.advance(5.0)
    assert house.info("a").status is Status.ENDED


def test_terminating_twice_waits_for_the_same_end(house: House) -> None:
    house.start(house.spec("a", shutdown=2.0))
    house.do("a", "hang")
    futures = [house.proxy.terminate_child("a").get(timeout=WAIT) for _ in range(2)]
    house.clock.advance(2.0 + ABANDON_AFTER)
    for future in futures:
        future.get(timeout=WAIT)
    terminate(house, "a")


def test_running_children_can_neither_be_restarted_nor_deleted(house: House) -> None:
    house.start("a")
    for call in (house.proxy.restart_child, house.proxy.delete_child):
        with pytest.raises(ValueError, match="'a' is running"):
            call("a").get(timeout=WAIT)


def test_a_deleted_child_is_unknown(house: House) -> None:
    house.start("a", "b")
    terminate(house, "a")
    house.proxy.delete_child("a").get(timeout=WAIT)
    assert [info.id for info in house.proxy.which_children().get()] == ["b"]
    for call in (house.proxy.child, house.proxy.terminate_child, house.proxy.restart_child, house.proxy.delete_child):
        with pytest.raises(ValueError, match="there is no child 'a'; the children are: b"):
            call("a").get(timeout=WAIT)


def test_a_restart_whose_constructor_raises_leaves_the_child_ended(house: House) -> None:
    house.start("a")
    terminate(house, "a")
    house.book.plan("make", "a", Bug())
    with pytest.raises(Bug):
        house.proxy.restart_child("a").get(timeout=WAIT)
    assert house.info("a").status is Status.ENDED
    house.proxy.restart_child("a").get(timeout=WAIT)
    assert house.child("a").ask("hello", timeout=WAIT) == "hello"


def test_an_ending_supervisor_starts_nothing_more(house: House) -> None:
    house.start(house.spec("a", shutdown=5.0))
    house.do("a", "hang")
    house.ref.stop(block=False)
    house.clock.settle()
    with pytest.raises(ValueError, match="ending"):
        house.proxy.add_child(house.spec("b")).get(timeout=WAIT)


def test_children_are_counted_as_by_otp(house: House) -> None:
    inner = ChildSpec("s", partial(Supervisor, clock=house.clock), shutdown=None)
    house.start("a", "b", inner)
    terminate(house, "b")
    assert house.proxy.count_children().get(timeout=WAIT) == ChildCount(specs=3, active=2, supervisors=1, workers=2)


# Shutdown times.


def test_a_child_gets_its_shutdown_time_and_is_then_left_behind(house: House) -> None:
    house.start("a", house.spec("b", shutdown=3.0))
    house.do("b", "hang")
    future = house.ref.stop(block=False)
    house.clock.advance(2.9)
    assert house.thread.is_alive()
    house.clock.advance(0.1 + ABANDON_AFTER)
    assert future.get(timeout=WAIT) is True
    assert house.ended()
    assert house.book.of("stop") == ["stop a"]


def test_a_child_that_is_left_behind_is_told_apart(house: House) -> None:
    house.start(house.spec("a", shutdown=1.0))
    house.do("a", "hang")
    house.proxy.terminate_child("a").get(timeout=WAIT)
    house.clock.advance(1.0 + ABANDON_AFTER)
    death = house.info("a").last_death
    assert death is not None
    assert death.reason is DeathReason.SHUTDOWN


def test_whoever_asked_a_child_that_is_left_behind_is_answered(house: House) -> None:
    house.start(house.spec("a", shutdown=1.0))
    future = house.child("a").proxy().hang()
    house.clock.settle()
    house.proxy.terminate_child("a").get(timeout=WAIT)
    house.clock.advance(1.0 + ABANDON_AFTER)
    with pytest.raises(pykka.ActorDeadError):
        future.get(timeout=WAIT)


def test_a_shutdown_time_of_none_waits_as_long_as_it_takes(house: House) -> None:
    house.start(house.spec("a", shutdown=None))
    house.do("a", "hang")
    house.ref.stop(block=False)
    house.clock.advance(3600.0)
    assert house.thread.is_alive()
    house.book.release()
    assert house.ended()


def test_a_shutdown_time_of_zero_leaves_what_waits_unhandled(house: House) -> None:
    house.start(house.spec("a", shutdown=0))
    ref = house.child("a")
    entered, go_on = threading.Event(), threading.Event()

    class Slow(Worker):
        def on_receive(self, message: Any) -> Any:
            entered.set()
            assert go_on.wait(WAIT)
            return super().on_receive(message)

    ref = house.proxy.add_child(ChildSpec("slow", partial(Slow, house.book, "slow"), shutdown=0)).get(timeout=WAIT)
    for number in range(10):
        ref.tell(number)
    assert entered.wait(WAIT)
    future = house.proxy.terminate_child("slow").get(timeout=WAIT)
    go_on.set()
    future.get(timeout=WAIT)
    assert house.book.got == [0]


def test_one_that_was_left_behind_changes_nothing_when_it_wakes_up(house: House) -> None:
    house.start(house.spec("a", shutdown=1.0, hang_after=4.0))
    ref = house.child("a")
    house.do("a", "hang")
    house.clock.advance(10.0)
    assert ref.ask(1, timeout=WAIT) == 1
    house.book.release()
    house.clock.settle()
    assert house.info("a").restarts == 1
    assert house.running() == ["a"]
    assert ref.ask(2, timeout=WAIT) == 2
    assert house.book.got == [1, 2]
    house.clock.advance(60.0)


# The supervisor's own death.


@pytest.mark.parametrize("error", [ValueError, SystemExit], ids=["exception", "SystemExit"])
def test_a_supervisor_that_is_killed_ends_its_children_in_order(house: House, error: type[BaseException]) -> None:
    class Fragile(Supervisor):
        def break_down(self) -> None:
            raise error("a test")

    refs: list[pykka.ActorRef[Any]] = []
    house.start()
    outer = ChildSpec(
        "s",
        partial(Fragile, [house.spec("a"), house.spec("b")], clock=house.clock),
        restart="temporary",
        shutdown=None,
    )
    inner = house.proxy.add_child(outer).get(timeout=WAIT)
    refs = [inner.proxy().child(label).get(timeout=WAIT) for label in "ab"]
    inner.proxy().break_down.defer()
    house.clock.settle()
    assert house.book.of("stop") == ["stop b", "stop a"]
    assert not any(ref.is_alive() for ref in (inner, *refs))


def test_a_supervisor_whose_end_fails_too_still_leaves_no_children(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.start("a", "b")
    refs = [house.child(label) for label in "ab"]
    house.do("b", "hang")
    house.proxy.child.defer("nobody")
    house.proxy.child.defer("nobody")
    assert house.ended()
    assert not any(ref.is_alive() for ref in refs)


def test_whoever_waits_for_a_stop_of_the_supervisor_is_answered_when_all_have_ended(house: House) -> None:
    house.start("a", "b")
    futures = [house.ref.stop(block=False) for _ in range(3)]
    assert [future.get(timeout=WAIT) for future in futures] == [True] * 3
    assert sorted(house.book.of("stop")) == ["stop a", "stop b"]
    assert house.ended()
    assert house.ref.stop() is False


# A supervised actor without a supervisor.


def test_without_a_supervisor_it_is_an_actor_like_any_other() -> None:
    class Plain(SupervisedActor):
        def on_receive(self, message: Any) -> Any:
            return message

        def die(self) -> None:
            raise Bug

    ref = Plain.start()
    thread = ref.proxy().thread.get(timeout=WAIT)
    assert pykka.ActorRegistry.get_all() == [ref]
    assert ref.ask("hello", timeout=WAIT) == "hello"
    assert ref.proxy().stable_ref.get(timeout=WAIT) == ref
    ref.proxy().die.defer()
    thread.join(WAIT)
    assert not ref.is_alive()
    assert pykka.ActorRegistry.get_all() == []
    ref = Plain.start()
    thread = ref.proxy().thread.get(timeout=WAIT)
    assert ref.stop(timeout=WAIT) is True
    thread.join(WAIT)


def test_an_actor_that_was_started_already_cannot_be_supervised(house: House) -> None:
    actor = SupervisedActor()
    house.start("a")
    started = SupervisedActor.start()
    thread = started.proxy().thread.get(timeout=WAIT)
    running = started._actor_weakref()
    assert running is not None
    with pytest.raises(TypeError, match="was started or supervised before"):
        house.proxy.add_child(ChildSpec("b", lambda: running)).get(timeout=WAIT)
    house.proxy.add_child(ChildSpec("c", lambda: actor, restart="temporary")).get(timeout=WAIT)
    started.stop()
    thread.join(WAIT)


# What makes no sense.


def _never() -> SupervisedActor:
    raise AssertionError


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"id": 5}, TypeError, "id of a child is a str"),
        ({"id": ""}, ValueError, "must not be empty"),
        ({"factory": None}, TypeError, "must be callable"),
        ({"factory": pykka.ThreadingActor}, TypeError, "ThreadingActor is no subclass of SupervisedActor"),
        ({"factory": SupervisedActor()}, TypeError, "is an actor; give its class"),
        ({"restart": "always"}, ValueError, "one of permanent, transient, temporary, not 'always'"),
        ({"shutdown": -1}, ValueError, "at least 0 seconds"),
        ({"shutdown": float("inf")}, ValueError, "finite"),
        ({"shutdown": float("nan")}, ValueError, "finite"),
        ({"shutdown": "brutal_kill"}, TypeError, "a number of seconds"),
        ({"shutdown": True}, TypeError, "a number of seconds"),
        ({"significant": 1}, TypeError, "True or False"),
        ({"significant": True}, ValueError, "is permanent, so its end cannot be significant"),
        ({"hang_after": 0}, ValueError, "more than 0"),
        ({"hang_after": "5"}, TypeError, "a number of seconds"),
    ],
    ids=str,
)
def test_a_spec_that_makes_no_sense_is_refused(options: dict[str, Any], error: type[Exception], says: str) -> None:
    arguments: dict[str, Any] = {"id": "a", "factory": _never, **options}
    with pytest.raises(error, match=says):
        ChildSpec(**arguments)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "says"),
    [
        ([5], {}, TypeError, "a child is described by a ChildSpec, not by 5"),
        ([ChildSpec("a", _never), ChildSpec("a", _never)], {}, ValueError, "there is a child 'a' already"),
        (
            [ChildSpec("a", _never, restart="transient", significant=True)],
            {},
            ValueError,
            "auto_shutdown is never",
        ),
        ([], {"strategy": "all_for_one"}, ValueError, "one_for_one, one_for_all, rest_for_one, not 'all_for_one'"),
        ([], {"auto_shutdown": True}, ValueError, "never, any_significant, all_significant"),
        ([], {"intensity": -1}, ValueError, "at least 0"),
        ([], {"intensity": 1.5}, TypeError, "number of restarts"),
        ([], {"intensity": True}, TypeError, "number of restarts"),
        ([], {"period": 0}, ValueError, "more than 0"),
        ([], {"period": None}, TypeError, "number of seconds"),
    ],
)
def test_a_supervisor_that_makes_no_sense_is_refused_where_it_is_started(
    arguments: list[Any], options: dict[str, Any], error: type[Exception], says: str
) -> None:
    start: Callable[..., Any] = Supervisor.start
    with pytest.raises(error, match=says):
        start(arguments, **options)
    assert pykka.ActorRegistry.get_all() == []


@pytest.mark.parametrize("times", [(-1.0, 1.0), (2.0, 1.0), (0.0, float("inf"))])
def test_a_backoff_that_makes_no_sense_is_refused(times: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=r"seconds|shorter"):
        Backoff(*times)


def test_a_backoff_never_grows_beyond_its_longest_wait() -> None:
    backoff = Backoff(0.01, 0.25)
    assert [backoff.wait(0, 0.5), backoff.wait(1, 0.5)] == [0.0, 0.01]
    assert backoff.wait(5000, 0.5) == 0.25
    assert 0.125 <= backoff.wait(5000, 0.0) < backoff.wait(5000, 1.0) <= 0.375
