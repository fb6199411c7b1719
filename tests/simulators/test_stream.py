"""What the plants' meters show: the same however it is cut, plausible in size and season, registers as displays."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulators.city import city
from simulators.message import Readings, joined
from simulators.plants import Industry, MeterPlan, PlantPlan, load
from simulators.seasons import LOCAL_SHIFT_SLOTS, SLOTS_PER_DAY, festival_day
from simulators.stream import SLOT_MS, Recorder, first_shown
from tests.simulators.a_stream import START, a_plant, local_slot, rows

PLANTS = [a_plant(industry) for industry in Industry]
YEAR = np.arange(local_slot(2025, 1, 1), local_slot(2026, 1, 1), dtype=np.int64)

# kgce per unit, equivalent value: GB/T 2589-2020, tables A.1 and A.2 (natural gas: the upper value).
KGCE = {"raw_coal": 0.7143, "electricity": 0.1229, "natural_gas_max": 1.33, "heat": 34.12, "diesel": 1.4571}
PER_UNIT = {"t": 1000.0}  # the table's unit is the kilogram
SIGN = {"purchase": 1.0, "own_renewable": 0.0, "sale": -1.0, "recovered": -1.0, "internal": 0.0}
# tce a year, net of what is sold and recovered, for the smallest (0.6) to the largest (1.7 times) plant of the kind.
# 3,000 t of clinker a day at about 110 kgce a tonne make 100,000 tce; an ordinary key user has 5,000 to 50,000.
TCE_A_YEAR = {
    Industry.CEMENT: (50_000, 250_000),
    Industry.CERAMICS: (15_000, 80_000),
    Industry.STEEL: (15_000, 120_000),
    Industry.PAPER: (10_000, 80_000),
    Industry.STONE: (1_000, 15_000),
    Industry.ACID: (-60_000, 0),  # burning sulfur gives more steam than the plant uses
    Industry.PUBLIC: (300, 3_000),
}


def walked(plan: PlantPlan, until: Iterable[int], step: int) -> Readings:
    recorder = Recorder(plan, START)
    return joined([recorder.walk(slot, step) for slot in until])


def day_of_2025(day: int) -> int:
    """A local day number since 1970 as one since New Year."""
    return day - (int(YEAR[0]) + LOCAL_SHIFT_SLOTS) // SLOTS_PER_DAY


def meter_named(plan: PlantPlan, code: str) -> MeterPlan:
    return next(meter for meter in plan.meters if meter.code == code)


@lru_cache
def yearly_tce(plan: PlantPlan) -> float:
    """Net tce of 2025, from the loads themselves."""
    return sum(_tce(plan, meter) for meter in plan.meters)


def _tce(plan: PlantPlan, meter: MeterPlan) -> float:
    quantity = float(load(plan, meter, YEAR).sum()) / 4 * meter.multiplier
    return SIGN[meter.role] * quantity * PER_UNIT.get(meter.unit, 1.0) * KGCE[meter.carrier] / 1000


@pytest.mark.parametrize("plan", PLANTS, ids=lambda plan: plan.industry)
@given(cuts=st.lists(st.integers(1, 480), max_size=6), step=st.sampled_from([1, 4]))
@settings(max_examples=15, deadline=None)
def test_walked_in_pieces_or_at_once_every_meter_shows_the_same(plan: PlantPlan, cuts: list[int], step: int) -> None:
    end = START + 480
    pieces = walked(plan, [*(START + cut for cut in sorted(cuts)), end], step)
    at_once = walked(plan, [end], step)
    for meter in plan.meters:
        assert rows(pieces.of_meter(meter.code)) == rows(at_once.of_meter(meter.code))


def test_the_same_seed_is_the_same_stream_and_another_is_another() -> None:
    one, again, other = (walked(a_plant(Industry.PAPER, seed), [START + 96], 4) for seed in (1, 1, 2))
    assert rows(one) == rows(again) != rows(other)


def test_a_slot_has_the_same_load_alone_and_in_company() -> None:
    for plan in PLANTS:
        for meter in plan.meters:
            alone = [float(load(plan, meter, YEAR[place : place + 1])[0]) for place in (0, 5_000, 20_000)]
            assert alone == load(plan, meter, YEAR)[[0, 5_000, 20_000]].tolist()


def test_readings_come_in_order_of_time_each_key_once() -> None:
    for plan in PLANTS:
        stream = walked(plan, [START + 960], 4)
        assert (np.diff(stream.at_ms) >= 0).all()
        assert len({row[:2] for row in rows(stream)}) == len(stream)


def test_a_register_is_read_at_the_end_of_a_step_and_an_amount_stamped_with_its_start() -> None:
    plan = a_plant(Industry.STEEL)
    stream = walked(plan, [START + 8], 4)
    first, hour = START * SLOT_MS, 4 * SLOT_MS
    assert stream.of_meter("E001").at_ms.tolist() == [first + hour, first + 2 * hour]
    assert stream.of_meter("G001").at_ms.tolist() == [first, first + hour]


def test_the_first_readings_are_the_registers_before_the_first_step() -> None:
    plan = a_plant(Industry.STEEL)
    first = Recorder(plan, START).first()
    registers = [meter for meter in plan.meters if meter.kind == "register"]
    shown = {meter.code: first_shown(plan, meter) / 100 for meter in registers}
    assert {row[0]: row[2] for row in rows(first)} == shown
    assert set(first.at_ms.tolist()) == {START * SLOT_MS}


@pytest.mark.parametrize("plan", PLANTS, ids=lambda plan: plan.industry)
def test_a_register_is_the_sum_of_its_load_and_rolls_over_at_its_end(plan: PlantPlan) -> None:
    """Within the half hundredth that a display drops a step."""
    recorder = Recorder(plan, START)
    first, stream = recorder.first(), recorder.walk(START + 40 * SLOTS_PER_DAY, 4)
    slots = np.arange(START, START + 40 * SLOTS_PER_DAY, dtype=np.int64)
    for meter in plan.meters:
        if meter.kind != "register":
            continue
        shown = np.concatenate([first.of_meter(meter.code).value, stream.of_meter(meter.code).value])
        steps = np.diff(shown)
        falls = steps < 0
        top = meter.rolls_over_at
        assert falls.sum() == 0 or top is not None
        drawn = float(steps.sum()) + int(falls.sum()) * (top or 0.0)
        assert drawn == pytest.approx(float(load(plan, meter, slots).sum()) / 4, abs=0.005 * len(steps))
        assert shown.min() >= 0
        assert top is None or shown.max() < top


def test_some_register_of_the_city_rolls_over_within_a_year_from_its_last_tenth_to_its_first() -> None:
    plan = a_plant(Industry.CEMENT)
    top = meter_named(plan, "E001").rolls_over_at
    assert top is not None
    stream = Recorder(plan, START).walk(START + 365 * SLOTS_PER_DAY, 4).of_meter("E001").value
    (places,) = np.nonzero(np.diff(stream) < 0)
    assert len(places) >= 1
    for place in places:
        assert stream[place] > 0.9 * top
        assert stream[place + 1] < 0.1 * top


@pytest.mark.parametrize("industry", Industry)
def test_every_plant_uses_what_a_plant_of_its_kind_does_in_a_year(industry: Industry) -> None:
    low, high = TCE_A_YEAR[industry]
    for plan in city(40, 3):
        if plan.industry is industry:
            assert low < yearly_tce(plan) < high, plan.name


def test_the_parts_of_a_plant_draw_no_more_than_comes_in() -> None:
    """Sub-meters measure what the feeder and the own generators deliver."""
    for plan in PLANTS:
        power = [meter for meter in plan.meters if meter.carrier == "electricity"]
        supply = sum(_kwh(plan, meter) for meter in power if meter.role in ("purchase", "recovered", "own_renewable"))
        inside = sum(_kwh(plan, meter) for meter in power if meter.role == "internal")
        assert inside < supply, plan.industry


def _kwh(plan: PlantPlan, meter: MeterPlan) -> float:
    return float(load(plan, meter, YEAR).sum()) / 4 * meter.multiplier


def test_nothing_is_ever_drawn_backwards() -> None:
    for plan in PLANTS:
        for meter in plan.meters:
            assert load(plan, meter, YEAR).min() >= 0


@pytest.mark.parametrize("industry", [Industry.CEMENT, Industry.CERAMICS, Industry.STEEL, Industry.STONE])
def test_the_plant_stands_over_spring_festival(industry: Industry) -> None:
    """The first day of the lunar year, against the mean of an ordinary month."""
    plan = a_plant(industry)
    daily = load(plan, meter_named(plan, "E001"), YEAR).reshape(-1, SLOTS_PER_DAY).mean(axis=1)
    assert daily[day_of_2025(festival_day(2025))] < 0.3 * np.median(daily)


def test_sulfuric_acid_is_made_over_spring_festival_too() -> None:
    plan = a_plant(Industry.ACID)
    daily = load(plan, meter_named(plan, "E001"), YEAR).reshape(-1, SLOTS_PER_DAY).mean(axis=1)
    around = slice(day_of_2025(festival_day(2025)) - 3, day_of_2025(festival_day(2025)) + 4)
    assert np.median(daily[around]) > 0.7 * np.median(daily)


def test_a_stone_works_rests_on_sundays_and_at_night() -> None:
    plan = a_plant(Industry.STONE)
    week = load(plan, meter_named(plan, "E001"), np.arange(START, START + 7 * SLOTS_PER_DAY, dtype=np.int64))
    days = week.reshape(7, SLOTS_PER_DAY)
    assert days[6].mean() < 0.2 * days[:6].mean()
    assert days[:6, :24].mean() < 0.2 * days[:6, 40:44].mean()


def test_the_sun_does_not_shine_at_night() -> None:
    plan = a_plant(Industry.CERAMICS)
    roof = load(plan, meter_named(plan, "P001"), YEAR).reshape(-1, SLOTS_PER_DAY)
    assert roof[:, :16].max() == 0.0
    assert roof[:, 44:52].min() > 0.0


def test_a_walk_that_goes_nowhere_says_nothing() -> None:
    recorder = Recorder(a_plant(Industry.PAPER), START)
    assert rows(recorder.walk(START + 3, 4)) == []
    assert recorder.at_slot == START
