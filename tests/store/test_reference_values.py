"""The reference tables against a list kept by hand: what each number is in print, and where it is printed."""

from __future__ import annotations

from decimal import Decimal

import pytest

from app.store.migrate import reference_rows

GB_2589 = "GB/T 2589-2020, annex A: kgce a kilogram, a cubic metre at 0 °C, a megajoule, a kilowatt-hour"
MEDIA = "GB/T 2589-2020, annex B: kgce a tonne of water, a cubic metre of gas, a kilogram of carbide"
COAL = {
    GB_2589: {
        "raw_coal": "0.7143",
        "cleaned_coal": "0.9000",
        "middlings": "0.2857",
        "coke": "0.9714",
        "coal_slime_min": "0.2857",
        "coal_slime_max": "0.4286",
        "coal_tar": "1.1429",
        "crude_oil": "1.4286",
        "fuel_oil": "1.4286",
        "gasoline": "1.4714",
        "kerosene": "1.4714",
        "diesel": "1.4571",
        "lpg": "1.7143",
        "refinery_dry_gas": "1.5714",
        "lng": "1.7572",
        "natural_gas_min": "1.1000",
        "natural_gas_max": "1.3300",
        "blast_furnace_gas": "0.1286",
        "natural_gas_oilfield": "1.3300",
        "natural_gas_gasfield": "1.2143",
        "coke_oven_gas_min": "0.5714",
        "coke_oven_gas_max": "0.6143",
        "heat": "0.03412",
        "electricity": "0.1229",
    },
    MEDIA: {"water_fresh": "0.2571", "oxygen": "0.4000", "acetylene": "8.3143", "calcium_carbide_medium": "2.0786"},
}
CO2 = {
    "accounting guide for other industrial enterprises, 2015: kg CO2 a kilogram or cubic metre": {
        "default": {
            "anthracite": "2.3228",
            "bituminous": "2.0715",
            "lignite": "1.4241",
            "cleaned_coal": "2.2818",
            "diesel": "3.1451",
            "petroleum_coke": "3.0633",
            "natural_gas_max": "2.16219",
            "heat": "0.11",
        }
    },
    "accounting guides of the first batch, 2013": {
        "first_batch_2013": {"anthracite": "1.9238", "natural_gas_max": "2.16219"}
    },
}
BENCHMARKS = {
    "NDRC Industry [2023] No. 723: 标杆 and 基准": {
        ("cement_clinker", ""): ("100", "117"),
        ("flat_glass", "> 800 t/d"): ("8", "12"),
    },
}
LIMITS = {
    "GB 16780-2021": {
        ("cement_clinker", "energy", ""): ("100", "107", "117"),
        ("cement_clinker", "electricity", ""): ("48", "57", "61"),
        ("cement_clinker", "coal", ""): ("94", "100", "109"),
        ("cement", "energy", ""): ("80", "87", "94"),
        ("cement_grinding", "electricity", ""): ("26", "29", "34"),
    },
    "GB 21252-2023": {
        ("ceramic_tile", "energy", "E <= 0.2 %"): ("4.5", "5.5", "7.0"),
        ("ceramic_tile", "energy", "0.2 % < E <= 0.5 %"): ("4.0", "4.9", "6.5"),
        ("ceramic_tile", "energy", "0.5 % < E <= 10 %"): ("3.4", "3.7", "4.6"),
        ("ceramic_tile", "energy", "E > 10 %"): ("3.2", "3.5", "4.5"),
    },
    "GB 21256-2025": {
        ("blast_furnace", "energy", ""): ("361", "370", "415"),
        ("converter", "energy", ""): ("-30", "-28", "-12"),
        ("electric_arc_furnace", "energy", "capacity >= 70 t"): ("61", "64", "72"),
    },
    "GB 29141-2024": {
        ("sulfuric_acid_pyrite", "energy", ""): ("-110", "-100", "-90"),
        ("sulfuric_acid_sulfur", "energy", "with low-temperature heat recovery"): ("-160", "-150", "-120"),
        ("sulfuric_acid_sulfur", "energy", "without low-temperature heat recovery"): ("-160", "-150", "-110"),
        ("sulfuric_acid_gypsum", "energy", ""): ("350", "370", "390"),
    },
    "GB 21258-2024": {("coal_power_usc_1000", "energy", ""): ("268", "276", "283")},
}


@pytest.mark.parametrize("source", COAL)
def test_a_coal_factor_is_as_it_is_printed(source: str) -> None:
    rows = [row for row in reference_rows("coal_factors") if row["basis"] == "equivalent" and row["valid_to"] is None]
    kept = {row["carrier"]: Decimal(row["kgce_per_unit"]) for row in rows if row["region"] is None}
    assert {name: kept.get(name) for name in COAL[source]} == {n: Decimal(v) for n, v in COAL[source].items()}, source


@pytest.mark.parametrize("source", CO2)
def test_a_co2_factor_is_as_it_is_printed(source: str) -> None:
    ((dataset, printed),) = CO2[source].items()
    rows = [row for row in reference_rows("co2_factors") if row["dataset"] == dataset and row["valid_to"] is None]
    kept = {row["carrier"]: Decimal(row["kgco2_per_unit"]) for row in rows if row["region"] is None}
    assert {name: kept.get(name) for name in printed} == {n: Decimal(v) for n, v in printed.items()}, source


@pytest.mark.parametrize("source", BENCHMARKS)
def test_a_benchmark_is_as_it_is_printed(source: str) -> None:
    kept = {
        (row["product"], row["condition"]): (Decimal(row["benchmark"]), Decimal(row["baseline"]))
        for row in reference_rows("levels", empty=("condition", "note"))
        if (row["kind"], row["edition"], row["indicator"]) == ("benchmark", "2023", "energy")
    }
    for key, (best, worst) in BENCHMARKS[source].items():
        assert kept.get(key) == (Decimal(best), Decimal(worst)), (source, key)


@pytest.mark.parametrize("standard", LIMITS)
def test_a_legal_limit_is_as_it_is_printed(standard: str) -> None:
    kept = {
        (row["product"], row["indicator"], row["condition"]): tuple(
            None if row[name] is None else Decimal(row[name]) for name in ("level1", "level2", "level3")
        )
        for row in reference_rows("levels", empty=("condition", "note"))
        if (row["kind"], row["edition"]) == ("limit", standard)
    }
    for key, printed in LIMITS[standard].items():
        assert kept.get(key) == tuple(map(Decimal, printed)), (standard, key)
