"""Half-open intervals, and the local hours, days, months and years of a site.

Inside, a time is a whole number of microseconds since 1970-01-01 UTC (`_us`). What a clock on the wall shows comes
in only here. An hour bucket ends at the next full local hour or where the zone changes its offset, whichever is
first: a repeated local hour gives two buckets, a skipped one none, and every longer bucket is made of whole hours.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from enum import StrEnum
from functools import lru_cache
from itertools import pairwise
from typing import Self
from zoneinfo import ZoneInfo

import numpy as np

from energy.reading import Int64s

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_PROBE_US = 3 * HOUR_US  # no zone has changed its offset twice within three hours


class BadTime(ValueError):
    """A text that is no time we take. Attribute: text."""

    def __init__(self, text: str, why: str) -> None:
        self.text = text
        super().__init__(f"{text!r}: {why}")


class TimezoneMissing(BadTime):
    """A date with a time of day, but without an offset from UTC."""

    def __init__(self, text: str) -> None:
        super().__init__(text, "a time of day needs an offset, such as +08:00 or Z")


class Level(StrEnum):
    """The lengths of bucket that figures are kept for."""

    HOUR = "PT1H"
    DAY = "P1D"
    MONTH = "P1M"
    YEAR = "P1Y"


def to_us(at: datetime) -> int:
    """Microseconds since 1970 UTC of an aware time, exact. Raises ValueError for one without an offset."""
    if at.utcoffset() is None:
        raise ValueError(f"{at.isoformat()} has no UTC offset")
    return (at - _EPOCH) // _MICROSECOND


def from_us(at_us: int, zone: ZoneInfo | timezone = UTC) -> datetime:
    """The aware time of that many microseconds, as clocks in the zone show it."""
    return (_EPOCH + timedelta(microseconds=at_us)).astimezone(zone)


@dataclass(frozen=True, slots=True)
class Interval:
    """Time from `start` up to, and without, `end`. Both are aware; end is not before start."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start.utcoffset() is None or self.end.utcoffset() is None:
            raise ValueError("an interval needs times with a UTC offset")
        if self.end_us < self.start_us:
            raise ValueError(f"an interval cannot end ({self.end}) before it starts ({self.start})")

    @classmethod
    def of_us(cls, start_us: int, end_us: int, zone: ZoneInfo | timezone = UTC) -> Self:
        return cls(from_us(start_us, zone), from_us(end_us, zone))

    @property
    def start_us(self) -> int:
        return to_us(self.start)

    @property
    def end_us(self) -> int:
        return to_us(self.end)


@dataclass(frozen=True, slots=True)
class SiteCalendar:
    """The local hours, days, months and years of one time zone, as instants."""

    zone: ZoneInfo

    def hour_edges_us(self, start_us: int, end_us: int) -> Int64s:
        """Ascending edges of the local hours from the one that contains start to the one that reaches end.

        The first edge is at or before start, the last at or after end. Raises ValueError if end is before start.
        """
        if end_us < start_us:
            raise ValueError("a range cannot end before it starts")
        low, high = start_us - 2 * HOUR_US, end_us + 2 * HOUR_US
        turns = self._turns_us(low, high)
        stretches = [
            self._full_hours_us(begin, end) for begin, end in zip([low, *turns], [*turns, high + 1], strict=True)
        ]
        edges = np.unique(np.concatenate([*stretches, np.array(turns, np.int64)]))
        first = int(np.searchsorted(edges, start_us, side="right")) - 1
        last = int(np.searchsorted(edges, end_us, side="left"))
        return edges[first : last + 1]

    def bucket_start(self, level: Level, at_us: int) -> int:
        """Where the bucket that contains the instant starts."""
        if level is Level.HOUR:
            return _hour_start_us(self, at_us)
        day = self.local_date(at_us)
        following = self.date_start_us(_next_of(level, day))
        # Where clocks go back over midnight, the new day has begun although they show the old one again.
        return following if following <= at_us else self.date_start_us(_first_of(level, day))

    def bucket_end(self, level: Level, at_us: int) -> int:
        """Where the bucket that contains the instant ends; always later than the instant."""
        if level is Level.HOUR:
            return int(self.hour_edges_us(at_us, at_us + 1)[-1])
        day = _first_of(level, self.local_date(at_us))
        while True:  # once; twice where clocks go back over midnight or a date is left out
            day = _next_of(level, day)
            end_us = self.date_start_us(day)
            if end_us > at_us:
                return end_us

    def edges_us(self, level: Level, start_us: int, end_us: int) -> Int64s:
        """Ascending edges of the buckets from the one that contains start to the one that reaches end."""
        if level is Level.HOUR:
            return self.hour_edges_us(start_us, end_us)
        if end_us < start_us:
            raise ValueError("a range cannot end before it starts")
        first, last = self.local_date(start_us).year, self.local_date(end_us).year
        # With the years beside them: where clocks go back over midnight, a year may begin before they show it for good.
        edges = np.unique(np.concatenate([_edges_of_year(self, level, year) for year in range(first - 1, last + 2)]))
        begins = int(np.searchsorted(edges, start_us, side="right")) - 1
        return edges[begins : int(np.searchsorted(edges, end_us)) + 1]

    def buckets(self, level: Level, start_us: int, end_us: int) -> list[tuple[int, int]]:
        """The buckets, as (start, end), that cover the range; none of them empty."""
        edges = self.edges_us(level, start_us, end_us).tolist()
        return list(pairwise(edges))

    def local_date(self, at_us: int) -> date:
        """The date a calendar on the wall shows at the instant."""
        return from_us(at_us, self.zone).date()

    def _full_hours_us(self, begin_us: int, end_us: int) -> Int64s:
        """The instants in [begin, end), between two changes of offset, at which local clocks show a full hour."""
        offset_us = _offset_us(self.zone, begin_us)
        first = -(-(begin_us + offset_us) // HOUR_US) * HOUR_US - offset_us
        return np.arange(first, end_us, HOUR_US, dtype=np.int64)

    def _turns_us(self, low_us: int, high_us: int) -> list[int]:
        """The instants in (low, high] from which the zone has another offset than just before."""
        years = range(from_us(low_us).year, from_us(high_us).year + 1)
        return [turn for year in years for turn in _turns_of_year(self.zone, year) if low_us < turn <= high_us]

    def date_start_us(self, day: date) -> int:
        """The first instant of a local date; for a date left out, the instant the next one begins."""
        # fold=0 names the earlier of two midnights and, where midnight is skipped, counts with the old offset.
        start_us = to_us(datetime(day.year, day.month, day.day, tzinfo=self.zone))
        turn = max(self._turns_us(start_us - DAY_US, start_us), default=None)
        if turn is not None and self.local_date(turn) >= day and self.local_date(turn - 1) < day:
            return turn
        return start_us


def parse_range_bound(text: str, zone: ZoneInfo) -> int:
    """The instant, in microseconds, that one end of a range names.

    Taken: RFC 3339 with an offset; a bare year, month or day (`2026`, `2026-11`, `2026-11-23`), which is its local
    start. Raises TimezoneMissing for a time of day without an offset, and BadTime for anything else.
    """
    bare = _BARE.fullmatch(text)
    if bare is not None:
        year, month, day = (int(part or 1) for part in bare.groups())
        return _bound_us(text, lambda: SiteCalendar(zone).date_start_us(date(year, month, day)))
    stamp = _RFC3339.fullmatch(text)
    if stamp is None:
        raise BadTime(text, "not an RFC 3339 time, nor a year, a month or a day such as 2026-11-23")
    if stamp["offset"] is None:
        raise TimezoneMissing(text)
    # Digits past the microsecond are cut: the clocks of meters do not go that far.
    fraction = (stamp["fraction"] or "")[:6]
    iso = f"{stamp['day']}T{stamp['time']}.{fraction:0<6}{stamp['offset'].upper()}"
    return _bound_us(text, lambda: to_us(datetime.fromisoformat(iso)))


_BARE = re.compile(r"([0-9]{4})(?:-([0-9]{2})(?:-([0-9]{2}))?)?")
_RFC3339 = re.compile(
    r"(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ](?P<time>[0-9]{2}:[0-9]{2}:[0-9]{2})"
    r"(?:\.(?P<fraction>[0-9]{1,12}))?(?P<offset>[Zz]|[+-][0-9]{2}:[0-9]{2})?"
)
_YEARS = range(1900, 2201)


def _bound_us(text: str, instant: Callable[[], int]) -> int:
    """The instant, if the calendar has it and it lies in a year meters can have seen."""
    if int(text[:4]) not in _YEARS:
        raise BadTime(text, f"the year must be from {_YEARS[0]} to {_YEARS[-1]}")
    try:
        return instant()
    except ValueError as wrong:
        raise BadTime(text, str(wrong)) from wrong


def _first_of(level: Level, day: date) -> date:
    """The first date of the day, month or year the date lies in."""
    if level is Level.YEAR:
        return day.replace(month=1, day=1)
    return day.replace(day=1) if level is Level.MONTH else day


def _next_of(level: Level, day: date) -> date:
    """The first date of the following day, month or year."""
    if level is Level.YEAR:
        return date(day.year + 1, 1, 1)
    if level is Level.MONTH:
        return date(day.year + day.month // 12, day.month % 12 + 1, 1)
    return day + timedelta(days=1)


@lru_cache(maxsize=4096)
def _hour_start_us(calendar: SiteCalendar, at_us: int) -> int:
    """Kept, because meters are read all at the same times."""
    return int(calendar.hour_edges_us(at_us, at_us)[0])


def _offset_us(zone: ZoneInfo, at_us: int) -> int:
    offset = from_us(at_us, zone).utcoffset()
    assert offset is not None  # a ZoneInfo always knows
    return offset // _MICROSECOND


@lru_cache(maxsize=4096)
def _edges_of_year(calendar: SiteCalendar, level: Level, year: int) -> Int64s:
    """Where the days, months or the whole of a local year begin, and where the last of them ends."""
    edges, end_us = [calendar.date_start_us(date(year, 1, 1))], calendar.date_start_us(date(year + 1, 1, 1))
    while edges[-1] < end_us:
        edges.append(calendar.bucket_end(level, edges[-1]))
    kept = np.array(edges, np.int64)
    kept.setflags(write=False)
    return kept


@lru_cache(maxsize=4096)
def _turns_of_year(zone: ZoneInfo, year: int) -> tuple[int, ...]:
    """The instants of a UTC year from which the zone's offset is another one, ascending.

    The zone's own table of them is not public, so it is probed and each change is then closed in on.
    """
    begin, end = (to_us(datetime(y, 1, 1, tzinfo=UTC)) for y in (year, year + 1))
    probes = [*range(begin - _PROBE_US, end, _PROBE_US), end]
    offsets = [_offset_us(zone, at) for at in probes]
    found = [
        _turn_between(zone, probes[i], probes[i + 1]) for i in range(len(probes) - 1) if offsets[i] != offsets[i + 1]
    ]
    return tuple(turn for turn in found if begin <= turn < end)


def _turn_between(zone: ZoneInfo, before_us: int, after_us: int) -> int:
    """The first instant with the offset of `after`, to the second that zones are defined in."""
    old = _offset_us(zone, before_us)
    low, high = before_us // 1_000_000, after_us // 1_000_000
    while high - low > 1:
        middle = (low + high) // 2
        if _offset_us(zone, middle * 1_000_000) == old:
            low = middle
        else:
            high = middle
    return high * 1_000_000
