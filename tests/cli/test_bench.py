"""`packhorse bench`: both ends as processes, and the parts that need none."""

from __future__ import annotations

import re
import signal
import socket
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

import packhorse
from packhorse import Closed, OutPackage, Peers, Reliability
from packhorse.cli import benching
from packhorse.cli.app import app
from packhorse.cli.benching import Figures
from packhorse.cli.counting import Begin, End, Ready, Result, Server

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

Commands = Any

PATIENCE = 30.0
LITTLE = ("--packages", "50", "--trips", "5", "--seconds", "60s")


def invoke(*arguments: str) -> tuple[int, str, str]:
    """Run a command that ends by itself in this process."""
    result = CliRunner().invoke(app, ["bench", *arguments], env={"COLUMNS": "200"})
    return result.exit_code, result.stdout, result.stderr


def row(table: str, title: str) -> list[str]:
    """Return the cells of a row of the table."""
    lines = [[cell.strip() for cell in line.strip("│").split("│")] for line in table.splitlines()]
    (cells,) = [line[1:] for line in lines if line[0] == title]
    return cells


def test_bench_measures_every_reliability_against_a_server(run: Commands) -> None:
    server = run("bench", "--serve", "--host", "127.0.0.1", "--port", "0")
    address = server.address
    client = run("bench", address, "--size", "100", *LITTLE)
    assert client.status() == 0, client.errors
    table = client.output().decode()
    assert f"packages of 100 bytes to {address}" in table
    assert re.search("unreliable ┃ +unordered ┃ +semi-ordered", table)
    assert row(table, "packages sent") == ["50"] * 3
    assert row(table, "lost")[1:] == ["0.00%"] * 2
    assert row(table, "round trips") == ["5"] * 3
    assert row(table, "round trips lost") == ["0"] * 3
    assert all(cell.endswith(" ms") for title in ("p50", "p99") for cell in row(table, title))
    server.signal(signal.SIGINT)
    assert server.status() == 0
    assert "interrupted; 6 runs of 1 clients" in server.errors


def test_one_reliability_is_measured_for_so_many_seconds(run: Commands) -> None:
    server = run("bench", "--serve", "--host", "127.0.0.1", "--port", "0")
    client = run("bench", server.address, "--reliability", "unordered", "--seconds", "20ms", "--trips", "1")
    assert client.status() == 0, client.errors
    table = client.output().decode()
    assert "unordered" in table
    assert "unreliable" not in table
    (sent,) = row(table, "packages sent")
    assert int(sent.replace(",", "")) > 0
    assert row(table, "lost") == ["0.00%"]


def test_bench_says_that_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benching, "NOBODY", 0.01)
    monkeypatch.setattr(benching, "LOOK", 0.01)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        status, _, errors = invoke(f"127.0.0.1:{silent.getsockname()[1]}")
    assert status == 1
    assert "nobody answers at 127.0.0.1:" in errors
    assert "Is `packhorse bench --serve --port" in errors


def test_bench_says_that_somebody_else_listens_who_answers(run: Commands) -> None:
    address = run("echo", "--host", "127.0.0.1", "--port", "0").address
    status, _, errors = invoke(address)
    assert status == 1
    assert f"what listens on {address} is not `packhorse bench --serve`" in errors


def test_bench_says_that_somebody_else_listens_who_only_confirms(monkeypatch: pytest.MonkeyPatch) -> None:
    look = benching._Client._look

    def patient_until_confirmed(client: benching._Client) -> None:
        look(client)
        if client._stack.counters().get("sreceiver.datagrams"):
            monkeypatch.setattr(benching, "NOBODY", 0.0)

    monkeypatch.setattr(benching._Client, "_look", patient_until_confirmed)
    monkeypatch.setattr(benching, "LOOK", 0.01)
    with packhorse.startup(host="127.0.0.1") as other:
        status, _, errors = invoke(f"127.0.0.1:{other.address[1]}")
    assert status == 1
    assert "is not `packhorse bench --serve`" in errors


def test_bench_ends_on_ctrl_c(run: Commands) -> None:
    server = run("bench", "--serve", "--host", "127.0.0.1", "--port", "0")
    client = run("bench", server.address, "--seconds", "3600")
    server.hear("a bench from")
    client.signal(signal.SIGINT)
    assert client.status() == 130
    assert "interrupted before everything was measured" in client.errors
    assert "Traceback" not in client.errors


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "give either HOST:PORT or --serve"),
        (("127.0.0.1:9", "--serve"), "give either HOST:PORT or --serve"),
        (("127.0.0.1:9", "--port", "1"), "these are for --serve"),
        (("127.0.0.1",), "is not HOST:PORT"),
        (("127.0.0.1:9", "--size", "7"), "--size"),
        (("127.0.0.1:9", "--size", "505"), "--size"),
        (("127.0.0.1:9", "--seconds", "soon"), "is not a time"),
        (("127.0.0.1:9", "--reliability", "certain"), "--reliability"),
    ],
)
def test_a_mistake_is_named(arguments: Sequence[str], complaint: str) -> None:
    status, _, errors = invoke(*arguments)
    assert status == 2
    assert complaint in errors


def test_a_port_that_is_taken_is_said() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = str(taken.getsockname()[1])
        status, _, errors = invoke("--serve", "--host", "127.0.0.1", "--port", port)
    assert status == 1
    assert "the port is in use" in errors


@contextmanager
def serving() -> Generator[packhorse.Address]:
    """Run a server in this process."""
    with packhorse.startup(host="127.0.0.1") as stack:
        server = Server(stack)

        def work() -> None:
            with suppress(Closed):
                server.run()

        thread = threading.Thread(target=work)
        thread.start()
        yield stack.address
        stack.close(0)
        thread.join()


class Client:
    """Speaks to a server word by word."""

    def __init__(self, stack: packhorse.Stack, server: packhorse.Address) -> None:
        self._stack = stack
        self._server = server

    def say(self, message: Begin | End | str) -> None:
        word = OutPackage.encode(message, Reliability.SEMI_ORDERED, Peers.SERVER, self._server)
        self._stack.sender.send(word)

    def send(self, data: bytes) -> None:
        self._stack.send(data, to=self._server)

    def hear(self) -> Ready | Result:
        received = self._stack.receiver.recv(PATIENCE)
        assert received.peers is Peers.SERVER
        message: Ready | Result = next(received.decode(Ready | Result))
        return message

    def data(self) -> bytes:
        received = self._stack.receiver.recv(PATIENCE)
        assert received.peers is Peers.PLAYERS
        return received.data


@pytest.fixture
def client() -> Generator[Client]:
    with serving() as server, packhorse.startup(host="127.0.0.1") as stack:
        yield Client(stack, server)


def test_a_server_counts_what_comes_between_begin_and_end(client: Client) -> None:
    client.send(b"before")
    client.say("who is there?")
    client.say(Begin(echo=False))
    assert client.hear() == Ready()
    for data in (b"a", b"bc", b"def"):
        client.send(data)
    client.say(End())
    result = client.hear()
    assert isinstance(result, Result)
    assert (result.packages, result.size, result.known) == (3, 6, True)
    assert 1 <= result.first <= 3
    assert 0 <= result.seconds < PATIENCE


def test_a_server_sends_back_what_comes_after_an_echoing_begin(client: Client) -> None:
    client.say(Begin(echo=True))
    assert client.hear() == Ready()
    client.send(b"there and back")
    assert client.data() == b"there and back"


def test_a_server_says_that_it_knows_no_run(client: Client) -> None:
    client.say(End())
    assert client.hear() == Result(0, 0, 0, 0.0, known=False)


def test_figures_of_a_run_are_rates_of_arrival() -> None:
    figures = Figures(
        Reliability.UNRELIABLE, sent=20, arrived=11, size=1100, first=1, seconds=2.0, trips=[0.002, 0.001], lost=1
    )
    rows = figures.rows()
    assert rows["lost"] == "45.00%"
    assert rows["packages a second"] == "5"
    assert rows["Mbit a second"] == "0.0"
    assert (rows["p50"], rows["p99"]) == ("1.000 ms", "2.000 ms")
    assert rows["round trips lost"] == "1"


def test_figures_of_nothing_are_dashes() -> None:
    rows = Figures(Reliability.UNRELIABLE, sent=5).rows()
    assert (rows["lost"], rows["packages a second"], rows["p50"]) == ("100.00%", "-", "-")
