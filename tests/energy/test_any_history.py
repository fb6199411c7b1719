"""What holds for every meter and every history."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from energy.consumption import Accepted, HoldReason, assess, spread, touched_us
from energy.reading import Kind, MeterRules, Series
from tests.energy.a_meter import HOUR_US, Case, a_register, cases, histories, rules_of_any_kind, series_of, window_of

DAY_US = 24 * HOUR_US


def one_by_one(series: Series, rules: MeterRules) -> list[str | None]:
    """The verdicts on registers as the contract says them, one reading after the other; again for each spike found."""
    points = list(zip(series.at_us.tolist(), series.value.tolist(), series.quality.tolist(), strict=True))
    spikes: set[int] = set()
    while True:
        found = verdicts(points, rules, spikes)
        spike = next((i for i in range(len(points)) if is_spike(points, found, i, rules)), None)
        if spike is None:
            return found
        spikes.add(spike)


Point = tuple[int, float, int]


def verdicts(points: list[Point], rules: MeterRules, spikes: set[int]) -> list[str | None]:
    found: list[str | None] = []
    last: tuple[int, float] | None = None
    for i, (at_us, value, quality) in enumerate(points):
        found.append("spike" if i in spikes else verdict(last, at_us, value, quality, rules))
        if found[-1] is None:
            last = at_us, value
    return found


def is_spike(points: list[Point], found: list[str | None], i: int, rules: MeterRules) -> bool:
    """Accepted, and the next two that mean something are on the course from the one accepted before."""
    earlier = [n for n in range(i) if found[n] is None]
    sound = [n for n in range(i + 1, len(points)) if verdict(None, *points[n], rules) is None]
    if found[i] is not None or not earlier or len(sound) < 2 or found[sound[0]] != "register-fell":
        return False
    course, (back, then) = points[earlier[-1]], sound[:2]
    return (
        verdict(course[:2], *points[back], rules) is None
        and verdict(points[back][:2], *points[then], rules) is None
        and points[back][1] <= points[then][1] < points[i][1]
    )


def verdict(last: tuple[int, float] | None, at_us: int, value: float, quality: int, rules: MeterRules) -> str | None:
    full = rules.rolls_over_at
    if quality == 3:
        return "quality-bad"
    if value < 0:
        return "negative"
    if full is not None and value >= full:
        return "above-rollover"
    if last is None:
        return None
    drawn = value - last[1]
    if drawn < 0:
        if full is None or last[1] < 0.9 * full or value >= 0.1 * full:
            return "register-fell"
        drawn += full
    too_fast = rules.max_rate_per_h is not None and drawn * HOUR_US > rules.max_rate_per_h * (at_us - last[0])
    return "rate-above-limit" if too_fast else None


@given(histories(), rules_of_any_kind())
@settings(max_examples=150, deadline=None)
def test_runs_taken_at_once_are_judged_as_one_by_one(series: Series, rules: MeterRules) -> None:
    rules = MeterRules(Kind.REGISTER, rules.expected_interval_s, rules.rolls_over_at, rules.max_rate_per_h)
    assessment = assess(series, rules)
    told: list[HoldReason | None] = [None] * len(series)
    for held in assessment.held():
        told[held.index] = held.reason
    assert told == one_by_one(series, rules)
    assert assessment.accepted.tolist() == [why is None for why in told]


@given(histories(), rules_of_any_kind(), st.lists(st.integers(0, 30), max_size=3))
@settings(max_examples=150, deadline=None)
def test_a_history_judged_in_parts_is_judged_as_a_whole(series: Series, rules: MeterRules, cuts: list[int]) -> None:
    """Each part goes on from the last accepted reading that nothing can turn into a spike any more."""
    whole = assess(series, rules)
    last: Accepted | None = None
    codes, rolled, first = [], [], 0
    for cut in sorted(cuts):
        part = assess(series[first:cut], rules, before=last) if cut > first else None
        certain = [] if part is None else np.flatnonzero(part.certain(rules)).tolist()
        if part is None or not certain:
            continue
        kept = certain[-1] + 1
        codes += part.reason_code[:kept].tolist()
        rolled += part.rolled_over[:kept].tolist()
        last = Accepted(int(part.series.at_us[kept - 1]), float(part.series.value[kept - 1]))
        first += kept
    part = assess(series[first:], rules, before=last)
    assert [*codes, *part.reason_code.tolist()] == whole.reason_code.tolist()
    assert [*rolled, *part.rolled_over.tolist()] == whole.rolled_over.tolist()


@given(cases())
@settings(max_examples=120, deadline=None)
def test_a_window_gives_the_figures_of_the_whole_history(case: Case) -> None:
    whole = spread(assess(case.series, case.rules), case.rules, case.edges_us)
    before, series = window_of(case)
    part = spread(assess(series, case.rules, before=before), case.rules, case.edges_us, before=before)
    assert part.quantity_nano.tolist() == whole.quantity_nano.tolist()
    assert part.measured_us.tolist() == whole.measured_us.tolist()
    assert part.estimated_us.tolist() == whole.estimated_us.tolist()


def whole_accepts(case: Case, last: Accepted) -> bool:
    """Whether no later reading made a spike of the last one that is handed on."""
    assessment = assess(case.series, case.rules)
    return bool(assessment.accepted[int(np.searchsorted(case.series.at_us, last.at_us))])


@given(cases(), st.integers(1, 30))
@settings(max_examples=120, deadline=None)
def test_a_history_cut_after_held_readings_gives_the_same_figures(case: Case, cut: int) -> None:
    """The figures after the cut come from the second part and what the first one hands on."""
    earlier, later = case.series[:cut], case.series[cut:]
    last = assess(earlier, case.rules).last
    from_us = DAY_US if last is None else last.at_us
    edges_us = from_us + np.arange(6, dtype=np.int64) * 17 * 60_000_000
    whole = spread(assess(case.series, case.rules), case.rules, edges_us)
    part = spread(assess(later, case.rules, before=last), case.rules, edges_us, before=last)
    if last is not None and whole_accepts(case, last):
        assert part.quantity_nano.tolist() == whole.quantity_nano.tolist()
        assert part.estimated_us.tolist() == whole.estimated_us.tolist()
        assert part.measured_us.tolist() == whole.measured_us.tolist()


@given(histories(), st.sampled_from([None, 1000.0]), st.lists(st.integers(-DAY_US, 40 * DAY_US), max_size=12))
@settings(max_examples=150, deadline=None)
def test_buckets_of_a_register_add_up_to_last_minus_first(
    series: Series, rolls_over_at: float | None, marks: list[int]
) -> None:
    rules = a_register(rolls_over_at=rolls_over_at)
    assessment = assess(series, rules)
    edges_us = np.unique(np.array([-DAY_US, *marks, 40 * DAY_US], np.int64))
    found = spread(assessment, rules, edges_us)
    nano = [int(np.rint(value * 1e9)) for value in series.value[assessment.accepted].tolist()]
    drawn = (nano[-1] - nano[0] if nano else 0) + int(assessment.rolled_over.sum()) * 1000 * 10**9
    assert sum(found.quantity_nano.tolist()) == drawn
    assert min(found.quantity_nano.tolist()) >= 0


@given(cases())
@settings(max_examples=120, deadline=None)
def test_no_bucket_holds_more_time_than_it_has(case: Case) -> None:
    found = spread(assess(case.series, case.rules), case.rules, case.edges_us)
    covered = found.measured_us + found.estimated_us
    assert (found.measured_us >= 0).all()
    assert (found.estimated_us >= 0).all()
    assert (covered <= np.diff(case.edges_us)).all()


@given(cases())
@settings(max_examples=120, deadline=None)
def test_finer_buckets_add_up_to_coarser_ones(case: Case) -> None:
    assessment = assess(case.series, case.rules)
    finer = spread(assessment, case.rules, case.edges_us)
    coarser = spread(assessment, case.rules, case.edges_us[[0, -1]])
    assert sum(finer.quantity_nano.tolist()) == coarser.quantity_nano.tolist()[0]
    assert int(finer.measured_us.sum()) == int(coarser.measured_us[0])


@given(cases(), st.integers(0, 29), st.floats(0, 999))
@settings(max_examples=150, deadline=None)
def test_a_changed_reading_changes_nothing_outside_what_it_is_said_to_touch(case: Case, at: int, value: float) -> None:
    if at >= len(case.series):
        return
    points = list(
        zip(case.series.at_us.tolist(), case.series.value.tolist(), case.series.quality.tolist(), strict=True)
    )
    changed_us = points[at][0]
    other = series_of([*points[:at], (changed_us, value, 0), *points[at + 1 :]])
    old, new = assess(case.series, case.rules), assess(other, case.rules)
    stands = old.accepted & new.accepted
    earlier = [points[i][0] for i in range(at) if stands[i]]
    later = [points[i][0] for i in range(at + 1, len(points)) if stands[i]]
    previous_us, next_us = (earlier[-1] if earlier else None), (later[0] if later else None)
    start_us, end_us = touched_us(case.rules, changed_us, changed_us, previous_us=previous_us, next_us=next_us)
    if next_us is None and case.rules.kind is Kind.REGISTER:
        end_us = 400 * DAY_US
    start = min(start_us, case.edges_us[0])
    edges_us = np.unique(np.array([start, start_us, end_us, *case.edges_us, 500 * DAY_US], np.int64))
    before, after = (spread(a, case.rules, edges_us) for s, a in ((case.series, old), (other, new)))
    same = np.array(before.quantity_nano.tolist()) == np.array(after.quantity_nano.tolist())
    outside = (edges_us[1:] <= start_us) | (edges_us[:-1] >= end_us)
    assert same[outside].all()
