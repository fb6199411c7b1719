"""Months and days of many enterprises as columns: one binary COPY a question, and no object a bucket."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.store.readings import COPY_HEADER, COPY_TRAILER
from app.store.rollups import Connection
from energy.budget import BudgetBasis
from energy.interval import from_us

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]

BASES = tuple(BudgetBasis)
NET = {
    BudgetBasis.EQUIVALENT: "tce_equivalent_net",
    BudgetBasis.EQUAL: "tce_equal_net",
    BudgetBasis.CO2: "tco2_net",
}
FIGURES = ", ".join(f"CASE WHEN count({NET[one]}) = count(*) THEN sum({NET[one]}) END AS {one}" for one in BASES)
"""A bucket's net figure is unknown as soon as one of its carriers has no factor."""
BUCKETS = f"""
SELECT number::int4, (extract(epoch FROM start) * 1000000)::int8,
    {", ".join(f"coalesce({one}::float8, 'NaN')" for one in BASES)}, measured_us, known_us
FROM (
    SELECT enterprise, start, {FIGURES}, sum(measured_us)::int8 AS measured_us,
        sum(measured_us + estimated_us)::int8 AS known_us
    FROM enterprise_{{level}} WHERE enterprise = ANY ($1) AND start >= $2 AND start < $3 GROUP BY enterprise, start
) AS bucket JOIN unnest($1::text[]) WITH ORDINALITY AS named (enterprise, number) USING (enterprise)
"""
ROW = np.dtype(
    [
        ("fields", ">i2"),
        *(
            part
            for name, kind in (
                ("number", ">i4"),
                ("start_us", ">i8"),
                *((str(one), ">f8") for one in BASES),
                ("measured_us", ">i8"),
                ("known_us", ">i8"),
            )
            for part in ((f"{name}_length", ">i4"), (name, kind))
        ),
    ]
)
"""A row of BUCKETS as COPY writes it. None of its columns is ever null."""


@dataclass(frozen=True, slots=True)
class Buckets:
    """A table of n enterprises × t buckets that follow each other, which begin at `starts_us` (ascending).

    `figures`: float64[n, t] a basis, net, NaN where there is no bucket or a factor is missing. `measured_us` and
    `known_us`: int64[n, t], the meter-microseconds a bucket stands for, measured alone and with what was estimated.
    """

    starts_us: Int64s
    figures: dict[BudgetBasis, Float64s]
    measured_us: Int64s
    known_us: Int64s
    there: npt.NDArray[np.bool_]

    @classmethod
    def empty(cls, rows: int, starts_us: Sequence[int]) -> Buckets:
        shape = rows, len(starts_us)
        return cls(
            np.array(starts_us, np.int64),
            {one: np.full(shape, np.nan) for one in BASES},
            np.zeros(shape, np.int64),
            np.zeros(shape, np.int64),
            np.zeros(shape, np.bool_),
        )

    async def read(
        self, connection: Connection, level: str, names: Sequence[str], rows: Int64s, first_us: int, end_us: int
    ) -> None:
        """Fill in the buckets of a level that begin in [first, end). `rows`: the row of each of the names."""
        out = io.BytesIO()
        bounds = from_us(first_us), from_us(end_us)
        await connection.copy_from_query(BUCKETS.format(level=level), list(names), *bounds, output=out, format="binary")
        found = np.frombuffer(out.getbuffer()[len(COPY_HEADER) : -len(COPY_TRAILER)], ROW)
        row = rows[found["number"].astype(np.int64) - 1]
        column = np.searchsorted(self.starts_us, found["start_us"].astype(np.int64), "right") - 1
        for basis, table in self.figures.items():
            table[row, column] = found[str(basis)]
        self.measured_us[row, column] = found["measured_us"]
        self.known_us[row, column] = found["known_us"]
        self.there[row, column] = True
