"""Context variables that travel with a package to its events, from whoever sends it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

import structlog

from ..protocol.packages import OutPackage

__all__ = ["TracedPackage", "with_context"]

_SPAN_NAMES: Final = frozenset({"trace_id", "span_id"})


class TracedPackage(OutPackage, frozen=True, gc=False):
    """A package that knows in what context it was sent.

    Attributes:
        context: names and values.
    """

    context: dict[str, Any] = {}  # noqa: RUF012 - msgspec copies it


def with_context(names: Collection[str]) -> Callable[[OutPackage], OutPackage] | None:
    """Return what gives a package the present values of these context variables, or None if there are none to give.

    Raises:
        TypeError: it is a single name, not a collection of them.
    """
    if isinstance(names, str):
        raise TypeError(f"trace_context is a collection of names, such as ({names!r},), not a str")
    if not names:
        return None
    wanted = frozenset(names)
    spans = wanted & _SPAN_NAMES and find_spec("opentelemetry") is not None
    current_span: Callable[[], Any] | None = import_module("opentelemetry.trace").get_current_span if spans else None

    def carry(package: OutPackage) -> OutPackage:
        context = {name: value for name, value in structlog.contextvars.get_contextvars().items() if name in wanted}
        if current_span is not None:
            span = current_span().get_span_context()
            if span.is_valid:
                ids = {"trace_id": f"{span.trace_id:032x}", "span_id": f"{span.span_id:016x}"}
                context |= {name: value for name, value in ids.items() if name in wanted}
        if not context:
            return package
        return TracedPackage(
            package.data,
            package.reliability,
            package.peers,
            package.target,
            package.lifetime,
            package.eager,
            context,
        )

    return carry
