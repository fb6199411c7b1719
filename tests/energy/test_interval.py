"""Local hours, days, months and years, above all where clocks are changed; and the ends of ranges people write."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energy.interval import (
    DAY_US,
    HOUR_US,
    BadTime,
    Interval,
    Level,
    SiteCalendar,
    TimezoneMissing,
    from_us,
    parse_range_bound,
    to_us,
)

SHANGHAI, BERLIN, NEW_YORK = ZoneInfo("Asia/Shanghai"), ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York")
ZONES = [
    SHANGHAI,
    BERLIN,
    NEW_YORK,
    ZoneInfo("Asia/Kolkata"),  # half an hour beside the full hour
    ZoneInfo("Australia/Lord_Howe"),  # half an hour of summer time
    ZoneInfo("America/Havana"),  # clocks change at midnight
    ZoneInfo("Pacific/Apia"),  # left out 2011-12-30
    ZoneInfo("UTC"),
]


def us(text: str) -> int:
    return to_us(datetime.fromisoformat(text))


def unaware(year: int) -> datetime:
    """The start of a year, nobody knows where."""
    return datetime.fromisoformat(f"{year}-01-01T00:00")


def hours_of(calendar: SiteCalendar, day: date) -> list[float]:
    """How long each hour bucket of a date is, in hours."""
    start_us = parse_range_bound(day.isoformat(), calendar.zone)
    end_us = parse_range_bound((day + timedelta(days=1)).isoformat(), calendar.zone)
    return [(end - start) / HOUR_US for start, end in calendar.buckets(Level.HOUR, start_us, end_us)]


def test_a_day_in_yunfu_has_24_hours_from_local_midnight() -> None:
    calendar = SiteCalendar(SHANGHAI)
    at_us = us("2026-11-23T00:30+08:00")
    assert calendar.bucket_start(Level.DAY, at_us) == us("2026-11-22T16:00+00:00")
    assert hours_of(calendar, date(2026, 11, 23)) == [1.0] * 24
    assert calendar.local_date(at_us) == date(2026, 11, 23)


@pytest.mark.parametrize(
    ("zone", "day", "lengths"),
    [
        (BERLIN, date(2026, 3, 29), [1.0] * 23),
        (BERLIN, date(2026, 10, 25), [1.0] * 25),
        (NEW_YORK, date(2026, 3, 8), [1.0] * 23),
        (NEW_YORK, date(2026, 11, 1), [1.0] * 25),
        (SHANGHAI, date(1991, 4, 14), [1.0] * 23),
        (SHANGHAI, date(1991, 9, 15), [1.0] * 25),
    ],
)
def test_a_skipped_hour_gives_no_bucket_and_a_repeated_one_two(zone: ZoneInfo, day: date, lengths: list[float]) -> None:
    assert hours_of(SiteCalendar(zone), day) == lengths


def test_half_an_hour_of_summer_time_makes_a_short_bucket_where_it_starts_and_ends() -> None:
    """At 2:00 clocks go back to 1:30, so the half hour from there to 2:00 is shown, and counted, once more."""
    calendar = SiteCalendar(ZoneInfo("Australia/Lord_Howe"))
    assert sorted(hours_of(calendar, date(2026, 4, 5))) == [0.5, *[1.0] * 24]
    assert sum(hours_of(calendar, date(2026, 10, 4))) == 23.5


def test_a_midnight_that_clocks_skip_begins_the_day_an_hour_later_on_the_wall() -> None:
    havana = SiteCalendar(ZoneInfo("America/Havana"))
    start_us = havana.bucket_start(Level.DAY, us("2026-03-08T12:00-04:00"))
    assert from_us(start_us, havana.zone).isoformat() == "2026-03-08T01:00:00-04:00"


def test_a_midnight_shown_twice_begins_the_day_the_first_time() -> None:
    havana = SiteCalendar(ZoneInfo("America/Havana"))
    (start, end), *_ = havana.buckets(Level.DAY, us("2026-11-01T12:00-05:00"), us("2026-11-01T13:00-05:00"))
    assert from_us(start, UTC).isoformat() == "2026-11-01T04:00:00+00:00"
    assert end - start == 25 * HOUR_US


def test_a_date_that_was_left_out_has_no_day() -> None:
    apia = SiteCalendar(ZoneInfo("Pacific/Apia"))
    first, second = us("2011-12-29T12:00-10:00"), us("2011-12-31T12:00+14:00")
    days = [apia.local_date(start) for start, _ in apia.buckets(Level.DAY, first, second)]
    assert days == [date(2011, 12, 29), date(2011, 12, 31)]


def test_months_and_years_are_local() -> None:
    calendar = SiteCalendar(SHANGHAI)
    at_us = us("2026-01-01T00:00+08:00")
    assert calendar.bucket_start(Level.YEAR, at_us) == at_us
    assert calendar.bucket_end(Level.YEAR, at_us - 1) == at_us
    assert calendar.bucket_end(Level.MONTH, at_us) == us("2026-02-01T00:00+08:00")
    assert calendar.bucket_end(Level.YEAR, at_us) - at_us == 365 * DAY_US


@given(
    st.sampled_from(ZONES),
    st.sampled_from(Level),
    st.integers(us("1985-01-01T00:00+00:00"), us("2036-01-01T00:00+00:00")),
    st.integers(0, 40 * DAY_US),
)
@settings(max_examples=150, deadline=None)
def test_buckets_cover_the_range_without_a_gap_and_none_is_empty(
    zone: ZoneInfo, level: Level, start_us: int, length_us: int
) -> None:
    calendar = SiteCalendar(zone)
    edges = calendar.edges_us(level, start_us, start_us + length_us)
    assert edges[0] <= start_us
    assert edges[-1] >= start_us + length_us
    assert (np.diff(edges) > 0).all()
    for edge in edges[:-1].tolist():
        assert calendar.bucket_start(level, edge) == edge
        assert calendar.bucket_start(level, calendar.bucket_end(level, edge) - 1) == edge


@given(st.sampled_from(ZONES), st.integers(us("1985-01-01T00:00+00:00"), us("2036-01-01T00:00+00:00")))
@settings(max_examples=100, deadline=None)
def test_longer_buckets_are_made_of_whole_shorter_ones(zone: ZoneInfo, at_us: int) -> None:
    calendar = SiteCalendar(zone)
    for shorter, longer in ((Level.HOUR, Level.DAY), (Level.DAY, Level.MONTH), (Level.MONTH, Level.YEAR)):
        for edge in (calendar.bucket_start(longer, at_us), calendar.bucket_end(longer, at_us)):
            assert calendar.bucket_start(shorter, edge) == edge


def test_hours_of_a_range_that_runs_backwards_are_refused() -> None:
    for level in Level:
        with pytest.raises(ValueError, match="before it starts"):
            SiteCalendar(SHANGHAI).edges_us(level, DAY_US, 0)


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026", "2026-01-01T00:00+08:00"),
        ("2026-11", "2026-11-01T00:00+08:00"),
        ("2026-11-23", "2026-11-23T00:00+08:00"),
        ("2026-11-23T08:15:00Z", "2026-11-23T08:15:00+00:00"),
        ("2026-11-23t08:15:00.5+08:00", "2026-11-23T00:15:00.500000+00:00"),
        ("2026-11-23 08:15:00.1234567-03:30", "2026-11-23T11:45:00.123456+00:00"),
    ],
)
def test_the_end_of_a_range(text: str, instant: str) -> None:
    assert parse_range_bound(text, SHANGHAI) == us(instant)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "26",
        "2026-1",
        "2026-13",
        "2026-02-30",
        "2026-11-23T08:15Z",
        "2026-11-23T24:00:00Z",
        "2026-11-23T08:15:00+25:00",
        "1899",
        "9999-12-31",
        "2026-11-23T08:15:00 Z",
        "２０２６",
    ],
)
def test_what_is_no_end_of_a_range_is_named(text: str) -> None:
    with pytest.raises(BadTime) as refused:
        parse_range_bound(text, SHANGHAI)
    assert refused.value.text == text
    assert not isinstance(refused.value, TimezoneMissing)


def test_a_time_of_day_without_an_offset_is_refused_as_such() -> None:
    with pytest.raises(TimezoneMissing, match="offset"):
        parse_range_bound("2026-11-23T08:15:00", SHANGHAI)


@given(st.datetimes(unaware(1900), unaware(2200), timezones=st.sampled_from(ZONES)))
def test_times_survive_the_way_to_microseconds_and_back(at: datetime) -> None:
    assert isinstance(at.tzinfo, ZoneInfo)
    # Both as UTC: a time in an hour shown twice equals no time of another zone (PEP 495).
    assert from_us(to_us(at), at.tzinfo).astimezone(UTC) == at.astimezone(UTC)


def test_an_interval_is_aware_and_does_not_run_backwards() -> None:
    one = Interval.of_us(0, HOUR_US, timezone(timedelta(hours=8)))
    assert (one.start_us, one.end_us, one.start.isoformat()) == (0, HOUR_US, "1970-01-01T08:00:00+08:00")
    with pytest.raises(ValueError, match="cannot end"):
        Interval(one.end, one.start)
    with pytest.raises(ValueError, match="offset"):
        Interval(unaware(2026), unaware(2027))
    with pytest.raises(ValueError, match="offset"):
        to_us(unaware(2026))
