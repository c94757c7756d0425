"""The parts of the command line that need no process."""

from __future__ import annotations

import hashlib
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

import packhorse
from packhorse import Closed, InPackage, Reliability
from packhorse.cli import demo, receiving
from packhorse.cli.pinging import RoundTrips
from packhorse.cli.run import open_towards, package, parse_address, parse_probability, parse_seconds
from packhorse.cli.transfer import CHUNK, Accepted, Alive, Begin, Chunk, End, Incoming, Result, percentile
from packhorse.protocol.address import host_port
from packhorse.testing import Link

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from packhorse import Address

PATIENCE = 30.0
BUSY = Result(verified=False, reason="the receiver is busy with another sender")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("10.0.0.7:8082", ("10.0.0.7", 8082)),
        ("example.org:1", ("example.org", 1)),
        ("[::1]:65535", ("::1", 65535)),
        ("[fe80::1%2]:8082", ("fe80::1%2", 8082)),
    ],
)
def test_an_address_is_split(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", ":", "host", "host:", ":8082", "::1:8082", "[::1]", "[]:1", "[host]x:1"])
def test_what_is_no_address_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match=r"\[::1\]:8082|1 to 65535"):
        parse_address(text)


@pytest.mark.parametrize("text", ["host:0", "host:65536", "host:-1", "host:x", "host:１"])  # noqa: RUF001 - that digit
def test_what_is_no_port_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="from 1 to 65535"):
        parse_address(text)


@pytest.mark.parametrize("address", [("10.0.0.7", 8082), ("::1", 8082, 0, 0)])
def test_addresses_are_shown_as_they_are_given(address: Address) -> None:
    assert parse_address(host_port(address)) == address[:2]


@pytest.mark.parametrize(("target", "bound"), [(("127.0.0.1", 1), "0.0.0.0"), (("::1", 1, 0, 0), "::")])  # noqa: S104 - what is expected
def test_a_stack_is_opened_in_the_family_of_its_target(target: Address, bound: str) -> None:
    with open_towards(target) as stack:
        assert stack.address[0] == bound


def test_probabilities_are_percent_or_fractions() -> None:
    assert parse_probability("20%") == parse_probability("0.2") == 0.2
    assert (parse_probability("0"), parse_probability("100%")) == (0.0, 1.0)


@pytest.mark.parametrize("text", ["20", "-1%", "101%", "nan", "", "%", "much"])
def test_what_is_no_probability_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a probability, such as 20% or 0"):
        parse_probability(text)


def test_times_are_seconds_or_milliseconds() -> None:
    assert parse_seconds("20ms") == parse_seconds("0.02") == parse_seconds("0.02s") == 0.02


@pytest.mark.parametrize("text", ["-1", "inf", "nan", "", "ms", "soon"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time, such as 20ms or"):
        parse_seconds(text)


def test_percentiles_are_the_nearest_rank() -> None:
    values = [float(number) for number in range(1, 11)]
    assert (percentile(values, 50), percentile(values, 99), percentile(values, 0)) == (5.0, 10.0, 1.0)
    assert percentile([7.0], 50) == 7.0
    with pytest.raises(ValueError, match="nothing"):
        percentile([], 50)


def test_round_trips_are_summed_up_as_ping_does() -> None:
    trips = RoundTrips()
    numbers = [trips.send(float(second)) for second in range(4)]
    assert numbers == [1, 2, 3, 4]
    assert trips.receive(1, 0.010) == pytest.approx(0.010)
    assert trips.receive(2, 1.030) == pytest.approx(0.030)
    assert trips.receive(2, 1.040) is None
    assert trips.summary() == (
        "4 packages sent, 2 received, +1 duplicates, 50% lost\n"
        "round trip min/avg/max/mdev = 10.000/20.000/30.000/10.000 ms"
    )


def test_no_ping_at_all_has_a_summary_too() -> None:
    assert RoundTrips().summary() == "0 packages sent, 0 received, 0% lost"


def end(*parts: bytes) -> End:
    whole = b"".join(parts)
    return End(len(parts), len(whole), hashlib.sha256(whole).digest())


def test_a_file_that_came_whole_and_in_order_has_no_problem() -> None:
    file = Incoming()
    assert [file.take(Chunk(0, b"one", sent=5.0), 5.5), file.take(Chunk(1, b"two"), 6.0)] == [b"one", b"two"]
    assert file.problem(end(b"one", b"two")) == ""
    assert list(file.latencies) == [0.5]
    assert file.sha256 == hashlib.sha256(b"onetwo").hexdigest()


@pytest.mark.parametrize(
    ("indexes", "problem"),
    [
        ((0, 1, 1), "1 packages came twice"),
        ((0, 2, 1), "1 out of order"),
        ((0,), "came of 6 bytes in 2 packages"),
    ],
)
def test_a_file_that_came_in_any_other_way_has_one(indexes: tuple[int, ...], problem: str) -> None:
    file = Incoming()
    for index in indexes:
        file.take(Chunk(index, b"abc"), 0.0)
    assert problem in file.problem(end(b"abc", b"abc"))


def test_a_file_of_other_content_has_one() -> None:
    file = Incoming()
    file.take(Chunk(0, b"abd"), 0.0)
    assert "SHA-256" in file.problem(end(b"abc"))


@pytest.mark.parametrize(
    ("sent", "received", "facts", "matches"),
    [
        (b"x", b"x", {}, True),
        (b"x", b"y", {}, False),
        (b"x", None, {}, False),
        (b"x", b"x", {"chunks": 4}, False),
        (b"x", b"x", {"repeated": 1}, False),
        (b"x", b"x", {"misplaced": 1}, False),
    ],
)
def test_the_demo_fails_if_anything_does_not_match(
    tmp_path: Path, sent: bytes, received: bytes | None, facts: dict[str, int], *, matches: bool
) -> None:
    (tmp_path / "sent").write_bytes(sent)
    if received is not None:
        (tmp_path / "received").write_bytes(received)
    run = demo.Run(tmp_path / "sent", tmp_path / "received", loss=0.0, delay=0.0, seed=0)
    good = {"chunks": 5, "repeated": 0, "misplaced": 0, "sha256": hashlib.sha256(b"x").hexdigest()}
    run.facts = {"send": {"packages": 7, "resent": 0}, "receive": good | facts}
    assert demo.show(run) is matches


def test_the_demo_s_links_have_different_luck_each_way(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    run = demo.Run(tmp_path / "file", tmp_path / "received", loss=0.5, delay=0.0, seed=1)

    def luck(link: Link) -> list[int]:
        return [len(link.carry(1, 0.0)) for _ in range(100)]

    assert luck(run.there) != luck(run.back)


class Output:
    """Keeps what a receiver writes."""

    def __init__(self) -> None:
        self.data = b""
        self.kept = threading.Event()

    def write(self, data: bytes) -> None:
        self.data += data

    def keep(self) -> None:
        self.kept.set()

    def discard(self) -> None:
        pass


class Silent:
    """Shows nobody how a transfer goes on."""

    def listening(self, address: packhorse.Address) -> None:
        pass

    def started(self, name: str, size: int | None) -> None:
        pass

    def moved(self, size: int) -> None:
        pass

    def done(self, **facts: Any) -> None:
        pass


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[packhorse.Address, Output]]:
    monkeypatch.setattr(receiving, "LINGER", 3600.0)
    with receiver_on(0) as address_and_output:
        yield address_and_output


@contextmanager
def receiver_on(port: int) -> Generator[tuple[packhorse.Address, Output]]:
    """Run a receiver and stop it, wherever it is."""
    output = Output()
    with packhorse.startup(port, "127.0.0.1") as stack:
        one = receiving.Receiver(stack, output, Silent())

        def run() -> None:
            with suppress(Closed):
                one.run()

        thread = threading.Thread(target=run)
        thread.start()
        yield stack.address, output
        stack.close(0)
        thread.join()


def answer(stack: packhorse.Stack) -> Accepted | Result:
    received: InPackage = stack.receiver.recv(PATIENCE)
    message: Accepted | Result = next(received.decode(Accepted | Result))
    return message


def test_a_receiver_answers_the_beginning_and_the_end(receiver: tuple[packhorse.Address, Output]) -> None:
    address, output = receiver
    with packhorse.startup(host="127.0.0.1") as sender:
        sender.sender.send(package(Begin("file", None), address))
        assert answer(sender) == Accepted()
        sender.sender.send(package(Chunk(0, b"abc"), address))
        sender.sender.send(package(end(b"abc"), address))
        assert answer(sender) == Result(verified=True)
    assert output.kept.is_set()
    assert output.data == b"abc"


def test_one_sender_at_a_time_and_none_while_it_lingers(receiver: tuple[packhorse.Address, Output]) -> None:
    address, _ = receiver
    with packhorse.startup(host="127.0.0.1") as first, packhorse.startup(host="127.0.0.1") as second:
        first.sender.send(package(Begin("file", None), address))
        assert answer(first) == Accepted()
        second.sender.send(package(Begin("other", None), address))
        assert answer(second) == BUSY
        first.sender.send(package(end(), address))
        assert answer(first) == Result(verified=True)
        second.sender.send(package(Begin("other", None), address))
        assert answer(second) == BUSY


def test_a_receiver_that_was_started_anew_says_that_it_knows_nothing() -> None:
    with packhorse.startup(host="127.0.0.1") as sender:
        with receiver_on(0) as (address, _):
            sender.sender.send(package(Begin("file", None), address))
            assert answer(sender) == Accepted()
        with receiver_on(address[1]):
            sender.sender.send(package(Alive(), address, Reliability.UNORDERED))
            assert isinstance(sender.errors.recv(PATIENCE), packhorse.PeerRestarted)
            sender.sender.send(package(Alive(), address, Reliability.UNORDERED))
            result = answer(sender)
    assert isinstance(result, Result)
    assert not result.verified
    assert "started anew" in result.reason


def test_what_is_no_message_of_a_transfer_is_ignored(receiver: tuple[packhorse.Address, Output]) -> None:
    address, _ = receiver
    with packhorse.startup(host="127.0.0.1") as sender:
        sender.send(b"\xff\xff garbage", to=address)
        sender.sender.send(package(Begin("file", 0), address))
        assert answer(sender) == Accepted()


def test_whole_chunks_fit_into_packages() -> None:
    largest = Chunk(2**40, bytes(CHUNK), 1e9)
    assert len(package(largest, ("127.0.0.1", 1)).data) <= packhorse.MAX_PAYLOAD
