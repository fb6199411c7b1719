"""Budgets: the year's amount, its twelve months, and what of the two is exceeded. Pure, exact decimals.

A budget is of one enterprise, one year and one basis. Its months are given, follow the enterprise's own earlier years,
or follow the days of the calendar; in every case they add up to the year.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from enum import StrEnum

from energy.ordinary_year import MONTHS
from energy.projection import DEFAULT, T80, Calibration, Elapsed, Outlook, Projection, outlook
from energy.same_days import Moment, days_of

CENT = Decimal("0.01")
MONTHS_MAY_MISS = 6 * CENT
"""Twelve months, each rounded to 0.01, may miss their year by twelve halves of it."""
FIRST_YEAR, LAST_YEAR = 2000, 2100
DAYS_A_YEAR = 365
"""What is missing is worth a word from a day's consumption on; the last minutes of today always are."""
LARGEST = Decimal("1e12")


class BudgetBasis(StrEnum):
    """What is counted: tonnes of coal equivalent on one of the two accounts, or tonnes of CO2. Always net."""

    EQUIVALENT = "equivalent"
    EQUAL = "equal"
    CO2 = "co2"

    @property
    def unit(self) -> str:
        return "tCO2" if self is BudgetBasis.CO2 else "tce"


class PlanSource(StrEnum):
    """Where the months of a budget come from."""

    GIVEN = "given"
    HISTORY = "history"
    EVEN = "even"


class Tier(StrEnum):
    """The colour of an enterprise before its budget."""

    GREEN = "green"
    YELLOW = "yellow"
    ORANGE = "orange"
    RED = "red"


class WrongBudget(ValueError):
    """A budget that cannot be. Attributes: field, why."""

    def __init__(self, field: str, why: str) -> None:
        self.field, self.why = field, why
        super().__init__(f"{field}: {why}")


class AmountNotPositive(WrongBudget):
    """A budget of nothing, or of less."""


class MonthsNotTwelve(WrongBudget):
    """A plan with more or fewer than twelve months."""


class MonthsDoNotAddUp(WrongBudget):
    """A plan whose months are not the year."""


@dataclass(frozen=True, slots=True)
class TierRule:
    """From which probability of an overrun a colour is shown. Defaults: the thresholds for raising an alert."""

    yellow: float = 0.65
    orange: float = 0.85
    red: float = 0.98


@dataclass(frozen=True, slots=True)
class Budget:
    """A budget in force. `amount` and `monthly` in the unit of its basis; the months add up to the amount."""

    enterprise: str
    year: int
    basis: BudgetBasis
    revision: int
    amount: Decimal
    monthly: tuple[Decimal, ...]


@dataclass(frozen=True, slots=True)
class Crossing:
    """The local day on which the year's sum passes the budget: expected, and with its 80 % range.

    A None is a day that does not come within the year.
    """

    earliest: date | None
    expected: date | None
    latest: date | None


@dataclass(frozen=True, slots=True)
class Position:
    """How a budget stands at `as_of`, up to which the figures count.

    `spent` is what was measured, exclusions taken off; it is None when nothing was measured. `completeness` is the
    measured share, 0 to 1, of the elapsed year's due time, `recent_cover` that of its last 30 days; `months` is the
    number of months that are over. `unmeasured_days` of the days that are over were not measured, counted from the
    year's first; `assumed` is what the projection adds for them, in tonnes (its median), and no part of `spent`.
    `measured_from` is the first day of the year of which anything is known. `notes` say what was assumed, as stable
    words.
    """

    budget: Budget
    as_of: Moment
    spent: Decimal | None
    excluded: Decimal
    plan_to_date: Decimal
    projection: Projection
    crossing: Crossing
    tier: Tier
    completeness: float
    recent_cover: float
    months: int
    unmeasured_days: float
    assumed: float
    measured_from: date | None
    notes: tuple[str, ...] = ()


def checked_amount(amount: Decimal, field: str = "tce") -> Decimal:
    """The amount. Raises WrongBudget unless it is a number above zero and below 1e12 tonnes."""
    if not amount.is_finite() or amount <= 0:
        raise AmountNotPositive(field, f"a budget is an amount above zero, not {amount}")
    if amount >= LARGEST:
        raise WrongBudget(field, f"a budget of {amount} tonnes is not believed")
    return amount


def checked_year(year: int) -> int:
    """The year. Raises WrongBudget outside 2000 to 2100."""
    if not FIRST_YEAR <= year <= LAST_YEAR:
        raise WrongBudget("year", f"a year from {FIRST_YEAR} to {LAST_YEAR}, not {year}")
    return year


def given_plan(amount: Decimal, monthly: Sequence[Decimal]) -> tuple[Decimal, ...]:
    """The months as given. Raises WrongBudget: not twelve, one below zero, or they do not add up to the amount."""
    if len(monthly) != MONTHS:
        raise MonthsNotTwelve("monthly", f"a plan has 12 months, not {len(monthly)}")
    for number, month in enumerate(monthly, start=1):
        if not month.is_finite() or month < 0:
            raise WrongBudget("monthly", f"month {number} is {month}; it must be zero or more")
    missing = amount - sum(monthly)
    if abs(missing) > MONTHS_MAY_MISS:
        why = f"the months add up to {sum(monthly)} and the budget is {amount}: they differ by {abs(missing)}"
        raise MonthsDoNotAddUp("monthly", why)
    return tuple(monthly)


def shared_plan(amount: Decimal, weights: Sequence[float]) -> tuple[Decimal, ...]:
    """The amount in proportion to twelve weights of zero or more, to 0.01, adding up exactly.

    What rounding leaves goes to the largest month. Raises ValueError when the weights have no sum.
    """
    total = math.fsum(weights)
    if len(weights) != MONTHS or total <= 0 or min(weights) < 0:
        raise ValueError("twelve weights of zero or more, not all zero")
    plan = [(amount * Decimal(weight) / Decimal(total)).quantize(CENT, ROUND_HALF_EVEN) for weight in weights]
    largest = max(range(MONTHS), key=plan.__getitem__)
    plan[largest] += amount - sum(plan)
    return tuple(plan)


def tier_of(projection: Projection, spent: Decimal | None, amount: Decimal, rule: TierRule = TierRule()) -> Tier:
    """The colour: red as soon as more is spent than budgeted, otherwise by the probability of an overrun."""
    if spent is not None and spent > amount:
        return Tier.RED
    for tier, threshold in ((Tier.RED, rule.red), (Tier.ORANGE, rule.orange), (Tier.YELLOW, rule.yellow)):
        if projection.p_over >= threshold:
            return tier
    return Tier.GREEN


@dataclass(frozen=True, slots=True)
class Standing:
    """What a budget is held against: the figures of its basis, as the ledger knows them at `as_of`.

    `history`: earlier years, newest first, each of 12 net monthly totals (None: not measured), exclusions taken off.
    `months`: the months of the year that are over or running. `spent`: their exact sum, exclusions (`excluded`) taken
    off; None when nothing was measured. `completeness` and `recent_cover`: the measured shares, 0 to 1, of the time
    readings were due for, in the elapsed year and in the 30 days before `as_of`. `unmeasured_days`: days that are over
    and of which nothing is known, added up from parts of days; `measured_from`: the first day of the year with data.
    """

    as_of: Moment
    history: tuple[tuple[float | None, ...], ...]
    months: tuple[Elapsed, ...]
    spent: Decimal | None
    excluded: Decimal
    completeness: float
    recent_cover: float
    notes: tuple[str, ...] = ()
    unmeasured_days: float = 0.0
    measured_from: date | None = None


def position_of(
    budget: Budget, standing: Standing, rule: TierRule = TierRule(), *, calibration: Calibration = DEFAULT
) -> Position:
    """Where the budget stands. Pure; `standing.as_of` is the time."""
    plan = [float(month) for month in budget.monthly]
    found = outlook(
        standing.history,
        standing.months,
        plan=plan,
        calibration=calibration,
        year=budget.year,
        spring_festival=True,
    )
    projection = found.against(float(budget.amount))
    notes = list(standing.notes)
    if not any(month is not None for year in standing.history for month in year):
        notes.append("no-history")
    if found.missing * DAYS_A_YEAR > found.missing + math.fsum(found.rest) + float(standing.spent or 0):
        notes.append("missing-days-added")
    return Position(
        budget=budget,
        as_of=standing.as_of,
        spent=standing.spent,
        excluded=standing.excluded,
        plan_to_date=plan_to_date(budget, standing.as_of),
        projection=projection,
        crossing=crossing_of(found, budget, standing.as_of.day),
        tier=tier_of(projection, standing.spent, budget.amount, rule),
        completeness=standing.completeness,
        recent_cover=standing.recent_cover,
        months=sum(one.elapsed >= 1 for one in standing.months),
        unmeasured_days=standing.unmeasured_days,
        assumed=found.assumed(),
        measured_from=standing.measured_from,
        notes=tuple(notes),
    )


def plan_to_date(budget: Budget, as_of: Moment) -> Decimal:
    """What the plan allows up to the moment, to 0.01; a month's part by its days."""
    day = as_of.day
    if day.year != budget.year:
        return budget.amount if day.year > budget.year else Decimal(0)
    whole = sum(budget.monthly[: day.month - 1], Decimal(0))
    part = (Decimal(day.day - 1) + Decimal(as_of.share)) / len(days_of(day.replace(day=1)))
    return (whole + budget.monthly[day.month - 1] * part).quantize(CENT, ROUND_HALF_EVEN)


def crossing_of(found: Outlook, budget: Budget, as_of: date) -> Crossing:
    """When the budget is passed: as expected, and at the ends of the 80 % range of what is still to come."""
    earliest, expected, latest = (_crossing(found, budget, as_of, quantile) for quantile in (T80, 0.0, -T80))
    return Crossing(earliest, expected, latest)


def _crossing(found: Outlook, budget: Budget, as_of: date, quantile: float) -> date | None:
    factor = math.exp(found.level + quantile * found.spread)
    left = float(budget.amount) - found.spent - found.missing * factor
    if left < 0:
        return min(as_of, date(budget.year, 12, 31))
    for number, base in enumerate(found.rest, start=1):
        to_come = base * factor
        if to_come > left:
            days = [day for day in days_of(date(budget.year, number, 1)) if day >= as_of]
            if days:
                return days[0] + timedelta(days=min(int(left / to_come * len(days)), len(days) - 1))
        left -= to_come
    return None
