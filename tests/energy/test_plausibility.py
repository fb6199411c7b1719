"""Values that do not move."""

from __future__ import annotations

import pytest

from energy.plausibility import StuckRun, stuck_runs
from energy.reading import Kind, Series
from tests.energy.a_meter import HOUR_US, readings


def runs(kind: Kind, *values: float, hours: int = 3) -> list[tuple[int, int, float]]:
    found = stuck_runs(readings(*values, every_us=HOUR_US), kind, longer_than_us=hours * HOUR_US)
    return [(run.start_us // HOUR_US, run.end_us // HOUR_US, run.value) for run in found]


def test_a_register_that_stands_still_long_enough_is_suspect() -> None:
    assert runs(Kind.REGISTER, 1, 2, 2, 2, 2, 3, 3, 3) == [(1, 4, 2)]
    assert runs(Kind.REGISTER, 1, 2, 2, 2, 2, hours=4) == []
    assert runs(Kind.REGISTER, 0, 0, 0, 0) == [(0, 3, 0)]


@pytest.mark.parametrize("kind", [Kind.INTERVAL, Kind.RATE])
def test_the_same_amount_again_and_again_is_suspect_but_nothing_is_not(kind: Kind) -> None:
    assert runs(kind, 0, 0, 0, 0, 7.5, 7.5, 7.5, 7.5) == [(4, 7, 7.5)]


def test_two_readings_far_apart_are_no_run_and_no_reading_is_none() -> None:
    two = readings(5, 5, every_us=100 * HOUR_US)
    assert stuck_runs(two, Kind.REGISTER, longer_than_us=HOUR_US) == []
    assert stuck_runs(Series.empty(), Kind.REGISTER, longer_than_us=0) == []
    three = readings(5, 5, 5, every_us=HOUR_US)
    assert stuck_runs(three, Kind.REGISTER, longer_than_us=HOUR_US) == [StuckRun(0, 2 * HOUR_US, 5.0, 3)]
