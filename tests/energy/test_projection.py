"""The projection: certain at the end, sure of itself only with reason, and at ease with whatever a history may hold."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energy.projection import BudgetNotPositive, Elapsed, Projection, outlook, project

STEADY = [100.0] * 12
AMOUNT = st.floats(0, 1e9, allow_nan=False)
MONTH = st.one_of(AMOUNT, st.none(), st.just(math.nan), st.just(0.0))
YEAR = st.lists(MONTH, min_size=12, max_size=12)


def years_like(*totals: float, noise: float = 0.02, seed: int = 1) -> list[list[float]]:
    """Years with these totals and the same seasons, newest first."""
    chance = random.Random(seed)  # seasons, not secrets
    shape = [1 + 0.2 * math.cos(2 * math.pi * month / 12) for month in range(12)]
    return [[total / 12 * one * math.exp(chance.gauss(0, noise)) for one in shape] for total in totals]


# What any history may hold --------------------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(st.lists(YEAR, max_size=4), st.lists(MONTH, max_size=12), st.floats(1e-9, 1e12))
def test_whatever_is_there_the_answer_is_a_probability_and_an_ordered_interval(
    history: list[list[float | None]], ytd: list[float | None], budget: float
) -> None:
    found = project(history, ytd, budget)
    assert 0 <= found.p_over <= 1
    assert found.low80 <= found.projected <= found.high80
    spent = math.fsum(one for one in ytd if one is not None and not math.isnan(one))
    assert found.low80 >= spent * (1 - 1e-9)
    assert all(math.isfinite(one) for one in (found.low80, found.projected, found.high80))


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 3), st.integers(0, 11), st.integers(0, 10_000), st.floats(0.5, 2), st.floats(1.01, 1.5))
def test_a_larger_budget_is_never_likelier_to_be_exceeded(
    years: int, months: int, seed: int, share: float, factor: float
) -> None:
    history = years_like(*[1200.0] * years, noise=0.1, seed=seed)
    ytd = years_like(1250.0, noise=0.1, seed=seed + 1)[0][:months]
    smaller, larger = (project(history, ytd, 1200 * share * one) for one in (1, factor))
    assert smaller.p_over >= larger.p_over
    assert (smaller.projected, smaller.low80) == (larger.projected, larger.low80)


@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1e6, 1e15])
def test_the_unit_does_not_matter(scale: float) -> None:
    history, ytd = years_like(1200, 1150, 1100), years_like(1260)[0][:7]
    one = project(history, ytd, 1230)
    other = project([[x * scale for x in year] for year in history], [x * scale for x in ytd], 1230 * scale)
    assert other.p_over == pytest.approx(one.p_over, rel=1e-6)
    assert other.high80 == pytest.approx(one.high80 * scale, rel=1e-9)


def test_lists_tuples_and_arrays_are_alike() -> None:
    history, ytd = years_like(1200, 1150), years_like(1250)[0][:5]
    expected = project(history, ytd, 1200)
    assert project(tuple(map(tuple, history)), tuple(ytd), 1200) == expected
    assert project(np.array(history), np.array(ytd), np.float64(1200)) == expected  # type: ignore[arg-type]  # arrays are sequences of numbers to us


@pytest.mark.parametrize("budget", [0, -1, math.nan, math.inf, -math.inf])
def test_a_budget_of_nothing_is_refused(budget: float) -> None:
    with pytest.raises(BudgetNotPositive, match="a budget must be a finite number above zero"):
        project([STEADY], [], budget)


@pytest.mark.parametrize(
    ("history", "ytd", "says"),
    [
        ([[1.0] * 11], [], "a year of history has 12 months, not 11"),
        ([STEADY], [1.0] * 13, "a year has 12 months, not 13"),
        ([STEADY], [-1.0], "a number of zero or more"),
        ([[math.inf] * 12], [], "a number of zero or more"),
    ],
)
def test_what_cannot_be_a_year_is_refused(history: list[list[float]], ytd: list[float], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        project(history, ytd, 1200)


# What it knows --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("budget", "p_over"), [(1199.9, 1.0), (1200.0, 0.0), (1300.0, 0.0)])
def test_twelve_months_are_certain(budget: float, p_over: float) -> None:
    assert project([STEADY], STEADY, budget) == Projection(p_over, 1200, 1200, 1200)


def test_more_than_the_budget_is_over_whatever_is_to_come() -> None:
    assert project([STEADY], [100] * 5, 499).p_over == 1


@pytest.mark.parametrize("years", [1, 2, 3])
@pytest.mark.parametrize("months", range(1, 12))
def test_a_year_like_the_others_ends_like_them(years: int, months: int) -> None:
    history = years_like(*[1200.0] * years, noise=0.01)
    found = project(history, years_like(1200, noise=0.01, seed=9)[0][:months], 1200)
    assert found.projected == pytest.approx(1200, rel=0.015)
    assert found.low80 < 1200 < found.high80


def test_it_becomes_surer_as_the_year_goes_on() -> None:
    history, year = years_like(1200, 1190, 1210), years_like(1230, seed=5)[0]
    widths = [(found := project(history, year[:months], 1200)).high80 - found.low80 for months in (1, 4, 7, 10, 11)]
    assert widths == sorted(widths, reverse=True)


def test_a_noisy_site_is_less_sure_than_a_calm_one() -> None:
    calm = project(years_like(1200, 1200, noise=0.01), years_like(1260, noise=0.01, seed=3)[0][:6], 1200)
    noisy = project(years_like(1200, 1200, noise=0.20), years_like(1260, noise=0.20, seed=3)[0][:6], 1200)
    assert noisy.high80 - noisy.low80 > 3 * (calm.high80 - calm.low80)


def test_growth_is_followed() -> None:
    found = project(years_like(1320, 1200, 1090), years_like(1452, seed=4)[0][:8], 1400)
    assert found.projected == pytest.approx(1452, rel=0.02)
    assert found.p_over > 0.85


# What is out of the ordinary ------------------------------------------------------------------------------------------


def test_one_wild_month_does_not_steer_the_year() -> None:
    history = years_like(1200, 1200)
    ytd = years_like(1200, seed=2)[0][:6]
    usual, wild = project(history, ytd, 1200), project(history, [*ytd[:3], ytd[3] * 8, *ytd[4:]], 5000)
    assert wild.projected - 7 * ytd[3] == pytest.approx(usual.projected, rel=0.15)


def test_months_that_were_not_measured_are_put_in_from_other_years() -> None:
    history = years_like(1200, 1200, 1200, noise=0.005)
    holes: list[list[float | None]] = [list(year) for year in history]
    holes[0][3] = holes[0][4] = None
    holes[1][11] = math.nan
    ytd: list[float | None] = [*years_like(1200, noise=0.005, seed=2)[0][:6]]
    whole, patched = project(history, ytd, 1250), project(holes, ytd, 1250)
    assert patched.projected == pytest.approx(whole.projected, rel=0.01)
    ytd[2] = None
    assert project(history, ytd, 1250).projected == pytest.approx(whole.projected, rel=0.01)


def test_a_year_with_too_few_months_is_left_out() -> None:
    months: list[float | None] = [9e9] * 5 + [None] * 7
    assert project([months], [100] * 3, 1200) == project([], [100] * 3, 1200)


def test_a_plant_that_stopped_last_summer_is_held_against_the_months_it_worked() -> None:
    stopped = [[100.0] * 6 + [0.0] * 6, [100.0] * 12]
    running, standing = project(stopped, [100] * 4, 1100), project(stopped, [0] * 4, 1100)
    assert running.projected == pytest.approx(1200, rel=0.05)
    assert (running.p_over > 0.5, standing.p_over < 0.01) == (True, True)
    assert standing.projected < 100


def test_a_plant_that_started_last_autumn_is_not_taken_for_one_that_grows_a_hundredfold() -> None:
    found = project([[0.0] * 9 + [100.0] * 3], [100] * 4, 1300)
    assert found.projected == pytest.approx(1200, rel=0.1)


def test_a_plant_that_works_by_season_is_judged_by_its_season() -> None:
    campaign = [0.0] * 3 + [100.0] * 4 + [0.0] * 5
    found = project([campaign, campaign], campaign[:5], 420)
    assert found.projected == pytest.approx(400, rel=0.02)
    assert project([campaign, campaign], campaign[:9], 420).p_over < 0.01


@pytest.mark.parametrize("level", [0.4, 1.8])
def test_another_level_for_three_months_is_believed(level: float) -> None:
    found = project([STEADY, STEADY], [100 * level] * 4, 1000)
    assert found.projected == pytest.approx(1200 * level, rel=0.05)
    assert found.high80 - found.low80 > 0.05 * found.projected


# Without history ------------------------------------------------------------------------------------------------------


def test_without_history_the_budget_itself_is_the_plan_and_the_interval_is_wide() -> None:
    nothing = project([], [], 1200)
    assert nothing.p_over == 0.5
    assert nothing.projected == pytest.approx(1200)
    assert nothing.low80 < 900 < 1500 < nothing.high80
    assert project([], [110] * 9, 1200).p_over > project([], [110] * 3, 1200).p_over > 0.5


# With days ------------------------------------------------------------------------------------------------------------


def seen(history: Sequence[Sequence[float]], months: Sequence[Elapsed]) -> Projection:
    return outlook(history, months, plan=()).against(1200)


@pytest.mark.parametrize("present", [1.0, 0.75, 0.5, 0.0])
def test_what_is_missing_is_added_and_not_taken_for_saving(present: float) -> None:
    history = years_like(1200, 1200, noise=0.01)
    year = years_like(1200, noise=0.01, seed=3)[0]
    months = [Elapsed(one) for one in year[:6]]
    months[4] = Elapsed(year[4] * present, present)
    assert seen(history, months).projected == pytest.approx(1200, rel=0.01)


def test_a_running_month_counts_for_what_it_is() -> None:
    history, year = years_like(1200, 1200, noise=0.01), years_like(1200, noise=0.01, seed=3)[0]
    months = [*(Elapsed(one) for one in year[:6]), Elapsed(year[6] * 0.4, 0.4, 0.4)]
    assert seen(history, months).projected == pytest.approx(1200, rel=0.01)


def test_a_leap_day_is_no_growth() -> None:
    history = [[31.0, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]] * 2
    leap = [Elapsed(31), Elapsed(29), Elapsed(31)]
    found = outlook(history, leap, plan=(), year=2028).against(366)
    assert found.projected == pytest.approx(366, rel=1e-6)


def test_the_spring_festival_moves_energy_between_january_and_february_and_that_is_no_news() -> None:
    early = [80.0, 100, *[100.0] * 10]
    late = [Elapsed(100.0), Elapsed(80.0)]
    apart = outlook([early], late, plan=())
    together = outlook([early], late, plan=(), spring_festival=True)
    assert together.level == pytest.approx(0, abs=1e-9)
    assert together.spread < apart.spread


ODD_HISTORIES: dict[str, Sequence[Sequence[float | None]]] = {
    "none": [],
    "one year": [[100.0] * 12],
    "two years": [[100.0] * 12, [90.0] * 12],
    "nothing used": [[0.0] * 12],
    "nothing used, twice": [[0.0] * 12, [0.0] * 12],
    "rests in summer": [[100.0] * 5 + [0.0] * 3 + [100.0] * 4],
    "one month only": [[0.0] * 11 + [500.0]],
    "one month only, always": [[0.0] * 11 + [500.0]] * 3,
    "began in autumn": [[0.0] * 8 + [100.0] * 4],
    "mostly unknown": [[None] * 9 + [100.0] * 3],
    "tiny": [[1e-9] * 12],
    "huge": [[1e11] * 12],
}


@pytest.mark.parametrize("months", range(13))
@pytest.mark.parametrize("name", ODD_HISTORIES)
@pytest.mark.parametrize("used", [0.0, 1.0, 100.0, 1e6])
def test_whatever_came_before_the_answer_is_a_sane_one(name: str, months: int, used: float) -> None:
    ytd = [used] * months
    seen = [project(ODD_HISTORIES[name], ytd, budget) for budget in (600.0, 1200.0, 2400.0)]
    for one in seen:
        assert 0 <= one.p_over <= 1
        assert sum(ytd) <= one.low80 * (1 + 1e-9)
        assert one.low80 <= one.projected <= one.high80 < math.inf
    if name != "none":  # without history the budget itself is what is expected
        assert seen[0].p_over >= seen[1].p_over >= seen[2].p_over
    if months == 12:
        assert [one.p_over for one in seen] == [float(sum(ytd) > budget) for budget in (600.0, 1200.0, 2400.0)]
        assert [one.projected for one in seen] == pytest.approx([sum(ytd)] * 3)


def test_two_months_of_rest_in_the_only_year_before_are_a_season_and_one_is_an_accident() -> None:
    resting = [100.0] * 6 + [0.0, 0.0] + [100.0] * 4
    stopped = [100.0] * 6 + [0.0] + [100.0] * 5
    assert project([resting], [100.0] * 6, 1100).projected == pytest.approx(1000, rel=0.01)
    assert project([stopped], [100.0] * 6, 1200).projected == pytest.approx(1200, rel=0.01)


def test_a_season_that_is_worked_through_this_year_is_one_no_more() -> None:
    resting = [100.0] * 6 + [0.0, 0.0] + [100.0] * 4
    assert project([resting], [100.0] * 7, 1000).projected > 1090
