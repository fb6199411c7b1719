"""Recalibration: a fleet's own closed years make its intervals honest."""

from __future__ import annotations

import math
import random

from energy.calibration import SITE_YEARS_NEEDED, recalibrated
from energy.projection import DEFAULT

Fleet = dict[str, dict[int, list[float]]]


def a_fleet(sites: int, noise: float, *, years: int = 5, jump: float = 0.0) -> Fleet:
    chance = random.Random(7)  # seasons, not secrets
    found: Fleet = {}
    for site in range(sites):
        level, months = 0.0, {}
        for year in range(2019, 2019 + years):
            level += chance.gauss(0, jump)
            months[year] = [100 * math.exp(level + chance.gauss(0, noise)) for _ in range(12)]
        found[f"site {site}"] = months
    return found


def test_intervals_that_are_too_wide_become_narrower_and_hold() -> None:
    found = recalibrated(a_fleet(60, noise=0.01))
    assert found.site_years == 240
    assert 0.75 <= found.cover_after <= 0.9 < found.cover_before
    assert sum(found.calibration.interval) < sum(DEFAULT.interval)


def test_intervals_that_are_too_narrow_become_wider_and_hold() -> None:
    fleet = a_fleet(60, noise=0.05)
    for site in fleet.values():
        for months in site.values():
            months[8:] = [one * 1.2 if sum(months) > 1200 else one * 0.85 for one in months[8:]]
    found = recalibrated(fleet)
    assert found.cover_before < 0.75
    assert found.cover_after > found.cover_before
    assert sum(found.calibration.interval) > sum(DEFAULT.interval)


def test_a_small_fleet_keeps_the_default_and_says_so() -> None:
    found = recalibrated(a_fleet(10, noise=0.01, years=3))
    assert found.site_years == 20 < SITE_YEARS_NEEDED
    assert found.calibration == DEFAULT
    assert found.cover_after == found.cover_before
    assert recalibrated({}).cover_before == 0


def test_a_year_with_a_gap_before_it_is_projected_from_what_comes_after_the_gap() -> None:
    fleet = a_fleet(1, noise=0.01, years=5)
    del fleet["site 0"][2021]
    assert recalibrated(fleet).site_years == 2
