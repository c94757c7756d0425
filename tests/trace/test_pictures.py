"""Drawings, plots and exports of a run in which packages were lost."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest

from packhorse import OutPackage, Peers, Reliability
from packhorse.testing import Link
from packhorse.trace import Trace, TraceError, resends, slowest, story
from packhorse.trace.mermaid import mermaid
from packhorse.trace.perfetto import perfetto
from packhorse.trace.plot import in_terminal, plot_svg, series
from packhorse.trace.qlog import qlog
from packhorse.trace.sequence import Kind, draw, during
from packhorse.trace.svg import svg

from .helpers import HERE, THERE, Script, merged
from .logged import LoggedSimulation, lines

if TYPE_CHECKING:
    from packhorse.trace import Package

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    """A run with 20 % loss and a burst, so that there are windows, losses and packages that were kept."""
    simulation = LoggedSimulation(3)
    here, there = simulation.logged(("10.0.0.1", 8082)), simulation.logged(("10.0.0.2", 8082))
    simulation.connect(
        here,
        there,
        Link(loss=0.2, delay=0.02, jitter=0.004, seed=3),
        Link(loss=0.2, delay=0.02, jitter=0.004, seed=103),
    )
    for number in range(200):
        package = OutPackage((b"%d" % number).ljust(400), Reliability.SEMI_ORDERED, Peers.PLAYERS, there.address)
        simulation.at(number / 100 if number < 100 else 1.0, here.send, package)
    simulation.run(10.0)
    return merged(tmp_path_factory.mktemp("logs"), lines(here), lines(there))


@pytest.fixture
def lost_twice(trace: Trace) -> Package:
    """A package of which two copies or more were lost before one arrived."""
    return next(
        package
        for package in trace.packages
        if package.has("package:delivered") and sum(copy.arrived is None for copy in package.copies) > 1
    )


def test_a_drawing_shows_every_copy_and_which_were_lost(trace: Trace, lost_twice: Package) -> None:
    diagram = draw(trace, [lost_twice], "title")
    copies = [arrow for arrow in diagram.arrows if arrow.kind in (Kind.DATA, Kind.AGAIN, Kind.DUPLICATE)]
    assert len(copies) == len(lost_twice.sendings)
    assert [arrow.lost for arrow in copies] == [copy.arrived is None for copy in lost_twice.copies]
    assert {lane.actor for lane in diagram.lanes if lane.machine == HERE} >= {"user", "usender", "resender"}
    assert diagram.machines == [HERE, THERE]
    assert [arrow.begin for arrow in diagram.arrows] == sorted(arrow.begin for arrow in diagram.arrows)


def test_the_svg_is_well_formed_and_every_line_lies_in_it(trace: Trace, lost_twice: Package) -> None:
    for diagram in (draw(trace, [lost_twice], "a <title> & more"), draw(trace, during(trace, 0.3, 0.35), "span")):
        root = ET.fromstring(svg(diagram))  # noqa: S314 - our own
        width, height = float(root.attrib["width"]), float(root.attrib["height"])
        for line in root.iter(f"{SVG}line"):
            assert all(0 <= float(line.attrib[name]) <= width for name in ("x1", "x2"))
            assert all(0 <= float(line.attrib[name]) <= height for name in ("y1", "y2"))
        texts = " ".join(text.text or "" for text in root.iter(f"{SVG}text"))
        assert all(lane.actor in texts for lane in diagram.lanes)
        assert texts.count(", lost") == sum(arrow.lost for arrow in diagram.arrows)


def test_an_arrow_that_takes_time_slopes_down(trace: Trace, lost_twice: Package) -> None:
    diagram = draw(trace, [lost_twice], "title")
    root = ET.fromstring(svg(diagram))  # noqa: S314 - our own
    sloping = [line for line in root.iter(f"{SVG}line") if float(line.attrib["y2"]) > float(line.attrib["y1"]) + 1]
    slow = [arrow for arrow in diagram.arrows if arrow.end != arrow.begin]
    assert len([line for line in sloping if line.attrib["x1"] != line.attrib["x2"]]) == len(slow)


def test_mermaid_has_a_participant_for_each_lane_and_a_line_for_each_arrow(trace: Trace, lost_twice: Package) -> None:
    diagram = draw(trace, [lost_twice], "title")
    text = mermaid(diagram)
    assert text.startswith("sequenceDiagram\n")
    assert len(re.findall(r"^    (?:participant|actor) p\d+ as \w+$", text, re.MULTILINE)) == len(diagram.lanes)
    assert len(re.findall(r"^    p\d+-?-(?:x|>>)p\d+: ", text, re.MULTILINE)) == len(diagram.arrows)
    assert text.count("xp") == sum(arrow.lost for arrow in diagram.arrows)
    assert "#" not in text.replace("#35;", ""), "a # begins an entity"


def test_too_many_packages_make_no_picture(trace: Trace) -> None:
    with pytest.raises(TraceError, match="200 packages make more than 400 arrows; draw one"):
        draw(trace, trace.packages, "all")
    with pytest.raises(TraceError, match=r"the logs are .* s long"):
        during(trace, 1000.0, 2000.0)


def test_stories_say_what_was_lost_and_what_was_kept_for_what(trace: Trace, lost_twice: Package) -> None:
    text = list(story(trace, lost_twice))
    assert re.search(
        r"^delivered after [\d.]+ ms: .*lost (twice|\d times), which took [\d.]+ ms; [\d.]+ ms on the way", text[1]
    )
    kept = max((p for p in trace.packages if p.has("package:kept")), key=lambda package: package.parts.kept or 0)
    (missing,) = re.findall(r"kept [\d.]+ ms for #(\d+)", "\n".join(story(trace, kept)))
    assert int(missing) < kept.id
    assert trace.find(f"{THERE}#{missing}").resends, "a package that was not lost would not have been waited for"


def test_the_slowest_are_the_slowest(trace: Trace) -> None:
    heading, *rows = slowest(trace.packages, 5)
    assert heading.split()[:3] == ["package", "took", "ms"]
    took = [float(row.split()[4]) for row in rows]
    assert took == sorted((round((p.latency or 0) * 1000, 1) for p in trace.packages), reverse=True)[:5]


def test_every_resend_is_listed_with_its_reason(trace: Trace) -> None:
    *rows, total = list(resends(trace))[1:]
    assert len(rows) == sum(len(package.resends) for package in trace.packages)
    assert re.fullmatch(rf"{len(rows)} resends: (\d+ \w+(, )?)+", total)
    assert all(re.search(r" (overtaken|timeout|twin|probe) ", row) for row in rows)


def test_perfetto_has_actors_as_threads_and_flows_that_are_bound(trace: Trace) -> None:
    events: list[dict[str, Any]] = json.loads(json.dumps(perfetto(trace)))["traceEvents"]
    threads = {event["args"]["name"] for event in events if event["name"] == "thread_name"}
    assert threads >= {"usender", "resender", "ureceiver", "confirmer", "dsender"}
    slices = {(e["pid"], e["tid"], e["ts"]) for e in events if e["ph"] == "X"}
    flows = [event for event in events if event["ph"] in "stf"]
    assert all((event["pid"], event["tid"], event["ts"]) in slices for event in flows), "a flow joins slices"
    for number in {event["id"] for event in flows}:
        phases = [event["ph"] for event in flows if event["id"] == number]
        assert (phases[0], phases[-1]) == ("s", "f")
        assert set(phases[1:-1]) <= {"t"}
    assert len([e for e in events if e["ph"] == "b"]) == len([e for e in events if e["ph"] == "e"]) == 200
    assert any(event["ph"] == "C" and event["name"] == f"window to {THERE}" for event in events)


def test_qlog_has_a_trace_for_each_end_with_the_same_packet_numbers(trace: Trace) -> None:
    log = json.loads(json.dumps(qlog(trace)))
    assert (log["qlog_version"], log["qlog_format"]) == ("0.3", "JSON")
    sender, receiver = log["traces"]
    assert [one["vantage_point"]["name"] for one in (sender, receiver)] == [HERE, THERE]
    assert sender["common_fields"]["ODCID"] == receiver["common_fields"]["ODCID"]

    def packets(one: Any, name: str) -> dict[int, Any]:
        found = [event["data"] for event in one["events"] if event["name"] == f"transport:{name}"]
        return {data["header"]["packet_number"]: data["frames"][0] for data in found}

    sent, received = packets(sender, "packet_sent"), packets(receiver, "packet_received")
    assert len(sent) == sum(len(package.sendings) for package in trace.packages), "a packet number is used once"
    assert 200 <= len(received) < len(sent)
    assert all(sent[number] == frame for number, frame in received.items())
    acked = {
        number
        for frame in packets(sender, "packet_received").values()
        for first, last in frame["acked_ranges"]
        for number in range(first, last + 1)
    }
    assert acked <= set(received)
    lost = [
        event["data"]["header"]["packet_number"]
        for event in sender["events"]
        if event["name"] == "recovery:packet_lost"
    ]
    assert lost
    assert set(lost) <= set(sent)
    assert any("congestion_window" in event["data"] for event in sender["events"])
    for one in log["traces"]:
        assert [event["time"] for event in one["events"]] == sorted(event["time"] for event in one["events"])


def test_plots_show_latency_and_window(trace: Trace) -> None:
    (one,) = series(trace)
    assert len(one.latency) == 200
    assert one.window
    root = ET.fromstring(plot_svg([one]))  # noqa: S314 - our own
    assert len(list(root.iter(f"{SVG}circle"))) == 200 + 1
    assert len(list(root.iter(f"{SVG}path"))) == 1
    text = in_terminal([one], 80)
    assert "latency of each package, ms" in text
    assert "window, KiB" in text


def test_without_a_sender_there_is_nothing_to_plot(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="debug events of a sender"):
        series(merged(tmp_path, Script(HERE)))
