"""A real year once more: supply areas day by day, with random holes, late arrival and restarts.

The figures are those of the data described in the README; what is missing is never seen as zero, and what arrives late
is looked at again from then on. A hole that nobody fills ends when the register speaks again: what it drew meanwhile is
known as a whole and spread over the days, which count as estimated. Skipped where the data is not there.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import cache
from itertools import cycle

import pytest

from alerts.evaluate import BudgetPosition, MonthFigure
from alerts.replay import Fired, Replay
from alerts.rule import DEFAULTS, Level
from energy.budget import Budget, BudgetBasis, Standing, position_of, shared_plan
from energy.ordinary_year import MONTHS
from energy.same_days import Day, Moment, days_of, elapsed_of
from tests.bench.backtest import real_days

YEARS = (2019, 2023)
SHARES = (0.97, 1.0, 1.03)
"""Budgets, of the year before: some areas keep theirs and some do not."""
SOUND_FROM = (11, 10)
"""From this day on nothing is missing any more: what is known at the end is what the clean run knows."""
ONE_DAY = timedelta(days=1)


@dataclass(slots=True)
class Area:
    """A supply area of the data as an enterprise with a budget; `days` are all it ever reported."""

    name: str
    year: int
    days: Mapping[date, float]
    share: float
    missing: set[date] = field(default_factory=set)
    spread: dict[date, float] = field(default_factory=dict)
    """Days nobody will ever read, with what the register drew over the hole spread evenly."""
    history: tuple[tuple[float, ...], ...] = field(init=False)
    budget: Budget = field(init=False)
    seen: dict[date, Day] = field(init=False)

    def __post_init__(self) -> None:
        self.seen = {day: Day(mwh) for day, mwh in self.days.items() if day.year in (self.year - 1, self.year)}
        self.history = tuple(months for back in (1, 2, 3) if (months := self._months(self.year - back)) is not None)
        amount = Decimal(f"{self.share * math.fsum(self.history[0]):.3f}")
        plan = shared_plan(amount, self.history[0])
        self.budget = Budget(self.name, self.year, BudgetBasis.EQUIVALENT, 1, amount, plan)

    def _months(self, year: int) -> tuple[float, ...] | None:
        months = [[self.days.get(day) for day in days_of(date(year, number, 1))] for number in range(1, MONTHS + 1)]
        if any(one is None for month in months for one in month):
            return None
        return tuple(math.fsum(one for one in month if one is not None) for month in months)

    def position(self, day: date) -> BudgetPosition:
        """As it looks on a day's morning, with what has arrived."""
        known = (
            {at: one for at, one in self.seen.items() if at not in self.missing} if self.missing else dict(self.seen)
        )
        known |= {at: Day(mwh) for at, mwh in self.spread.items() if at in known}
        begun = [date(self.year, number, 1) for number in range(1, MONTHS + 1) if date(self.year, number, 1) < day]
        moment = Moment(day)
        seen = [elapsed_of(month, known, self.seen, moment) for month in begun]
        spent = Decimal(f"{math.fsum(one.spent for one in seen):.3f}")
        recent = [day - timedelta(days=back) for back in range(1, 31)]
        standing = Standing(moment, self.history, tuple(seen), spent, Decimal(0), 1.0, 1.0)
        found = position_of(self.budget, standing)
        projection = found.projection
        return BudgetPosition(
            enterprise=f"{self.name} {self.share}",
            region="445303",
            year=self.year,
            basis="equivalent",
            day=day,
            as_of=datetime.combine(day, time(), UTC),
            budget=self.budget.amount,
            revision=1,
            spent=spent,
            spent_measured=spent,
            planned=found.plan_to_date,
            p_over=projection.p_over,
            projected=projection.projected,
            low80=projection.low80,
            high80=projection.high80,
            crossing=found.crossing.expected,
            cover30=sum(one not in self.missing and one not in self.spread for one in recent) / len(recent),
            estimated30=sum(one not in self.missing and one in self.spread for one in recent) / len(recent),
            late_s=86_400.0 * (day - ONE_DAY in self.missing),
            months=tuple(
                MonthFigure(month.month, Decimal(f"{one.spent:.3f}"), self.budget.monthly[month.month - 1])
                for month, one in zip(begun, seen, strict=True)
                if one.present >= 1
            ),
            plan=self.budget.monthly,
        )


@cache
def daily() -> Mapping[str, Mapping[date, float]] | None:
    return real_days()


def areas(year: int) -> list[Area]:
    """Every area with the year whole and the year before; skips where there is no data."""
    found = daily()
    if found is None:
        pytest.skip("the days of real supply areas are not there: see TCEWATCH_TEST_DATA in the README")
    whole = [
        date(year - 1, 1, 1) + timedelta(days=i) for i in range((date(year + 1, 1, 1) - date(year - 1, 1, 1)).days)
    ]
    return [
        Area(name, year, days, share)
        for (name, days), share in zip(
            sorted((name, days) for name, days in found.items() if all(day in days for day in whole)), cycle(SHARES)
        )
    ]


def days(year: int) -> list[date]:
    return [date(year, 1, 2) + timedelta(days=number) for number in range((date(year, 12, 31) - date(year, 1, 1)).days)]


def evaluated(run: Replay, everybody: Sequence[Area], day: date) -> Iterator[Fired]:
    return run.evaluate([area.position(day) for area in everybody], day, datetime.combine(day, time(5, 30), UTC))


@cache
def clean(year: int) -> Replay:
    run, everybody = Replay(lambda region: DEFAULTS), areas(year)
    for day in days(year):
        list(evaluated(run, everybody, day))
    return run


def disturbed(year: int, seed: int, *, for_good: bool) -> tuple[Replay, list[Fired]]:
    """Holes of up to nine days, and restarts after which several days are made up for.

    What is missing arrives late; or, `for_good`, never, and the register's next word ends the hole.
    """
    chance, sound_from = random.Random(seed), date(year, *SOUND_FROM)
    run, everybody = Replay(lambda region: DEFAULTS), areas(year)
    fired: list[Fired] = []
    waiting: list[date] = []
    ahead = (sound_from - date(year, 1, 2)).days - 12
    for area in everybody:
        for _ in range(8):
            begin = date(year, 1, 2) + timedelta(days=chance.randrange(ahead))
            area.missing |= {begin + timedelta(days=number) for number in range(chance.randrange(1, 10))}
        area.spread = spread_evenly(area) if for_good else {}
    for day in days(year):
        waiting.append(day)
        if chance.random() < 0.1 and day < sound_from:
            continue  # down: made up for later
        for area in everybody:  # what had been missing arrives, for some of them; by November for all
            if for_good:
                area.missing = {one for one in area.missing if not ended(one, area, day)}
            elif chance.random() < 0.05 or day >= sound_from:
                area.missing = {one for one in area.missing if one >= day}
        for one in waiting:
            fired += evaluated(run, everybody, one)
        waiting.clear()
    return run, fired


def holes(missing: set[date]) -> list[list[date]]:
    """Missing days, those in a row together."""
    found: list[list[date]] = []
    for day in sorted(missing):
        if found and found[-1][-1] + ONE_DAY == day:
            found[-1].append(day)
        else:
            found.append([day])
    return found


def spread_evenly(area: Area) -> dict[date, float]:
    return {day: math.fsum(area.days[one] for one in hole) / len(hole) for hole in holes(area.missing) for day in hole}


def ended(missing: date, area: Area, day: date) -> bool:
    """Whether the register has spoken again, before this morning, since a missing day."""
    following = missing + ONE_DAY
    while following in area.missing:
        following += ONE_DAY
    return following < day


@pytest.mark.parametrize("for_good", [False, True], ids=["arrives late", "never arrives"])
@pytest.mark.parametrize(("year", "seed"), [(YEARS[0], 1), (YEARS[1], 2)])
def test_a_real_year_with_holes_late_data_and_restarts_ends_in_the_alerts_of_the_clean_one(
    year: int, seed: int, for_good: bool
) -> None:
    wanted = clean(year).standing()
    run, fired = disturbed(year, seed, for_good=for_good)
    assert run.standing() == wanted
    assert Level.RED in wanted.values()
    assert len({key.enterprise for key in wanted}) < len(areas(year)), "somebody kept the budget"
    assert any(one.change.row == 9 for one in fired), "nothing was ever held: the holes were too small to matter"
