"""Quality of an enterprise's data in a month, from its readings and the meter ledger; of a region, from the rollups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import asyncpg

from alerts.notice import is_workday
from app.store.migrate import reference_rows
from app.store.readings import MOMENT
from energy.interval import Level, SiteCalendar
from energy.quality import (
    COMPLETE_ENOUGH,
    GAP_INTERVALS,
    GRACE_S,
    Calibration,
    Gap,
    calibration,
    deviation,
    due_readings,
    energy_class,
    gaps_of,
    share,
)
from energy.reading import Role


def _us(column: str) -> str:
    return f"(extract(epoch FROM {column}) * 1000000)::bigint"


BEGINS, ENDS, NOW = (MOMENT.format(us=f"${place}::bigint") for place in (2, 3, 4))
METERS = f"""
SELECT meter_id, code, name, carrier, role, level, accuracy_class, calibrated_until, expected_interval_s, active,
       {_us("coalesce(first_at, created_at)")} AS from_us
FROM meter WHERE enterprise = $1 ORDER BY code
"""
# A slot is one expected interval; two readings in it are still one of those that were due.
COUNTS = f"""
SELECT r.meter_id, count(*) AS received,
       count(DISTINCT floor(extract(epoch FROM r.ts) / meter.expected_interval_s)) AS slots,
       percentile_disc(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM r.received_at - r.ts))::float8 AS median_delay_s,
       count(*) FILTER (WHERE r.received_at - r.ts <= make_interval(secs => meter.expected_interval_s + {GRACE_S}))
           AS timely
FROM reading AS r JOIN meter ON meter.meter_id = r.meter_id
WHERE r.meter_id = ANY ($1::int[]) AND r.ts >= {BEGINS} AND r.ts < {ENDS} GROUP BY r.meter_id
"""
# Neighbouring readings that lie far apart, and those on both sides of the month's bounds.
STRETCHES = f"""
SELECT meter.meter_id, {_us("pair.begins")}, {_us("pair.ends")}
FROM meter
CROSS JOIN LATERAL (
    SELECT (SELECT max(ts) FROM reading AS r WHERE r.meter_id = meter.meter_id AND r.ts < {BEGINS}) AS before,
           (SELECT min(ts) FROM reading AS r WHERE r.meter_id = meter.meter_id AND r.ts >= {BEGINS} AND r.ts < {ENDS})
               AS first,
           (SELECT max(ts) FROM reading AS r WHERE r.meter_id = meter.meter_id AND r.ts >= {BEGINS} AND r.ts < {ENDS})
               AS last,
           (SELECT min(ts) FROM reading AS r WHERE r.meter_id = meter.meter_id AND r.ts >= {ENDS} AND r.ts <= {NOW})
               AS after) AS edge
CROSS JOIN LATERAL (
    SELECT begins, ends FROM (
        SELECT lag(ts) OVER (ORDER BY ts) AS begins, ts AS ends FROM reading AS r
        WHERE r.meter_id = meter.meter_id AND r.ts >= {BEGINS} AND r.ts < {ENDS}) AS inside
    WHERE ends - begins > make_interval(secs => {GAP_INTERVALS} * meter.expected_interval_s)
    UNION ALL SELECT before, first WHERE before IS NOT NULL AND first IS NOT NULL
    UNION ALL SELECT coalesce(last, before), after WHERE coalesce(last, before) IS NOT NULL
) AS pair
WHERE meter.meter_id = ANY ($1::int[]) ORDER BY meter.meter_id, pair.begins
"""
COUNTED = ("received", "slots", "timely")
HELD = f"""
SELECT meter_id, count(*) FROM held_reading
WHERE meter_id = ANY ($1::int[]) AND ts >= {BEGINS} AND ts < {ENDS} GROUP BY meter_id
"""
FIGURES = f"""
SELECT m.meter_id, m.quantity, m.measured_us, m.estimated_us,
       (SELECT sum(d.quantity) FROM meter_day AS d
        WHERE d.meter_id = m.meter_id AND d.start >= {BEGINS} AND d.start < {ENDS}) AS days
FROM meter_month AS m WHERE m.meter_id = ANY ($1::int[]) AND m.start = {BEGINS}
"""
REGION = f"""
SELECT count(*) AS meters, count(DISTINCT enterprise) AS enterprises,
       count(*) FILTER (WHERE calibrated_until >= $5) AS calibrated,
       count(*) FILTER (WHERE calibrated_until < $5) AS lapsed,
       coalesce(sum(m.measured_us), 0)::bigint AS measured_us, coalesce(sum(m.estimated_us), 0)::bigint AS estimated_us,
       coalesce(sum(m.held), 0)::bigint AS held, sum(due_us)::bigint AS due_us,
       count(*) FILTER (WHERE due_us > 0 AND coalesce(m.measured_us, 0) >= {COMPLETE_ENOUGH} * due_us) AS complete,
       count(*) FILTER (WHERE due_us > 0) AS owing
FROM (
    SELECT meter.meter_id, meter.enterprise, meter.calibrated_until,
           greatest(0, (extract(epoch FROM least({ENDS}, {NOW})
               - greatest({BEGINS}, coalesce(first_at, meter.created_at))) * 1000000)::bigint) AS due_us
    FROM meter JOIN enterprise ON enterprise.id = meter.enterprise
    WHERE meter.active AND starts_with(enterprise.region, $1)
) AS owed
LEFT JOIN meter_month AS m ON m.meter_id = owed.meter_id AND m.start = {BEGINS}
"""


@dataclass(frozen=True, slots=True)
class MeterQuality:
    """One meter in a month. Shares are None where nothing was due."""

    code: str
    name: str
    carrier: str
    role: Role
    level: int
    active: bool
    due: int
    received: int
    filled: int
    completeness: float | None
    median_delay_s: float | None
    timely: int
    timeliness: float | None
    calibration: Calibration
    calibrated_until: date | None
    accuracy_class: str | None
    held: int
    held_share: float | None
    estimated_share: float | None
    days: Decimal | None
    month: Decimal | None
    deviation: Decimal | None
    gaps: tuple[Gap, ...]

    @property
    def in_order(self) -> bool:
        """In service, calibrated, and complete enough."""
        sending = self.completeness is not None and self.completeness >= COMPLETE_ENOUGH
        return self.active and sending and self.calibration is Calibration.VALID


@dataclass(frozen=True, slots=True)
class FittingRate:
    """Of one kind of energy and level of metering: meters in the ledger, those in order, and what is required."""

    energy: str
    level: int
    meters: int
    in_order: int
    rate: float
    required: float
    edition: str
    verified: bool


@dataclass(frozen=True, slots=True)
class RegionQuality:
    """A region with all below it in a month, by covered time: that is what rollups keep."""

    enterprises: int
    meters: int
    completeness: float | None
    complete_meters: int
    owing_meters: int
    estimated_share: float | None
    held: int
    calibrated: int
    lapsed: int


async def enterprise_quality(
    pool: asyncpg.Pool, enterprise: str, month: date, calendar: SiteCalendar, now_us: int
) -> list[MeterQuality]:
    """Each meter of an enterprise in the local month that begins on `month`, up to now."""
    begins_us = calendar.date_start_us(month)
    ends_us = calendar.bucket_end(Level.MONTH, begins_us)
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        meters = await connection.fetch(METERS, enterprise)
        numbers = [meter["meter_id"] for meter in meters]
        bounds = begins_us, ends_us
        counts = {row["meter_id"]: row for row in await connection.fetch(COUNTS, numbers, *bounds)}
        stretches: dict[int, list[tuple[int, int | None]]] = {}
        for number, begins, ends in await connection.fetch(STRETCHES, numbers, *bounds, now_us):
            stretches.setdefault(number, []).append((begins, ends))
        held = {row[0]: row[1] for row in await connection.fetch(HELD, numbers, *bounds)}
        figures = {row["meter_id"]: row for row in await connection.fetch(FIGURES, numbers, *bounds)}
    span = _Span(begins_us, ends_us, now_us, calendar)
    return [
        _of_meter(meter, span, counts.get(number), stretches.get(number, []), held.get(number, 0), figures.get(number))
        for meter in meters
        for number in [meter["meter_id"]]
    ]


@dataclass(frozen=True, slots=True)
class _Span:
    begins_us: int
    ends_us: int
    now_us: int
    calendar: SiteCalendar


def _of_meter(
    meter: asyncpg.Record,
    span: _Span,
    counted: asyncpg.Record | None,
    stretches: Sequence[tuple[int, int | None]],
    held: int,
    figure: asyncpg.Record | None,
) -> MeterQuality:
    expected_us = meter["expected_interval_s"] * 1_000_000
    owed = max(span.begins_us, meter["from_us"]), min(span.ends_us, span.now_us)
    owes = meter["active"] and owed[0] < owed[1]
    due = due_readings(*owed, expected_us) if owes else 0
    received, filled, timely = (0, 0, 0) if counted is None else (counted[name] for name in COUNTED)
    covered = 0 if figure is None else figure["measured_us"] + figure["estimated_us"]
    days, quantity = (None, None) if figure is None else (figure["days"], figure["quantity"])
    local_date = span.calendar.local_date
    gaps = gaps_of(stretches, owed, span.now_us, expected_us, local_date, is_workday) if owes else []
    kept = ("code", "name", "carrier", "level", "active", "calibrated_until", "accuracy_class")
    return MeterQuality(
        **{name: meter[name] for name in kept},
        role=Role(meter["role"]),
        due=due,
        received=received,
        filled=filled,
        completeness=share(filled, due),
        median_delay_s=None if counted is None else counted["median_delay_s"],
        timely=timely,
        timeliness=share(timely, received),
        calibration=calibration(meter["calibrated_until"], local_date(owed[1] - 1)),
        held=held,
        held_share=share(held, received),
        estimated_share=None if figure is None else share(figure["estimated_us"], covered),
        days=days,
        month=quantity,
        deviation=deviation(days, quantity),
        gaps=tuple(gaps),
    )


def fitting_rates(meters: Sequence[MeterQuality], month: date) -> list[FittingRate]:
    """Of the meters in the ledger, how many of each kind of energy and level are in order, beside what is required.

    The ledger knows which meters there are, not which there should be: a rate of 1 says that all of them work.
    """
    required = {row["energy"]: row for row in reference_rows("fitting_rates") if _holds(row, month)}
    groups: dict[tuple[str, int], list[MeterQuality]] = {}
    for meter in meters:
        if meter.active:
            groups.setdefault((energy_class(meter.carrier, meter.role), meter.level), []).append(meter)
    found = []
    for (energy, level), mine in sorted(groups.items()):
        row: Mapping[str, str] = required[energy]
        working = sum(meter.in_order for meter in mine)
        wanted = float(row[f"level{level}"]) / 100
        seen = bool(row["verified"])
        found.append(FittingRate(energy, level, len(mine), working, working / len(mine), wanted, row["edition"], seen))
    return found


def _holds(row: Mapping[str, str | None], on: date) -> bool:
    begins, ends = row["valid_from"], row["valid_to"]
    return begins is not None and begins <= on.isoformat() and (ends is None or on.isoformat() < ends)


async def region_quality(
    pool: asyncpg.Pool, region: str, month: date, calendar: SiteCalendar, now_us: int
) -> RegionQuality:
    """A region's meters together in the local month that begins on `month`."""
    begins_us = calendar.date_start_us(month)
    ends_us = calendar.bucket_end(Level.MONTH, begins_us)
    today = calendar.local_date(min(now_us, ends_us - 1))
    (row,) = await pool.fetch(REGION, region, begins_us, ends_us, now_us, today)
    return RegionQuality(
        enterprises=row["enterprises"],
        meters=row["meters"],
        completeness=share(row["measured_us"], row["due_us"] or 0),
        complete_meters=row["complete"],
        owing_meters=row["owing"],
        estimated_share=share(row["estimated_us"], row["measured_us"] + row["estimated_us"]),
        held=row["held"],
        calibrated=row["calibrated"],
        lapsed=row["lapsed"],
    )
