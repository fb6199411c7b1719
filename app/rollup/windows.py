"""Which stretch of a meter's history has to be looked at again, and what to read for it. Pure.

A mark names an hour in which a reading came, changed or went. Such a reading changes the two segments beside it and,
through what it makes plausible or not, perhaps readings after it. So a window reaches back to the hour of the accepted
reading before the marks, and on to the hour of the first accepted reading after them that stays accepted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from app.store.rollups import BEGINNING_US, END_US
from energy.interval import HOUR_US, Level, SiteCalendar

Int64s = npt.NDArray[np.int64]

NEAR_HOURS = 6
"""Marked hours at most this far apart share a window: reading a few more hours costs less than another window."""


@dataclass(frozen=True, slots=True)
class Marked:
    """Changed readings of one meter lie in [start_us, end_us)."""

    meter_id: int
    start_us: int
    end_us: int

    @property
    def whole(self) -> bool:
        return self.start_us == BEGINNING_US


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Times of accepted readings around a marked stretch, as the ledger has them; None: there is none.

    `previous_us` is the last one before the stretch, `anchor_us` the last one at least an hour before that;
    `next_us` the first one after the stretch, `beyond_us` the first one at least an hour after that.
    """

    previous_us: int | None
    anchor_us: int | None
    next_us: int | None
    beyond_us: int | None


@dataclass(frozen=True, slots=True)
class Window:
    """What to recompute of one meter: hours from `start_us`, readings from `read_from_us` up to `read_to_us` (both in).

    `marked_end_us` is where the marks end. Readings before `read_from_us` change nothing: at it lies an accepted one,
    or it is the beginning of all.
    """

    meter_id: int
    start_us: int
    marked_end_us: int
    read_from_us: int
    read_to_us: int

    @property
    def reads_to_the_end(self) -> bool:
        return self.read_to_us >= END_US


def merged_marks(meter: Int64s, hour: Int64s, whole: Iterable[int]) -> list[Marked]:
    """The stretches that pairs (meter, unix hour) and wholly marked meters make, in order of meter and time."""
    wholly = sorted(set(whole))
    inside = ~np.isin(meter, np.array(wholly, np.int64))
    meter, hour = meter[inside], hour[inside]
    order = np.lexsort((hour, meter))
    meter, hour = meter[order], hour[order]
    first = np.flatnonzero(np.r_[True, (np.diff(meter) != 0) | (np.diff(hour) > NEAR_HOURS)][: len(meter)])
    last = np.r_[first[1:] - 1, len(meter) - 1][: len(first)]
    stretches = zip(meter[first].tolist(), hour[first].tolist(), hour[last].tolist(), strict=True)
    found = [Marked(m, begin * HOUR_US, (end + 1) * HOUR_US) for m, begin, end in stretches]
    return sorted([*found, *(Marked(m, BEGINNING_US, END_US) for m in wholly)], key=_by_meter_and_time)


def _by_meter_and_time(stretch: Marked | Window) -> tuple[int, int]:
    return stretch.meter_id, stretch.start_us


def whole_window(meter_id: int) -> Window:
    """All of a meter's history."""
    return Window(meter_id, BEGINNING_US, END_US, BEGINNING_US, END_US)


def window_of(marked: Marked, around: Neighbours, calendar: SiteCalendar, reach_us: int) -> Window:
    """The window of a marked stretch. No bucket is longer than an hour, so an hour beyond finds the whole bucket.

    `reach_us` is how far a reading covers by itself; 0 for a register, whose readings reach to their neighbours.
    """
    begin_us = marked.start_us if around.previous_us is None else around.previous_us
    if reach_us:
        begin_us = max(begin_us, marked.start_us - reach_us)
    return Window(
        marked.meter_id,
        calendar.bucket_start(Level.HOUR, begin_us),
        marked.end_us,
        BEGINNING_US if around.anchor_us is None else around.anchor_us,
        END_US if around.beyond_us is None else around.beyond_us,
    )


def disjoint(windows: Iterable[Window]) -> list[Window]:
    """Windows of one meter that share readings become one, so that no hour is computed twice."""
    found: list[Window] = []
    for window in sorted(windows, key=_by_meter_and_time):
        last = found[-1] if found else None
        if last is None or last.meter_id != window.meter_id or window.read_from_us >= last.read_to_us:
            found.append(window)
        else:
            found[-1] = replace(
                last,
                marked_end_us=max(last.marked_end_us, window.marked_end_us),
                read_to_us=max(last.read_to_us, window.read_to_us),
                read_from_us=min(last.read_from_us, window.read_from_us),
            )
    return found


def reading_further(window: Window, to_us: int | None) -> Window:
    """The same window with readings up to a later one; None: all that follow."""
    return replace(window, read_to_us=END_US if to_us is None else to_us)
