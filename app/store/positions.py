"""How budgets stand: the months of many enterprises in one read, and the positions made of them, kept one a budget.

The reads are a few questions a chunk of enterprises, so that memory does not grow with their number.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import numpy as np
import numpy.typing as npt

from app.store.numeric_wire import exact_sum
from app.store.rollups import Connection
from app.store.tables import budget_position
from energy.budget import Budget, BudgetBasis, Position, Standing, position_of
from energy.interval import DAY_US, SiteCalendar, from_us
from energy.ordinary_year import MONTHS, MOST_YEARS, ordinary_year, usable_years
from energy.projection import Elapsed
from energy.same_days import Day, Moment, days_of, elapsed_of, same_day_before

Int64s = npt.NDArray[np.int64]

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
SUMS = """
SELECT enterprise, (extract(epoch FROM start) * 1000000)::bigint AS start_us,
       CASE WHEN count(tce_equivalent_net) = count(*) THEN sum(tce_equivalent_net) END AS equivalent,
       CASE WHEN count(tce_equal_net) = count(*) THEN sum(tce_equal_net) END AS equal,
       CASE WHEN count(tco2_net) = count(*) THEN sum(tco2_net) END AS co2,
       sum(measured_us)::bigint AS measured_us, sum(estimated_us)::bigint AS estimated_us
FROM enterprise_{level} WHERE enterprise = ANY ($1) AND start >= $2 AND start < $3 GROUP BY enterprise, start
"""
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


@dataclass(frozen=True, slots=True)
class _Sum:
    """A bucket of one enterprise: net figures by basis, None where a factor is missing, and the time they stand for."""

    figures: Mapping[BudgetBasis, Decimal | None]
    measured_us: int
    known_us: int


Sums = Mapping[str, Mapping[date, _Sum]]


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
    budgets: dict[str, list[Budget]] = {}
    for row in await pool.fetch(BUDGETS, year, None if enterprises is None else list(enterprises)):
        budgets.setdefault(row["enterprise"], []).append(_budget(row, year))
    clock = _Clock(calendar, year, as_of_us)
    for part in _chunks(list(budgets), chunk):
        async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
            ledger = await _read(connection, clock, part)
        yield [position_of(one, ledger.standing(name, one.basis)) for name in part for one in budgets[name]]


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


@dataclass(frozen=True, slots=True)
class _Clock:
    """The moment that is looked from: within the year, its start or its end."""

    calendar: SiteCalendar
    year: int
    as_of_us: int

    def __post_init__(self) -> None:
        begin, end = (self.calendar.date_start_us(date(year, 1, 1)) for year in (self.year, self.year + 1))
        object.__setattr__(self, "as_of_us", max(min(self.as_of_us, end), begin))

    @property
    def moment(self) -> Moment:
        day = self.calendar.local_date(self.as_of_us)
        start, end = (self.calendar.date_start_us(one) for one in (day, day + ONE_DAY))
        return Moment(day, (self.as_of_us - start) / (end - start))

    @property
    def end(self) -> date:
        """The first local day of which nothing is over."""
        moment = self.moment
        return moment.day + ONE_DAY if moment.share > 0 else moment.day


def _chunks(names: Sequence[str], size: int) -> Iterable[Sequence[str]]:
    return (names[first : first + size] for first in range(0, len(names), size))


def _budget(row: asyncpg.Record, year: int) -> Budget:
    basis, monthly = BudgetBasis(row["basis"]), tuple(row["monthly"])
    return Budget(row["enterprise"], year, basis, row["revision"], row["amount"], monthly)


# Reading --------------------------------------------------------------------------------------------------------------


async def _read(connection: Connection, clock: _Clock, names: Sequence[str]) -> _Ledger:
    """Months of four years; days of the running month and the last 30 of all, of the year where a month has gaps."""
    calendar, end, new_year = clock.calendar, clock.end, date(clock.year, 1, 1)
    first = date(clock.year - MOST_YEARS, 1, 1)
    months = await _sums(connection, calendar, "month", names, first, end)
    owed = _owed(await connection.fetch(METERS, list(names)), clock, names, first)
    rows = await connection.fetch(EXCLUSIONS, list(names), first, end)
    excluded = {(row["enterprise"], row["basis"], row["month"]): row["amount"] for row in rows}
    ledger = _Ledger(clock.year, clock.moment, end, months, {}, excluded, owed)
    gaps = {name for name in names if any(not ledger.whole(name, month) for month in ledger.closed)}
    running = max((end - ONE_DAY).replace(day=1), new_year)
    days: dict[str, dict[date, _Sum]] = {}
    for part, since in ((sorted(set(names) - gaps), running), (sorted(gaps), new_year)):
        recent = min(since, end - RECENT)
        before = same_day_before(since) - AROUND, min(same_day_before(end) + AROUND, recent)
        for low, high in ((recent, end), before):
            if part and low < high:
                for name, found in (await _sums(connection, calendar, "day", part, low, high)).items():
                    days.setdefault(name, {}).update(found)
    ledger.days = days
    return ledger


async def _sums(
    connection: Connection, calendar: SiteCalendar, level: str, names: Sequence[str], first: date, end: date
) -> dict[str, dict[date, _Sum]]:
    """The net figures of the buckets that start on the local days [first, end)."""
    bounds = [from_us(calendar.date_start_us(day)) for day in (first, end)]
    local: dict[int, date] = {}
    found: dict[str, dict[date, _Sum]] = {name: {} for name in names}
    for name, start_us, equivalent, equal, co2, measured_us, estimated_us in await connection.fetch(
        SUMS.format(level=level), list(names), *bounds
    ):
        day = local.get(start_us) or local.setdefault(start_us, calendar.local_date(start_us))
        figures = {BudgetBasis.EQUIVALENT: equivalent, BudgetBasis.EQUAL: equal, BudgetBasis.CO2: co2}
        found[name][day] = _Sum(figures, measured_us, measured_us + estimated_us)
    return found


@dataclass(frozen=True, slots=True)
class _Owed:
    """Microseconds that readings were owed for: of each enterprise (row), in each month and, last, the last 30 days."""

    row: Mapping[str, int]
    column: Mapping[date, int]
    us: Int64s

    def month(self, name: str, month: date) -> int:
        return int(self.us[self.row[name], self.column[month]])

    def recent(self, name: str) -> int:
        return int(self.us[self.row[name], -1])


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
    return _Owed(row, {month: i for i, month in enumerate(months)}, us)


# What was read, as the pure part takes it -----------------------------------------------------------------------------


@dataclass(slots=True)
class _Ledger:
    """What was read for a chunk of enterprises."""

    year: int
    as_of: Moment
    end: date
    months: Sums
    days: Sums
    excluded: Mapping[tuple[str, str, date], Decimal]
    owed: _Owed
    begun: tuple[date, ...] = ()
    """The months of the year of which something is over."""
    closed: frozenset[date] = frozenset()
    """Those that are over."""
    covers: dict[tuple[str, date], float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        months = (date(self.year, number, 1) for number in range(1, MONTHS + 1))
        self.begun = tuple(month for month in months if month < self.end)
        self.closed = frozenset(month for month in self.begun if days_of(month)[-1] < self.as_of.day)

    def whole(self, name: str, month: date) -> bool:
        return self._cover(name, month) >= WHOLE

    def _cover(self, name: str, month: date) -> float:
        """The share of a month that is known; the same on every basis, so it is found once."""
        key = name, month
        if key not in self.covers:
            found, owed_us = self.months[name].get(month), self.owed.month(name, month)
            known = 0.0 if found is None or owed_us <= 0 else min(found.known_us / owed_us, 1.0)
            self.covers[key] = known
        return self.covers[key]

    def standing(self, name: str, basis: BudgetBasis) -> Standing:
        """What one budget is held against."""
        months, spent, notes = [], [], set()
        excluded = ZERO
        closed = self.closed
        for month in self.begun:
            exact = self._spent(name, basis, month, whole=month in closed)
            taken_off = self.excluded.get((name, str(basis), month), ZERO) if month in closed else ZERO
            if exact is None and self.months[name].get(month) is not None:
                notes.add("no-factor")
            if exact is not None:
                spent.append(exact - taken_off)
                excluded += taken_off
            months.append(self._elapsed(name, basis, month, closed, taken_off))
        return Standing(
            as_of=self.as_of,
            history=self.history(name, basis),
            months=tuple(months),
            spent=exact_sum(spent) if spent else None,
            excluded=excluded,
            completeness=self._share(
                [one for month, one in self.months[name].items() if month.year == self.year],
                sum(self.owed.month(name, month) for month in self.begun),
            ),
            recent_cover=self._share(
                [one for day, one in self.days.get(name, {}).items() if self.end - RECENT <= day < self.end],
                self.owed.recent(name),
            ),
            notes=tuple(sorted(notes)),
        )

    def _share(self, sums: Iterable[_Sum], owed_us: int) -> float:
        return min(sum(one.measured_us for one in sums) / owed_us, 1.0) if owed_us > 0 else 0.0

    def _spent(self, name: str, basis: BudgetBasis, month: date, *, whole: bool) -> Decimal | None:
        """The exact net figure of a month up to `as_of`; None when nothing is known or a factor is missing."""
        if whole:
            found = self.months[name].get(month)
            return None if found is None or found.known_us == 0 else found.figures[basis]
        parts = [one.figures[basis] for day, one in self._days_in(name, month) if one.known_us > 0]
        known = [part for part in parts if part is not None]
        return exact_sum(known) if known and len(known) == len(parts) else None

    def _days_in(self, name: str, month: date) -> list[tuple[date, _Sum]]:
        found = self.days.get(name, {})
        return [(day, found[day]) for day in days_of(month) if day < self.end and day in found]

    def _elapsed(
        self, name: str, basis: BudgetBasis, month: date, closed: frozenset[date], taken_off: Decimal
    ) -> Elapsed:
        """The month for the projection: whole as it is, otherwise by the days that were measured."""
        if month in closed and self.whole(name, month):
            found = self.months[name][month].figures[basis]
            return Elapsed(0.0, 0.0, 1.0) if found is None else Elapsed(max(float(found - taken_off), 0.0))
        owed_us = self.owed.month(name, month) / sum(self.as_of.over(day) for day in days_of(month))
        days = {
            day: Day(float(figure), min(one.known_us / owed_us, 1.0) if owed_us > 0 else 0.0)
            for day, one in self._days_in(name, month)
            if (figure := one.figures[basis]) is not None
        }
        found_ = elapsed_of(month, days, self._before(name, basis), self.as_of)
        return Elapsed(max(found_.spent - float(taken_off), 0.0), found_.present, found_.elapsed)

    def _before(self, name: str, basis: BudgetBasis) -> Mapping[date, Day]:
        """The days of the year before that were read."""
        return {
            day: Day(float(figure), 1.0)
            for day, one in self.days.get(name, {}).items()
            if day.year < self.year and (figure := one.figures[basis]) is not None and one.known_us > 0
        }

    def history(self, name: str, basis: BudgetBasis) -> tuple[tuple[float | None, ...], ...]:
        """Earlier years, newest first, up to the oldest of which anything is known; a month with gaps is scaled up."""
        found: dict[tuple[int, int], float] = {}
        for month, one in self.months[name].items():
            figure = one.figures[basis]
            if month.year == self.year or figure is None:
                continue
            cover = self._cover(name, month)
            if cover >= USABLE:
                taken_off = self.excluded.get((name, str(basis), month), ZERO) if self.excluded else ZERO
                found[month.year, month.month] = max(float(figure) / cover - float(taken_off), 0.0)
        oldest = min((year for year, _ in found), default=self.year)
        numbers = range(1, MONTHS + 1)
        return tuple(tuple(found.get((year, i)) for i in numbers) for year in range(self.year - 1, oldest - 1, -1))


# Keeping --------------------------------------------------------------------------------------------------------------

COLUMNS = [column.name for column in budget_position.c]
KEEP = f"""
INSERT INTO budget_position ({", ".join(COLUMNS)}) VALUES ({", ".join(f"${i}" for i in range(1, len(COLUMNS) + 1))})
ON CONFLICT (enterprise, year, basis) DO UPDATE
SET ({", ".join(COLUMNS[3:])}) = ({", ".join(f"excluded.{name}" for name in COLUMNS[3:])})
"""
STAND = """
INSERT INTO budget_standing (enterprise, year, basis, overrun_probability, tier, evaluated_at)
SELECT DISTINCT ON (enterprise) enterprise, year, basis, overrun_probability, tier, evaluated_at
FROM budget_position WHERE enterprise = ANY ($1) AND year = $2
ORDER BY enterprise, array_position(ARRAY['red', 'orange', 'yellow', 'green'], tier), overrun_probability DESC, basis
ON CONFLICT (enterprise) DO UPDATE SET (year, basis, overrun_probability, tier, evaluated_at) =
    (excluded.year, excluded.basis, excluded.overrun_probability, excluded.tier, excluded.evaluated_at)
WHERE budget_standing.year <= excluded.year
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
    await connection.executemany(KEEP, [_kept(one, evaluated_at) for one in ordered])
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
        list(one.notes),
    )
