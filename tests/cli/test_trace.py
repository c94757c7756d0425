"""`packhorse trace` on logs: what it prints, what it writes, and what it says to mistakes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from packhorse.cli.app import app

if TYPE_CHECKING:
    from pathlib import Path

HERE, THERE = "10.0.0.1:8082", "10.0.0.2:8082"


def invoke(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["trace", *arguments], env={"COLUMNS": "200"})
    return result.exit_code, result.stdout, result.stderr


def log(path: Path, address: str, *events: tuple[str, float, dict[str, object]]) -> str:
    started: tuple[str, float, dict[str, object]] = ("stack:started", 0.0, {"unix": 1_700_000_000.0})
    with path.open("w") as file:
        for seq, (event, time, fields) in enumerate((started, *events)):
            head = {"event": event, "time": time, "seq": seq, "stack": "stack-1", "address": address, "node": "node"}
            file.write(json.dumps(head | fields) + "\n")
    return str(path)


@pytest.fixture
def logs(tmp_path: Path) -> list[str]:
    """One package whose first copy was lost, as both ends logged it."""
    there: dict[str, object] = {"target": THERE, "id": 7, "count": 1}
    back: dict[str, object] = {"source": HERE, "id": 7, "count": 1}
    about: dict[str, object] = {"reliability": "unordered", "size": 5}
    return [
        log(
            tmp_path / "here.log",
            HERE,
            ("package:numbered", 1.0, there | about | {"waited": 0.002}),
            ("recovery:package_lost", 1.08, there | {"trigger": "timeout"}),
            ("recovery:package_resent", 1.08, there | {"trigger": "timeout"}),
            ("recovery:window_updated", 1.1, {"target": THERE, "window": 4096, "in_flight": 0}),
            ("recovery:package_confirmed", 1.12, dict(there)),
        ),
        log(
            tmp_path / "there.log",
            THERE,
            ("package:received", 1.1, back | about),
            ("package:delivered", 1.1, back | about),
        ),
    ]


def test_without_options_it_sums_up_and_lists_the_slowest(logs: list[str]) -> None:
    status, out, _ = invoke(*logs)
    assert status == 0
    assert "9 events of 2 stacks" in out
    assert "1 packages: 1 delivered" in out
    assert f"{HERE} -> {THERE} #7    102.0     2.0  80.0  20.0" in out


def test_a_story_is_told_in_order(logs: list[str]) -> None:
    status, out, _ = invoke(*logs, "--package", f"{THERE}#7")
    assert status == 0
    assert "delivered after 102.0 ms: waited 2.0 ms for room; lost once, which took 80.0 ms; 20.0 ms on the way" in out
    steps = [
        "accepted",
        "got its id",
        "judged lost",
        "sent again (copy 2, timeout)",
        "received",
        "delivered",
        "confirmed",
    ]
    places = [out.index(step, out.index("what")) for step in steps]
    assert places == sorted(places)


def test_resends_are_listed(logs: list[str]) -> None:
    status, out, _ = invoke(*logs, "--resends")
    assert status == 0
    assert f"{HERE} -> {THERE} #7  timeout     2      80.0" in out
    assert out.endswith("1 resends: 1 timeout\n")


def test_files_are_written_and_told(logs: list[str], tmp_path: Path) -> None:
    names = {option: tmp_path / f"out.{option}" for option in ("svg", "mermaid", "perfetto", "qlog", "plot")}
    options = [text for option, path in names.items() for text in (f"--{option}", str(path))]
    status, out, errors = invoke(*logs, *options)
    assert (status, out) == (0, "")
    assert "drawing the slowest package" in errors
    assert errors.count("wrote ") == len(names)
    assert names["svg"].read_text().startswith("<svg")
    assert names["mermaid"].read_text().startswith("sequenceDiagram")
    assert json.loads(names["perfetto"].read_text())["traceEvents"]
    assert len(json.loads(names["qlog"].read_text())["traces"]) == 2
    assert "window, KiB" in names["plot"].read_text()


def test_a_dash_means_standard_output(logs: list[str]) -> None:
    status, out, _ = invoke(*logs, "--mermaid", "-", "--package", f"{THERE}#7")
    assert status == 0
    assert out.startswith("sequenceDiagram")
    assert "accepted from the user" not in out, "what is piped into a file is the drawing alone"
    assert "latency of each package, ms" in invoke(*logs, "--plot", "-")[1]


def test_a_span_of_time_is_drawn(logs: list[str]) -> None:
    status, out, _ = invoke(*logs, "--svg", "-", "--from", "1", "--to", "1.05")
    assert status == 0
    assert "#7 again: timeout" in out
    status, _, errors = invoke(*logs, "--svg", "-", "--from", "5")
    assert status == 1
    assert "no package was under way from 5 to 1.12 s; the logs are 1.120 s long" in errors


def test_the_dissector_is_printed_without_logs() -> None:
    status, out, _ = invoke("--wireshark")
    assert status == 0
    assert 'Proto("packhorse"' in out


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ([], 2, "at least one log"),
        (["{here}", "--alias", "10.0.0.9:1"], 2, "an alias is A=B"),
        (
            ["{here}", "--alias", "10.0.0.9:1=10.0.0.8:1"],
            1,
            "stands for no stack in these logs; they are of 10.0.0.1:8082",
        ),
        (["{here}", "--package", "7"], 1, "a package is called TARGET#ID, as in 10.0.0.7:8082#17"),
        (
            ["{here}", "--package", "10.0.0.2:8082#8"],
            1,
            "no package 8 for 10.0.0.2:8082 in these logs; their ids are from 7 to 7",
        ),
        (["{here}.not"], 1, "cannot read"),
        (["{here}", "--svg", "/nowhere/at/all.svg"], 1, "cannot write /nowhere/at/all.svg: No such file"),
        ([__file__], 1, "no event of packhorse in"),
    ],
)
def test_mistakes_are_told_with_what_would_be_right(
    logs: list[str], arguments: list[str], status: int, said: str
) -> None:
    found, _, errors = invoke(*(argument.format(here=logs[0]) for argument in arguments))
    assert found == status
    assert said in " ".join(errors.replace("│", " ").split())
