"""Products in PostgreSQL's own digits are what decimals say, to the last one."""

from __future__ import annotations

import io
from decimal import Decimal

import asyncpg
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.store.database import plain_url
from app.store.numeric_wire import Numerics, exact_product, exact_sum, products, wide, wide_products
from app.store.rollups import HOUR_COLUMNS, NumericRows, numeric_bytes
from energy.tce import EXACT

FACTORS = st.decimals(
    min_value=Decimal("-1e9"), max_value=Decimal("1e9"), allow_nan=False, allow_infinity=False, places=12
) | st.sampled_from([Decimal(0), Decimal("1e-9"), Decimal("1.229E-13"), Decimal("1E+4"), Decimal("0.931775541532")])
WHOLE = st.integers(-(2**62), 2**62) | st.integers(-10, 10)


def values(numerics: Numerics) -> list[Decimal]:
    """The numbers that the digits, weights and signs stand for."""
    found = []
    for digits, sign in zip(numerics.digits.tolist(), numerics.sign.tolist(), strict=True):
        whole = sum(digit * 10_000 ** (len(digits) - 1 - i) for i, digit in enumerate(digits))
        found.append(EXACT.scaleb(Decimal(-whole if sign else whole), -numerics.places))
    return found


@given(
    rows=st.lists(st.tuples(WHOLE, st.integers(0, 2)), min_size=1, max_size=8),
    factors=st.lists(FACTORS, min_size=3, max_size=3),
)
def test_every_product_is_exact(rows: list[tuple[int, int]], factors: list[Decimal]) -> None:
    whole, which = [row[0] for row in rows], [row[1] for row in rows]
    found = products(np.array(whole, np.int64), factors, np.array(which, np.int64))
    assert values(found) == [exact_product(Decimal(w), factors[i]) for w, i in zip(whole, which, strict=True)]
    assert (int(found.digits.max()), found.places % 8) <= (9999, 0)


def test_numbers_beyond_63_bits_come_as_objects() -> None:
    whole = np.array([2**80, -(2**70)], object)
    found = products(whole, [Decimal("1e-9")], np.zeros(2, np.int64))
    assert values(found) == [Decimal(2**80).scaleb(-9, EXACT), Decimal(-(2**70)).scaleb(-9, EXACT)]


@given(
    parts=st.lists(st.tuples(WHOLE, st.integers(0, 1), st.integers(-1, 1)), min_size=1, max_size=12),
    others=st.lists(FACTORS, max_size=5),
    factors=st.lists(FACTORS, min_size=2, max_size=2),
)
def test_sums_of_many_products_and_decimals_are_exact(
    parts: list[tuple[int, int, int]], others: list[Decimal], factors: list[Decimal]
) -> None:
    whole, which = np.array([w for w, _, _ in parts], np.int64), np.array([i for _, i, _ in parts], np.int64)
    signs = np.array([sign for _, _, sign in parts], np.int64)
    rows = wide_products(whole, [factors], which)[0].times(signs).followed_by(wide(others))
    expected = exact_sum([*(exact_product(Decimal(w * s), factors[i]) for w, i, s in parts), *others])
    assert values(rows.grouped(np.zeros(1, np.int64)).numerics()) == [expected]


def test_a_sum_keeps_every_digit_and_the_sum_of_nothing_is_zero() -> None:
    assert exact_sum([Decimal("1e20"), Decimal("1e-20"), Decimal("-1e20")]) == Decimal("1e-20")
    assert exact_sum([]) == 0


@pytest.fixture
def some_rows() -> NumericRows:
    whole = np.array([0, 1, -123_456_789_012_345, 2**62, 10_000_000_000], np.int64)
    figure = products(whole, [Decimal("1.229e-13"), Decimal(4000)], np.array([0, 0, 0, 1, 1], np.int64))
    everywhere, nowhere_odd = np.ones(5, np.bool_), np.array([True, False, True, False, True])
    return NumericRows(
        number=np.arange(1, 6, dtype=np.int64),
        start_us=np.arange(5, dtype=np.int64) * 3_600_000_000,
        measured_us=np.full(5, 3_600_000_000, np.int64),
        estimated_us=np.zeros(5, np.int64),
        held=np.arange(5, dtype=np.int64),
        figures=(figure, figure, figure, figure),
        known=(everywhere, nowhere_odd, everywhere, ~everywhere),
    )


async def test_the_database_reads_back_the_same_numbers_and_nulls(database_url: str, some_rows: NumericRows) -> None:
    connection = await asyncpg.connect(plain_url(database_url))
    try:
        await connection.execute("CREATE TEMPORARY TABLE copied AS TABLE meter_hour WITH NO DATA")
        await connection.copy_to_table(
            "copied", source=io.BytesIO(numeric_bytes(some_rows)), columns=HOUR_COLUMNS, format="binary"
        )
        rows = await connection.fetch("SELECT * FROM copied ORDER BY meter_id")
    finally:
        await connection.close()
    expected = values(some_rows.figures[0])
    assert [row["quantity"] for row in rows] == expected
    assert [row["tce_equal"] for row in rows] == expected
    assert [row["tce_equivalent"] for row in rows] == [expected[0], None, expected[2], None, expected[4]]
    assert [row["tco2"] for row in rows] == [None] * 5
    assert [row["held"] for row in rows] == [0, 1, 2, 3, 4]
