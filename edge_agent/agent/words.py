"""The agent's own log: how it is written, and how much of it, which may be changed while it runs."""

from __future__ import annotations

import logging
import sys
from typing import Any, Literal

import structlog

Level = Literal["debug", "info", "warning", "error"]


class Words:
    """Configures structlog for this process.

    form   console or json, one object a line on standard error
    level  what is less than this is not written
    """

    def __init__(self, form: str = "console", level: Level = "info") -> None:
        renderer: Any = (
            structlog.processors.JSONRenderer(ensure_ascii=False) if form == "json" else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        )
        self._processors: list[Any] = [structlog.processors.add_log_level, structlog.processors.TimeStamper(fmt="iso", utc=True), renderer]
        self._asked: Level = level
        self.level: Level = level
        self._apply(level)

    def toggle(self) -> None:
        """Everything, or again only what was asked for: a signal while the agent runs."""
        self._apply(self._asked if self.level == "debug" and self._asked != "debug" else "debug")
        structlog.get_logger().warning("log level", level=self.level)

    def _apply(self, level: Level) -> None:
        self.level = level
        structlog.configure(
            processors=self._processors,
            wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
            logger_factory=structlog.PrintLoggerFactory(sys.stderr),
            cache_logger_on_first_use=False,
        )
