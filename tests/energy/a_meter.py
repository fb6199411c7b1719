"""Meters, their readings and what was made of them, in the words of the tests; strategies for meters of every sort."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from energy.consumption import Accepted, Assessment, Spread, assess, spread
from energy.reading import Int64s, Kind, MeterRules, Series

MINUTE_US = 60_000_000
QUARTER_US = 15 * MINUTE_US
HOUR_US = 60 * MINUTE_US
RANGE = 1000.0
"""Where the rolling meters of the properties begin again: small, so that they often do."""


def a_register(*, every_s: int = 900, rolls_over_at: float | None = None, limit: float | None = None) -> MeterRules:
    return MeterRules(Kind.REGISTER, every_s, rolls_over_at, limit)


def series_of(points: Iterable[tuple[int, float, int]]) -> Series:
    """Readings as (µs, value, quality)."""
    listed = list(points)
    return Series(
        np.array([point[0] for point in listed], np.int64),
        np.array([point[1] for point in listed], np.float64),
        np.array([point[2] for point in listed], np.int16),
    )


def readings(*values: float, every_us: int = QUARTER_US, start_us: int = 0, quality: Sequence[int] = ()) -> Series:
    """One reading after the other, equally far apart; good ones unless told otherwise."""
    qualities = quality or [0] * len(values)
    return series_of(
        (start_us + i * every_us, value, q) for i, (value, q) in enumerate(zip(values, qualities, strict=True))
    )


def edges(*at_us: int) -> Int64s:
    return np.array(at_us, np.int64)


def spread_over(series: Series, rules: MeterRules, *at_us: int) -> Spread:
    """The buckets between these edges."""
    return spread(assess(series, rules), rules, edges(*at_us))


def amounts(found: Spread) -> list[float]:
    """Raw units a bucket."""
    return [nano / 1e9 for nano in found.quantity_nano.tolist()]


def reasons(assessment: Assessment) -> list[tuple[int, str]]:
    """Which reading is held, and why."""
    return [(one.index, str(one.reason)) for one in assessment.held()]


@dataclass(frozen=True, slots=True)
class Case:
    """A meter, its whole history, and a window."""

    rules: MeterRules
    series: Series
    edges_us: Int64s


def rules_of_any_kind() -> st.SearchStrategy[MeterRules]:
    return st.builds(
        MeterRules,
        kind=st.sampled_from(Kind),
        expected_interval_s=st.sampled_from([60, 900, 3600]),
        rolls_over_at=st.sampled_from([None, RANGE]),
        max_rate_per_h=st.sampled_from([None, 400.0, 4000.0]),
    )


@st.composite
def histories(draw: st.DrawFn) -> Series:
    """Readings at irregular times: mostly rising, with glitches, falls, rollovers and every quality."""
    count = draw(st.integers(0, 30))
    gaps_s = draw(st.lists(st.sampled_from([1, 60, 900, 900, 900, 3601, 20_000]), min_size=count, max_size=count))
    steps = draw(
        st.lists(
            st.floats(0, 120, width=32) | st.sampled_from([0.0, 0.1, -5.0, -990.0]), min_size=count, max_size=count
        )
    )
    odd = draw(
        st.lists(st.sampled_from([None] * 8 + [0.0, -1.0, 12.5, 999.0, 1e6, 5e11]), min_size=count, max_size=count)
    )
    quality = draw(st.lists(st.sampled_from([0] * 8 + [1, 2, 3]), min_size=count, max_size=count))
    at_us, value, points = draw(st.integers(-10, 10)) * 1_000_003, draw(st.floats(0, 999)), []
    for gap_s, step, glitch, q in zip(gaps_s, steps, odd, quality, strict=True):
        at_us += gap_s * 1_000_000
        value = (value + step) % RANGE
        points.append((at_us, value if glitch is None else glitch, q))
    return series_of(points)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A history and a window somewhere in or around it."""
    series = draw(histories())
    start_us, length = (
        draw(st.integers(-20, 200)),
        draw(st.lists(st.integers(1, 9 * QUARTER_US), min_size=1, max_size=9)),
    )
    marks = np.cumsum([start_us * QUARTER_US, *length]).astype(np.int64)
    return Case(draw(rules_of_any_kind()), series, marks)


def window_of(case: Case) -> tuple[Accepted | None, Series]:
    """What to load for the window: the accepted reading before it, and all up to the first after it that stays."""
    accepted = assess(case.series, case.rules).accepted
    at_us = case.series.at_us
    earlier = np.flatnonzero(accepted & (at_us <= case.edges_us[0]))
    later = np.flatnonzero(accepted & (at_us >= case.edges_us[-1]))
    first, last = (int(earlier[-1]) + 1 if len(earlier) else 0), len(at_us)
    for end in range(int(later[0]) + 1 if len(later) else last, last):
        if assess(case.series[first:end], case.rules).certain(case.rules)[later[0] - first :].any():
            last = end
            break
    before = None
    if len(earlier):
        at = int(earlier[-1])
        before = Accepted(int(at_us[at]), float(case.series.value[at]), int(case.series.quality[at]))
    return before, case.series[first : max(first, last)]
