"""Where a year will end: its total, an 80 % interval around it, and the probability that a budget is exceeded.

Pure, one site at a time. A site is compared with itself: the part of this year that was measured with the same part of
earlier years, and what is left of the year with how well such a comparison has held at this site before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

MONTHS = 12
MOST_YEARS = 3
CLIP = 0.5
"""No log ratio counts for more than this: one bad month must not steer a year."""
SCALE = (1.15, 1.15, 1.10, 1.05, 1.00, 0.95, 0.90, 0.85, 0.80, 0.80, 0.80, 0.85)
T80 = 1.533
"""Nine tenths quantile of Student's t with four degrees of freedom."""


class BudgetNotPositive(ValueError):
    """A budget is an amount above zero. Attribute: budget."""

    def __init__(self, budget: object) -> None:
        self.budget = budget
        super().__init__(f"a budget must be a finite number above zero, not {budget!r}")


@dataclass(frozen=True, slots=True)
class Projection:
    """The year's end as it looks now, in the unit of what went in. `low80` and `high80` are its 10 % and 90 % points.

    `p_over` is the probability, 0 to 1, that the year's total is above the budget; `projected` is the median.
    """

    p_over: float
    projected: float
    low80: float
    high80: float


@dataclass(frozen=True, slots=True)
class Elapsed:
    """A month that is over or running: what was measured in it, and for how much of the month that stands.

    `present` and `elapsed` are shares, 0 to 1, of what the month usually takes: of the days that were measured, and of
    all its days that are over. A whole month without a gap has 1 and 1.
    """

    spent: float
    present: float = 1.0
    elapsed: float = 1.0


@dataclass(frozen=True, slots=True)
class Outlook:
    """The year's end as a distribution: `spent` + (`missing` + what `rest` adds up to) × e^(`z` + `s` × t).

    `spent` was measured; `missing` and `rest` (twelve months) are what an ordinary year would take in the days that
    are over but were not measured, and in those to come. t is Student's with four degrees of freedom.
    """

    spent: float
    missing: float
    rest: tuple[float, ...]
    z: float
    s: float

    def total(self, quantile: float = 0.0) -> float:
        """The year's total at so many spreads from the median."""
        return self.spent + (self.missing + sum(self.rest)) * math.exp(self.z + quantile * self.s)

    def against(self, budget: float) -> Projection:
        """The projection for one budget. Raises BudgetNotPositive."""
        limit = checked(budget)
        left = self.missing + sum(self.rest)
        if left <= 0:
            return Projection(1.0 if self.spent > limit else 0.0, self.spent, self.spent, self.spent)
        over = 1.0
        if self.spent < limit:
            over = 1 - _t4((math.log((limit - self.spent) / left) - self.z) / self.s)
        return Projection(over, self.total(), self.total(-T80), self.total(T80))


def project(history: Sequence[Sequence[float | None]], ytd: Sequence[float | None], budget: float) -> Projection:
    """The projection of a year.

    `history`: up to three earlier years, newest first, each of 12 monthly totals. `ytd`: the complete months of this
    year, from January. Raises BudgetNotPositive.
    """
    limit = checked(budget)
    months = [Elapsed(float(x or 0)) for x in ytd]
    return outlook(history, months, plan=[limit / MONTHS] * MONTHS).against(limit)


def checked(budget: float) -> float:
    """The budget as a number. Raises BudgetNotPositive."""
    limit = float(budget)
    if not (math.isfinite(limit) and limit > 0):
        raise BudgetNotPositive(budget)
    return limit


def outlook(history: Sequence[Sequence[float | None]], months: Sequence[Elapsed], *, plan: Sequence[float]) -> Outlook:
    """How the year will end, from the months that are over or running. `plan`: twelve months, used without history."""
    years = [[float(x or 0) for x in year] for year in history[:MOST_YEARS]]
    base = _base(years) if years else list(plan)
    z, s = _outlook(years, months, base)
    elapsed = [one.elapsed for one in months] + [0.0] * (MONTHS - len(months))
    return Outlook(
        spent=sum(one.spent for one in months),
        missing=sum(b * (one.elapsed - one.present) for one, b in zip(months, base, strict=False)),
        rest=tuple(b * (1 - share) for b, share in zip(base, elapsed, strict=True)),
        z=z,
        s=s,
    )


def _base(years: Sequence[Sequence[float]]) -> list[float]:
    return [sum(years[0]) * fmean(year[i] / sum(year) for year in years) for i in range(MONTHS)]


def _outlook(years: Sequence[Sequence[float]], months: Sequence[Elapsed], base: Sequence[float]) -> tuple[float, float]:
    count = len(months)
    spent = [one.spent for one in months]
    due = [b * one.present for one, b in zip(months, base, strict=False)]
    steps = [b - a for a, b in pairwise([_log_ratio(a, b) for a, b in zip(spent, due, strict=True)])]
    v0 = 0.045 if years else 0.12
    v = math.sqrt((3 * v0**2 + sum(x * x / 2 for x in steps)) / (3 + len(steps)))
    if count == 0:
        return 0.0, v * SCALE[0]
    last = slice(max(0, count - 3), count)
    r_ytd, r_3 = _log_ratio(sum(spent), sum(due)), _log_ratio(sum(spent[last]), sum(due[last]))
    return count / (count + 1.5) * (0.35 * r_ytd + 0.65 * r_3), v * SCALE[min(count, 11)]


def _log_ratio(one: float, other: float) -> float:
    if one <= 0 or other <= 0:
        return 0.0 if one == other else math.copysign(CLIP, one - other)
    return max(-CLIP, min(CLIP, math.log(one / other)))


def _t4(x: float) -> float:
    """Distribution function of Student's t with four degrees of freedom."""
    u = 1 + x * x / 4
    return 0.5 + 0.375 * x / math.sqrt(u) * (1 - x * x / (12 * u))
