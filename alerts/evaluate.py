"""From what is known on a day to what it says: (settings, position) → signal. Pure, without memory.

The memory (how many days in a row, what stands, who was told) is `states.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from alerts.rule import RAISED, AlertSettings, Kind, Level
from alerts.states import Data, Signal

DAYS_OF_YEAR = 365


@dataclass(frozen=True, slots=True)
class MonthFigure:
    """A whole month of the year: what was used and what the plan says, both in the budget's unit."""

    month: int
    used: Decimal
    planned: Decimal


@dataclass(frozen=True, slots=True)
class BudgetPosition:
    """Where one enterprise stands with one budget on a local day, with the figures up to that day's beginning.

    Energies net, in the unit of the budget (tce, or tCO2 for `basis` co2). `spent_measured` is the part of `spent` that
    was measured, not interpolated. `cover30` and `estimated30`: measured and estimated share of the last 30 days, 0..1.
    `late_s`: lateness of the worst meter beyond its interval, in seconds. `p_over` and the projection are None when
    nothing can be projected. `unmeasured_days`: of the days of the year that are over, those without data; `assumed`:
    what the projection takes them for, in the budget's unit. `measured_from`: the first day with data. `months` are the
    whole ones of the year, `plan` all twelve.
    """

    enterprise: str
    region: str
    year: int
    basis: str
    day: date
    as_of: datetime
    budget: Decimal
    revision: int
    spent: Decimal
    spent_measured: Decimal
    planned: Decimal
    p_over: float | None
    projected: float | None
    low80: float | None
    high80: float | None
    crossing: date | None
    cover30: float
    estimated30: float
    late_s: float
    months: tuple[MonthFigure, ...] = ()
    plan: tuple[Decimal, ...] = ()
    unmeasured_days: float = 0.0
    assumed: float = 0.0
    measured_from: date | None = None

    @property
    def days_left_share(self) -> float:
        """Share of the year that is left, 0..1."""
        return max(0.0, (date(self.year + 1, 1, 1) - self.day).days / DAYS_OF_YEAR)

    @property
    def unmeasured_share(self) -> float:
        """Share, 0..1, of the year's days that are over and were not measured."""
        over = (min(self.day, date(self.year + 1, 1, 1)) - date(self.year, 1, 1)).days
        return min(1.0, self.unmeasured_days / max(over, 1))


@dataclass(frozen=True, slots=True)
class DataPosition:
    """How an enterprise's readings come in. `late_s`: the worst meter's lateness beyond its interval, in seconds.

    `missed`: reporting dates missed by a meter that reports once a day or less often. `suspect30`: share of the last 30
    days' readings that are held. A meter that never sent is as late as it is old.
    """

    enterprise: str
    region: str
    day: date
    as_of: datetime
    late_s: float
    missed: int
    suspect30: float
    worst_meter: str | None
    last_at: datetime | None


@dataclass(frozen=True, slots=True)
class MeterPosition:
    """A meter whose calibration has an end."""

    enterprise: str
    region: str
    day: date
    meter: str
    calibrated_until: date


@dataclass(frozen=True, slots=True)
class LinePosition:
    """A production line's month beside its benchmark. `ratio`: unit energy ÷ 基准, both in the same unit."""

    enterprise: str
    region: str
    day: date
    line: str
    month: str
    ratio: float
    gap_tce: Decimal | None


@dataclass(frozen=True, slots=True)
class IntegrityPosition:
    """What the nightly recomputation found different in an enterprise's figures."""

    enterprise: str
    region: str
    day: date
    differences: int


Position = BudgetPosition | DataPosition | MeterPosition | LinePosition | IntegrityPosition


def data_state(settings: AlertSettings, position: BudgetPosition) -> Data:
    """Whether the data carry a judgement. Missing is not zero: a plant that fell silent is not saving."""
    if position.late_s > settings.data_grace_h * 3600:
        return Data.LATE
    if position.p_over is None or position.cover30 < settings.cover_min:
        return Data.MISSING
    return Data.OK


def trend(settings: AlertSettings, position: BudgetPosition) -> Signal:
    """The probability of ending above the budget.

    Where too much of the year was not measured it is a probability of assumed energy, and is held. What has been
    measured already is the business of `actual`, which has no such limit: what is missing only makes it less.
    """
    p_over = position.p_over or 0.0
    allowed = [level for level in RAISED if _may_rise(settings, position, level)]
    on = max((level for level in allowed if p_over >= settings.trend_on(level)), default=Level.GREEN)
    kept = max((level for level in RAISED if p_over >= settings.trend_off(level)), default=Level.GREEN)
    return Signal(
        on=on,
        kept=max(on, kept),
        confirm_days=settings.confirm_days,
        clear_days=settings.clear_days,
        at_once=position.day.day == settings.month_close_day,
        data=_trend_data(settings, position),
    )


def _trend_data(settings: AlertSettings, position: BudgetPosition) -> Data:
    found = data_state(settings, position)
    assumed = position.unmeasured_share > settings.unmeasured_max
    return Data.MISSING if found is Data.OK and assumed else found


def _may_rise(settings: AlertSettings, position: BudgetPosition, level: Level) -> bool:
    if position.day < settings.trend_opens(level, position.year):
        return False
    return level is not Level.RED or position.estimated30 <= settings.red_estimated_max


def actual(settings: AlertSettings, position: BudgetPosition) -> Signal:
    """What has been used already. Red is a fact, and only measured energy makes it one."""
    share = position.spent / position.budget
    if position.spent_measured > position.budget:
        return Signal(Level.RED, Level.RED, fact=True)
    if share >= Decimal(str(settings.actual_orange_share)) and position.days_left_share > settings.actual_orange_left:
        level = Level.ORANGE
    elif share >= Decimal(str(settings.actual_yellow_share)) and position.spent > position.planned:
        level = Level.YELLOW
    else:
        level = Level.GREEN
    return Signal(level, level, data=data_state(settings, position))


def period(settings: AlertSettings, position: BudgetPosition) -> Signal:
    """Whole months and quarters against their share of the plan."""
    months = sorted(position.months, key=lambda one: one.month)
    over = [one.used > one.planned * Decimal(str(settings.period_over)) for one in months]
    if _quarter_over(months, Decimal(str(settings.period_quarter_red))):
        level = Level.RED
    elif over[-2:] == [True, True]:
        level = Level.ORANGE
    else:
        level = Level.YELLOW if over[-1:] == [True] else Level.GREEN
    return Signal(level, level, data=data_state(settings, position))


def _quarter_over(months: list[MonthFigure], multiple: Decimal) -> bool:
    """The last whole quarter of the year, until the next one is whole."""
    whole = len(months) // 3 * 3
    quarter = months[whole - 3 : whole] if whole else []
    return bool(quarter) and sum(one.used for one in quarter) > multiple * sum(one.planned for one in quarter)


def data(settings: AlertSettings, position: DataPosition) -> Signal:
    """Late, missing or suspect readings: an alert of its own, so that silence is never taken for saving."""
    days = position.late_s / 86_400
    if days >= settings.data_red_days or position.missed >= 3:
        level = Level.RED
    elif days >= settings.data_orange_days or position.suspect30 > settings.data_suspect_share:
        level = Level.ORANGE
    else:
        level = Level.YELLOW if position.late_s > settings.data_grace_h * 3600 else Level.GREEN
    return Signal(level, level)


def meter(settings: AlertSettings, position: MeterPosition) -> Signal:
    """A calibration that is about to lapse, or has."""
    left = (position.calibrated_until - position.day).days
    steps = ((settings.meter_red_days, Level.RED), (settings.meter_orange_days, Level.ORANGE))
    level = next((level for days, level in steps if left <= days), None)
    if level is None:
        level = Level.YELLOW if left <= settings.meter_yellow_days else Level.GREEN
    return Signal(level, level)


def benchmark(settings: AlertSettings, position: LinePosition) -> Signal:
    """A line that uses more per unit of product than 基准 allows."""
    if position.ratio > settings.benchmark_red:
        level = Level.RED
    elif position.ratio > settings.benchmark_orange:
        level = Level.ORANGE
    else:
        level = Level.YELLOW if position.ratio > 1 else Level.GREEN
    return Signal(level, level)


def integrity(settings: AlertSettings, position: IntegrityPosition) -> Signal:
    """A figure that does not follow from its readings is nobody's to explain but ours."""
    level = Level.ORANGE if position.differences else Level.GREEN
    return Signal(level, level)


def signals(settings: AlertSettings, position: Position) -> tuple[tuple[Kind, Signal], ...]:
    """Every kind of alert that a position speaks of, with what it says."""
    match position:
        case BudgetPosition():
            return (
                (Kind.TREND, trend(settings, position)),
                (Kind.ACTUAL, actual(settings, position)),
                (Kind.PERIOD, period(settings, position)),
            )
        case DataPosition():
            return ((Kind.DATA, data(settings, position)),)
        case MeterPosition():
            return ((Kind.METER, meter(settings, position)),)
        case LinePosition():
            return ((Kind.BENCHMARK, benchmark(settings, position)),)
        case IntegrityPosition():
            return ((Kind.INTEGRITY, integrity(settings, position)),)
