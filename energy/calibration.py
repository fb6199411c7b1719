"""Recalibration of the projection on a fleet's own closed years. Pure.

Every closed year is projected as it looked at the end of each of its months, from the years before it alone. How often
the 80 % interval held tells how much wider or narrower it has to be, month by month.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from energy.ordinary_year import MONTHS, MOST_YEARS
from energy.projection import DEFAULT, T80, Calibration, Elapsed, outlook

SITE_YEARS_NEEDED = 100
COVER = 0.80
LEAST_FACTOR, MOST_FACTOR = 0.5, 2.5
"""A fleet is believed to be that much calmer or wilder than fleets in general, and no more."""

Fleet = Mapping[str, Mapping[int, Sequence[float]]]
"""Site → year → its twelve monthly totals."""


@dataclass(frozen=True, slots=True)
class Recalibration:
    """What a fleet's own years say. `cover_before` and `cover_after`: the share of 80 % intervals that held.

    `cover_after` leaves each calendar year out of the calibration it is judged by, so it is what next year may expect.
    With fewer than SITE_YEARS_NEEDED closed years the calibration is the default and both covers are the same.
    """

    calibration: Calibration
    site_years: int
    cover_before: float
    cover_after: float


@dataclass(frozen=True, slots=True)
class _Miss:
    """How far, in spreads of the interval, a year's rest was from what was expected of it after so many months."""

    year: int
    months: int
    spreads: float


def recalibrated(fleet: Fleet, calibration: Calibration = DEFAULT) -> Recalibration:
    """The calibration that suits the fleet, and how well it holds."""
    misses = _misses(fleet, calibration)
    site_years = len(misses) // (MONTHS - 1)
    before = _cover(misses, [1.0] * MONTHS)
    if site_years < SITE_YEARS_NEEDED:
        return Recalibration(calibration, site_years, before, before)
    held = total = 0.0
    for year in sorted({miss.year for miss in misses}):
        own = [miss for miss in misses if miss.year == year]
        held += len(own) * _cover(own, _factors([miss for miss in misses if miss.year != year] or own))
        total += len(own)
    # One year that nobody foresaw moves all sites alike: what other years promised and this one broke is made up for.
    short = max(COVER - held / total, 0.0)
    factors = _factors(misses, COVER + short)
    widened = tuple(interval * factor for interval, factor in zip(calibration.interval, factors, strict=True))
    return Recalibration(replace(calibration, interval=widened), site_years, before, held / total)


def _misses(fleet: Fleet, calibration: Calibration) -> list[_Miss]:
    found = []
    for years in fleet.values():
        for year, months in sorted(years.items()):
            history = _years_before(years, year)
            if not history or len(months) != MONTHS:
                continue
            for gone in range(1, MONTHS):
                seen = outlook(history, [Elapsed(one) for one in months[:gone]], plan=(), calibration=calibration)
                rest, expected = math.fsum(months[gone:]), math.fsum(seen.rest)
                if rest > 0:
                    found.append(_Miss(year, gone, (math.log(rest / expected) - seen.level) / seen.spread))
                else:
                    found.append(_Miss(year, gone, -math.inf))
    return found


def _years_before(years: Mapping[int, Sequence[float]], year: int) -> list[Sequence[float]]:
    """Up to three years without a gap between, newest first."""
    found: list[Sequence[float]] = []
    while len(found) < MOST_YEARS and year - 1 - len(found) in years:
        found.append(years[year - 1 - len(found)])
    return found


def _cover(misses: Sequence[_Miss], factors: Sequence[float]) -> float:
    held = sum(abs(miss.spreads) <= T80 * factors[miss.months] for miss in misses)
    return held / len(misses) if misses else 0.0


def _factors(misses: Sequence[_Miss], cover: float = COVER) -> list[float]:
    """By months gone: what the interval has to be multiplied with to hold for that share, each with its neighbours."""
    found = []
    for months in range(MONTHS):
        near = sorted(abs(miss.spreads) for miss in misses if abs(miss.months - months) <= 1)
        place = min(math.ceil(min(cover, 0.95) * len(near)), len(near)) - 1
        factor = near[place] / T80 if near else 1.0
        found.append(min(max(factor, LEAST_FACTOR), MOST_FACTOR))
    return found
