"""Forgetting what was not used for a while."""

from __future__ import annotations

from packhorse.protocol.ageing import Ageing


def test_keys_are_looked_at_when_their_time_has_come_and_gone_when_they_were_forgotten() -> None:
    ageing: Ageing[str] = Ageing()
    asked: list[str] = []

    def look(key: str) -> float | None:
        asked.append(key)
        return {"kept": 30.0, "gone": None}[key]

    ageing.add("kept", 20.0)
    ageing.add("gone", 10.0)
    assert ageing.deadline() == 10.0
    ageing.collect(9.9, look)
    assert asked == []
    ageing.collect(25.0, look)
    assert asked == ["gone", "kept"]
    assert ageing.deadline() == 30.0


def test_nothing_to_look_at_has_no_deadline() -> None:
    ageing: Ageing[str] = Ageing()
    assert ageing.deadline() is None
    ageing.add("key", 1.0)
    ageing.collect(1.0, lambda _key: None)
    assert ageing.deadline() is None


def test_keys_of_the_same_time_need_no_order() -> None:
    ageing: Ageing[object] = Ageing()
    keys = [object() for _ in range(3)]
    for key in keys:
        ageing.add(key, 1.0)
    seen: list[object] = []
    ageing.collect(1.0, seen.append)
    assert seen == keys
