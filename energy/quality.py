"""How good a meter's data is: what came of what was due, how late, which gaps it has and by when they should be mended.

The thresholds are those of provincial rules for online data: 90 % complete, faults mended in three working days, days
within 5 % of their month.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from enum import StrEnum

from energy.reading import Role

GRACE_S = 900
"""A reading is timely when it comes within the expected interval and this much more."""
COMPLETE_ENOUGH = 0.9
REPAIR_WORKING_DAYS = 3
DAYS_AGAINST_MONTH = Decimal("0.05")
GAP_INTERVALS = 2
"""Longer than so many expected intervals without a reading is a gap."""
SHOWN = Decimal("0.000001")


class Calibration(StrEnum):
    """Of a meter, on a day."""

    VALID = "valid"
    LAPSED = "lapsed"
    UNKNOWN = "unknown"


class Repair(StrEnum):
    """Where the clock of a gap stands."""

    RUNNING = "running"
    """It is open, and there is time left."""
    OVERDUE = "overdue"
    """It is open, and the time is over."""
    IN_TIME = "in-time"
    LATE = "late"


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch without readings from one reading to the next; `end_us` None: no reading has come since."""

    start_us: int
    end_us: int | None
    deadline: date
    repair: Repair


def share(part: int, whole: int) -> float | None:
    """A part of a whole, at most 1; None of nothing."""
    return min(part / whole, 1.0) if whole > 0 else None


def due_readings(from_us: int, to_us: int, expected_us: int) -> int:
    """How many readings a meter owes in [from, to): one for each expected interval that has begun and ended."""
    return max(0, (to_us - from_us) // expected_us)


def gaps_of(
    stretches_us: Sequence[tuple[int, int | None]],
    bounds_us: tuple[int, int],
    now_us: int,
    expected_us: int,
    local_date: Callable[[int], date],
    is_workday: Callable[[date], bool],
) -> list[Gap]:
    """The gaps of a meter that reach into [from, to), ascending.

    `stretches_us` are pairs of neighbouring readings, at least those that lie far apart; None: no reading has come
    since. A meter that has never sent has none, and owes from the beginning of the bounds.
    """
    from_us, to_us = bounds_us
    found = []
    for begin, end in stretches_us or [(from_us, None)]:
        until = now_us if end is None else end
        if until - begin <= GAP_INTERVALS * expected_us or until <= from_us or begin >= min(to_us, now_us):
            continue
        deadline = after_working_days(local_date(begin), REPAIR_WORKING_DAYS, is_workday)
        found.append(Gap(begin, end, deadline, _repair(end, local_date(until), deadline)))
    return found


def _repair(end_us: int | None, until: date, deadline: date) -> Repair:
    if end_us is None:
        return Repair.OVERDUE if until > deadline else Repair.RUNNING
    return Repair.LATE if until > deadline else Repair.IN_TIME


def after_working_days(day: date, count: int, is_workday: Callable[[date], bool]) -> date:
    """The day on which so many working days after `day` have passed."""
    while count:
        day += timedelta(days=1)
        count -= is_workday(day)
    return day


def calibration(until: date | None, on: date) -> Calibration:
    """Whether a calibration that holds up to and with `until` holds on a day."""
    if until is None:
        return Calibration.UNKNOWN
    return Calibration.VALID if on <= until else Calibration.LAPSED


def deviation(days: Decimal | None, month: Decimal | None) -> Decimal | None:
    """By which share of the month the sum of its days is off; 0 when both are 0, None when one is not known."""
    if days is None or month is None or (month == 0 and days != 0):
        return None
    return Decimal(0) if month == 0 else (abs(days - month) / abs(month)).quantize(SHOWN)


# What GB 17167 calls kinds of energy ----------------------------------------------------------------------------------

_CLASSES: Sequence[tuple[str, Iterable[str]]] = (
    ("electricity", ("electricity",)),
    ("heavy_oil", ("fuel_oil", "residue_oil", "crude_oil")),
    ("oil", ("gasoline", "kerosene", "diesel", "naphtha", "lubricants", "solvent_oil", "other_petroleum")),
    ("natural_gas", ("natural_gas", "lng", "lpg", "coalmine_gas", "biogas")),
    (
        "coal_gas",
        (
            *("coke_oven_gas", "blast_furnace_gas", "converter_gas", "producer_gas", "water_gas", "heavy_oil_"),
            *("coke_gasification_gas", "pressure_gasification_gas"),
        ),
    ),
    (
        "coal",
        (
            *("raw_coal", "cleaned_coal", "middlings", "coal_", "coke", "anthracite", "coking_bituminous"),
            *("bituminous", "lignite", "petroleum_coke"),
        ),
    ),
    ("steam", ("steam", "heat")),
    ("water", ("water",)),
)


def energy_class(carrier: str, role: Role) -> str:
    """Under which kind of energy the standard counts a meter of this carrier and role."""
    if role is Role.RECOVERED or carrier == "waste_heat":
        return "recovered"
    return next((name for name, starts in _CLASSES if carrier.startswith(tuple(starts))), "other")
