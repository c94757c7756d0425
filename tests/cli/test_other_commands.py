"""`packhorse ping`, `echo` and `demo` as processes, and what needs none: help, mistakes, the drawing."""

from __future__ import annotations

import hashlib
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from packhorse.actors.wiring import mermaid
from packhorse.cli.app import app
from packhorse.cli.demo import sources

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Commands = Any


def invoke(*arguments: str) -> tuple[int, str, str]:
    """Run a command that ends by itself in this process."""
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize("mode", ["unreliable", "semi-ordered"])
def test_ping_shows_round_trips_with_echo_and_sums_them_up(run: Commands, mode: str) -> None:
    echo = run("echo", "--host", "127.0.0.1", "--port", "0")
    address = echo.address
    ping = run("ping", address, "--count", "3", "--interval", "10ms", "--reliability", mode)
    assert ping.status() == 0
    shown = ping.output().decode()
    assert shown.startswith(f"PING {address} with {mode} packages\n")
    for number in (1, 2, 3):
        assert f"from {address}: seq={number} time=" in shown
    assert "3 packages sent, 3 received, 0% lost" in shown
    assert "min/avg/max/mdev" in shown
    echo.signal(signal.SIGINT)
    assert echo.status() == 0
    assert "interrupted; sent back 3 packages of 1 peers" in echo.errors


def test_ping_without_an_echo_ends_on_ctrl_c_with_a_summary(run: Commands) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        silent.settimeout(30)
        ping = run("ping", f"127.0.0.1:{silent.getsockname()[1]}", "--interval", "3600")
        silent.recv(1000)
        ping.signal(signal.SIGINT)
        assert ping.status() == 1
    assert "1 packages sent, 0 received, 100% lost" in ping.output().decode()
    assert "no reply. Is `packhorse echo --port" in ping.errors


def test_link_stands_in_front_of_any_udp_program(run: Commands) -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as program,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        program.bind(("127.0.0.1", 0))
        program.settimeout(30)
        client.settimeout(30)
        link = run("link", "--to", f"127.0.0.1:{program.getsockname()[1]}", "--delay", "1ms", "--duplicate", "100%")
        host, port = link.address.rsplit(":", 1)
        client.sendto(b"there", (host, int(port)))
        assert [program.recv(100), program.recv(100)] == [b"there", b"there"]
        _, relayed = client.sendto(b"once more", (host, int(port))), program.recvfrom(100)[1]
        program.sendto(b"back", relayed)
        assert client.recv(100) == b"back"
        link.signal(signal.SIGTERM)
        assert link.status() == 0
    assert "there: 2 passed, 0 lost, 2 doubled; back: 1 passed, 0 lost, 1 doubled" in link.errors


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--loss", "120%"], "--loss"),
        (["--delay", "soon"], "--delay"),
        (["--to", "nowhere"], "--to"),
        (["--burst-length", "0.5"], "--burst-length"),
    ],
)
def test_link_says_which_option_is_wrong(options: list[str], complaint: str) -> None:
    status, _, errors = invoke("link", "--to", "127.0.0.1:1", *options)
    assert status == 2
    assert complaint in errors


def test_echo_ends_on_sigterm_as_it_should(run: Commands) -> None:
    echo = run("echo", "--host", "127.0.0.1", "--port", "0")
    assert echo.address
    echo.signal(signal.SIGTERM)
    assert echo.status() == 0
    assert "terminated; sent back 0 packages" in echo.errors


def test_the_demo_shows_that_everything_arrived_once_in_order_and_equal(run: Commands, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(range(256)) * 100)
    demo = run("demo", "--file", str(file), "--loss", "20%", "--delay", "2ms", "--seed", "3")
    assert demo.status() == 0
    table = demo.output().decode()
    assert "yes, 54 of 54 parts of the file" in table
    assert "yes, 0 out of order" in table
    assert table.count(hashlib.sha256(file.read_bytes()).hexdigest()) == 2
    assert "latency p50 / p99" in table
    assert "datagrams lost on the way │ 0 " not in table


def test_the_demo_ends_on_ctrl_c_and_leaves_no_file(run: Commands, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    demo = run("demo", "--loss", "0.3")
    demo.hear("over a bad link")
    demo.signal(signal.SIGINT)
    assert demo.status() == 130
    assert "interrupted" in demo.errors
    assert "Traceback" not in demo.errors
    assert not list(tmp_path.iterdir())


def test_the_demo_sends_the_installed_sources_in_one_order() -> None:
    once = b"".join(sources())
    assert once == b"".join(sources())
    assert b"class StackSupervisor" in once
    assert b"class Redelivery" in once


def test_the_diagram_is_the_wiring() -> None:
    assert invoke("diagram") == (0, mermaid(), "")


def test_the_version_is_printed() -> None:
    status, shown, _ = invoke("--version")
    assert status == 0
    assert shown.startswith("packhorse ")


@pytest.mark.parametrize(
    "command", ["demo", "receive", "send", "ping", "echo", "bench", "link", "trace", "top", "diagram"]
)
def test_every_command_has_an_example_in_its_help(command: str) -> None:
    status, shown, _ = invoke(command, "--help")
    assert status == 0
    assert f"packhorse {command}" in shown


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("send", "127.0.0.1:9", "/no/such/file"), 1, "cannot read /no/such/file: No such file or directory"),
        (("send", "127.0.0.1:9", "/"), 1, "cannot read /: Is a directory"),
        (("send", "0.0.0.0:9", "-"), 1, "a target is one host"),
        (("send", "127.0.0.1", "-"), 2, "is not HOST:PORT"),
        (("ping", "127.0.0.1:0"), 2, "not a number from 1 to 65535"),
        (("ping", "127.0.0.1:9", "--interval", "soon"), 2, "is not a time"),
        (("receive", "--out", "/"), 1, "/ is not a file"),
        (("receive", "--out", "/no/such/folder/file"), 1, "cannot write into /no/such/folder"),
        (("receive", "--port", "65536"), 2, "--port"),
        (("echo", "--host", "192.0.2.1"), 1, "that is not an address of this machine"),
        (("demo", "--loss", "120%"), 2, "is not a probability"),
        (("demo", "--file", "/no/such/file"), 1, "there is no such file"),
        (("demo", "--file", "/"), 1, "it is not a file"),
    ],
)
def test_a_mistake_is_named_in_a_line_or_two(arguments: Sequence[str], status: int, message: str) -> None:
    code, _, errors = invoke(*arguments)
    assert code == status
    assert message in errors


@pytest.mark.parametrize("command", ["receive", "echo"])
def test_a_port_that_is_taken_is_said(command: str, tmp_path: Path) -> None:
    options = ("--out", str(tmp_path / "file")) if command == "receive" else ()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = str(taken.getsockname()[1])
        status, _, errors = invoke(command, "--host", "127.0.0.1", "--port", port, *options)
    assert status == 1
    assert f"cannot listen on 127.0.0.1:{port}: the port is in use" in errors
    assert not list(tmp_path.iterdir())


def test_link_says_that_a_port_is_taken() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        status, _, errors = invoke("link", "--to", "127.0.0.1:9", "--listen", str(port))
    assert status == 1
    assert f"cannot listen on 127.0.0.1:{port}: the port is in use" in errors


@pytest.mark.parametrize(
    ("closed", "status", "says"),
    [(">/dev/full", 1, "packhorse: cannot write to standard output: No space left on device\n"), (">&-", 0, "")],
)
def test_a_standard_output_that_takes_nothing_is_no_accident(closed: str, status: int, says: str) -> None:
    result = subprocess.run(  # noqa: S603 - what is under test
        ["/bin/sh", "-c", f'exec "$0" -m packhorse.cli diagram {closed}', sys.executable],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stderr) == (status, says)


def test_the_package_itself_is_the_command_too() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "packhorse", "--help"],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "Usage: python -m packhorse" in result.stdout


def test_a_reader_that_goes_away_is_no_accident(run: Commands) -> None:
    dissector = run("trace", "--wireshark")
    dissector.process.stdout.close()
    assert dissector.status() == 1
    assert dissector.errors == ""


def test_without_the_extra_there_is_only_the_hint_to_install_it() -> None:
    program = "import sys; sys.modules['typer'] = None; import packhorse.cli; packhorse.cli.main()"
    result = subprocess.run(  # noqa: S603 - a program of our own
        [sys.executable, "-c", program],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert "pip install 'packhorse[cli]'" in result.stderr
    assert "Traceback" not in result.stderr
