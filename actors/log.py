"""Which logger a stack writes to.

A library does not configure logging. In this order: the logger the program passes in; structlog, if the program has
configured it; else the standard library's logger `packhorse`, silent unless the program adds a handler.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, cast

import structlog

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

__all__ = ["choose_logger"]

logging.getLogger("packhorse").addHandler(logging.NullHandler())


def choose_logger(logger: Any = None) -> FilteringBoundLogger:
    """Return the logger to bind a stack's context to; `logger` is the program's own, a structlog logger.

    Raises:
        TypeError: it is no such logger.
    """
    if logger is not None:
        if not callable(getattr(logger, "bind", None)):
            raise TypeError(
                f"a logger is one of structlog's, or has at least its `bind`; this is a {type(logger).__name__}"
            )
        return cast("FilteringBoundLogger", logger)
    if structlog.is_configured():
        return cast("FilteringBoundLogger", structlog.get_logger("packhorse"))
    processors: list[Any] = [
        structlog.stdlib.filter_by_level,
        structlog.processors.format_exc_info,
        structlog.processors.KeyValueRenderer(key_order=["event", "stack", "node"]),
    ]
    return cast(
        "FilteringBoundLogger",
        structlog.wrap_logger(
            logging.getLogger("packhorse"), processors=processors, wrapper_class=structlog.stdlib.BoundLogger
        ),
    )
