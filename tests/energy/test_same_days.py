"""Days compared with days: weekdays with weekdays, the festival with the festival, holes with what belongs there."""

from __future__ import annotations

import math
from datetime import date, timedelta

import chinese_calendar
import pytest

from energy.same_days import SPRING_FESTIVAL, Day, Moment, days_of, elapsed_of, same_day_before

JUNE = date(2026, 6, 1)
# A new moon, and the mean length of a month between two (Meeus, Astronomical Algorithms, chapter 49).
NEW_MOON, MONTH_DAYS = date(2000, 1, 6), 29.530588861


@pytest.mark.parametrize("year", range(2015, 2051))
def test_every_festival_is_on_a_new_moon_between_the_bounds_of_the_calendar(year: int) -> None:
    day = SPRING_FESTIVAL[year]
    assert date(year, 1, 21) <= day <= date(year, 2, 20)
    moons = ((day - NEW_MOON).days - 0.4) / MONTH_DAYS  # noon of the day in China is 04:00 UTC, the moon was at 18:14
    assert abs(moons - round(moons)) * MONTH_DAYS < 1.3


@pytest.mark.parametrize("year", range(2015, 2027))
def test_the_festivals_that_were_are_those_that_were_announced(year: int) -> None:
    holiday, name = chinese_calendar.get_holiday_detail(SPRING_FESTIVAL[year])
    assert holiday
    assert name == "Spring Festival"


def test_a_day_is_compared_with_the_same_weekday_at_most_three_days_off() -> None:
    for day in (date(2026, 3, 30) + timedelta(days=i) for i in range(250)):
        before = same_day_before(day)
        assert before.weekday() == day.weekday()
        assert abs((before - day.replace(year=2025)).days) <= 3


def test_around_the_festival_a_day_is_compared_with_the_same_distance_from_it() -> None:
    for offset in range(-30, 31):
        day = SPRING_FESTIVAL[2026] + timedelta(days=offset)
        assert same_day_before(day) - SPRING_FESTIVAL[2025] == timedelta(days=offset)


def measured(days: list[date], amount: float = 10.0) -> dict[date, Day]:
    return {day: Day(amount) for day in days}


@pytest.mark.parametrize("hole", [0, 7, 14, 30])
def test_a_hole_is_no_saving(hole: int) -> None:
    days = list(days_of(JUNE))
    before = {same_day_before(day): Day(10.0) for day in days}
    found = elapsed_of(JUNE, measured(days[hole:]), before, Moment(date(2026, 7, 1)))
    assert found.spent == 10.0 * (30 - hole)
    assert found.elapsed == pytest.approx(1)
    assert found.present == pytest.approx(1 - hole / 30)


def test_a_missing_sunday_weighs_what_sundays_weigh() -> None:
    days = list(days_of(JUNE))
    before = {same_day_before(day): Day(1.0 if day.weekday() == 6 else 10.0) for day in days}
    sundays = [day for day in days if day.weekday() == 6]
    found = elapsed_of(JUNE, measured([day for day in days if day not in sundays]), before, Moment(date(2026, 7, 1)))
    assert found.present == pytest.approx(260 / 264)


def test_a_day_half_measured_counts_half() -> None:
    days = measured(list(days_of(JUNE))) | {JUNE: Day(5.0, cover=0.5)}
    found = elapsed_of(JUNE, days, {}, Moment(date(2026, 7, 1)))
    assert found.spent == 295.0
    assert found.present == pytest.approx(29.5 / 30)


def test_of_a_running_month_only_what_is_over_is_owed() -> None:
    days = measured([day for day in days_of(JUNE) if day < date(2026, 6, 11)]) | {date(2026, 6, 11): Day(2.5, 0.25)}
    found = elapsed_of(JUNE, days, {}, Moment(date(2026, 6, 11), 0.25))
    assert found.elapsed == found.present == pytest.approx(10.25 / 30)


def test_with_too_few_days_of_the_year_before_every_day_weighs_alike() -> None:
    days = list(days_of(JUNE))
    few = {same_day_before(day): Day(1000.0) for day in days[:10]}
    found = elapsed_of(JUNE, measured(days[15:]), few, Moment(date(2026, 7, 1)))
    assert found.present == pytest.approx(0.5)
    assert not math.isnan(found.spent)
