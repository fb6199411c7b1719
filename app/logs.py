"""Log lines: an event and its facts, as JSON for machines or as text for people. Secrets never get here."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

import structlog

from app.settings import LogFormat

PLAIN = frozenset((*vars(logging.makeLogRecord({})), "message", "asctime"))
"""What every record has; the rest are the facts of the event."""
ENCODE = json.JSONEncoder(ensure_ascii=False, default=repr).encode
QUIET = ("uvicorn.access", "asyncio", "alembic.runtime.migration")
TRIES_AGAIN = ("asyncpg.pool",)
"""Say it at every try while the database is away: what was tried and why it failed is enough."""


def without_colours(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """The server repeats some of its lines for coloured terminals; once is enough."""
    event.pop("color_message", None)
    return event


def in_one_line(record: logging.LogRecord) -> bool:
    """Keeps of an exception what it says."""
    if record.exc_info and record.exc_info[1] is not None:
        record.why = str(record.exc_info[1])
        record.exc_info = None
    return True


class JsonLines(structlog.stdlib.ProcessorFormatter):
    """Lines of JSON. A plain event, as each commit has one, is written without the chain, which takes five times as
    long; the line is the same."""

    def format(self, record: logging.LogRecord) -> str:
        if record.exc_info or record.stack_info or not isinstance(record.msg, str):
            return super().format(record)
        line: dict[str, object] = {
            "event": record.getMessage(),
            "logger": record.name,
            "level": record.levelname.lower(),
        }
        line |= {key: value for key, value in vars(record).items() if key not in PLAIN}
        line.pop("color_message", None)
        line["timestamp"] = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        return ENCODE(line)


def formatter_of(log_format: LogFormat) -> structlog.stdlib.ProcessorFormatter:
    """How a record becomes a line."""
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        without_colours,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    as_json = log_format is LogFormat.JSON
    last = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if as_json
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    kind = JsonLines if as_json else structlog.stdlib.ProcessorFormatter
    return kind(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
    )


def set_up_logs(log_format: LogFormat, level: int = logging.INFO) -> None:
    """Every logger of the process, the libraries' too, writes one line an event to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter_of(log_format))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in TRIES_AGAIN:
        logging.getLogger(name).addFilter(in_one_line)
