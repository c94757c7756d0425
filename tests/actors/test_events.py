"""One table of events: its document, and the code that logs, agree with it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from packhorse.actors.events import COMMON, EVENTS, Event, fields_of, names_in, problems, rewritten

ROOT = Path(__file__).parents[2]
FULL = {"time": 1.0, "seq": 0, "stack": "stack-1", "address": "127.0.0.1:1", "level": "debug"}


def test_the_document_holds_the_table() -> None:
    text = (ROOT / "actors" / "EVENTS.md").read_text(encoding="utf-8")
    assert rewritten(text) == text, "make events writes it anew"


def test_the_document_tells_of_no_other_event() -> None:
    text = (ROOT / "actors" / "EVENTS.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`((?:package|transport|recovery|peer|actor|stack):\w+)`", text)) == set(EVENTS)


def test_everything_that_is_logged_is_in_the_table() -> None:
    logged = names_in(ROOT / "actors", ROOT / "protocol", ROOT / "src" / "packhorse" / "testing")
    assert logged, "the search finds nothing"
    assert {name: where for name, where in logged.items() if name not in EVENTS} == {}


def test_everything_in_the_table_is_logged() -> None:
    modules = [path for room in ("actors", "protocol") for path in (ROOT / room).glob("*.py") if path.stem != "events"]
    code = "".join(path.read_text(encoding="utf-8") for path in modules)
    assert [name for name in EVENTS if f'"{name}"' not in code] == []


@pytest.mark.parametrize("event", EVENTS.values(), ids=lambda event: event.name)
def test_names_levels_and_fields_have_their_form(event: Event) -> None:
    assert re.fullmatch(r"(package|transport|recovery|peer|actor|stack):[a-z_]+", event.name)
    assert set(event.level.split(" or ")) <= {"debug", "info", "warning", "error"}
    names = [field.name for field in (*COMMON, *fields_of(event))]
    assert len(names) == len(set(names))
    assert event.which in ("always", "maybe", "never")


def test_a_record_that_lacks_what_the_table_says_is_found_out() -> None:
    good = FULL | {"event": "package:kept", "source": "10.0.0.1:1", "id": 3, "count": 1}
    assert problems(good) == []
    assert problems(good | {"user": "alice"}, bound=["user"]) == [], "a program may bind fields of its own"
    assert problems(good | {"kind": 3}, bound=["user"]) == ["package:kept has kind, which the table does not"]
    assert problems({name: good[name] for name in good if name != "source"}) == ["package:kept lacks source"]
    dropped = FULL | {"event": "transport:datagram_dropped", "direction": "out", "trigger": "EPERM"}
    assert problems(dropped) == problems(dropped | {"level": "warning"}) == []
    assert problems(dropped | {"level": "info"}) == ["transport:datagram_dropped has level info, not debug or warning"]
    assert problems(good | {"level": "info"}) == ["package:kept has level info, not debug"]
    assert problems({name: good[name] for name in good if name != "id"}) == [
        "package:kept does not say which packages: it lacks id or ids"
    ]
    refused = good | {"event": "package:refused", "trigger": "room"}
    assert problems(refused) == []
    assert problems(refused | {"trigger": "mood"}) == [
        "package:refused has trigger 'mood', not one of holes, kept, room"
    ]
    assert problems(good | {"event": "package:eaten"}) == ["'package:eaten' is no event of the table"]


def test_names_are_found_with_where_they_stand(tmp_path: Path) -> None:
    (tmp_path / "some.py").write_text('\nlogger.info("stack:started", name="not:this")\nx = "peer:failed"\n')
    assert names_in(tmp_path) == {
        "stack:started": [f"{tmp_path}/some.py:2"],
        "peer:failed": [f"{tmp_path}/some.py:3"],
    }
