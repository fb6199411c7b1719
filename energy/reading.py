"""What a meter reported, and what is known of the meter: the words every other part of the accounting uses.

Values here are raw: as the meter showed them, before its multiplier and its unit. Times are whole microseconds
since 1970-01-01 UTC (`_us`), so that sums and comparisons are exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Self

import numpy as np
import numpy.typing as npt

MAX_ABS_VALUE = 1e12
"""No raw value may be larger in size: beyond it a float no longer resolves a thousandth of a unit."""

Int64s = npt.NDArray[np.int64]
Int16s = npt.NDArray[np.int16]
Floats = npt.NDArray[np.float64]


class Kind(StrEnum):
    """What the number of a reading means."""

    REGISTER = "register"
    """A counter that only counts up."""
    INTERVAL = "interval"
    """The amount of the period that starts at the reading's time."""
    RATE = "rate"
    """An amount per hour, held until the next reading."""


class Role(StrEnum):
    """What a meter's energy is to the enterprise, and so with which sign it counts."""

    PURCHASE = "purchase"
    SALE = "sale"
    OWN_RENEWABLE = "own_renewable"
    RECOVERED = "recovered"
    FEEDSTOCK = "feedstock"
    INTERNAL = "internal"


class Quality(IntEnum):
    """How far the gateway itself trusts a value."""

    GOOD = 0
    ESTIMATED = 1
    SUSPECT = 2
    BAD = 3


class BadSeries(ValueError):
    """The arrays do not make a series of readings."""


@dataclass(frozen=True, slots=True)
class MeterRules:
    """What is known of a meter that its readings can be judged by. Amounts are in the meter's raw unit.

    `expected_interval_s` > 0; `rolls_over_at` > 0 is the value at which a register shows zero again;
    `max_rate_per_h` > 0 is the most that can flow in an hour. None: not known, so not judged.
    """

    kind: Kind
    expected_interval_s: int
    rolls_over_at: float | None = None
    max_rate_per_h: float | None = None

    def __post_init__(self) -> None:
        if self.expected_interval_s <= 0:
            raise ValueError(f"expected_interval_s must be positive, not {self.expected_interval_s}")
        for name in ("rolls_over_at", "max_rate_per_h"):
            limit = getattr(self, name)
            if limit is not None and not 0 < limit <= MAX_ABS_VALUE:
                raise ValueError(f"{name} must be above 0 and at most {MAX_ABS_VALUE:g}, not {limit}")

    @property
    def expected_us(self) -> int:
        """The expected time between two readings, in microseconds."""
        return self.expected_interval_s * 1_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """Readings of one meter in order of time: three arrays of one length n.

    `at_us` int64, strictly ascending; `value` float64, finite, at most 1e12 in size; `quality` int16, 0 to 3.
    Raises BadSeries when the arrays are anything else.
    """

    at_us: Int64s
    value: Floats
    quality: Int16s

    def __post_init__(self) -> None:
        if self.at_us.dtype != np.int64 or self.value.dtype != np.float64 or self.quality.dtype != np.int16:
            raise BadSeries("a series is int64 times, float64 values and int16 qualities")
        if not (self.at_us.ndim == 1 and self.at_us.shape == self.value.shape == self.quality.shape):
            raise BadSeries("times, values and qualities must be flat and equally many")
        if self.at_us.size > 1 and not bool((self.at_us[1:] > self.at_us[:-1]).all()):
            raise BadSeries("times must be strictly ascending")
        if not bool((np.abs(self.value) <= MAX_ABS_VALUE).all()):
            raise BadSeries(f"values must be finite and at most {MAX_ABS_VALUE:g} in size")
        if not bool(((self.quality >= Quality.GOOD) & (self.quality <= Quality.BAD)).all()):
            raise BadSeries("qualities are 0, 1, 2 or 3")

    @classmethod
    def empty(cls) -> Self:
        return cls(np.empty(0, np.int64), np.empty(0, np.float64), np.empty(0, np.int16))

    def __len__(self) -> int:
        return int(self.at_us.size)

    def __getitem__(self, part: slice) -> Series:
        """The readings of a slice, as a series of its own."""
        return Series(self.at_us[part], self.value[part], self.quality[part])

    def between(self, start_us: int, end_us: int) -> Series:
        """The readings with start_us <= time < end_us."""
        first, last = np.searchsorted(self.at_us, [start_us, end_us])
        return self[int(first) : int(last)]
