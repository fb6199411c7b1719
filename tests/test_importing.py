"""Files brought in: every header a person may write, every fault with its row, and all rows or none."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import openpyxl
import pytest

from app import importing
from app.importing import Imported, WrongColumns, WrongFile, import_file
from app.settings import Settings
from app.store import lines
from app.store.access import digest
from app.store.credit_code import check_character
from app.store.database import Database, open_database, plain_url
from app.store.entries import LineIn, values_of
from ingest.accounts import BrokerRefused
from tests.api.a_service import OWN, two_enterprises
from tests.e2e.service import run

NEW = "91445302MA4UTEE01U"
READINGS = "enterprise,meter,ts,value,quality"


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """OWN and another enterprise, each with a gateway and a register E001."""
    async with open_database(database_url, pool_size=2) as database:
        await two_enterprises(database)
        yield database


@pytest.fixture
def settings(database_url: str) -> Settings:
    return Settings(database_url=database_url, mqtt_url=None)


def a_csv(folder: Path, *rows: str, encoding: str = "utf-8", end: str = "\n") -> Path:
    path = folder / "file.csv"
    path.write_bytes((end.join(rows) + end).encode(encoding))
    return path


def a_book(folder: Path, *rows: Sequence[object]) -> Path:
    path = folder / "file.xlsx"
    book = openpyxl.Workbook()
    for row in rows:
        book.worksheets[0].append(list(row))
    book.save(path)
    return path


async def faults(database: Database, settings: Settings, kind: str, path: Path) -> list[str]:
    """What is wrong with a file; nothing of it may have been kept."""
    before = await everything(database)
    with pytest.raises(WrongFile) as caught:
        await import_file(database, settings, kind, path)
    assert await everything(database) == before
    return list(caught.value.lines)


async def everything(database: Database) -> list[int]:
    tables = (
        "budget_revision",
        "coal_factor",
        "enterprise",
        "gateway",
        "meter",
        "reading",
        "reading_revision",
        "touched",
        "audit",
        "rejected_message",
    )
    return [await database.pool.fetchval(f"SELECT count(*) FROM {table}") for table in tables]


async def rows(database: Database, question: str, *values: object) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await database.pool.fetch(question, *values)]


def numbered(count: int) -> list[str]:
    """Sound credit codes."""
    firsts = [f"91445302MA4U{number:05d}" for number in range(count)]
    return [first + check_character(first) for first in firsts]


# Budgets --------------------------------------------------------------------------------------------------------------

BUDGETS = "enterprise,year,basis,tce,tco2,monthly,reason"
REVISIONS = (
    "SELECT year, basis, revision, amount::int, plan_source FROM budget_revision WHERE enterprise = $1 ORDER BY 1, 2"
)


async def test_budgets_come_in_with_or_without_months(database: Database, settings: Settings, tmp_path: Path) -> None:
    months = " ".join(["100"] * 12)
    path = a_csv(
        tmp_path,
        BUDGETS,
        f"{OWN},2027,当量,1200,,{months},decision 3",
        f"{OWN},2027,co2,,3000,,decision 3",
        f"{OWN},2028,,1300,,,decision 3",
    )
    assert await import_file(database, settings, "budgets", path) == Imported("budgets", 3)
    found = [row for row in await rows(database, REVISIONS, OWN) if row[0] > 2026]
    assert found == [
        (2027, "co2", 1, 3000, "even"),
        (2027, "equivalent", 1, 1200, "given"),
        (2028, "equivalent", 1, 1300, "even"),
    ]


async def test_a_book_of_budgets_with_chinese_headers_comes_in(
    database: Database, settings: Settings, tmp_path: Path
) -> None:
    header = ["统一社会信用代码", "年份", "预算（吨标准煤）", *(f"{number}月" for number in range(1, 13)), "理由"]
    path = a_book(tmp_path, header, [OWN, 2027, 1200, *([100] * 12), "粤能〔2027〕3号"])
    assert await import_file(database, settings, "budgets", path) == Imported("budgets", 1)
    assert (2027, "equivalent", 1, 1200, "given") in await rows(database, REVISIONS, OWN)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (f"{NEW},2027,,1200,,,x", "enterprise: there is no enterprise"),
        (f"{OWN},27,,1200,,,x", "year: '27' is no year such as 2026"),
        (f"{OWN},1990,,1200,,,x", "year: a year from 2000 to 2100, not 1990"),
        (f"{OWN},2027,coal,1200,,,x", "basis: Input should be 'equivalent', 'equal' or 'co2'"),
        (f"{OWN},2027,,0,,,x", "tce: a budget is an amount above zero, not 0"),
        (f"{OWN},2027,,,,,x", "tce: a budget on the basis equivalent is given as tce alone"),
        (f"{OWN},2027,,12,,1 1 1,x", "monthly: a plan has 12 months, not 3"),
        (f"{OWN},2027,,13,,{' '.join(['1'] * 12)},x", "monthly: the months add up to 12 and the budget is 13"),
        (f"{OWN},2027,,13,,,", "reason: it is missing"),
    ],
)
async def test_a_budget_that_cannot_be_keeps_the_whole_file_out(
    database: Database, settings: Settings, tmp_path: Path, row: str, says: str
) -> None:
    found = await faults(database, settings, "budgets", a_csv(tmp_path, BUDGETS, f"{OWN},2027,equal,1200,,,x", row))
    assert len(found) == 1
    assert found[0].startswith(f"row 3: {says}")


async def test_the_same_budget_twice_in_a_file_is_refused(
    database: Database, settings: Settings, tmp_path: Path
) -> None:
    row = f"{OWN},2027,,1200,,,x"
    found = await faults(database, settings, "budgets", a_csv(tmp_path, BUDGETS, row, row))
    assert found == ["row 3: year: row 2 has the same enterprise, year and basis"]


# Enterprises ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
async def test_a_csv_comes_in_however_it_was_saved(
    database: Database, settings: Settings, tmp_path: Path, encoding: str, end: str
) -> None:
    path = a_csv(
        tmp_path,
        "统一社会信用代码,企业名称,行政区划代码,行业代码",
        f"{NEW},云浮石材,445302,3032",
        "",
        encoding=encoding,
        end=end,
    )
    assert await import_file(database, settings, "enterprises", path) == Imported("enterprises", 1)
    assert await rows(database, "SELECT name, region, industry FROM enterprise WHERE id = $1", NEW) == [
        ("云浮石材", "445302", "3032")
    ]
    trail = "SELECT actor, action FROM audit WHERE object_id = $1"
    assert await rows(database, trail, NEW) == [("cli", "enterprise.create")]


async def test_a_spreadsheets_numbers_are_codes_all_the_same(
    database: Database, settings: Settings, tmp_path: Path
) -> None:
    path = a_book(tmp_path, ["Industry", "ID", "Name", "行政区划代码"], [3032, NEW, "石材", 445302], [None] * 4)
    assert (await import_file(database, settings, "enterprises", path)).rows == 1
    assert await rows(database, "SELECT region, industry FROM enterprise WHERE id = $1", NEW) == [("445302", "3032")]


@pytest.mark.parametrize(
    ("header", "cells", "contacts"),
    [
        (
            "contacts",
            '"李 <li@example.com>; Wang<w@example.com>"',
            [("李", "li@example.com", "zh-CN"), ("Wang", "w@example.com", "zh-CN")],
        ),
        (
            "contacts",
            '"[{""name"":""Li"",""email"":""li@example.com"",""language"":""en""}]"',
            [("Li", "li@example.com", "en")],
        ),
        ("联系人,联系邮箱,通知语言", "李,li@example.com,en", [("李", "li@example.com", "en")]),
        ("contacts", "", []),
    ],
)
async def test_contacts_stand_in_one_cell_or_in_three(
    database: Database,
    settings: Settings,
    tmp_path: Path,
    header: str,
    cells: str,
    contacts: list[tuple[str, str, str]],
) -> None:
    path = a_csv(tmp_path, f"id,name,region,industry,flags,{header}", f'{NEW},x,445302,3011,"two_high、a",{cells}')
    await import_file(database, settings, "enterprises", path)
    ((kept, flags),) = await rows(database, "SELECT contacts, flags FROM enterprise WHERE id = $1", NEW)
    kept = json.loads(kept) if isinstance(kept, str) else kept
    assert [(one["name"], one["email"], one["language"]) for one in kept] == contacts
    assert (json.loads(flags) if isinstance(flags, str) else flags) == ["two_high", "a"]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (f"{NEW[:-1]}A,x,445302,3011,", "row 3: id: 91445302MA4UTEE01A: the check character is A and should be U"),
        ("123,x,445302,3011,", "row 3: id: 123: it has 3 characters"),
        (f"{NEW},x,449999,3011,", "row 3: region: there is no region '449999'"),
        (f"{NEW},,445302,3011,", "row 3: name: it is missing"),
        (f"{NEW},x,445302,cement,", "row 3: industry: "),
        (f"{NEW},x,445302,3011,somebody", "row 3: contacts: 'somebody' is not `name <email>`"),
        (f"{NEW},x,445302,3011,[not JSON", "row 3: contacts: not JSON"),
        (f"{NEW},x,445302,3011,Li <nowhere>", "row 3: contacts.0.email: "),
        (f"{OWN},x,445302,3011,", f"row 3: enterprise {OWN} exists already"),
        (f"{numbered(1)[0]},x,445302,3011,", f"row 3: enterprise {numbered(1)[0]} exists already"),
        (f"{NEW},x,445302,3011,,more", "row 3: it has 6 cells, the header only 5"),
    ],
)
async def test_a_wrong_row_is_named_and_the_right_ones_are_not_kept(
    database: Database, settings: Settings, tmp_path: Path, row: str, says: str
) -> None:
    path = a_csv(tmp_path, "id,name,region,industry,contacts", f"{numbered(1)[0]},good,445302,3011,", row)
    (fault,) = await faults(database, settings, "enterprises", path)
    assert fault.startswith(says)


async def test_every_fault_of_every_row_is_told(database: Database, settings: Settings, tmp_path: Path) -> None:
    wrong = [f"{code[:-1]}Z,,445302,3011" for code in numbered(150)]
    found = await faults(
        database, settings, "enterprises", a_csv(tmp_path, "id,name,region,industry", *wrong, f"{NEW},x,1,3011")
    )
    assert [fault.split(":")[0] for fault in found] == [f"row {number}" for number in range(2, 153)]


# The file itself ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "rows", "says"),
    [
        (
            "enterprises",
            ["id,name,region,industry,colour"],
            "row 1: no column 'colour' is known; known are id or 统一社会",
        ),
        ("enterprises", ["id,name,region"], "row 1: the column industry or 行业代码 is missing"),
        ("enterprises", ["id,name,region,industry,企业名称"], "row 1: the column 'name' stands there twice"),
        ("enterprises", ["id;name;region;industry"], "row 1: no column 'id;name;region;industry' is known"),
        ("enterprises", [",,"], "row 1: it should name the columns and is empty"),
        ("readings", ["enterprise,meter,ts"], "row 1: the column value or 示值 is missing"),
        ("budgets", ["enterprise,year,tce"], "row 1: the column reason or 理由 is missing"),
        (
            "moons",
            ["x"],
            (
                "'moons' cannot be imported; enterprises, gateways, meters, budgets, readings, factors, outputs, "
                "levels, corrections"
            ),
        ),
    ],
)
async def test_wrong_columns_and_kinds_are_told_what_would_be_right(
    database: Database, settings: Settings, tmp_path: Path, kind: str, rows: list[str], says: str
) -> None:
    with pytest.raises(WrongColumns) as caught:
        await import_file(database, settings, kind, a_csv(tmp_path, *rows))
    assert caught.value.lines[0].startswith(says)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("file.csv", b"", "the file is empty"),
        ("file.csv", b"id,name,region,industry\n", "no row below the header"),
        ("file.csv", b"id,name\n\xff\xff\xff", "neither UTF-8 nor GB 18030"),
        ("file.csv", b"PK\x03\x04\x00", "spreadsheets are told by the ending .xlsx"),
        ("file.csv", b'id,name,region,industry\n"open', "line 2: "),
        ("file.xlsx", b"id,name", "cannot be read as XLSX"),
        ("file.xlsx", b"", "cannot be read as XLSX"),
    ],
)
async def test_a_file_that_is_none_is_a_sentence(
    database: Database, settings: Settings, tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    (fault,) = await faults(database, settings, "enterprises", path)
    assert says in fault


# Meters ---------------------------------------------------------------------------------------------------------------


async def test_meters_come_in_by_chinese_words_and_dates_of_a_spreadsheet(
    database: Database, settings: Settings, tmp_path: Path
) -> None:
    header = ["统一社会信用代码", "计量器具编号", "计量器具名称", "网关编号", "能源品种", "计量方式", "计量单位"]
    header += ["倍率", "用途", "计量级别", "检定有效期至", "满码值"]
    row = [OWN, "E7", "总表", "gw-own", "电力", "累计", "kWh", 80.5, "购入", 2, date(2027, 5, 31), 1000000]
    await import_file(database, settings, "meters", a_book(tmp_path, header, row))
    asked = (
        "SELECT carrier, kind, multiplier, role, level, calibrated_until, rolls_over_at FROM meter WHERE code = 'E7'"
    )
    ((carrier, kind, multiplier, role, level, until, rolls_over_at),) = await rows(database, asked)
    assert (carrier, kind, float(multiplier), role, level) == ("electricity", "register", 80.5, "purchase", 2)
    assert (until, rolls_over_at) == (date(2027, 5, 31), 1_000_000)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (f"{OWN},E2,x,gw-own,electricity,t,purchase,1", "row 2: unit: "),
        (f"{OWN},E2,x,gw-foreign,electricity,kWh,purchase,1", "row 2: gateway: 'gw-foreign' is no gateway of this"),
        (f"{NEW},E2,x,gw-own,electricity,kWh,purchase,1", "row 2: enterprise: there is no enterprise"),
        (f"{OWN},E2,x,gw-own,moonlight,kWh,purchase,1", "row 2: carrier: 'moonlight' is no carrier"),
        (f"{OWN},E2,x,gw-own,electricity,kWh,guess,1", "row 2: role: "),
        (f"{OWN},E 2,x,gw-own,electricity,kWh,purchase,1", "row 2: code: "),
        (f"{OWN},E2,x,gw-own,electricity,kWh,purchase,many", "row 2: multiplier: "),
        (f"{OWN},E2,x,gw-own,electricity,kWh,purchase,0", "row 2: multiplier: "),
        (f"{OWN},E001,x,gw-own,electricity,kWh,purchase,1", f"row 2: meter {OWN}/E001 exists already"),
    ],
)
async def test_a_meter_that_cannot_be_is_named(
    database: Database, settings: Settings, tmp_path: Path, row: str, says: str
) -> None:
    path = a_csv(tmp_path, "enterprise,code,name,gateway,carrier,unit,role,multiplier", row)
    (fault,) = await faults(database, settings, "meters", path)
    assert fault.startswith(says)


# Gateways -------------------------------------------------------------------------------------------------------------


async def test_gateways_get_secrets_which_are_told_once(database: Database, settings: Settings, tmp_path: Path) -> None:
    path = a_csv(tmp_path, "网关编号,统一社会信用代码,网关名称", f"gw-7,{OWN},七", f"gw-8,{OWN},八")
    done = await import_file(database, settings, "gateways", path)
    assert set(done.secrets) == {"gw-7", "gw-8"}
    kept = dict(await rows(database, "SELECT id, secret_sha256 FROM gateway WHERE id = ANY ($1)", ["gw-7", "gw-8"]))
    assert kept == {gateway: digest(secret) for gateway, secret in done.secrets.items()}
    trail = str(await rows(database, "SELECT * FROM audit"))
    assert not any(secret in trail for secret in done.secrets.values())


async def test_the_broker_lets_an_imported_gateway_in(
    database: Database, database_url: str, broker_url: str, tmp_path: Path
) -> None:
    settings = Settings(database_url=database_url, mqtt_url=broker_url)
    path = a_csv(tmp_path, "id,enterprise,name", f"gw-import,{OWN},x")
    await import_file(database, settings, "gateways", path)
    async with importing.broker_accounts(settings) as accounts:
        assert accounts is not None
        await accounts.enable("gw-import")  # raises BrokerRefused when the broker has no such account
        await accounts.remove("gw-import")


async def test_a_gateway_with_the_services_own_name_is_named_and_the_others_are_shut_out_again(
    database: Database, database_url: str, broker_url: str, tmp_path: Path
) -> None:
    settings = Settings(database_url=database_url, mqtt_url=broker_url)
    own = urlsplit(broker_url).username
    path = a_csv(tmp_path, "id,enterprise,name", f"gw-before,{OWN},x", f"{own},{OWN},x")
    (fault,) = await faults(database, settings, "gateways", path)
    assert fault.startswith(f"row 3: id: {own!r}")
    async with importing.broker_accounts(settings) as accounts:
        assert accounts is not None
        with pytest.raises(BrokerRefused):
            await accounts.enable("gw-before")


async def test_without_the_broker_no_gateway_is_made(
    database: Database, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "BROKER_WITHIN_S", 0.2)
    settings = Settings(database_url=database_url, mqtt_url="mqtt://127.0.0.1:1")
    path = a_csv(tmp_path, "id,enterprise,name", f"gw-9,{OWN},x")
    (fault,) = await faults(database, settings, "gateways", path)
    assert fault.startswith("the broker takes no accounts now")


# Readings -------------------------------------------------------------------------------------------------------------


async def test_readings_come_in_once(database: Database, settings: Settings, tmp_path: Path) -> None:
    path = a_csv(
        tmp_path,
        READINGS,
        f"{OWN},E001,2026-11-01T00:15:00+08:00,2.5,",
        f"{OWN},E001,2026-11-01T00:00:00+08:00,1.5,1",
    )
    assert await import_file(database, settings, "readings", path) == Imported("readings", 2)
    assert await rows(database, "SELECT value, quality FROM reading ORDER BY ts") == [(1.5, 1), (2.5, 0)]
    assert (await rows(database, "SELECT count(*) FROM touched"))[0][0] >= 1
    assert await import_file(database, settings, "readings", path) == Imported("readings", 2, known=2)
    assert await rows(database, "SELECT last_data_at FROM gateway WHERE id = 'gw-own'") == [(None,)]


async def test_a_spreadsheets_times_are_local(database: Database, settings: Settings, tmp_path: Path) -> None:
    path = a_book(
        tmp_path,
        ["统一社会信用代码", "计量器具编号", "时间", "示值"],
        [OWN, "E001", datetime.fromisoformat("2026-11-01T08:00"), 3],
    )
    await import_file(database, settings, "readings", path)
    ((at, value),) = await rows(database, "SELECT ts, value FROM reading")
    assert (at.isoformat(), value) == ("2026-11-01T00:00:00+00:00", 3.0)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (f"{OWN},E404,2026-11-01T00:15:00Z,1,0", "row 3: unknown-meter: "),
        (f"{NEW},E001,2026-11-01T00:15:00Z,1,0", "row 3: unknown-meter: "),
        (f"{OWN},E001,2026-11-01T00:15:00,1,0", "row 3: timestamp-without-zone: "),
        (f"{OWN},E001,yesterday,1,0", "row 3: bad-timestamp: "),
        (f"{OWN},E001,1999-11-01T00:15:00Z,1,0", "row 3: timestamp-too-old: "),
        (f"{OWN},E001,2099-11-01T00:15:00Z,1,0", "row 3: timestamp-in-future: "),
        (f"{OWN},E001,2026-11-01T00:15:00Z,many,0", "row 3: not-a-number: "),
        (f"{OWN},E001,2026-11-01T00:15:00Z,-1,0", "row 3: out-of-range: "),
        (f"{OWN},E001,2026-11-01T00:15:00Z,1,9", "row 3: malformed: the quality"),
        (f"{OWN},E001,2026-11-01T00:15:00Z,,0", "row 3: value: it is missing"),
        (f"{OWN},E001,2026-11-01T00:00:00Z,2,0", "row 3: conflict: "),
        (f'{OWN},E001,"2026-11-01\n00:15:00Z",1,0', "row 3: bad-timestamp: "),
        (f'{OWN},E001,2026-11-01T00:15:00Z,"1,5",0', "row 3: not-a-number: "),
    ],
)
async def test_a_reading_the_wire_would_refuse_keeps_the_file_out(
    database: Database, settings: Settings, tmp_path: Path, row: str, says: str
) -> None:
    path = a_csv(tmp_path, READINGS, f"{OWN},E001,2026-11-01T00:00:00Z,1,0", row)
    (fault,) = await faults(database, settings, "readings", path)
    assert fault.startswith(says)


async def test_a_contradiction_to_the_ledger_names_its_rows_and_changes_nothing(
    database: Database, settings: Settings, tmp_path: Path
) -> None:
    first = datetime.fromisoformat("2026-10-01T00:00:00+08:00")
    times = [(first + timedelta(hours=hour)).isoformat() for hour in range(300)]
    stored = [f"{OWN},E001,{time},{hour},0" for hour, time in enumerate(times)]
    await import_file(database, settings, "readings", a_csv(tmp_path, READINGS, *stored[100:200]))
    other = [f"{OWN},E001,{time},{hour + (hour in (120, 150)) / 2},0" for hour, time in enumerate(times)]
    found = await faults(database, settings, "readings", a_csv(tmp_path, READINGS, *other))
    assert [fault.split(": ")[:2] for fault in found] == [["row 122", "conflict"], ["row 152", "conflict"]]
    done = await import_file(database, settings, "readings", a_csv(tmp_path, READINGS, *stored))
    assert (done.rows, done.known) == (300, 100)
    assert await database.pool.fetchval("SELECT count(*) FROM reading") == 300


# The command ----------------------------------------------------------------------------------------------------------


async def test_the_command_tells_rows_from_wrong_use(database: Database, database_url: str, tmp_path: Path) -> None:
    env = {"TCEWATCH_DATABASE_URL": database_url}
    wrong = [f"{code[:-1]}Z,x,445302,3011" for code in numbered(120)]
    done = run("import", "enterprises", str(a_csv(tmp_path, "id,name,region,industry", *wrong)), env=env)
    assert (done.returncode, done.stdout) == (1, "")
    assert "row 2: id: " in done.stderr
    assert "and 20 more" in done.stderr
    for arguments in (
        ("enterprises", str(tmp_path / "nothing.csv")),
        ("enterprises", str(tmp_path)),
        ("moons", str(a_csv(tmp_path, "id"))),
        ("enterprises", str(a_csv(tmp_path, "colour"))),
    ):
        done = run("import", *arguments, env=env)
        assert (done.returncode, done.stdout) == (2, ""), arguments
        assert "Traceback" not in done.stderr


async def test_the_command_prints_how_much_and_the_secrets(
    database: Database, database_url: str, broker_url: str, tmp_path: Path
) -> None:
    env = {"TCEWATCH_DATABASE_URL": database_url, "TCEWATCH_MQTT_URL": broker_url}
    done = run("import", "gateways", str(a_csv(tmp_path, "id,enterprise,name", f"gw-cli,{OWN},x")), env=env)
    assert done.returncode == 0, done.stderr
    count, line = done.stdout.splitlines()
    assert count == "1 gateways"
    gateway, secret = line.split("\t")
    connection = await asyncpg.connect(plain_url(database_url))
    try:
        assert await connection.fetchval("SELECT secret_sha256 FROM gateway WHERE id = $1", gateway) == digest(secret)
    finally:
        await connection.close()


# Factors --------------------------------------------------------------------------------------------------------------


async def test_measured_heating_values_come_in_by_period(
    database: Database, settings: Settings, tmp_path: Path
) -> None:
    path = a_csv(
        tmp_path,
        "统一社会信用代码,能源品种,低位发热量,生效日期,失效日期,来源",
        f"{OWN},原煤,22190,2026-07-01,2026-08-01,化验单 7",
        f"{OWN},raw_coal,21800,2026-08-01,,化验单 8",
    )
    assert await import_file(database, settings, "factors", path) == Imported("factors", 2)
    found = await rows(
        database,
        """SELECT kgce_per_unit::text, valid_from::text, valid_to::text, made_of ->> 'heating_value_kj_per_unit'
           FROM coal_factor WHERE enterprise = $1 AND carrier = 'raw_coal' AND basis = 'equal' ORDER BY valid_from""",
        OWN,
    )
    assert found == [
        ("0.757141", "2026-07-01", "2026-08-01", "22190"),
        ("0.743834", "2026-08-01", None, "21800"),
    ]


async def test_overlapping_factors_of_a_file_are_told_by_row_and_nothing_is_kept(
    database: Database, settings: Settings, tmp_path: Path
) -> None:
    path = a_csv(
        tmp_path,
        "enterprise,carrier,value,valid_from,valid_to,source",
        f"{OWN},coke,0.97,2026-01-01,2026-07-01,a",
        f"{OWN},coke,0.96,2026-06-01,,b",
        f"{OWN},coke,none,2027-01-01,2026-01-01,c",
    )
    told = await faults(database, settings, "factors", path)
    assert [line.split(":")[0] for line in told] == ["row 3", "row 4"]
    assert "holds from 2026-01-01 up to 2026-07-01" in told[0]


# Levels and corrections -----------------------------------------------------------------------------------------------


async def test_levels_and_corrections_come_in_with_source_and_edition(
    database: Database, settings: Settings, tmp_path: Path
) -> None:
    path = a_csv(
        tmp_path,
        "类别,产品,单位,标杆水平,基准水平,三级,版本,生效日期,来源,已核实",
        "能效水平,乙二醇,kgce/t,1.5,2.5,,2031,2031-01-01,文件 1,是",
        "限额,ethylene_glycol_syngas,kgce/t,,,1400,GB 1-2031,2031-01-01,文件 2,否",
    )
    told = await faults(database, settings, "levels", path)
    assert [line.split(":")[0] for line in told] == ["row 2", "row 3"]
    assert "is no product" in told[0]
    assert "holds from" in told[1]
    limits = a_book(
        tmp_path,
        ["kind", "product", "unit", "level3", "edition", "valid_from", "source"],
        ["limit", "cement_clinker", "kgce/t", 110, "GB 1-2031", date(2031, 1, 1), "a draft"],
    )
    told = await faults(database, settings, "levels", limits)
    assert "GB 16780-2021" in told[0]
    open_limit = "UPDATE level SET valid_to = '2031-01-01' WHERE product = 'cement_clinker' AND indicator = 'energy'"
    async with database.pool.acquire() as connection:
        await connection.execute(f"{open_limit} AND kind = 'limit'")
    assert await import_file(database, settings, "levels", limits) == Imported("levels", 1)
    corrected = a_csv(
        tmp_path,
        "产品,修正参数,修正方式,方向,起点,步长,三级,版本,生效日期,来源",
        "水泥熟料,altitude_m,乘,高于,1500,100,0.5,GB 1-2031,2031-01-01,文件 3",
    )
    assert await import_file(database, settings, "corrections", corrected) == Imported("corrections", 1)
    told = await faults(database, settings, "corrections", corrected)
    assert "holds from 2031-01-01 without end" in told[0]
    kept = await rows(
        database, "SELECT product, how, side, level3::text, entered_by FROM level_correction WHERE origin = 'entered'"
    )
    assert kept == [("cement_clinker", "times", "above", "0.5", "cli")]
    async with database.pool.acquire() as connection:
        await connection.execute("DELETE FROM level_correction WHERE origin = 'entered'")
        await connection.execute("DELETE FROM level WHERE origin = 'entered'")
        await connection.execute(open_limit.replace("'2031-01-01'", "NULL") + " AND kind = 'limit'")


# Outputs --------------------------------------------------------------------------------------------------------------


async def a_line(database: Database) -> None:
    fields = {"enterprise": OWN, "code": "K1", "product": "cement", "capacity_per_year": 1, "unit": "t", "meters": []}
    async with database.engine.begin() as connection:
        await lines.create_line(connection, values_of(LineIn.model_validate(fields)), "test")


async def test_outputs_come_in_and_a_corrected_file_makes_revisions(
    database: Database, settings: Settings, tmp_path: Path
) -> None:
    await a_line(database)
    first = a_book(tmp_path, ["统一社会信用代码", "生产线编号", "月份", "产量"], [OWN, "K1", date(2026, 9, 1), 100.5])
    assert await import_file(database, settings, "outputs", first) == Imported("outputs", 1)
    second = a_csv(tmp_path, "enterprise,line,month,quantity", f"{OWN},K1,2026-09,100.5", f"{OWN},K1,2026-10,90")
    assert await import_file(database, settings, "outputs", second) == Imported("outputs", 2, known=1)
    third = a_csv(tmp_path, "enterprise,line,month,quantity", f"{OWN},K1,2026-09,99")
    await import_file(database, settings, "outputs", third)
    found = "SELECT month::text, revision, quantity::text, entered_by FROM line_output ORDER BY 1, 2"
    assert await rows(database, found) == [
        ("2026-09-01", 1, "100.5", "cli"),
        ("2026-09-01", 2, "99", "cli"),
        ("2026-10-01", 1, "90", "cli"),
    ]


async def test_outputs_that_cannot_be_are_told_by_row_and_nothing_is_kept(
    database: Database, settings: Settings, tmp_path: Path
) -> None:
    await a_line(database)
    path = a_csv(
        tmp_path,
        "enterprise,line,month,quantity",
        f"{OWN},K1,2026-09,1",
        f"{OWN},K9,2026-09,1",
        f"{OWN},K1,2199-01,1",
        f"{OWN},K1,2026-10,-1",
        f"{OWN},K1,October,1",
    )
    told = await faults(database, settings, "outputs", path)
    assert [line.split(":")[0] for line in told] == ["row 3", "row 4", "row 5", "row 6"]
    assert "no line 'K9'" in told[0]
    assert "has not begun" in told[1]
