"""One window of one meter, from readings to the rows of its hours. Pure, and numpy throughout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from app.rollup.windows import Window
from app.store.factors import Factors
from app.store.numeric_wire import exact_product, products
from app.store.rollups import BEGINNING_US, HourRows, MeterAccount
from energy.consumption import Accepted, Assessment, Held, assess, reach_us, spread
from energy.interval import SiteCalendar, parse_range_bound
from energy.reading import Kind, Series
from energy.tce import Basis, emits
from energy.units import to_normal

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

NANO = Decimal("1e-9")
PER_THOUSAND = Decimal("1e-3")
"""Factors are in kilograms a unit, figures in tonnes."""
NO_FACTOR = Decimal(0)
"""Stands where a figure is null anyway."""


@dataclass(frozen=True, slots=True)
class ReadFurther:
    """The readings at hand do not show yet where the change ends. `after_us`: the last of them."""

    after_us: int


@dataclass(frozen=True, slots=True, eq=False)
class MeterHours:
    """What a window's hours hold now: m rows, only hours that are covered or in which a reading is held.

    Everything of the meter from `start_us` up to `end_us` is to be replaced by these. `quantity_nano` counts 1e-9 of
    the raw unit, of which each is `per_raw` of the carrier's; `held_count` the held readings of the hour, `held` those
    readings themselves.
    """

    account: MeterAccount
    per_raw: Decimal
    start_us: int
    end_us: int
    hour_us: Int64s
    quantity_nano: npt.NDArray[np.int64] | npt.NDArray[np.object_]
    measured_us: Int64s
    estimated_us: Int64s
    held_count: Int64s
    held: tuple[Held, ...]


def recompute(
    account: MeterAccount, window: Window, readings: Series, was_held: Bools, calendar: SiteCalendar
) -> MeterHours | ReadFurther:
    """The window's hours from its readings, of which the ledger so far held `was_held`.

    Answers ReadFurther when no reading at hand is accepted after the change both then and now.
    """
    before, readings, was_held = _split(window, readings, was_held)
    assessment = assess(readings, account.rules, before=before)
    if window.since is not None and assessment.accepted.any():
        return ReadFurther(window.read_from_us)
    changed_to_us = _changed_to(account, window, readings, was_held, assessment)
    start_us = _start(window, before, readings)
    if changed_to_us is None:
        return ReadFurther(int(readings.at_us[-1]))
    if start_us is None or changed_to_us <= start_us:
        return _nothing(account, window)
    edges_us = calendar.hour_edges_us(start_us, changed_to_us)
    settled = _accepted_from(readings, assessment.accepted, int(edges_us[-1]))
    if not settled and not window.reads_to_the_end:
        return ReadFurther(int(readings.at_us[-1]))
    return _hours(account, window, readings, assessment, before, edges_us)


def _split(window: Window, readings: Series, was_held: Bools) -> tuple[Accepted | None, Series, Bools]:
    """The accepted reading that the window starts from, and the readings after it."""
    if window.since is not None or window.read_from_us == BEGINNING_US:
        return window.since, readings, was_held
    anchor = Accepted(int(readings.at_us[0]), float(readings.value[0]), int(readings.quality[0]))
    return anchor, readings[1:], was_held[1:]


def _start(window: Window, before: Accepted | None, readings: Series) -> int | None:
    if window.start_us > BEGINNING_US:
        return window.start_us
    return int(readings.at_us[0]) if len(readings) else None


def _changed_to(
    account: MeterAccount, window: Window, readings: Series, was_held: Bools, assessment: Assessment
) -> int | None:
    """The end of what may have changed; None when that is not among the readings at hand.

    The last accepted reading is the only state of an assessment. So the first reading after the marks that was
    accepted and still is ends the change: it and everything after it stands as it is.
    """
    reach = reach_us(account.rules)
    after = int(np.searchsorted(readings.at_us, window.marked_end_us))
    stands = np.flatnonzero(assessment.accepted[after:] & ~was_held[after:])
    if len(stands):
        meets_us = int(readings.at_us[after + stands[0]])
        return meets_us if account.rules.kind is Kind.REGISTER else min(meets_us, window.marked_end_us + reach)
    if not window.reads_to_the_end:
        return None
    last_us = int(readings.at_us[-1]) + 1 if len(readings) else window.start_us
    marked_us = window.start_us if window.start_us == BEGINNING_US else window.marked_end_us
    return max(last_us, marked_us) + reach


def _accepted_from(readings: Series, accepted: Bools, at_us: int) -> bool:
    return bool(accepted[int(np.searchsorted(readings.at_us, at_us)) :].any())


def _nothing(account: MeterAccount, window: Window) -> MeterHours:
    none = np.empty(0, np.int64)
    return MeterHours(
        account, per_raw(account), window.start_us, window.marked_end_us, none, none, none, none, none, ()
    )


def _hours(
    account: MeterAccount,
    window: Window,
    readings: Series,
    assessment: Assessment,
    before: Accepted | None,
    edges_us: Int64s,
) -> MeterHours:
    part = spread(readings, assessment, account.rules, edges_us, before=before)
    start_us, end_us = int(edges_us[0]), int(edges_us[-1])
    held = tuple(one for one in assessment.held() if start_us <= one.at_us < end_us)
    places = np.searchsorted(edges_us, np.array([one.at_us for one in held], np.int64), side="right") - 1
    held_count = np.bincount(places, minlength=len(edges_us) - 1).astype(np.int64)
    kept = np.flatnonzero((part.measured_us > 0) | (part.estimated_us > 0) | (held_count > 0))
    return MeterHours(
        account,
        per_raw(account),
        min(start_us, window.start_us),
        window.marked_end_us if window.start_us == BEGINNING_US else end_us,
        edges_us[:-1][kept],
        part.quantity_nano[kept],
        part.measured_us[kept],
        part.estimated_us[kept],
        held_count[kept],
        held,
    )


class Tariff:
    """What one normal unit of a meter's carrier is in tonnes, for any hour: the factor valid on its local day.

    Factors change on few days. Between two of those a look-up is done once and kept.
    """

    def __init__(self, factors: Factors, calendar: SiteCalendar) -> None:
        self._factors = factors
        self._days: tuple[date, ...] = factors.turns
        turns_us = [parse_range_bound(day.isoformat(), calendar.zone) for day in self._days]
        self._turns_us = np.array(turns_us, np.int64)
        self._known: dict[tuple[str, str, str, bool, int], tuple[Decimal | None, ...]] = {}

    def periods(self, hour_us: Int64s) -> Int64s:
        """For each hour the number of the period between two changes of a factor."""
        return np.searchsorted(self._turns_us, hour_us, side="right")

    def per_unit(self, account: MeterAccount, period: int) -> tuple[Decimal | None, ...]:
        """Tonnes of coal equivalent, 当量 and 等价, and of CO2 a normal unit; None where there is no factor."""
        key = (account.carrier, account.enterprise, account.region, emits(account.role), period)
        if key not in self._known:
            self._known[key] = self._look_up(account, period)
        return self._known[key]

    def _look_up(self, account: MeterAccount, period: int) -> tuple[Decimal | None, ...]:
        if not self._days:
            return None, None, None
        day = self._days[period - 1] if period else self._days[0] - timedelta(days=1)
        whose = {"enterprise": account.enterprise, "region": account.region}
        coal = [
            self._factors.book.lookup(account.carrier, basis, day, **whose) for basis in (Basis.EQUIVALENT, Basis.EQUAL)
        ]
        co2 = self._factors.book.lookup_co2(account.carrier, day, **whose)
        emitted = (co2 and co2.kgco2_per_unit) if emits(account.role) else Decimal(0)
        found = [*(factor and factor.kgce_per_unit for factor in coal), emitted]
        return tuple(None if kilograms is None else exact_product(kilograms, PER_THOUSAND) for kilograms in found)


def per_raw(account: MeterAccount) -> Decimal:
    """Normal units of the carrier that one raw unit of the meter is. Raises energy.units.UnitMismatch."""
    return exact_product(account.multiplier, to_normal(account.unit, account.normal_unit, account.rules.kind))


def priced(parts: Sequence[MeterHours], tariff: Tariff) -> HourRows:
    """The rows to store for these hours: quantity in the carrier's normal unit, its coal equivalents and its CO2."""
    which, scales = _scales(parts, tariff)
    nano = _joined([part.quantity_nano for part in parts])
    figures = [products(nano, [NO_FACTOR if f is None else f for f in column], which) for column in scales]
    known = [np.array([f is not None for f in column] or [True])[which] for column in scales]
    return HourRows(
        meter=np.repeat(
            np.array([part.account.meter_id for part in parts], np.int32), [len(part.hour_us) for part in parts]
        ),
        start_us=_joined([part.hour_us for part in parts]),
        measured_us=_joined([part.measured_us for part in parts]),
        estimated_us=_joined([part.estimated_us for part in parts]),
        held=_joined([part.held_count for part in parts]).astype(np.int32),
        figures=(figures[0], figures[1], figures[2], figures[3]),
        known=(known[0], known[1], known[2], known[3]),
    )


def _scales(parts: Sequence[MeterHours], tariff: Tariff) -> tuple[Int64s, list[list[Decimal | None]]]:
    """For every row the place of its scales, and the scales: what 1e-9 of a raw unit is in each of the four figures."""
    columns: list[list[Decimal | None]] = [[], [], [], []]
    which: list[Int64s] = []
    for part in parts:
        unit = exact_product(part.per_raw, NANO)
        periods = tariff.periods(part.hour_us)
        first, last = (int(periods[0]), int(periods[-1])) if len(periods) else (0, -1)
        which.append(periods - first + len(columns[0]))
        for period in range(first, last + 1):
            tonnes = tariff.per_unit(part.account, period)
            for column, scale in zip(columns, (Decimal(1), *tonnes), strict=True):
                column.append(None if scale is None else exact_product(unit, scale))
    return _joined(which), columns


def _joined(
    arrays: Sequence[npt.NDArray[np.int64]] | Sequence[npt.NDArray[np.int64] | npt.NDArray[np.object_]],
) -> Int64s:
    return np.concatenate(arrays) if arrays else np.empty(0, np.int64)
