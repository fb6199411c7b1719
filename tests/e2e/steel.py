"""The recorded year of a real steel plant, read on its own: what every figure of the replay has to equal.

The file gives the energy of each quarter of an hour by its end, day first, local time without daylight saving. The row
of 00:00 stands at the end of a day and carries that day's date: it is the last quarter of that day.
"""

from __future__ import annotations

import csv
import gzip
import os
from collections import defaultdict
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

NAME = "steel_industry_2018_15min.csv.gz"
ZONE = "Asia/Seoul"
QUARTER = timedelta(minutes=15)


def steel_file() -> Path:
    """The file, or a skip that says what is missing: without it nothing is proven, so nothing passes."""
    here = Path(__file__).parents[2]
    places = [Path(os.environ.get("TCEWATCH_TEST_DATA", here.parent / "shared" / "data")) / NAME]
    for place in places:
        if place.exists():
            return place
    pytest.skip(f"{NAME} is not at {places[0].parent}: the replay of real data is not tested (see the README)")


def quarters(file: Path) -> list[tuple[datetime, Decimal]]:
    """(local start, kWh) of every quarter of an hour, in order."""
    with gzip.open(file, "rt", encoding="utf-8-sig", newline="") as lines:
        return sorted((start_of(row["date"]), Decimal(row["Usage_kWh"])) for row in csv.DictReader(lines))


def start_of(printed: str) -> datetime:
    end = datetime.strptime(printed, "%d-%m-%Y %H:%M")  # noqa: DTZ007  # local by definition, and only named locally
    if (end.hour, end.minute) == (0, 0):
        end += timedelta(days=1)
    return end - QUARTER


def sums(file: Path, form: str) -> dict[str, Decimal]:
    """Energy in kWh by local bucket; `form` is the strftime of a bucket's name."""
    totals: defaultdict[str, Decimal] = defaultdict(Decimal)
    for start, kwh in quarters(file):
        totals[start.strftime(form)] += kwh
    return dict(totals)
