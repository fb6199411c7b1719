"""What is believed and still looks odd: values that do not move. Pure; nothing here changes a figure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from energy.reading import Kind, Series

FEWEST = 3
"""So many readings of one value make a run: two may be chance."""


@dataclass(frozen=True, slots=True)
class StuckRun:
    """From `start_us` to `end_us`, both of them readings, the meter showed one value, `count` times."""

    start_us: int
    end_us: int
    value: float
    count: int


def stuck_runs(series: Series, kind: Kind, *, longer_than_us: int) -> list[StuckRun]:
    """Runs of one value that last at least so long, in order of time.

    A register that does not move is a plant that stands still or a meter that does: a person has to look. Of an
    interval or a rate, 0 is no sign of either and is left out; the same other number again and again is.
    """
    if not len(series):
        return []
    starts = np.flatnonzero(np.r_[True, np.diff(series.value) != 0])
    ends = np.r_[starts[1:], len(series)] - 1
    long = (series.at_us[ends] - series.at_us[starts] >= longer_than_us) & (ends - starts + 1 >= FEWEST)
    if kind is not Kind.REGISTER:
        long &= series.value[starts] != 0
    return [
        StuckRun(int(series.at_us[i]), int(series.at_us[j]), float(series.value[i]), j - i + 1)
        for i, j in zip(starts[long].tolist(), ends[long].tolist(), strict=True)
    ]
