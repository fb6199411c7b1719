"""Which day of the year before a day is compared with, and for how much of a month the measured days stand. Pure.

A Monday is compared with a Monday, at most three days off the date. Around Spring Festival a day is compared with the
one at the same distance from the festival: it moves by up to a month, and with it the lowest weeks of industry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache

from energy.projection import Elapsed

FESTIVAL_WINDOW = timedelta(days=30)
KNOWN_DAYS = 2 / 3
"""With fewer days of the year before than this share, a month's days are weighed alike."""
# First day of the first month of the Chinese calendar (GB/T 33661-2017), as its published tables have it.
FESTIVAL_DATES = """
2015-02-19 2016-02-08 2017-01-28 2018-02-16 2019-02-05 2020-01-25 2021-02-12 2022-02-01 2023-01-22 2024-02-10
2025-01-29 2026-02-17 2027-02-06 2028-01-26 2029-02-13 2030-02-03 2031-01-23 2032-02-11 2033-01-31 2034-02-19
2035-02-08 2036-01-28 2037-02-15 2038-02-04 2039-01-24 2040-02-12 2041-02-01 2042-01-22 2043-02-10 2044-01-30
2045-02-17 2046-02-06 2047-01-26 2048-02-14 2049-02-02 2050-01-23
"""
SPRING_FESTIVAL = {day.year: day for day in map(date.fromisoformat, FESTIVAL_DATES.split())}


@dataclass(frozen=True, slots=True)
class Day:
    """What was measured on a day, and for which share of it, 0 to 1, that stands."""

    spent: float
    cover: float = 1.0


@lru_cache(maxsize=4096)
def same_day_before(day: date) -> date:
    """The day of the year before that this day is compared with."""
    festival, before = SPRING_FESTIVAL.get(day.year), SPRING_FESTIVAL.get(day.year - 1)
    if festival is not None and before is not None and abs(day - festival) <= FESTIVAL_WINDOW:
        return before + (day - festival)
    return day - timedelta(days=364)


@lru_cache(maxsize=4096)
def days_of(month: date) -> tuple[date, ...]:
    """Every day of the month that starts on this date."""
    following = (month + timedelta(days=31)).replace(day=1)
    return tuple(month + timedelta(days=i) for i in range((following - month).days))


@dataclass(frozen=True, slots=True)
class Moment:
    """A local day and how much of it, 0 up to 1, is over."""

    day: date
    share: float = 0.0

    def over(self, day: date) -> float:
        """How much of a day is over."""
        return 1.0 if day < self.day else self.share if day == self.day else 0.0


def elapsed_of(month: date, days: Mapping[date, Day], before: Mapping[date, Day], as_of: Moment) -> Elapsed:
    """The month's measured sum, and for how much of the month it stands by the same days of the year before.

    Where the year before is not known day by day, every day counts alike.
    """
    weight = weights_of(month, before)
    total = sum(weight.values())
    over = {day: as_of.over(day) for day in weight if as_of.over(day) > 0}
    measured = [(day, days[day]) for day in over if day in days]
    return Elapsed(
        spent=sum(one.spent for _, one in measured),
        present=sum(weight[day] * min(one.cover, over[day]) for day, one in measured) / total,
        elapsed=sum(weight[day] * share for day, share in over.items()) / total,
    )


def weights_of(month: date, before: Mapping[date, Day]) -> dict[date, float]:
    """What each day of the month usually takes, by its day of the year before; all alike when too few are known."""
    found = {day: before.get(same_day_before(day)) for day in days_of(month)}
    known = {
        day: one.spent / one.cover
        for day, one in found.items()
        if one is not None and one.cover > 0.5 and one.spent > 0
    }
    if len(known) < KNOWN_DAYS * len(found):
        return dict.fromkeys(found, 1.0)
    mean = sum(known.values()) / len(known)
    return {day: known.get(day, mean) for day in found}
