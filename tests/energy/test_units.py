"""Units and the way to each carrier's normal one."""

from __future__ import annotations

from decimal import Decimal

import pytest

from energy.reading import Kind
from energy.units import NORMAL_UNITS, UnitMismatch, to_normal, units_for


@pytest.mark.parametrize(
    ("unit", "normal", "factor"),
    [
        ("kWh", "kWh", "1"),
        ("MWh", "kWh", "1000"),
        ("万kWh", "kWh", "10000"),
        ("10^4 kWh", "kWh", "10000"),
        ("t", "kg", "1000"),
        ("m3", "t", "1"),
        ("Nm3", "m3", "1"),
        ("m3_20C", "m3", "0.931775541532"),
        ("GJ", "MJ", "1000"),
        ("kWh", "MJ", "3.6"),
        ("MWh", "MJ", "3600"),
    ],
)
def test_one_unit_is_so_many_normal_ones(unit: str, normal: str, factor: str) -> None:
    assert to_normal(unit, normal) == Decimal(factor)


def test_gas_at_20_degrees_is_seven_percent_less_at_0() -> None:
    assert abs(to_normal("m3_20C", "m3") * Decimal("293.15") / Decimal("273.15") - 1) < Decimal("1e-11")


def test_a_rate_is_amounts_an_hour_and_power_goes_by_its_own_names() -> None:
    assert to_normal("kW", "kWh", Kind.RATE) == 1
    assert to_normal("MW", "kWh", Kind.RATE) == 1000
    assert to_normal("t/h", "kg", Kind.RATE) == 1000
    with pytest.raises(UnitMismatch):
        to_normal("kWh", "kWh", Kind.RATE)


def test_what_cannot_measure_a_carrier_is_refused_with_what_can() -> None:
    with pytest.raises(UnitMismatch, match="no way from unit 'm3' to 'kg'") as refused:
        to_normal("m3", "kg")
    assert (refused.value.unit, refused.value.normal) == ("m3", "kg")
    assert refused.value.accepted == units_for("kg")
    assert "t" in refused.value.accepted


def test_a_normal_unit_nobody_knows_has_no_units() -> None:
    assert units_for("barrel") == ()
    with pytest.raises(UnitMismatch, match="accepted: none"):
        to_normal("barrel", "barrel")


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("normal", NORMAL_UNITS)
def test_every_unit_offered_is_taken_and_is_some_amount(normal: str, kind: Kind) -> None:
    assert all(to_normal(unit, normal, kind) > 0 for unit in units_for(normal, kind))
    assert len(units_for(normal, kind)) > 3
