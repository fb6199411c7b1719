"""What is kept of budgets' positions and of restated months, read back to be held against the readings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import asyncpg

from app.store.closings import FIGURES, TIMES, figures_of
from app.store.positions import SPENT
from app.store.rollups import Connection
from energy.budget import BudgetBasis
from energy.interval import SiteCalendar, from_us, to_us

POSITIONS = """
SELECT budget_position.*, (extract(epoch FROM evaluated_at) * 1000000)::bigint AS evaluated_us
FROM budget_position WHERE enterprise = $1 ORDER BY year, basis
"""
STANDINGS = "SELECT year, basis, overrun_probability, tier FROM budget_standing WHERE enterprise = $1 ORDER BY year"
EXCLUSIONS = """
SELECT basis, month, sum(amount) AS amount FROM budget_exclusion
WHERE enterprise = $1 AND withdrawn_at IS NULL GROUP BY basis, month
"""
RESTATED = """
SELECT DISTINCT ON (month, carrier) (extract(epoch FROM month) * 1000000)::bigint AS month_us, carrier, after
FROM restatement WHERE enterprise = $1 ORDER BY month, carrier, restatement_id DESC
"""
HEARD = "SELECT max(last_data_at) FROM gateway WHERE enterprise = $1"
CALIBRATED = "SELECT max(made_at) FROM projection_calibration"
OVER = """
SELECT enterprise, year, basis, spent + excluded AS kept FROM budget_position WHERE year < $1 ORDER BY year, enterprise
"""
COLUMNS = FIGURES + TIMES
"""Of a month of one carrier, in the order in which rollups have them."""


@dataclass(frozen=True, slots=True)
class KeptPositions:
    """All that is kept of an enterprise's budgets. `excluded`: by basis and month.

    `heard_us`: when data came last; `calibrated_us`: when intervals were fitted last; 0 for never.
    """

    positions: Sequence[asyncpg.Record]
    standings: Sequence[asyncpg.Record]
    excluded: Mapping[tuple[str, date], Decimal]
    heard_us: int
    calibrated_us: int


async def kept_positions(connection: Connection, enterprise: str) -> KeptPositions:
    rows = await connection.fetch(EXCLUSIONS, enterprise)
    heard, calibrated = await connection.fetchval(HEARD, enterprise), await connection.fetchval(CALIBRATED)
    return KeptPositions(
        await connection.fetch(POSITIONS, enterprise),
        await connection.fetch(STANDINGS, enterprise),
        {(row["basis"], row["month"]): row["amount"] for row in rows},
        0 if heard is None else to_us(heard),
        0 if calibrated is None else to_us(calibrated),
    )


async def restated(connection: Connection, enterprise: str) -> dict[tuple[str, int], tuple[Decimal | int | None, ...]]:
    """(carrier, month) → what the newest restatement says it became, in the order of COLUMNS."""
    found = {}
    for row in await connection.fetch(RESTATED, enterprise):
        after = {} if row["after"] is None else figures_of(json.loads(row["after"]))
        found[row["carrier"], row["month_us"]] = tuple(after.get(name) for name in COLUMNS)
    return found


async def left_behind(connection: Connection, calendar: SiteCalendar, before_year: int) -> dict[int, list[str]]:
    """Enterprises by year whose kept position is not what the months of a year that is over come to now."""
    found: dict[int, list[str]] = {}
    rows = await connection.fetch(OVER, before_year)
    for year in sorted({row["year"] for row in rows}):
        mine = [row for row in rows if row["year"] == year]
        bounds = [from_us(calendar.date_start_us(date(at, 1, 1))) for at in (year, year + 1)]
        spent = await connection.fetch(
            SPENT.format(level="month"), sorted({row["enterprise"] for row in mine}), *bounds
        )
        sums = {(row["enterprise"], basis): row[basis] for row in spent for basis in map(str, BudgetBasis)}
        names = {row["enterprise"] for row in mine if row["kept"] != sums.get((row["enterprise"], row["basis"]))}
        if names:
            found[year] = sorted(names)
    return found
