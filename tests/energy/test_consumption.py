"""What of a meter's readings is believed, and which bucket what was drawn lands in, worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from energy.consumption import Accepted, HoldReason, assess, reach_us, spread, touched_us
from energy.reading import BadSeries, Kind, MeterRules, Series
from tests.energy.a_meter import (
    HOUR_US,
    MINUTE_US,
    QUARTER_US,
    a_register,
    amounts,
    edges,
    readings,
    reasons,
    series_of,
    spread_over,
)


def test_what_a_rising_register_drew_is_even_between_readings() -> None:
    found = spread_over(readings(100, 140, every_us=HOUR_US), a_register(every_s=3600), 0, QUARTER_US, HOUR_US)
    assert amounts(found) == [10, 30]
    assert found.measured_us.tolist() == [QUARTER_US, 3 * QUARTER_US]
    assert found.estimated_us.tolist() == [0, 0]


def test_time_before_the_first_and_after_the_last_register_is_missing() -> None:
    found = spread_over(readings(5, 9, start_us=HOUR_US), a_register(), 0, HOUR_US, HOUR_US + QUARTER_US, 2 * HOUR_US)
    assert amounts(found) == [0, 4, 0]
    assert found.measured_us.tolist() == [0, QUARTER_US, 0]


def test_a_rollover_from_the_last_tenth_into_the_first_is_counted_through() -> None:
    rules, series = a_register(rolls_over_at=1_000_000), readings(999_984, 20)
    assessment = assess(series, rules)
    assert assessment.accepted.all()
    assert assessment.rolled_over.tolist() == [False, True]
    assert amounts(spread(assessment, rules, edges(0, QUARTER_US))) == [36]


def test_a_fall_of_a_meter_that_never_rolls_over_is_a_glitch_left_out_when_the_course_returns() -> None:
    rules, series = a_register(), readings(38_312, 0, 38_315)
    assessment = assess(series, rules)
    assert reasons(assessment) == [(1, "register-fell")]
    found = spread(assessment, rules, edges(0, QUARTER_US, 2 * QUARTER_US))
    assert amounts(found) == [1.5, 1.5]
    assert found.estimated_us.tolist() == [QUARTER_US, QUARTER_US], "a held reading lies between"


def test_an_exchange_nobody_recorded_is_held_until_somebody_says_what_it_was() -> None:
    """84,210 is not in the last tenth of a million, so 12 and all that follows it wait."""
    assessment = assess(readings(84_200, 84_210, 12, 13, 14.5), a_register(rolls_over_at=1_000_000))
    assert reasons(assessment) == [(2, "register-fell"), (3, "register-fell"), (4, "register-fell")]
    assert assessment.last == Accepted(QUARTER_US, 84_210, 0, held_after_us=2 * QUARTER_US)


@pytest.mark.parametrize(
    ("old", "new", "rolls"),
    [(900, 99, True), (899, 5, False), (950, 100, False), (999, 0, True), (950, 940, False)],
)
def test_only_a_fall_from_the_last_tenth_to_the_first_is_a_rollover(old: float, new: float, rolls: bool) -> None:
    assert bool(assess(readings(old, new), a_register(rolls_over_at=1000)).accepted[1]) is rolls


def test_six_hours_offline_and_then_the_backlog_gives_every_hour_as_if_nothing_had_been() -> None:
    values = [40.0 * i for i in range(13)]
    with_gap, after = readings(*values[:3], *values[11:]), readings(*values, every_us=HOUR_US // 2)
    hours = range(0, 7 * HOUR_US, HOUR_US)
    assert len(with_gap) == 5
    assert amounts(spread_over(after, a_register(every_s=1800), *hours)) == [80] * 6


def test_six_hours_without_a_reading_are_bridged_as_an_estimate_and_nothing_is_held() -> None:
    """The jump is 6 h at the usual rate: a limit on the mean rate lets it pass, a limit on the step would not."""
    series = series_of([(0, 100.0, 0), (6 * HOUR_US, 700.0, 0), (6 * HOUR_US + QUARTER_US, 725.0, 0)])
    rules = a_register(limit=120)
    assessment = assess(series, rules)
    assert assessment.accepted.all()
    found = spread(assessment, rules, edges(0, HOUR_US, 6 * HOUR_US, 6 * HOUR_US + QUARTER_US))
    assert amounts(found) == [100, 500, 25]
    assert found.estimated_us.tolist() == [HOUR_US, 5 * HOUR_US, 0]
    assert found.measured_us.tolist() == [0, 0, QUARTER_US]


def test_two_expected_intervals_are_measured_and_a_microsecond_more_is_an_estimate() -> None:
    exactly, longer = (series_of([(0, 0.0, 0), (2 * QUARTER_US + more, 1.0, 0)]) for more in (0, 1))
    assert spread_over(exactly, a_register(), 0, HOUR_US).estimated_us.tolist() == [0]
    assert spread_over(longer, a_register(), 0, HOUR_US).measured_us.tolist() == [0]


def test_a_jump_above_the_limit_is_held_and_the_mean_rate_since_decides_on_the_next() -> None:
    assessment = assess(readings(0, 26, 50, 51), a_register(limit=100))
    assert reasons(assessment) == [(1, "rate-above-limit")], "50 in half an hour is just 100 an hour"


def test_a_rollover_too_fast_to_be_true_is_held() -> None:
    assessment = assess(readings(900, 99), a_register(rolls_over_at=1000, limit=100))
    assert reasons(assessment) == [(1, "rate-above-limit")]


def test_every_reason_to_hold_a_register() -> None:
    series = readings(10, 11, -1, 1000, 9, 500, 12, quality=[0, 3, 0, 0, 0, 0, 0])
    assert reasons(assess(series, a_register(rolls_over_at=1000, limit=100))) == [
        (1, HoldReason.QUALITY_BAD),
        (2, HoldReason.NEGATIVE),
        (3, HoldReason.ABOVE_ROLLOVER),
        (4, HoldReason.REGISTER_FELL),
        (5, HoldReason.RATE_ABOVE_LIMIT),
    ]


@pytest.mark.parametrize("quality", [1, 2])
def test_what_the_gateway_itself_doubts_makes_both_its_sides_estimates(quality: int) -> None:
    series = readings(0, 1, 2, 3, quality=[0, 0, quality, 0])
    found = spread_over(series, a_register(), 0, QUARTER_US, 2 * QUARTER_US, 3 * QUARTER_US)
    assert found.estimated_us.tolist() == [0, QUARTER_US, QUARTER_US]
    assert amounts(found) == [1, 1, 1]


def test_an_interval_starts_at_its_time_and_lasts_the_expected_interval_at_most() -> None:
    rules = MeterRules(Kind.INTERVAL, 900)
    found = spread_over(
        series_of([(0, 6.0, 0), (QUARTER_US, 8.0, 1), (3 * QUARTER_US, 4.0, 0)]),
        rules,
        *range(0, 5 * QUARTER_US + 1, QUARTER_US),
    )
    assert amounts(found) == [6, 8, 0, 4, 0]
    assert found.measured_us.tolist() == [QUARTER_US, 0, 0, QUARTER_US, 0]
    assert found.estimated_us.tolist() == [0, QUARTER_US, 0, 0, 0]


def test_an_interval_that_comes_early_keeps_its_amount_in_the_shorter_time() -> None:
    series = series_of([(0, 6.0, 0), (5 * MINUTE_US, 3.0, 0)])
    found = spread_over(series, MeterRules(Kind.INTERVAL, 900), 0, 5 * MINUTE_US, 20 * MINUTE_US)
    assert amounts(found) == [6, 3]


def test_a_rate_is_held_until_the_next_reading_and_two_expected_intervals_at_most() -> None:
    """60 an hour for a quarter is 15; then 40 an hour for half an hour is 20, and nothing after that."""
    series = series_of([(0, 60.0, 0), (QUARTER_US, 40.0, 0), (2 * HOUR_US, 8.0, 0)])
    found = spread_over(series, MeterRules(Kind.RATE, 900), 0, QUARTER_US, HOUR_US, 2 * HOUR_US, 3 * HOUR_US)
    assert amounts(found) == [15, 20, 0, 4]
    assert found.measured_us.tolist() == [QUARTER_US, 2 * QUARTER_US, 0, 2 * QUARTER_US]


def test_a_held_rate_ends_the_one_before_it_and_covers_nothing() -> None:
    series = readings(60, -1, 60)
    found = spread_over(series, MeterRules(Kind.RATE, 900), 0, QUARTER_US, 2 * QUARTER_US, 3 * QUARTER_US)
    assert amounts(found) == [15, 0, 15]
    assert found.measured_us.tolist() == [QUARTER_US, 0, QUARTER_US]


def test_intervals_and_rates_are_judged_one_by_one() -> None:
    series = readings(26, 5, 25, -1, 5, quality=[0, 0, 0, 0, 3])
    held = [(0, "rate-above-limit"), (3, "negative"), (4, "quality-bad")]
    assert reasons(assess(series, MeterRules(Kind.INTERVAL, 900, max_rate_per_h=100))) == held
    assert reasons(assess(series, MeterRules(Kind.RATE, 900, max_rate_per_h=25))) == held


def test_registers_beyond_the_reach_of_int64_still_add_up() -> None:
    """9e11 + 1 is 9e20 billionths, a hundred times what int64 can count; a double at that size steps by 131,072."""
    found = spread_over(readings(9e11, 9.5e11, 9.75e11), a_register(), 0, QUARTER_US, 2 * QUARTER_US)
    assert found.quantity_nano.tolist() == [50 * 10**18, 25 * 10**18]


def test_many_rollovers_add_up_beyond_int64() -> None:
    rules = a_register(rolls_over_at=1e9)
    series = readings(*[value for _ in range(30) for value in (0, 0.95e9)])
    found = spread_over(series, rules, 0, len(series) * QUARTER_US)
    assert found.quantity_nano.tolist() == [29 * 10**18 + 950_000_000 * 10**9]


def test_a_meter_without_readings_has_empty_buckets() -> None:
    for kind in Kind:
        found = spread_over(Series.empty(), MeterRules(kind, 900), 0, HOUR_US, 2 * HOUR_US)
        assert (amounts(found), found.measured_us.tolist(), found.estimated_us.tolist()) == ([0, 0], [0, 0], [0, 0])


def test_what_is_held_before_a_series_makes_the_bridge_to_it_an_estimate() -> None:
    before = Accepted(0, 10.0, held_after_us=QUARTER_US)
    series = readings(14, start_us=2 * QUARTER_US)
    found = spread(assess(series, a_register(), before=before), a_register(), edges(0, HOUR_US), before=before)
    assert (amounts(found), found.estimated_us.tolist()) == ([4], [2 * QUARTER_US])


def test_what_is_held_at_the_start_of_a_series_makes_the_bridge_over_it_an_estimate() -> None:
    before, rules, series = Accepted(0, 10.0), a_register(), readings(3, 14, start_us=QUARTER_US)
    found = spread(assess(series, rules, before=before), rules, edges(0, HOUR_US), before=before)
    assert (amounts(found), found.estimated_us.tolist()) == ([4], [2 * QUARTER_US])


def test_a_part_without_an_accepted_reading_hands_on_what_came_before_it() -> None:
    before = Accepted(0, 10.0)
    fell = readings(3, 4, start_us=QUARTER_US)
    assert assess(fell, a_register(), before=before).last == Accepted(0, 10.0, held_after_us=QUARTER_US)
    assert assess(Series.empty(), a_register(), before=before).last == before
    assert assess(fell, a_register()).last == Accepted(2 * QUARTER_US, 4.0)


def test_the_reading_before_a_series_must_be_earlier() -> None:
    with pytest.raises(ValueError, match="earlier than its first"):
        assess(readings(1, 2), a_register(), before=Accepted(0, 1.0))


def test_how_far_a_reading_reaches_by_itself() -> None:
    assert [reach_us(MeterRules(kind, 900)) // MINUTE_US for kind in (Kind.REGISTER, Kind.INTERVAL, Kind.RATE)] == [
        0,
        15,
        30,
    ]


def test_a_changed_register_touches_everything_between_its_accepted_neighbours() -> None:
    assert touched_us(a_register(), 50, 60, previous_us=10, next_us=90) == (10, 90)
    assert touched_us(a_register(), 50, 60, previous_us=None, next_us=None) == (50, 61)


def test_a_changed_rate_touches_what_it_covers_and_the_one_it_cuts_short() -> None:
    rules, at_us = MeterRules(Kind.RATE, 900), 10 * HOUR_US
    reach = reach_us(rules)
    assert touched_us(rules, at_us, at_us, previous_us=None, next_us=None) == (at_us - reach, at_us + reach)
    assert touched_us(rules, at_us, at_us, previous_us=at_us - 7, next_us=at_us + 9) == (at_us - 7, at_us + 9)
    assert touched_us(rules, at_us, at_us, previous_us=at_us - reach, next_us=None) == (at_us, at_us + reach)


TIMES, VALUES, QUALITIES = np.array([0, 9], np.int64), np.array([1.0, 2.0]), np.array([0, 0], np.int16)


@pytest.mark.parametrize(
    ("at_us", "value", "quality"),
    [
        (np.array([9, 0], np.int64), VALUES, QUALITIES),
        (np.array([9, 9], np.int64), VALUES, QUALITIES),
        (TIMES.astype(np.float64), VALUES, QUALITIES),
        (TIMES, np.array([1, np.nan]), QUALITIES),
        (TIMES, np.array([1, 2e12]), QUALITIES),
        (TIMES, VALUES[:1], QUALITIES),
        (TIMES, VALUES, np.array([0, 4], np.int16)),
    ],
)
def test_a_series_refuses_what_is_none(at_us: Any, value: Any, quality: Any) -> None:
    with pytest.raises(BadSeries):
        Series(at_us, value, quality)


def test_a_part_of_a_series_by_time_is_half_open() -> None:
    assert readings(1, 2, 3, 4).between(QUARTER_US, 3 * QUARTER_US).value.tolist() == [2, 3]


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("expected_interval_s", lambda: MeterRules(Kind.REGISTER, 0)),
        ("rolls_over_at", lambda: MeterRules(Kind.REGISTER, 900, rolls_over_at=0.0)),
        ("max_rate_per_h", lambda: MeterRules(Kind.REGISTER, 900, max_rate_per_h=-1.0)),
    ],
)
def test_rules_refuse_what_no_meter_has(name: str, make: Callable[[], MeterRules]) -> None:
    with pytest.raises(ValueError, match=name):
        make()
