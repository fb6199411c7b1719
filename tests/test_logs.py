"""A plain event is written by a short way; the line is that of the long one."""

from __future__ import annotations

import json
import logging
import re
import sys
from pathlib import Path

import pytest
import structlog

from app.logs import JsonLines, formatter_of, in_one_line
from app.settings import LogFormat


@pytest.fixture
def formatter() -> structlog.stdlib.ProcessorFormatter:
    made = formatter_of(LogFormat.JSON)
    assert isinstance(made, JsonLines)
    return made


def record(extra: dict[str, object]) -> logging.LogRecord:
    return logging.getLogger("ingest.pipeline").makeRecord(
        "ingest.pipeline", logging.INFO, __file__, 1, "group committed", (), None, extra=extra
    )


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"messages": 3, "commit_ms": 1.25, "why": None, "sorts": ["a", 1]},
        {"name_zh": "云安水泥", "path": Path("/x"), "color_message": "again"},
    ],
)
def test_the_short_way_writes_the_line_of_the_long_one(
    formatter: structlog.stdlib.ProcessorFormatter, extra: dict[str, object]
) -> None:
    chain = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=formatter.foreign_pre_chain, processors=formatter.processors
    )
    short, long = (re.sub(r'"timestamp": "[^"]+Z"', "then", way.format(record(extra))) for way in (formatter, chain))
    assert short == long
    assert "then" in short


def test_an_error_is_written_with_its_traceback(formatter: structlog.stdlib.ProcessorFormatter) -> None:
    try:
        raise ValueError("that")
    except ValueError:
        failed = record({"n": 1})
        failed.exc_info = sys.exc_info()
    line = json.loads(formatter.format(failed))
    assert (line["event"], line["n"]) == ("group committed", 1)
    assert "ValueError: that" in line["exception"]


@pytest.mark.parametrize("log_format", list(LogFormat))
def test_what_is_tried_again_says_why_it_failed_in_one_line(log_format: LogFormat) -> None:
    try:
        raise ConnectionRefusedError("the database is away")
    except ConnectionRefusedError:
        failed = logging.LogRecord("asyncpg.pool", logging.WARNING, "", 0, "retrying", (), sys.exc_info())
    assert in_one_line(failed)
    line = formatter_of(log_format).format(failed)
    assert "\n" not in line
    assert "retrying" in line
    assert "the database is away" in line
