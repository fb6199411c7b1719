"""Energy per unit of product, held against a benchmark and a baseline (标杆, 基准) and against the legal limit.

Lower is better everywhere. Whether a line is at a level is decided by exact products, energy against level times
output; only what is shown is rounded. A level at or below zero (a process that gives back more than it uses) has no
ratio: there the difference says all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

from energy.reading import Role
from energy.tce import EXACT

SHOWN = Decimal("0.000001")
"""Quotients are shown to six decimals, half to even."""
WEAKEST_COVER = Decimal("0.9")
"""Less than this share of a month covered by readings is not enough to judge a line by (the 90 % that provincial rules
ask of online data)."""

SOLID_FUELS = frozenset(
    {
        *("raw_coal", "cleaned_coal", "middlings", "coal_slime_min", "coal_slime_max", "coal_gangue", "anthracite"),
        *("coking_bituminous", "bituminous", "lignite", "coal_products", "coke", "petroleum_coke"),
    }
)
"""What counts for an indicator of coal."""


class Indicator(StrEnum):
    """What of a product's energy a level is about."""

    ENERGY = "energy"
    """All of it, as coal equivalent."""
    ELECTRICITY = "electricity"
    """Electricity alone, in kWh; what is made from waste heat counts as used."""
    COAL = "coal"
    """Solid fuels alone, as coal equivalent."""


_SIGNS: Mapping[Role, int] = {
    Role.PURCHASE: 1,
    Role.OWN_RENEWABLE: 1,
    Role.FEEDSTOCK: 1,
    # What flows inside the enterprise does not count for it, but it is what reaches the line.
    Role.INTERNAL: 1,
    Role.SALE: -1,
    Role.RECOVERED: -1,
}
FEEDSTOCK_OUT = "feedstock energy deducted"
"""The condition under which a standard leaves feedstock out."""


def line_sign(role: Role, indicator: Indicator, condition: str) -> int:
    """With which sign a meter in this role counts for a line: 1, 0 or -1."""
    if role is Role.FEEDSTOCK and condition.casefold() == FEEDSTOCK_OUT:
        return 0
    if role is Role.RECOVERED and indicator is Indicator.ELECTRICITY:
        return 0
    return _SIGNS[role]


# Units ----------------------------------------------------------------------------------------------------------------

_OUTPUTS: Mapping[str, tuple[str, Decimal]] = {
    "t": ("t", Decimal(1)),
    "kg": ("t", Decimal("0.001")),
    "10^4 t": ("t", Decimal(10_000)),
    "万t": ("t", Decimal(10_000)),
    "m2": ("m2", Decimal(1)),
    "10^4 m2": ("m2", Decimal(10_000)),
    "万m2": ("m2", Decimal(10_000)),
    "m3": ("m3", Decimal(1)),
    "10^4 m3": ("m3", Decimal(10_000)),
    "万m3": ("m3", Decimal(10_000)),
    "weight case": ("weight case", Decimal(1)),
    "重量箱": ("weight case", Decimal(1)),
    "万重量箱": ("weight case", Decimal(10_000)),
    "kWh": ("kWh", Decimal(1)),
    "MWh": ("kWh", Decimal(1000)),
    "10^4 kWh": ("kWh", Decimal(10_000)),
    "万kWh": ("kWh", Decimal(10_000)),
    "t*energy factor": ("t*energy factor", Decimal(1)),
    "person": ("person", Decimal(1)),
    "人": ("person", Decimal(1)),
}
_ENERGY_UNITS: Mapping[str, Decimal] = {
    "kgce": Decimal(1),
    "gce": Decimal(1000),
    # 10,000 kcal a kilogram of oil equivalent, 7,000 one of coal.
    "kgoe": Decimal("0.7"),
    "tce": Decimal("0.001"),
    "kWh": Decimal(1),
}
"""How many of the unit one kgce is; of electricity, one kWh."""


class OutputUnitMismatch(ValueError):
    """A product is not counted in this unit. Attributes: unit, wanted, accepted."""

    def __init__(self, unit: str, wanted: str) -> None:
        self.unit, self.wanted = unit, wanted
        self.accepted = tuple(name for name, (base, _) in _OUTPUTS.items() if base == wanted)
        super().__init__(f"no way from unit {unit!r} to {wanted!r}; accepted: {', '.join(self.accepted) or 'none'}")


def output_scale(unit: str, wanted: str) -> Decimal:
    """How many units of the product one `unit` is. Raises OutputUnitMismatch."""
    base, scale = _OUTPUTS.get(unit, ("", Decimal(0)))
    if base != wanted:
        raise OutputUnitMismatch(unit, wanted)
    return scale


def level_units(unit: str) -> tuple[Decimal, str]:
    """Of a level's unit such as `kgce/t`: how many of its energy unit one kgce (or kWh) is, and the unit of output.

    Raises ValueError for anything else.
    """
    energy, slash, output = unit.partition("/")
    output = output.strip().removeprefix("(").removesuffix(")")
    if not slash or energy.strip() not in _ENERGY_UNITS or output not in {base for base, _ in _OUTPUTS.values()}:
        raise ValueError(f"{unit!r} is no unit of a level; kgce/t, kgce/m2, gce/kWh or kWh/t are")
    return _ENERGY_UNITS[energy.strip()], output


# Conditions -----------------------------------------------------------------------------------------------------------

_NUMBER = r"([0-9]+(?:\.[0-9]+)?)"
_UNITS = r"\s*(?:%|t/d|t|mw)?\s*"
_BELOW = {"<": False, "<=": True, "≤": True, "≦": True}
_ABOVE = {">": False, ">=": True, "≥": True, "≧": True}
_BETWEEN = re.compile(rf"{_NUMBER}{_UNITS}(<=|<|≤)[^<>≤≥0-9]*(<=|<|≤)\s*{_NUMBER}")
_DASHED = re.compile(rf"{_NUMBER}{_UNITS}(?:-|–|~|～|to)\s*{_NUMBER}{_UNITS}$")
_ONE_SIDED = re.compile(rf"(<=|>=|<|>|≤|≥)\s*{_NUMBER}{_UNITS}$")
_POINT = re.compile(rf"(?:^|=|\s){_NUMBER}{_UNITS}$")


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from `low` to `high`, each end with itself or without; None: no end."""

    low: Decimal | None
    low_in: bool
    high: Decimal | None
    high_in: bool

    def covers(self, other: Range) -> bool:
        """Whether every number of the other lies in this one."""
        low = self.low is None or (
            other.low is not None
            and (self.low < other.low or (self.low == other.low and (self.low_in or not other.low_in)))
        )
        high = self.high is None or (
            other.high is not None
            and (other.high < self.high or (other.high == self.high and (self.high_in or not other.high_in)))
        )
        return low and high


def range_of(condition: str) -> Range | None:
    """The range of numbers that a condition such as `0.5 % < E <= 10 %`, `> 800 t/d` or `E = 0.3 %` names, if any."""
    text = condition.casefold().strip()
    if found := _BETWEEN.search(text):
        low, after_low, before_high, high = found.groups()
        return Range(Decimal(low), _BELOW[after_low], Decimal(high), _BELOW[before_high])
    if found := _DASHED.search(text):
        return Range(Decimal(found[1]), True, Decimal(found[2]), False)
    if found := _ONE_SIDED.search(text):
        bound = Decimal(found[2])
        if found[1] in _BELOW:
            return Range(None, False, bound, _BELOW[found[1]])
        return Range(bound, _ABOVE[found[1]], None, False)
    if found := _POINT.search(text):
        return Range(Decimal(found[1]), True, Decimal(found[1]), True)
    return None


def applies(level_condition: str, line_condition: str) -> bool:
    """Whether a level holds for a line: it has no condition, or one that the line's own lies in."""
    if not level_condition:
        return True
    whole, part = range_of(level_condition), range_of(line_condition)
    if whole is not None:
        return part is not None and whole.covers(part)
    return _words(level_condition) == _words(line_condition)


def _words(text: str) -> str:
    return re.sub(r"[\W_]+", " ", text.casefold()).strip()


# Where a line stands --------------------------------------------------------------------------------------------------


class Position(StrEnum):
    """Between the two levels: at the benchmark or better, between them, or worse than the baseline."""

    BETTER = "better-than-benchmark"
    BETWEEN = "between"
    WORSE = "worse-than-baseline"


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a line stands. Quotients are rounded to six decimals, gaps are exact.

    `position_share` is 0 at the benchmark and 1 at the baseline. The gaps are the line's energy less what it would
    have used at the level, in thousandths of the level's energy unit (tce for kgce); below zero it used less.
    """

    unit_energy: Decimal
    ratio_to_benchmark: Decimal | None
    ratio_to_baseline: Decimal | None
    difference_to_benchmark: Decimal | None
    difference_to_baseline: Decimal | None
    position: Position | None
    position_share: Decimal | None
    gap: Decimal | None
    gap_to_baseline: Decimal | None


def standing(energy: Decimal, output: Decimal, benchmark: Decimal | None, baseline: Decimal | None) -> Standing:
    """Where `energy`, in the level's energy unit, for an `output` above 0 stands. Raises ValueError for no output."""
    if output <= 0:
        raise ValueError("energy per unit needs an output above 0")
    at_benchmark, at_baseline = (_at(level, output) for level in (benchmark, baseline))
    return Standing(
        unit_energy=quotient(energy, output),
        ratio_to_benchmark=_ratio(energy, at_benchmark),
        ratio_to_baseline=_ratio(energy, at_baseline),
        difference_to_benchmark=_per_unit(_less(energy, at_benchmark), output),
        difference_to_baseline=_per_unit(_less(energy, at_baseline), output),
        position=_position(energy, at_benchmark, at_baseline),
        position_share=_share(energy, at_benchmark, at_baseline),
        gap=_thousandth(_less(energy, at_benchmark)),
        gap_to_baseline=_thousandth(_less(energy, at_baseline)),
    )


def limit_met(energy: Decimal, output: Decimal, levels: Sequence[Decimal | Fraction | None]) -> int | None:
    """The best of levels 1, 2 and 3 that is kept; 0 when level 3, the legal limit, is not; None without a limit."""
    for number, level in enumerate(levels, start=1):
        if level is not None and Fraction(energy) <= Fraction(level) * Fraction(output):
            return number
    return None if levels[2] is None else 0


def quotient(energy: Decimal, output: Decimal) -> Decimal:
    """Energy per unit, as it is shown."""
    return (energy / output).quantize(SHOWN)


def _at(level: Decimal | None, output: Decimal) -> Decimal | None:
    return None if level is None else EXACT.multiply(level, output)


def _less(energy: Decimal, at: Decimal | None) -> Decimal | None:
    return None if at is None else EXACT.subtract(energy, at)


def _per_unit(energy: Decimal | None, output: Decimal) -> Decimal | None:
    return None if energy is None else quotient(energy, output)


def _thousandth(energy: Decimal | None) -> Decimal | None:
    return None if energy is None else EXACT.multiply(energy, Decimal("0.001"))


def _ratio(energy: Decimal, at: Decimal | None) -> Decimal | None:
    return None if at is None or at <= 0 else quotient(energy, at)


def _position(energy: Decimal, at_benchmark: Decimal | None, at_baseline: Decimal | None) -> Position | None:
    if at_benchmark is None or at_baseline is None:
        return None
    if energy <= at_benchmark:
        return Position.BETTER
    return Position.BETWEEN if energy <= at_baseline else Position.WORSE


def _share(energy: Decimal, at_benchmark: Decimal | None, at_baseline: Decimal | None) -> Decimal | None:
    if at_benchmark is None or at_baseline is None or at_benchmark <= 0 or at_baseline <= at_benchmark:
        return None
    return quotient(energy - at_benchmark, at_baseline - at_benchmark)
