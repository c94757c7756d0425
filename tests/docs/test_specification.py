"""The tables in protocol/README.md say what the code does."""

# pyright: reportPrivateUsage=false
# The reason: it looks who is known.

from __future__ import annotations

import ast
import importlib
import inspect
import re
import tracemalloc
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import pytest

from packhorse import ConfirmPolicy, InPackage, MessageDecoder, OutPackage, Peers, Reliability, ResendPolicy
from packhorse.protocol.codecs import U16, U32, Bincode, Codec, msgpack
from packhorse.protocol.header import (
    KINDS,
    Kind,
    pack_confirmation,
    pack_header,
    unpack_confirmation,
    unpack_header,
    unwrap,
)
from packhorse.protocol.identity import (
    SPURNED,
    base_of,
    introduction,
    mark_of_numbering,
    pack_echo,
    refusal,
    unpack_echo,
)
from packhorse.protocol.messages import Acknowledged, Received
from packhorse.protocol.numbering import Numbering
from packhorse.protocol.receiving import Receiving
from packhorse.protocol.unconfirmed import Recovery

SPECIFICATION = (Path(__file__).parents[2] / "protocol" / "README.md").read_text()
SOURCE = ("10.0.0.1", 1)


@dataclass
class One:
    value: U16


@dataclass
class Two:
    values: tuple[U32, U32]


Message = One | Two


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the first table below a heading, without its head and without backticks."""
    section = SPECIFICATION.partition(f"# {heading}\n")[2].partition("\n#")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    assert len(lines) > 2, f"no table below {heading!r}"
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines[2:]]


def numbers(cell: str) -> list[int]:
    return [int(number) for number in cell.split(",") if number]


@pytest.mark.parametrize("row", rows("Examples of packages"), ids=lambda row: row[0])
def test_packages(row: list[str]) -> None:
    datagram, payload = bytes.fromhex(row[0]), bytes.fromhex(row[4])
    reliability, peers, number = Reliability[row[1]], Peers[row[2]], int(row[3])
    assert KINDS[datagram[0]] is Kind.PACKAGE
    assert unpack_header(datagram) == (reliability, peers, number)
    assert datagram[4:] == payload
    packed = pack_header(reliability, peers, number) + payload
    assert packed == bytes([datagram[0] & 0xF0]) + datagram[1:]


@pytest.mark.parametrize("row", rows("Examples of control datagrams"), ids=lambda row: row[0])
def test_control_datagrams(row: list[str]) -> None:
    datagram, ids = bytes.fromhex(row[0]), numbers(row[1])
    assert KINDS[datagram[0]] is Kind.CONTROL
    assert unpack_confirmation(datagram) == ids
    assert datagram.startswith(pack_confirmation(ids))


@pytest.mark.parametrize("row", rows("Examples of invalid first bytes"), ids=lambda row: row[0])
def test_invalid_first_bytes(row: list[str]) -> None:
    assert KINDS[int(row[0], 16)] is Kind.INVALID


@pytest.mark.parametrize("row", rows("Examples of ids on the circle"), ids=lambda row: row[0])
def test_ids_on_the_circle(row: list[str]) -> None:
    wire_id, near, number = (int(cell) for cell in row)
    assert unwrap(wire_id, near) == number


def test_receiving() -> None:
    receiving = Receiving()
    for package, delivered, confirmed in rows("Examples of receiving"):
        kind, number = package.split()
        reliability = {"s": Reliability.SEMI_ORDERED, "u": Reliability.UNORDERED}[kind]
        # The payload is the id, so that what is delivered can be told.
        datagram = pack_header(reliability, Peers.PLAYERS, int(number)) + number.encode()
        receiving.received(Received(SOURCE, len(datagram), datagram, 0.0))
        assert [int(got.data) for got in receiving.to_user] == numbers(delivered), package
        assert [wire_id for run in receiving.to_confirmer for wire_id in run.ids] == numbers(confirmed), package
        receiving.to_user.clear()
        receiving.to_confirmer.clear()


def test_hints_and_echoes() -> None:
    identity, mark = 0x0123456789ABCDEF, 291
    numbering, datagrams = Numbering(identity=identity), list[bytes]()
    packages = [OutPackage(b"hi", Reliability.UNORDERED, Peers.PLAYERS, SOURCE)] * 2
    numbering.send(packages[0], 10.0)
    datagrams += [datagram for run in numbering.to_dsender for datagram in run.datagrams]
    numbering.to_dsender.clear()
    series, hint, base = 0x10, 3, base_of(identity, 0x10, mark)
    assert base == (identity >> 24 ^ (1 + 1 + mark * 0x9E3779B1) * 0x9E3779B1 >> 8) & 0xFFFFFF
    echo = pack_echo(hint, mark_of_numbering(identity, series), mark)
    assert mark_of_numbering(identity, series) == (identity + series // 16) % 2**26
    datagrams += [pack_confirmation([], echo), pack_confirmation([0], echo)]
    numbering.acknowledged(Acknowledged(SOURCE, series, hint, mark, base))
    numbering.send(packages[1], 10.0)
    datagrams += [*numbering.to_dsender.pop().datagrams, refusal(hint, mark)]
    assert datagrams == [bytes.fromhex(row[0]) for row in rows("Examples of hints and echoes")]


def arrives(receiving: Receiving, what: str, bases: dict[int, int]) -> str:
    """Let an introduction or a package arrive; return what becomes of it."""
    kind, number, hint = re.fullmatch(r"(introduction|package) (\d+) \((\d+)\)", what).groups()  # type: ignore[union-attr]
    if kind == "introduction":
        follow = [pack_header(Reliability.UNORDERED, Peers.PLAYERS, package, int(hint)) for package in range(3)]
        datagram = introduction(int(number), 0x10, int(hint), follow)
    else:
        wire_id = int(number) + bases.get(int(hint), 0)
        datagram = pack_header(Reliability.UNORDERED, Peers.PLAYERS, wire_id, int(hint))
    receiving.received(Received(SOURCE, len(datagram), datagram, 0.0))
    hints = [unpack_echo(run.echo)[0] for run in receiving.to_confirmer if not run.ids]
    answers = [f"acknowledged ({hint & ~SPURNED})" + ", spurned" * (hint >= SPURNED) for hint in hints]
    if kind == "introduction" and hints:
        bases[hints[0] & ~SPURNED] = base_of(int(number), 0x10, 8)
    if kind == "package":
        answers.append("+" if receiving.to_user else "-")
    answers += [f"refused ({refuse.hint})" for refuse in receiving.to_refuse]
    answers += ["restarted" for _ in receiving.to_usender]
    for outputs in (receiving.to_confirmer, receiving.to_user, receiving.to_refuse, receiving.to_usender):
        outputs.clear()
    return ", ".join(answers)


def test_restarts() -> None:
    receiving, bases = Receiving(identity=8), dict[int, int]()
    for what, answer in rows("Examples of restarts"):
        assert arrives(receiving, what, bases) == answer, what


def test_strangers() -> None:
    receiving = Receiving(max_peers=2)
    for time, source, number, then, known in rows("Examples of strangers"):
        receiving.tick(float(time))
        refused, turned_away = receiving.refused, receiving.turned_away
        datagram = pack_header(Reliability.UNORDERED, Peers.PLAYERS, int(number))
        receiving.received(Received((source, 1), len(datagram), datagram, float(time)))
        happened = {"refused": receiving.refused > refused, "turned away": receiving.turned_away > turned_away}
        happened["delivered"] = bool(receiving.to_user)
        assert [name for name, so in happened.items() if so] == [then], (time, source)
        assert sorted(address[0] for address in receiving._sources) == known.split(", "), (time, source)
        receiving.to_user.clear()


def taken(packages: list[tuple[int, Reliability]], sources: int) -> float:
    """Measure the bytes that each of so many sources takes that sent these packages."""
    tracemalloc.start()
    try:
        receiving = Receiving()
        for source in range(sources):
            for number, reliability in packages:
                datagram = pack_header(reliability, Peers.PLAYERS, number) + number.to_bytes(504, "big")
                address = (f"10.0.{source >> 8}.{source & 255}", 1000 + source)
                receiving.received(Received(address, len(datagram), datagram, 1000.0 + source))
                receiving.to_user.clear()
                receiving.to_confirmer.clear()
        return tracemalloc.get_traced_memory()[0] / sources
    finally:
        tracemalloc.stop()


def test_memory() -> None:
    u, s = Reliability.UNORDERED, Reliability.SEMI_ORDERED
    alone = taken([(0, u)], 1000)
    few = taken([(8, s), (7, s), (6, s), (5, s), (0, u)], 500) - alone
    hole = (taken([(1024, u)], 32) - alone) / 1024
    kept = (taken([(number, s) for number in range(1, 1025)], 4) - alone) / 1024
    source, _, *others = (int(row[1]) for row in rows("Strangers"))
    # Versions of Python differ a little.
    assert [alone, few, hole, kept] == pytest.approx([source, *others], rel=0.2)


def due_until(recovery: Recovery, now: float) -> list[int]:
    """Return what is sent again now, and see that nothing was due before."""
    resent: list[int] = []
    # What is due may come short of the table's millisecond by the last bit of a float.
    while (deadline := recovery.deadline()) is not None and deadline <= now + 1e-9:
        due = recovery.due(deadline)
        assert not due or deadline == pytest.approx(now), f"{due} before {now} s"
        resent += due
    return resent


def test_sending_again() -> None:
    recovery = ResendPolicy().recovery(0, float)
    for time, sent, confirmed, again in rows("Examples of sending again"):
        now = int(time) / 1000
        resent = due_until(recovery, now)
        for number in numbers(sent):
            recovery.sent(number, [b"datagram"], now)
        recovery.confirmed(numbers(confirmed), now)
        assert resent + due_until(recovery, now) == numbers(again), f"at {time} ms"


def wait_after(copies: int, recovery: Recovery) -> float:
    """Send a lone package that is never confirmed; return how long the wait after so many copies is."""
    recovery.sent(0, [b"datagram"], 0.0)
    times = [0.0]
    for _ in range(copies):
        deadline = recovery.deadline()
        assert deadline is not None
        assert recovery.due(deadline) == [0]
        times.append(deadline)
    return times[-1] - times[-2]


@pytest.mark.parametrize("row", rows("Examples of waits"), ids=lambda row: row[0])
def test_waits(row: list[str]) -> None:
    copies, ours, least, most = int(row[0]), *map(float, row[1:])
    original = ResendPolicy.original()
    assert wait_after(copies, ResendPolicy().recovery(0, float)) == pytest.approx(ours)
    assert wait_after(copies, original.recovery(0, lambda: 0.0)) == pytest.approx(least)
    assert wait_after(copies, original.recovery(0, lambda: 1.0)) == pytest.approx(most)


def test_the_original_gives_up_at_the_end_of_the_sixth_wait() -> None:
    assert not ResendPolicy.original().exhausted(5, 1000.0)
    assert ResendPolicy.original().exhausted(6, 0.0)
    waits = [[float(cell) for cell in row[2:]] for row in rows("Examples of waits")]
    least, most = (sum(column) for column in zip(*waits, strict=True))
    assert f"after {least:.1f} to {most:.1f} s" in SPECIFICATION


def test_what_is_urgent_is_confirmed_at_once() -> None:
    assert ConfirmPolicy().urgent


def value(node: ast.expr) -> Any:
    """Evaluate a literal that may contain One(...) and Two(...)."""
    if isinstance(node, ast.List):
        return [value(item) for item in node.elts]
    if isinstance(node, ast.Call):
        assert isinstance(node.func, ast.Name)
        return {"One": One, "Two": Two}[node.func.id](*(ast.literal_eval(argument) for argument in node.args))
    return ast.literal_eval(node)


@pytest.mark.parametrize("row", rows("Examples of messages"), ids=lambda row: row[1])
def test_messages(row: list[str]) -> None:
    data, expected = bytes.fromhex(row[1]), value(ast.parse(row[2], mode="eval").body)
    codecs: dict[str, tuple[Codec, Any]] = {"bincode": (Bincode(Message), Message), "msgpack": (msgpack, object)}
    codec, kind = codecs[row[0]]
    assert list(MessageDecoder(data, kind, codec=codec)) == expected
    assert b"".join(codec.encode(message) for message in expected) == data


@pytest.mark.parametrize("row", rows("Numbers"), ids=lambda row: row[2])
def test_numbers(row: list[str]) -> None:
    module, *names = row[2].split(".")
    found: Any = importlib.import_module(f"packhorse.protocol.{module}")
    for name in names:
        # A policy's numbers are those of the one that is used unless the program says otherwise.
        found = getattr(found() if inspect.isclass(found) else found, name)
    assert found == prod(float(factor) for factor in row[1].split("*"))


def test_every_module_is_described() -> None:
    folder = Path(__file__).parents[2] / "protocol"
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    described = SPECIFICATION.partition("## Datagrams")[0]
    assert [name for name in sorted(modules) if f"`{name}`" not in described] == []


def test_a_package_that_arrives_may_be_empty() -> None:
    receiving = Receiving()
    datagram = pack_header(Reliability.UNRELIABLE, Peers.PLAYERS, 0)
    receiving.received(Received(SOURCE, len(datagram), datagram, 0.0))
    assert receiving.to_user == [InPackage(b"", Reliability.UNRELIABLE, Peers.PLAYERS, SOURCE, 0.0)]
