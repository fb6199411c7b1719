"""A region with all below it: its month and its year, added up by the database, and how far the figures are.

One row leaves the database however many enterprises lie in the region. Figures are exact decimals; what nobody measured
is None and never 0, and with an enterprise that lacks a factor the sum is unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import asyncpg

from app.store.energy import FACTOR_SET, THERE
from app.store.readings import MOMENT
from app.store.rollups import WORD, Connection
from energy.interval import Level, SiteCalendar
from energy.rollup import Status, coverage
from energy.tce import Basis

LEDGER = f"""
SELECT (SELECT sum(version)::bigint FROM figures_mark) AS mark, ({FACTOR_SET}) AS factor_set,
       (SELECT (extract(epoch FROM min(marked_at)) * 1000000)::bigint FROM touched) AS oldest_mark_us
"""
# A carrier of which nothing is measured adds nothing; one that is measured and lacks a factor makes its enterprise's
# figure unknown. A meter owes readings from its first one on; one that never sent, since it was entered; one taken out
# of service, up to its last.
TOTAL = """
WITH RECURSIVE part (code) AS (
    SELECT code FROM region WHERE code = $1
    UNION ALL SELECT region.code FROM region JOIN part ON region.parent = part.code
), chosen AS MATERIALIZED (
    SELECT id FROM enterprise WHERE region IN (SELECT code FROM part)
), figure AS (
    SELECT enterprise, bool_or({there}) AS there, {sums},
           bool_or({there} AND tce_{basis} IS NULL) AS tce_lacks, bool_or({there} AND tco2 IS NULL) AS tco2_lacks,
           sum(measured_us)::bigint AS measured_us, bool_or(estimated_us > 0) AS estimated, sum(held)::bigint AS held
    FROM enterprise_{level} WHERE start = {begins} AND enterprise IN (SELECT id FROM chosen) GROUP BY enterprise
), owed AS (
    SELECT sum(extract(epoch FROM greatest(until - since, interval '0'))) * 1000000 AS due_us
    FROM (SELECT greatest({begins}, coalesce(first_at, created_at)) AS since,
                 least({ends}, {now}, CASE WHEN NOT active THEN coalesce(
                     (SELECT max(ts) FROM reading WHERE reading.meter_id = meter.meter_id), '-infinity') END) AS until
          FROM meter WHERE role <> 'internal' AND enterprise IN (SELECT id FROM chosen)) AS span
)
SELECT count(*) AS enterprises, count(*) FILTER (WHERE there) AS measured,
       sum(tce) FILTER (WHERE NOT tce_lacks) AS tce, sum(tce_net) FILTER (WHERE NOT tce_lacks) AS tce_net,
       sum(tco2) FILTER (WHERE NOT tco2_lacks) AS tco2, sum(tco2_net) FILTER (WHERE NOT tco2_lacks) AS tco2_net,
       coalesce(bool_or(tce_lacks), false) AS tce_lacks, coalesce(bool_or(tco2_lacks), false) AS tco2_lacks,
       coalesce(bool_or(estimated), false) AS estimated, coalesce(sum(measured_us), 0)::bigint AS measured_us,
       array_agg(id ORDER BY id) FILTER (WHERE there IS NOT TRUE) AS missing,
       array_agg(id ORDER BY id) FILTER (WHERE tce_lacks OR tco2_lacks) AS unknown,
       coalesce(sum(held), 0)::bigint AS held, coalesce((SELECT due_us FROM owed), 0)::bigint AS due_us
FROM chosen LEFT JOIN figure ON figure.enterprise = chosen.id
"""


@dataclass(frozen=True, slots=True)
class LedgerState:
    """How far the figures are. `mark` moves with every change that a total of enterprises may show.

    Figures that belong to the mark hold every reading committed before `as_of_us`.
    """

    mark: int
    factor_set: str | None
    as_of_us: int


@dataclass(frozen=True, slots=True)
class RegionTotal:
    """A region with all below it, in one bucket.

    The figures are None when nothing is measured or an enterprise with data lacks a factor (`unknown`); then
    `tce_known` and `tco2_known` are what the others add up to. `missing` are enterprises without any data.
    """

    region: str
    start_us: int
    end_us: int
    tce: Decimal | None
    tce_net: Decimal | None
    tco2: Decimal | None
    tco2_net: Decimal | None
    tce_known: Decimal
    tco2_known: Decimal
    enterprises: int
    measured: int
    missing: tuple[str, ...]
    unknown: tuple[str, ...]
    status: Status
    coverage: float
    held: int


@dataclass(frozen=True, slots=True)
class RegionFigures:
    """A region's month and year of one snapshot, and how far the ledger was in it."""

    ledger: LedgerState
    month: RegionTotal
    year: RegionTotal


async def ledger_state(connection: Connection | asyncpg.Pool, now_us: int) -> LedgerState:
    """Of one snapshot: what waits for the rollup has not moved the mark, what moved it waits no more."""
    mark, factor_set, oldest_us = await connection.fetchrow(LEDGER)  # type: ignore[misc]  # always one row
    return LedgerState(int(mark), factor_set, now_us if oldest_us is None else min(oldest_us, now_us))


async def region_figures(
    pool: asyncpg.Pool, *, region: str, at_us: int, basis: Basis, calendar: SiteCalendar, now_us: int
) -> RegionFigures:
    """The month and the year that contain the instant."""
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        ledger = await ledger_state(connection, now_us)
        month, year = [
            await _total(connection, region, level, at_us, basis, calendar, now_us)
            for level in (Level.MONTH, Level.YEAR)
        ]
    return RegionFigures(ledger, month, year)


async def region_totals(
    pool: asyncpg.Pool,
    *,
    region: str,
    level: Level,
    start_us: int,
    basis: Basis,
    calendar: SiteCalendar,
    now_us: int,
) -> RegionTotal:
    """The bucket that contains the instant, for a region with all below it. An unknown region is an empty one."""
    return await _total(pool, region, level, start_us, basis, calendar, now_us)


async def _total(
    connection: Connection | asyncpg.Pool,
    region: str,
    level: Level,
    at_us: int,
    basis: Basis,
    calendar: SiteCalendar,
    now_us: int,
) -> RegionTotal:
    begins_us, ends_us = calendar.bucket_start(level, at_us), calendar.bucket_end(level, at_us)
    row: Any = await connection.fetchrow(_question(level, basis), region, begins_us, ends_us, now_us)
    return RegionTotal(
        region=region,
        start_us=begins_us,
        end_us=ends_us,
        **{name: None if row["tce_lacks"] else row[name] for name in ("tce", "tce_net")},
        **{name: None if row["tco2_lacks"] else row[name] for name in ("tco2", "tco2_net")},
        tce_known=row["tce"] or Decimal(0),
        tco2_known=row["tco2"] or Decimal(0),
        enterprises=row["enterprises"],
        measured=row["measured"],
        missing=tuple(row["missing"] or ()),
        unknown=tuple(row["unknown"] or ()),
        status=_status(row["measured"], estimated=row["estimated"]),
        coverage=coverage(row["measured_us"], row["due_us"]),
        held=row["held"],
    )


def _question(level: Level, basis: Basis) -> str:
    """TOTAL of a level and basis: our own constants."""
    moments = {name: MOMENT.format(us=f"${i}::bigint") for i, name in ((2, "begins"), (3, "ends"), (4, "now"))}
    columns = {"tce": f"tce_{basis}", "tce_net": f"tce_{basis}_net", "tco2": "tco2", "tco2_net": "tco2_net"}
    sums = ", ".join(f"sum({column}) FILTER (WHERE {THERE}) AS {name}" for name, column in columns.items())
    return TOTAL.format(level=WORD[level], basis=str(basis), there=THERE, sums=sums, **moments)


def _status(measured: int, *, estimated: bool) -> Status:
    """Of several enterprises together: estimated as soon as one of them is."""
    if not measured:
        return Status.MISSING
    return Status.ESTIMATED if estimated else Status.MEASURED
