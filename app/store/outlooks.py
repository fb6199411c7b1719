"""What alerts are judged on, a group of enterprises at a time: budgets, incoming data, calibrations.

`alerts.engine.ProjectionSource` on the database. Memory is bounded by the group, whatever the number of enterprises.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

import asyncpg

from alerts.evaluate import (
    BudgetPosition,
    DataPosition,
    IntegrityPosition,
    LinePosition,
    MeterPosition,
    MonthFigure,
    Position,
)
from app.store import positions
from app.store.benchmarks import line_standings, sure_position
from app.store.verifications import open_differences
from energy.budget import Position as BudgetStanding
from energy.interval import SiteCalendar, from_us, to_us

Found = TypeVar("Found")

GROUP = 500
RECENT = timedelta(days=30)
DAY_S = 86_400
LAST_YEAR_UNTIL = 28
"""Up to this day of January the budgets of the year before are evaluated too: their last month is being closed."""

ENTERPRISES = "SELECT id, region FROM enterprise WHERE ($1::text[] IS NULL OR id = ANY ($1)) ORDER BY id"
MONTHS = """
SELECT enterprise, (extract(epoch FROM start) * 1000000)::bigint AS start_us,
    sum(tce_equivalent_net) AS equivalent, sum(tce_equal_net) AS equal, sum(tco2_net) AS co2,
    sum(estimated_us)::bigint AS estimated_us, sum(measured_us)::bigint AS measured_us
FROM enterprise_month WHERE enterprise = ANY ($1) AND start >= $2 AND start < $3 GROUP BY enterprise, start
"""
RECENT_SHARES = """
SELECT enterprise, sum(estimated_us)::bigint AS estimated_us, sum(measured_us)::bigint AS measured_us,
    sum(held)::bigint AS held
FROM enterprise_day WHERE enterprise = ANY ($1) AND start >= $2 AND start < $3 GROUP BY enterprise
"""
EXCLUDED = """
SELECT enterprise, basis, month, sum(amount) AS amount FROM budget_exclusion
WHERE enterprise = ANY ($1) AND withdrawn_at IS NULL AND month >= $2 AND month < $3 GROUP BY enterprise, basis, month
"""
# The newest reading of each meter before a moment, by the ledger's own index; a meter that never sent is as late as it
# is old.
NEWEST = """
SELECT meter.enterprise, meter.code, meter.expected_interval_s, meter.created_at, newest.ts
FROM meter LEFT JOIN LATERAL (
    SELECT ts FROM reading WHERE reading.meter_id = meter.meter_id AND ts < $2 ORDER BY ts DESC LIMIT 1
) AS newest ON true
WHERE meter.enterprise = ANY ($1) AND meter.active AND coalesce(first_at, meter.created_at) < $2
"""
LAPSING = """
SELECT meter.enterprise, meter.code, calibrated_until FROM meter
WHERE meter.enterprise = ANY ($1) AND meter.active AND calibrated_until IS NOT NULL AND (calibrated_until <= $2
    OR EXISTS (SELECT FROM alert WHERE alert.enterprise = meter.enterprise AND alert.kind = 'meter'
               AND alert.subject = meter.code AND alert.closed_at IS NULL))
ORDER BY meter.enterprise, meter.code
"""
DUE_READINGS = """
SELECT enterprise, sum(2592000 / expected_interval_s)::bigint AS due
FROM meter WHERE enterprise = ANY ($1) AND active GROUP BY enterprise
"""
MADE_UP_AT = timedelta(hours=5, minutes=30)
LONGEST_NOTICE = timedelta(days=730)
STANDING_INTEGRITY = "SELECT enterprise FROM alert WHERE kind = 'integrity' AND closed_at IS NULL"
REVISED = """
SELECT DISTINCT enterprise FROM budget_revision WHERE state = 'approved' AND decided_at > $1
"""
LAST_HEARD = "SELECT max(last_data_at) FROM gateway"
NOT_BACK = """
SELECT count(*) FROM gateway WHERE active AND last_data_at < $1 AND last_data_at > $1 - interval '1 day'
"""


@dataclass(frozen=True, slots=True)
class Outage:
    """A time in which nobody listened: what is missing from it is not the enterprise's lateness. [start, end)."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class _Late:
    """How late an enterprise is: its worst meter."""

    late_s: float = 0.0
    missed: int = 0
    meter: str | None = None
    last_at: datetime | None = None


class StoredPositions:
    """Reads positions for a local day: today's as it is now, so that a budget passed at noon is told at noon.

    A day that is made up for has the figures up to its start, and lateness as of the hour of its evaluation.
    """

    def __init__(self, pool: asyncpg.Pool, calendar: SiteCalendar, *, group: int = GROUP, keep: bool = True) -> None:
        """`keep`: today's positions of budgets become those that lists show."""
        self._keep = keep
        self._pool = pool
        self._calendar = calendar
        self._group = group
        self.outage: Outage | None = None

    async def positions(
        self, day: date, now: datetime, enterprises: Sequence[str] | None = None
    ) -> AsyncGenerator[Sequence[Position], None]:
        """Every position of a day, a group of enterprises at a time."""
        named = None if enterprises is None else list(enterprises)
        rows = await self._pool.fetch(ENTERPRISES, named)
        groups = [
            {row["id"]: row["region"] for row in rows[first : first + self._group]}
            for first in range(0, len(rows), self._group)
        ]
        async with aclosing(ahead(self._group_of(regions, day, now) for regions in groups)) as answers:
            async for found in answers:
                yield found
        if rows and day == now.astimezone(self._calendar.zone).date():
            # Lines and verifications are known as they are now; a day of the past is not judged by them.
            regions = {row["id"]: row["region"] for row in rows}
            found = [*await self._lines(regions, day, now), *await self._differences(regions, day)]
            for first in range(0, len(found), self._group):
                yield found[first : first + self._group]

    async def revised_since(self, moment: datetime) -> list[str]:
        """Enterprises with a budget that was approved after a moment."""
        return [row["enterprise"] for row in await self._pool.fetch(REVISED, moment)]

    async def note_outage(self, now: datetime) -> None:
        """Remember, at the start, since when nobody had listened."""
        heard = await self._pool.fetchval(LAST_HEARD)
        self.outage = None if heard is None or heard >= now else Outage(heard, now)

    async def caught_up(self) -> bool:
        """Whether the gateways that delivered until the outage have delivered again, and all of it is rolled up."""
        if await self._pool.fetchval("SELECT EXISTS (SELECT FROM touched WHERE marked_at < now() - interval '60 s')"):
            return False
        return self.outage is None or not await self._pool.fetchval(NOT_BACK, self.outage.end)

    async def _group_of(self, regions: Mapping[str, str], day: date, now: datetime) -> list[Position]:
        named = list(regions)
        moment = now
        if now >= from_us(self._calendar.date_start_us(day + timedelta(days=1))):
            moment = self._made_up(day)
        late = await self._lateness(named, moment)
        shares = await self._recent(named, day)
        found: list[Position] = []
        for year in (day.year, day.year - 1) if (day.month, day.day) <= (1, LAST_YEAR_UNTIL) else (day.year,):
            found += await self._budgets(regions, year, day, moment, late, shares)
        found += [
            DataPosition(
                enterprise=name,
                region=regions[name],
                day=day,
                as_of=moment,
                late_s=one.late_s,
                missed=one.missed,
                suspect30=shares.get(name, _NOTHING).suspect,
                worst_meter=one.meter,
                last_at=one.last_at,
            )
            for name, one in late.items()
        ]
        lapsing = await self._pool.fetch(LAPSING, named, day + LONGEST_NOTICE)
        found += [
            MeterPosition(row["enterprise"], regions[row["enterprise"]], day, row["code"], row["calibrated_until"])
            for row in lapsing
        ]
        return found

    def _made_up(self, day: date) -> datetime:
        return from_us(self._calendar.date_start_us(day)) + MADE_UP_AT

    async def _lines(self, regions: Mapping[str, str], day: date, now: datetime) -> list[Position]:
        """Lines whose running year has enough data to be judged, up to the last whole month."""
        month = (day.replace(day=1) - timedelta(days=1)).replace(day=1)
        standings = await line_standings(self._pool, month=month, calendar=self._calendar, now_us=to_us(now))
        found: list[Position] = []
        for one in standings:
            verdict, name = one.year.benchmark, one.line.enterprise
            known = verdict is not None and sure_position(one) is not None and name in regions
            if known and verdict is not None and verdict.level.baseline:
                ratio = float(verdict.standing.unit_energy / verdict.level.baseline)
                gap, last = verdict.standing.gap_to_baseline, one.year.figures.months[-1]
                found.append(LinePosition(name, regions[name], day, one.line.code, last, ratio, gap))
        return found

    async def _differences(self, regions: Mapping[str, str], day: date) -> list[Position]:
        """What the nightly verification found, and nothing for those whose alert is open and whose differences went."""
        found = {one.enterprise: one.differences for one in await open_differences(self._pool)}
        standing = {row["enterprise"]: 0 for row in await self._pool.fetch(STANDING_INTEGRITY)}
        return [
            IntegrityPosition(name, regions[name], day, count)
            for name, count in sorted((standing | found).items())
            if name in regions
        ]

    async def _budgets(
        self,
        regions: Mapping[str, str],
        year: int,
        day: date,
        moment: datetime,
        late: Mapping[str, _Late],
        shares: Mapping[str, _Shares],
    ) -> list[Position]:
        today = moment != self._made_up(day)
        as_of_us, named = to_us(moment) if today else self._calendar.date_start_us(day), list(regions)
        standings = [
            one
            async for several in positions.evaluate(
                self._pool, self._calendar, year=year, as_of_us=as_of_us, enterprises=named, chunk=len(named)
            )
            for one in several
        ]
        if not standings:
            return []
        if self._keep and day == moment.astimezone(self._calendar.zone).date():
            async with self._pool.acquire() as connection, connection.transaction():
                await positions.keep(connection, standings, moment)
        named = sorted({one.budget.enterprise for one in standings})
        months = await self._months(named, year, day)
        as_of = from_us(min(as_of_us, self._calendar.date_start_us(date(year + 1, 1, 1))), self._calendar.zone)
        return [
            self._position(
                one,
                regions[one.budget.enterprise],
                day,
                min(as_of, moment),
                months.get(one.budget.enterprise, {}),
                late.get(one.budget.enterprise, _Late()),
                shares.get(one.budget.enterprise, _NOTHING),
            )
            for one in standings
        ]

    def _position(
        self,
        standing: BudgetStanding,
        region: str,
        day: date,
        as_of: datetime,
        months: Mapping[int, _Month],
        late: _Late,
        shares: _Shares,
    ) -> BudgetPosition:
        budget, projection = standing.budget, standing.projection
        spent = standing.spent or Decimal(0)
        return BudgetPosition(
            enterprise=budget.enterprise,
            region=region,
            year=budget.year,
            basis=str(budget.basis),
            day=day,
            as_of=as_of,
            budget=budget.amount,
            revision=budget.revision,
            spent=spent,
            spent_measured=spent * (1 - _estimated_share(months)),
            planned=standing.plan_to_date,
            p_over=None if standing.spent is None else projection.p_over,
            projected=projection.projected,
            low80=projection.low80,
            high80=projection.high80,
            crossing=standing.crossing.expected,
            cover30=standing.recent_cover,
            estimated30=shares.estimated,
            late_s=late.late_s if day.year == budget.year else 0.0,
            months=_whole(standing, months),
            plan=tuple(budget.monthly),
            unmeasured_days=standing.unmeasured_days,
            assumed=standing.assumed,
            measured_from=standing.measured_from,
        )

    async def _months(self, named: Sequence[str], year: int, day: date) -> dict[str, dict[int, _Month]]:
        bounds = [from_us(self._calendar.date_start_us(at)) for at in (date(year, 1, 1), date(year + 1, 1, 1))]
        rows = await self._pool.fetch(EXCLUDED, list(named), date(year, 1, 1), date(year + 1, 1, 1))
        excluded = {(row["enterprise"], row["basis"], row["month"].month): row["amount"] for row in rows}
        found: dict[str, dict[int, _Month]] = {}
        for row in await self._pool.fetch(MONTHS, list(named), *bounds):
            month = self._calendar.local_date(row["start_us"])
            if month >= day:
                continue
            following = (month.replace(day=1) + timedelta(days=32)).replace(day=1)
            figures = {
                basis: None
                if row[basis] is None
                else row[basis] - excluded.get((row["enterprise"], basis, month.month), Decimal(0))
                for basis in ("equivalent", "equal", "co2")
            }
            one = _Month(figures, row["estimated_us"], row["estimated_us"] + row["measured_us"], following <= day)
            found.setdefault(row["enterprise"], {})[month.month] = one
        return found

    async def _recent(self, named: Sequence[str], day: date) -> dict[str, _Shares]:
        bounds = [from_us(self._calendar.date_start_us(at)) for at in (day - RECENT, day)]
        rows = await self._pool.fetch(RECENT_SHARES, list(named), *bounds)
        owed = {row["enterprise"]: row["due"] for row in await self._pool.fetch(DUE_READINGS, list(named))}
        return {
            row["enterprise"]: _Shares(
                estimated=row["estimated_us"] / known_us
                if (known_us := row["estimated_us"] + row["measured_us"])
                else 0.0,
                suspect=min(1.0, row["held"] / due) if (due := owed.get(row["enterprise"], 0)) else 0.0,
            )
            for row in rows
        }

    async def _lateness(self, named: Sequence[str], moment: datetime) -> dict[str, _Late]:
        """Each enterprise's worst meter. The time in which nobody listened does not count."""
        found: dict[str, _Late] = {}
        for row in await self._pool.fetch(NEWEST, list(named), moment):
            last, interval_s = row["ts"], row["expected_interval_s"]
            since = last or row["created_at"]
            age_s = (moment - since).total_seconds() - self._outage_s(since, moment)
            late_s = max(0.0, age_s - interval_s)
            missed = int(age_s // interval_s) if interval_s >= DAY_S else 0
            worst = found.get(row["enterprise"], _Late())
            if row["enterprise"] not in found or late_s > worst.late_s:
                found[row["enterprise"]] = _Late(late_s, max(missed, worst.missed), row["code"], last)
        return found

    def _outage_s(self, since: datetime, moment: datetime) -> float:
        if self.outage is None:
            return 0.0
        begin, end = max(since, self.outage.start), min(moment, self.outage.end)
        return max(0.0, (end - begin).total_seconds())


def _whole(standing: BudgetStanding, months: Mapping[int, _Month]) -> tuple[MonthFigure, ...]:
    """The months that are over and have a figure, each beside its plan."""
    budget = standing.budget
    return tuple(
        MonthFigure(number, used, budget.monthly[number - 1])
        for number, month in sorted(months.items())
        if month.whole and (used := month.figures[str(budget.basis)]) is not None
    )


def _estimated_share(months: Mapping[int, _Month]) -> Decimal:
    """Of the known time of these months, 0..1."""
    known_us = sum(month.known_us for month in months.values())
    estimated_us = sum(month.estimated_us for month in months.values())
    return Decimal(estimated_us) / known_us if known_us else Decimal(0)


async def ahead(jobs: Iterable[Coroutine[Any, Any, Found]]) -> AsyncGenerator[Found, None]:
    """What each job answers, in order; the next one is under way while the caller is busy with an answer.

    The database works on one group while the one before is judged. No job is left behind.
    """
    following: asyncio.Task[Found] | None = None
    try:
        for job in jobs:
            current, following = following, asyncio.create_task(job)
            if current is not None:
                yield await current
        if following is not None:
            yield await following
    finally:
        if following is not None:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class _Month:
    figures: Mapping[str, Decimal | None]
    estimated_us: int
    known_us: int
    whole: bool


@dataclass(frozen=True, slots=True)
class _Shares:
    """Of the last 30 days: what is estimated of what is known, and what is held of what was due; 0..1."""

    estimated: float = 0.0
    suspect: float = 0.0


_NOTHING = _Shares()
