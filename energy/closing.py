"""When a month is closed: on a set day of the month after it, at local midnight. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from energy.interval import Level, SiteCalendar, from_us, to_us

FIRST_DAY, LAST_DAY = 1, 28
"""Every month has these days."""


@dataclass(frozen=True, slots=True)
class ClosingDays:
    """On which day of the next each month is closed.

    `dated` are (region, first month, day) of a region and those around it; of those that have begun the innermost
    region's youngest holds, and without any `otherwise`.
    """

    otherwise: int
    dated: tuple[tuple[str, date, int], ...] = ()

    def day_of(self, month: date) -> int:
        begun = [one for one in self.dated if one[1] <= month]
        return max(begun, key=lambda one: (len(one[0]), one[1]))[2] if begun else self.otherwise

    def closes_us(self, calendar: SiteCalendar, month_start_us: int) -> int:
        """The instant from which the month that starts there is closed."""
        return closes_us(calendar, month_start_us, self.day_of(calendar.local_date(month_start_us)))

    def last_closed_us(self, calendar: SiteCalendar, at_us: int) -> int:
        """The start of the youngest month that is closed at an instant."""
        month_us = calendar.bucket_start(Level.MONTH, at_us)
        while self.closes_us(calendar, month_us) > at_us:
            month_us = calendar.bucket_start(Level.MONTH, month_us - 1)
        return month_us

    def open_from_us(self, calendar: SiteCalendar, at_us: int) -> int:
        """The start of the first month that is not closed at an instant."""
        return calendar.bucket_end(Level.MONTH, self.last_closed_us(calendar, at_us))


def closes_us(calendar: SiteCalendar, month_start_us: int, day: int) -> int:
    """The instant from which the month that starts there is closed: what changes it then is a restatement.

    `day`, 1 to 28, is of the following month. Raises ValueError for another.
    """
    if not FIRST_DAY <= day <= LAST_DAY:
        raise ValueError(f"a month is closed on a day from {FIRST_DAY} to {LAST_DAY}, not {day}")
    following = from_us(calendar.bucket_end(Level.MONTH, month_start_us), calendar.zone)
    midnight = datetime(following.year, following.month, day, tzinfo=calendar.zone)
    return calendar.bucket_start(Level.DAY, to_us(midnight))
