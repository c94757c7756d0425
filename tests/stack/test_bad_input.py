"""What users and networks do wrong: a clear error at the call that made it, or a counted drop; the stack goes on."""

from __future__ import annotations

import errno
import inspect
import socket
from typing import TYPE_CHECKING, Any

import pytest

import packhorse
from packhorse import (
    Closed,
    DecodeError,
    MessageDecoder,
    OutPackage,
    PackageError,
    Peers,
    Reliability,
    ResendPolicy,
)
from packhorse._stack import StackOptions
from packhorse.testing import UdpLink

if TYPE_CHECKING:
    from collections.abc import Callable

    from packhorse import Stack

    Start = Callable[..., Stack]

WAIT = 20.0
"""Seconds after which something that should have happened counts as lost."""

SOMEWHERE = ("127.0.0.1", 9)


def again_and_again(call: Callable[[], None]) -> None:
    while True:
        call()


def still_works(stack: Stack) -> bool:
    stack.send(b"still here", to=stack.address)
    return stack.receiver.recv(WAIT).data == b"still here"


@pytest.mark.parametrize(
    ("data", "says"), [(b"", "1 to 504 bytes of data, not 0"), (bytes(505), "1 to 504 bytes of data, not 505")]
)
def test_a_payload_of_a_wrong_size_is_refused_with_limit_and_size(start: Start, data: bytes, says: str) -> None:
    stack = start()
    with pytest.raises(PackageError, match=says) as caught:
        stack.send(data, to=SOMEWHERE)
    assert isinstance(caught.value, ValueError)
    assert still_works(stack)


@pytest.mark.parametrize("data", ["text", bytearray(b"x"), None, 5])
def test_a_payload_that_is_not_bytes_is_refused(start: Start, data: Any) -> None:
    stack = start()
    with pytest.raises(TypeError, match=type(data).__name__):
        stack.send(data, to=SOMEWHERE)
    assert still_works(stack)


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ("127.0.0.1:9", TypeError),
        (None, TypeError),
        (("127.0.0.1",), TypeError),
        (["127.0.0.1", 9], TypeError),
        ((9, "127.0.0.1"), TypeError),
        (("", 9), TypeError),
        (("127.0.0.1", "9"), PackageError),
        (("127.0.0.1", 0), PackageError),
        (("127.0.0.1", 65536), PackageError),
        (("0.0.0.0", 9), PackageError),  # noqa: S104 - that is the mistake
        (("224.0.0.1", 9), PackageError),
        (("255.255.255.255", 9), PackageError),
        (("::1", 9), PackageError),
        (("no-such-host.invalid", 9), PackageError),
    ],
    ids=str,
)
def test_a_target_that_is_none_is_refused_where_it_was_given(start: Start, target: Any, error: type[Exception]) -> None:
    stack = start()
    with pytest.raises(error):
        stack.send(b"x", to=target)
    assert still_works(stack)
    assert stack.counters()["dsender.restarts"] == 0


def test_what_is_no_package_is_refused(start: Start) -> None:
    stack = start()
    good = OutPackage(b"x", Reliability.UNORDERED, Peers.PLAYERS, stack.address)
    sender: Any = stack.sender
    for method, argument in (("send", b"x"), ("try_send", None), ("send_many", [good, "bad"])):
        with pytest.raises(TypeError, match="OutPackage"):
            getattr(sender, method)(argument)
    with pytest.raises(packhorse.Timeout):
        stack.receiver.recv(0)
    assert still_works(stack)


def test_a_message_that_is_too_large_is_refused_with_limit_and_size() -> None:
    with pytest.raises(ValueError, match="504"):
        OutPackage.encode("x" * 600, Reliability.UNORDERED, Peers.PLAYERS, SOMEWHERE)


def test_garbage_from_the_network_is_counted_and_dropped(start: Start) -> None:
    stack = start()
    garbage = [
        b"",
        b"\x20",
        b"\x20\x00\x00",
        b"\x60\x00\x00\x00x",
        b"\x83\x00\x00\x00",
        b"\xff" * 100,
        bytes(509),
        bytes(1400),
    ]
    no_introductions = [b"\x81\x00\x00\x00", b"\x81\x00\x00\x10" + bytes(8), b"\x81" + bytes(101)]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        for datagram in (*garbage, *no_introductions):
            stranger.sendto(datagram, stack.address)
    assert still_works(stack)
    counters = stack.counters()
    assert counters["dreceiver.dropped.invalid"] == len(garbage)
    assert counters["ureceiver.strange"] == len(no_introductions)
    assert [name for name, value in counters.items() if name.endswith(".restarts") and value] == []


def test_confirmations_of_what_was_never_sent_are_ignored(start: Start) -> None:
    stack = start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(bytes.fromhex("80000000 000001 ffffff 00"), stack.address)
        stranger.sendto(bytes.fromhex("80000000"), stack.address)
    assert still_works(stack)


def test_a_send_that_the_kernel_refuses_fails_alone(start: Start) -> None:
    """A broadcast address is refused with EACCES: the original's sender dies of it."""
    stack = start("127.0.0.1", resend=ResendPolicy(silence=0.05))
    stack.send(b"nobody may", to=("127.255.255.255", 9))
    assert still_works(stack)
    failure = stack.errors.recv(WAIT)
    assert (failure.target, failure.count) == (("127.255.255.255", 9), 1)
    refused = {name: value for name, value in stack.counters().items() if name.startswith("dsender.refused.")}
    assert set(refused) == {"dsender.refused.EACCES"}


def test_the_message_decoder_stops_after_one_error_that_names_the_offset(start: Start) -> None:
    stack = start()
    stack.sender.send(OutPackage.encode(1, Reliability.UNORDERED, Peers.PLAYERS, stack.address))
    package = stack.receiver.recv(WAIT)
    decoder = MessageDecoder(package.data + b"\xff\xff\xff", int)
    got: list[int] = []
    with pytest.raises(DecodeError) as caught:
        got.extend(decoder)
    assert caught.value.offset == len(package.data)
    assert list(decoder) == []


@pytest.mark.parametrize("most", [0, -1])
def test_asking_for_no_packages_is_refused(start: Start, most: int) -> None:
    with pytest.raises(ValueError, match=str(most)):
        start().receiver.recv_many(most)


def test_asking_for_half_a_package_is_refused(start: Start) -> None:
    most: Any = 1.5
    with pytest.raises(TypeError, match=r"an int, not 1\.5"):
        start().receiver.recv_many(most)


def test_a_node_that_does_not_exist_is_refused_by_name(start: Start) -> None:
    with pytest.raises(ValueError, match=r"'usnder'.*usender"):
        start().supervisor.proxy().node("usnder").get()


def test_subscribing_with_a_closed_receiver_is_refused(start: Start) -> None:
    stack = start()
    supervisor = stack.supervisor
    stack.receiver.close()
    with pytest.raises(Closed):
        stack.receiver.subscribe(supervisor)


def test_full_says_how_much_waits(start: Start) -> None:
    stack = start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.1", 0))
        package = OutPackage(b"x", Reliability.UNORDERED, Peers.PLAYERS, deaf.getsockname())
        with pytest.raises(packhorse.Full, match="1024 packages"):
            again_and_again(lambda: stack.sender.try_send(package))
        with pytest.raises(packhorse.Timeout, match=r"within 0\.01 seconds"):
            again_and_again(lambda: stack.sender.send(package, 0.01))
        assert still_works(stack)
        stack.close(timeout=0)


@pytest.mark.parametrize("what", ["an actor", packhorse.SupervisedActor, None])
def test_subscribing_what_is_no_ref_of_an_actor_is_refused(start: Start, what: Any) -> None:
    stack = start()
    with pytest.raises(TypeError, match="the ref of an actor"):
        stack.receiver.subscribe(what)
    assert still_works(stack)


def test_a_port_that_is_taken_is_said_with_what_would_be_right(start: Start) -> None:
    port = start().address[1]
    with pytest.raises(OSError, match=rf"127\.0\.0\.1:{port}: the port is in use .* or 0 for any") as caught:
        start(port=port)
    assert caught.value.errno == errno.EADDRINUSE


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_a_host_that_is_not_ours_is_said_by_name(start: Start, host: str) -> None:
    with pytest.raises(OSError, match=f"cannot listen on {host}:0: "):
        start(host)


def test_the_options_that_type_checkers_know_are_those_of_a_stack() -> None:
    parameters = inspect.signature(packhorse.StackSupervisor.__init__).parameters.values()
    expected = {one.name: one.annotation for one in parameters if one.kind is inspect.Parameter.KEYWORD_ONLY}
    assert {name: hint.__forward_arg__ for name, hint in StackOptions.__annotations__.items()} == expected


def test_a_name_is_looked_up_for_what_the_stack_is_bound_to(start: Start) -> None:
    with pytest.raises(PackageError, match=r"'no-such-host\.invalid' cannot be resolved to an IPv4 address: "):
        start().send(b"x", to=("no-such-host.invalid", 9))


@pytest.mark.parametrize("option", ["resend", "confirm", "controller", "clock", "random"])
def test_an_option_that_is_nothing_of_the_kind_is_refused_before_a_socket_is_opened(start: Start, option: str) -> None:
    with UdpLink(SOMEWHERE) as unused:
        port = unused.address[1]
    with pytest.raises(TypeError, match=f"^{option} "):
        start(port=port, **{option: 3})
    assert still_works(start(port=port))
