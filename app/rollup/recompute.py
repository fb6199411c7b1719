"""One window of one meter, from readings to the rows of its hours. Pure, and numpy throughout."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from app.rollup.windows import Window
from app.store.factors import Factors
from app.store.numeric_wire import exact_product
from app.store.rollups import BEGINNING_US, MeterAccount
from energy.consumption import Accepted, Assessment, Held, assess, reach_us, spread
from energy.interval import Level, SiteCalendar, parse_range_bound
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


@dataclass(frozen=True, slots=True)
class ReadEarlier:
    """The change begins before the window: the reading at `from_us` is judged otherwise than the ledger has it."""

    from_us: int


@dataclass(frozen=True, slots=True, eq=False)
class MeterHours:
    """What a window's hours hold now: m rows, only hours that are covered or in which a reading is held.

    Everything of the meter from `start_us` up to `end_us` is to be replaced by these. `quantity_nano` counts 1e-9 of
    the raw unit, of which each is `per_raw[unit]` of the carrier's: where the multiplier changes inside an hour, that
    hour has a row for each. `held_count` is the held readings of the hour, `held` those readings themselves.
    """

    account: MeterAccount
    start_us: int
    end_us: int
    hour_us: Int64s
    quantity_nano: npt.NDArray[np.int64] | npt.NDArray[np.object_]
    measured_us: Int64s
    estimated_us: Int64s
    held_count: Int64s
    held: tuple[Held, ...]
    per_raw: tuple[Decimal, ...]
    unit: Int64s


def recompute(
    account: MeterAccount, window: Window, readings: Series, was_held: Bools, calendar: SiteCalendar
) -> MeterHours | ReadFurther | ReadEarlier:
    """The window's hours from its readings, of which the ledger so far held `was_held`.

    Answers ReadFurther when no reading at hand is accepted after the change both then and now, and ReadEarlier when one
    before the change is judged otherwise because of it.
    """
    before, readings, was_held = _split(window, readings, was_held)
    record = account.record.until(window.read_to_us)
    assessment = assess(readings, account.rules, before=before, record=record)
    if window.since is not None and assessment.accepted.any():
        return ReadFurther(window.read_from_us)
    judged, was_held = assessment.series, _was_held(assessment, readings, was_held)
    earlier = _changed_before(account, window, before, assessment, was_held, calendar)
    if earlier is not None:
        return ReadEarlier(earlier)
    changed_to_us = _changed_to(account, window, judged, was_held, assessment)
    start_us = _start(window, before, judged)
    if changed_to_us is None:
        return ReadFurther(int(readings.at_us[-1]))
    if start_us is None or changed_to_us <= start_us:
        return _nothing(account, window)
    edges_us = calendar.hour_edges_us(start_us, changed_to_us)
    settled = bool(assessment.accepted[int(np.searchsorted(judged.at_us, edges_us[-1])) :].any())
    if not settled and not window.reads_to_the_end:
        return ReadFurther(int(readings.at_us[-1]))
    return _hours(account, window, assessment, before, edges_us)


def _split(window: Window, readings: Series, was_held: Bools) -> tuple[Accepted | None, Series, Bools]:
    """The accepted reading that the window starts from, and the readings after it."""
    if window.since is not None or window.read_from_us == BEGINNING_US:
        return window.since, readings, was_held
    anchor = Accepted(int(readings.at_us[0]), float(readings.value[0]), int(readings.quality[0]))
    return anchor, readings[1:], was_held[1:]


def _was_held(assessment: Assessment, readings: Series, was_held: Bools) -> Bools:
    """The same for the readings as they were judged. What comes from the record stands for no reading of the ledger."""
    if assessment.series is readings:
        return was_held
    place = np.searchsorted(readings.at_us, assessment.series.at_us)
    there = place < len(readings)
    there[there] = readings.at_us[place[there]] == assessment.series.at_us[there]
    found = np.ones(len(assessment.series), np.bool_)
    found[there] = was_held[place[there]]
    return found


def _changed_before(
    account: MeterAccount,
    window: Window,
    before: Accepted | None,
    assessment: Assessment,
    was_held: Bools,
    calendar: SiteCalendar,
) -> int | None:
    """The first reading judged otherwise than so far, if what it changes begins before the window; else None."""
    if account.rules.kind is not Kind.REGISTER or window.start_us == BEGINNING_US or window.since is not None:
        return None
    at_us = assessment.series.at_us
    inside = int(np.searchsorted(at_us, window.start_us))
    first = int(np.searchsorted(at_us, window.marked_end_us))
    flipped = np.flatnonzero(assessment.accepted[:first] == was_held[:first])
    if not len(flipped):
        return None
    accepted = np.flatnonzero(assessment.accepted[: flipped[0]])
    previous_us = int(at_us[accepted[-1]]) if len(accepted) else before.at_us if before is not None else None
    if previous_us is None or (len(accepted) and accepted[-1] >= inside):
        return None
    if calendar.bucket_start(Level.HOUR, previous_us) >= window.start_us:
        return None
    return int(at_us[flipped[0]])


def _start(window: Window, before: Accepted | None, readings: Series) -> int | None:
    if window.start_us > BEGINNING_US:
        return window.start_us
    return int(readings.at_us[0]) if len(readings) else None


def _changed_to(
    account: MeterAccount, window: Window, readings: Series, was_held: Bools, assessment: Assessment
) -> int | None:
    """The end of what may have changed; None when that is not among the readings at hand.

    The last accepted reading is the only state of an assessment. So the first reading after the marks that was
    accepted, still is, and can be made no spike by readings that are not at hand ends the change: it and everything
    after it stands as it is.
    """
    reach = reach_us(account.rules)
    after = int(np.searchsorted(readings.at_us, window.marked_end_us))
    accepted = assessment.accepted if window.reads_to_the_end else assessment.certain(account.rules)
    stands = np.flatnonzero(accepted[after:] & ~was_held[after:])
    if len(stands):
        meets_us = int(readings.at_us[after + stands[0]])
        return meets_us if account.rules.kind is Kind.REGISTER else min(meets_us, window.marked_end_us + reach)
    if not window.reads_to_the_end:
        return None
    last_us = int(readings.at_us[-1]) + 1 if len(readings) else window.start_us
    marked_us = window.start_us if window.start_us == BEGINNING_US else window.marked_end_us
    return max(last_us, marked_us) + reach


def _nothing(account: MeterAccount, window: Window) -> MeterHours:
    none = np.empty(0, np.int64)
    return MeterHours(
        account, window.start_us, window.marked_end_us, none, none, none, none, none, (), (per_raw(account),), none
    )


def _hours(
    account: MeterAccount,
    window: Window,
    assessment: Assessment,
    before: Accepted | None,
    edges_us: Int64s,
) -> MeterHours:
    start_us, end_us = int(edges_us[0]), int(edges_us[-1])
    turns = account.record.turns_us(start_us, end_us)
    pieces_us = np.union1d(edges_us, np.array(turns, np.int64)) if turns else edges_us
    part = spread(assessment, account.rules, pieces_us, before=before)
    held = tuple(one for one in assessment.held() if start_us <= one.at_us < end_us)
    places = np.searchsorted(pieces_us, np.array([one.at_us for one in held], np.int64), side="right") - 1
    held_count = np.bincount(places, minlength=len(pieces_us) - 1).astype(np.int64)
    kept = np.flatnonzero((part.measured_us > 0) | (part.estimated_us > 0) | (held_count > 0))
    begins_us = pieces_us[:-1][kept]
    units, unit = _units(account, begins_us)
    return MeterHours(
        account,
        min(start_us, window.start_us),
        window.marked_end_us if window.start_us == BEGINNING_US else end_us,
        edges_us[np.searchsorted(edges_us, begins_us, side="right") - 1],
        part.quantity_nano[kept],
        part.measured_us[kept],
        part.estimated_us[kept],
        held_count[kept],
        held,
        units,
        unit,
    )


def _units(account: MeterAccount, begins_us: Int64s) -> tuple[tuple[Decimal, ...], Int64s]:
    """What a raw unit is in the carrier's, once a multiplier that ever held; and which of them holds from each time."""
    dated = account.record.multipliers
    normal = to_normal(account.unit, account.normal_unit, account.rules.kind)
    units = tuple(exact_product(m, normal) for m in (account.multiplier, *(multiplier for _, multiplier in dated)))
    since_us = np.array([at_us for at_us, _ in dated], np.int64)
    return units, np.searchsorted(since_us, begins_us, side="right")


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
    """Normal units of the carrier that one raw unit of the meter is by its own multiplier. Raises UnitMismatch."""
    return exact_product(account.multiplier, to_normal(account.unit, account.normal_unit, account.rules.kind))
