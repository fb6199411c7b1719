"""Corrections that a standard makes to its own limits for a line's circumstances: altitude, clinker share, feed grade.

A correction is dated data: how much each of the three levels changes for a point of one attribute, or by how much it is
multiplied. All of it is exact, in fractions; only what is shown is rounded. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from types import MappingProxyType

Three = tuple[Fraction | None, Fraction | None, Fraction | None]
"""Levels 1, 2 and 3 of a legal limit; None: the standard gives none."""


class Attribute(StrEnum):
    """What may be said of a line beside its condition. The last four are yes or no."""

    ALTITUDE_M = "altitude_m"
    PRESSURE_PA = "pressure_pa"
    CLINKER_PERCENT = "clinker_percent"
    FEED_GRADE_PERCENT = "feed_grade_percent"
    HOT_METAL_PERCENT = "hot_metal_percent"
    WET_QUENCHING = "wet_quenching"
    OLEUM_20 = "oleum_20"
    SUN_DRIED_SALT = "sun_dried_salt"
    STAINLESS = "stainless"


Attributes = Mapping[Attribute, Decimal | bool]
NONE_SAID: Attributes = MappingProxyType({})


class How(StrEnum):
    """Whether a correction is added to a level or multiplies it."""

    ADD = "add"
    TIMES = "times"


class Side(StrEnum):
    """On which side of `base` an attribute counts."""

    BOTH = "both"
    BELOW = "below"
    ABOVE = "above"


@dataclass(frozen=True, slots=True)
class Correction:
    """For each point of an attribute away from `base`, `most` at most, `amounts` of levels 1, 2, 3 (None: untouched).

    A point is `unit` of the attribute. ADD: the level plus amount x points; TIMES: the level x (constant + amount x
    points). It holds only where `needs` is above `needs_above`. A yes is one point, a no makes no correction.
    """

    attribute: Attribute
    how: How
    side: Side
    base: Decimal
    unit: Decimal
    most: Decimal | None
    constant: Decimal
    needs: Attribute | None
    needs_above: Decimal | None
    amounts: tuple[Decimal | None, Decimal | None, Decimal | None]
    source: str
    verified: bool

    def points(self, said: Attributes) -> Fraction | None:
        """How many points the line is away, or None where the correction does not hold for it."""
        value = said.get(self.attribute)
        if value is None or value is False or not self._holds(said):
            return None
        away = (Fraction(value) - Fraction(self.base)) / Fraction(self.unit)
        if self.side is Side.BELOW:
            away = max(-away, Fraction(0))
        elif self.side is Side.ABOVE:
            away = max(away, Fraction(0))
        return away if self.most is None else min(away, Fraction(self.most))

    def _holds(self, said: Attributes) -> bool:
        if self.needs is None or self.needs_above is None:
            return True
        value = said.get(self.needs)
        return value is not None and value > self.needs_above


@dataclass(frozen=True, slots=True)
class Applied:
    """One correction as it was made. `changes` are what was added to, or multiplied with, levels 1, 2 and 3."""

    correction: Correction
    value: Decimal | bool
    changes: Three


@dataclass(frozen=True, slots=True)
class Corrected:
    """The limits as they hold for a line, and what was done to them."""

    limits: Three
    applied: tuple[Applied, ...]
    reasons: tuple[str, ...]


def correct(limits: Sequence[Decimal | None], corrections: Sequence[Correction], said: Attributes) -> Corrected:
    """The limits for a line of which this is said.

    Where additions and factors meet, their order is not known: then none is made, and that is said.
    """
    applied = [one for correction in corrections if (one := _applied(correction, said)) is not None]
    if len({one.correction.how for one in applied}) > 1:
        return Corrected(_three([_exact(one) for one in limits]), (), ("limit-corrections-without-order",))
    found = [_exact(one) for one in limits]
    for one in applied:
        found = [_changed(level, change, one.correction.how) for level, change in zip(found, one.changes, strict=True)]
    return Corrected(_three(found), tuple(applied), ())


def _applied(correction: Correction, said: Attributes) -> Applied | None:
    points = correction.points(said)
    if points is None or (correction.how is How.ADD and points == 0):
        return None
    constant = Fraction(correction.constant)
    changes = [
        None
        if amount is None
        else constant + Fraction(amount) * points
        if correction.how is How.TIMES
        else Fraction(amount) * points
        for amount in correction.amounts
    ]
    return Applied(correction, said[correction.attribute], _three(changes))


def _changed(level: Fraction | None, change: Fraction | None, how: How) -> Fraction | None:
    if level is None or change is None:
        return level
    return level * change if how is How.TIMES else level + change


def _exact(value: Decimal | None) -> Fraction | None:
    return None if value is None else Fraction(value)


def _three(values: Sequence[Fraction | None]) -> Three:
    first, second, third = values
    return first, second, third
