"""Points in time as they stand on the wire, to microseconds since 1970 UTC. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from ingest.batch import Code
from ingest.wire import FIRST_MS, LAST_MS

Int64s = npt.NDArray[np.int64]

RFC3339 = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?"
    r"(?:([Zz])|([+-])([0-9]{2}):([0-9]{2}))?"
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
WIDTH = len("2026-11-23T09:15:00+08:00")
ARRAYS_FROM = 48
"""From so many texts on, parsing all at once in arrays is quicker than one by one."""


def instant_us(sent: object) -> int | Code:
    """One time: RFC 3339 text with an offset, or whole milliseconds since 1970.

    Finer than a microsecond is cut off. Years are 0001 to 9999. A leap second (:60) names no instant the ledger can
    hold, so it is refused. Answers BAD_TIMESTAMP or TIMESTAMP_WITHOUT_ZONE when there is no instant.
    """
    if isinstance(sent, str):
        return _of_text(sent) if len(sent) <= 64 else Code.BAD_TIMESTAMP
    milliseconds = whole(sent)
    if milliseconds is None or not FIRST_MS <= milliseconds <= LAST_MS:
        return Code.BAD_TIMESTAMP
    return milliseconds * 1000


def whole(sent: object) -> int | None:
    """An integer as JSON may write it (7 or 7.0); None for everything else, true and false included."""
    if isinstance(sent, bool):
        return None
    if isinstance(sent, int):
        return sent
    return int(sent) if isinstance(sent, float) and sent.is_integer() else None


@lru_cache(maxsize=8192)  # a gateway reads all its meters at the same instants
def _of_text(text: str) -> int | Code:
    match = RFC3339.fullmatch(text)
    if match is None:
        return Code.BAD_TIMESTAMP
    year, month, day, hour, minute, second = map(int, match.group(1, 2, 3, 4, 5, 6))
    fraction, zulu, sign, offset_hour, offset_minute = match.group(7, 8, 9, 10, 11)
    try:
        local = datetime(year, month, day, hour, minute, second, tzinfo=UTC) - EPOCH
    except ValueError:
        return Code.BAD_TIMESTAMP
    if not zulu and not sign:
        return Code.TIMESTAMP_WITHOUT_ZONE
    ahead_s = 0 if zulu else _offset_s(sign, int(offset_hour), int(offset_minute))
    if ahead_s is None:
        return Code.BAD_TIMESTAMP
    micros = int((fraction or "0")[:6].ljust(6, "0"))
    return (local.days * 86_400 + local.seconds - ahead_s) * 1_000_000 + micros


def _offset_s(sign: str, hours: int, minutes: int) -> int | None:
    if hours > 23 or minutes > 59:
        return None
    return (hours * 60 + minutes) * (-60 if sign == "-" else 60)


def instants_us(texts: Sequence[str]) -> tuple[Int64s, dict[int, Code]]:
    """Many times at once: the instants, and why there is none at some places (whose instant is then 0)."""
    if len(texts) >= ARRAYS_FROM:
        joined = "".join(texts)
        if len(joined) == WIDTH * len(texts) and joined.isascii():
            at_us, sound = _of_fixed_width(joined)
            if sound.all() and all(len(text) == WIDTH for text in texts):
                return at_us, {}
    found = [instant_us(text) for text in texts]
    refused = {place: at for place, at in enumerate(found) if isinstance(at, Code)}
    return np.array([0 if isinstance(at, Code) else at for at in found], np.int64), refused


DIGITS = [0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18, 20, 21, 23, 24]
MONTH_DAYS = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])


def _of_fixed_width(joined: str) -> tuple[Int64s, npt.NDArray[np.bool_]]:
    """Times of exactly 25 characters side by side; `sound` is false where the careful way must look again."""
    text = np.frombuffer(joined.encode("ascii"), np.uint8).reshape(-1, WIDTH)
    digit = (text[:, DIGITS] - np.uint8(ord("0"))).astype(np.int64)
    pair = digit[:, 0::2] * 10 + digit[:, 1::2]
    year = pair[:, 0] * 100 + pair[:, 1]
    month, day, hour, minute, second, offset_hour, offset_minute = pair[:, 2:].T
    minus = text[:, 19] == ord("-")
    sound = (digit <= 9).all(axis=1) & (minus | (text[:, 19] == ord("+")))
    for place, mark in ((4, "-"), (7, "-"), (10, "T"), (13, ":"), (16, ":"), (22, ":")):
        sound &= text[:, place] == ord(mark)
    sound &= (year >= 1) & (month >= 1) & (month <= 12) & (day >= 1)
    sound &= (hour <= 23) & (minute <= 59) & (second <= 59) & (offset_hour <= 23) & (offset_minute <= 59)
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    sound &= day <= MONTH_DAYS[np.where(sound, month, 0)] + (leap & (month == 2))
    offset_s = np.where(minus, -60, 60) * (offset_hour * 60 + offset_minute)
    days = days_from_civil(year, month, day)
    return (days * 86_400 + hour * 3600 + minute * 60 + second - offset_s) * 1_000_000, sound


def days_from_civil(year: Int64s, month: Int64s, day: Int64s) -> Int64s:
    """Days since 1970-01-01 of Gregorian dates.

    Years are counted from March, so that the leap day is the last of its year; 146,097 days make 400 years, and the
    days before a month are (153 m + 2) / 5 with m = 0 in March.
    """
    shifted = year - (month <= 2)
    era_year = shifted % 400
    day_of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    day_of_era = era_year * 365 + era_year // 4 - era_year // 100 + day_of_year
    return shifted // 400 * 146_097 + day_of_era - 719_468
