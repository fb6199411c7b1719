"""Plans that add up, and where a budget stands."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energy.budget import (
    AmountNotPositive,
    Budget,
    BudgetBasis,
    MonthsDoNotAddUp,
    MonthsNotTwelve,
    Standing,
    Tier,
    WrongBudget,
    checked_amount,
    checked_year,
    given_plan,
    plan_to_date,
    position_of,
    shared_plan,
    tier_of,
)
from energy.projection import Elapsed, Projection
from energy.same_days import Moment

WEIGHTS = st.lists(st.floats(0, 1e6), min_size=12, max_size=12).filter(lambda one: sum(one) > 0)


@settings(max_examples=200, deadline=None)
@given(st.decimals("0.01", "1e11", places=2), WEIGHTS)
def test_a_shared_plan_adds_up_to_the_last_hundredth(amount: Decimal, weights: list[float]) -> None:
    assert sum(shared_plan(amount, weights)) == amount


@pytest.mark.parametrize("weights", [[1.0] * 11, [0.0] * 12, [-1.0] + [1.0] * 11])
def test_weights_that_cannot_share_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="twelve weights"):
        shared_plan(Decimal(12), weights)


def test_a_given_plan_may_be_rounded_and_not_more() -> None:
    third = Decimal("8333.33")
    assert given_plan(Decimal(100_000), [third] * 12) == (third,) * 12
    with pytest.raises(MonthsDoNotAddUp, match=r"they differ by 0\.08"):
        given_plan(Decimal(100_000), [Decimal("8333.34")] * 12)


@pytest.mark.parametrize("count", [0, 11, 13])
def test_a_plan_has_twelve_months(count: int) -> None:
    with pytest.raises(MonthsNotTwelve, match=f"a plan has 12 months, not {count}"):
        given_plan(Decimal(12), [Decimal(1)] * count)


@pytest.mark.parametrize("month", ["-1", "NaN", "Infinity"])
def test_a_month_below_zero_is_refused(month: str) -> None:
    with pytest.raises(WrongBudget, match="month 3 is"):
        given_plan(Decimal(12), [Decimal(1)] * 2 + [Decimal(month)] + [Decimal(1)] * 9)


@pytest.mark.parametrize("amount", ["0", "-0.01", "NaN", "Infinity"])
def test_an_amount_is_above_zero(amount: str) -> None:
    with pytest.raises(AmountNotPositive):
        checked_amount(Decimal(amount))


@pytest.mark.parametrize("year", [1999, 2101])
def test_a_year_is_one_that_meters_can_have_seen(year: int) -> None:
    with pytest.raises(WrongBudget, match="a year from 2000 to 2100"):
        checked_year(year)


@pytest.mark.parametrize(
    ("p_over", "spent", "tier"),
    [(0.64, "1", "green"), (0.65, "1", "yellow"), (0.85, "1", "orange"), (0.98, "1", "red"), (0.0, "1201", "red")],
)
def test_the_colour_follows_the_probability_and_red_the_fact(p_over: float, spent: str, tier: str) -> None:
    assert tier_of(Projection(p_over, 1, 1, 1), Decimal(spent), Decimal(1200)) is Tier(tier)
    assert tier_of(Projection(0.1, 1, 1, 1), None, Decimal(1200)) is Tier.GREEN


def a_budget(amount: int = 1200) -> Budget:
    monthly = (Decimal(amount) / 12,) * 12
    return Budget("X", 2026, BudgetBasis.EQUIVALENT, 1, Decimal(amount), monthly)


@pytest.mark.parametrize(
    ("moment", "planned"),
    [
        (Moment(date(2025, 12, 31)), 0),
        (Moment(date(2026, 1, 1)), 0),
        (Moment(date(2026, 4, 16)), 350),
        (Moment(date(2026, 4, 15), 1 - 2**-20), 350),
        (Moment(date(2027, 1, 1)), 1200),
    ],
)
def test_the_plan_to_date_goes_by_days(moment: Moment, planned: int) -> None:
    assert plan_to_date(a_budget(), moment) == planned


def standing(months: list[Elapsed], as_of: date) -> Standing:
    spent = Decimal(str(sum(one.spent for one in months)))
    return Standing(Moment(as_of), ((100.0,) * 12,) * 2, tuple(months), spent, Decimal(0), 1.0, 1.0)


def test_the_day_of_crossing_lies_in_its_range_and_a_budget_that_is_kept_has_none() -> None:
    months = [Elapsed(100.0)] * 6
    found = position_of(a_budget(1000), standing(months, date(2026, 7, 1)))
    crossing = found.crossing
    assert crossing.earliest is not None
    assert crossing.expected is not None
    assert crossing.latest is not None
    assert crossing.earliest <= crossing.expected <= crossing.latest
    assert crossing.expected.month in (10, 11)
    assert position_of(a_budget(1500), standing(months, date(2026, 7, 1))).crossing.expected is None


def test_a_budget_that_is_used_up_was_crossed_at_the_latest_now() -> None:
    found = position_of(a_budget(500), standing([Elapsed(100.0)] * 6, date(2026, 7, 1)))
    assert (found.tier, found.crossing.expected) == (Tier.RED, date(2026, 7, 1))
    assert found.months == 6
