"""Local time, sun and holidays of Yunfu, as arrays over quarter hours."""

from dataclasses import dataclass
from datetime import date
from functools import lru_cache

import numpy as np

from simulators.noise import Floats, Ints

SLOT_S = 900
SLOT_US = SLOT_S * 1_000_000
SLOTS_PER_DAY = 96
LOCAL_SHIFT_SLOTS = 32  # China keeps UTC+8 all year, no daylight saving since 1991
LATITUDE_DEG = 22.9
LONGITUDE_DEG = 112.0

# First day of the lunar year (the State Council's holiday is around it).
SPRING_FESTIVAL: dict[int, date] = {
    2020: date(2020, 1, 25),
    2021: date(2021, 2, 12),
    2022: date(2022, 2, 1),
    2023: date(2023, 1, 22),
    2024: date(2024, 2, 10),
    2025: date(2025, 1, 29),
    2026: date(2026, 2, 17),
    2027: date(2027, 2, 6),
    2028: date(2028, 1, 26),
    2029: date(2029, 2, 13),
    2030: date(2030, 2, 3),
}
EPOCH_ORDINAL = date(1970, 1, 1).toordinal()


@dataclass(frozen=True, slots=True)
class LocalTime:
    """Where each quarter hour lies: all arrays have the length of `slot`."""

    slot: Ints  # quarter hours since 1970 UTC
    day: Ints  # local days since 1970-01-01
    hour: Floats  # local hour of the middle of the quarter, 0..24
    weekday: Ints  # 0 Monday .. 6 Sunday
    day_of_year: Floats  # 0..366


def local_time(slot: Ints) -> LocalTime:
    """Calendar facts of quarter hours given as slots since 1970 UTC."""
    local = slot + LOCAL_SHIFT_SLOTS
    day = local // SLOTS_PER_DAY
    hour = (local - day * SLOTS_PER_DAY) / 4.0 + 0.125
    year_start = day.astype("datetime64[D]").astype("datetime64[Y]").astype("datetime64[D]").astype(np.int64)
    return LocalTime(slot, day, hour, (day + 3) % 7, (day - year_start).astype(np.float64))


@lru_cache(maxsize=64)
def festival_day(year: int) -> int:
    """Local day number (since 1970) of the first day of the lunar year; outside 2020-2030 the mean date, 5 February."""
    return SPRING_FESTIVAL.get(year, date(year, 2, 5)).toordinal() - EPOCH_ORDINAL


def year_of(day: int) -> int:
    """Calendar year of a local day number."""
    return date.fromordinal(day + EPOCH_ORDINAL).year


def season(time: LocalTime, peak_day: float) -> Floats:
    """A yearly swing in [-1, 1] that is highest on `peak_day` of the year."""
    swing: Floats = np.cos(2 * np.pi * (time.day_of_year - peak_day) / 365.25)
    return swing


def sun_height(time: LocalTime) -> Floats:
    """Sine of the sun's elevation over Yunfu, 0 below the horizon.

    Declination after Cooper (1969); the equation of time (at most 16 minutes) is left out, it moves no daily sum.
    """
    declination = np.radians(23.45) * np.sin(2 * np.pi * (284 + time.day_of_year + 1) / 365)
    solar_hour = time.hour + (LONGITUDE_DEG - 120.0) / 15.0
    angle = np.radians(15.0 * (solar_hour - 12.0))
    latitude = np.radians(LATITUDE_DEG)
    height = np.sin(latitude) * np.sin(declination) + np.cos(latitude) * np.cos(declination) * np.cos(angle)
    above: Floats = np.maximum(height, 0.0)
    return above


def outside_celsius(time: LocalTime) -> Floats:
    """Mean air temperature by season and hour: about 14 °C in January, 29 °C in July, 3.5 °C up and down a day."""
    return 21.5 + 7.5 * season(time, 200.0) + 3.5 * np.cos(2 * np.pi * (time.hour - 15.0) / 24.0)
