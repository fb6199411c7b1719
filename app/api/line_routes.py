"""Production lines and their output, products, levels, and each line held against its levels."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from app.api.access import (
    Reader,
    Reporting,
    Supervising,
    hidden,
    require_enterprise,
    supervises_everything,
    visible_enterprise,
    visible_line,
    visible_region,
)
from app.api.answers import (
    AskedFormat,
    Asking,
    AskingMany,
    columns_found,
    json_answer,
    key_of,
    listed,
    number,
    number_key,
    sink_of,
)
from app.api.deps import ApiDeps, Deps
from app.api.parameters import known_parameters
from app.api.problems import BadCursor, BadQuery
from app.api.schemas.benchmarks import BenchmarksOut, RegionBenchmarksOut
from app.api.schemas.lines import AttributesSaidOut, LevelOut, LineChange, LineOut, OutputOut, ProductOut
from app.api.schemas.shared import Listed
from app.store import benchmarks, levels, line_attributes, lines
from app.store.access import Caller
from app.store.benchmarks import Judged, LineStanding
from app.store.entries import AttributesIn, Day, LevelFields, LevelIn, LineIn, OutputIn, values_of
from app.store.region_totals import ledger_state
from app.store.registry import Fields, NotThere
from energy.benchmark import SHOWN, Indicator, Position, level_units, output_scale, quotient
from energy.correction import Attributes, Corrected
from energy.interval import from_us
from energy.line import Level, Verdict
from energy.tce import Basis

router = APIRouter(tags=["lines"], dependencies=[Depends(known_parameters)])

Text = Annotated[str | None, Query(max_length=100, pattern=r"^[^\x00]*$")]
MONTH = re.compile(r"(19|20|21)[0-9]{2}-(0[1-9]|1[0-2])")
AskedMonth = Annotated[
    str | None, Query(max_length=10, description="Local month such as 2026-10; else the last whole.")
]
Edition = Annotated[
    str | None,
    Query(max_length=20, pattern=r"^[^\x00]*$", description="Of 标杆 and 基准; else the one in force."),
]
LEVEL_NUMBERS = ("benchmark", "baseline", "level1", "level2", "level3")


# Lines ----------------------------------------------------------------------------------------------------------------


@router.get("/lines", operation_id="listLines", response_model=Listed[LineOut])
async def list_lines(
    deps: Deps,
    caller: Reader,
    asking: Asking,
    enterprise: Text = None,
    region: Text = None,
    product: Text = None,
    industry: Text = None,
) -> Response:
    """Production lines with product, capacity, and the shares of meters that supply them."""
    page = await lines.list_lines(
        deps.database,
        enterprise_id=enterprise,
        region=region,
        product_name=product,
        industry=industry,
        limit=asking.limit,
        after=number_key(asking.cursor),
    )
    return asking.answer([line_out(row) for row in page.items], page.next, "lines", LineOut)


@router.post("/lines", operation_id="createLine", status_code=201, response_model=LineOut)
async def create_line(body: LineIn, deps: Deps, caller: Supervising) -> Response:
    """A meter's shares over lines may not exceed 1 (`shares-exceed-one`)."""
    await require_enterprise(deps, caller, body.enterprise)
    async with deps.database.engine.begin() as connection:
        made = await lines.create_line(connection, values_of(body), caller.actor)
    return json_answer(line_out(made), 201, {"Location": f"/api/v1/lines/{made['line_id']}"})


@router.get("/lines/{line}", operation_id="getLine", response_model=LineOut)
async def get_line(line: str, deps: Deps, caller: Reader) -> Response:
    return json_answer(line_out(await visible_line(deps, caller, line)))


@router.put("/lines/{line}", operation_id="changeLine", response_model=LineOut)
async def change_line(line: str, body: LineChange, deps: Deps, caller: Supervising) -> Response:
    """Everything of a line but its enterprise and code; `active: false` takes it out of the figures.

    Other `attributes` hold from `attributes_from` on, and the past keeps its own. All else holds for every month: what
    would judge closed months with an output anew is refused (`restates-closed-months`) unless it `restates`.
    """
    found = await visible_line(deps, caller, line)
    today, opened = await _open_from(deps, found["enterprise"])
    async with deps.database.engine.begin() as connection:
        changed = await lines.change_line(
            connection, found["line_id"], values_of(body), caller.actor, today=today, opened=opened
        )
    return json_answer(line_out(changed))


@router.get("/lines/{line}/attributes", operation_id="listLineAttributes", response_model=Listed[AttributesSaidOut])
async def list_attributes(line: str, deps: Deps, caller: Reader, asking: Asking) -> Response:
    """Everything that was ever said of a line, from which day, by whom and when, in order of entry."""
    found = await visible_line(deps, caller, line)
    after = number_key(asking.cursor)
    page = await line_attributes.list_attributes(deps.database, found["line_id"], limit=asking.limit, after=after)
    items = [attributes_said_out(row) for row in page.items]
    return asking.answer(items, page.next, f"attributes-{found['code']}", AttributesSaidOut)


@router.post(
    "/lines/{line}/attributes",
    operation_id="sayLineAttributes",
    status_code=201,
    response_model=AttributesSaidOut,
    responses={200: {"model": AttributesSaidOut, "description": "It was said before"}},
)
async def say_attributes(line: str, body: AttributesIn, deps: Deps, caller: Supervising) -> Response:
    """What holds of a line from a day on; earlier days keep what was said of them.

    Closed months with an output that would be judged anew are named and refused (`restates-closed-months`) unless
    `restates` says that it is meant.
    """
    found = await visible_line(deps, caller, line)
    today, opened = await _open_from(deps, found["enterprise"])
    async with deps.database.engine.begin() as connection:
        made, new = await line_attributes.say_attributes(
            connection,
            found,
            valid_from=body.valid_from,
            attributes=body.attributes.kept(),
            note=body.note,
            actor=caller.actor,
            today=today,
            opened=opened,
            restates=body.restates,
        )
    return json_answer(attributes_said_out(made), 201 if new else 200)


async def _open_from(deps: ApiDeps, enterprise: str) -> tuple[date, date]:
    """Today, and the first day of the enterprise's first month that is not closed."""
    now_us = deps.now_us()
    opened = await line_attributes.open_from(
        deps.database.pool, deps.calendar, enterprise, closing_day=deps.closing_day, now_us=now_us
    )
    return deps.calendar.local_date(now_us), opened


def attributes_said_out(row: Fields) -> dict[str, Any]:
    kept = {name: value for name, value in row.items() if name not in ("entry_id", "line_id")}
    return {"id": row["entry_id"]} | kept


def line_out(row: Fields) -> dict[str, Any]:
    kept = {name: value for name, value in row.items() if name not in ("line_id", "region", "accumulates")}
    meters = [{"code": one["code"], "share": number(one["share"])} for one in row["meters"]]
    return {"id": row["line_id"]} | kept | {"capacity_per_year": number(row["capacity_per_year"]), "meters": meters}


@router.get("/lines/{line}/outputs", operation_id="listOutputs", response_model=Listed[OutputOut])
async def list_outputs(
    line: str,
    deps: Deps,
    caller: Reader,
    asking: Asking,
    revisions: Annotated[bool, Query(description="Every revision instead of each month's last.")] = False,
) -> Response:
    """A line's monthly output, oldest first."""
    found = await visible_line(deps, caller, line)
    after = _after_output(asking.cursor)
    page = await lines.outputs(deps.database, found["line_id"], revisions=revisions, limit=asking.limit, after=after)
    items = [output_out(row, found["unit"]) for row in page.items]
    return asking.answer(items, page.next, f"outputs-{found['code']}", OutputOut)


def _after_output(cursor: str | None) -> tuple[date, int] | None:
    words = key_of(cursor, 2)
    if words is None:
        return None
    try:
        if not re.fullmatch(r"[0-9]{1,9}", words[1]):
            raise BadCursor("the cursor belongs to another list")
        return date.fromisoformat(words[0]), int(words[1])
    except ValueError as error:
        raise BadCursor("the cursor belongs to another list") from error


@router.post(
    "/lines/{line}/outputs",
    operation_id="enterOutput",
    status_code=201,
    response_model=OutputOut,
    responses={200: {"model": OutputOut, "description": "It was entered before"}},
)
async def enter_output(line: str, body: OutputIn, deps: Deps, caller: Reporting) -> Response:
    """A month's output. Another quantity for the same month is its next revision; the same again answers 200."""
    found = await visible_line(deps, caller, line)
    today = deps.calendar.local_date(deps.now_us())
    async with deps.database.engine.begin() as connection:
        made, new = await lines.enter_output(connection, found["line_id"], values_of(body), caller.actor, today)
    return json_answer(output_out(made, found["unit"]), 201 if new else 200)


def output_out(row: Fields, unit: str) -> dict[str, Any]:
    words = {"month": f"{row['month']:%Y-%m}", "quantity": number(row["quantity"]), "unit": unit}
    return words | {name: row[name] for name in ("revision", "note", "entered_by", "entered_at")}


# Products and levels --------------------------------------------------------------------------------------------------


@router.get("/products", operation_id="listProducts", response_model=Listed[ProductOut])
async def list_products(deps: Deps, caller: Reader, request: Request, asked: AskedFormat = None) -> Response:
    """What lines make, with the unit it is counted in."""
    return listed(request, await levels.products(deps.database), None, asked, "products", ProductOut)


@router.get("/levels", operation_id="listLevels", response_model=Listed[LevelOut])
async def list_levels(
    deps: Deps,
    caller: Reader,
    asking: AskingMany,
    product: Text = None,
    kind: Annotated[str | None, Query(pattern="^(benchmark|limit)$")] = None,
    edition: Text = None,
    industry: Text = None,
    on: Annotated[Day | None, Query(description="Only levels that hold on this day.")] = None,
) -> Response:
    """Benchmark levels (标杆, 基准) by edition, and legal limits (levels 1, 2, 3), each with source and sureness."""
    page = await levels.list_levels(
        deps.database,
        product_name=product,
        kind=kind,
        edition=edition,
        industry=industry,
        on=on,
        limit=asking.limit,
        after=number_key(asking.cursor),
    )
    return asking.answer([level_out(row) for row in page.items], page.next, "levels", LevelOut)


@router.post("/levels", operation_id="createLevel", status_code=201, response_model=LevelOut)
async def create_level(body: LevelIn, deps: Deps, caller: Supervising) -> Response:
    """A level holds for everybody, so it is entered by who supervises every enterprise there is."""
    await supervises_everything(deps, caller)
    async with deps.database.engine.begin() as connection:
        made = await levels.enter_level(connection, values_of(body), caller.actor)
    return json_answer(level_out(made), 201, {"Location": f"/api/v1/levels/{made['level_id']}"})


@router.get("/levels/{level}", operation_id="getLevel", response_model=LevelOut)
async def get_level(level: str, deps: Deps, caller: Reader) -> Response:
    async with deps.database.engine.connect() as connection:
        return json_answer(level_out(await levels.level_of(connection, await _level_number(deps, caller, level))))


@router.put("/levels/{level}", operation_id="changeLevel", response_model=LevelOut)
async def change_level(level: str, body: LevelFields, deps: Deps, caller: Supervising) -> Response:
    await supervises_everything(deps, caller)
    found = await _level_number(deps, caller, level)
    async with deps.database.engine.begin() as connection:
        changed = await levels.change_level(connection, found, values_of(body), caller.actor)
    return json_answer(level_out(changed))


@router.delete("/levels/{level}", operation_id="removeLevel", status_code=204)
async def remove_level(level: str, deps: Deps, caller: Supervising) -> Response:
    """Take out a level that was entered by hand."""
    await supervises_everything(deps, caller)
    found = await _level_number(deps, caller, level)
    async with deps.database.engine.begin() as connection:
        await levels.remove_level(connection, found, caller.actor)
    return Response(status_code=204)


async def _level_number(deps: ApiDeps, caller: Caller, key: str) -> int:
    try:
        if re.fullmatch(r"[1-9][0-9]{0,8}", key):
            async with deps.database.engine.connect() as connection:
                return int((await levels.level_of(connection, int(key)))["level_id"])
    except NotThere:
        pass
    raise await hidden(deps, caller, "level", key)


def level_out(row: Fields) -> dict[str, Any]:
    words = {name: value for name, value in row.items() if name not in ("level_id", "name_zh", "name_en")}
    return {
        "id": row["level_id"],
        **words,
        "product_zh": row["name_zh"],
        "product_en": row["name_en"],
        **{name: number(row[name]) for name in LEVEL_NUMBERS},
    }


# Lines held against levels --------------------------------------------------------------------------------------------


@router.get("/enterprises/{enterprise}/benchmarks", operation_id="getBenchmarks", response_model=BenchmarksOut)
async def get_benchmarks(
    enterprise: str,
    deps: Deps,
    caller: Reader,
    request: Request,
    month: AskedMonth = None,
    edition: Edition = None,
    asked: AskedFormat = None,
) -> Response:
    """Each line of an enterprise in a month and in the running year, held against its levels.

    Energy per unit of product, ratio to 标杆 and 基准, position between them, gap in tce, and the legal level it keeps.
    What is missing is named and null, never 0.
    """
    await visible_enterprise(deps, caller, enterprise)
    wanted = month_asked(month, deps)
    made = await _made(deps, wanted)
    found = await benchmarks.line_standings(
        deps.database.pool,
        enterprise=enterprise,
        month=wanted,
        edition=edition,
        calendar=deps.calendar,
        now_us=deps.now_us(),
    )
    items = [standing_out(one) for one in found]
    sink = sink_of(request)
    if sink is not None:
        rows = [_flat(item) for item in items]
        return sink.take(rows, columns_found(rows) or {"id": "integer"}, f"benchmarks-{enterprise}")
    return json_answer({"enterprise": enterprise, **made, "lines": items})


@router.get("/regions/{code}/benchmarks", operation_id="getRegionBenchmarks", response_model=RegionBenchmarksOut)
async def get_region_benchmarks(code: str, deps: Deps, caller: Reader, month: AskedMonth = None) -> Response:
    """Of each industry the share of capacity at 标杆 or better in the running year, and the lines worse than 基准.

    A line without enough data counts as unknown, never as good.
    """
    await visible_region(deps, caller, code)
    wanted = month_asked(month, deps)
    made = await _made(deps, wanted)
    found = await benchmarks.line_standings(
        deps.database.pool, region=code, month=wanted, calendar=deps.calendar, now_us=deps.now_us()
    )
    worse = [one for one in found if benchmarks.sure_position(one) is Position.WORSE]
    shares = [
        {
            "industry": one.industry,
            "unit": one.unit,
            "lines": one.lines,
            "capacity_per_year": number(one.capacity),
            "at_benchmark": number(one.at_benchmark),
            "worse_than_baseline": number(one.worse_than_baseline),
            "unknown": number(one.unknown),
            "share_at_benchmark": number((one.at_benchmark / one.capacity).quantize(SHOWN)),
        }
        for one in benchmarks.industry_shares(found)
    ]
    words = {"region": code, **made}
    return json_answer(words | {"industries": shares, "worse_than_baseline": [standing_out(one) for one in worse]})


def month_asked(month: str | None, deps: ApiDeps) -> date:
    """The local month asked for, or the last whole one. Raises BadQuery and MonthInFuture."""
    today = deps.calendar.local_date(deps.now_us()).replace(day=1)
    if month is None:
        return date(today.year - 1, 12, 1) if today.month == 1 else today.replace(month=today.month - 1)
    if not MONTH.fullmatch(month):
        raise BadQuery("month", "it should be a local month such as 2026-10")
    wanted = date.fromisoformat(f"{month}-01")
    if wanted > today:
        raise lines.MonthInFuture(month, f"{today:%Y-%m}")
    return wanted


async def _made(deps: ApiDeps, month: date) -> dict[str, Any]:
    """Of which month figures are, and how far the ledger is; to be asked before the figures."""
    ledger = await ledger_state(deps.database.pool, deps.now_us())
    as_of = from_us(ledger.as_of_us, deps.calendar.zone).isoformat()
    return {"month": f"{month:%Y-%m}", "as_of": as_of, "factor_set": ledger.factor_set}


def standing_out(one: LineStanding) -> dict[str, Any]:
    """A line with its month's figures beside its own words, and the running year's below `year`."""
    line = one.line
    return {
        "id": line.line_id,
        "enterprise": line.enterprise,
        "enterprise_name": line.enterprise_name,
        "region": line.region,
        "code": line.code,
        "name": line.name,
        "industry": line.industry,
        "product": line.product,
        "product_zh": line.product_zh,
        "product_en": line.product_en,
        "condition": line.condition,
        "capacity_per_year": number(line.capacity_per_year),
        "output_unit": line.unit,
        "attributes": shown_attributes(line.attributes),
        "meters": [{"code": code, "share": number(share)} for code, share in one.shares.items()],
        **levels_out(one.levels),
        **judged_out(one, one.month),
        "year": judged_out(one, one.year),
    }


def shown_attributes(said: Attributes) -> dict[str, Any]:
    return {key.value: value if isinstance(value, bool) else number(value) for key, value in said.items()}


def levels_out(found: Sequence[Level]) -> dict[str, Any]:
    by_kind: dict[str, list[dict[str, Any]]] = {"benchmark": [], "limit": []}
    for level in found:
        names = ("benchmark", "baseline") if level.kind == "benchmark" else ("level1", "level2", "level3")
        values = (level.benchmark, level.baseline) if level.kind == "benchmark" else level.limits
        by_kind[level.kind].append(
            {
                "id": level.level_id,
                "indicator": level.indicator.value,
                "condition": level.condition,
                **{name: number(value) for name, value in zip(names, values, strict=True)},
                "unit": level.unit,
                "basis": level.basis.value,
                "edition": level.edition,
                "source": level.source,
                "verified": level.verified,
                "note": level.note,
                **({} if level.corrected is None else corrected_out(level.corrected)),
            }
        )
    return {"benchmark_levels": by_kind["benchmark"], "limit_levels": by_kind["limit"]}


def corrected_out(found: Corrected) -> dict[str, Any]:
    """The corrections that were made, each with what it changed, and the limits that follow, to six decimals."""
    applied = [
        {
            "attribute": one.correction.attribute.value,
            "value": one.value if isinstance(one.value, bool) else number(one.value),
            "how": one.correction.how.value,
            **{f"level{place}": shown_fraction(change) for place, change in enumerate(one.changes, start=1)},
            "source": one.correction.source,
            "verified": one.correction.verified,
        }
        for one in found.applied
    ]
    after = {f"corrected_level{place}": shown_fraction(level) for place, level in enumerate(found.limits, start=1)}
    return {"corrections": applied, **after}


def shown_fraction(value: Fraction | None) -> Decimal | None:
    return None if value is None else number(quotient(Decimal(value.numerator), Decimal(value.denominator)))


def judged_out(one: LineStanding, judged: Judged) -> dict[str, Any]:
    figures, main = judged.figures, judged.benchmark or judged.limit
    standing = None if judged.benchmark is None else judged.benchmark.standing
    sums = figures.sums
    return {
        "months": list(figures.months),
        "output": number(figures.output),
        "tce_equivalent": number(sums.tce_equivalent),
        "tce_equal": number(sums.tce_equal),
        "tco2": number(sums.tco2),
        "status": figures.status.value,
        "coverage": figures.coverage,
        "complete": figures.complete,
        "kgce_per_unit_equivalent": _per_unit(one, judged, sums.tce_equivalent),
        "kgce_per_unit_equal": _per_unit(one, judged, sums.tce_equal),
        "kgco2_per_unit": _per_unit(one, judged, sums.tco2),
        "unit_energy": main and number(main.standing.unit_energy),
        "unit": main and main.level.unit,
        "basis": main.level.basis.value if main else Basis.EQUIVALENT.value,
        "indicator": main and main.level.indicator.value,
        "edition": judged.benchmark and judged.benchmark.level.edition,
        "benchmark": judged.benchmark and number(judged.benchmark.level.benchmark),
        "baseline": judged.benchmark and number(judged.benchmark.level.baseline),
        "ratio_to_benchmark": standing and number(standing.ratio_to_benchmark),
        "ratio_to_baseline": standing and number(standing.ratio_to_baseline),
        "difference_to_benchmark": standing and number(standing.difference_to_benchmark),
        "difference_to_baseline": standing and number(standing.difference_to_baseline),
        "position": judged.position and judged.position.value,
        "position_share": standing and number(standing.position_share),
        "gap_tce": standing and _tonnes(judged.benchmark, standing.gap),
        "gap_to_baseline_tce": standing and _tonnes(judged.benchmark, standing.gap_to_baseline),
        "standard": judged.limit and judged.limit.level.edition,
        "limit_level": judged.limit and judged.limit.limit_level,
        "difference_to_limit": _to_limit(judged.limit),
        "others": [other_out(verdict) for verdict in judged.others],
        "reasons": list(judged.reasons),
    }


def _tonnes(verdict: Verdict | None, gap: Decimal | None) -> Decimal | None:
    """A gap in tce; of an indicator of electricity it is megawatt-hours and no tce."""
    if verdict is None or gap is None or verdict.level.indicator is Indicator.ELECTRICITY:
        return None
    scale, _ = level_units(verdict.level.unit)
    return number(gap if scale == 1 else (gap / scale).quantize(SHOWN))


def _to_limit(verdict: Verdict | None) -> Decimal | None:
    """How far energy per unit lies above level 3, the legal limit; below zero it is kept."""
    limit = None if verdict is None else verdict.level.limits_in_force[2]
    if verdict is None or limit is None:
        return None
    shown = Fraction(limit)
    return number(verdict.standing.unit_energy - quotient(Decimal(shown.numerator), Decimal(shown.denominator)))


def _per_unit(one: LineStanding, judged: Judged, tonnes: Decimal | None) -> Decimal | None:
    """Kilograms per unit of the product, whether or not there is a level to hold them against."""
    output = judged.figures.output
    if tonnes is None or not output:
        return None
    return number(quotient(tonnes * 1000, output * output_scale(one.line.unit, one.line.product_unit)))


def other_out(verdict: Verdict) -> dict[str, Any]:
    """By another indicator or kind of level, such as the electricity of clinker."""
    standing = verdict.standing
    return {
        "kind": verdict.level.kind,
        "indicator": verdict.level.indicator.value,
        "unit_energy": number(standing.unit_energy),
        "unit": verdict.level.unit,
        "edition": verdict.level.edition,
        "position": standing.position and standing.position.value,
        "limit_level": verdict.limit_level,
    }


def _flat(item: Mapping[str, Any]) -> dict[str, Any]:
    """One row of a table: the month's columns, then those of the running year."""
    nested = ("year", "benchmark_levels", "limit_levels", "others")
    year = {f"year_{name}": value for name, value in item["year"].items() if name not in nested}
    return {name: value for name, value in item.items() if name not in nested} | year
