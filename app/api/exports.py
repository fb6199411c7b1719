"""Tables as CSV, XLSX and Parquet, of any length in constant memory, at once or as a job.

A table is asked for piece by piece, each piece a request of its own to the very route that answers JSON: the same
rules, the same rows, no transaction that a slow reader could hold open, and a token that is revoked meanwhile ends it.
CSV goes out as it is read. XLSX and Parquet are files that are whole only at the end, so up to ROWS_AT_ONCE rows they
are answered and beyond it they become a job (202); `Prefer: respond-async` makes a job of anything.
"""

from __future__ import annotations

import asyncio
import csv
import io
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlencode

import xlsxwriter
from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.answers import (
    CSV_TYPE,
    PARQUET_TYPE,
    SINK,
    XLSX_TYPE,
    Columns,
    Format,
    Sink,
    cell,
    following_page,
    format_of,
    json_answer,
    xlsx_cell,
)
from app.api.parameters import query_names
from app.api.problems import BadQuery, ParquetMissing

PREFIX = "/api/v1"
ROWS_A_PIECE = 1000
ROWS_AT_ONCE = 50_000
"""Rows an XLSX or Parquet file may have and still be made while the caller waits: about ten seconds."""
XLSX_ROWS_MAX = 1_048_575
"""Rows a sheet holds below its head (ECMA-376)."""
WIDTHS = {"text": 22, "time": 34}
"""Characters a column shows: a credit code or a name, a time with its offset; 12 for the rest."""
CHUNK_BYTES = 256 << 10
EXTENSIONS = {Format.CSV: "csv", Format.XLSX: "xlsx", Format.PARQUET: "parquet"}
TYPES = {Format.CSV: f"{CSV_TYPE}; charset=utf-8", Format.XLSX: XLSX_TYPE, Format.PARQUET: PARQUET_TYPE}
MADE_AT = datetime(2000, 1, 1, tzinfo=UTC)
"""The same table is the same file, so that its tag says whether somebody has it."""
Jobs = Callable[[Request, Scope, Format], Awaitable[Mapping[str, Any]]]


class Refused(Exception):
    """The route answered something else than rows. Attribute: answer."""

    def __init__(self, answer: Response) -> None:
        self.answer = answer
        super().__init__(f"status {answer.status_code}")


class TooLong(Exception):
    """More rows than are made while the caller waits."""


# Pieces ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Asked:
    """A table that somebody wants: the request for it, and the parameters its route knows."""

    scope: Scope
    known: frozenset[str]

    @property
    def query(self) -> list[tuple[str, str]]:
        return parse_qsl(self.scope["query_string"].decode("latin-1"), keep_blank_values=True)

    @property
    def whole(self) -> bool:
        """Not one page of a list but all of it."""
        return not {"limit", "cursor"} & {name for name, _ in self.query}


def asked_table(app: Any, scope: Scope) -> Asked | None:
    """The table this request is for; None for a request for something else."""
    path = scope["path"].removeprefix(PREFIX)
    for route in app.state.api_routes:
        if isinstance(route, APIRoute) and route.matches({**scope, "path": path})[0] is Match.FULL:
            known = query_names(route.dependant)
            return Asked(scope, known) if "format" in known else None
    return None


async def pieces(ask: ASGIApp, asked: Asked) -> AsyncIterator[Sink]:
    """The rows of a table, piece by piece. Raises Refused where the route answers something else."""
    query, resume, first = asked.query, None, True
    if asked.whole and "limit" in asked.known:
        query.append(("limit", str(ROWS_A_PIECE)))
    while True:
        sink, first = Sink(resume, first), False
        answer = await _ask_once(ask, asked.scope, query, sink)
        if not sink.filled:
            raise Refused(answer)
        yield sink
        if sink.following is None or not asked.whole:
            return
        if "cursor" in asked.known:
            query = [(name, value) for name, value in query if name != "cursor"] + [("cursor", sink.following)]
        else:
            resume = sink.following


async def _ask_once(ask: ASGIApp, scope: Scope, query: Sequence[tuple[str, str]], sink: Sink) -> Response:
    """One request inside the process. Its rows go to the sink; what it answers instead comes back."""
    inner = {**scope, "query_string": urlencode(query).encode("latin-1"), "state": dict(scope.get("state", {}))}
    inner[SINK] = sink
    got: list[Message] = []

    async def nothing_more() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def keep(message: Message) -> None:
        got.append(message)

    await ask(inner, nothing_more, keep)
    scope.setdefault("state", {}).update(inner["state"])
    start = next(message for message in got if message["type"] == "http.response.start")
    body = b"".join(message.get("body", b"") for message in got if message["type"] == "http.response.body")
    answer = Response(body, start["status"])
    answer.raw_headers = list(start["headers"])
    return answer


# Files ----------------------------------------------------------------------------------------------------------------


class Writer(Protocol):
    """A file that grows row by row; `close` makes it whole. `add` raises BadQuery for what the form cannot hold."""

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None: ...
    def close(self) -> None: ...


def csv_bytes(columns: Columns, rows: Sequence[Mapping[str, Any]], *, first: bool) -> bytes:
    """Lines of CSV; the first have a byte-order mark, without which Excel misreads Chinese, and the names."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    if first:
        writer.writerow(columns)
    writer.writerows([cell(row.get(column)) for column in columns] for row in rows)
    return out.getvalue().encode("utf-8-sig" if first else "utf-8")


class CsvFile:
    def __init__(self, path: Path, columns: Columns) -> None:
        self._columns, self._file, self._first = columns, path.open("wb"), True

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self._file.write(csv_bytes(self._columns, rows, first=self._first))
        self._first = False

    def close(self) -> None:
        self._file.close()


class XlsxFile:
    """A sheet whose rows leave memory as they are written."""

    def __init__(self, path: Path, columns: Columns) -> None:
        settings = {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
        self._book = xlsxwriter.Workbook(str(path), settings | {"tmpdir": str(path.parent)})
        self._book.set_properties({"created": MADE_AT.replace(tzinfo=None)})
        self._sheet = self._book.add_worksheet()
        self._sheet.freeze_panes(1, 0)
        self._sheet.write_row(0, 0, list(columns), self._book.add_format({"bold": True}))
        for at, (column, kind) in enumerate(columns.items()):
            self._sheet.set_column(at, at, max(len(column) + 2, WIDTHS.get(kind, 12)))
        self._columns, self._written = columns, 0

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        if self._written + len(rows) > XLSX_ROWS_MAX:
            raise BadQuery(
                "format", f"a sheet of XLSX holds {XLSX_ROWS_MAX:,} rows and this table is longer; ask for csv"
            )
        for row in rows:
            self._written += 1
            self._sheet.write_row(self._written, 0, [xlsx_cell(cell(row.get(name))) for name in self._columns])

    def close(self) -> None:
        self._book.close()


class ParquetFile:
    """Columns with types; decimals become doubles, times are microseconds of UTC. Raises ParquetMissing."""

    ROWS_A_GROUP = 20_000

    def __init__(self, path: Path, columns: Columns) -> None:
        try:
            import pyarrow as pa
            from pyarrow import parquet
        except ImportError as error:
            raise ParquetMissing("Parquet needs the extra: pip install 'tcewatch[parquet]'") from error
        types = {
            "text": pa.string(),
            "number": pa.float64(),
            "integer": pa.int64(),
            "flag": pa.bool_(),
            "time": pa.timestamp("us", "UTC"),
            "date": pa.date32(),
        }
        self._arrow, self._columns = pa, columns
        self._schema = pa.schema([(name, types[kind]) for name, kind in columns.items()])
        self._writer = parquet.ParquetWriter(path, self._schema, compression="zstd")
        self._waiting: list[Mapping[str, Any]] = []

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self._waiting += rows
        if len(self._waiting) >= self.ROWS_A_GROUP:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        lines = [{name: _typed(row.get(name), kind) for name, kind in self._columns.items()} for row in self._waiting]
        self._writer.write_table(self._arrow.Table.from_pylist(lines, self._schema))
        self._waiting = []


def _typed(value: Any, kind: str) -> Any:
    """A value as its column holds it."""
    if value is None:
        return None
    match kind:
        case "number":
            return float(value)
        case "time":
            return datetime.fromisoformat(value) if isinstance(value, str) else value
        case "date":
            return date.fromisoformat(value) if isinstance(value, str) else value
        case "text":
            shown = cell(value)
            return str(value) if isinstance(value, str) else str(shown)
        case _:
            return value


WRITERS: Mapping[Format, Callable[[Path, Columns], Writer]] = {
    Format.CSV: CsvFile,
    Format.XLSX: XlsxFile,
    Format.PARQUET: ParquetFile,
}


@dataclass(frozen=True, slots=True)
class Written:
    """A file that was made: its name, and how many rows it holds."""

    name: str
    rows: int


async def write(
    found: AsyncIterator[Sink],
    form: Format,
    path: Path,
    told: Callable[[int], Awaitable[None]],
    *,
    rows_max: int | None = None,
) -> Written:
    """All pieces into one file; `told` hears of the rows after each. Raises Refused, TooLong, BadQuery."""
    writer: Writer | None = None
    name, rows = "", 0
    try:
        async for sink in found:
            if writer is None:
                writer, name = WRITERS[form](path, sink.columns), f"{sink.name}.{EXTENSIONS[form]}"
            rows += len(sink.rows)
            if rows_max is not None and rows > rows_max:
                raise TooLong
            await asyncio.to_thread(writer.add, sink.rows)
            await told(rows)
    finally:
        if writer is not None:
            await asyncio.to_thread(writer.close)
    return Written(name, rows)


async def chunks(path: Path) -> AsyncIterator[bytes]:
    """A file in pieces."""
    with path.open("rb") as file:
        while part := await asyncio.to_thread(file.read, CHUNK_BYTES):
            yield part


# The middleware -------------------------------------------------------------------------------------------------------


class Tables:
    """Answers a request for a table in another form than JSON; everything else goes through."""

    def __init__(self, app: ASGIApp, *, jobs: Jobs) -> None:
        self._app, self._jobs = app, jobs

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET" or SINK in scope:
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        form = _form_of(request)
        asked = None if form is Format.JSON else asked_table(scope["app"], scope)
        if asked is None:
            await self._app(scope, receive, send)
            return
        try:
            answer = await self._answer(request, asked, form)
        except Refused as refused:
            answer = refused.answer
        except Exception as error:
            # We stand outside of what turns errors into answers; what is no known one goes on.
            known = scope["app"].exception_handlers
            kind = next((kind for kind in type(error).__mro__ if kind in known and kind is not Exception), None)
            if kind is None:
                raise
            answer = await known[kind](request, error)
        await answer(scope, receive, send)

    async def _answer(self, request: Request, asked: Asked, form: Format) -> Response:
        found = pieces(self._app, asked)
        first = await anext(found)
        if _wants_a_job(request) and asked.whole:
            return await self._as_job(request, asked, form)
        headers = {"Content-Disposition": f'attachment; filename="{first.name}.{EXTENSIONS[form]}"'}
        if first.following is not None and not asked.whole:
            headers["Link"] = f'<{following_page(request, first.following)}>; rel="next"'
        rest = _again(first, found)
        if form is Format.CSV:
            return await self._csv(first, rest, headers)
        return await self._file(request, asked, form, rest, headers)

    async def _csv(self, first: Sink, rest: AsyncIterator[Sink], headers: Mapping[str, str]) -> Response:
        if first.following is None or "Link" in headers:
            return Response(csv_bytes(first.columns, first.rows, first=True), 200, headers, TYPES[Format.CSV])

        async def lines() -> AsyncIterator[bytes]:
            at_first = True
            async for sink in rest:
                yield csv_bytes(first.columns, sink.rows, first=at_first)
                at_first = False

        return StreamingResponse(lines(), 200, headers, TYPES[Format.CSV])

    async def _file(
        self,
        request: Request,
        asked: Asked,
        form: Format,
        rest: AsyncIterator[Sink],
        headers: Mapping[str, str],
    ) -> Response:
        async def unheard(_: int) -> None:
            """Nobody watches a file that is made while the caller waits."""

        with tempfile.TemporaryDirectory(prefix="tcewatch-export-") as folder:
            path = Path(folder) / "table"
            try:
                await write(rest, form, path, unheard, rows_max=ROWS_AT_ONCE)
            except TooLong:
                return await self._as_job(request, asked, form)
            return Response(await asyncio.to_thread(path.read_bytes), 200, headers, TYPES[form])

    async def _as_job(self, request: Request, asked: Asked, form: Format) -> Response:
        job = await self._jobs(request, asked.scope, form)
        headers = {"Location": f"/api/v1/jobs/{job['id']}", "Preference-Applied": "respond-async", "Retry-After": "2"}
        return json_answer(job, 202, headers)


async def _again(first: Sink, rest: AsyncIterator[Sink]) -> AsyncIterator[Sink]:
    yield first
    async for sink in rest:
        yield sink


def _form_of(request: Request) -> Format:
    """The form asked for; one that there is none of is left to the route to refuse."""
    words = request.query_params.get("format")
    if words is not None and words not in list(Format):
        return Format.JSON
    return format_of(request, None if words is None else Format(words))


def _wants_a_job(request: Request) -> bool:
    wishes = Headers(scope=request.scope).getlist("prefer")
    return any("respond-async" in wish.lower().replace(" ", "").split(",") for wish in wishes)
