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
from energy.consumption import Accepted
from energy.interval import DAY_US, HOUR_US, Level, SiteCalendar

Int64s = npt.NDArray[np.int64]

NEAR_HOURS = 6
"""Marked hours at most this far apart share a window: reading a few more hours costs less than another window."""
LONG_HELD_US = DAY_US
"""A run of held readings longer than this is not read again with every new one."""


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
    """Accepted readings around a marked stretch, as the ledger has them; None: there is none.

    `previous` is the last one before the stretch, with the first held one between the two; `anchor_us` the last one at
    least an hour before that; `next_us` the first one after the stretch, `beyond_us` the first one at least an hour
    after that. `reached`: figures are stored for the hours just before the stretch. `settled`: whatever comes, no spike
    can be made of `previous`.
    """

    previous: Accepted | None
    anchor_us: int | None
    next_us: int | None
    beyond_us: int | None
    reached: bool = False
    settled: bool = True


@dataclass(frozen=True, slots=True)
class Window:
    """What to recompute of one meter: hours from `start_us`, readings from `read_from_us` up to `read_to_us` (both in).

    `marked_end_us` is where the marks end. Readings before `read_from_us` change nothing: at it lies an accepted one,
    or it is the beginning of all.

    `since` makes it a short one: the last accepted reading lies long before `read_from_us` and all in between are held.
    If that goes on, nothing but what is held changes; if not, `full` is the window to do instead.
    """

    meter_id: int
    start_us: int
    marked_end_us: int
    read_from_us: int
    read_to_us: int
    since: Accepted | None = None
    full: Window | None = None

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
    begin_us = marked.start_us if around.previous is None else around.previous.at_us
    if reach_us:
        begin_us = max(begin_us, marked.start_us - reach_us)
    return Window(
        marked.meter_id,
        calendar.bucket_start(Level.HOUR, begin_us),
        marked.end_us,
        BEGINNING_US if around.anchor_us is None else around.anchor_us,
        END_US if around.beyond_us is None else around.beyond_us,
    )


def shortened(window: Window, marked: Marked, around: Neighbours, calendar: SiteCalendar) -> Window:
    """The window, or a short one where a register is held day after day and nobody has said yet why.

    Without it each new reading of such a meter would read all of them since the last accepted one again. Where figures
    reach up to the marks, a reading there was accepted so far, and what it carried may have to go.
    """
    since = around.previous
    if since is None or since.held_after_us is None or around.next_us is not None or around.reached:
        return window
    if not around.settled:
        return window
    start_us = calendar.bucket_start(Level.HOUR, marked.start_us)
    if start_us - since.at_us < LONG_HELD_US:
        return window
    return Window(marked.meter_id, start_us, marked.end_us, start_us, END_US, since=since, full=window)


def disjoint(windows: Iterable[Window]) -> list[Window]:
    """Windows of one meter that share readings become one, so that no hour is computed twice."""
    found: list[Window] = []
    for window in sorted(windows, key=_by_meter_and_time):
        last = found[-1] if found else None
        if last is None or last.meter_id != window.meter_id or window.read_from_us >= last.read_to_us:
            found.append(window)
        else:
            found[-1] = _merged(last, window)
    return found


def _merged(first: Window, second: Window) -> Window:
    """One for both, of which the second does not start before the first."""
    if (first.since is None) != (second.since is None):
        return _merged(first.full or first, second.full or second)
    return Window(
        first.meter_id,
        min(first.start_us, second.start_us),
        max(first.marked_end_us, second.marked_end_us),
        min(first.read_from_us, second.read_from_us),
        max(first.read_to_us, second.read_to_us),
        first.since,
        _merged(first.full, second.full) if first.full and second.full else None,
    )


def reading_further(window: Window, to_us: int | None) -> Window:
    """The same window with readings up to a later one; None: all that follow."""
    return replace(window, read_to_us=END_US if to_us is None else to_us)
