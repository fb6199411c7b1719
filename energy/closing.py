"""When a month is closed: on a set day of the month after it, at local midnight. Pure."""

from __future__ import annotations

from datetime import datetime

from energy.interval import Level, SiteCalendar, from_us, to_us

FIRST_DAY, LAST_DAY = 1, 28
"""Every month has these days."""


def closes_us(calendar: SiteCalendar, month_start_us: int, day: int) -> int:
    """The instant from which the month that starts there is closed: what changes it then is a restatement.

    `day`, 1 to 28, is of the following month. Raises ValueError for another.
    """
    if not FIRST_DAY <= day <= LAST_DAY:
        raise ValueError(f"a month is closed on a day from {FIRST_DAY} to {LAST_DAY}, not {day}")
    following = from_us(calendar.bucket_end(Level.MONTH, month_start_us), calendar.zone)
    midnight = datetime(following.year, following.month, day, tzinfo=calendar.zone)
    return calendar.bucket_start(Level.DAY, to_us(midnight))


def last_closed_us(calendar: SiteCalendar, at_us: int, day: int) -> int:
    """The start of the youngest month that is closed at an instant."""
    month_us = calendar.bucket_start(Level.MONTH, at_us)
    while closes_us(calendar, month_us, day) > at_us:
        month_us = calendar.bucket_start(Level.MONTH, month_us - 1)
    return month_us
