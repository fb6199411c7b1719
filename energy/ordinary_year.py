"""What the months of a site ordinarily take: its last year's total, spread over the months as in its last years. Pure.

What cannot be compared is put right first: months that were not measured, months in which a plant did not run yet or
stood still once, Februaries of another length, and a plant that now runs at quite another level.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

MONTHS = 12
MOST_YEARS = 3
MONTHS_NEEDED = 6
"""A year with fewer measured months says nothing about its total."""
DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
LEAST = 0.01
"""No month is expected to take less than this share of an average one: a plant that rests may run."""
STOOD_STILL = 0.02
"""A month below this share of its year's average month is one without work."""
OTHER_LEVEL = 0.5
"""Three months in a row that are all off by more than this log ratio, to the same side, are another level."""
LEVEL_MONTHS = 3
LOWEST_LEVEL, HIGHEST_LEVEL = math.log(0.02), math.log(50)

Year = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Ordinary:
    """Twelve months of an ordinary year, all above zero.

    `years`: the earlier years it was made of, newest first, as if the plant had worked all along. `resting`: months in
    which it does not work in any year; they stand with the least there is. `relevelled`: earlier years had quite
    another level.
    """

    months: Year
    years: tuple[Year, ...] = ()
    resting: frozenset[int] = frozenset()
    relevelled: bool = False


def usable_years(history: Sequence[Sequence[float]], year: int | None = None) -> list[Year]:
    """The earlier years, newest first, with every month filled in; NaN in, no NaN out.

    A year with fewer than six measured months, or without any consumption, is left out. With `year`, the year that
    follows the newest one, Februaries get its length. Raises ValueError for a year that has not 12 months.
    """
    for one in history:
        if len(one) != MONTHS:
            raise ValueError(f"a year of history has 12 months, not {len(one)}")
    years = [list(one) for one in history]
    if year is not None:
        for back, months in enumerate(years, start=1):
            months[1] *= _february(year) / _february(year - back)
    gaps = [[math.isnan(one) for one in months] for months in years]
    kept = [i for i, gap in enumerate(gaps) if gap.count(False) >= MONTHS_NEEDED and _known_sum(years[i]) > 0]
    return [_filled(years, i, kept) for i in kept]


def _february(year: int) -> int:
    return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28


def _known_sum(months: Sequence[float]) -> float:
    return math.fsum(one for one in months if not math.isnan(one))


def _filled(years: Sequence[Sequence[float]], index: int, kept: Sequence[int]) -> Year:
    """One year with its gaps put in as other years had them, or by the days of the calendar."""
    months = years[index]
    known = [i for i in range(MONTHS) if not math.isnan(months[i])]
    if len(known) == MONTHS:
        return tuple(months)
    others = [years[other] for other in kept if other != index]
    shape = [_shape(month, known, others) for month in range(MONTHS)]
    scale = math.fsum(months[i] for i in known) / math.fsum(shape[i] for i in known)
    return tuple(shape[i] * scale if math.isnan(months[i]) else months[i] for i in range(MONTHS))


def _shape(month: int, known: Sequence[int], others: Sequence[Sequence[float]]) -> float:
    """What a month takes beside the known ones: a mean over the other years that have it, else its days."""
    found = []
    for other in others:
        total = math.fsum(other[i] for i in known)  # NaN as soon as one of them is
        if total > 0 and not math.isnan(other[month]):
            found.append(other[month] / total)
    days = DAYS[month] / sum(DAYS[i] for i in known)
    return math.fsum(found) / len(found) if found else days


def ordinary_year(years: Sequence[Year], plan: Sequence[float], measured: Sequence[float]) -> Ordinary:
    """An ordinary year from `usable_years`, or the plan without any.

    `measured`: this year's whole months; NaN where one was not measured whole.
    """
    if not years:
        return Ordinary(tuple(max(one, LEAST * math.fsum(plan) / MONTHS) for one in plan))
    running = [_running(years, i, measured) for i in range(len(years))]
    totals = [math.fsum(year) for year in running]
    shares = [
        math.fsum(year[i] / total for year, total in zip(running, totals, strict=True)) / len(running)
        for i in range(MONTHS)
    ]
    floor = LEAST * totals[0] / MONTHS
    months = [max(share * totals[0], floor) for share in shares]
    resting = frozenset(i for i, share in enumerate(shares) if share * totals[0] <= floor)
    shift = _other_level(months, measured, resting)
    scale = math.exp(shift)
    return Ordinary(tuple(one * scale for one in months), tuple(running), resting, shift != 0)


def _running(years: Sequence[Year], index: int, measured: Sequence[float]) -> Year:
    """A year as if its plant had worked all along.

    A month without work counts as such only when another year, this one included, had none in it either.
    """
    year = years[index]
    if not _still(year):
        return year
    others = [list(one) for i, one in enumerate(years) if i != index] + [list(measured)]
    still = {month for month in _still(year) if not any(month in _still(other) for other in others)}
    if len(years) == 1:
        still -= _rest(_still(year), measured)
    if not still or len(still) > MONTHS - LEVEL_MONTHS:
        return year
    working = [i for i in range(MONTHS) if i not in still]
    named = [one for i, one in enumerate(years) if i != index]
    total = math.fsum(year[i] for i in working)
    return tuple(total * _shape(i, working, named) if i in still else year[i] for i in range(MONTHS))


def _still(year: Sequence[float]) -> set[int]:
    known = [one for one in year if not math.isnan(one)]
    limit = STOOD_STILL * math.fsum(known) / len(known) if known else 0.0
    return {i for i, one in enumerate(year) if one <= limit}


def _rest(still: set[int], measured: Sequence[float]) -> set[int]:
    """Months of the only earlier year in which its plant, as far as one can tell, rests each year.

    Two months in a row or more are a season and a single one is an accident, until this year was worked in one of them:
    then the plant had not begun, or stood still.
    """
    working = {i for i, one in enumerate(measured) if not math.isnan(one)} - _still(measured)
    return {month for run in _runs(still) if len(run) > 1 and not run & working for month in run}


def _runs(months: set[int]) -> list[set[int]]:
    """Months that follow each other, December and January among them."""
    found: list[set[int]] = []
    for month in sorted(months):
        if found and month - 1 in found[-1]:
            found[-1].add(month)
        else:
            found.append({month})
    if len(found) > 1 and 0 in found[0] and MONTHS - 1 in found[-1]:
        found[0] |= found.pop()
    return found


def _other_level(months: Sequence[float], measured: Sequence[float], resting: frozenset[int]) -> float:
    """The log of how far off this year's level is; 0 unless its last three whole months agree that it is."""
    pairs = [
        (one, base)
        for i, (one, base) in enumerate(zip(measured, months, strict=False))
        if i not in resting and not math.isnan(one)
    ]
    logs = [math.log(max(one / base, math.exp(LOWEST_LEVEL))) for one, base in pairs[-LEVEL_MONTHS:]]
    if len(logs) < LEVEL_MONTHS or not (min(logs) > OTHER_LEVEL or max(logs) < -OTHER_LEVEL):
        return 0.0
    return min(max(median(logs), LOWEST_LEVEL), HIGHEST_LEVEL)
