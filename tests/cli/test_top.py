"""`packhorse top`."""

from __future__ import annotations

import signal
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import packhorse
from packhorse.cli.run import Problem
from packhorse.cli.topping import picture, top

Commands = Any


def drawn(now: dict[str, Any], before: dict[str, Any] | None) -> str:
    console = Console(width=120, record=True, file=Path("/dev/null").open("w"))  # noqa: SIM115 - closed below
    console.print(picture(now, before))
    console.file.close()
    return console.export_text()


def numbers(time: float, sent: int) -> dict[str, Any]:
    peer = {"sent": sent, "resent": 1, "lost": 1, "received": 0, "duplicates": 0, "rtt": 0.0215, "window": 16256.0}
    peer |= {"in_flight": 3, "backlog": 4}
    return {
        "time": time,
        "address": "10.0.0.1:1",
        "sent": sent,
        "received": 5,
        "resent": 1,
        "lost": 1,
        "duplicates": 0,
        "dropped": {"in.invalid": 7},
        "peers": {"10.0.0.2:2": peer},
        "nodes": {"usender": {"depth": 1, "high_water": 2, "restarts": 0, "counters": {}}},
    }


def test_the_numbers_are_drawn_with_rates_once_two_looks_are_known() -> None:
    first = drawn(numbers(1.0, 100), None)
    assert "10.0.0.2:2" in first
    assert "21.50" in first
    assert "in.invalid: 7" in first
    assert "1,100 (500/s)" in drawn(numbers(3.0, 1100), numbers(1.0, 100))


def test_one_look_at_a_running_stack(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "stats"
    with packhorse.startup(host="127.0.0.1") as stack:
        stack.serve_stats(path)
        assert top(path, interval=1.0, once=True) == 0
        assert f"packhorse 127.0.0.1:{stack.address[1]}" in capsys.readouterr().out


def test_the_view_ends_with_the_stack(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "stats"
    stack = packhorse.startup(host="127.0.0.1")
    stack.serve_stats(path)

    looks: list[object] = []

    def close_after_two(now: Any, before: Any) -> str:
        looks.append(before)
        if len(looks) == 2:
            stack.close()
        return f"look {len(looks)}"

    monkeypatch.setattr("packhorse.cli.topping.picture", close_after_two)
    assert top(path, interval=0.0, once=False) == 0
    assert capsys.readouterr().out == "look 1\nlook 2\nthe stack has ended\n"
    assert looks[0] is None
    assert looks[1] is not None


def test_the_view_ends_on_ctrl_c_as_it_should(tmp_path: Path, run: Commands) -> None:
    path = tmp_path / "stats"
    with packhorse.startup(host="127.0.0.1") as stack:
        stack.serve_stats(path)
        view = run("top", str(path), "--interval", "1e300")
        assert f"packhorse {stack.address[0]}:{stack.address[1]}" in view.process.stdout.readline().decode()
        view.signal(signal.SIGINT)
        assert view.status() == 0
    assert b"the stack has ended" not in view.output()
    assert view.errors == ""


def test_what_answers_and_is_no_stack_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "other"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(10)
                connection.sendall(b"220 ready\n")

        other = threading.Thread(target=answer)
        other.start()
        with pytest.raises(Problem, match="no packhorse stack"):
            top(path, interval=1.0, once=True)
        other.join()


def test_a_socket_that_is_not_there_is_explained(tmp_path: Path) -> None:
    with pytest.raises(Problem, match=r"stack\.serve_stats"):
        top(tmp_path / "nothing", interval=1.0, once=True)


def test_looks_that_would_follow_each_other_too_closely_are_refused(tmp_path: Path, run: Commands) -> None:
    view = run("top", str(tmp_path / "nothing"), "--interval", "10ms")
    assert view.status() == 2
    assert "at least 50ms" in view.errors
