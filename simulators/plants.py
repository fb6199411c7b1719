"""Plants of Yunfu's industries: which meters they have and how they run. Pure, seeded, the same however it is cut.

Sizes are those of ordinary plants of each kind; the product figures in the comments only explain the rates and are not
part of any result.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from simulators.noise import Floats, Ints, between, key_of, smooth, uniform, white
from simulators.seasons import (
    SLOTS_PER_DAY,
    LocalTime,
    festival_day,
    local_time,
    outside_celsius,
    season,
    sun_height,
    year_of,
)

SLOT_H = 0.25


class Industry(StrEnum):
    """The kinds of plant the city has."""

    CEMENT = "cement"
    CERAMICS = "ceramics"
    STEEL = "steel"
    PAPER = "paper"
    STONE = "stone"
    ACID = "acid"
    PUBLIC = "public"


INDUSTRY_CODES = {
    Industry.CEMENT: "3011",
    Industry.CERAMICS: "3071",
    Industry.STEEL: "3120",
    Industry.PAPER: "2221",
    Industry.STONE: "3032",
    Industry.ACID: "2611",
    Industry.PUBLIC: "8411",
}
"""GB/T 4754-2017."""


@dataclass(frozen=True, slots=True)
class MeterPlan:
    """A meter as it is registered, and the mean it shows per hour of full running, in its own unit."""

    code: str
    name: str
    carrier: str
    unit: str
    role: str
    per_hour: float
    kind: str = "register"
    multiplier: float = 1.0
    rolls_over_at: float | None = None
    level: int = 1
    accuracy_class: str = "0.5"
    calibrated_until: str = "2027-12-31"
    expected_interval_s: int = 3600
    runs_by: str = "plant"


@dataclass(frozen=True, slots=True)
class PlantPlan:
    """An enterprise with its one gateway and its meters. `seed` decides everything about its stream."""

    enterprise: str
    name: str
    region: str
    industry: Industry
    gateway: str
    meters: tuple[MeterPlan, ...]
    seed: int


def size_of(seed: int) -> float:
    """How large a plant is beside the ordinary one of its kind."""
    return round(between(key_of(seed, "size"), 0.6, 1.7), 3)


def meters_of(industry: Industry, size: float) -> tuple[MeterPlan, ...]:
    """The meters of a plant `size` times as large as the ordinary one of its kind (0.5 to 2)."""
    return _METERS[industry](size)


def _cement(size: float) -> tuple[MeterPlan, ...]:
    # 3,000 t of clinker a day: about 145 kg of raw coal and 75 kWh a tonne, 30 kWh a tonne back from waste heat.
    return (
        MeterPlan("C001", "回转窑喂煤皮带秤", "raw_coal", "t", "purchase", 18.0 * size, accuracy_class="0.5"),
        MeterPlan("E001", "厂用电总表（含余热电）", "electricity", "kWh", "purchase", 78.0 * size, multiplier=120.0,
                  rolls_over_at=1_000_000.0, accuracy_class="0.2S"),
        MeterPlan("E010", "余热发电", "electricity", "kWh", "recovered", 3_700.0 * size, accuracy_class="0.5S"),
        MeterPlan("E101", "生料磨", "electricity", "kWh", "internal", 2_400.0 * size, level=2),
        MeterPlan("E102", "水泥磨", "electricity", "kWh", "internal", 3_600.0 * size, level=2),
    )  # fmt: skip


def _ceramics(size: float) -> tuple[MeterPlan, ...]:
    return (
        MeterPlan("G001", "天然气贸易计量", "natural_gas_max", "m3_20C", "purchase", 2_700.0 * size,
                  rolls_over_at=100_000_000.0, accuracy_class="1.0"),
        MeterPlan("E001", "10 kV 进线", "electricity", "kWh", "purchase", 36.0 * size, multiplier=100.0,
                  rolls_over_at=100_000.0),
        MeterPlan("E101", "球磨", "electricity", "kWh", "internal", 1_500.0 * size, level=2),
        MeterPlan("P001", "屋顶光伏", "electricity", "kW", "own_renewable", 900.0 * size, kind="rate", runs_by="sun"),
    )  # fmt: skip


def _steel(size: float) -> tuple[MeterPlan, ...]:
    return (
        MeterPlan("E001", "220 kV 进线", "electricity", "kWh", "purchase", 145.0 * size, multiplier=264.0,
                  rolls_over_at=10_000_000.0, accuracy_class="0.2S"),
        MeterPlan("G001", "加热炉天然气", "natural_gas_max", "m3", "purchase", 1_300.0 * size, kind="interval"),
        MeterPlan("E101", "电弧炉变压器", "electricity", "kWh", "internal", 27_000.0 * size, level=3, runs_by="melt"),
        MeterPlan("E102", "除尘风机", "electricity", "kWh", "internal", 2_300.0 * size, level=3),
    )  # fmt: skip


def _paper(size: float) -> tuple[MeterPlan, ...]:
    return (
        MeterPlan("H001", "外购蒸汽热量", "heat", "GJ", "purchase", 82.0 * size, accuracy_class="2.5"),
        MeterPlan("E001", "35 kV 进线", "electricity", "kWh", "purchase", 62.0 * size, multiplier=140.0,
                  rolls_over_at=1_000_000.0),
        MeterPlan("E101", "纸机传动", "electricity", "kWh", "internal", 4_100.0 * size, level=3),
    )  # fmt: skip


def _stone(size: float) -> tuple[MeterPlan, ...]:
    return (
        MeterPlan("E001", "10 kV 进线", "electricity", "kWh", "purchase", 105.0 * size, multiplier=100.0,
                  rolls_over_at=1_000_000.0, runs_by="day shift"),
        MeterPlan("D001", "叉车柴油", "diesel", "kg", "purchase", 34.0 * size, kind="interval", runs_by="day shift"),
        MeterPlan("E101", "大板锯", "electricity", "kWh", "internal", 5_200.0 * size, level=2, runs_by="day shift"),
    )  # fmt: skip


def _acid(size: float) -> tuple[MeterPlan, ...]:
    # Burning sulfur makes more steam than the plant uses: its energy balance is negative, as it is for such plants.
    return (
        MeterPlan("E001", "厂用电总表（含余热电）", "electricity", "kWh", "purchase", 42.0 * size, multiplier=100.0,
                  rolls_over_at=1_000_000.0),
        MeterPlan("E010", "余热发电", "electricity", "kWh", "recovered", 2_600.0 * size),
        MeterPlan("H010", "外供蒸汽热量", "heat", "GJ", "sale", 58.0 * size, accuracy_class="2.5"),
        MeterPlan("D001", "开工柴油", "diesel", "kg", "purchase", 11.0 * size, kind="interval"),
    )  # fmt: skip


def _public(size: float) -> tuple[MeterPlan, ...]:
    return (
        MeterPlan("E001", "10 kV 进线", "electricity", "kWh", "purchase", 14.0 * size, multiplier=100.0,
                  rolls_over_at=1_000_000.0, runs_by="comfort"),
        MeterPlan("G001", "食堂天然气", "natural_gas_max", "m3", "purchase", 46.0 * size, runs_by="kitchen"),
        MeterPlan("P001", "屋顶光伏", "electricity", "kW", "own_renewable", 420.0 * size, kind="rate", runs_by="sun"),
    )  # fmt: skip


_METERS: dict[Industry, Callable[[float], tuple[MeterPlan, ...]]] = {
    Industry.CEMENT: _cement,
    Industry.CERAMICS: _ceramics,
    Industry.STEEL: _steel,
    Industry.PAPER: _paper,
    Industry.STONE: _stone,
    Industry.ACID: _acid,
    Industry.PUBLIC: _public,
}

FESTIVAL_STOP_DAYS = {
    # days before and after the first day of the lunar year on which the plant stands
    Industry.CEMENT: (4, 12),
    Industry.CERAMICS: (10, 18),
    Industry.STEEL: (3, 8),
    Industry.PAPER: (2, 6),
    Industry.STONE: (12, 16),
    Industry.ACID: (0, 0),
    Industry.PUBLIC: (2, 7),
}
IDLE = {
    # what a standing plant still draws, as a share of running
    Industry.CEMENT: 0.04,
    Industry.CERAMICS: 0.05,
    Industry.STEEL: 0.06,
    Industry.PAPER: 0.05,
    Industry.STONE: 0.05,
    Industry.ACID: 0.10,
    Industry.PUBLIC: 0.35,
}


def load(plan: PlantPlan, meter: MeterPlan, slots: Ints) -> Floats:
    """Mean rate of a meter in each quarter hour, in the meter's unit per hour; never negative.

    `slots` are quarter hours since 1970 UTC. The same plan gives the same number for a slot, alone or in any array.
    """
    time = local_time(slots)
    shape = _SHAPES[meter.runs_by](plan, time)
    key = key_of(plan.seed, meter.code)
    wander = 1.0 + 0.06 * smooth(key, slots, 24) + 0.03 * white(key_of(key, "fast"), slots)
    return np.maximum(meter.per_hour * shape * wander, 0.0)


def running(plan: PlantPlan, time: LocalTime) -> Floats:
    """Share of full running by day: 1 in operation, the idle share in festival and maintenance stops."""
    idle = IDLE[plan.industry]
    stands = _festival(plan, time.day) | _maintenance(plan, time.day)
    market = (
        1.0 + 0.05 * season(time, 320.0) + 0.05 * smooth(key_of(plan.seed, "market"), time.slot, 28 * SLOTS_PER_DAY)
    )
    return np.where(stands, idle, market)


def _festival(plan: PlantPlan, day: Ints) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    before, after = FESTIVAL_STOP_DAYS[plan.industry]
    stands = np.zeros(len(day), np.bool_)
    if before + after == 0 or not len(day):
        return stands
    shift = int(between(key_of(plan.seed, "festival"), -2, 3))
    for year in range(year_of(int(day.min())), year_of(int(day.max())) + 2):
        first = festival_day(year)
        stands |= (day >= first - before + shift) & (day < first + after + shift)
    return stands


def _maintenance(plan: PlantPlan, day: Ints) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """A planned stop of some days about every four months, for plants that run day and night."""
    if plan.industry in (Industry.STONE, Industry.PUBLIC):
        return np.zeros(len(day), np.bool_)
    key = key_of(plan.seed, "maintenance")
    every = 110 + int(between(key, 0, 30))
    length = 3 + int(between(key_of(key, "length"), 0, 5))
    return (day + int(between(key_of(key, "phase"), 0, every))) % every < length


def _by_plant(plan: PlantPlan, time: LocalTime) -> Floats:
    return running(plan, time)


def _by_melt(plan: PlantPlan, time: LocalTime) -> Floats:
    """An arc furnace: an hour of power, a pause to charge and tap."""
    phase = (time.slot + plan.seed % 5) % 5
    return running(plan, time) * np.where(phase < 4, 1.18, 0.28)


def _by_day_shift(plan: PlantPlan, time: LocalTime) -> Floats:
    works = (time.hour >= 7.5) & (time.hour < 21.5) & (time.weekday < 6)
    busy = np.where(works, 1.0, IDLE[plan.industry])
    lunch = np.where((time.hour >= 12) & (time.hour < 13.25), 0.35, 1.0)
    return busy * lunch * running(plan, time)


def _by_comfort(plan: PlantPlan, time: LocalTime) -> Floats:
    """Offices and wards: cooling when it is warm, less at night and at weekends."""
    cooling = np.clip((outside_celsius(time) - 22.0) / 10.0, 0.0, 1.0)
    day = np.where((time.hour >= 7.5) & (time.hour < 19), 1.0, 0.45)
    week = np.where(time.weekday < 5, 1.0, 0.7)
    return (0.45 + 0.75 * cooling) * day * week * running(plan, time)


def _by_kitchen(plan: PlantPlan, time: LocalTime) -> Floats:
    meals = np.zeros(len(time.slot))
    for start, end in ((6.0, 8.0), (10.0, 12.5), (16.5, 18.5)):
        meals += (time.hour >= start) & (time.hour < end)
    return (0.05 + 2.2 * meals) * np.where(time.weekday < 5, 1.0, 0.6) * running(plan, time)


def _by_sun(plan: PlantPlan, time: LocalTime) -> Floats:
    """A PV roof: the sun's height through clouds that stay for a while."""
    key = key_of(plan.seed, "clouds")
    clouds = 0.65 + 0.3 * smooth(key, time.slot, 60) + 0.05 * uniform(key_of(key, "fast"), time.slot)
    return sun_height(time) * np.clip(clouds, 0.1, 1.0)


_SHAPES: dict[str, Callable[[PlantPlan, LocalTime], Floats]] = {
    "plant": _by_plant,
    "melt": _by_melt,
    "day shift": _by_day_shift,
    "comfort": _by_comfort,
    "kitchen": _by_kitchen,
    "sun": _by_sun,
}
