"""The examples in README.md run and print what README.md says; its commands are two and stand alone."""

from __future__ import annotations

import re
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, cast

import pytest
from typer.main import get_command

from packhorse.cli.app import app

README = (Path(__file__).parents[2] / "README.md").read_text()
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Example(NamedTuple):
    line: int
    code: str
    output: str


def examples() -> list[Example]:
    """Find every Python block, together with the block of output that follows it."""
    blocks = list(BLOCK.finditer(README))
    found: list[Example] = []
    for block, after in zip(blocks, [*blocks[1:], None], strict=True):
        if block[1] == "python":
            output = after[2] if after is not None and after[1] == "text" else ""
            found.append(Example(README.count("\n", 0, block.start()) + 2, block[2], output))
    return found


def run(example: Example, monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(threading.enumerate())
    module = ModuleType(f"readme_line_{example.line}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    # Blank lines in front, so that a traceback names the line in README.md.
    source = "\n" * (example.line - 1) + example.code
    exec(compile(source, "README.md", "exec"), vars(module))  # noqa: S102 - running them is the test
    for thread in set(threading.enumerate()) - before:
        thread.join(10.0)


@pytest.mark.parametrize("example", examples(), ids=lambda example: f"line {example.line}")
def test_examples_print_what_the_readme_says(
    example: Example, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(example, monkeypatch)
    assert capsys.readouterr().out == example.output


def test_every_example_shows_something() -> None:
    found = examples()
    assert len(found) >= 2
    assert [example.line for example in found if not example.output] == []


def test_first_programs_are_short() -> None:
    section = README.partition("## A first program")[2].partition("\n## ")[0]
    programs = [code for language, code in BLOCK.findall(section) if language == "python"]
    assert len(programs) == 2
    for code in programs:
        assert sum(1 for line in code.splitlines() if line.strip()) <= 20


def described_commands() -> dict[str, set[str]]:
    """Read the table of commands: the options that each row names."""
    section = README.partition("## The command line")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `packhorse (\w+).*$", section, re.MULTILINE)
    assert rows
    return {
        name: set(re.findall(r"--[a-z-]+", line))
        for name in rows
        for line in section.splitlines()
        if line.startswith(f"| `packhorse {name}")
    }


def test_every_command_is_described_and_has_the_options_that_are_named() -> None:
    commands = cast("Any", get_command(app)).commands  # Typer does not say that an app of several commands is a group
    described = described_commands()
    assert set(described) == set(commands)
    for name, options in described.items():
        assert options <= {option for parameter in commands[name].params for option in parameter.opts}, name


def test_the_two_commands_come_first_and_are_one_line_each() -> None:
    blocks = BLOCK.findall(README)[:2]
    assert [language for language, _ in blocks] == ["sh", "sh"]
    assert all(command.count("\n") == 1 for _, command in blocks)
    assert "packhorse demo" in blocks[0][1]
    assert "pytest" in blocks[1][1]
