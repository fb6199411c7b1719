"""One list of readings written in each of the four forms of the wire."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from ingest.batch import Door, Received
from ingest.wire import CSV_TYPE, JSON_TYPE
from tests.ingest.fakes import NOW_US

T0 = "2026-11-23T09:15:00+08:00"
T0_US = 1_795_396_500_000_000

Reading = tuple[object, object, object, object]


def received(
    raw: bytes | str | dict[str, object],
    *,
    content_type: str = JSON_TYPE,
    gateway: str = "gw-1",
    door: Door = Door.BROKER,
    at_us: int = NOW_US,
) -> Received:
    body = raw if isinstance(raw, bytes) else (raw if isinstance(raw, str) else json.dumps(raw)).encode()
    return Received(door, gateway, f"energy/v1/{gateway}/data", content_type, body, at_us)


def as_map(readings: Sequence[Reading]) -> Received:
    """Only for readings of one time."""
    vals = {str(meter): value for meter, _, value, _ in readings}
    q = {str(meter): quality for meter, _, _, quality in readings if quality}
    return received({"v": 1, "ts": readings[0][1], "vals": vals, **({"q": q} if q else {})})


def as_rows(readings: Sequence[Reading]) -> Received:
    return received({"v": 1, "rows": [list(reading) for reading in readings]})


def as_columns(readings: Sequence[Reading]) -> Received:
    meters, times, values, qualities = (list(column) for column in zip(*readings, strict=True))
    return received({"v": 1, "meters": meters, "t": times, "values": values, "q": qualities})


def as_csv(readings: Sequence[Reading]) -> Received:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(("meter", "ts", "value", "quality"))
    writer.writerows(readings)
    return received(text.getvalue(), content_type=CSV_TYPE)


def minutes_after(minutes: int) -> str:
    local = datetime(2026, 11, 23, 1, 15, tzinfo=UTC) + timedelta(hours=8, minutes=minutes)
    return local.strftime("%Y-%m-%dT%H:%M:%S+08:00")
