"""Log lines: an event and its facts, as JSON for machines or as text for people. Secrets never get here."""

from __future__ import annotations

import logging
import sys

import structlog

from app.settings import LogFormat

QUIET = ("uvicorn.access", "asyncio", "alembic.runtime.migration")


def without_colours(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """The server repeats some of its lines for coloured terminals; once is enough."""
    event.pop("color_message", None)
    return event


def set_up_logs(log_format: LogFormat, level: int = logging.INFO) -> None:
    """Every logger of the process, the libraries' too, writes one line an event to standard error."""
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        without_colours,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    last = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if log_format is LogFormat.JSON
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
