"""Where a year will end: its total, an 80 % interval around it, and the probability that a budget is exceeded.

Pure, one site at a time, standard library. A site is compared with itself: the part of this year that was measured with
the same part of earlier years, and what is left of the year with how well such comparisons have held at this site.

The steps: an ordinary year is made of the earlier ones (`energy.ordinary_year`); every month becomes the log of what it
took to what it ordinarily takes; levels that follow those logs more or less quickly are mixed by how well each foresaw
the site's own past (`_level`); the spread comes from the same past and shrinks to that of sites in general (`_spread`).
Every number was fitted on the development series named in the README and is judged by the back-test described there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise, zip_longest

from energy.ordinary_year import MONTHS, MOST_YEARS, Ordinary, Year, ordinary_year, usable_years

MOST_LOG = 0.7
"""No log ratio counts for more: one bad month must not steer a year."""
SPEEDS = (0.06, 0.12, 0.25, 0.50, 0.80)
"""How much of a month's news a level takes up. Weather passes, so a slow level is right; a new furnace stays."""
TRUST = (0.15, 0.35, 0.30, 0.10, 0.10)
"""What each speed is worth before the site's past was looked at."""
AHEAD = 4
"""Months over which a level's foresight is judged in the past."""
KEPT = 0.95
"""A level's distance from the ordinary year is believed to this share for the months to come."""
PRIOR_ERROR, PRIOR_ERROR_MONTHS = 0.003, 2.0
"""Mean squared error of a level, in logs, that stands in for this many months of past."""
T80 = 1.533
"""Nine tenths quantile of Student's t with four degrees of freedom."""
LEAST_SPREAD = 0.002


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
class Calibration:
    """How a spread becomes an interval and a probability.

    With m months gone, `interval[m]` × (spread / TYPICAL)^`interval_bend` widens the 80 % interval, and `caution[m]`
    with `caution_bend[m]` the probability: in spring a year is looked at many more times and every look may raise a
    false alarm, so a probability must be well founded; by October there is no time left to wait. A site noisier than
    TYPICAL is not to be believed as readily: where it is likelier to exceed its budget than not, its caution grows with
    (spread / TYPICAL)^`noisy_caution`.
    """

    interval: tuple[float, ...] = (1.16, 1.16, 1.16, 1.16, 1.16, 1.16, 1.16, 1.12, 1.09, 1.04, 0.97, 0.96)
    interval_bend: float = 0.3
    caution: tuple[float, ...] = (3.1, 3.1, 3.1, 3.1, 2.85, 2.65, 2.55, 2.3, 1.65, 0.85, 0.55, 1.5)
    caution_bend: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0, 0.0, -0.1, -0.25, -0.3, -0.25, -0.3, -0.35, 0.0)
    noisy_caution: float = 0.6

    def interval_spread(self, spread: float, months: float) -> float:
        """The spread of the 80 % interval, with so many months gone."""
        return _at(self.interval, months) * spread * _bent(spread, self.interval_bend)

    def doubt(self, spread: float, months: float) -> float:
        """The spread a probability below one half is taken from, with so many months gone."""
        return _at(self.caution, months) * spread * _bent(spread, _at(self.caution_bend, months))

    def alarm_doubt(self, spread: float, months: float) -> float:
        """The spread a probability above one half is taken from, with so many months gone."""
        return self.doubt(spread, months) * _bent(max(spread, TYPICAL), self.noisy_caution)


TYPICAL = 0.045
DEFAULT = Calibration()


def _bent(spread: float, bend: float) -> float:
    """Much calmer and much noisier sites are treated alike beyond a factor."""
    return math.pow(min(3.0, max(0.5, spread / TYPICAL)), bend)


def _at(values: Sequence[float], months: float) -> float:
    """Between two months, in proportion."""
    first = min(int(months), MONTHS - 1)
    following = min(first + 1, MONTHS - 1)
    return values[first] + (values[following] - values[first]) * (min(months, MONTHS - 1) - first)


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
    """The year's end as a distribution: `spent` + (`missing` + what `rest` adds up to) × e^(`level` + `spread` × t).

    `spent` was measured; `missing` and `rest` (twelve months) are what an ordinary year takes in the days that are over
    but were not measured, and in those to come. t is Student's with four degrees of freedom. `doubt` and `alarm_doubt`
    are the spreads a probability below and above one half is taken from.
    """

    spent: float
    missing: float
    rest: tuple[float, ...]
    level: float
    spread: float
    doubt: float
    alarm_doubt: float

    def total(self, quantile: float = 0.0) -> float:
        """The year's total at so many spreads from the median."""
        return self.spent + (self.missing + math.fsum(self.rest)) * math.exp(self.level + quantile * self.spread)

    def assumed(self) -> float:
        """What is added for the days that are over and were not measured: the median, in the unit of `spent`."""
        return self.missing * math.exp(self.level)

    def against(self, budget: float) -> Projection:
        """The projection for one budget. Raises BudgetNotPositive."""
        limit = checked(budget)
        left = self.missing + math.fsum(self.rest)
        if left <= 0:
            return Projection(1.0 if self.spent > limit else 0.0, self.spent, self.spent, self.spent)
        over = 1.0
        if self.spent < limit:
            room = math.log((limit - self.spent) / left) - self.level
            over = 1 - _t4(room / (self.doubt if room > 0 else self.alarm_doubt))
        return Projection(over, self.total(), self.total(-T80), self.total(T80))


def project(
    history: Sequence[Sequence[float | None]],
    ytd: Sequence[float | None],
    budget: float,
    *,
    calibration: Calibration = DEFAULT,
) -> Projection:
    """The projection of a year from monthly totals.

    `history`: up to three earlier years, newest first, each of 12 monthly totals; later ones are not looked at. `ytd`:
    the complete months of this year, from January. A month that is None or NaN was not measured: in an earlier year it
    is put in from the other years (a year with fewer than six months is left out), in this year what it ordinarily
    takes is added. Without history the budget's own twelfths are the ordinary year and the interval is wide. With
    twelve months the total is known and the answer certain. Raises BudgetNotPositive, and ValueError for a year that
    has not 12 months, more than 12 months of this year, or an amount below zero.
    """
    limit = checked(budget)
    months = [Elapsed(0.0, 0.0) if math.isnan(one) else Elapsed(one) for one in map(_number, ytd)]
    plan = [limit / MONTHS] * MONTHS
    return outlook(history, months, plan=plan, calibration=calibration).against(limit)


def checked(budget: float) -> float:
    """The budget as a number. Raises BudgetNotPositive."""
    limit = float(budget)
    if not (math.isfinite(limit) and limit > 0):
        raise BudgetNotPositive(budget)
    return limit


def outlook(
    history: Sequence[Sequence[float | None]],
    months: Sequence[Elapsed],
    *,
    plan: Sequence[float],
    calibration: Calibration = DEFAULT,
    year: int | None = None,
    spring_festival: bool = False,
) -> Outlook:
    """How the year will end, from its months that are over or running.

    `plan` (twelve months) stands in for the ordinary year where there is no history. With `year`, a February is scaled
    to this year's days. With `spring_festival`, January and February are judged as one period.
    """
    if len(months) > MONTHS:
        raise ValueError(f"a year has 12 months, not {len(months)}")
    years = usable_years([[_number(x) for x in one] for one in history[:MOST_YEARS]], year)
    measured = [one.spent if one.present >= 1 else math.nan for one in months]
    ordinary = ordinary_year(years, plan, measured)
    past, now = _logs(ordinary, months, joined=spring_festival)
    gone = math.fsum(one.present for one in months)
    level, error = _level(past, now, MONTHS - len(ordinary.resting))
    spread = _spread(ordinary.years, past, now, measured, error, gone)
    if ordinary.relevelled:
        spread *= NEW_LEVEL
    elapsed = [one.elapsed for one in months] + [0.0] * (MONTHS - len(months))
    gaps = [one.elapsed - one.present for one in months]
    return Outlook(
        spent=math.fsum(one.spent for one in months),
        missing=math.fsum(base * max(gap, 0.0) for base, gap in zip(ordinary.months, gaps, strict=False)),
        rest=tuple(base * (1 - share) for base, share in zip(ordinary.months, elapsed, strict=True)),
        level=KEPT * level if years else _level_of_plan(now, gone),
        spread=calibration.interval_spread(spread, gone),
        doubt=calibration.doubt(spread, gone),
        alarm_doubt=calibration.alarm_doubt(spread, gone),
    )


Logs = list[tuple[float, float]]
"""Log ratios of what was taken to what is ordinary, each with the share of its month that was measured."""
WHOLE = (1.0,) * MONTHS


def _logs(ordinary: Ordinary, months: Sequence[Elapsed], *, joined: bool) -> tuple[Logs, Logs]:
    """The earlier years, oldest first, and this one, without the months in which the plant rests.

    One year alone is its own measure: its logs are all zero.
    """
    past: Logs = []
    for year in [] if ordinary.relevelled else reversed(ordinary.years):
        past += _year_logs(ordinary, year, WHOLE, joined=joined)
    now = _year_logs(ordinary, [one.spent for one in months], [one.present for one in months], joined=joined)
    return past or [(0.0, 1.0)] * (MONTHS - len(ordinary.resting)), now


def _year_logs(ordinary: Ordinary, months: Sequence[float], present: Sequence[float], *, joined: bool) -> Logs:
    spent, shares = list(months), list(present)
    due = [base * share for base, share in zip(ordinary.months, shares, strict=False)]
    if joined and spent:
        both = math.fsum(spent[:2]), math.fsum(due[:2])
        spent[:2], due[:2] = [both[0]] * len(spent[:2]), [both[1]] * len(due[:2])
        if len(shares) < 2 or shares[0] + shares[1] < 2:
            shares[:2] = [0.0] * len(shares[:2])  # a part of the two says nothing: the festival may be in the other
    return [
        (_log(a, b), share)
        for i, (a, b, share) in enumerate(zip(spent, due, shares, strict=True))
        if i not in ordinary.resting
    ]


def _log(spent: float, due: float) -> float:
    if due <= 0:
        return 0.0
    found = math.log(spent) - math.log(due) if spent > 0 else -MOST_LOG
    return found if -MOST_LOG < found < MOST_LOG else math.copysign(MOST_LOG, found)


def _level(past: Logs, now: Logs, a_year: int) -> tuple[float, float]:
    """Where the site stands now, as a log over the ordinary year; and the error, in logs, such a level has had.

    `a_year`: the months of a year in which the plant works.
    """
    logs = [log for log, _ in past + now]
    sums = [0.0, *accumulate(logs)]
    first = sums[a_year] / a_year
    means = [(sums[i + AHEAD] - sums[i]) / AHEAD for i in range(a_year, len(logs) - AHEAD + 1)]
    run = (past + now)[a_year:]
    found = [(_followed(run, means, first, speed), trust) for speed, trust in zip(SPEEDS, TRUST, strict=True)]
    count = len(means)
    prior = PRIOR_ERROR_MONTHS * PRIOR_ERROR
    weights = [
        trust * math.exp(-count / 4 * math.log((squares + prior) / (count + PRIOR_ERROR_MONTHS) / PRIOR_ERROR))
        for (_, squares), trust in found
    ]
    total = math.fsum(weights)
    level = math.fsum(weight * one for weight, ((one, _), _) in zip(weights, found, strict=True)) / total
    squares = math.fsum(weight * one for weight, ((_, one), _) in zip(weights, found, strict=True)) / total
    return level, _shrunk(squares, count, FORESIGHT)


def _followed(run: Logs, means: Sequence[float], level: float, speed: float) -> tuple[float, float]:
    """The level at the end of the run, and the sum of squares by which it missed the means of the months ahead."""
    squares = 0.0
    for (log, share), mean in zip_longest(run, means):
        if mean is not None:
            miss = mean - level
            squares += miss * miss if -0.5 < miss < 0.5 else 0.25
        news = log - level
        if not -0.5 < news < 0.5:
            news = math.copysign(0.5, news)
        level += speed * share * news
    return level, squares


def _level_of_plan(now: Logs, gone: float) -> float:
    """Without history: the year so far over its plan, believed the more the longer it is."""
    measured = math.fsum(share for _, share in now)
    if measured <= 0:
        return 0.0
    return gone / (gone + 1.5) * math.fsum(log * share for log, share in now) / measured


@dataclass(frozen=True, slots=True)
class _Prior:
    """The spread of sites in general, a log, and for how many observations of a site's own it stands."""

    spread: float
    weight: float


STEPS = _Prior(0.0433, 0.95)
FORESIGHT = _Prior(0.0641, 1.89)
ROUGHNESS = _Prior(0.05, 4.0)
PLAN_STEPS, PLAN_FORESIGHT = _Prior(0.12, 6.0), 0.18
"""Without history: guesses, wide on purpose."""
NEW_LEVEL = 1.5
"""A site that has just changed its level may change it again."""


def _shrunk(squares: float, count: int, prior: _Prior) -> float:
    return math.sqrt((prior.weight * prior.spread**2 + squares) / (prior.weight + count))


def _spread(
    years: Sequence[Year], past: Logs, now: Logs, measured: Sequence[float], error: float, gone: float
) -> float:
    """The spread of the log of what the rest of the year takes, around the level.

    Of three things: how much months differ from their neighbours, how well levels have foreseen the months after them,
    and, while there are few of both, how rough the years themselves are.
    """
    logs = [log for log, share in (past if len(years) > 1 else []) + now if share >= 1]
    steps = [b - a for a, b in pairwise(logs)]
    squares = math.fsum(min(step * step, 0.5) / 2 for step in steps)
    if not years:
        return math.pow(_shrunk(squares, len(steps), PLAN_STEPS), 0.34) * math.pow(PLAN_FORESIGHT, 0.66) * _season(gone)
    noise = _shrunk(squares, len(steps), STEPS)
    rough = math.pow(_roughness(years, measured), 0.466 * math.exp(-3.9 * len(steps) / MONTHS))
    alone = math.exp(-0.21) if len(years) == 1 else 1.0
    return max(1.135 * math.pow(noise, 0.337) * math.pow(error, 0.747) * rough * alone * _season(gone), LEAST_SPREAD)


def _season(gone: float) -> float:
    """How the spread of what is left changes over the year: the last months are few, and weather does not even out."""
    phase = (gone - 6) / 6
    return math.exp(0.343 * phase * phase + 0.113 * max(gone - 9, 0.0))


def _roughness(years: Sequence[Year], measured: Sequence[float]) -> float:
    """Second differences of the logs of all months, beside those of sites in general."""
    run = [math.log(one) for year in reversed(years) for one in year if one > 0]
    run += [math.log(one) for one in measured if one > 0]
    bends = [c - 2 * b + a for a, b, c in zip(run, run[1:], run[2:], strict=False)]
    return _shrunk(math.fsum(min(bend * bend, 0.8) / 6 for bend in bends), len(bends), ROUGHNESS) / 0.06


def _number(amount: float | None) -> float:
    """A month's total; NaN where it was not measured. Raises ValueError for one below zero or without end."""
    number = math.nan if amount is None else float(amount)
    if number < 0 or math.isinf(number):
        raise ValueError(f"a month's total is a number of zero or more, or None where it was not measured: {amount!r}")
    return number


def _t4(x: float) -> float:
    """Distribution function of Student's t with four degrees of freedom."""
    if abs(x) > 1e6:
        return 1.0 if x > 0 else 0.0
    u = 1 + x * x / 4
    return min(max(0.5 + 0.375 * x / math.sqrt(u) * (1 - x * x / (12 * u)), 0.0), 1.0)
