"""From the hours of meters to an enterprise's hours, days, months and years, by carrier.

Sums only, and exact ones: a year is the sum of its months to the last digit, and those of their days and hours.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum

import numpy as np

from energy.interval import Level, SiteCalendar
from energy.reading import Role
from energy.tce import DEFAULT_CO2_DATASET, EXACT, Booking, FactorBook, Signed, book, contribution

_NANO = Decimal("1e-9")


class Status(StrEnum):
    """How well a figure is founded."""

    MEASURED = "measured"
    ESTIMATED = "estimated"
    """At least a part of it is."""
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class MeterHour:
    """One meter in one local hour.

    `quantity_nano` counts 1e-9 of the raw unit, of which each is `per_raw` normal units of the carrier (multiplier ×
    energy.units.to_normal). The times, in microseconds, are those that readings cover, and should cover (`due_us`).
    """

    start_us: int
    carrier: str
    role: Role
    quantity_nano: int
    per_raw: Decimal
    measured_us: int
    estimated_us: int
    due_us: int


@dataclass(frozen=True, slots=True)
class Figures:
    """One carrier of an enterprise in the bucket that starts at `start_us`: normal units, tonnes, microseconds.

    A tonnage is None when any part of it has no factor: a part of a sum is never shown as the whole. The times are
    sums over the meters that count.
    """

    start_us: int
    carrier: str
    quantity_gross: Decimal
    quantity_net: Decimal
    tce_equivalent_gross: Decimal | None
    tce_equivalent_net: Decimal | None
    tce_equal_gross: Decimal | None
    tce_equal_net: Decimal | None
    tco2_gross: Decimal | None
    tco2_net: Decimal | None
    measured_us: int
    estimated_us: int
    due_us: int


def normal_quantity(nano: int, per_raw: Decimal) -> Decimal:
    """1e-9 raw units as normal units of the carrier, exact."""
    return EXACT.multiply(EXACT.multiply(Decimal(int(nano)), _NANO), per_raw)


def enterprise_hours(
    hours: Iterable[MeterHour],
    factors: FactorBook,
    calendar: SiteCalendar,
    *,
    enterprise: str,
    region: str,
    dataset: str = DEFAULT_CO2_DATASET,
) -> list[Figures]:
    """The signed sums of an enterprise's meters, one an hour and carrier, in that order.

    The factor is that of the local day the hour starts on. Meters that do not count (`internal`) leave no trace.
    """
    sums: dict[tuple[int, str], Figures] = {}
    for hour in hours:
        if contribution(hour.role, Decimal(1)) == Signed(Decimal(0), Decimal(0)):
            continue
        booking = book(
            factors,
            hour.carrier,
            hour.role,
            normal_quantity(hour.quantity_nano, hour.per_raw),
            calendar.local_date(hour.start_us),
            enterprise=enterprise,
            region=region,
            dataset=dataset,
        )
        _add_to(sums, _figures(hour, booking))
    return [sums[key] for key in sorted(sums)]


def roll_up(rows: Iterable[Figures], calendar: SiteCalendar, level: Level) -> list[Figures]:
    """The rows added up to the local buckets of the level they start in, sorted by time and carrier.

    What goes in may be of any shorter level.
    """
    listed = list(rows)
    if not listed:
        return []
    starts = np.array([row.start_us for row in listed], np.int64)
    edges = calendar.edges_us(level, int(starts.min()), int(starts.max()) + 1)
    places = edges[np.searchsorted(edges, starts, side="right") - 1].tolist()
    sums: dict[tuple[int, str], Figures] = {}
    for start_us, row in zip(places, listed, strict=True):
        _add_to(sums, replace(row, start_us=start_us))
    return [sums[key] for key in sorted(sums)]


def status(measured_us: int, estimated_us: int) -> Status:
    """What a bucket with so much measured and estimated time is: estimated as soon as any of it is."""
    if estimated_us > 0:
        return Status.ESTIMATED
    return Status.MEASURED if measured_us > 0 else Status.MISSING


def coverage(measured_us: int, due_us: int) -> float:
    """The measured share, 0 to 1, of the time readings were due for; 0 when none were due."""
    return min(measured_us / due_us, 1.0) if due_us > 0 else 0.0


def _figures(hour: MeterHour, booking: Booking) -> Figures:
    equivalent, equal, co2 = booking.tce_equivalent, booking.tce_equal, booking.tco2
    return Figures(
        start_us=hour.start_us,
        carrier=hour.carrier,
        quantity_gross=booking.quantity.gross,
        quantity_net=booking.quantity.net,
        tce_equivalent_gross=equivalent and equivalent.gross,
        tce_equivalent_net=equivalent and equivalent.net,
        tce_equal_gross=equal and equal.gross,
        tce_equal_net=equal and equal.net,
        tco2_gross=co2 and co2.gross,
        tco2_net=co2 and co2.net,
        measured_us=hour.measured_us,
        estimated_us=hour.estimated_us,
        due_us=hour.due_us,
    )


def _add_to(sums: dict[tuple[int, str], Figures], row: Figures) -> None:
    key = row.start_us, row.carrier
    sums[key] = _added(sums[key], row) if key in sums else row


def _added(one: Figures, other: Figures) -> Figures:
    return Figures(
        one.start_us,
        one.carrier,
        EXACT.add(one.quantity_gross, other.quantity_gross),
        EXACT.add(one.quantity_net, other.quantity_net),
        _sum(one.tce_equivalent_gross, other.tce_equivalent_gross),
        _sum(one.tce_equivalent_net, other.tce_equivalent_net),
        _sum(one.tce_equal_gross, other.tce_equal_gross),
        _sum(one.tce_equal_net, other.tce_equal_net),
        _sum(one.tco2_gross, other.tco2_gross),
        _sum(one.tco2_net, other.tco2_net),
        one.measured_us + other.measured_us,
        one.estimated_us + other.estimated_us,
        one.due_us + other.due_us,
    )


def _sum(one: Decimal | None, other: Decimal | None) -> Decimal | None:
    return None if one is None or other is None else EXACT.add(one, other)
