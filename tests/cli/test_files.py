"""`packhorse send` and `packhorse receive`, as processes."""

from __future__ import annotations

import random
import signal
import socket
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from packhorse.cli import receiving, sending
from packhorse.cli.app import app

if TYPE_CHECKING:
    from pathlib import Path

Commands = Any


def content(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def test_a_file_arrives_verified_and_both_ends_say_so(run: Commands, tmp_path: Path) -> None:
    sent, got = tmp_path / "sent", tmp_path / "got"
    sent.write_bytes(content(300_000))
    receiver = run.receive("--out", str(got))
    sender = run("send", receiver.address, str(sent))
    assert sender.status() == 0
    assert "sent 300000 bytes" in sender.errors
    assert "verified" in sender.errors
    receiver.hear("received 300000 bytes")
    assert got.read_bytes() == sent.read_bytes()
    receiver.signal(signal.SIGTERM)
    assert receiver.status() == 0, "the job was done; it only lingered"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["got", "sent"]


def test_standard_input_and_output_can_be_pipes(run: Commands) -> None:
    assert receiving.LINGER == 2.0
    receiver = run.receive(linger=0.1)
    sender = run("send", receiver.address, "-")
    sender.write(content(10_000))
    sender.write(b"the end")
    sender.process.stdin.close()
    assert receiver.output() == content(10_000) + b"the end"
    assert sender.status() == 0
    assert receiver.status() == 0


def test_an_empty_file_arrives(run: Commands, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    receiver = run.receive("--out", str(tmp_path / "got"))
    assert run("send", receiver.address, str(tmp_path / "empty")).status() == 0
    receiver.hear("received 0 bytes")
    assert (tmp_path / "got").read_bytes() == b""


def test_nobody_there_is_said_after_three_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sending.NOBODY == 3.0
    monkeypatch.setattr(sending, "NOBODY", 1e-3)
    monkeypatch.setattr(sending, "LOOK", 0.01)
    (tmp_path / "file").write_bytes(content(1000))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
        gone.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{gone.getsockname()[1]}"
    result = CliRunner().invoke(app, ["send", address, str(tmp_path / "file")], env={"COLUMNS": "200"})
    assert result.exit_code == 1
    assert f"nobody answers at {address}: no control datagram within 0 s" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("number", "status", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_receiver_that_is_stopped_before_a_sender_came_keeps_nothing(
    run: Commands, tmp_path: Path, number: int, status: int, word: str
) -> None:
    receiver = run.receive("--out", str(tmp_path / "got"))
    assert receiver.address
    receiver.signal(number)
    assert receiver.status() == status
    assert f"{word} after 0 bytes" in receiver.errors
    assert not list(tmp_path.iterdir())


def test_a_sender_that_is_interrupted_tells_the_receiver(run: Commands, tmp_path: Path) -> None:
    receiver = run.receive("--out", str(tmp_path / "got"))
    sender = run("send", receiver.address, "-")
    receiver.hear("receiving 'standard input'")
    sender.signal(signal.SIGINT)
    assert sender.status() == 130
    assert "interrupted after 0 bytes" in sender.errors
    assert receiver.status() == 1
    assert "the sender gave up: it was interrupted" in receiver.errors
    assert not list(tmp_path.iterdir())


def test_a_receiver_that_is_interrupted_tells_the_sender(run: Commands, tmp_path: Path) -> None:
    receiver = run.receive("--out", str(tmp_path / "got"))
    sender = run("send", receiver.address, "-")
    receiver.hear("receiving 'standard input'")
    receiver.signal(signal.SIGINT)
    assert receiver.status() == 130
    assert sender.status() == 1
    assert "the receiver was interrupted" in sender.errors
    assert not list(tmp_path.iterdir())


def test_a_receiver_that_cannot_write_tells_the_sender(run: Commands) -> None:
    receiver = run.receive()
    receiver.process.stdout.close()
    sender = run("send", receiver.address, "-")
    sender.write(b"nobody will read this")
    assert sender.status() == 1
    assert receiver.status() == 1
    for command in (sender, receiver):
        assert "the receiver cannot write: Broken pipe" in command.errors
        assert "Traceback" not in command.errors


def test_a_receiver_that_stands_still_for_a_while_breaks_nothing(run: Commands, tmp_path: Path) -> None:
    receiver = run.receive("--out", str(tmp_path / "got"))
    sender = run("send", receiver.address, "-")
    receiver.hear("receiving")
    receiver.signal(signal.SIGSTOP)
    sender.write(content(400_000))  # about as much as may be under way or waiting: nothing is read meanwhile
    receiver.signal(signal.SIGCONT)
    sender.write(content(100_000))
    sender.process.stdin.close()
    assert sender.status() == 0
    receiver.hear("received 500000 bytes")
    assert (tmp_path / "got").read_bytes() == content(400_000) + content(100_000)
