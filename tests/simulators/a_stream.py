"""Small streams and the questions the tests ask of them."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

from simulators.city import city
from simulators.message import Readings, readings
from simulators.plants import Industry, PlantPlan
from simulators.seasons import LOCAL_SHIFT_SLOTS, SLOT_S
from simulators.stream import Recorder

Row = tuple[str, int, float, int]


def local_slot(year: int, month: int, day: int) -> int:
    """The quarter hour at which a local day begins."""
    return int(datetime(year, month, day, tzinfo=UTC).timestamp()) // SLOT_S - LOCAL_SHIFT_SLOTS


START = local_slot(2025, 6, 2)


def a_plant(industry: Industry, seed: int = 7) -> PlantPlan:
    return next(plan for plan in city(7, seed) if plan.industry is industry)


def a_stream(hours: int = 48, seed: int = 7) -> Readings:
    """Hourly readings of a ceramics plant, in order of time."""
    recorder = Recorder(a_plant(Industry.CERAMICS, seed), START)
    return recorder.walk(START + 4 * hours, 4)


def one_register(*values: float) -> Readings:
    """A register read every hour."""
    hours = range(len(values))
    return readings(("E001",), [0] * len(values), [START * SLOT_S * 1000 + 3_600_000 * hour for hour in hours], values)


def rows(stream: Readings) -> list[Row]:
    """(meter, ms, value, quality) in the order in which they are sent."""
    names = [stream.codes[place] for place in stream.meter.tolist()]
    return list(zip(names, stream.at_ms.tolist(), stream.value.tolist(), stream.quality.tolist(), strict=True))


def bag(stream: Readings) -> Counter[Row]:
    """The readings without their order."""
    return Counter(rows(stream))
