"""The journal of a stack: order, listeners, and thinning out."""

from __future__ import annotations

from typing import Any

import pytest
import structlog
from structlog.testing import LogCapture

from packhorse.actors.tracing import Journal, Tracer
from packhorse.testing import ManualClock

HERE = ("10.0.0.1", 1)
THERE = ("10.0.0.2", 2)


def journal(level: int = 10, **options: Any) -> tuple[Journal, LogCapture]:
    log = LogCapture()
    logger = structlog.wrap_logger(None, processors=[log], wrapper_class=structlog.make_filtering_bound_logger(level))
    return Journal(logger, ManualClock(5.0), **options), log


def numbered(tracer: Tracer, first: int, count: int) -> None:
    tracer.note([("package:numbered", {"target": THERE, "id": first, "count": count})])


def test_events_have_the_stacks_time_and_are_numbered_over_all_its_actors() -> None:
    made, log = journal()
    one, other = made.tracer(node="one"), made.tracer(node="other")
    one.info("a")
    other.warning("b")
    one.bind(generation=1).error("c")
    assert [(entry["seq"], entry["time"], entry["node"]) for entry in log.entries] == [
        (1, 5.0, "one"),
        (2, 5.0, "other"),
        (3, 5.0, "one"),
    ]
    assert log.entries[2]["generation"] == 1
    assert [entry["log_level"] for entry in log.entries] == ["info", "warning", "error"]


def test_a_logger_that_wants_no_debug_events_gets_none_and_is_asked_once() -> None:
    made, log = journal(level=20)
    assert not made.traced
    made.tracer().debug("package:kept")
    assert log.entries == []


def test_whoever_listens_gets_debug_events_too_until_it_has_enough() -> None:
    made, log = journal(level=20)
    tracer = made.tracer(node="one")
    heard: list[dict[str, Any]] = []
    end = made.tap(heard.append)
    assert made.traced
    tracer.debug("package:kept", count=1)
    end()
    tracer.debug("package:kept", count=2)
    assert not made.traced
    assert [(event["event"], event["node"], event["count"]) for event in heard] == [("package:kept", "one", 1)]
    assert log.entries == []


def test_notes_are_told_at_the_level_of_the_table() -> None:
    made, log = journal()
    made.tracer().note(
        [("peer:first_seen", {"target": THERE}), ("package:kept", {"source": THERE, "id": 1, "count": 1})]
    )
    assert [entry["log_level"] for entry in log.entries] == ["info", "debug"]


@pytest.mark.parametrize(
    ("first", "count", "told"),
    [(0, 1, [0]), (1, 99, []), (95, 10, [100]), (0xFFFFFF - 20, 50, [0xFFFFFF - 15]), (150, 200, [200, 300])],
)
def test_a_sample_tells_of_every_nth_id_on_both_ends_alike(first: int, count: int, told: list[int]) -> None:
    made, log = journal(sample=100)
    numbered(made.tracer(), first, count)
    ids = [wire_id for entry in log.entries for wire_id in entry["ids"]]
    assert {wire_id % 100 for wire_id in ids} <= {0}
    assert all((wire_id - first) & 0xFFFFFF < count for wire_id in ids)
    assert bool(ids) is bool(told)


def test_a_sample_tells_of_each_package_what_is_true_of_it() -> None:
    made, log = journal(sample=10)
    ids = [7, 20, 21, 40, 50]
    differing = {"size": [1, 2, 3, 4, 5], "reliability": ["a", "b", "c", "b", "b"]}
    made.tracer().note(
        [("package:numbered", {"target": THERE, "ids": ids, "count": 5, **differing, "waited": 0.5})],
    )
    (entry,) = log.entries
    assert (entry["ids"], entry["count"], entry["target"]) == ([20, 40, 50], 3, THERE)
    assert entry["size"] == [2, 4, 5]
    assert entry["reliability"] == "b", "one value, since they are alike"
    assert entry["waited"] == 0.5


def test_a_sample_thins_out_what_is_not_about_packages_as_well() -> None:
    made, log = journal(sample=10)
    for _ in range(100):
        made.tracer().debug("recovery:rtt_updated", target=THERE)
    assert len(log.entries) == 10


def test_only_some_peers_can_be_told_of() -> None:
    made, log = journal(peers=[THERE])
    tracer = made.tracer()
    tracer.debug("package:queued", target=HERE)
    tracer.debug("package:queued", target=THERE)
    tracer.debug("package:kept", source=THERE)
    tracer.warning("peer:failed", target=HERE)
    assert [entry["event"] for entry in log.entries] == ["package:queued", "package:kept", "peer:failed"]


def test_a_sample_of_less_than_one_is_refused() -> None:
    with pytest.raises(ValueError, match="one package in 1 or more"):
        journal(sample=0)


def test_an_exception_is_told_with_its_trace() -> None:
    made, log = journal()
    made.tracer().exception("stack:failed")
    assert log.entries[0]["exc_info"] is True


def test_a_logger_that_raises_is_told_of_once_and_costs_only_the_events(capsys: pytest.CaptureFixture[str]) -> None:
    def full(*_: object) -> Any:
        raise OSError("disk full")

    journal = Journal(structlog.wrap_logger(None, processors=[full]), ManualClock())
    tracer = journal.tracer()
    for _ in range(3):
        tracer.info("actor:started")
    assert journal.failed == 3
    said = capsys.readouterr().err
    assert said.startswith("packhorse goes on, though its logger raised:\nTraceback")
    assert said.count("OSError: disk full") == 1
