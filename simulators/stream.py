"""What a plant's meters show, as its gateway would record it. Pure: a function of the plan, the origin and the time."""

from dataclasses import dataclass, field

import numpy as np

from simulators.message import Readings, joined, readings
from simulators.noise import Ints, between, key_of
from simulators.plants import SLOT_H, MeterPlan, PlantPlan, load
from simulators.seasons import SLOT_US

SLOT_MS = SLOT_US // 1000
DISPLAY = 100
"""Registers show hundredths, and are kept in whole hundredths so that no rounding adds up."""


@dataclass(slots=True)
class Recorder:
    """Walks one plant forward in time. Registers continue where the last stretch ended.

    `origin_slot` is the quarter hour (since 1970 UTC) at which the registers show their first value.
    """

    plan: PlantPlan
    origin_slot: int
    _at_slot: int = field(init=False)
    _shown: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self._at_slot = self.origin_slot
        self._shown = {meter.code: first_shown(self.plan, meter) for meter in self.plan.meters}

    @property
    def at_slot(self) -> int:
        """Up to where it has walked."""
        return self._at_slot

    def first(self) -> Readings:
        """The registers as they stand before the first stretch; the others have nothing to show yet."""
        return joined(
            [
                readings(self._codes(), [place], [self._at_slot * SLOT_MS], [self._shown[meter.code] / DISPLAY])
                for place, meter in enumerate(self.plan.meters)
                if meter.kind == "register"
            ]
        )

    def walk(self, until_slot: int, step: int) -> Readings:
        """Readings of every `step` quarter hours up to a slot, in order of time.

        A register is read at the end of each step, an amount or a rate is stamped with the start of it.
        """
        steps = (until_slot - self._at_slot) // step
        if steps <= 0:
            return readings(self._codes(), [], [], [])
        slots = np.arange(self._at_slot, self._at_slot + steps * step, dtype=np.int64)
        parts = [self._meter(place, meter, slots, step) for place, meter in enumerate(self.plan.meters)]
        self._at_slot += steps * step
        all_of_them = joined(parts)
        return all_of_them.take(np.argsort(all_of_them.at_ms, kind="stable"))

    def _codes(self) -> tuple[str, ...]:
        return tuple(meter.code for meter in self.plan.meters)

    def _meter(self, place: int, meter: MeterPlan, slots: Ints, step: int) -> Readings:
        amounts = (load(self.plan, meter, slots) * SLOT_H).reshape(-1, step).sum(axis=1)
        starts_ms = slots[::step] * SLOT_MS
        if meter.kind == "register":
            at_ms, values = starts_ms + step * SLOT_MS, self._register(meter, amounts)
        elif meter.kind == "rate":
            at_ms, values = starts_ms, np.round(amounts / (step * SLOT_H), 2)
        else:
            at_ms, values = starts_ms, np.round(amounts, 3)
        return readings(self._codes(), np.full(len(at_ms), place), at_ms, values)

    def _register(self, meter: MeterPlan, amounts: np.ndarray[tuple[int], np.dtype[np.float64]]) -> object:
        shown = self._shown[meter.code] + np.cumsum(np.rint(amounts * DISPLAY).astype(np.int64))
        self._shown[meter.code] = int(shown[-1])
        if meter.rolls_over_at is not None:
            shown = shown % int(meter.rolls_over_at * DISPLAY)
        return shown / DISPLAY


def first_shown(plan: PlantPlan, meter: MeterPlan) -> int:
    """Where a register starts, in hundredths; one that rolls over starts high enough to do so within months."""
    key = key_of(plan.seed, meter.code, "first")
    top = meter.rolls_over_at or 10_000.0
    return int(between(key, 0.1, 0.9) * top * DISPLAY)
