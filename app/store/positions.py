"""How budgets stand: the months of many enterprises in one read, and the positions made of them, kept one a budget.

The reads are a few questions a chunk of enterprises, so that memory does not grow with their number.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import numpy as np
from sqlalchemy.dialects import postgresql

from app.store.bucket_columns import BASES, FIGURES, Buckets, Float64s, Int64s
from app.store.numeric_wire import exact_sum
from app.store.rollups import Connection
from app.store.tables.budgets import budget_position
from energy.budget import Budget, BudgetBasis, Position, Standing, position_of
from energy.interval import DAY_US, SiteCalendar, from_us
from energy.ordinary_year import MONTHS, MOST_YEARS, ordinary_year, usable_years
from energy.projection import DEFAULT, Calibration, Elapsed
from energy.same_days import Day, Moment, days_of, elapsed_of, same_day_before

History = tuple[tuple[float | None, ...], ...]

WholeYears = dict[int, tuple[float, ...]]

REFRESH_LOCK = 0x7463_6503
CHUNK = 1000
"""Enterprises a read: about 50,000 monthly rows."""
WHOLE = 0.995
"""A month of this year of which less than this share is known is looked at day by day."""
USABLE = 0.5
"""A month of an earlier year of which less than this share is known says nothing; above it is scaled up."""
ONE_DAY = timedelta(days=1)
ZERO = Decimal(0)
RECENT = timedelta(days=30)
"""How long ago the data may have been silent without anybody having to wonder."""
FIRST_METERS_US = 31 * DAY_US
"""Meters that came within this time of an enterprise's first one measure what it has always used: time before them is
not known. A meter that came later measures something new."""
AROUND = timedelta(days=31)
"""Days before and after a month within which the same days of the year before lie; the festival moves by 30."""

BUDGETS = """
SELECT DISTINCT ON (enterprise, basis) enterprise, basis, revision, amount, monthly
FROM budget_revision WHERE year = $1 AND state = 'approved' AND ($2::text[] IS NULL OR enterprise = ANY ($2))
ORDER BY enterprise, basis, revision DESC
"""
# What was taken so far, to the last digit: months that are over, and the days of the running one.
SPENT = f"""
SELECT enterprise, {", ".join(f"sum({one}) AS {one}" for one in BASES)},
    {", ".join(f"count({one}) = count(*) AS {one}_whole" for one in BASES)}
FROM (
    SELECT enterprise, start, {FIGURES}
    FROM enterprise_{{level}} WHERE enterprise = ANY ($1) AND start >= $2 AND start < $3
    GROUP BY enterprise, start HAVING sum(measured_us + estimated_us) > 0
) AS bucket GROUP BY enterprise
"""
BY_LOT = "SELECT id FROM enterprise ORDER BY md5(id) LIMIT $1"
FITTED_AT_MOST = 1000
CALIBRATION = "SELECT interval_widths FROM projection_calibration ORDER BY version DESC LIMIT 1"
METERS = """
SELECT enterprise, (extract(epoch FROM coalesce(first_at, created_at)) * 1000000)::bigint AS from_us,
       CASE WHEN NOT active THEN coalesce((SELECT (extract(epoch FROM max(ts)) * 1000000)::bigint FROM reading
                                           WHERE reading.meter_id = meter.meter_id), 0) END AS until_us
FROM meter WHERE enterprise = ANY ($1) AND role <> 'internal'
"""
EXCLUSIONS = """
SELECT enterprise, basis, month, sum(amount) AS amount FROM budget_exclusion
WHERE enterprise = ANY ($1) AND withdrawn_at IS NULL AND month >= $2 AND month < $3 GROUP BY enterprise, basis, month
"""


async def evaluate(
    pool: asyncpg.Pool,
    calendar: SiteCalendar,
    *,
    year: int,
    as_of_us: int,
    enterprises: Sequence[str] | None = None,
    chunk: int = CHUNK,
) -> AsyncIterator[list[Position]]:
    """The positions of every approved budget of a year, a chunk of enterprises at a time.

    Figures count up to `as_of_us`; after the year, up to its end.
    """
    calibration = await calibration_in_use(pool)
    budgets = await _in_force(pool, year, enterprises)
    clock = _Clock(calendar, year, as_of_us)
    for part in _chunks(list(budgets), chunk):
        async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
            ledger = await _read(connection, clock, part)
        yield _judged(ledger, {name: budgets[name] for name in part}, calibration)


async def evaluated(
    connection: Connection, calendar: SiteCalendar, *, enterprise: str, year: int, as_of_us: int
) -> list[Position]:
    """The positions of one enterprise's budgets of a year, as a transaction sees them."""
    calibration = await calibration_in_use(connection)
    budgets = await _in_force(connection, year, [enterprise])
    return _judged(await _read(connection, _Clock(calendar, year, as_of_us), [enterprise]), budgets, calibration)


async def _in_force(
    source: asyncpg.Pool | Connection, year: int, enterprises: Sequence[str] | None
) -> dict[str, list[Budget]]:
    budgets: dict[str, list[Budget]] = {}
    for row in await source.fetch(BUDGETS, year, None if enterprises is None else list(enterprises)):
        budgets.setdefault(row["enterprise"], []).append(_budget(row, year))
    return budgets


def _judged(ledger: _Ledger, budgets: Mapping[str, Sequence[Budget]], calibration: Calibration) -> list[Position]:
    return [
        position_of(one, ledger.standing(name, one.basis), calibration=calibration)
        for name, several in budgets.items()
        for one in several
    ]


async def position(
    pool: asyncpg.Pool, calendar: SiteCalendar, *, enterprise: str, year: int, basis: BudgetBasis, as_of_us: int
) -> Position | None:
    """The position of one budget; None when there is no approved one."""
    async for found in evaluate(pool, calendar, year=year, as_of_us=as_of_us, enterprises=[enterprise]):
        return next((one for one in found if one.budget.basis is basis), None)
    return None


async def own_months(
    pool: asyncpg.Pool, calendar: SiteCalendar, *, enterprise: str, year: int, basis: BudgetBasis
) -> tuple[float, ...] | None:
    """The months of an ordinary year before this one, as a plan may follow them; None without a usable year."""
    clock = _Clock(calendar, year, calendar.date_start_us(date(year, 1, 1)))
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        history = (await _read(connection, clock, [enterprise])).history(enterprise, basis)
    years = usable_years([[math.nan if one is None else one for one in months] for months in history], year)
    return ordinary_year(years, (), ()).months if years else None


async def closed_years(pool: asyncpg.Pool, calendar: SiteCalendar, *, last_year: int) -> dict[str, WholeYears]:
    """The whole years of up to 1,000 enterprises, chosen by lot, on the basis `equivalent`: up to six, each with 12
    monthly totals and nothing missing."""
    names = [row["id"] for row in await pool.fetch(BY_LOT, FITTED_AT_MOST)]
    found: dict[str, WholeYears] = {name: {} for name in names}
    for newest in (last_year, last_year - MOST_YEARS):
        clock = _Clock(calendar, newest + 1, calendar.date_start_us(date(newest + 1, 1, 1)))
        for part in _chunks(names, CHUNK):
            async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
                ledger = await _read(connection, clock, part)
            for name in part:
                for back, months in enumerate(ledger.history(name, BudgetBasis.EQUIVALENT)):
                    known = tuple(one for one in months if one is not None)
                    if len(known) == MONTHS and sum(known) > 0:
                        found[name][newest - back] = known
    return {name: years for name, years in found.items() if years}


async def calibration_in_use(source: asyncpg.Pool | Connection) -> Calibration:
    """The newest calibration of this fleet; that of fleets in general while there is none."""
    widths = await source.fetchval(CALIBRATION)
    return DEFAULT if widths is None else replace(DEFAULT, interval=tuple(widths))


class _Clock:
    """The moment that is looked from: within the year, its start or its end.

    `end`: the first local day of which nothing is over. `begun`: the months of the year of which something is over;
    `closed`: those that are over.
    """

    def __init__(self, calendar: SiteCalendar, year: int, as_of_us: int) -> None:
        self.calendar = calendar
        self.year = year
        begin, end = (calendar.date_start_us(date(one, 1, 1)) for one in (year, year + 1))
        self.as_of_us = max(min(as_of_us, end), begin)
        day = self.calendar.local_date(self.as_of_us)
        start, following = (self.calendar.date_start_us(one) for one in (day, day + ONE_DAY))
        self.moment = Moment(day, (self.as_of_us - start) / (following - start))
        self.end = day + ONE_DAY if self.moment.share > 0 else day
        months = (date(self.year, number, 1) for number in range(1, MONTHS + 1))
        self.begun = tuple(month for month in months if month < self.end)
        self.closed = frozenset(month for month in self.begun if days_of(month)[-1] < day)


def _chunks(names: Sequence[str], size: int) -> Iterable[Sequence[str]]:
    return (names[first : first + size] for first in range(0, len(names), size))


def _budget(row: asyncpg.Record, year: int) -> Budget:
    basis, monthly = BudgetBasis(row["basis"]), tuple(row["monthly"])
    return Budget(row["enterprise"], year, basis, row["revision"], row["amount"], monthly)


# Reading --------------------------------------------------------------------------------------------------------------


async def _read(connection: Connection, clock: _Clock, names: Sequence[str]) -> _Ledger:
    """Months of four years; days of the running month and the last 30 of all, of the year where a month has gaps."""
    first, end, new_year = date(clock.year - MOST_YEARS, 1, 1), clock.end, date(clock.year, 1, 1)
    day_us = clock.calendar.date_start_us
    everybody = np.arange(len(names))
    owed = _owed(await connection.fetch(METERS, list(names)), clock, names, first)
    months = Buckets.empty(len(names), [day_us(month) for month in owed.column])
    await months.read(connection, "month", names, everybody, day_us(first), day_us(end))
    rows = await connection.fetch(EXCLUSIONS, list(names), first, end)
    excluded = {(row["enterprise"], row["basis"], row["month"]): row["amount"] for row in rows}
    closed = clock.closed
    running = (end - ONE_DAY).replace(day=1) if end > new_year else new_year
    opened = running if running not in closed else end
    covers = _covers(months, owed)
    whole = covers[:, [owed.column[month] for month in closed]] >= WHOLE
    gaps = ~whole.all(axis=1)
    oldest = min(same_day_before(new_year if gaps.any() else running) - AROUND, end - RECENT)
    axis = [oldest + timedelta(days=i) for i in range((end - oldest).days)]
    days = Buckets.empty(len(names), [day_us(day) for day in axis])
    for part, since in ((everybody[~gaps], running), (everybody[gaps], new_year)):
        for low, high in _days_wanted(since, end):
            if len(part) and low < high:
                named = [names[i] for i in part.tolist()]
                await days.read(connection, "day", named, part, day_us(low), day_us(high))
    over = await _spent(connection, "month", names, day_us(new_year), day_us(opened))
    under_way = await _spent(connection, "day", names, day_us(opened), day_us(end))
    return _Ledger(clock, names, owed, _Read(months, covers, days, axis, over, under_way, excluded))


def _days_wanted(since: date, end: date) -> Iterable[tuple[date, date]]:
    """The days [low, high) to be read for what is looked at day by day from `since` on: these, and those of the year
    before that they are compared with."""
    recent = min(since, end - RECENT)
    compared = [same_day_before(since + timedelta(days=i)) for i in range((_month_after(end - ONE_DAY) - since).days)]
    yield recent, end
    yield min(compared, default=recent), min(max(compared, default=recent) + ONE_DAY, recent)


def _month_after(day: date) -> date:
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1)


async def _spent(
    connection: Connection, level: str, names: Sequence[str], first_us: int, end_us: int
) -> dict[str, asyncpg.Record]:
    """What each took in the buckets that begin in [first, end), on every basis, and whether every bucket has it."""
    if first_us >= end_us:
        return {}
    bounds = from_us(first_us), from_us(end_us)
    rows = await connection.fetch(SPENT.format(level=level), list(names), *bounds)
    return {row["enterprise"]: row for row in rows}


@dataclass(frozen=True, slots=True)
class _Owed:
    """Microseconds that readings were owed for: of each enterprise (row), in each month and, last, the last 30 days."""

    column: Mapping[date, int]
    us: Int64s


def _owed(rows: Sequence[asyncpg.Record], clock: _Clock, names: Sequence[str], first: date) -> _Owed:
    """What the meters that count owe. An enterprise's first meters owe for all time, so that its past is not whole."""
    months = [date(year, month, 1) for year in range(first.year, clock.year + 1) for month in range(1, MONTHS + 1)]
    months = [month for month in months if month < clock.end]
    edges = [clock.calendar.date_start_us(month) for month in months]
    begins = np.array([*edges, clock.calendar.date_start_us(clock.end - RECENT)], np.int64)
    ends = np.array([*edges[1:], clock.as_of_us, clock.as_of_us], np.int64)
    row = {name: i for i, name in enumerate(names)}
    us = np.zeros((len(names), len(begins)), np.int64)
    if rows:
        place = np.array([row[one["enterprise"]] for one in rows])
        since = np.array([one["from_us"] for one in rows], np.int64)
        until = np.array([clock.as_of_us if one["until_us"] is None else one["until_us"] for one in rows], np.int64)
        earliest = np.full(len(names), np.iinfo(np.int64).max)
        np.minimum.at(earliest, place, since)
        since[since <= earliest[place] + FIRST_METERS_US] = edges[0]
        overlap = np.minimum(ends, until[:, None]) - np.maximum(begins, since[:, None])
        np.add.at(us, place, np.maximum(overlap, 0))
    return _Owed({month: i for i, month in enumerate(months)}, us)


def _covers(months: Buckets, owed: _Owed) -> Float64s:
    """float64[n, months]: the share of each month that is known, 0 to 1; the same on every basis."""
    due = owed.us[:, : len(owed.column)]
    return np.where(due > 0, np.minimum(months.known_us / np.maximum(due, 1), 1.0), 0.0)


# What was read, as the pure part takes it -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Read:
    """What was read for a chunk of enterprises, a row each.

    `axis`: the days of `days`. `over` and `under_way`: what was taken in the months of the year that are over, and in
    the days of the running one. `excluded`: by enterprise, basis and month.
    """

    months: Buckets
    covers: Float64s
    days: Buckets
    axis: Sequence[date]
    over: Mapping[str, asyncpg.Record]
    under_way: Mapping[str, asyncpg.Record]
    excluded: Mapping[tuple[str, str, date], Decimal]


class _Ledger:
    """The standings of a chunk of enterprises: whatever is alike for all is found for all at once."""

    def __init__(self, clock: _Clock, names: Sequence[str], owed: _Owed, read: _Read) -> None:
        self._clock = clock
        self._row = {name: i for i, name in enumerate(names)}
        self._owed = owed
        self._read = read
        self._column = {day: i for i, day in enumerate(read.axis)}
        months = [owed.column[month] for month in clock.begun]
        self._whole = (read.covers[:, months] >= WHOLE).tolist()
        self._covers: list[list[float]] = read.covers[:, months].tolist()
        self._there = read.months.there[:, months].tolist()
        self._heard = (read.months.known_us[:, months] > 0).tolist()
        self._figures = {basis: table[:, months].tolist() for basis, table in read.months.figures.items()}
        self._complete = _shares(read.months.measured_us[:, months].sum(1), owed.us[:, months].sum(1))
        recent = np.array([clock.end - RECENT <= day < clock.end for day in read.axis], np.bool_)
        self._recent = _shares(read.days.measured_us[:, recent].sum(1), owed.us[:, -1])
        self._history = {basis: self._histories(basis) for basis in BASES}

    def standing(self, name: str, basis: BudgetBasis) -> Standing:
        """What one budget is held against."""
        row, closed = self._row[name], self._clock.closed
        months, excluded, notes = [], ZERO, set()
        for place, month in enumerate(self._clock.begun):
            taken_off = self._taken_off(name, basis, month) if month in closed else ZERO
            if self._known(name, basis, place):
                excluded += taken_off
            elif self._there[row][place]:
                notes.add("no-factor")
            months.append(self._elapsed(row, basis, place, float(taken_off)))
        spent = self._spent(name, basis)
        return Standing(
            as_of=self._clock.moment,
            history=self._history[basis][row],
            months=tuple(months),
            spent=None if spent is None else exact_sum((spent, -excluded)),
            excluded=excluded,
            completeness=self._complete[row],
            recent_cover=self._recent[row],
            notes=tuple(sorted(notes)),
            unmeasured_days=self._unmeasured_days(name, basis),
            measured_from=self._measured_from(row),
        )

    def _unmeasured_days(self, name: str, basis: BudgetBasis) -> float:
        """Days that are over and for which the projection has to assume something: without readings, or a factor."""
        row, moment, found = self._row[name], self._clock.moment, 0.0
        for place, month in enumerate(self._clock.begun):
            known = self._covers[row][place] if self._known(name, basis, place) else 0.0
            if known < WHOLE:
                found += (1 - known) * sum(moment.over(day) for day in days_of(month))
        return found

    def _measured_from(self, row: int) -> date | None:
        """The first day of the year of which anything is known."""
        place = next((place for place, heard in enumerate(self._heard[row]) if heard), None)
        if place is None:
            return None
        known_us = self._read.days.known_us[row]
        days = (day for day in days_of(self._clock.begun[place]) if day in self._column)
        return next((day for day in days if known_us[self._column[day]] > 0), self._clock.begun[place])

    def history(self, name: str, basis: BudgetBasis) -> History:
        """Earlier years, newest first, up to the oldest of which anything is known."""
        return self._history[basis][self._row[name]]

    def _taken_off(self, name: str, basis: BudgetBasis, month: date) -> Decimal:
        return self._read.excluded.get((name, str(basis), month), ZERO) if self._read.excluded else ZERO

    def _known(self, name: str, basis: BudgetBasis, place: int) -> bool:
        """Whether something was measured in a month of the year up to `as_of`, and no factor is missing."""
        row = self._row[name]
        if self._clock.begun[place] in self._clock.closed:
            return bool(self._heard[row][place]) and not math.isnan(self._figures[basis][row][place])
        found = self._read.under_way.get(name)
        return found is not None and bool(found[f"{basis}_whole"])

    def _spent(self, name: str, basis: BudgetBasis) -> Decimal | None:
        """The exact net figure of the year up to `as_of`; None when nothing is known."""
        over, under_way = self._read.over.get(name), self._read.under_way.get(name)
        parts = [
            None if over is None else over[basis],
            under_way[basis] if under_way is not None and under_way[f"{basis}_whole"] else None,
        ]
        known = [part for part in parts if part is not None]
        return exact_sum(known) if known else None

    def _elapsed(self, row: int, basis: BudgetBasis, place: int, taken_off: float) -> Elapsed:
        """The month for the projection: whole as it is, otherwise by the days that were measured."""
        month = self._clock.begun[place]
        if month in self._clock.closed and self._whole[row][place]:
            found = self._figures[basis][row][place]
            return Elapsed(0.0, 0.0, 1.0) if math.isnan(found) else Elapsed(max(found - taken_off, 0.0))
        moment, days = self._clock.moment, days_of(month)
        owed_us = int(self._owed.us[row, self._owed.column[month]]) / sum(moment.over(day) for day in days)
        measured = {
            day: Day(figure, min(known_us / owed_us, 1.0) if owed_us > 0 else 0.0)
            for day, figure, known_us in self._days(row, basis, [day for day in days if day < self._clock.end])
        }
        compared = sorted({same_day_before(day) for day in days})
        before = {
            day: Day(figure)
            for day, figure, known_us in self._days(row, basis, compared)
            if day.year < self._clock.year and known_us > 0
        }
        seen = elapsed_of(month, measured, before, moment)
        return Elapsed(max(seen.spent - taken_off, 0.0), seen.present, seen.elapsed)

    def _days(self, row: int, basis: BudgetBasis, days: Sequence[date]) -> Iterable[tuple[date, float, int]]:
        """Those of the days, in ascending order, of which a figure was read, with what it stands for."""
        there = [day for day in days if day in self._column]
        if not there:
            return ()
        columns = slice(self._column[there[0]], self._column[there[-1]] + 1)
        figures = self._read.days.figures[basis][row, columns].tolist()
        known_us = self._read.days.known_us[row, columns].tolist()
        first = columns.start
        found = ((day, self._column[day] - first) for day in there)
        return ((day, figures[i], known_us[i]) for day, i in found if not math.isnan(figures[i]))

    def _histories(self, basis: BudgetBasis) -> list[History]:
        """Of every enterprise its earlier years; a month with gaps is scaled up."""
        earlier = [column for month, column in self._owed.column.items() if month.year < self._clock.year]
        covers, figures = self._read.covers[:, earlier], self._read.months.figures[basis][:, earlier]
        off = np.zeros_like(figures)
        for (name, of, month), amount in self._read.excluded.items():
            if of == basis and month.year < self._clock.year and name in self._row:
                off[self._row[name], self._owed.column[month]] = float(amount)
        usable = (covers >= USABLE) & ~np.isnan(figures)
        months = np.where(usable, np.maximum(figures / np.maximum(covers, USABLE) - off, 0.0), np.nan)
        return [_known_years(years) for years in months.reshape(len(months), -1, MONTHS).tolist()]


def _known_years(years: Sequence[Sequence[float]]) -> History:
    """Oldest first and NaN in, newest first and None out. Years before the first of which anything is known are left
    out."""
    found: list[tuple[float | None, ...]] = []
    for year in years:
        months = tuple(None if math.isnan(one) else one for one in year)
        if found or any(one is not None for one in months):
            found.append(months)
    return tuple(reversed(found))


def _shares(measured_us: Int64s, owed_us: Int64s) -> list[float]:
    found: list[float] = np.where(owed_us > 0, np.minimum(measured_us / np.maximum(owed_us, 1), 1.0), 0.0).tolist()
    return found


# Keeping --------------------------------------------------------------------------------------------------------------

COLUMNS = [column.name for column in budget_position.c]
DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped
SENT = ["text" if column.name == "notes" else column.type.compile(DIALECT) for column in budget_position.c]
"""The type of each column as it travels; notes as words in one text, because an array of arrays would be unnested."""
KEEP = f"""
INSERT INTO budget_position ({", ".join(COLUMNS)})
SELECT {", ".join("string_to_array(notes, ' ')" if name == "notes" else name for name in COLUMNS)}
FROM unnest({", ".join(f"${i}::{kind}[]" for i, kind in enumerate(SENT, 1))}) AS new ({", ".join(COLUMNS)})
ON CONFLICT (enterprise, year, basis) DO UPDATE
SET ({", ".join(COLUMNS[3:])}) = ({", ".join(f"excluded.{name}" for name in COLUMNS[3:])})
"""
STAND = """
INSERT INTO budget_standing (enterprise, year, basis, overrun_probability, tier, evaluated_at)
SELECT DISTINCT ON (enterprise) enterprise, year, basis, overrun_probability, tier, evaluated_at
FROM budget_position WHERE enterprise = ANY ($1) AND year = $2
ORDER BY enterprise, array_position(ARRAY['red', 'orange', 'yellow', 'green'], tier), overrun_probability DESC, basis
ON CONFLICT (enterprise, year) DO UPDATE SET (basis, overrun_probability, tier, evaluated_at) =
    (excluded.basis, excluded.overrun_probability, excluded.tier, excluded.evaluated_at)
"""


async def refresh(
    pool: asyncpg.Pool,
    calendar: SiteCalendar,
    *,
    years: Sequence[int],
    now_us: int,
    enterprises: Sequence[str] | None = None,
) -> int:
    """Evaluates and keeps the budgets of these years as of now. Answers how many there were."""
    count = 0
    for year in years:
        async for found in evaluate(pool, calendar, year=year, as_of_us=now_us, enterprises=enterprises):
            async with pool.acquire() as connection, connection.transaction():
                await keep(connection, found, from_us(now_us))
            count += len(found)
    return count


@asynccontextmanager
async def only_one_refreshes(pool: asyncpg.Pool) -> AsyncIterator[bool]:
    """Whether this is the only one of all processes inside. The lock is the connection's and ends with it."""
    async with pool.acquire() as connection:
        ours: bool = await connection.fetchval("SELECT pg_try_advisory_lock($1)", REFRESH_LOCK)
        try:
            yield ours
        finally:
            if ours and not connection.is_closed():
                await connection.execute("SELECT pg_advisory_unlock($1)", REFRESH_LOCK)


async def keep(connection: Connection, positions: Sequence[Position], evaluated_at: datetime) -> None:
    """Stores positions of one year as the newest, and with them what the list of enterprises is sorted by.

    Enterprises are locked in order of their id: two evaluations at once never wait for each other in a circle.
    """
    ordered = sorted(positions, key=lambda one: (one.budget.enterprise, one.budget.year, one.budget.basis))
    if ordered:
        await connection.execute(KEEP, *map(list, zip(*(_kept(one, evaluated_at) for one in ordered), strict=True)))
    for year in sorted({one.budget.year for one in ordered}):
        named = sorted({one.budget.enterprise for one in ordered if one.budget.year == year})
        await connection.execute(STAND, named, year)


def _kept(one: Position, evaluated_at: datetime) -> tuple[Any, ...]:
    budget, projection, crossing = one.budget, one.projection, one.crossing
    return (
        budget.enterprise,
        budget.year,
        str(budget.basis),
        budget.revision,
        budget.amount,
        one.as_of.day,
        evaluated_at,
        one.spent,
        one.excluded,
        one.plan_to_date,
        projection.low80,
        projection.projected,
        projection.high80,
        projection.p_over,
        crossing.earliest,
        crossing.expected,
        crossing.latest,
        str(one.tier),
        one.completeness,
        one.recent_cover,
        one.months,
        one.unmeasured_days,
        one.assumed,
        " ".join(one.notes),
    )
