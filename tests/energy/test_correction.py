"""Corrections of legal limits, by hand: exact, only for what is said of a line, and never in an order nobody knows."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest

from app.store.migrate import reference_rows
from energy.benchmark import limit_met
from energy.correction import NONE_SAID, Attribute, Attributes, Correction, How, Side, correct

D = Decimal
A = Attribute


def of(product: str) -> list[Correction]:
    """The corrections of a product as the reference tables have them."""

    def number(cell: str | None) -> Decimal | None:
        return None if cell is None else D(cell)

    return [
        Correction(
            A(row["attribute"]),
            How(row["how"]),
            Side(row["side"]),
            D(row["base"]),
            D(row["unit"]),
            number(row["most"]),
            D(row["constant"]),
            None if row["needs"] is None else A(row["needs"]),
            number(row["needs_above"]),
            (number(row["level1"]), number(row["level2"]), number(row["level3"])),
            row["source"],
            bool(row["verified"]),
        )
        for row in reference_rows("corrections", empty=("condition",))
        if row["product"] == product
    ]


CLINKER, CEMENT, FURNACE, ARC = (
    (D(100), D(107), D(117)),
    (D(80), D(87), D(94)),
    (D(361), D(370), D(415)),
    (61, None, 86),
)
CASES: list[tuple[str, tuple[Decimal | int | None, ...], Attributes, tuple[str | None, ...]]] = [
    ("cement", CEMENT, NONE_SAID, ("80", "87", "94")),
    ("cement", CEMENT, {A.CLINKER_PERCENT: D(75)}, ("80", "87", "94")),
    ("cement", CEMENT, {A.CLINKER_PERCENT: D(70)}, ("74.5", "81.25", "88")),
    ("cement", CEMENT, {A.CLINKER_PERCENT: D("80.5")}, ("86.05", "93.325", "100.6")),
    ("blast_furnace", FURNACE, {A.FEED_GRADE_PERCENT: D(60)}, ("368.22", "377.22", "422.22")),
    ("blast_furnace", FURNACE, {A.FEED_GRADE_PERCENT: D(50)}, ("379.05", "388.05", "433.05")),
    ("blast_furnace", FURNACE, {A.FEED_GRADE_PERCENT: D(65)}, ("361", "370", "415")),
    ("electric_arc_furnace", ARC, {A.HOT_METAL_PERCENT: D(20)}, ("45", None, "70")),
    ("electric_arc_furnace", ARC, {A.STAINLESS: True}, ("67.1", None, "94.6")),
    ("electric_arc_furnace", ARC, {A.STAINLESS: False, A.HOT_METAL_PERCENT: D(20)}, ("45", None, "70")),
    ("coke_top_charged", (110, 110, 135), {A.WET_QUENCHING: True}, ("110", "110", "181.46")),
    ("coke_top_charged", (110, 110, 135), {A.WET_QUENCHING: False}, ("110", "110", "135")),
    ("sulfuric_acid_pyrite", (-110, -100, -90), {A.OLEUM_20: True}, ("-110", "-100", "-55")),
    ("soda_ash_combined_light", (145, 160, 200), {A.SUN_DRIED_SALT: True}, ("171.1", "188.8", "236")),
    ("cement_clinker", CLINKER, {A.ALTITUDE_M: D(1500), A.PRESSURE_PA: D(84_500)}, ("100", "107", "117")),
    ("cement_clinker", CLINKER, {A.ALTITUDE_M: D(2000)}, ("100", "107", "117")),
    ("cement_clinker", CLINKER, {A.PRESSURE_PA: D(79_500)}, ("100", "107", "117")),
]


@pytest.mark.parametrize(("product", "limits", "said", "expected"), CASES)
def test_a_limit_is_corrected_as_its_standard_says(
    product: str,
    limits: tuple[Decimal | int | None, ...],
    said: Attributes,
    expected: tuple[str | None, ...],
) -> None:
    found = correct([None if one is None else D(one) for one in limits], of(product), said)
    assert found.limits == tuple(None if one is None else Fraction(one) for one in expected)
    assert found.reasons == ()


def test_above_1500_m_level_3_of_clinker_grows_as_the_air_gets_thinner() -> None:
    """2,000 m, 79,500 Pa: 1.179 - 0.211 x 79,500 / 101,325 = 1.013448…; 117 x that = 118.573481…, without end."""
    said = {A.ALTITUDE_M: D(2000), A.PRESSURE_PA: D(79_500)}
    found = correct(CLINKER, of("cement_clinker"), said)
    assert found.limits[:2] == (Fraction(100), Fraction(107))
    third = found.limits[2]
    assert third == 117 * (Fraction(1179, 1000) - Fraction(211, 1000) * Fraction(79_500, 101_325))
    assert third is not None
    assert f"{float(third):.6f}" == "118.573481"
    # The level has no end as a decimal; times 101,325 t of output it has, and there it is judged to the last digit.
    output = D(101_325)
    exact = third * Fraction(output)
    at = D(exact.numerator) / D(exact.denominator)
    assert Fraction(at) == exact, "times the output it does"
    assert limit_met(at, output, found.limits) == 3
    assert limit_met(at + D("0.000001"), output, found.limits) == 0


def test_where_an_addition_and_a_factor_meet_neither_is_made_and_that_is_said() -> None:
    found = correct([D(61), None, D(86)], of("electric_arc_furnace"), {A.STAINLESS: True, A.HOT_METAL_PERCENT: D(20)})
    assert found.limits == (Fraction(61), None, Fraction(86))
    assert not found.applied
    assert found.reasons == ("limit-corrections-without-order",)


def test_every_correction_belongs_to_a_limit_that_there_is() -> None:
    limits = {
        (row["product"], row["indicator"], row["edition"], row["condition"])
        for row in reference_rows("levels", empty=("condition", "note"))
        if row["kind"] == "limit"
    }
    for row in reference_rows("corrections", empty=("condition",)):
        key = row["product"], row["indicator"], row["edition"]
        assert any(one[:3] == key and row["condition"] in ("", one[3]) for one in limits), key
        assert row["source"].startswith(row["edition"])
