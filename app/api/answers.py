"""How answers look: exact decimals in JSON, cursors, and what a cell of a table holds."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Any, get_args
from zoneinfo import ZoneInfo

import msgspec
from fastapi import Depends, Query, Request
from pydantic import BaseModel
from starlette.responses import Response

from app.api.problems import BadCursor, BadQuery
from energy.interval import from_us

_encoder = msgspec.json.Encoder(decimal_format="number")
CSV_TYPE = "text/csv"
XLSX_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
PARQUET_TYPE = "application/vnd.apache.parquet"
SINK = "tcewatch.sink"
"""Where a request from inside says that it wants rows and no answer; nobody outside can say it."""
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
    PARQUET = "parquet"


AskedFormat = Annotated[Format | None, Query(alias="format", description="Instead of the Accept header.")]
Columns = Mapping[str, str]
"""The columns of a table in order, each with what it holds: text, number, integer, flag, time or date."""


@dataclass(slots=True)
class Sink:
    """Takes one piece of a table from its route, for `app.api.exports`.

    `resume`: where a series goes on; a list reads its cursor from the query. `first`: whether it is the first piece.
    `following`: where the next piece begins.
    """

    resume: str | None = None
    first: bool = True
    rows: Sequence[Mapping[str, Any]] = ()
    columns: Columns = field(default_factory=dict)
    name: str = ""
    following: str | None = None
    filled: bool = False

    def take(
        self, rows: Sequence[Mapping[str, Any]], columns: Columns, name: str, following: str | None = None
    ) -> Response:
        """Keeps the rows; what the route answers then is read by nobody."""
        self.rows, self.columns, self.name, self.following = rows, columns, name, following
        self.filled = True
        return Response(status_code=204)


def sink_of(request: Request) -> Sink | None:
    """Whether rows are wanted and no answer."""
    found: Sink | None = request.scope.get(SINK)
    return found


def columns_of(model: type[BaseModel]) -> Columns:
    """A table's columns are the fields of what a list answers."""
    return {name: _holds(field.annotation, field.json_schema_extra) for name, field in model.model_fields.items()}


def columns_found(rows: Sequence[Mapping[str, Any]]) -> Columns:
    """The columns of rows that no model describes: all that occur, numbers where nothing else stands in one."""
    columns: dict[str, str] = {}
    for row in rows:
        for name, value in row.items():
            kind = "number" if isinstance(value, int | float | Decimal) and not isinstance(value, bool) else "text"
            columns[name] = kind if value is not None and columns.get(name) != "text" else columns.get(name, "number")
    return columns


def _holds(annotation: Any, extra: Any) -> str:
    kinds = {kind for kind in get_args(annotation) or (annotation,) if kind is not type(None)}
    if isinstance(extra, dict) and extra.get("type") == "number":
        return "number"
    if len(kinds) != 1:
        return "text"
    (kind,) = kinds
    known = {bool: "flag", int: "integer", float: "number", Decimal: "number", datetime: "time", date: "date"}
    return known.get(kind, "text")


def json_answer(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """JSON with decimals as numbers, every digit of them."""
    return Response(_encoder.encode(body), status, dict(headers or {}), "application/json")


def object_answer(request: Request, body: Mapping[str, Any], moving: Collection[str]) -> Response:
    """One object, some of whose fields move by themselves. Its tag says in front which facts of it people have set.

    So whoever has the answer is told by `If-None-Match` when a field moves, and a change with `If-Match` is not refused
    because of data that came meanwhile.
    """
    facts = _encoder.encode({name: value for name, value in body.items() if name not in moving})
    request.state.facts = hashlib.sha256(facts).hexdigest()[:16]
    return json_answer(body)


def number(value: Decimal | None) -> Decimal | None:
    """A decimal without needless zeros and without an exponent."""
    if value is None:
        return None
    text = str(value)
    if text[-1] != "0" and "E" not in text:
        return value  # nearly all of them, and a long answer holds thousands
    text = format(value, "f") if "E" in text else text
    return Decimal(text.rstrip("0").rstrip(".") if "." in text else text)


@lru_cache(maxsize=1 << 15)
def local_time(at_us: int, zone: ZoneInfo) -> str:
    """An instant as clocks of the zone show it, with its offset. Edges of buckets are the same in every answer."""
    return from_us(at_us, zone).isoformat()


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


INTEGER_MOST = 2_147_483_647
"""The largest number of a table whose rows are numbered by PostgreSQL's integer."""


def number_key(cursor: str | None, most: int = 10**18 - 1) -> int | None:
    """The number a list goes on after, 0 to `most`. Raises BadCursor."""
    words = key_of(cursor)
    if words is None:
        return None
    if not re.fullmatch(r"[0-9]{1,18}", words[0]) or int(words[0]) > most:
        raise BadCursor("the cursor belongs to another list")
    return int(words[0])


def integer_key(cursor: str | None) -> int | None:
    """`number_key` of a table numbered by integers. Raises BadCursor."""
    return number_key(cursor, INTEGER_MOST)


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
    ours = {
        CSV_TYPE: Format.CSV,
        XLSX_TYPE: Format.XLSX,
        PARQUET_TYPE: Format.PARQUET,
        "application/json": Format.JSON,
    }
    return next((ours[kind] for kind in accepted if kind in ours), Format.JSON)


def following_page(request: Request, cursor: str) -> str:
    """The next page's address, without a host: the one the request names is the caller's to choose."""
    url = request.url.include_query_params(cursor=cursor)
    return f"{url.path}?{url.query}"


def listed(
    request: Request,
    items: Sequence[Mapping[str, Any]],
    following: str | None,
    asked: Format | None,
    name: str,
    model: type[BaseModel],
) -> Response:
    """A list as JSON, with its next page in the Link header too. Other forms of it are made by `app.api.exports`."""
    cursor = cursor_of(following)
    sink = sink_of(request)
    if sink is not None:
        return sink.take(items, columns_of(model), name, cursor)
    headers = {}
    if cursor is not None:
        headers["Link"] = f'<{following_page(request, cursor)}>; rel="next"'
    return json_answer({"items": items, "next": cursor}, headers=headers)


@dataclass(frozen=True, slots=True)
class ListQuery:
    """What every list is asked: how much of it, from where on, and in which form."""

    request: Request
    limit: int
    cursor: str | None
    form: Format | None

    def answer(
        self, items: Sequence[Mapping[str, Any]], following: str | None, name: str, model: type[BaseModel]
    ) -> Response:
        return listed(self.request, items, following, self.form, name, model)


async def list_query(
    request: Request, limit: Limit = 100, cursor: Cursor = None, asked: AskedFormat = None
) -> ListQuery:
    return ListQuery(request, limit, cursor, asked)


async def long_list_query(
    request: Request, limit: Limit = 1000, cursor: Cursor = None, asked: AskedFormat = None
) -> ListQuery:
    return ListQuery(request, limit, cursor, asked)


Asking = Annotated[ListQuery, Depends(list_query)]
AskingMany = Annotated[ListQuery, Depends(long_list_query)]
"""The same with a page of 1,000 by default: for rows as short as a reading."""


def cell(value: Any) -> Any:
    """A value as a cell. Text that a spreadsheet would run as a formula gets an apostrophe in front."""
    if value is None or isinstance(value, bool | int | float | Decimal):
        return value
    if isinstance(value, date):
        return value.isoformat()
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return "'" + text if text.startswith(FORMULA_STARTS) else text


def xlsx_cell(value: Any) -> Any:
    """Raises BadQuery for a text that does not fit, so that nothing is lost silently."""
    if isinstance(value, str) and len(value) > XLSX_CELL_MAX:
        raise BadQuery("format", f"a cell of XLSX holds {XLSX_CELL_MAX} characters, one here {len(value)}; ask for csv")
    return float(value) if isinstance(value, Decimal) else value
