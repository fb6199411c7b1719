"""The hours of plain windows, all of them at once: registers that only rise, with nothing held and nothing on record.

Nearly every window is one. What makes a window another is found here too, and such windows are left to
`recompute`, whose figures these equal to the last bit.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from app.rollup.pricing import Hours, Scales
from app.rollup.recompute import per_raw
from app.rollup.windows import Window
from app.store.rollups import BEGINNING_US, MeterAccount, ReadingRows
from energy.consumption import HOLDS_FOR, HOUR_US, NANO, SAFE_NANO
from energy.reading import Kind, Quality

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

UNLIMITED = 1e30
"""A rate no meter reaches, for one without a limit; still far from what a float can hold times a century."""


class Plain:
    """The plain ones among windows with their readings. `chosen` are their places, `ends_us` where each one's change
    ends, rounded up to a whole hour; their rows come from `hours`.
    """

    def __init__(
        self, accounts: Mapping[int, MeterAccount], windows: Sequence[Window], rows: ReadingRows, hour_edges_us: Int64s
    ) -> None:
        self._accounts, self._windows, self._rows, self._edges = accounts, windows, rows, hour_edges_us
        bounds = np.searchsorted(rows.window, np.arange(1, len(windows) + 2))
        self._first, self._end = bounds[:-1].astype(np.int64), bounds[1:].astype(np.int64)
        self.chosen = np.flatnonzero(self._may_be())
        self.ends_us = np.empty(0, np.int64)
        if len(self.chosen):
            self._settle()

    def _may_be(self) -> Bools:
        may = np.array([self._known(window) for window in self._windows], np.bool_) & (self._end > self._first)
        at_us, value = self._rows.at_us, self._rows.value
        if not may.any():
            return may
        meters = [self._accounts[window.meter_id].rules for window in self._windows]
        rolls = np.array([np.inf if rules.rolls_over_at is None else rules.rolls_over_at for rules in meters])
        limit = np.array([UNLIMITED if rules.max_rate_per_h is None else rules.max_rate_per_h for rules in meters])
        place = self._rows.window - 1
        fine = (self._rows.quality < Quality.BAD) & (value >= 0) & ~self._rows.held
        # The whole numbers of a window and their differences fit into int64; others are counted in wider ones.
        fine &= (value < rolls[place]) & (value * NANO < SAFE_NANO)
        inner = place[1:] == place[:-1]
        rises = value[1:] >= value[:-1]
        if (limit < UNLIMITED).any():
            rises &= ~((value[1:] - value[:-1]) * HOUR_US > limit[place[1:]] * (at_us[1:] - at_us[:-1]))
        fine[1:] &= rises | ~inner
        odd = np.zeros(len(may), np.bool_)
        odd[place[~fine]] = True
        return may & ~odd

    def _known(self, window: Window) -> bool:
        account = self._accounts[window.meter_id]
        record = account.record
        return (
            account.rules.kind is Kind.REGISTER
            and not record.judges
            and not record.multipliers
            and window.since is None
            and window.start_us != BEGINNING_US
        )

    def _settle(self) -> None:
        """Keep those whose change ends among the readings at hand, and note where."""
        windows = [self._windows[i] for i in self.chosen.tolist()]
        marked_end = np.array([window.marked_end_us for window in windows], np.int64)
        to_the_end = np.array([window.reads_to_the_end for window in windows], np.bool_)
        start = np.array([window.start_us for window in windows], np.int64)
        first, end = self._first[self.chosen], self._end[self.chosen]
        self._zero = int(min(self._rows.at_us.min(), marked_end.min(), start.min())) - 2 * HOUR_US
        self._span = int(max(self._rows.at_us.max(), marked_end.max())) - self._zero + 4 * HOUR_US
        if len(self._windows) * self._span >= SAFE_NANO:  # centuries of thousands of meters in one pass
            self.chosen = self.chosen[:0]
            return
        self._keys = (self._rows.window - 1).astype(np.int64) * self._span + (self._rows.at_us - self._zero)
        stands = np.searchsorted(self._keys, self.chosen * self._span + (marked_end - self._zero))
        there = stands < end
        meets = self._rows.at_us[np.minimum(stands, len(self._rows.at_us) - 1)]
        last = np.maximum(self._rows.at_us[end - 1] + 1, marked_end)
        changed_to = np.where(there, meets, last)
        edge = np.searchsorted(self._edges, changed_to, side="left")
        ends = self._edges[edge]
        # The reading after the one that stands shows that no spike can be made of it.
        settled = to_the_end | ((stands < end - 1) & (self._rows.at_us[end - 1] >= ends))
        settled &= changed_to > start
        self.chosen, self.ends_us = self.chosen[settled], ends[settled]
        self._start, self._rows_from, self._rows_to = start[settled], first[settled], end[settled]

    def leave_out(self, meters: Collection[int]) -> None:
        """Without the windows of these meters: one of their others is not done yet."""
        if not meters:
            return
        kept = np.array([self._windows[i].meter_id not in meters for i in self.chosen.tolist()], np.bool_)
        self.chosen, self.ends_us = self.chosen[kept], self.ends_us[kept]
        if len(kept):
            self._start, self._rows_from, self._rows_to = (
                self._start[kept],
                self._rows_from[kept],
                self._rows_to[kept],
            )

    def hours(self) -> Hours:
        """The rows of these windows in order of meter and time."""
        from_edge = np.searchsorted(self._edges, self._start, side="right") - 1
        counts = np.searchsorted(self._edges, self.ends_us, side="left") - from_edge + 1
        window = np.repeat(np.arange(len(counts)), counts)
        starts = np.cumsum(counts) - counts
        edge = np.arange(len(window)) - starts[window] + from_edge[window]
        edges_us = self._edges[edge]
        passed, measured, estimated = self._passed(window, edges_us)
        inner = np.flatnonzero(window[1:] == window[:-1])
        quantity, measured, estimated = (np.diff(one)[inner] for one in (passed, measured, estimated))
        kept = np.flatnonzero((measured > 0) | (estimated > 0))
        rows = inner[kept]
        owners = [self._accounts[self._windows[i].meter_id] for i in self.chosen.tolist()]
        meters = np.array([account.meter_id for account in owners], np.int64)
        return Hours(
            meters[window[rows]],
            edges_us[rows],
            quantity[kept],
            measured[kept],
            estimated[kept],
            np.zeros(len(rows), np.int64),
            window[rows],
            [Scales(account, per_raw(account)) for account in owners],
        )

    def _passed(self, window: Int64s, edges_us: Int64s) -> tuple[Int64s, Int64s, Int64s]:
        """By each edge, since the window's first reading: what was drawn, and the time measured and estimated."""
        at_us, count = self._rows.at_us, len(self._rows.at_us)
        nano = np.rint(self._rows.value * NANO).astype(np.int64)
        length, amount = np.diff(at_us, append=at_us[-1:]), np.diff(nano, append=nano[-1:])
        begun = np.searchsorted(self._keys, self.chosen[window] * self._span + (edges_us - self._zero), "right") - 1
        first, last = self._rows_from[window], self._rows_to[window] - 1
        none, over = begun < first, begun >= last
        within = np.clip(begun, 0, count - 1)
        gone = np.where(none | over, 0, edges_us - at_us[within])
        whole = np.maximum(length[within], 1)
        part = np.rint(amount[within].astype(np.float64) * (gone / whole)).astype(np.int64)
        at = np.where(none, first, within)
        passed = nano[at] - nano[first] + np.where(none | over, 0, part)
        surely, doubtful = self._times(length)
        by = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.where(doubtful, 0, surely))])
        unsure = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.where(doubtful, surely, 0))])
        flag = doubtful[within]
        measured = by[at] - by[first] + np.where(flag, 0, gone)
        estimated = unsure[at] - unsure[first] + np.where(flag, gone, 0)
        return passed, measured, estimated

    def _times(self, length: Int64s) -> tuple[Int64s, Bools]:
        """The time from each reading to the next, and whether what flowed in it is an estimate."""
        place = self._rows.window - 1
        expected = np.array([self._accounts[window.meter_id].rules.expected_us for window in self._windows], np.int64)
        doubtful = length > HOLDS_FOR * expected[place]
        if bool(self._rows.quality.any()):
            poor = self._rows.quality > Quality.GOOD
            doubtful |= poor | np.append(poor[1:], False)
        return np.where(np.append(place[1:] == place[:-1], False), length, 0), doubtful
