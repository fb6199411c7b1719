"""Reads of the figures: an enterprise's series, and one bucket of many enterprises. From rollups, never from readings.

Figures are exact decimals. What nobody measured is None and never 0; what lacks a factor is None with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from itertools import pairwise
from typing import Any

import asyncpg
import msgspec
import numpy as np
import numpy.typing as npt

from app.store import closings
from app.store.co2_sets import Rows, co2_of_set, with_co2_of_carriers, with_co2_of_meters
from app.store.numeric_wire import exact_sum
from app.store.readings import MOMENT
from app.store.rollups import WORD, Connection
from energy.closing import ClosingDays
from energy.explanation import MeterTree
from energy.interval import Level, SiteCalendar
from energy.reading import Role
from energy.rollup import Status, coverage, status
from energy.tce import DEFAULT_CO2_DATASET, Basis

Int64s = npt.NDArray[np.int64]

MOST_BUCKETS = 20_000
"""More than two years of hours; a longer range is asked for in parts or in days."""


MOST_PARTS = 200_000
"""Figures of single meters in one answer: ten meters by the hour for two years. A table is asked for in pieces."""
THERE = "measured_us + estimated_us > 0"
"""Of a row of a rollup: whether there is anything in it besides what is held."""
TONNES = ("tce", "tce_net", "tco2", "tco2_net")


class EnterpriseUnknown(LookupError):
    """No enterprise has this id. Attribute: enterprise."""

    def __init__(self, enterprise: str) -> None:
        self.enterprise = enterprise
        super().__init__(f"no enterprise {enterprise!r}")


class TooManyBuckets(ValueError):
    """The range has more buckets than one answer may. Attributes: count, limit."""

    def __init__(self, count: int, limit: int = MOST_BUCKETS) -> None:
        self.count, self.limit = count, limit
        super().__init__(f"{count} buckets asked for, at most {limit} are answered")


class NotKnownThen(ValueError):
    """What was known on a day is kept by month and carrier."""


class By(StrEnum):
    """How fine the parts of a bucket are."""

    TOTAL = "total"
    CARRIER = "carrier"
    METER = "meter"


class CarrierFigure(msgspec.Struct, frozen=True, gc=False):
    """One carrier in one bucket, signed by role; quantities in the carrier's normal unit."""

    carrier: str
    unit: str
    quantity: Decimal | None
    quantity_net: Decimal | None
    tce: Decimal | None
    tce_net: Decimal | None
    tco2: Decimal | None
    tco2_net: Decimal | None
    status: Status
    coverage: float
    held: int
    reasons: tuple[str, ...]


class MeterFigure(msgspec.Struct, frozen=True, gc=False):
    """One meter in one bucket, without sign: the role says which it takes."""

    code: str
    carrier: str
    role: Role
    unit: str
    quantity: Decimal | None
    tce: Decimal | None
    tco2: Decimal | None
    status: Status
    coverage: float
    held: int


class Bucket(msgspec.Struct, frozen=True, gc=False):
    """All carriers together in [start_us, end_us). A figure is None when nothing is measured or a factor is missing."""

    start_us: int
    end_us: int
    tce: Decimal | None
    tce_net: Decimal | None
    tco2: Decimal | None
    tco2_net: Decimal | None
    status: Status
    coverage: float
    held: int
    reasons: tuple[str, ...]
    carriers: tuple[CarrierFigure, ...]
    meters: tuple[MeterFigure, ...]


@dataclass(frozen=True, slots=True)
class EnergySeries:
    """Every bucket of a range. All readings committed before `as_of_us` are in the figures."""

    enterprise: str
    level: Level
    by: By
    basis: Basis
    as_of_us: int
    factor_set: str | None
    co2_dataset: str
    buckets: tuple[Bucket, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """A figure as it is stored, and the tree of what made it, from one snapshot.

    `waiting`: readings have come that the stored figure does not hold yet, so that the two may rightly differ.
    """

    series: EnergySeries
    trees: tuple[MeterTree, ...]
    waiting: bool


@dataclass(frozen=True, slots=True)
class EnterpriseTotal:
    """One enterprise in one bucket."""

    enterprise: str
    region: str
    tce: Decimal | None
    tce_net: Decimal | None
    tco2: Decimal | None
    tco2_net: Decimal | None
    status: Status
    coverage: float
    held: int
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Backlog:
    """Marks that wait for the rollup: how many rows, when the oldest was made, and how long ago that is."""

    rows: int
    oldest_us: int | None
    age_s: float


def _us(column: str) -> str:
    return f"(extract(epoch FROM {column}) * 1000000)::bigint"


BACKLOG = f"""
SELECT count(*), {_us("min(marked_at)")}, greatest(extract(epoch FROM now() - min(marked_at)), 0)::float8 FROM touched
"""
# A meter owes readings from its first one on; one that never sent, since it was entered; one taken out of service,
# up to its last.
METERS = f"""
SELECT meter_id, meter.code, carrier.code AS carrier, carrier.unit, role,
       {_us("coalesce(first_at, created_at)")} AS from_us,
       CASE WHEN NOT active THEN
           (SELECT {_us("max(ts)")} FROM reading WHERE reading.meter_id = meter.meter_id) END AS until_us,
       active
FROM meter JOIN carrier ON carrier.code = meter.carrier
WHERE enterprise = $1 ORDER BY meter.code
"""
EXPLAINED = """
SELECT meter_id, name, level FROM meter WHERE enterprise = $1 ORDER BY code
"""
KNOWN = "SELECT EXISTS (SELECT FROM enterprise WHERE id = $1)"
FACTOR_SET = "SELECT id FROM factor_set ORDER BY loaded_at DESC, id LIMIT 1"
OLDEST_MARK = f"SELECT {_us('min(marked_at)')} FROM touched WHERE meter_id && $1::int[]"
STATE = f"SELECT ({FACTOR_SET}) AS factor_set, ({OLDEST_MARK}) AS oldest_mark_us"
CARRIER_ROWS = """
SELECT {start} AS start_us, b.carrier, carrier.unit, trim_scale(quantity) AS quantity,
       trim_scale(quantity_net) AS quantity_net, trim_scale(tce_{basis}) AS tce, trim_scale(tce_{basis}_net) AS tce_net,
       trim_scale(tco2) AS tco2, trim_scale(tco2_net) AS tco2_net, measured_us, estimated_us, held
FROM enterprise_{level} AS b JOIN carrier ON carrier.code = b.carrier
WHERE enterprise = $1 AND start >= {first} AND start < {end} ORDER BY start, b.carrier
"""
# One row a bucket, added up as `_bucket` adds up carriers: what nobody measured adds nothing, and with what lacks a
# factor the sum is unknown.
TOTAL_ROWS = """
SELECT {start} AS start_us, {sums}, sum(measured_us)::bigint AS measured_us, sum(estimated_us)::bigint AS estimated_us,
       sum(held)::int AS held,
       array_agg(carrier) FILTER (WHERE {there} AND tce_{basis} IS NULL) AS no_factor,
       array_agg(carrier) FILTER (WHERE {there} AND tco2 IS NULL) AS no_co2_factor
FROM enterprise_{level} WHERE enterprise = $1 AND start >= {first} AND start < {end} GROUP BY start
"""
METER_ROWS = """
SELECT {start} AS start_us, meter_id, trim_scale(quantity) AS quantity, trim_scale(tce_{basis}) AS tce,
       trim_scale(tco2) AS tco2, measured_us, estimated_us, held
FROM meter_{level} WHERE meter_id = ANY ($1::int[]) AND start >= {first} AND start < {end}
"""
TOTALS = """
WITH RECURSIVE part (code) AS (
    SELECT code FROM region WHERE code = $1
    UNION ALL SELECT region.code FROM region JOIN part ON region.parent = part.code
), chosen AS (
    SELECT id, region FROM enterprise WHERE {whose}
), figure AS (
    SELECT enterprise, sum(tce_{basis}) AS tce, sum(tce_{basis}_net) AS tce_net, sum(tco2) AS tco2,
           sum(tco2_net) AS tco2_net, sum(measured_us)::bigint AS measured_us,
           sum(estimated_us)::bigint AS estimated_us, sum(held)::bigint AS held,
           array_agg(carrier ORDER BY carrier) FILTER (WHERE {there} AND tce_{basis} IS NULL) AS no_factor,
           array_agg(carrier ORDER BY carrier) FILTER (WHERE {there} AND tco2 IS NULL) AS no_co2_factor
    FROM enterprise_{level} WHERE start = {begins} AND enterprise IN (SELECT id FROM chosen) GROUP BY enterprise
), due AS (
    SELECT enterprise, (sum(extract(epoch FROM greatest(until - since, interval '0'))) * 1000000)::bigint AS due_us
    FROM (SELECT enterprise, greatest({begins}, coalesce(first_at, created_at)) AS since,
                 least({ends}, {now}, CASE WHEN NOT active THEN coalesce(
                     (SELECT max(ts) FROM reading WHERE reading.meter_id = meter.meter_id), '-infinity') END) AS until
          FROM meter WHERE role <> 'internal' AND enterprise IN (SELECT id FROM chosen)) AS span
    GROUP BY enterprise
)
SELECT chosen.id AS enterprise, chosen.region, figure.tce, tce_net, tco2, tco2_net,
       coalesce(measured_us, 0) AS measured_us, coalesce(estimated_us, 0) AS estimated_us, coalesce(held, 0) AS held,
       coalesce(no_factor, '{{}}') AS no_factor, coalesce(no_co2_factor, '{{}}') AS no_co2_factor,
       coalesce(due_us, 0) AS due_us
FROM chosen LEFT JOIN figure ON figure.enterprise = chosen.id LEFT JOIN due ON due.enterprise = chosen.id
ORDER BY chosen.id
"""


async def backlog(connection: Connection | asyncpg.Pool) -> Backlog:
    """How far the rollup is behind."""
    rows, oldest_us, age_s = await connection.fetchrow(BACKLOG)  # type: ignore[misc]  # an aggregate always answers a row
    return Backlog(rows, oldest_us, max(0.0, age_s))


async def energy_series(
    pool: asyncpg.Pool,
    *,
    enterprise: str,
    start_us: int,
    end_us: int,
    level: Level,
    by: By,
    basis: Basis,
    calendar: SiteCalendar,
    now_us: int,
    co2_dataset: str = DEFAULT_CO2_DATASET,
) -> EnergySeries:
    """Every bucket that touches [start_us, end_us).

    Raises EnterpriseUnknown, TooManyBuckets, and app.store.co2_sets.DatasetUnknown.
    """
    edges = _edges(calendar, level, start_us, end_us)
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        return await series_in(connection, enterprise, edges, level, by, basis, calendar, now_us, co2_dataset)


async def series_in(
    connection: Connection,
    enterprise: str,
    edges: Int64s,
    level: Level,
    by: By,
    basis: Basis,
    calendar: SiteCalendar,
    now_us: int,
    co2_dataset: str,
) -> EnergySeries:
    """The buckets between the edges, inside a transaction of the caller."""
    bounds = int(edges[0]), int(edges[-1])
    shape = _shape(level, basis, first="$2", end="$3")
    meters = await connection.fetch(METERS, enterprise)
    if not meters and not await connection.fetchval(KNOWN, enterprise):
        raise EnterpriseUnknown(enterprise)
    numbers = [meter["meter_id"] for meter in meters]
    if by is By.METER and len(numbers) * (len(edges) - 1) > MOST_PARTS:
        raise TooManyBuckets(len(numbers) * (len(edges) - 1), MOST_PARTS)
    due = _Due.of(meters, edges, now_us)
    if by is By.TOTAL and co2_dataset == DEFAULT_CO2_DATASET:
        sums: Rows = await connection.fetch(TOTAL_ROWS.format(**shape), enterprise, *bounds)
        buckets = _total_buckets(sums, due, edges)
    else:
        carrier_rows: Rows = await connection.fetch(CARRIER_ROWS.format(**shape), enterprise, *bounds)
        meter_rows: Rows = []
        if by is By.METER and numbers:
            meter_rows = await connection.fetch(METER_ROWS.format(**shape), numbers, *bounds)
        if co2_dataset != DEFAULT_CO2_DATASET:
            co2 = await co2_of_set(connection, co2_dataset, enterprise, level, edges, calendar)
            carrier_rows, meter_rows = with_co2_of_carriers(carrier_rows, co2), with_co2_of_meters(meter_rows, co2)
        buckets = _buckets(carrier_rows, _meters(meter_rows, meters, due, edges), due, edges, by)
    factor_set, oldest_mark_us = await connection.fetchrow(STATE, numbers)  # type: ignore[misc]  # always one row
    as_of_us = now_us if oldest_mark_us is None else min(oldest_mark_us, now_us)
    return EnergySeries(enterprise, level, by, basis, as_of_us, factor_set, co2_dataset, buckets)


def _edges(calendar: SiteCalendar, level: Level, start_us: int, end_us: int) -> Int64s:
    shortest_us = {Level.HOUR: 1, Level.DAY: 22, Level.MONTH: 24 * 27, Level.YEAR: 24 * 364}[level] * 3_600_000_000
    if (end_us - start_us) // shortest_us > 2 * MOST_BUCKETS:
        raise TooManyBuckets((end_us - start_us) // shortest_us)
    edges = calendar.edges_us(level, start_us, end_us)
    if len(edges) - 1 > MOST_BUCKETS:
        raise TooManyBuckets(len(edges) - 1)
    return edges


def _shape(level: Level, basis: Basis, *, first: str, end: str) -> Mapping[str, str]:
    """The words of a question that depend on level and basis: our own constants."""
    known = {"tce": f"tce_{basis}", "tce_net": f"tce_{basis}_net", "tco2": "tco2", "tco2_net": "tco2_net"}
    sums = (
        f"CASE WHEN bool_and({column} IS NOT NULL) FILTER (WHERE {THERE}) THEN "
        f"trim_scale(sum({column}) FILTER (WHERE {THERE})) END AS {name}"
        for name, column in known.items()
    )
    return {
        "level": WORD[level],
        "basis": str(basis),
        "there": THERE,
        "sums": ", ".join(sums),
        "start": _us("start"),
        "first": MOMENT.format(us=f"{first}::bigint"),
        "end": MOMENT.format(us=f"{end}::bigint"),
    }


@dataclass(frozen=True, slots=True, eq=False)
class _Due:
    """Microseconds that readings are owed for, by bucket: of each meter, of each carrier, of all that count."""

    by_meter: Mapping[int, Int64s]
    by_carrier: Mapping[str, Int64s]
    unit: Mapping[str, str]
    total: Int64s

    @classmethod
    def of(cls, meters: Sequence[asyncpg.Record], edges: Int64s, now_us: int) -> _Due:
        by_meter = {meter["meter_id"]: _due(meter, edges, now_us) for meter in meters}
        by_carrier: dict[str, Int64s] = {}
        total = np.zeros(len(edges) - 1, np.int64)
        for meter in meters:
            if meter["role"] != Role.INTERNAL:
                mine = by_meter[meter["meter_id"]]
                total = total + mine
                by_carrier[meter["carrier"]] = by_carrier.get(meter["carrier"], 0) + mine
        return cls(by_meter, by_carrier, {meter["carrier"]: meter["unit"] for meter in meters}, total)


def _due(meter: asyncpg.Record, edges: Int64s, now_us: int) -> Int64s:
    until_us = now_us if meter["active"] else min(now_us, meter["until_us"] or meter["from_us"])
    begins = np.maximum(edges[:-1], meter["from_us"])
    due: Int64s = np.maximum(np.minimum(edges[1:], until_us) - begins, 0)
    return due


def _carriers(rows: Rows, due: _Due, edges: Int64s) -> dict[int, list[CarrierFigure]]:
    """Each bucket's carriers: those with a row, and those that owe readings there but have none."""
    place = {start_us: i for i, start_us in enumerate(edges[:-1].tolist())}
    owed_by = {carrier: owed.tolist() for carrier, owed in due.by_carrier.items()}
    found: dict[int, dict[str, CarrierFigure]] = {}
    for row in rows:
        at, carrier = place[row["start_us"]], row["carrier"]
        there = found.get(at)
        if there is None:
            there = found[at] = {}
        there[carrier] = _carrier(row, owed_by[carrier][at] if carrier in owed_by else 0)
    for carrier, owed in owed_by.items():
        nothing = _nothing(carrier, due.unit[carrier])
        for at, there in found.items():
            if owed[at] and carrier not in there:
                there[carrier] = nothing
    return {at: [there[carrier] for carrier in sorted(there)] for at, there in found.items()}


def _carrier(row: asyncpg.Record | Mapping[str, Any], due_us: int) -> CarrierFigure:
    carrier, measured_us = row["carrier"], row["measured_us"]
    state = status(measured_us, row["estimated_us"])
    share = coverage(measured_us, due_us)
    if state is Status.MISSING:
        return CarrierFigure(carrier, row["unit"], None, None, None, None, None, None, state, share, row["held"], ())
    tce, tco2 = row["tce"], row["tco2"]
    return CarrierFigure(
        carrier,
        row["unit"],
        row["quantity"],
        row["quantity_net"],
        tce,
        row["tce_net"],
        tco2,
        row["tco2_net"],
        state,
        share,
        row["held"],
        () if tce is not None and tco2 is not None else _lacking([carrier] * (tce is None), [carrier] * (tco2 is None)),
    )


def _lacking(no_factor: Sequence[str], no_co2_factor: Sequence[str]) -> tuple[str, ...]:
    """Why a figure is unknown: which carriers have no factor, in their order."""
    return tuple(
        f"{why}:{carrier}"
        for carrier in sorted({*no_factor, *no_co2_factor})
        for why, lacking in (("no-factor", no_factor), ("no-co2-factor", no_co2_factor))
        if carrier in lacking
    )


def _nothing(carrier: str, unit: str) -> CarrierFigure:
    return CarrierFigure(carrier, unit, None, None, None, None, None, None, Status.MISSING, 0.0, 0, ())


def _meters(rows: Rows, meters: Sequence[asyncpg.Record], due: _Due, edges: Int64s) -> dict[int, list[MeterFigure]]:
    place = {start_us: i for i, start_us in enumerate(edges[:-1].tolist())}
    by_number = {meter["meter_id"]: meter for meter in meters}
    found: dict[int, list[MeterFigure]] = {}
    for row in rows:
        at, meter = place[row["start_us"]], by_number[row["meter_id"]]
        state = status(row["measured_us"], row["estimated_us"])
        figures = {name: row[name] if state is not Status.MISSING else None for name in ("quantity", "tce", "tco2")}
        owed_us = int(due.by_meter[row["meter_id"]][at])
        found.setdefault(at, []).append(
            MeterFigure(
                code=meter["code"],
                carrier=meter["carrier"],
                role=Role(meter["role"]),
                unit=meter["unit"],
                **figures,
                status=state,
                coverage=coverage(row["measured_us"], owed_us),
                held=row["held"],
            )
        )
    return {at: sorted(figures, key=lambda one: one.code) for at, figures in found.items()}


def _shares(rows: Rows, due: _Due, edges: Int64s) -> list[float]:
    """Each bucket's coverage: measured time of all carriers to the time readings are owed for."""
    measured = np.zeros(len(edges) - 1, np.int64)
    at = np.searchsorted(edges, np.array([row["start_us"] for row in rows], np.int64))
    np.add.at(measured, at, np.array([row["measured_us"] for row in rows], np.int64))
    return [coverage(part, owed) for part, owed in zip(measured.tolist(), due.total.tolist(), strict=True)]


def _buckets(
    rows: Rows, parts: Mapping[int, Sequence[MeterFigure]], due: _Due, edges: Int64s, by: By
) -> tuple[Bucket, ...]:
    """Every bucket from the rows of its carriers, and with the parts of its meters."""
    carriers, shares = _carriers(rows, due, edges), _shares(rows, due, edges)
    return tuple(
        _bucket(span, carriers.get(at, ()), parts.get(at, ()), shares[at], by)
        for at, span in enumerate(pairwise(edges.tolist()))
    )


def _total_buckets(sums: Rows, due: _Due, edges: Int64s) -> tuple[Bucket, ...]:
    """Every bucket from the sum over its carriers."""
    found = {row["start_us"]: row for row in sums}
    spans = zip(pairwise(edges.tolist()), due.total.tolist(), strict=True)
    return tuple(_total_bucket(span, found.get(span[0]), owed_us) for span, owed_us in spans)


def _total_bucket(span: tuple[int, int], row: asyncpg.Record | Mapping[str, Any] | None, due_us: int) -> Bucket:
    if row is None:
        return Bucket(*span, None, None, None, None, Status.MISSING, 0.0, 0, (), (), ())
    no_factor, no_co2_factor = row["no_factor"], row["no_co2_factor"]
    return Bucket(
        *span,
        row["tce"],
        row["tce_net"],
        row["tco2"],
        row["tco2_net"],
        status(row["measured_us"], row["estimated_us"]),
        coverage(row["measured_us"], due_us),
        row["held"],
        _lacking(no_factor or (), no_co2_factor or ()) if no_factor or no_co2_factor else (),
        (),
        (),
    )


def _bucket(
    span: tuple[int, int], carriers: Sequence[CarrierFigure], meters: Sequence[MeterFigure], share: float, by: By
) -> Bucket:
    there = [one for one in carriers if one.status is not Status.MISSING]
    states = {one.status for one in there}
    state = next((s for s in (Status.ESTIMATED, Status.MEASURED) if s in states), Status.MISSING)
    return Bucket(
        *span,
        _sum([one.tce for one in there]),
        _sum([one.tce_net for one in there]),
        _sum([one.tco2 for one in there]),
        _sum([one.tco2_net for one in there]),
        state,
        share,
        sum([one.held for one in carriers]),
        tuple([reason for one in there for reason in one.reasons]),
        () if by is By.TOTAL else tuple(carriers),
        tuple(meters),
    )


def _sum(parts: Sequence[Decimal | None]) -> Decimal | None:
    """The exact sum; None of nothing, and None when a part is not known."""
    if not parts or None in parts:
        return None
    known = [part for part in parts if part is not None]
    return known[0] if len(known) == 1 else exact_sum(known)


async def meters_to_explain(connection: Connection, enterprise: str) -> list[tuple[int, str, int]]:
    """An enterprise's meters as (number, name, level), in order of their codes."""
    return [(row[0], row[1], row[2]) for row in await connection.fetch(EXPLAINED, enterprise)]


async def known_series(
    pool: asyncpg.Pool,
    *,
    enterprise: str,
    start_us: int,
    end_us: int,
    level: Level,
    by: By,
    basis: Basis,
    calendar: SiteCalendar,
    known_us: int,
    closing_day: int,
    co2_dataset: str = DEFAULT_CO2_DATASET,
) -> EnergySeries:
    """Months or years as they were known at an instant, from the months that were closed by then.

    A bucket with a month that was not is missing, and says so. Raises EnterpriseUnknown, TooManyBuckets, NotKnownThen.
    """
    if level not in (Level.MONTH, Level.YEAR) or by is By.METER:
        raise NotKnownThen(
            "what was known on a day is kept by month and carrier: ask for P1M or P1Y, by total or carrier"
        )
    if co2_dataset != DEFAULT_CO2_DATASET:
        raise NotKnownThen(f"what was known of CO2 on a day is kept by the data set {DEFAULT_CO2_DATASET} alone")
    edges = _edges(calendar, level, start_us, end_us)
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        if not await connection.fetchval(KNOWN, enterprise):
            raise EnterpriseUnknown(enterprise)
        meters = await connection.fetch(METERS, enterprise)
        known = await closings.known_on(connection, enterprise, int(edges[0]), int(edges[-1]), known_us)
        days = (await closings.closing_days(connection, [enterprise], closing_day))[enterprise]
        factor_set = await connection.fetchval(FACTOR_SET)
    due = _Due.of(meters, edges, known_us)
    rows, open_months = _known_rows(known, edges, basis), _open_months(calendar, edges, known_us, days)
    buckets = tuple(
        _not_known(edges, at, open_months[at]) if at in open_months else bucket
        for at, bucket in enumerate(_buckets(rows, {}, due, edges, by))
    )
    return EnergySeries(enterprise, level, by, basis, known_us, factor_set, DEFAULT_CO2_DATASET, buckets)


def _known_rows(
    known: Mapping[int, Mapping[str, Mapping[str, Any]]], edges: Int64s, basis: Basis
) -> list[dict[str, Any]]:
    """The months added up to the buckets, in the shape of the stored ones."""
    sums: dict[tuple[int, str], dict[str, Any]] = {}
    for month_us, carriers in sorted(known.items()):
        start_us = int(edges[int(np.searchsorted(edges, month_us, side="right")) - 1])
        for carrier, figures in carriers.items():
            row = {
                "quantity": figures["quantity"],
                "quantity_net": figures["quantity_net"],
                "tce": figures[f"tce_{basis}"],
                "tce_net": figures[f"tce_{basis}_net"],
                **{name: figures[name] for name in ("tco2", "tco2_net", "measured_us", "estimated_us", "held")},
            }
            there = sums.get((start_us, carrier))
            if there is not None:
                row = {name: _both(there[name], value) for name, value in row.items()}
            sums[start_us, carrier] = {"start_us": start_us, "carrier": carrier, "unit": figures["unit"], **row}
    return [sums[key] for key in sorted(sums)]


def _both(one: Any, other: Any) -> Any:
    if one is None or other is None:
        return None
    return exact_sum([one, other]) if isinstance(one, Decimal) else one + other


def _open_months(calendar: SiteCalendar, edges: Int64s, known_us: int, days: ClosingDays) -> dict[int, str]:
    """Buckets with a month that was not closed at the instant, and the first such month."""
    found: dict[int, str] = {}
    for month_us in calendar.edges_us(Level.MONTH, int(edges[0]), int(edges[-1]) - 1)[:-1].tolist():
        at = int(np.searchsorted(edges, month_us, side="right")) - 1
        if days.closes_us(calendar, month_us) > known_us:
            found.setdefault(at, f"{calendar.local_date(month_us):%Y-%m}")
    return found


def _not_known(edges: Int64s, at: int, month: str) -> Bucket:
    span = int(edges[at]), int(edges[at + 1])
    return Bucket(*span, None, None, None, None, Status.MISSING, 0.0, 0, (f"not-closed:{month}",), (), ())


async def enterprise_totals(
    pool: asyncpg.Pool,
    *,
    region: str | None = None,
    enterprises: Sequence[str] | None = None,
    level: Level,
    start_us: int,
    basis: Basis,
    calendar: SiteCalendar,
    now_us: int,
) -> dict[str, EnterpriseTotal]:
    """The bucket that contains the instant, for every enterprise in the region's subtree and among those named.

    An enterprise without figures is in the answer too.
    """
    rows = await _total_rows(pool, region, enterprises, level, start_us, basis, calendar, now_us)
    return {row["enterprise"]: _total(row) for row in rows}


async def _total_rows(
    pool: asyncpg.Pool,
    region: str | None,
    enterprises: Sequence[str] | None,
    level: Level,
    at_us: int,
    basis: Basis,
    calendar: SiteCalendar,
    now_us: int,
) -> list[asyncpg.Record]:
    question = total_question(level, basis, of_region=region is not None, named=enterprises is not None)
    begins, ends = calendar.bucket_start(level, at_us), calendar.bucket_end(level, at_us)
    return list(await pool.fetch(question, region, enterprises, begins, ends, now_us))


def total_question(level: Level, basis: Basis, *, of_region: bool, named: bool) -> str:
    """TOTALS of a level and basis. A statement for each way to say which enterprises: then each can use its key."""
    moments = {name: MOMENT.format(us=f"${i}::bigint") for i, name in ((3, "begins"), (4, "ends"), (5, "now"))}
    whose = (
        "region IN (SELECT code FROM part)" if of_region else "$1::text IS NULL",
        "id = ANY ($2::text[])" if named else "$2::text[] IS NULL",
    )
    return TOTALS.format(level=WORD[level], basis=str(basis), there=THERE, whose=" AND ".join(whose), **moments)


def _total(row: asyncpg.Record) -> EnterpriseTotal:
    state = status(row["measured_us"], row["estimated_us"])
    there = state is not Status.MISSING
    lacking = {"tce": row["no_factor"], "tco2": row["no_co2_factor"]}
    words = {"tce": "no-factor", "tco2": "no-co2-factor"}
    figures = {name: row[name] if there and not lacking[name.removesuffix("_net")] else None for name in TONNES}
    return EnterpriseTotal(
        enterprise=row["enterprise"],
        region=row["region"],
        **figures,
        status=state,
        coverage=coverage(row["measured_us"], row["due_us"]),
        held=row["held"],
        reasons=tuple(f"{words[kind]}:{carrier}" for kind in lacking for carrier in lacking[kind]) if there else (),
    )
