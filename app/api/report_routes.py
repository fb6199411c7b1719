"""Reports: a region's month, and an enterprise's year in the tables of the 能源利用状况报告; as workbooks or JSON."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from enum import StrEnum
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from app.api.access import Reader, visible_enterprise, visible_region
from app.api.answers import XLSX_TYPE, json_answer
from app.api.deps import ApiDeps, Deps
from app.api.line_routes import standing_out
from app.api.parameters import known_parameters
from app.api.problems import BadQuery, wants_chinese
from app.api.report_tables import Table, Tongue, monthly, utilisation, workbook
from app.api.schemas.jobs import ReportOut
from app.store import benchmarks, reports
from app.store.energy import enterprise_totals
from app.store.region_totals import LedgerState, RegionTotal, ledger_state, region_figures
from app.store.registry import Fields
from energy.interval import Level, from_us
from energy.tce import Basis

router = APIRouter(tags=["reports"], dependencies=[Depends(known_parameters)])

MONTH = re.compile(r"(20\d{2})-(0[1-9]|1[0-2])")
WORKBOOK = {XLSX_TYPE: {"schema": {"type": "string", "contentMediaType": XLSX_TYPE}}}


class ReportForm(StrEnum):
    JSON = "json"
    XLSX = "xlsx"


AskedForm = Annotated[ReportForm | None, Query(alias="format", description="A workbook, or JSON (the default).")]
LOCAL_MONTH = "Local month such as 2026-10; else the last whole one."
AskedMonth = Annotated[str | None, Query(max_length=7, description=LOCAL_MONTH)]
AskedYear = Annotated[int | None, Query(ge=2000, le=2100, description="Local year; else the last whole one.")]


@router.get(
    "/reports/monthly/{code}",
    operation_id="getMonthlyReport",
    response_model=ReportOut,
    responses={200: {"content": WORKBOOK}},
)
async def get_monthly(
    code: str,
    deps: Deps,
    caller: Reader,
    request: Request,
    month: AskedMonth = None,
    basis: Basis = Basis.EQUIVALENT,
    asked: AskedForm = None,
) -> Response:
    """A region's month: its districts, its enterprises by size, those over budget, and those without data."""
    region = await visible_region(deps, caller, code)
    first = _month(deps, month)
    at_us = deps.calendar.date_start_us(first)
    parts = [region, *await reports.counties(deps.database.pool, code)]
    ledger = await ledger_state(deps.database.pool, deps.now_us())
    regions = [await _region(deps, one, at_us, basis) for one in parts]
    units = await reports.units(deps.database.pool, code, first.year)
    in_month, in_year = [await _units(deps, code, level, at_us, basis) for level in (Level.MONTH, Level.YEAR)]
    t = Tongue(chinese=wants_chinese(request))
    tables = monthly(t, regions, units, in_month, in_year)
    title = t.say(f"{t.name(region)} {first:%Y-%m} 能耗月报", f"{t.name(region)}, energy in {first:%Y-%m}")
    return await _answer(deps, request, asked, t, title, f"monthly-{code}-{first:%Y-%m}", tables, ledger)


@router.get(
    "/reports/utilisation/{enterprise}",
    operation_id="getUtilisationReport",
    response_model=ReportOut,
    responses={200: {"content": WORKBOOK}},
)
async def get_utilisation(
    enterprise: str,
    deps: Deps,
    caller: Reader,
    request: Request,
    year: AskedYear = None,
    asked: AskedForm = None,
) -> Response:
    """An enterprise's 能源利用状况报告: its eleven tables, filled in as far as the ledger knows.

    What no meter tells, such as output value and stocks, is left to the unit and says so.
    """
    unit = await visible_enterprise(deps, caller, enterprise)
    wanted = year or deps.calendar.local_date(deps.now_us()).year - 1
    pool, calendar = deps.database.pool, deps.calendar
    now_us = min(deps.now_us(), calendar.date_start_us(date(wanted + 1, 1, 1)))
    ledger = await ledger_state(pool, deps.now_us())
    standings = await benchmarks.line_standings(
        pool, enterprise=enterprise, month=date(wanted, 12, 1), calendar=calendar, now_us=now_us
    )
    t = Tongue(chinese=wants_chinese(request))
    tables = utilisation(
        t,
        wanted,
        unit,
        await reports.balance(pool, enterprise, wanted, calendar),
        (
            await reports.months(pool, enterprise, wanted, calendar),
            await reports.months(pool, enterprise, wanted - 1, calendar),
        ),
        [_line(standing_out(one)) for one in standings],
        await reports.positions(pool, enterprise, wanted),
        await reports.meters(pool, enterprise),
    )
    title = t.say(f"{unit['name']} {wanted} 年度能源利用状况报告", f"{unit['name']}, use of energy in {wanted}")
    return await _answer(deps, request, asked, t, title, f"utilisation-{enterprise}-{wanted}", tables, ledger)


def _line(standing: Fields) -> Fields:
    """A line with the figures of its year, under the names of the tables."""
    return {**standing, **standing["year"], "line_unit": standing["output_unit"]}


def _month(deps: ApiDeps, words: str | None) -> date:
    today = deps.calendar.local_date(deps.now_us())
    if words is None:
        return date(today.year - (today.month == 1), (today.month - 2) % 12 + 1, 1)
    found = MONTH.fullmatch(words)
    if found is None:
        raise BadQuery("month", "is no month such as 2026-10")
    return date(int(found[1]), int(found[2]), 1)


async def _region(deps: ApiDeps, region: Fields, at_us: int, basis: Basis) -> tuple[Fields, RegionTotal, RegionTotal]:
    """A region with its month and its year."""
    found = await region_figures(
        deps.database.pool,
        region=region["code"],
        at_us=at_us,
        basis=basis,
        calendar=deps.calendar,
        now_us=deps.now_us(),
    )
    return region, found.month, found.year


async def _units(deps: ApiDeps, code: str, level: Level, at_us: int, basis: Basis) -> Any:
    return await enterprise_totals(
        deps.database.pool,
        region=code,
        level=level,
        start_us=at_us,
        basis=basis,
        calendar=deps.calendar,
        now_us=deps.now_us(),
    )


async def _answer(
    deps: ApiDeps,
    request: Request,
    asked: ReportForm | None,
    t: Tongue,
    title: str,
    name: str,
    tables: Sequence[Table],
    ledger: LedgerState,
) -> Response:
    """`ledger`: how far it was before the first figure was read."""
    as_of = from_us(ledger.as_of_us, deps.calendar.zone).isoformat()
    wanted = asked or (ReportForm.XLSX if XLSX_TYPE in request.headers.get("accept", "") else ReportForm.JSON)
    if wanted is ReportForm.JSON:
        made = {
            "title": title,
            "as_of": as_of,
            "factor_set": ledger.factor_set,
            "tables": [table.out() for table in tables],
        }
        return json_answer(made)
    head = [
        (title, ""),
        (t.say("数据截至", "as of"), as_of),
        (t.say("系数版本", "factor set"), ledger.factor_set or ""),
        (t.say("时区", "time zone"), deps.calendar.zone.key),
        (t.say("说明", "note"), t.say("空白表示无数据，不是零", "an empty cell means no data, not zero")),
    ]
    disposition = {"Content-Disposition": f'attachment; filename="{name}.xlsx"'}
    return Response(workbook(tables, head), 200, disposition, XLSX_TYPE)
