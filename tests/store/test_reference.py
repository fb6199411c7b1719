"""The reference tables as the accounting takes them: sound, without gaps in time, and every number with its source."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from itertools import pairwise

import pytest

from app.store.migrate import NATIONAL_TABLES, reference_rows
from energy.reading import Role
from energy.tce import DEFAULT_CO2_DATASET, Basis, Co2Factor, CoalFactor, FactorBook, Signed, book
from energy.units import NORMAL_UNITS

WITHOUT_CO2 = {"municipal_waste", "industrial_waste"}
"""Partly fossil, partly not: only a measured share gives a number."""


def day(text: str | None) -> date | None:
    return None if text is None else date.fromisoformat(text)


def the_book() -> FactorBook:
    coal = [
        CoalFactor(
            row["carrier"],
            Basis(row["basis"]),
            Decimal(row["kgce_per_unit"]),
            date.fromisoformat(row["valid_from"]),
            day(row["valid_to"]),
            row["region"],
            None,
            row["edition"],
            row["source"],
            str(i),
        )
        for i, row in enumerate(reference_rows("coal_factors"))
    ]
    co2 = [
        Co2Factor(
            row["carrier"],
            Decimal(row["kgco2_per_unit"]),
            row["dataset"],
            date.fromisoformat(row["valid_from"]),
            day(row["valid_to"]),
            row["region"],
            None,
            row["source"],
            str(i),
        )
        for i, row in enumerate(reference_rows("co2_factors"))
    ]
    return FactorBook(coal, co2)


def codes(table: str) -> set[str]:
    return {row["code"] for row in reference_rows(table)}


def test_a_month_of_electricity_in_yunfu() -> None:
    booking = book(the_book(), "electricity", Role.PURCHASE, Decimal(100_450), date(2026, 11, 1), region="445302")
    assert booking.tce_equivalent == Signed(Decimal("12.345305"), Decimal("12.345305"))
    assert booking.tco2 == Signed(Decimal("44.388855"), Decimal("44.388855"))


@pytest.mark.parametrize(
    ("carrier", "on", "kgce"),
    [
        ("raw_coal", "2026-01-01", "0.7143"),
        ("diesel", "2015-06-30", "1.4571"),
        ("natural_gas_max", "2026-01-01", "1.33"),
        ("heat", "2026-01-01", "0.03412"),
        ("water_fresh", "2021-03-31", "0.0857"),
        ("water_fresh", "2021-04-01", "0.2571"),
    ],
)
def test_coal_equivalents_as_printed(carrier: str, on: str, kgce: str) -> None:
    for basis in Basis:
        found = the_book().lookup(carrier, basis, date.fromisoformat(on))
        assert found is not None
        assert found.kgce_per_unit == Decimal(kgce)


@pytest.mark.parametrize(
    ("carrier", "on", "kgco2"),
    [
        ("electricity", "2015-12-31", "0.5912"),
        ("electricity", "2021-06-01", "0.4715"),
        ("electricity", "2022-06-01", "0.4403"),
        ("electricity", "2026-11-01", "0.4419"),
        ("natural_gas_max", "2026-11-01", "2.16219"),
        ("diesel", "2026-11-01", "3.1451"),
        ("heat", "2026-11-01", "0.11"),
    ],
)
def test_co2_a_normal_unit(carrier: str, on: str, kgco2: str) -> None:
    found = the_book().lookup_co2(carrier, date.fromisoformat(on), region="445381")
    assert found is not None
    assert found.kgco2_per_unit == Decimal(kgco2)


def test_every_carrier_has_factors_on_both_bases_and_co2_since_2000() -> None:
    factors = the_book()
    for on in (date(2000, 1, 1), date(2016, 1, 1), date(2021, 4, 1), date(2026, 11, 1), date(2040, 1, 1)):
        lacking = {
            code
            for code in codes("carriers")
            if book(factors, code, Role.PURCHASE, Decimal(1), on, region="445302").missing
        }
        assert lacking == WITHOUT_CO2


def test_factors_follow_each_other_without_a_gap() -> None:
    """An empty end is only at the end."""
    for table, *key in (
        ("coal_factors", "carrier", "basis", "region"),
        ("co2_factors", "carrier", "dataset", "region"),
    ):
        rows = reference_rows(table)
        for subject in {tuple(row[name] for name in key) for row in rows}:
            mine = sorted(
                (row for row in rows if tuple(row[name] for name in key) == subject), key=lambda row: row["valid_from"]
            )
            assert all(earlier["valid_to"] == later["valid_from"] for earlier, later in pairwise(mine))
            assert mine[-1]["valid_to"] is None


def test_electricity_by_primary_energy_is_marked_as_not_verified() -> None:
    (row,) = (r for r in reference_rows("coal_factors") if (r["carrier"], r["basis"]) == ("electricity", "equal"))
    assert (row["kgce_per_unit"], row["verified"]) == ("0.28498", False)
    assert "has to be replaced" in row["source"]


def test_every_factor_says_where_it_is_from_and_whether_that_was_seen() -> None:
    for table in ("coal_factors", "co2_factors"):
        for row in reference_rows(table):
            assert len(row["source"]) > 5
            assert row["verified"] in (True, False)
            assert row["carrier"] in codes("carriers")
            assert row["region"] in {None, *codes("regions")}


def test_two_sets_of_co2_defaults_that_differ() -> None:
    factors, found = the_book(), []
    for dataset in (DEFAULT_CO2_DATASET, "first_batch_2013"):
        factor = factors.lookup_co2("anthracite", date(2026, 1, 1), dataset=dataset)
        found.append(factor and factor.kgco2_per_unit)
    assert found == [Decimal("2.3228"), Decimal("1.9238")]


def test_carriers_are_counted_in_normal_units_and_named_in_both_languages() -> None:
    for row in reference_rows("carriers"):
        assert row["unit"] in NORMAL_UNITS
        assert re.fullmatch(r"[a-z0-9_]+", row["code"])
        assert row["name_zh"]
        assert row["name_en"]


def test_regions_lie_in_their_parents() -> None:
    rows = {row["code"]: row["parent"] for row in reference_rows("regions")}
    assert {"445302", "445303", "445321", "445322", "445381"} < set(rows)
    for code, parent in rows.items():
        assert parent is None or (parent in rows and code.startswith(parent))


def test_industries_are_four_digits_and_every_code_is_there_once() -> None:
    for table in (*NATIONAL_TABLES[:2], "industries"):
        assert len(codes(table)) == len(reference_rows(table))
    assert all(re.fullmatch(r"[0-9]{4}", code) for code in codes("industries"))
