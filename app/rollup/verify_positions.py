"""Kept positions of budgets and restated months, held against what readings come to.

What was spent is added up here, from the months and days that the readings made, and by no code of the positions' own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

import asyncpg

from app.store import kept_positions
from app.store.kept_positions import KeptPositions
from app.store.numeric_wire import exact_sum
from app.store.positions import evaluated
from app.store.rollups import ENTERPRISE_COLUMNS, Connection
from energy.budget import BudgetBasis, Position, Tier
from energy.interval import HOUR_US, Level, SiteCalendar

MAY_LAG_US = 2 * HOUR_US
"""Positions are evaluated each hour: one that is younger may rightly be behind figures that changed since."""
NET = {
    BudgetBasis.EQUIVALENT: "tce_equivalent_net",
    BudgetBasis.EQUAL: "tce_equal_net",
    BudgetBasis.CO2: "tco2_net",
}
TIMES = slice(-3, -1)
LEDGER = ("revision", "amount", "spent", "excluded", "plan_to_date", "completeness", "recent_cover", "months")
OUTLOOK = ("unmeasured_days", "assumed", "p10", "p50", "p90", "overrun_probability", "tier")
STANDING = ("basis", "overrun_probability", "tier")

Rows = Mapping[tuple[str, int], tuple[Decimal | int | None, ...]]
"""(carrier, start) → figures in the order of ENTERPRISE_COLUMNS."""
Side = dict[tuple[str, int], Sequence[object]]


@dataclass(frozen=True, slots=True)
class Compared:
    """A table's rows as they are kept and as they should be, by key and start."""

    table: str
    columns: Sequence[str]
    stored: Side
    expected: Side


async def compared(
    connection: Connection,
    calendar: SiteCalendar,
    enterprise: str,
    by_level: Mapping[Level, Rows],
    now_us: int | None,
) -> list[Compared]:
    """All that is kept of an enterprise's budgets and closed months. Without `now_us` no position may lag behind."""
    kept = await kept_positions.kept_positions(connection, enterprise)
    booked = [await _positions(connection, calendar, kept, by_level, now_us)] if kept.positions else []
    restated = await kept_positions.restated(connection, enterprise)
    months = by_level[Level.MONTH]
    nothing = (None,) * len(kept_positions.COLUMNS)
    return [
        *booked,
        _standings(calendar, enterprise, kept),
        Compared(
            "restatement",
            kept_positions.COLUMNS,
            {(f"{enterprise}/{carrier}", at): after for (carrier, at), after in restated.items()},
            {(f"{enterprise}/{key[0]}", key[1]): months.get(key, nothing) for key in restated},
        ),
    ]


async def _positions(
    connection: Connection,
    calendar: SiteCalendar,
    kept: KeptPositions,
    by_level: Mapping[Level, Rows],
    now_us: int | None,
) -> Compared:
    stored: Side = {}
    expected: Side = {}
    for row in kept.positions:
        # What was fitted anew since makes another outlook of the same figures.
        columns = LEDGER if kept.calibrated_us > row["evaluated_us"] else LEDGER + OUTLOOK
        key = f"{row['enterprise']}/{row['year']}/{row['basis']}", calendar.date_start_us(date(row["year"], 1, 1))
        found = await evaluated(
            connection,
            calendar,
            enterprise=row["enterprise"],
            year=row["year"],
            as_of_us=row["evaluated_us"],
        )
        one = next((one for one in found if one.budget.basis == row["basis"]), None)
        is_there, should_be = (
            [row[name] for name in columns],
            [_expected(calendar, kept, by_level, row, one).get(name) for name in columns],
        )
        if is_there != should_be and _may_lag(row["evaluated_us"], kept.heard_us, now_us):
            continue
        stored[key], expected[key] = _padded(is_there), _padded(should_be)
    return Compared("budget_position", LEDGER + OUTLOOK, stored, expected)


def _may_lag(evaluated_us: int, heard_us: int, now_us: int | None) -> bool:
    """Whether the next evaluation is not due yet, or was not when data came last: a restored backup stands still."""
    if now_us is None:
        return False
    return now_us - evaluated_us <= MAY_LAG_US or 0 < heard_us - evaluated_us <= MAY_LAG_US


def _padded(values: Sequence[object]) -> Sequence[object]:
    return [*values, *[None] * (len(LEDGER + OUTLOOK) - len(values))]


def _expected(
    calendar: SiteCalendar,
    kept: KeptPositions,
    by_level: Mapping[Level, Rows],
    row: asyncpg.Record,
    found: Position | None,
) -> dict[str, object]:
    """The columns as they should be; none of them where there is no budget in force."""
    if found is None:
        return {}
    spent, excluded = _spent(calendar, kept, by_level, row)
    return {
        "revision": found.budget.revision,
        "amount": found.budget.amount,
        "spent": spent,
        "excluded": excluded,
        "plan_to_date": found.plan_to_date,
        "completeness": found.completeness,
        "recent_cover": found.recent_cover,
        "months": found.months,
        "unmeasured_days": found.unmeasured_days,
        "assumed": found.assumed,
        "p10": found.projection.low80,
        "p50": found.projection.projected,
        "p90": found.projection.high80,
        "overrun_probability": found.projection.p_over,
        "tier": str(found.tier),
    }


def _spent(
    calendar: SiteCalendar, kept: KeptPositions, by_level: Mapping[Level, Rows], row: asyncpg.Record
) -> tuple[Decimal | None, Decimal]:
    """What the year took up to the evaluation, exclusions of its months that are over taken off; and those.

    A month that is over counts by itself, the running one by its days, the running day as far as it is known. A month
    that cannot be priced is left out, and with one such day the running month.
    """
    year, basis = row["year"], BudgetBasis(row["basis"])
    first, end = (date(at, 1, 1) for at in (year, year + 1))
    until_us = min(max(row["evaluated_us"], calendar.date_start_us(first)), calendar.date_start_us(end))
    begun = calendar.local_date(until_us)
    stops = begun + timedelta(days=until_us > calendar.date_start_us(begun))
    opened = begun.replace(day=1)
    months = dict(_priced(by_level[Level.MONTH], NET[basis], calendar, first, opened))
    days = dict(_priced(by_level[Level.DAY], NET[basis], calendar, opened, stops))
    known = {month: figure for month, figure in months.items() if figure is not None}
    off = exact_sum(kept.excluded.get((basis, month), Decimal(0)) for month in known)
    parts = [figure for figure in days.values() if figure is not None]
    counted = [*known.values(), *(parts if len(parts) == len(days) else [])]
    return (exact_sum([*counted, -off]) if counted else None), off


def _priced(
    rows: Rows, column: str, calendar: SiteCalendar, first: date, end: date
) -> Iterator[tuple[date, Decimal | None]]:
    """Each bucket of [first, end) of which anything is known, all carriers together; None where one has no price."""
    place = ENTERPRISE_COLUMNS.index(column)
    bounds = calendar.date_start_us(first), calendar.date_start_us(end)
    starts = sorted({at for _, at in rows if bounds[0] <= at < bounds[1]})
    for start_us in starts:
        mine = [row for (_, at), row in rows.items() if at == start_us]
        if any(time for row in mine for time in row[TIMES]):
            yield calendar.local_date(start_us), _sum(row[place] for row in mine)


def _sum(values: Iterable[Decimal | int | None]) -> Decimal | None:
    listed = list(values)
    known = [Decimal(value) for value in listed if value is not None]
    return exact_sum(known) if len(known) == len(listed) else None


def _standings(calendar: SiteCalendar, enterprise: str, kept: KeptPositions) -> Compared:
    """The worst of the kept positions of each year: what lists are sorted by."""
    worst: Side = {}
    for year in sorted({row["year"] for row in kept.positions}):
        mine = (row for row in kept.positions if row["year"] == year)
        found = min(mine, key=lambda row: (-list(Tier).index(row["tier"]), -row["overrun_probability"], row["basis"]))
        worst[enterprise, calendar.date_start_us(date(year, 1, 1))] = [found[name] for name in STANDING]
    stored: Side = {
        (enterprise, calendar.date_start_us(date(row["year"], 1, 1))): [row[name] for name in STANDING]
        for row in kept.standings
    }
    return Compared("budget_standing", STANDING, stored, worst)
