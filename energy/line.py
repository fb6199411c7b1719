"""A production line's months and running year: its meters' shares added up, its output, and what is missing.

Nothing missing is taken for zero: an energy or an output that is not there is None, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from fractions import Fraction

from energy.benchmark import (
    SOLID_FUELS,
    WEAKEST_COVER,
    Indicator,
    Standing,
    level_units,
    limit_met,
    line_sign,
    output_scale,
    standing,
)
from energy.correction import Corrected
from energy.reading import Role
from energy.rollup import Status
from energy.tce import EXACT, Basis

ELECTRICITY = "electricity"
MONTHS_A_YEAR = 12


@dataclass(frozen=True, slots=True)
class Part:
    """What one meter gave to a line in a month: its own figures, unsigned, and the line's share of them (0 to 1].

    `quantity` is in the carrier's normal unit. None: nothing was measured, or there is no factor.
    """

    meter: str
    carrier: str
    role: Role
    share: Decimal
    quantity: Decimal | None
    tce_equivalent: Decimal | None
    tce_equal: Decimal | None
    tco2: Decimal | None
    measured_us: int
    estimated_us: int


@dataclass(frozen=True, slots=True)
class LineMonth:
    """One month of a line. `lasted_us` is how much of the month has passed; `output` is in the line's own unit."""

    month: str
    lasted_us: int
    output: Decimal | None
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Sums:
    """A line's energies over a period: tonnes of coal equivalent and of CO2, kWh of electricity, tce of coal."""

    tce_equivalent: Decimal | None
    tce_equal: Decimal | None
    tco2: Decimal | None
    electricity_kwh: Decimal | None
    coal_equivalent: Decimal | None
    coal_equal: Decimal | None

    def of(self, indicator: Indicator, basis: Basis) -> Decimal | None:
        """In kgce, or in kWh of electricity."""
        if indicator is Indicator.ELECTRICITY:
            return self.electricity_kwh
        kind = "coal" if indicator is Indicator.COAL else "tce"
        tonnes: Decimal | None = getattr(self, f"{kind}_{basis}")
        return None if tonnes is None else EXACT.multiply(tonnes, Decimal(1000))


@dataclass(frozen=True, slots=True)
class LineFigures:
    """A line over a period. `output` is in the line's unit, `months` those that are in the figures.

    `complete`: every meter was covered by readings for at least 90 % of the time. `reasons` say what is missing.
    """

    months: tuple[str, ...]
    output: Decimal | None
    sums: Sums
    status: Status
    coverage: float
    complete: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Level:
    """What a line is held against; a benchmark has the first two numbers, a legal limit the other three."""

    level_id: int
    kind: str
    indicator: Indicator
    condition: str
    unit: str
    basis: Basis
    benchmark: Decimal | None
    baseline: Decimal | None
    limits: tuple[Decimal | None, Decimal | None, Decimal | None]
    edition: str
    source: str
    verified: bool
    note: str
    corrected: Corrected | None = None

    @property
    def limits_in_force(self) -> tuple[Decimal | Fraction | None, ...]:
        """The limits with the corrections that the standard makes for the line; without any, as they are printed."""
        return self.limits if self.corrected is None else self.corrected.limits


@dataclass(frozen=True, slots=True)
class Verdict:
    """A line by one level. `limit_level` is the best of 1, 2, 3 that is kept, 0 above the limit."""

    level: Level
    standing: Standing
    limit_level: int | None


def month_figures(month: LineMonth, condition: str) -> LineFigures:
    """One month as it is known now."""
    return LineFigures(
        months=(month.month,),
        output=month.output,
        sums=_sums(month.parts, condition),
        status=_status(month.parts),
        coverage=_coverage([month]),
        complete=_complete(month),
        reasons=tuple(_reasons(month)),
    )


def year_figures(months: Sequence[LineMonth], condition: str, *, accumulates: bool) -> LineFigures:
    """The running year: the months that have both an output and an energy, and what the others lack.

    What does not accumulate, such as floor area or head count, is the mean of its months.
    """
    counted = [m for m in months if m.output is not None and _sums(m.parts, condition).tce_equivalent is not None]
    reasons = [f"{reason}@{m.month}" for m in months for reason in _reasons(m) if m not in counted]
    outputs = [m.output for m in counted if m.output is not None]
    return LineFigures(
        months=tuple(m.month for m in counted),
        output=None if not counted else _total(outputs) if accumulates else _mean(outputs),
        sums=_sums([part for m in counted for part in m.parts], condition),
        status=_status([part for m in counted for part in m.parts]),
        coverage=_coverage(counted),
        complete=bool(counted) and all(_complete(m) for m in counted),
        reasons=tuple(reasons),
    )


def judged(figures: LineFigures, level: Level, unit: str, *, accumulates: bool) -> Verdict | str:
    """The figures by a level, or why they cannot be: there is no output, no energy, or not a whole year of it."""
    if figures.output is None:
        return "missing-output"
    if figures.output == 0:
        return "output-is-zero"
    energy = figures.sums.of(level.indicator, level.basis)
    if energy is None:
        return f"missing-{level.indicator}"
    if not accumulates and len(figures.months) < MONTHS_A_YEAR:
        return "level-is-for-a-whole-year"
    scale, wanted = level_units(level.unit)
    output = EXACT.multiply(figures.output, output_scale(unit, wanted))
    scaled = EXACT.multiply(energy, scale)
    return Verdict(
        level,
        standing(scaled, output, level.benchmark, level.baseline),
        limit_met(scaled, output, level.limits_in_force),
    )


def _sums(parts: Iterable[Part], condition: str) -> Sums:
    listed = list(parts)

    def added(indicator: Indicator, value: Callable[[Part], Decimal | None], which: Callable[[Part], bool]) -> Decimal:
        found = Decimal(0)
        for part in filter(which, listed):
            amount = value(part)
            if amount is None:
                raise _Missing
            sign = line_sign(part.role, indicator, condition)
            found = EXACT.add(found, EXACT.multiply(EXACT.multiply(amount, part.share), sign))
        return found

    def known(indicator: Indicator, value: Callable[[Part], Decimal | None]) -> Decimal | None:
        which = _WHICH[indicator]
        if not any(map(which, listed)):
            return None
        try:
            return added(indicator, value, which)
        except _Missing:
            return None

    return Sums(
        tce_equivalent=known(Indicator.ENERGY, lambda part: part.tce_equivalent),
        tce_equal=known(Indicator.ENERGY, lambda part: part.tce_equal),
        tco2=known(Indicator.ENERGY, lambda part: part.tco2),
        electricity_kwh=known(Indicator.ELECTRICITY, lambda part: part.quantity),
        coal_equivalent=known(Indicator.COAL, lambda part: part.tce_equivalent),
        coal_equal=known(Indicator.COAL, lambda part: part.tce_equal),
    )


class _Missing(Exception):
    """A part is not known, so the sum is not."""


_WHICH: dict[Indicator, Callable[[Part], bool]] = {
    Indicator.ENERGY: lambda part: True,
    Indicator.ELECTRICITY: lambda part: part.carrier == ELECTRICITY,
    Indicator.COAL: lambda part: part.carrier in SOLID_FUELS,
}


def _reasons(month: LineMonth) -> Iterable[str]:
    if month.output is None:
        yield "missing-output"
    if not month.parts:
        yield "no-meters"
    for part in month.parts:
        if part.quantity is None:
            yield f"missing-energy:{part.meter}"
        elif part.tce_equivalent is None or part.tce_equal is None:
            yield f"no-factor:{part.carrier}"
        elif not _covered(part, month.lasted_us):
            yield f"low-coverage:{part.meter}"


def _covered(part: Part, lasted_us: int) -> bool:
    return part.measured_us + part.estimated_us >= WEAKEST_COVER * lasted_us


def _complete(month: LineMonth) -> bool:
    return bool(month.parts) and all(
        part.quantity is not None and _covered(part, month.lasted_us) for part in month.parts
    )


def _status(parts: Sequence[Part]) -> Status:
    if not parts or any(part.quantity is None for part in parts):
        return Status.MISSING
    return Status.ESTIMATED if any(part.estimated_us > 0 for part in parts) else Status.MEASURED


def _coverage(months: Sequence[LineMonth]) -> float:
    due = sum(month.lasted_us * len(month.parts) for month in months)
    measured = sum(part.measured_us for month in months for part in month.parts)
    return min(measured / due, 1.0) if due else 0.0


def _total(outputs: Sequence[Decimal]) -> Decimal:
    found = Decimal(0)
    for output in outputs:
        found = EXACT.add(found, output)
    return found


def _mean(outputs: Sequence[Decimal]) -> Decimal:
    """To forty digits; what stays the same all year is exact."""
    with localcontext() as context:
        context.prec = 40
        return _total(outputs) / len(outputs)
