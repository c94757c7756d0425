"""Which logger a stack writes to.

A library does not configure logging. In this order: the logger the program passes in, of structlog or the standard
library; structlog, if the program has configured it; else the standard library's logger `packhorse`, silent unless the
program adds a handler.
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
    """Return the logger to bind a stack's context to; `logger` is the program's own, of structlog or of logging.

    Raises:
        TypeError: it is no such logger.
    """
    if logger is None and structlog.is_configured():
        return cast("FilteringBoundLogger", structlog.get_logger("packhorse"))
    if logger is None or isinstance(logger, logging.Logger):
        return _of_the_standard_library(logger or logging.getLogger("packhorse"))
    if not callable(getattr(logger, "bind", None)):
        raise TypeError(f"a logger is one of structlog's or of logging's, not a {type(logger).__name__}")
    return cast("FilteringBoundLogger", logger)


def _of_the_standard_library(logger: logging.Logger) -> FilteringBoundLogger:
    processors: list[Any] = [
        structlog.stdlib.filter_by_level,
        structlog.processors.format_exc_info,
        structlog.processors.KeyValueRenderer(key_order=["event", "stack", "node"]),
    ]
    wrapped = structlog.wrap_logger(logger, processors=processors, wrapper_class=structlog.stdlib.BoundLogger)
    return cast("FilteringBoundLogger", wrapped)
