"""Joining logs: who is who, which clock is wrong, and which package an id means."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from packhorse.trace import TraceError, merge, read, summary

from .helpers import HERE, THERE, Script, merged, written

WALL = 1_700_000_000.0


def one_exchange(*, wall: float | None, back: bool = True) -> tuple[Script, Script]:
    """A package that takes 20 ms, and its confirmation, 30; the receiver's wall clock is wrong by `wall`."""
    here, there = Script(HERE, start=100.0), Script(THERE, start=5000.0, wall=wall)
    here.sends(101.0, THERE, 0)
    there.gets(5001.020, HERE, 0)
    if back:
        here.hears(101.050, THERE, 0)
    return here, there


def test_both_ends_become_one_story(tmp_path: Path) -> None:
    (package,) = merged(tmp_path, *one_exchange(wall=0.0)).packages
    assert package.name == f"{HERE} -> {THERE} #0"
    assert [step.event for step in package.steps] == [
        "package:numbered",
        "package:received",
        "package:delivered",
        "recovery:package_confirmed",
    ]
    assert package.latency == pytest.approx(0.020, abs=1e-6)
    assert package.outcome == "delivered"


@pytest.mark.parametrize("wall", [-7200.0, -1.0, 1.0, 3e6])
def test_a_wrong_wall_clock_is_shifted_by_half_the_difference_of_both_ways(tmp_path: Path, wall: float) -> None:
    trace = merged(tmp_path, *one_exchange(wall=wall))
    (package,) = trace.packages
    assert package.latency == pytest.approx(0.025, abs=1e-5), "50 ms there and back"
    assert trace.stacks[1].shift == pytest.approx(-wall + 0.005, abs=1e-5)
    assert any("clock shifted by" in line for line in summary(trace))


def test_a_clock_that_contradicts_nothing_is_left_alone(tmp_path: Path) -> None:
    trace = merged(tmp_path, *one_exchange(wall=0.010))
    assert [stack.shift for stack in trace.stacks] == [0.0, 0.0]
    assert trace.packages[0].latency == pytest.approx(0.030, abs=1e-6)


def test_with_one_direction_only_nothing_arrives_before_it_was_sent(tmp_path: Path) -> None:
    (package,) = merged(tmp_path, *one_exchange(wall=-5.0, back=False)).packages
    assert package.latency == pytest.approx(0.0, abs=1e-6)


def test_clocks_are_shifted_along_a_chain_of_stacks(tmp_path: Path) -> None:
    third = "10.0.0.3:8082"
    here, there = one_exchange(wall=-50.0)
    there.sends(5002.0, third, 0)
    far = Script(third, start=9.0, wall=77.0).gets(11.020, THERE, 0)
    there.hears(5002.050, third, 0)
    trace = merged(tmp_path, here, there, far)
    assert [package.latency for package in trace.packages] == pytest.approx([0.025, 0.025], abs=1e-5)


def test_clocks_without_a_wall_clock_are_joined_by_the_exchanges(tmp_path: Path) -> None:
    (package,) = merged(tmp_path, *one_exchange(wall=None)).packages
    assert package.latency == pytest.approx(0.025, abs=1e-4)


def test_ids_that_wrap_are_different_packages(tmp_path: Path) -> None:
    here, there = Script(HERE), Script(THERE)
    here.sends(1.0, THERE, 0xFFFFFE, count=4)
    there.gets(1.02, HERE, 0xFFFFFE, count=4)
    here.sends(29.0, THERE, 0xFFFFFF, count=2)
    there.gets(29.03, HERE, 0xFFFFFF, count=2)
    trace = merged(tmp_path, here, there)
    assert [(package.id, package.turn) for package in trace.packages] == [
        (0xFFFFFE, 0),
        (0xFFFFFF, 0),
        (0, 0),
        (1, 0),
        (0xFFFFFF, 1),
        (0, 1),
    ]
    assert trace.find(f"{THERE}#0").latency == pytest.approx(0.02, abs=1e-6)
    assert trace.find(f"{THERE}#0/2").latency == pytest.approx(0.03, abs=1e-6)


def test_a_numbering_that_begins_anew_makes_other_packages(tmp_path: Path) -> None:
    here, there = Script(HERE), Script(THERE)
    for time in (1.0, 700.0):
        for wire_id in range(3):
            here.sends(time + wire_id, THERE, wire_id)
            there.gets(time + wire_id + 0.02, HERE, wire_id)
            here.hears(time + wire_id + 0.05, THERE, wire_id)
    trace = merged(tmp_path, here, there)
    assert [package.turn for package in trace.packages] == [0, 0, 0, 1, 1, 1]
    assert all(len(package.steps) == 4 for package in trace.packages)


def test_a_stack_that_is_started_again_at_its_address_stays_the_same_place(tmp_path: Path) -> None:
    first, second, there = Script(HERE), Script(HERE, start=50.0, wall=50.0), Script(THERE)
    first.sends(1.0, THERE, 0)
    second.sends(51.0, THERE, 0)
    there.gets(1.02, HERE, 0)
    there.gets(51.02, HERE, 0)
    trace = merged(tmp_path, first.text() + second.text(), there)
    assert [(package.turn, package.outcome) for package in trace.packages] == [
        (0, "delivered, not confirmed"),
        (1, "delivered, not confirmed"),
    ]
    assert len(trace.stacks) == 3


def test_the_log_of_one_end_is_enough_for_its_half(tmp_path: Path) -> None:
    here, there = one_exchange(wall=0.0)
    (package,) = merged(tmp_path, here).packages
    assert package.outcome == "confirmed"
    assert package.latency == pytest.approx(0.050, abs=1e-6)
    there.gets(5030.0, HERE, 0)
    received = merged(tmp_path, there).packages
    assert [(package.source, package.turn, package.outcome) for package in received] == [
        (HERE, 0, "delivered"),
        (HERE, 1, "delivered"),
    ]


def test_a_stack_bound_to_every_address_is_known_by_its_port(tmp_path: Path) -> None:
    here, there = Script("0.0.0.0:9000"), Script("[::]:8082")
    here.sends(1.0, THERE, 0)
    there.gets(1.02, "10.0.0.1:9000", 0)
    (package,) = merged(tmp_path, here, there).packages
    assert package.name == f"10.0.0.1:9000 -> {THERE} #0"
    assert package.outcome.startswith("delivered")


def test_addresses_may_be_lists(tmp_path: Path) -> None:
    here, there = Script("[fd00::1]:1"), Script("[fd00::2]:2")
    here.records[1:] = []
    here.add("package:numbered", 1.0, target=["fd00::2", 2, 0, 0], id=0, count=1, reliability="unordered", size=1)
    there.add("package:received", 1.1, source=["fd00::1", 1, 0, 0], id=0, count=1, reliability="unordered", size=1)
    assert [package.name for package in merged(tmp_path, here, there).packages] == ["[fd00::1]:1 -> [fd00::2]:2 #0"]


def test_a_relay_is_seen_through_with_aliases(tmp_path: Path) -> None:
    here, there = Script(HERE), Script(THERE)
    here.sends(1.0, "10.9.9.9:1", 0)
    there.gets(1.02, "10.9.9.9:2", 0)
    trace = merged(tmp_path, here, there)
    assert len(trace.packages) == 2
    (note,) = trace.notes
    assert "10.9.9.9:1 and 10.9.9.9:2" in note
    assert f"--alias 10.9.9.9:1=ADDRESS, one of {HERE}, {THERE}" in note
    aliases = {"10.9.9.9:1": THERE, "10.9.9.9:2": HERE}
    trace = merged(tmp_path, here, there, aliases=aliases)
    assert [package.name for package in trace.packages] == [f"{HERE} -> {THERE} #0"]
    assert trace.notes == []
    with pytest.raises(
        TraceError, match=r"stands for no stack in these logs; they are of 10\.0\.0\.1:8082, 10\.0\.0\.2:8082"
    ):
        merged(tmp_path, here, there, aliases={"10.9.9.9:1": "10.0.0.3:1"})


def test_two_machines_bound_to_the_same_port_are_told_apart_by_an_alias(tmp_path: Path) -> None:
    here, there = Script("0.0.0.0:8082"), Script("0.0.0.0:8082")
    for time in (1.0, 2.0):
        here.sends(time, THERE, int(time) - 1)
        there.gets(time + 0.02, HERE, int(time) - 1)
    trace = merged(tmp_path, here, there)
    assert any("--alias 10.0.0.2:8082=log" in note for note in trace.notes)
    trace = merged(tmp_path, here, there, aliases={THERE: "log1", HERE: "log0"})
    assert [package.name for package in trace.packages] == [f"{HERE} -> {THERE} #0", f"{HERE} -> {THERE} #1"]
    assert {package.outcome for package in trace.packages} == {"delivered, not confirmed"}


def test_runs_and_lists_are_taken_apart(tmp_path: Path) -> None:
    here = Script(HERE)
    here.sends(
        1.0,
        THERE,
        5,
        count=3,
        reliability=["unordered", "semi_ordered", "unordered"],
        size=[1, 2, 3],
        waited=[0, 0.5, 0],
    )
    here.add("recovery:package_resent", 2.0, target=THERE, ids=[7, 5], count=2, trigger=["probe", "twin"])
    five, six, seven = merged(tmp_path, here).packages
    assert (six.said("reliability"), six.said("size")) == ("semi_ordered", 2)
    assert six.accepted == pytest.approx(WALL + 0.5)
    assert [step.get("trigger") for step in (*five.resends, *six.resends, *seven.resends)] == ["twin", "probe"]


def test_unreliable_ids_are_counted_by_themselves(tmp_path: Path) -> None:
    here = Script(HERE).sends(1.0, THERE, 0).sends(1.1, THERE, 0, reliability="unreliable")
    there = Script(THERE).gets(1.2, HERE, 0, reliability="unreliable")
    trace = merged(tmp_path, here, there)
    assert [package.number for package in trace.packages] == ["0", "u0"]
    assert trace.find(f"{THERE}#u0").outcome == "delivered"
    assert trace.find(f"{THERE}#0").outcome == "not confirmed"


def test_a_rotated_log_is_one_stack(tmp_path: Path) -> None:
    here = Script(HERE).sends(1.0, THERE, 0).sends(2.0, THERE, 1).hears(3.0, THERE, 1)
    rows = here.text().splitlines(keepends=True)
    trace = merged(tmp_path, "".join(rows[3:]), "".join(rows[:3]))
    assert len(trace.stacks) == 1
    assert [package.outcome for package in trace.packages] == ["not confirmed", "confirmed"]


def test_foreign_lines_are_counted_and_prefixes_skipped(tmp_path: Path) -> None:
    here = Script(HERE).sends(1.0, THERE, 0)
    foreign = [
        "starting",
        "{broken",
        "[1, 2]",
        '{"event": "request_finished"}',
        '{"event": {"a": 1}}',
        "{" * 100_000,
        "\xff\xfe",
    ]
    lines = [f"2026-01-01 INFO {line}" for line in here.text().splitlines()]
    log = read(written(tmp_path, "\n".join([*foreign, "", *lines])))
    assert (log.events, log.foreign, log.undated) == (2, len(foreign), 0)


def test_spaces_in_the_rendering_do_not_matter(tmp_path: Path) -> None:
    here = Script(HERE).sends(1.0, THERE, 0)
    tight = "".join(json.dumps(record, separators=(",", ":")) + "\n" for record in here.records)
    assert len(merge(read(written(tmp_path, tight))).packages) == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("nothing here\n", "no event of packhorse in .*log0 .1 other lines.; a log has one JSON object a line"),
        ("", "no event of packhorse"),
        ('{"event": "stack:started", "level": "info"}\n', "have no `time` and `stack`"),
    ],
)
def test_what_is_no_log_is_told(tmp_path: Path, content: str, said: str) -> None:
    with pytest.raises(TraceError, match=said):
        read(written(tmp_path, content))


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"cannot read .*nowhere: No such file"):
        read([tmp_path / "nowhere"])


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("17", "a package is called TARGET#ID"),
        (f"{THERE}#x", "a package is called TARGET#ID"),
        ("10.0.0.9:1#0", f"there are some for {THERE}"),
        (f"{THERE}#17", "their ids are from 0 to 0"),
        (f"10.0.0.9:1>{THERE}#0", "none is from 10.0.0.9:1"),
        (f"{THERE}#0/7", f"say which: {HERE}>{THERE}#0"),
        (f"{THERE}#u0", f"there are some for {THERE}"),
    ],
)
def test_a_package_that_is_not_there_is_told_with_what_is(tmp_path: Path, wanted: str, said: str) -> None:
    trace = merged(tmp_path, *one_exchange(wall=0.0))
    with pytest.raises(TraceError, match=said):
        trace.find(wanted)


def test_an_id_of_several_senders_asks_for_the_sender(tmp_path: Path) -> None:
    here, third = Script(HERE).sends(1.0, THERE, 0), Script("10.0.0.3:1").sends(1.0, THERE, 0)
    trace = merged(tmp_path, here, third)
    with pytest.raises(TraceError, match=f"say which: {HERE}>{THERE}#0, 10.0.0.3:1>{THERE}#0"):
        trace.find(f"{THERE}#0")
    assert trace.find(f"{HERE}>{THERE}#0").source == HERE
