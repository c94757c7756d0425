"""Context variables that travel with packages to their events."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span

from packhorse import OutPackage, Peers, Reliability
from packhorse.actors.context import TracedPackage, with_context

THERE = ("10.0.0.2", 2)


@pytest.fixture(autouse=True)
def no_context() -> Iterator[None]:
    structlog.contextvars.clear_contextvars()
    yield
    structlog.contextvars.clear_contextvars()


def package() -> OutPackage:
    return OutPackage(b"x", Reliability.UNORDERED, Peers.SERVER, THERE, lifetime=2.0, eager=3)


def carried(*names: str) -> OutPackage:
    carry = with_context(names)
    assert carry is not None
    return carry(package())


def test_only_what_was_asked_for_travels_and_the_package_stays_what_it_is() -> None:
    structlog.contextvars.bind_contextvars(request="7", other="no")
    traced = carried("request", "absent")
    assert isinstance(traced, TracedPackage)
    assert traced.context == {"request": "7"}
    plain = package()
    assert all(getattr(traced, name) == getattr(plain, name) for name in plain.__struct_fields__)


def test_without_a_value_or_without_names_nothing_changes() -> None:
    assert carried("request") == package()
    assert with_context(()) is None


def test_a_single_name_is_not_taken_for_a_collection_of_letters() -> None:
    with pytest.raises(TypeError, match="'request'"):
        with_context("request")


def test_trace_and_span_travel_when_a_span_is_open() -> None:
    assert carried("trace_id", "span_id") == package()
    span = NonRecordingSpan(SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=TraceFlags(1)))
    with use_span(span):
        traced = carried("trace_id", "span_id")
    assert isinstance(traced, TracedPackage)
    assert traced.context == {"trace_id": f"{0xABC:032x}", "span_id": f"{0xDEF:016x}"}
