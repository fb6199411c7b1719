"""What the reports are made of: a region's month, and an enterprise's year by carrier, role and month."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import asyncpg

from app.store.registry import Fields
from energy.interval import Level, SiteCalendar, from_us

COUNTIES = "SELECT code, name_zh, name_en FROM region WHERE parent = $1 ORDER BY code"
UNITS = """
SELECT enterprise.id, name, region, industry, stood.tier, stood.overrun_probability
FROM enterprise LEFT JOIN budget_standing AS stood ON stood.enterprise = enterprise.id AND stood.year = $2
WHERE starts_with(region, $1) ORDER BY enterprise.id
"""
# By the meter's role a quantity was bought, sold, made, recovered or used as material.
BALANCE = """
SELECT carrier.code AS carrier, carrier.name_zh, carrier.name_en, carrier.unit, carrier.stat_code, role,
       sum(y.quantity) AS quantity, sum(y.tce_equivalent) AS tce_equivalent, sum(y.tce_equal) AS tce_equal,
       sum(y.tco2) AS tco2, bool_or(y.tce_equivalent IS NULL) AS lacks_factor
FROM meter JOIN meter_year AS y ON y.meter_id = meter.meter_id JOIN carrier ON carrier.code = meter.carrier
WHERE meter.enterprise = $1 AND y.start = $2 AND role <> 'internal'
GROUP BY carrier.code, role ORDER BY carrier.code, role
"""
MONTHS = """
SELECT start, sum(tce_equivalent_net) AS tce_equivalent_net, sum(tce_equal_net) AS tce_equal_net,
       sum(tco2_net) AS tco2_net
FROM enterprise_month WHERE enterprise = $1 AND start >= $2 AND start < $3 GROUP BY start ORDER BY start
"""
METERS = """
SELECT meter.code, meter.name, carrier.name_zh, carrier.name_en, role, level, accuracy_class, calibrated_until, active
FROM meter JOIN carrier ON carrier.code = meter.carrier WHERE enterprise = $1 ORDER BY level, meter.code
"""
POSITIONS = """
SELECT basis, amount, spent, excluded, plan_to_date, p50, overrun_probability, tier
FROM budget_position WHERE enterprise = $1 AND year = $2 ORDER BY basis
"""


async def counties(pool: asyncpg.Pool, code: str) -> list[Fields]:
    """The regions just below this one."""
    return _rows(await pool.fetch(COUNTIES, code))


async def units(pool: asyncpg.Pool, code: str, year: int) -> list[Fields]:
    """The enterprises of a region's subtree, each with how its worst budget of the year stands."""
    return _rows(await pool.fetch(UNITS, code, year))


async def balance(pool: asyncpg.Pool, enterprise: str, year: int, calendar: SiteCalendar) -> list[Fields]:
    """Quantities and tonnes of a local year by carrier and role; a figure that lacks its factor is None."""
    start = from_us(calendar.date_start_us(date(year, 1, 1)))
    found = _rows(await pool.fetch(BALANCE, enterprise, start))
    for row in found:
        if row["lacks_factor"]:
            row |= {"tce_equivalent": None, "tce_equal": None}
    return found


async def months(pool: asyncpg.Pool, enterprise: str, year: int, calendar: SiteCalendar) -> dict[int, Fields]:
    """Net tonnes of each local month of a year that has figures."""
    begins, ends = calendar.date_start_us(date(year, 1, 1)), calendar.date_start_us(date(year + 1, 1, 1))
    rows = await pool.fetch(MONTHS, enterprise, from_us(begins), from_us(ends))
    starts = [from_us(start) for start, _ in calendar.buckets(Level.MONTH, begins, ends)]
    return {starts.index(row["start"]) + 1: dict(row) for row in rows}


async def meters(pool: asyncpg.Pool, enterprise: str) -> list[Fields]:
    return _rows(await pool.fetch(METERS, enterprise))


async def positions(pool: asyncpg.Pool, enterprise: str, year: int) -> list[Fields]:
    return _rows(await pool.fetch(POSITIONS, enterprise, year))


def _rows(found: Sequence[asyncpg.Record]) -> list[dict[str, Any]]:
    return [dict(row) for row in found]
