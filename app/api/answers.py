"""How answers look: exact decimals in JSON, cursors, ETags, and the same table as CSV or XLSX."""

from __future__ import annotations

import base64
import binascii
import csv
import hashlib
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any

import msgspec
import xlsxwriter
from fastapi import Query, Request
from pydantic import BaseModel
from starlette.responses import Response

from app.api.problems import BadCursor, BadQuery

_encoder = msgspec.json.Encoder(decimal_format="number")
CSV_TYPE = "text/csv"
XLSX_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""Full-width signs too: spreadsheets of East Asia take them for the plain ones."""
XLSX_CELL_MAX = 32_767
"""Characters a cell may hold (ECMA-376); the writer would leave a longer one empty without a word."""
KEY_SEPARATOR = "\x1f"

Limit = Annotated[int, Query(ge=1, le=1000, description="Most items in one answer.")]
Cursor = Annotated[str | None, Query(max_length=2000, description="The `next` of the answer before.")]


class Format(StrEnum):
    """What a table is answered as."""

    JSON = "json"
    CSV = "csv"
    XLSX = "xlsx"


AskedFormat = Annotated[Format | None, Query(alias="format", description="Instead of the Accept header.")]


def json_answer(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """JSON with decimals as numbers, every digit of them."""
    return Response(_encoder.encode(body), status, dict(headers or {}), "application/json")


def number(value: Decimal | None) -> Decimal | None:
    """A decimal without needless zeros and without an exponent."""
    if value is None:
        return None
    text = format(value, "f")
    return Decimal(text.rstrip("0").rstrip(".") if "." in text else text)


def cursor_of(key: str | None) -> str | None:
    return None if key is None else base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


def key_of(cursor: str | None, parts: int = 1) -> list[str] | None:
    """What a cursor stands for. Raises BadCursor for anything this list did not give out."""
    if cursor is None:
        return None
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError) as error:
        raise BadCursor("the cursor cannot be read; take `next` of the answer before as it is") from error
    words = raw.split(KEY_SEPARATOR)
    if len(words) != parts or "\x00" in raw:
        raise BadCursor("the cursor belongs to another list")
    return words


def number_key(cursor: str | None) -> int | None:
    words = key_of(cursor)
    if words is None:
        return None
    if not re.fullmatch(r"[0-9]{1,18}", words[0]):
        raise BadCursor("the cursor belongs to another list")
    return int(words[0])


def time_key(cursor: str | None) -> datetime | None:
    words = key_of(cursor)
    if words is None:
        return None
    try:
        found = datetime.fromisoformat(words[0])
        if found.tzinfo is None:
            raise BadCursor("the cursor belongs to another list")
        return found.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise BadCursor("the cursor belongs to another list") from error


def format_of(request: Request, asked: Format | None) -> Format:
    """The `format` parameter, else what the Accept header names first among ours."""
    if asked is not None:
        return asked
    accepted = [part.split(";")[0].strip() for part in request.headers.get("accept", "").split(",")]
    ours = {CSV_TYPE: Format.CSV, XLSX_TYPE: Format.XLSX, "application/json": Format.JSON}
    return next((ours[kind] for kind in accepted if kind in ours), Format.JSON)


def listed(
    request: Request,
    items: Sequence[Mapping[str, Any]],
    following: str | None,
    asked: Format | None,
    name: str,
    model: type[BaseModel],
) -> Response:
    """A list in the wished format. A table carries its cursor in the Link header, JSON in `next` as well.

    The columns of a table are the fields of `model`, so that an empty one has them too.
    """
    cursor = cursor_of(following)
    headers = {}
    if cursor is not None:
        headers["Link"] = f'<{request.url.include_query_params(cursor=cursor)}>; rel="next"'
    chosen = format_of(request, asked)
    if chosen is Format.JSON:
        return json_answer({"items": items, "next": cursor}, headers=headers)
    return table(items, list(model.model_fields), chosen, name, headers)


def table(
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[str],
    chosen: Format,
    name: str,
    headers: Mapping[str, str],
) -> Response:
    """Rows as CSV (with a byte-order mark, or Excel misreads Chinese) or as XLSX."""
    lines = ([cell(row.get(column)) for column in columns] for row in rows)
    body, kind = (
        (_csv(columns, lines), f"{CSV_TYPE}; charset=utf-8")
        if chosen is Format.CSV
        else (_xlsx(columns, lines), XLSX_TYPE)
    )
    disposition = {"Content-Disposition": f'attachment; filename="{name}.{chosen.value}"'}
    return Response(body, 200, {**headers, **disposition}, kind)


def cell(value: Any) -> Any:
    """A value as a cell. Text that a spreadsheet would run as a formula gets an apostrophe in front."""
    if value is None or isinstance(value, bool | int | float | Decimal):
        return value
    if isinstance(value, date):
        return value.isoformat()
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return "'" + text if text.startswith(FORMULA_STARTS) else text


def _csv(columns: Sequence[str], lines: Iterable[Sequence[Any]]) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(columns)
    writer.writerows(lines)
    return out.getvalue().encode("utf-8-sig")


def _xlsx(columns: Sequence[str], lines: Iterable[Sequence[Any]]) -> bytes:
    out = io.BytesIO()
    settings = {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
    with xlsxwriter.Workbook(out, settings) as book:
        sheet = book.add_worksheet()
        sheet.write_row(0, 0, columns)
        for number_of, line in enumerate(lines, start=1):
            sheet.write_row(number_of, 0, [_xlsx_cell(value) for value in line])
    return out.getvalue()


def _xlsx_cell(value: Any) -> Any:
    """Raises BadQuery for a text that does not fit, so that nothing is lost silently."""
    if isinstance(value, str) and len(value) > XLSX_CELL_MAX:
        raise BadQuery("format", f"a cell of XLSX holds {XLSX_CELL_MAX} characters, one here {len(value)}; ask for csv")
    return float(value) if isinstance(value, Decimal) else value


def etag(*facts: object) -> str:
    """A weak tag: the same facts, the same figures."""
    return f'W/"{hashlib.sha256(repr(facts).encode()).hexdigest()[:32]}"'


def unchanged(request: Request, tag: str) -> bool:
    """Whether the caller has this answer already."""
    held = [part.strip() for part in request.headers.get("if-none-match", "").split(",")]
    return tag in held or "*" in held
