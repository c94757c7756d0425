"""What packhorse relies on that Pykka does not promise: if one of these fails, a new Pykka needs a look at actors/."""

from __future__ import annotations

import queue
import threading
from typing import Any

import pykka
import pytest
from pykka import ActorDeadError, ActorRegistry
from pykka._envelope import Envelope
from pykka.messages import ProxyCall, ProxyGetAttr, _ActorStop  # pyright: ignore[reportPrivateUsage]


class Watched(Envelope[Any]):
    """A tell whose message counts how often it is read."""

    __slots__ = ("_payload", "reads")

    def __init__(self, payload: Any) -> None:
        self.reply_to = None
        self._payload = payload
        self.reads = 0

    @property
    def message(self) -> Any:
        self.reads += 1
        return self._payload


class Protocolled:
    """An inbox that notes which of its methods Pykka calls, and whether the actor had ended by then."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.actor: pykka.Actor | None = None
        self._queue: queue.Queue[Envelope[Any]] = queue.Queue()

    def _note(self, what: str) -> None:
        ended = self.actor is not None and self.actor.actor_stopped.is_set()
        self.calls.append(f"{what} after the end" if ended else what)

    def put(self, envelope: Envelope[Any], /) -> None:
        self._queue.put(envelope)

    def get(self) -> Envelope[Any]:
        self._note("get")
        return self._queue.get()

    def empty(self) -> bool:
        self._note("empty")
        return self._queue.empty()


class Probe(pykka.ThreadingActor):
    """Raises what it is told to raise, and remembers everything else."""

    def __init__(self, inbox: Any = None) -> None:
        self._given_inbox = inbox
        super().__init__()
        self.seen: list[Any] = []
        self.failures: list[type[BaseException] | None] = []
        self.ended = threading.Event()
        _made.append(self)

    def _create_actor_inbox(self) -> Any:  # type: ignore[override] # Pykka's is static; it calls it on the instance
        return super()._create_actor_inbox() if self._given_inbox is None else self._given_inbox

    def _actor_loop(self) -> None:
        super()._actor_loop()
        self.ended.set()

    def on_receive(self, message: Any) -> Any:
        if isinstance(message, Exception):
            raise message
        self.seen.append(message)
        return message

    def on_failure(self, exception_type: Any, exception_value: Any, traceback: Any) -> None:
        del exception_value, traceback
        self.failures.append(exception_type)


_made: list[Probe] = []
"""Started actors may be gone before a ref could say which they were."""


def start(inbox: Any = None, kind: type[Probe] = Probe) -> Probe:
    kind.start(inbox)
    return _made.pop()


def test_the_inbox_is_made_by_the_instance_while_it_is_constructed() -> None:
    inbox = Protocolled()
    actor = start(inbox)
    assert actor.actor_inbox is inbox
    assert actor.actor_ref.actor_inbox is inbox
    actor.actor_ref.stop()
    assert actor.ended.wait(5)


def test_the_loop_takes_one_envelope_at_a_time_and_asks_for_empty_only_after_the_end() -> None:
    inbox = Protocolled()
    actor = start(inbox)
    inbox.actor = actor
    actor.actor_ref.tell(1)
    actor.actor_ref.ask(2)
    actor.actor_ref.stop()
    assert actor.ended.wait(5)
    assert inbox.calls == ["get", "get", "get", "empty after the end"]


def test_nothing_else_of_an_inbox_is_used() -> None:
    inbox = Protocolled()
    used: set[str] = set()

    class Spying:
        def __getattr__(self, name: str) -> Any:
            used.add(name)
            return getattr(inbox, name)

    actor = start(Spying())
    actor.actor_ref.ask(1)
    actor.actor_ref.proxy().seen.get()
    actor.actor_ref.stop()
    assert actor.ended.wait(5)
    introspection = {"_pykka_traversable", "pykka_traversable"}  # what a proxy asks of every attribute
    assert used - introspection == {"put", "get", "empty"}


def test_an_envelope_has_a_message_and_a_reply_to_and_nothing_else() -> None:
    envelope = Envelope("question", reply_to=None)
    assert (envelope.message, envelope.reply_to) == ("question", None)
    assert set(Envelope.__slots__) == {"message", "reply_to"}
    assert Envelope("tell").reply_to is None


def test_the_message_of_an_envelope_is_read_once_when_the_actor_begins_to_handle_it() -> None:
    actor = start()
    watched = Watched("hello")
    actor.actor_inbox.put(watched)
    actor.actor_ref.ask("behind it")
    assert watched.reads == 1
    assert actor.seen[0] == "hello"
    actor.actor_ref.stop()
    assert actor.ended.wait(5)


def test_the_message_of_a_tell_is_not_read_in_teardown() -> None:
    actor = start()
    entered, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        entered.set()
        assert go_on.wait(5)

    actor.hold = hold  # type: ignore[attr-defined] # found by the proxy call below
    actor.actor_ref.tell(ProxyCall(attr_path=("hold",), args=(), kwargs={}))
    assert entered.wait(5)
    actor.actor_ref.tell(RuntimeError("dies here"))
    watched = Watched("too late")
    actor.actor_inbox.put(watched)
    go_on.set()
    assert actor.ended.wait(5)
    assert watched.reads == 0
    assert actor.failures == [RuntimeError]


def test_a_raising_tell_kills_and_a_raising_ask_does_not() -> None:
    actor = start()
    with pytest.raises(ZeroDivisionError):
        actor.actor_ref.ask(ZeroDivisionError())
    assert actor.actor_ref.is_alive()
    assert actor.failures == []
    actor.actor_ref.tell(ZeroDivisionError())
    assert actor.ended.wait(5)
    assert not actor.actor_ref.is_alive()
    assert actor.failures == [ZeroDivisionError]


def test_a_dead_actor_is_not_alive_before_its_inbox_is_emptied() -> None:
    """A put that is followed by a look at `is_alive` is either answered in teardown or known to be too late."""
    inbox = Protocolled()
    actor = start(inbox)
    inbox.actor = actor
    actor.actor_ref.tell(RuntimeError())
    assert actor.ended.wait(5)
    assert inbox.calls[-1] == "empty after the end"


def test_asks_left_in_the_inbox_are_answered_and_stops_count_as_done() -> None:
    inbox = Protocolled()
    ask: pykka.Future[Any] = pykka.ThreadingFuture()
    stop: pykka.Future[Any] = pykka.ThreadingFuture()
    inbox.put(Envelope(_ActorStop()))
    inbox.put(Envelope("question", reply_to=ask))
    inbox.put(Envelope(_ActorStop(), reply_to=stop))
    actor = start(inbox)
    assert actor.ended.wait(5)
    with pytest.raises(ActorDeadError):
        ask.get(timeout=5)
    assert stop.get(timeout=5) is None


def test_a_dead_ref_refuses_tells_asks_and_proxies() -> None:
    actor = start()
    ref = actor.actor_ref
    assert ref.stop() is True
    assert actor.ended.wait(5)
    for use in (lambda: ref.tell(1), lambda: ref.ask(1), ref.proxy):
        with pytest.raises(ActorDeadError):
            use()
    assert ref.stop() is False


def test_refs_and_proxies_find_the_actor_by_what_a_stable_ref_replaces() -> None:
    """`actor_inbox`, `actor_stopped`, `actor_urn`, `actor_class` and `_actor_weakref` are all there is to a ref."""
    actor = start()
    ref = actor.actor_ref
    assert set(vars(ref)) == {"actor_inbox", "actor_stopped", "actor_urn", "actor_class", "_actor_weakref"}
    asked: list[None] = []

    def weakref() -> Probe:
        asked.append(None)
        return actor

    ref._actor_weakref = weakref  # type: ignore[assignment] # called like a weakref
    assert ref.proxy().seen.get() == []
    assert asked
    ref.stop()
    assert actor.ended.wait(5)


def test_a_stop_is_a_message_behind_the_others_and_its_reply_is_the_future_of_an_ask() -> None:
    inbox = Protocolled()
    actor = start(inbox)
    actor.actor_ref.tell("before")
    assert actor.actor_ref.stop() is True
    assert actor.ended.wait(5)
    assert actor.seen == ["before"]


def test_reading_an_attribute_by_ask_does_not_touch_on_receive() -> None:
    actor = start()
    assert actor.actor_ref.ask(ProxyGetAttr(attr_path=("actor_urn",))) == actor.actor_urn
    assert actor.seen == []
    actor.actor_ref.stop()
    assert actor.ended.wait(5)


def test_an_on_start_that_raises_ends_the_actor_without_on_failure() -> None:
    class Stillborn(Probe):
        def on_start(self) -> None:
            raise RuntimeError

    actor = start(kind=Stillborn)
    assert actor.ended.wait(5)
    assert not actor.actor_ref.is_alive()
    assert actor.failures == []


def test_starting_registers_the_actor_and_unregistering_twice_is_harmless() -> None:
    actor = start()
    assert actor.actor_ref in ActorRegistry.get_all()
    ActorRegistry.unregister(actor.actor_ref)
    ActorRegistry.unregister(actor.actor_ref)
    assert actor.actor_ref not in ActorRegistry.get_all()
    actor.actor_ref.stop()
    assert actor.ended.wait(5)


def test_stop_all_stops_the_last_started_actor_first() -> None:
    order: list[Probe] = []

    class Noted(Probe):
        def on_stop(self) -> None:
            order.append(self)

    first, second = start(kind=Noted), start(kind=Noted)
    ActorRegistry.stop_all()
    assert first.ended.wait(5)
    assert second.ended.wait(5)
    assert order == [second, first]
