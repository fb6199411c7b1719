"""How marks become windows. All times in hours from an arbitrary midnight."""

from __future__ import annotations

import numpy as np

from app.rollup.windows import (
    NEAR_HOURS,
    Marked,
    Neighbours,
    Window,
    disjoint,
    merged_marks,
    shortened,
    whole_window,
    window_of,
)
from app.store.rollups import BEGINNING_US, END_US
from energy.consumption import Accepted
from tests.rollup.a_plant import CALENDAR, HOUR_US, at

MIDNIGHT = at("2026-11-01T00:00")


def hour(count: float) -> int:
    return MIDNIGHT + int(count * HOUR_US)


def marks(*pairs: tuple[int, int], whole: tuple[int, ...] = ()) -> list[tuple[int, int, int]]:
    meter, hours = np.array([m for m, _ in pairs], np.int64), np.array([h for _, h in pairs], np.int64)
    return [(one.meter_id, one.start_us // HOUR_US, one.end_us // HOUR_US) for one in merged_marks(meter, hours, whole)]


def test_marked_hours_in_a_row_are_one_stretch_and_distant_ones_are_not() -> None:
    assert marks((1, 10), (1, 11), (1, 11 + NEAR_HOURS)) == [(1, 10, 12 + NEAR_HOURS)]
    assert marks((1, 30), (1, 10)) == [(1, 10, 11), (1, 30, 31)]


def test_every_meter_has_its_own_stretches() -> None:
    assert marks((2, 10), (1, 10), (1, 9)) == [(1, 9, 11), (2, 10, 11)]


def test_a_whole_meter_swallows_its_hours() -> None:
    assert marks((1, 10), (2, 10), whole=(1, 1)) == [(1, BEGINNING_US // HOUR_US, END_US // HOUR_US), (2, 10, 11)]
    assert marks() == []


def test_a_register_window_starts_in_the_hour_of_the_reading_before() -> None:
    window = window_of(
        Marked(1, hour(10), hour(11)), Neighbours(Accepted(hour(7.25), 5.0), hour(6), hour(12.5), hour(14)), CALENDAR, 0
    )
    assert window == Window(1, hour(7), hour(11), hour(6), hour(14))


def test_without_neighbours_everything_is_read() -> None:
    window = window_of(Marked(1, hour(10), hour(11)), Neighbours(None, None, None, None), CALENDAR, 0)
    assert (window.start_us, window.read_from_us) == (hour(10), BEGINNING_US)
    assert window.reads_to_the_end


def test_a_reading_that_reaches_an_hour_only_changes_the_hour_before_it() -> None:
    """The amount of an interval long ago does not reach the marks, however far back the reading lies."""
    window = window_of(
        Marked(1, hour(10), hour(11)), Neighbours(Accepted(hour(2), 5.0), hour(1), None, None), CALENDAR, HOUR_US
    )
    assert (window.start_us, window.read_from_us) == (hour(9), hour(1))


def test_windows_that_share_readings_become_one() -> None:
    early, late = Window(1, hour(3), hour(5), hour(2), hour(8)), Window(1, hour(6), hour(9), hour(5), hour(12))
    assert disjoint([late, early]) == [Window(1, hour(3), hour(9), hour(2), hour(12))]
    assert disjoint([late, Window(2, hour(3), hour(5), hour(2), hour(8))])[0] == late


def test_a_whole_window_reads_from_the_beginning_to_the_end() -> None:
    assert whole_window(3).reads_to_the_end
    assert whole_window(3).start_us == BEGINNING_US


def test_a_meter_held_for_long_is_read_from_the_new_readings_on() -> None:
    since = Accepted(hour(-100), 5.0, 0, hour(-99))
    marked, around = Marked(1, hour(10), hour(11)), Neighbours(since, hour(-101), None, None)
    full = window_of(marked, around, CALENDAR, 0)
    window = shortened(full, marked, around, CALENDAR)
    assert window == Window(1, hour(10), hour(11), hour(10), END_US, since=since, full=full)
    assert disjoint([window, full]) == [full]


def test_what_is_accepted_after_the_marks_or_not_long_before_them_needs_the_full_window() -> None:
    marked = Marked(1, hour(10), hour(11))
    for around in (
        Neighbours(Accepted(hour(-100), 5.0, 0, hour(-99)), hour(-101), hour(20), None),
        Neighbours(Accepted(hour(5), 5.0, 0, hour(6)), hour(4), None, None),
        Neighbours(Accepted(hour(-100), 5.0), hour(-101), None, None),
        Neighbours(Accepted(hour(-100), 5.0, 0, hour(-99)), hour(-101), None, None, reached=True),
    ):
        full = window_of(marked, around, CALENDAR, 0)
        assert shortened(full, marked, around, CALENDAR) is full
