"""Each bench runs with tiny numbers and prints the tables it should. What figures it prints is not looked at."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import packhorse

HERE = Path(__file__).parent
MACHINE = re.compile(r"^\d{4}-\d\d-\d\d, Python 3\.\d+\.\d+, \d+ cores, ")
RELIABILITIES = [f"packhorse, {name}" for name in ("unreliable", "unordered", "semi-ordered")]
OTHERS = ["asyncio TCP, length-prefixed"]


def tables(name: str, *options: str) -> list[list[list[str]]]:
    """Run a bench and return the cells of its tables, titles first."""
    result = subprocess.run(  # noqa: S603 - what is under test
        [sys.executable, HERE / f"{name}.py", *options],
        env=os.environ | {"PYTHONPATH": str(Path(packhorse.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert MACHINE.match(result.stdout)
    found: list[list[list[str]]] = [[]]
    for line in result.stdout.splitlines():
        if line.startswith("|"):
            found[-1].append([cell.strip() for cell in line.strip("|").split("|")])
        elif found[-1]:
            found.append([])
    for table in found[:-1]:
        assert all(len(row) == len(table[0]) for row in table)
        assert set(table.pop(1)) == {"---"}
    return found[:-1]


def names(table: list[list[str]]) -> list[str]:
    """Return the first column, without ENet, which need not be installed."""
    return [row[0] for row in table if not row[0].startswith("ENet")]


def test_flood() -> None:
    small, mixed = tables("flood", "--packages", "100", "--rounds", "1", "--sizes", "64", "20-108")
    for table, title in ((small, "64 bytes"), (mixed, "20-108 bytes")):
        assert names(table) == [
            title, "bare sendto", *RELIABILITIES, "packhorse, messages in packages", *OTHERS,
        ]  # fmt: skip
        assert table[0][1:4] == ["arrived", "a second", "to the bare loop"]
        assert [row[1] for row in table[3:6]] == ["100.0%"] * 3
        assert table[1][3] == "1.00"


def test_flood_leaves_out_messages_that_fit_no_package() -> None:
    (table,) = tables("flood", "--packages", "20", "--rounds", "1", "--sizes", "504", "--only", "messages")
    assert names(table) == ["504 bytes", "bare sendto"]


def test_pingpong() -> None:
    (table,) = tables("pingpong", "--packages", "20", "--rounds", "1")
    assert names(table) == ["64 bytes", "bare sendto", *RELIABILITIES, *OTHERS]
    assert table[0][1:] == ["p50 us", "p99 us", "p50 to the bare loop", "p99 to the bare loop"]
    assert all(float(cell) > 0 for row in table[1:] for cell in row[1:])


@pytest.mark.parametrize(("name", "option", "title"), [
    ("fanin", "--senders", "3 senders to one"),
    ("fanout", "--peers", "one to 3 peers"),
])  # fmt: skip
def test_fanin_and_fanout(name: str, option: str, title: str) -> None:
    (table,) = tables(name, option, "3", "--packages", "60", "--rounds", "1")
    assert names(table) == [title, "bare sendto", *RELIABILITIES]
    assert [row[1] for row in table[3:]] == ["100.0%"] * 2


def test_peers() -> None:
    options = (
        "--rounds",
        "1",
        "--peers",
        "1",
        "20",
        "--packages",
        "100",
        "--idle",
        "0.05",
        "--settle",
        "0.05",
        "--stacks",
        "3",
    )
    sending, receiving, stacks = tables("peers", *options)
    assert names(sending) == ["sending to peers", "1", "20"]
    assert names(receiving) == ["receiving from peers", "1", "20"]
    assert sending[0][1:4] == ["user CPU us per package", "to 1", "bytes per idle peer"]
    assert stacks[1][0] == "3"
    assert stacks[1][4] == "100.0%"


def test_soak() -> None:
    soak, light = tables("soak", "--minutes", "0.001", "--peak", "100", "--paced", "40")
    assert names(soak) == ["packhorse, semi-ordered", "sent", "arrived"]
    assert soak[1][1] == soak[2][1]
    assert names(light)[1:] == [
        f"{name}, {batch} at a time" for batch in (1, 10) for name in ("bare sendto", "packhorse, semi-ordered")
    ]
    assert {row[1] for row in light[1:]} == {"100.0%"}


def test_latency() -> None:
    (table,) = tables("latency", "--packages", "5", "--sizes", "64", "--losses", "0")
    assert table[0] == ["64 bytes", "0% loss"]
    assert {row[0] for row in table[1:]} - {"ENet, reliable"} == {
        "bare sendto",
        "original's schedule, unordered",
        "original's schedule, semi-ordered",
        "packhorse, unordered",
        "packhorse, semi-ordered",
    }
    assert all(re.fullmatch(r"[\d.]+ / [\d.]+", row[1]) for row in table[1:])
