"""What a stack writes to the log, and that a library leaves the configuration to the program."""

from __future__ import annotations

import gc
import logging
import socket
import subprocess
import sys
import time
import warnings
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from pykka.messages import ProxyCall

import packhorse
from packhorse.actors import supervisor
from packhorse.actors.usender import USender
from packhorse.testing import ManualClock, MemoryNetwork

if TYPE_CHECKING:
    from collections.abc import Callable

    from packhorse import Stack

    Start = Callable[..., Stack]

WAIT = 20.0
"""Seconds after which something that should have happened counts as lost."""

CRASH = ProxyCall(attr_path=("counters",), args=("too", "many"), kwargs={})

NODES = {"usender", "dsender", "resender", "confirmer", "dreceiver", "ureceiver", "sreceiver"}


class Log:
    """A structlog logger that keeps every event."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.logger = structlog.wrap_logger(
            structlog.testing.CapturingLogger(),
            processors=[self._keep],
            wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        )

    def _keep(self, _: Any, method: str, event: Any) -> Any:
        self.events.append({**event, "level": method})
        raise structlog.DropEvent

    def of(self, event: str) -> list[dict[str, Any]]:
        return [one for one in self.events if one["event"] == event]


def test_the_life_of_a_stack_is_told_with_stack_node_and_generation(start: Start) -> None:
    log = Log()
    stack = start(logger=log.logger)
    stack.close()
    (started,), (ended,) = log.of("stack:started"), log.of("stack:ended")
    assert started["address"] == ended["address"] == f"127.0.0.1:{stack.address[1]}"
    assert abs(started["unix"] - time.time()) < 600
    assert started["receive_buffer"] > 0
    assert started["stack"] == ended["stack"]
    for event in ("actor:started", "actor:stopped"):
        assert {one["node"] for one in log.of(event)} == NODES
        assert {one["generation"] for one in log.of(event)} == {0}
        assert {one["stack"] for one in log.of(event)} == {started["stack"]}
    assert {one["level"] for one in log.events} == {"info"}


def test_stacks_can_be_told_apart(start: Start) -> None:
    log = Log()
    start(logger=log.logger).close()
    start(logger=log.logger).close()
    assert len({one["stack"] for one in log.of("stack:started")}) == 2


def test_a_crash_and_the_restart_are_told(start: Start) -> None:
    log = Log()
    stack = start(logger=log.logger)
    ref = stack.sender.proxy.actor_ref
    ref.tell(CRASH)
    stack.sender.proxy.counters().get(timeout=WAIT)
    stack.close()
    (crashed,), (restarted,) = log.of("actor:crashed"), log.of("actor:restarted")
    assert (crashed["node"], crashed["generation"], crashed["level"]) == ("usender", 0, "error")
    assert isinstance(crashed["exc_info"], TypeError)
    assert (restarted["node"], restarted["generation"], restarted["level"]) == ("usender", 1, "warning")
    assert [one["generation"] for one in log.of("actor:started") if one["node"] == "usender"] == [0, 1]


def test_a_stack_that_gives_up_tells_why(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(supervisor, "FIRST_BACKOFF", 0.0)
    monkeypatch.setattr(USender, "on_start", broken)
    log = Log()
    stack = start(logger=log.logger)
    with pytest.raises(packhorse.StackFailed):
        stack.receiver.recv(WAIT)
    stack.close()
    (failed,) = log.of("stack:failed")
    assert failed["level"] == "error"
    assert isinstance(failed["exc_info"], ZeroDivisionError)


def test_a_failed_peer_and_each_resend_are_told() -> None:
    log = Log()
    clock = ManualClock()
    network = MemoryNetwork(clock)
    stack = packhorse.startup(clock=clock, transport=network.transport(("10.0.0.1", 1)), logger=log.logger)
    deaf = network.peer(("10.0.0.2", 2))
    stack.send(b"x", to=deaf.address)
    clock.advance(30)
    stack.close()
    (failed,) = log.of("peer:failed")
    assert (failed["node"], failed["target"], failed["trigger"]) == ("resender", deaf.address, "silent")
    assert failed["unconfirmed"] == 1
    resends = log.of("recovery:package_resent")
    assert resends
    assert {one["level"] for one in resends} == {"debug"}
    assert {one["target"] for one in resends} == {failed["target"]}


def test_dropped_datagrams_are_told_with_their_reason(start: Start) -> None:
    log = Log()
    stack = start(logger=log.logger)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(b"\xff\xff\xff\xff", stack.address)
    stack.send(b"x", to=("127.255.255.255", 9))
    stack.send(b"y", to=stack.address)
    stack.receiver.recv(WAIT)
    stack.close(timeout=0)
    dropped = {one["direction"]: one for one in reversed(log.of("transport:datagram_dropped"))}  # the first of each
    assert (dropped["in"]["node"], dropped["in"]["trigger"]) == ("dreceiver", "invalid")
    assert (dropped["out"]["node"], dropped["out"]["trigger"], dropped["out"]["level"]) == (
        "dsender",
        "EACCES",
        "warning",
    )


def test_a_stack_nobody_closed_is_told() -> None:
    log = Log()
    stack = packhorse.startup(host="127.0.0.1", logger=log.logger)
    ended, thread = stack._core.ended, stack.supervisor.proxy().thread.get()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        del stack
        gc.collect()
        ended.get(WAIT)
        thread.join(WAIT)
    (abandoned,) = log.of("stack:abandoned")
    assert abandoned["level"] == "warning"


def test_structlog_is_used_if_the_program_has_configured_it(start: Start) -> None:
    log = Log()
    assert not structlog.is_configured()
    structlog.configure(
        processors=[log._keep],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=False,
    )
    try:
        start().close()
    finally:
        structlog.reset_defaults()
    assert {one["node"] for one in log.of("actor:started")} == NODES


def test_else_the_standard_logger_named_packhorse_is_used(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="packhorse"):
        start().close()
    assert {record.name for record in caplog.records} == {"packhorse"}
    assert any("stack:started" in record.getMessage() for record in caplog.records)


def test_a_logger_of_the_standard_library_will_do(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="mine"):
        start(logger=logging.getLogger("mine")).close()
    assert {record.name for record in caplog.records} == {"mine"}
    with pytest.raises(TypeError, match="a logger is one of structlog's or of logging's, not a str"):
        start(logger="mine")


def test_a_stack_configures_nothing(start: Start) -> None:
    handlers = list(logging.getLogger().handlers)
    level = logging.getLogger("packhorse").level
    start().close()
    assert not structlog.is_configured()
    assert logging.getLogger().handlers == handlers
    assert logging.getLogger("packhorse").level == level


def test_a_program_that_configures_no_logging_sees_nothing() -> None:
    program = (
        "import packhorse\n"
        "from pykka.messages import ProxyCall\n"
        "stack = packhorse.startup(host='127.0.0.1')\n"
        "stack.sender.proxy.actor_ref.tell(ProxyCall(('counters',), ('too', 'many'), {}))\n"
        "stack.sender.proxy.counters().get(timeout=20)\n"
        "stack.close()\n"
    )
    ended = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=WAIT, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
