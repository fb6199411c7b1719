"""The figures: an enterprise's energy by local buckets, and a region at a glance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from alerts.barometer import RegionOutlook, warn
from app.api.access import Reader, visible_enterprise, visible_region
from app.api.answers import AskedFormat, Columns, Sink, columns_of, json_answer, local_time, number, sink_of
from app.api.deps import ApiDeps, Deps
from app.api.parameters import bound_us, known_parameters
from app.api.problems import BadQuery
from app.api.schemas.energy import BucketOut, CarrierOut, EnergyOut, MeterFigureOut, OverviewOut
from app.store.alert_settings import settings_book
from app.store.energy import (
    Bucket,
    By,
    CarrierFigure,
    EnergySeries,
    MeterFigure,
    TooManyBuckets,
    energy_series,
    known_series,
)
from app.store.gateways import gateway_states
from app.store.region_standing import region_standing
from app.store.region_totals import RegionFigures, RegionTotal, ledger_state, region_figures
from energy.interval import DAY_US, Level, from_us
from energy.tce import DEFAULT_CO2_DATASET, Basis

Dataset = Annotated[str, Query(max_length=64, description="Which set of CO2 factors; `factors?kind=co2` lists them.")]
router = APIRouter(tags=["energy"], dependencies=[Depends(known_parameters)])

BOUND = "RFC 3339 with an offset, or a local 2026, 2026-11, 2026-11-23."
Bound = Annotated[str, Query(max_length=64, description=BOUND)]
Moment = Annotated[
    str | None, Query(max_length=64, description=f"A moment of the month and year wanted; else now. {BOUND}")
]


KnownOn = Annotated[
    str | None,
    Query(max_length=64, description=f"What was known at this moment, or at the end of this local day. {BOUND}"),
]


def known_us(text: str, deps: ApiDeps) -> int:
    """The instant asked for: of a local day, month or year its end; never later than now."""
    begins_us = bound_us(text, deps.calendar.zone)
    length = {4: Level.YEAR, 7: Level.MONTH, 10: Level.DAY}.get(len(text))
    ends_us = begins_us if length is None else deps.calendar.bucket_end(length, begins_us) - 1
    return min(ends_us, deps.now_us())


@router.get("/enterprises/{enterprise}/energy", operation_id="getEnergy", response_model=EnergyOut)
async def get_energy(
    enterprise: str,
    deps: Deps,
    caller: Reader,
    request: Request,
    start: Annotated[Bound, Query(alias="from")],
    end: Annotated[Bound, Query(alias="to")],
    interval: Level = Level.DAY,
    by: By = By.CARRIER,
    basis: Basis = Basis.EQUIVALENT,
    co2_dataset: Dataset = DEFAULT_CO2_DATASET,
    known_on: KnownOn = None,
    asked: AskedFormat = None,
) -> Response:
    """Energy in [from, to) by local hour, day, month or year. What nobody measured is null, never 0.

    With `known_on` it is what was known on that day of the months that were closed by then.
    """
    await visible_enterprise(deps, caller, enterprise)
    zone = deps.calendar.zone
    bounds = bound_us(start, zone), bound_us(end, zone)
    if bounds[0] >= bounds[1]:
        raise BadQuery("to", "it should be later than from; the range is [from, to)")
    sink = sink_of(request)
    piece = bounds if sink is None else _piece(sink, interval, *bounds)
    if known_on is None:
        series = await energy_series(
            deps.database.pool,
            enterprise=enterprise,
            start_us=piece[0],
            end_us=piece[1],
            level=interval,
            by=by,
            basis=basis,
            calendar=deps.calendar,
            now_us=deps.now_us(),
            co2_dataset=co2_dataset,
        )
    else:
        series = await known_series(
            deps.database.pool,
            enterprise=enterprise,
            start_us=piece[0],
            end_us=piece[1],
            level=interval,
            by=by,
            basis=basis,
            calendar=deps.calendar,
            known_us=known_us(known_on, deps),
            closing_day=deps.closing_day,
            co2_dataset=co2_dataset,
        )
    if sink is not None:
        following = None if series.buckets[-1].end_us >= bounds[1] else str(series.buckets[-1].end_us)
        return sink.take(list(lines(series, zone)), LINES[by], f"energy-{enterprise}", following)
    return json_answer(energy_out(series, zone))


PIECE_US = {Level.HOUR: 7 * DAY_US, Level.DAY: 31 * DAY_US, Level.MONTH: 366 * DAY_US, Level.YEAR: 3660 * DAY_US}
"""So much of a long table is read at once: some hundred buckets."""
TABLE_SPAN_US = 100 * 366 * DAY_US
"""A longer table is nobody's; it would hold mostly days on which nothing was measured."""


def _piece(sink: Sink, interval: Level, start_us: int, end_us: int) -> tuple[int, int]:
    """Which part of a table's range is asked for next; its ends are edges of buckets. Raises TooManyBuckets."""
    if end_us - start_us > TABLE_SPAN_US:
        shortest_us = PIECE_US[interval]
        raise TooManyBuckets((end_us - start_us) // shortest_us, TABLE_SPAN_US // shortest_us)
    first_us = start_us if sink.resume is None else int(sink.resume)
    return first_us, min(end_us, first_us + PIECE_US[interval])


def _lines(part: type[BucketOut] | type[CarrierOut] | type[MeterFigureOut]) -> Columns:
    columns = {name: kind for name, kind in columns_of(part).items() if name not in ("carriers", "meters")}
    return {"start": "time", "end": "time", **columns}


LINES = {By.TOTAL: _lines(BucketOut), By.CARRIER: _lines(CarrierOut), By.METER: _lines(MeterFigureOut)}


def energy_out(series: EnergySeries, zone: ZoneInfo) -> dict[str, Any]:
    return {
        "enterprise": series.enterprise,
        "interval": series.level.value,
        "basis": series.basis.value,
        "by": series.by.value,
        "as_of": local_time(series.as_of_us, zone),
        "factor_set": series.factor_set,
        "co2_dataset": series.co2_dataset,
        "buckets": [bucket_out(bucket, zone) for bucket in series.buckets],
    }


def bucket_out(bucket: Bucket, zone: ZoneInfo) -> dict[str, Any]:
    return {
        "start": local_time(bucket.start_us, zone),
        "end": local_time(bucket.end_us, zone),
        **figures(bucket),
        "held": bucket.held,
        "reasons": list(bucket.reasons),
        "carriers": [carrier_out(carrier) for carrier in bucket.carriers],
        "meters": [meter_out(meter) for meter in bucket.meters],
    }


def figures(part: Bucket | CarrierFigure | RegionTotal) -> dict[str, Any]:
    return {
        "tce": number(part.tce),
        "tce_net": number(part.tce_net),
        "tco2": number(part.tco2),
        "tco2_net": number(part.tco2_net),
        "status": part.status.value,
        "coverage": part.coverage,
    }


def carrier_out(carrier: CarrierFigure) -> dict[str, Any]:
    return {
        "carrier": carrier.carrier,
        "quantity": number(carrier.quantity),
        "quantity_net": number(carrier.quantity_net),
        "unit": carrier.unit,
        **figures(carrier),
        "held": carrier.held,
        "reasons": list(carrier.reasons),
    }


def meter_out(meter: MeterFigure) -> dict[str, Any]:
    return {
        "meter": meter.code,
        "carrier": meter.carrier,
        "role": meter.role.value,
        "quantity": number(meter.quantity),
        "unit": meter.unit,
        "tce": number(meter.tce),
        "tco2": number(meter.tco2),
        "status": meter.status.value,
        "coverage": meter.coverage,
        "held": meter.held,
    }


def lines(series: EnergySeries, zone: ZoneInfo) -> Iterator[dict[str, Any]]:
    """The series as a flat table: one line a bucket, carrier or meter."""
    for bucket in series.buckets:
        whole = bucket_out(bucket, zone)
        carriers, meters = whole.pop("carriers"), whole.pop("meters")
        ends = {"start": whole["start"], "end": whole["end"]}
        parts = meters if series.by is By.METER else carriers
        if series.by is By.TOTAL or not parts:
            yield {**whole, "reasons": " ".join(bucket.reasons)}
        for part in parts:
            yield {**ends, **part, **({"reasons": " ".join(part["reasons"])} if "reasons" in part else {})}


@router.get("/regions/{code}/overview", operation_id="getRegionOverview", response_model=OverviewOut)
async def get_overview(
    code: str,
    deps: Deps,
    caller: Reader,
    basis: Basis = Basis.EQUIVALENT,
    at: Moment = None,
) -> Response:
    """A region with all below it: the month and the year of a moment, its warning and why, and its gateways."""
    region = await visible_region(deps, caller, code)
    at_us = deps.now_us() if at is None else bound_us(at, deps.calendar.zone)
    ledger = await ledger_state(deps.database.pool, deps.now_us())
    found: RegionFigures = await deps.board.marked(
        (code, *(deps.calendar.bucket_start(level, at_us) for level in (Level.MONTH, Level.YEAR)), basis),
        ledger.mark,
        partial(_region_figures, deps, code, at_us, basis),
    )
    shown = ledger if found.ledger.mark == ledger.mark else found.ledger
    states = await deps.board.recent((code, "gateways"), partial(gateway_states, deps.database, code, deps.clock()))
    this_year = from_us(at_us, deps.calendar.zone).year
    warned = await deps.board.recent(
        (code, "warning", this_year, basis), partial(_warning, deps, code, this_year, basis)
    )
    return json_answer(
        {key: region[key] for key in ("code", "name_zh", "name_en")}
        | {"as_of": local_time(shown.as_of_us, deps.calendar.zone), "factor_set": shown.factor_set}
        | {"basis": basis.value, "co2_dataset": DEFAULT_CO2_DATASET}
        | {"month": period_out(found.month, deps.calendar.zone), "year": period_out(found.year, deps.calendar.zone)}
        | {"gateways": states, **warned}
    )


async def _warning(deps: ApiDeps, code: str, year: int, basis: Basis) -> dict[str, Any]:
    """The county's colour, what it means and why; its target; its units and alerts by colour."""
    standing = await region_standing(deps.database.pool, code, year=year, basis=basis.value)
    units, target = dict(standing.units), standing.target
    shown = {"with_budget": units.pop("units"), **units}
    shown["evaluated_at"] = None if units["evaluated_at"] is None else units["evaluated_at"].isoformat()
    warning = None
    if target is not None and shown["with_budget"]:
        async with deps.database.pool.acquire() as connection:
            settings = (await settings_book(connection)).of(code).settings
        outlook = RegionOutlook(
            base=float(target["base"]),
            incentive=float(target["incentive"]),
            projected=units["projected"],
            spent=units["spent"],
            planned=units["planned"],
            units=shown["with_budget"],
            cover=units["cover"],
            assumed=units["assumed"],
        )
        found = warn(settings, outlook, "tce")
        warning = asdict(found) | {"level": found.level.word}
    ends = None if target is None else {"base": number(target["base"]), "incentive": number(target["incentive"])}
    return {"target": ends, "warning": warning, "units": shown, "alerts": dict(standing.alerts)}


async def _region_figures(deps: ApiDeps, code: str, at_us: int, basis: Basis) -> RegionFigures:
    return await region_figures(
        deps.database.pool, region=code, at_us=at_us, basis=basis, calendar=deps.calendar, now_us=deps.now_us()
    )


def period_out(total: RegionTotal, zone: ZoneInfo) -> dict[str, Any]:
    return {
        "start": local_time(total.start_us, zone),
        "end": local_time(total.end_us, zone),
        **figures(total),
        "tce_known": number(total.tce_known),
        "tco2_known": number(total.tco2_known),
        "enterprises": total.enterprises,
        "measured": total.measured,
        "missing": list(total.missing),
        "unknown": list(total.unknown),
        "held": total.held,
    }
