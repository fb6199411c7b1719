"""The dated factors as the ledger has them: defaults, a region's, and an enterprise's own."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

from app.store.rollups import Connection
from energy.tce import Basis, Co2Factor, CoalFactor, FactorBook

COAL_FACTORS = """
SELECT carrier, basis, kgce_per_unit, valid_from, valid_to, region, enterprise, edition, source, 'tce-' || factor_id
FROM coal_factor ORDER BY factor_id
"""
CO2_FACTORS = """
SELECT carrier, kgco2_per_unit, dataset, valid_from, valid_to, region, enterprise, source, 'co2-' || factor_id
FROM co2_factor ORDER BY factor_id
"""


@dataclass(frozen=True, slots=True)
class FactorRows:
    """Both tables as rows, columns in the order of energy.tce's fields; equal when nothing in them changed."""

    coal: tuple[tuple[Any, ...], ...]
    co2: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True, slots=True)
class Factors:
    """The factors as a book, and every date on which one of them begins or ends, ascending."""

    book: FactorBook
    turns: tuple[date, ...]


async def factor_rows(connection: Connection) -> FactorRows:
    """All coal and CO2 factors."""
    coal = tuple(tuple(row) for row in await connection.fetch(COAL_FACTORS))
    return FactorRows(coal, tuple(tuple(row) for row in await connection.fetch(CO2_FACTORS)))


def factors_of(rows: FactorRows) -> Factors:
    """The rows as a book. Raises energy.tce.FactorOverlap, which the tables' own constraint makes impossible."""
    coal = [CoalFactor(carrier, Basis(basis), *rest) for carrier, basis, *rest in rows.coal]
    co2 = [Co2Factor(*row) for row in rows.co2]
    both: list[CoalFactor | Co2Factor] = [*coal, *co2]
    bounds = {day for factor in both for day in (factor.valid_from, factor.valid_to)}
    return Factors(FactorBook(coal, co2), tuple(sorted(day for day in bounds if day is not None)))
