"""Lines of the simulated plants: seeded, with meters that exist, and an output that adds up however time is cut."""

from __future__ import annotations

import numpy as np
import pytest

from app.demo import benchmark_lines, months_of
from simulators.city import city
from simulators.plants import Industry
from simulators.production import line_of, output_of
from simulators.seasons import SLOTS_PER_DAY

PLANS = city(40, 3)
SLOTS = np.arange(1_985_000, 1_985_000 + 60 * SLOTS_PER_DAY, dtype=np.int64)


def test_plants_whose_product_has_a_level_have_a_line_with_their_own_meters() -> None:
    for plan in PLANS:
        line = line_of(plan)
        assert (line is None) is (plan.industry in (Industry.STONE, Industry.PUBLIC))
        if line is not None:
            assert set(line.meters) <= {meter.code for meter in plan.meters}
            assert line.capacity_per_year > 0


def test_the_same_plant_makes_the_same_however_the_time_is_cut() -> None:
    plan = PLANS[0]
    line = line_of(plan)
    assert line is not None
    whole = output_of(plan, line, SLOTS)
    parts = sum(output_of(plan, line, part) for part in np.array_split(SLOTS, 7))
    assert whole > 0
    assert parts == pytest.approx(whole, abs=0.7)


def test_a_history_is_cut_into_its_local_months() -> None:
    months = months_of(1_985_000, 1_985_000 + 40 * SLOTS_PER_DAY)
    assert [month for month, _ in months] == sorted({month for month, _ in months})
    assert sum(len(slots) for _, slots in months) == 40 * SLOTS_PER_DAY


def test_what_the_demo_says_of_the_lines() -> None:
    found = {
        "region": "4453",
        "month": "2026-10",
        "industries": [{"industry": "3011", "share_at_benchmark": 0.25, "lines": 8}],
        "worse_than_baseline": [{}, {}],
    }
    assert benchmark_lines(found)[0] == (
        "industry 3011 (lines: 8): 25 % of capacity at 标杆 or better in the year to 2026-10"
    )
    assert benchmark_lines(found)[1].startswith("lines worse than 基准: 2;")
