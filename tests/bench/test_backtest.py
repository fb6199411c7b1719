"""The back-test counts what it says, and the projection beats the usual rule where nothing real is at hand."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from energy.projection import Projection, project
from tests.bench.backtest import back_test, calm_fleet, figures, noisy_fleet, run_rate, whole_years
from tests.bench.figures import ALERTS, table

YEARS = {2020: [100.0] * 12, 2021: [108.0] * 12}
"""1296 after 1200: over 0.95, 1.00 and 1.05 of it, within 1.10."""


def always(p_over: float) -> object:
    def projected(history: Sequence[Sequence[float]], ytd: Sequence[float], budget: float) -> Projection:
        return Projection(p_over, 1296, 1290 if len(ytd) > 7 else 1300, 1310)

    return projected


def test_an_alarm_is_right_false_or_missing() -> None:
    alarmed = back_test({"a": YEARS}, always(0.9))  # type: ignore[arg-type]  # a stand-in of the same shape
    assert alarmed == {"precision": 0.75, "false_alarms": 1.0, "caught60": 1.0, "coverage80": 4 / 9}
    silent = back_test({"a": YEARS}, always(0.84))  # type: ignore[arg-type]  # a stand-in of the same shape
    assert (silent["false_alarms"], silent["caught60"]) == (0, 0)


def test_a_year_with_a_missing_day_is_none() -> None:
    months = {
        (2021, month): [1.0] * days for month, days in enumerate((31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31), 1)
    }
    assert list(whole_years(months)) == [2021]
    months[2021, 5].pop()
    assert whole_years(months) == {}


def test_on_noisy_sites_alarms_are_right_and_the_usual_rules_are_not() -> None:
    ours, usual = (back_test(noisy_fleet(60), rule) for rule in (project, run_rate))
    assert ours["precision"] >= 0.88
    assert ours["false_alarms"] <= 0.07
    assert 0.75 <= ours["coverage80"] <= 0.88
    assert usual["false_alarms"] > 4 * ours["false_alarms"]


def test_on_real_calm_years_the_promises_hold() -> None:
    fleet = calm_fleet()
    if fleet is None:
        pytest.skip("the years of real supply areas are not there: see TCEWATCH_TEST_DATA in the README")
    found = back_test(fleet, project)
    assert found["precision"] >= 0.96
    assert found["false_alarms"] <= 0.02
    assert found["caught60"] >= 0.92
    assert 0.75 <= found["coverage80"] <= 0.88


def test_every_figure_of_the_back_test_has_its_line_in_the_table() -> None:
    taken = {key: [figure] for key, figure in figures()}
    assert set(taken) <= set(ALERTS)
    assert all(key in table(taken) for key in taken)
