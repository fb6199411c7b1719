"""CO2 by another set of factors than the one the rollups are kept in, worked out from their quantities when asked for.

Factors change with local days. So days, or hours where hours are asked for, times the day's factor give the figure that
rollups of that set would hold, to the last digit.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import asyncpg

from app.store.factors import Factors, factor_rows, factors_of
from app.store.numeric_wire import exact_product
from app.store.readings import MOMENT
from app.store.rollups import WORD, Connection
from energy.interval import Level, SiteCalendar
from energy.reading import Int64s, Role
from energy.tce import EXACT, Signed, contribution, emits

Rows = Sequence[asyncpg.Record] | Sequence[Mapping[str, Any]]
PER_THOUSAND = Decimal("0.001")
"""Factors are in kilograms a unit, figures in tonnes."""
DATASETS = "SELECT DISTINCT dataset FROM co2_factor ORDER BY 1"
QUANTITIES = """
SELECT (extract(epoch FROM start) * 1000000)::bigint AS start_us, b.meter_id, meter.carrier, meter.role,
       enterprise.region, quantity
FROM meter JOIN enterprise ON enterprise.id = meter.enterprise
JOIN meter_{level} AS b ON b.meter_id = meter.meter_id
WHERE meter.enterprise = $1 AND start >= {first} AND start < {end} ORDER BY start
"""


class DatasetUnknown(ValueError):
    """No CO2 factors are kept under this name. Attributes: dataset, known."""

    def __init__(self, dataset: str, known: Iterable[str]) -> None:
        self.dataset, self.known = dataset, tuple(known)
        super().__init__(f"no CO2 data set {dataset!r}; there are {', '.join(self.known)}")


@dataclass(slots=True)
class Co2OfSet:
    """Tonnes of CO2 by a set: of (bucket, carrier) gross and net, and of (bucket, meter). None: a factor is missing."""

    carriers: dict[tuple[int, str], Signed | None] = field(default_factory=dict)
    meters: dict[tuple[int, int], Decimal | None] = field(default_factory=dict)


async def co2_of_set(
    connection: Connection, dataset: str, enterprise: str, level: Level, edges: Int64s, calendar: SiteCalendar
) -> Co2OfSet:
    """The CO2 of an enterprise's buckets between the edges. Raises DatasetUnknown."""
    known = [row[0] for row in await connection.fetch(DATASETS)]
    if dataset not in known:
        raise DatasetUnknown(dataset, known)
    factors = factors_of(await factor_rows(connection))
    finer = WORD[Level.HOUR if level is Level.HOUR else Level.DAY]
    bounds = {name: MOMENT.format(us=f"${place}::bigint") for name, place in (("first", 2), ("end", 3))}
    rows = await connection.fetch(QUANTITIES.format(level=finer, **bounds), enterprise, int(edges[0]), int(edges[-1]))
    return _priced(rows, dataset, enterprise, edges.tolist(), factors, calendar)


def _priced(
    rows: Iterable[asyncpg.Record],
    dataset: str,
    enterprise: str,
    edges: list[int],
    factors: Factors,
    calendar: SiteCalendar,
) -> Co2OfSet:
    found = Co2OfSet()
    kilograms: dict[tuple[str, int], Decimal | None] = {}
    for row in rows:
        day, carrier, role = calendar.local_date(row["start_us"]), row["carrier"], Role(row["role"])
        key = carrier, bisect_right(factors.turns, day)
        if key not in kilograms:
            whose = {"enterprise": enterprise, "region": row["region"], "dataset": dataset}
            factor = factors.book.lookup_co2(carrier, day, **whose)
            kilograms[key] = factor and factor.kgco2_per_unit
        factor_kg = kilograms[key] if emits(role) else Decimal(0)
        tonnes = None if factor_kg is None else exact_product(exact_product(row["quantity"], factor_kg), PER_THOUSAND)
        start_us = edges[bisect_right(edges, row["start_us"]) - 1]
        _add(found.meters, (start_us, row["meter_id"]), tonnes)
        if contribution(role, Decimal(1)) != Signed(Decimal(0), Decimal(0)):
            _add_signed(found.carriers, (start_us, carrier), None if tonnes is None else contribution(role, tonnes))
    return found


def _add(sums: dict[tuple[int, int], Decimal | None], key: tuple[int, int], part: Decimal | None) -> None:
    before = sums.get(key, Decimal(0))
    sums[key] = None if before is None or part is None else EXACT.add(before, part)


def _add_signed(sums: dict[tuple[int, str], Signed | None], key: tuple[int, str], part: Signed | None) -> None:
    before = sums.get(key, Signed(Decimal(0), Decimal(0)))
    sums[key] = None if before is None or part is None else before + part


def with_co2_of_carriers(rows: Rows, found: Co2OfSet) -> list[Mapping[str, Any]]:
    """The rows of carriers with the CO2 of the set in the place of their own."""
    signed = [(dict(row), found.carriers[row["start_us"], row["carrier"]]) for row in rows]
    return [row | {"tco2": co2 and co2.gross, "tco2_net": co2 and co2.net} for row, co2 in signed]


def with_co2_of_meters(rows: Rows, found: Co2OfSet) -> list[Mapping[str, Any]]:
    """The rows of meters with the CO2 of the set in the place of their own."""
    return [dict(row) | {"tco2": found.meters[row["start_us"], row["meter_id"]]} for row in rows]
