"""Brings enterprises, gateways, meters, factors and readings in from CSV and XLSX files: all rows of a file, or none.

Every fault is a line with the number of its row, counted as a spreadsheet counts: the header is row 1.
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
import re
import secrets
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import openpyxl
from openpyxl.utils.exceptions import InvalidFileException
from prometheus_client import CollectorRegistry
from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.settings import PREFIX, Settings
from app.store import budgets, coefficients, corrections, levels, positions, registry
from app.store import lines as production
from app.store.coefficients import FactorsOverlap
from app.store.corrections import CorrectionsOverlap
from app.store.credit_code import WrongCreditCode
from app.store.database import Database
from app.store.entries import (
    BudgetIn,
    CorrectionIn,
    EnterpriseIn,
    FactorIn,
    GatewayIn,
    LevelIn,
    MeterIn,
    OutputIn,
    values_of,
)
from app.store.ingest_registry import StoredRegistry
from app.store.levels import LevelsOverlap
from app.store.lines import MonthInFuture
from app.store.readings import ConflictsFound, ReadingLedger
from app.store.registry import AlreadyThere, Fields, WrongField
from app.store.tables.registry import carrier
from energy.budget import WrongBudget, checked_year
from energy.interval import SiteCalendar
from energy.units import UnitMismatch
from ingest.accounts import BrokerAccounts, BrokerRefused, BrokerUnavailable, NameReserved
from ingest.batch import Door, Group, ReadingBatch, Received, Verdict
from ingest.decode import decode
from ingest.metrics import IngestMetrics
from ingest.mqtt import BrokerLink
from ingest.pipeline import LedgerUnavailable
from ingest.registry import Registry
from ingest.validate import Rules, Shelf, admit
from ingest.wire import CSV_TYPE, READINGS_MAX

ACTOR = "cli"
NOBODY = ""
"""Sender of imported readings in the ledger: no gateway has this id, so none seems to have been heard."""
BROKER_WITHIN_S = 15.0
READINGS_BYTES_MAX = 1 << 30
OTHER_VALUE = "another value stands under this meter and time, in the ledger or earlier in the file"
READING_COLUMNS = ("enterprise", "meter", "ts", "value", "quality")

ENTERPRISE_WORDS = {
    "统一社会信用代码": "id",
    "企业名称": "name",
    "单位名称": "name",
    "行政区划代码": "region",
    "行业代码": "industry",
    "联系人信息": "contacts",
    "联系人": "contact_name",
    "联系邮箱": "contact_email",
    "通知语言": "contact_language",
    "标志": "flags",
}
GATEWAY_WORDS = {"网关编号": "id", "统一社会信用代码": "enterprise", "网关名称": "name"}
METER_WORDS = {
    "统一社会信用代码": "enterprise",
    "计量器具编号": "code",
    "计量器具名称": "name",
    "网关编号": "gateway",
    "能源品种": "carrier",
    "计量方式": "kind",
    "计量单位": "unit",
    "倍率": "multiplier",
    "满码值": "rolls_over_at",
    "采集间隔秒": "expected_interval_s",
    "每小时上限": "max_rate_per_h",
    "用途": "role",
    "计量级别": "level",
    "准确度等级": "accuracy_class",
    "检定有效期至": "calibrated_until",
}
READING_WORDS = {
    "统一社会信用代码": "enterprise",
    "计量器具编号": "meter",
    "时间": "ts",
    "示值": "value",
    "质量": "quality",
}
FACTOR_WORDS = {
    "能源品种": "carrier",
    "系数类别": "kind",
    "口径": "basis",
    "数据集": "dataset",
    "系数": "value",
    "低位发热量": "heating_value_kj_per_unit",
    "单位热值含碳量": "carbon_content_tc_per_tj",
    "碳氧化率": "oxidation",
    "生效日期": "valid_from",
    "失效日期": "valid_to",
    "行政区划代码": "region",
    "统一社会信用代码": "enterprise",
    "版本": "edition",
    "来源": "source",
    "接续上一条": "ends_previous",
    "已核实": "verified",
}
DATED_WORDS = {
    "指标": "indicator",
    "适用条件": "condition",
    "一级": "level1",
    "二级": "level2",
    "三级": "level3",
    "版本": "edition",
    "生效日期": "valid_from",
    "失效日期": "valid_to",
    "来源": "source",
    "已核实": "verified",
}
LEVEL_WORDS = {
    "类别": "kind",
    "产品": "product",
    "单位": "unit",
    "口径": "basis",
    "标杆水平": "benchmark",
    "基准水平": "baseline",
    **DATED_WORDS,
    "备注": "note",
}
CORRECTION_WORDS = {
    "产品": "product",
    "修正参数": "attribute",
    "修正方式": "how",
    "方向": "side",
    "起点": "base",
    "步长": "unit",
    "最多步数": "most",
    "常数": "constant",
    "前提参数": "needs",
    "前提高于": "needs_above",
    **DATED_WORDS,
}
LEVEL_VALUES: Mapping[str, Mapping[str, str]] = {
    "kind": {"能效水平": "benchmark", "限额": "limit"},
    "indicator": {"综合能耗": "energy", "电耗": "electricity", "煤耗": "coal"},
    "basis": {"当量": "equivalent", "等价": "equal", "当量值": "equivalent", "等价值": "equal"},
    "how": {"加": "add", "乘": "times"},
    "side": {"两侧": "both", "低于": "below", "高于": "above"},
    "verified": {"是": "true", "否": "false", "yes": "true", "no": "false"},
}
OUTPUT_WORDS = {
    "统一社会信用代码": "enterprise",
    "生产线编号": "line",
    "月份": "month",
    "产量": "quantity",
    "备注": "note",
}
FACTOR_VALUES: Mapping[str, Mapping[str, str]] = {
    "kind": {"折标系数": "coal_equivalent", "碳排放因子": "co2"},
    "basis": {"当量": "equivalent", "等价": "equal", "当量值": "equivalent", "等价值": "equal"},
    "verified": {"是": "true", "否": "false", "yes": "true", "no": "false"},
    "ends_previous": {"是": "true", "否": "false", "yes": "true", "no": "false"},
}
BUDGET_MONTHS = tuple(f"m{number:02}" for number in range(1, 13))
BUDGET_WORDS = {
    "统一社会信用代码": "enterprise",
    "年份": "year",
    "口径": "basis",
    "预算吨标准煤": "tce",
    "预算吨二氧化碳": "tco2",
    "分月计划": "monthly",
    "理由": "reason",
    **{f"{number}月": name for number, name in enumerate(BUDGET_MONTHS, start=1)},
}
BUDGET_BASES = {"当量": "equivalent", "等价": "equal", "二氧化碳": "co2", "碳": "co2"}
METER_VALUES: Mapping[str, Mapping[str, str]] = {
    "kind": {"累计": "register", "时段": "interval", "瞬时": "rate"},
    "role": {
        "购入": "purchase",
        "外销": "sale",
        "自产可再生": "own_renewable",
        "余能回收": "recovered",
        "原料": "feedstock",
        "内部": "internal",
    },
}


class WrongFile(Exception):
    """The file cannot be taken and nothing of it was kept. Attribute: lines, one fault each."""

    def __init__(self, lines: Sequence[str]) -> None:
        self.lines = tuple(lines)
        super().__init__("\n".join(self.lines))


class WrongColumns(WrongFile):
    """It is not the rows: the file is of another kind, or its columns are not those of this kind."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What came in: how many rows, how many of them were stored before, and the secrets of new gateways by id."""

    kind: str
    rows: int
    known: int = 0
    secrets: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the file: its number, and its filled cells by the name of the column."""

    number: int
    cells: Mapping[str, str]


async def import_file(database: Database, settings: Settings, kind: str, path: Path) -> Imported:
    """Bring in a whole file. Raises WrongFile with every fault found, and then nothing was kept."""
    if kind not in KINDS:
        raise WrongColumns([f"{kind!r} cannot be imported; {', '.join(KINDS)} can"])
    lines = list(lines_of(path, kind, settings.zone))
    if not lines:
        raise WrongFile(["there is no row below the header"])
    return await KINDS[kind](database, settings, lines)


# The file -------------------------------------------------------------------------------------------------------------


def lines_of(path: Path, kind: str, zone: ZoneInfo) -> Iterator[Line]:
    """The rows below the header; empty rows are passed over and still counted. Raises WrongFile.

    A spreadsheet's date cell has no zone: it is taken as local time of the site.
    """
    rows = rows_of_xlsx(path, zone) if path.suffix.lower() in (".xlsx", ".xlsm") else rows_of_csv(path)
    names: list[str] | None = None
    for number, row in enumerate(rows, start=1):
        if names is None:
            names = column_names(row, WORDS[kind], NEEDED[kind])
            continue
        if not any(row):
            continue
        if any(row[len(names) :]):
            raise WrongFile([f"row {number}: it has {len(row)} cells, the header only {len(names)}"])
        yield Line(number, {name: cell for name, cell in zip(names, row, strict=False) if cell and name})
    if names is None:
        raise WrongColumns(["the file is empty; its first row should name the columns"])


def column_names(header: Sequence[str], words: Mapping[str, str], needed: Sequence[str]) -> list[str]:
    """The fields of the columns, by English or Chinese header. Raises WrongColumns: strange, repeated or missing."""
    known = set(words.values())
    spelled = {re.sub(r"[\s()（）_-]", "", word): name for word, name in words.items()}
    names, faults = [], []
    for cell in header:
        name = cell.strip().lower()
        name = name if name in known else spelled.get(re.sub(r"[\s()（）_-]", "", cell), name)
        if name and name not in known:
            accepted = ", ".join(spellings(field, words) for field in dict.fromkeys(words.values()))
            faults.append(f"row 1: no column {cell!r} is known; known are {accepted}")
        elif name and name in names:
            faults.append(f"row 1: the column {name!r} stands there twice")
        names.append(name)
    if not any(names):
        faults = ["row 1: it should name the columns and is empty"]
    elif missing := [name for name in needed if name not in names]:
        faults += [f"row 1: the column {spellings(name, words)} is missing" for name in missing]
    if faults:
        raise WrongColumns(faults)
    return names


def spellings(name: str, words: Mapping[str, str]) -> str:
    """A column by every name it may have."""
    return " or ".join([name, *(word for word, field in words.items() if field == name)])


def rows_of_csv(path: Path) -> Iterator[list[str]]:
    """Rows of a CSV in UTF-8, with or without byte-order mark, or in GB 18030, which spreadsheets in China write."""
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        try:
            text = raw.decode("gb18030")
        except UnicodeDecodeError as error:
            raise WrongFile([f"the file is neither UTF-8 nor GB 18030 (byte {error.start})"]) from error
    if "\x00" in text:
        raise WrongFile(["the file is no CSV: it holds zero bytes; spreadsheets are told by the ending .xlsx"])
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for row in reader:
            yield [cell.strip() for cell in row]
    except csv.Error as error:
        raise WrongFile([f"line {reader.line_num}: {error}"]) from error


def rows_of_xlsx(path: Path, zone: ZoneInfo) -> Iterator[list[str]]:
    """Rows of the first sheet."""
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except (InvalidFileException, zipfile.BadZipFile, KeyError, ValueError) as error:
        raise WrongFile([f"the file cannot be read as XLSX: {error}"]) from error
    try:
        for row in book.worksheets[0].iter_rows(values_only=True):
            yield [cell_text(cell, zone) for cell in row]
    finally:
        book.close()


def cell_text(cell: object, zone: ZoneInfo) -> str:
    """A spreadsheet's cell as a CSV would hold it."""
    match cell:
        case None:
            return ""
        case bool():
            return str(cell).lower()
        case float() if cell.is_integer() and abs(cell) < 2**53:
            return str(int(cell))
        case datetime():
            return cell.replace(tzinfo=zone).isoformat()
        case date():
            return cell.isoformat()
        case _:
            return str(cell).strip()


# Registry -------------------------------------------------------------------------------------------------------------

Enter = Callable[[AsyncConnection, Line], Awaitable[None]]


async def import_enterprises(database: Database, settings: Settings, lines: Sequence[Line]) -> Imported:
    async def enter(connection: AsyncConnection, line: Line) -> None:
        cells = enterprise_fields(line.cells)
        await registry.create_enterprise(connection, values_of(EnterpriseIn.model_validate(cells)), ACTOR)

    async with database.engine.begin() as connection:
        await _enter_all(connection, lines, enter)
    return Imported("enterprises", len(lines))


def enterprise_fields(cells: Mapping[str, str]) -> Fields:
    """Contacts in one cell, or one contact in cells of its own; flags with spaces, commas or 、 between."""
    found: Fields = {name: cell for name, cell in cells.items() if not name.startswith("contact_")}
    contact = {name.removeprefix("contact_"): cell for name, cell in cells.items() if name.startswith("contact_")}
    if contact or "contacts" in found:
        found["contacts"] = contacts_of(found.get("contacts", "")) + ([contact] if contact else [])
    if "flags" in found:
        found["flags"] = [flag for flag in re.split(r"[\s,;，；、]+", found["flags"]) if flag]
    return found


def contacts_of(cell: str) -> list[Any]:
    """`name <email>` with semicolons between, or JSON as the API takes it. Raises WrongField."""
    if cell.startswith("["):
        try:
            return list(json.loads(cell))
        except ValueError as error:
            raise WrongField("contacts", f"not JSON: {error}") from error
    found = []
    for part in filter(None, map(str.strip, re.split(r"[;；]", cell))):
        match = re.fullmatch(r"([^<>]*?)\s*<([^<>]*)>", part)
        if match is None:
            raise WrongField("contacts", f"{part!r} is not `name <email>`")
        found.append({"name": match[1], "email": match[2]})
    return found


async def import_meters(database: Database, settings: Settings, lines: Sequence[Line]) -> Imported:
    async with database.engine.begin() as connection:
        names = {row.name_zh: row.code for row in await connection.execute(select(carrier.c.name_zh, carrier.c.code))}
        values = {**METER_VALUES, "carrier": names}

        async def enter(connection: AsyncConnection, line: Line) -> None:
            cells = {name: values.get(name, {}).get(cell, cell) for name, cell in line.cells.items()}
            level = cells.get("level", "1")
            fields: Fields = {**cells, "level": int(level) if level.isdecimal() else level}
            if "calibrated_until" in cells:
                fields["calibrated_until"] = cells["calibrated_until"].partition("T")[0]
            await registry.create_meter(connection, values_of(MeterIn.model_validate(fields)), ACTOR)

        await _enter_all(connection, lines, enter)
    return Imported("meters", len(lines))


async def import_factors(database: Database, settings: Settings, lines: Sequence[Line]) -> Imported:
    """Dated coefficients. What they change is marked for recomputation in the same transaction."""
    async with database.engine.begin() as connection:
        names = {row.name_zh: row.code for row in await connection.execute(select(carrier.c.name_zh, carrier.c.code))}
        values = {**FACTOR_VALUES, "carrier": names}

        async def enter(connection: AsyncConnection, line: Line) -> None:
            cells = {name: values.get(name, {}).get(cell, cell) for name, cell in line.cells.items()}
            for name in cells.keys() & {"valid_from", "valid_to"}:
                cells[name] = cells[name].partition("T")[0]
            fields = values_of(FactorIn.model_validate(cells))
            await coefficients.enter_factor(connection, fields, ACTOR, settings.zone)

        await _enter_all(connection, lines, enter)
    return Imported("factors", len(lines))


async def import_levels(database: Database, settings: Settings, lines: Sequence[Line]) -> Imported:
    """Benchmark editions and legal limits: for everybody, each with its source and edition."""

    async def enter(connection: AsyncConnection, line: Line) -> None:
        fields = values_of(LevelIn.model_validate(_dated_cells(line)))
        await levels.enter_level(connection, fields, ACTOR)

    async with database.engine.begin() as connection:
        await _enter_all(connection, lines, enter)
    return Imported("levels", len(lines))


async def import_corrections(database: Database, settings: Settings, lines: Sequence[Line]) -> Imported:
    """What a standard changes its limits by, in the columns of `GET /api/v1/corrections?format=csv`."""

    async def enter(connection: AsyncConnection, line: Line) -> None:
        fields = values_of(CorrectionIn.model_validate(_dated_cells(line)))
        await corrections.enter_correction(connection, fields, ACTOR)

    async with database.engine.begin() as connection:
        await _enter_all(connection, lines, enter)
    return Imported("corrections", len(lines))


def _dated_cells(line: Line) -> Fields:
    """The cells in English words; a spreadsheet's date has no time."""
    cells: Fields = {name: LEVEL_VALUES.get(name, {}).get(cell, cell) for name, cell in line.cells.items()}
    return {
        name: cell.partition("T")[0] if name in ("valid_from", "valid_to") else cell for name, cell in cells.items()
    }


async def import_outputs(database: Database, settings: Settings, lines: Sequence[Line]) -> Imported:
    """Monthly output of production lines. Another quantity for a month is its next revision."""
    today = datetime.now(settings.zone).date()
    known = 0

    async def enter(connection: AsyncConnection, line: Line) -> None:
        nonlocal known
        cells = dict(line.cells)
        key = cells.pop("enterprise", ""), cells.pop("line", "")
        # A spreadsheet makes a date of 2026-10; its day says nothing.
        cells["month"] = cells.get("month", "")[:7]
        fields = values_of(OutputIn.model_validate(cells))
        number = await production.line_number(connection, *key)
        _, new = await production.enter_output(connection, number, fields, ACTOR, today)
        known += not new

    async with database.engine.begin() as connection:
        await _enter_all(connection, lines, enter)
    return Imported("outputs", len(lines), known=known)


async def import_gateways(database: Database, settings: Settings, lines: Sequence[Line]) -> Imported:
    """The broker knows every new gateway before the commit; if that fails it forgets them again."""
    made: dict[str, str] = {}
    numbers: dict[str, int] = {}

    async def enter(connection: AsyncConnection, line: Line) -> None:
        fields = values_of(GatewayIn.model_validate(dict(line.cells)))
        _, secret = await registry.create_gateway(connection, fields, ACTOR)
        made[fields["id"]], numbers[fields["id"]] = secret, line.number

    try:
        async with database.engine.begin() as connection:
            await _enter_all(connection, lines, enter)
            async with broker_accounts(settings) as accounts:
                if accounts is not None:
                    await _let_in(accounts, made)
    except NameReserved as error:
        raise WrongFile([f"row {numbers[error.gateway]}: id: {error}"]) from error
    except (BrokerUnavailable, BrokerRefused) as error:
        raise WrongFile([f"the broker takes no accounts now: {error}; see {PREFIX}MQTT_URL"]) from error
    return Imported("gateways", len(lines), secrets=made)


async def _let_in(accounts: BrokerAccounts, made: Mapping[str, str]) -> None:
    done: list[str] = []
    try:
        for gateway, secret in made.items():
            await accounts.put(gateway, secret)
            done.append(gateway)
    except (BrokerUnavailable, BrokerRefused, NameReserved):
        for gateway in done:
            await accounts.remove(gateway)
        raise


@asynccontextmanager
async def broker_accounts(settings: Settings) -> AsyncIterator[BrokerAccounts | None]:
    """The broker's accounts over a connection of our own; None when no broker is set. Raises BrokerUnavailable."""
    if settings.mqtt_url is None:
        yield None
        return
    client_id = f"tcewatch-import-{secrets.token_hex(4)}"
    metrics = IngestMetrics(CollectorRegistry())
    link = BrokerLink(settings.mqtt_url, client_id=client_id, metrics=metrics, receive_maximum=20, session_expiry_s=0)
    accounts = BrokerAccounts(link)
    stop = asyncio.Event()
    running = asyncio.create_task(link.run(stop))
    try:
        await _connected(link)
        yield accounts
    finally:
        stop.set()
        await running


async def _connected(link: BrokerLink) -> None:
    try:
        async with asyncio.timeout(BROKER_WITHIN_S):
            while not link.connected:  # noqa: ASYNC110  # the link tells nobody when it is in; asked a few times, once
                await asyncio.sleep(0.02)
    except TimeoutError as error:
        raise BrokerUnavailable(f"the broker did not let us in within {BROKER_WITHIN_S:.0f} s") from error


REFUSALS = (
    ValidationError,
    WrongBudget,
    WrongCreditCode,
    WrongField,
    UnitMismatch,
    AlreadyThere,
    FactorsOverlap,
    LevelsOverlap,
    CorrectionsOverlap,
    MonthInFuture,
)


async def _enter_all(connection: AsyncConnection, lines: Sequence[Line], enter: Enter) -> None:
    """Enter every row, or raise WrongFile with the faults of all: what was entered before is rolled back with it."""
    faults: list[str] = []
    for line in lines:
        try:
            await enter(connection, line)
        except REFUSALS as error:
            faults += [f"row {line.number}: {fault}" for fault in faults_of(error)]
    if faults:
        raise WrongFile(faults)


def faults_of(error: Exception) -> list[str]:
    """What is wrong with one row, each with the field in front."""
    match error:
        case ValidationError():
            return [_fault(found) for found in error.errors()]
        case WrongCreditCode():
            return [f"id: {error.code}: {error.why}"]
        case UnitMismatch():
            return [f"unit: {error}"]
        case AlreadyThere():
            return [f"{error.kind} {error.key} exists already"]
        case _:
            return [str(error)]


def _fault(found: Any) -> str:
    where = ".".join(str(part) for part in found["loc"])
    if found["type"] == "missing":
        return f"{where}: it is missing"
    return f"{where}: {found['msg']} (found {found['input']!r})"


# Budgets --------------------------------------------------------------------------------------------------------------


async def import_budgets(database: Database, settings: Settings, lines: Sequence[Line]) -> Imported:
    """Each row is a revision, approved with the file. Columns m01 to m12, or all twelve in `monthly`, or none."""
    calendar = SiteCalendar(settings.zone)
    seen: dict[tuple[str, int, str], int] = {}

    async def enter(connection: AsyncConnection, line: Line) -> None:
        key, year, body = budget_fields(line.cells)
        await registry.must_be_enterprise(connection, key)
        first = seen.setdefault((key, year, body.basis), line.number)
        if first != line.number:
            raise WrongField("year", f"row {first} has the same enterprise, year and basis")
        plan = await budgets.plan_of(database.pool, calendar, key, year, body)
        await budgets.revise(
            connection, key, year, body.basis, plan=plan, reason=body.reason, actor=ACTOR, now=datetime.now(UTC)
        )

    async with database.engine.begin() as connection:
        await _enter_all(connection, lines, enter)
    now_us = int(datetime.now(UTC).timestamp() * 1_000_000)
    years, named = sorted({year for _, year, _ in seen}), sorted({key for key, _, _ in seen})
    await positions.refresh(database.pool, calendar, years=years, now_us=now_us, enterprises=named)
    return Imported("budgets", len(lines))


def budget_fields(cells: Mapping[str, str]) -> tuple[str, int, BudgetIn]:
    """Enterprise, year and body of a row. Raises WrongField, ValidationError and WrongBudget."""
    year = cells.get("year", "")
    if not re.fullmatch("[0-9]{4}", year):
        raise WrongField("year", f"{year!r} is no year such as 2026")
    months = [name for name in BUDGET_MONTHS if name in cells]
    if months and ("monthly" in cells or len(months) < len(BUDGET_MONTHS)):
        raise WrongField("monthly", f"all of m01 to m12 or none of them; there are {len(months)}")
    fields: Fields = {name: cells[name] for name in ("tce", "tco2", "reason") if name in cells}
    fields["basis"] = BUDGET_BASES.get(cells.get("basis", ""), cells.get("basis", "equivalent"))
    if months:
        fields["monthly"] = [cells[name] for name in months]
    elif "monthly" in cells:
        fields["monthly"] = [part for part in re.split(r"[\s,;，；\[\]]+", cells["monthly"]) if part]
    return cells.get("enterprise", ""), checked_year(int(year)), BudgetIn.model_validate(fields)


# Readings -------------------------------------------------------------------------------------------------------------


async def import_readings(database: Database, settings: Settings, lines: Sequence[Line]) -> Imported:
    """Readings by the rules of the wire. One that would be refused there keeps the whole file out."""
    known = await StoredRegistry(database.pool).read()
    received_us = int(datetime.now(UTC).timestamp() * 1_000_000)
    messages, places, faults = as_messages(lines, known, received_us)
    decoded = [decode(message, READINGS_BYTES_MAX) for message in messages]
    rules = Rules(max_age_days=settings.reading_max_age_days, max_ahead_s=settings.reading_max_ahead_s)
    admitted = admit(messages, decoded, Shelf.of(known), rules)
    for refusal in admitted.refusals:
        row = places[refusal.message][refusal.position or 0]
        detail = re.sub(r"^row \d+: ", "", refusal.detail)
        faults[row] = f"{refusal.code}: {detail} (meter {refusal.meter}, ts {refusal.at}, value {refusal.value})"
    if not faults:
        duplicates, faults = await _store(settings, messages, admitted.rows, places)
    if faults:
        raise WrongFile([f"row {row}: {faults[row]}" for row in sorted(faults)])
    return Imported("readings", len(lines), known=duplicates)


def as_messages(
    lines: Sequence[Line], known: Registry, received_us: int
) -> tuple[list[Received], list[list[int]], dict[int, str]]:
    """The rows as messages of the gateways that report their meters; of each message, the rows of the file; faults."""
    by_gateway: dict[str, list[Line]] = {}
    reporting = {entry.enterprise: entry.meters for entry in known.gateways.values()}
    faults: dict[int, str] = {}
    for line in lines:
        missing = [name for name in ("enterprise", "meter", "ts", "value") if name not in line.cells]
        if missing:
            faults[line.number] = f"{', '.join(missing)}: it is missing"
            continue
        meter = reporting.get(line.cells["enterprise"], {}).get(line.cells["meter"])
        if meter is None:
            faults[line.number] = f"unknown-meter: {line.cells['enterprise']} has no active meter {line.cells['meter']}"
            continue
        by_gateway.setdefault(meter.gateway, []).append(line)
    messages, places = [], []
    for gateway, own in by_gateway.items():
        for first in range(0, len(own), READINGS_MAX):
            part = own[first : first + READINGS_MAX]
            messages.append(Received(Door.HTTP, gateway, None, CSV_TYPE, as_csv(part), received_us))
            places.append([line.number for line in part])
    return messages, places, faults


def as_csv(lines: Sequence[Line]) -> bytes:
    """Rows as the wire's CSV."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(READING_COLUMNS[1:])
    writer.writerows([line.cells.get(name, "") for name in READING_COLUMNS[1:]] for line in lines)
    return out.getvalue().encode()


async def _store(
    settings: Settings, messages: Sequence[Received], rows: ReadingBatch, places: Sequence[Sequence[int]]
) -> tuple[int, dict[int, str]]:
    """How many rows were stored before; or nothing is stored, and each row of the file that contradicts another."""
    senders = [Received(one.door, NOBODY, None, one.content_type, b"", one.received_at_us) for one in messages]
    ledger = ReadingLedger(settings.database_url)
    try:
        verdicts = await ledger.save_whole(Group(senders, rows, ()))
        return int((verdicts == Verdict.DUPLICATE).sum()), {}
    except ConflictsFound as found:
        conflicting = [(int(rows.message[row]), int(rows.position[row])) for row in found.rows]
        return 0, {places[message][position]: f"conflict: {OTHER_VALUE}" for message, position in conflicting}
    except LedgerUnavailable as error:
        raise ConnectionError(str(error)) from error
    finally:
        await ledger.close()


WORDS: Mapping[str, Mapping[str, str]] = {
    "enterprises": ENTERPRISE_WORDS,
    "gateways": GATEWAY_WORDS,
    "meters": METER_WORDS,
    "budgets": BUDGET_WORDS,
    "readings": READING_WORDS,
    "factors": FACTOR_WORDS,
    "outputs": OUTPUT_WORDS,
    "levels": LEVEL_WORDS,
    "corrections": CORRECTION_WORDS,
}
NEEDED: Mapping[str, Sequence[str]] = {
    "enterprises": ("id", "name", "region", "industry"),
    "gateways": ("id", "enterprise", "name"),
    "meters": ("enterprise", "code", "name", "gateway", "carrier", "unit", "role"),
    "budgets": ("enterprise", "year", "reason"),
    "readings": ("enterprise", "meter", "ts", "value"),
    "factors": ("carrier", "valid_from", "source"),
    "outputs": ("enterprise", "line", "month", "quantity"),
    "levels": ("kind", "product", "unit", "edition", "valid_from", "source"),
    "corrections": ("product", "edition", "attribute", "how", "valid_from", "source"),
}
Import = Callable[[Database, Settings, Sequence[Line]], Awaitable[Imported]]
KINDS: Mapping[str, Import] = {
    "enterprises": import_enterprises,
    "gateways": import_gateways,
    "meters": import_meters,
    "budgets": import_budgets,
    "readings": import_readings,
    "factors": import_factors,
    "outputs": import_outputs,
    "levels": import_levels,
    "corrections": import_corrections,
}
