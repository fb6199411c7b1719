"""Energy per unit of product against levels: worked out by hand, with negative levels and every form of condition."""

from __future__ import annotations

from decimal import Decimal

import pytest

from energy.benchmark import (
    Indicator,
    OutputUnitMismatch,
    Position,
    applies,
    level_units,
    limit_met,
    line_sign,
    output_scale,
    standing,
)
from energy.reading import Role

D = Decimal


def test_a_clinker_line_between_benchmark_and_baseline() -> None:
    """10,900 tce for 100,000 t: 109 kgce/t; benchmark 100, baseline 117: ratio 1.09, position 9/17, gap 900 tce."""
    found = standing(D(10_900_000), D(100_000), D(100), D(117))
    assert found.unit_energy == 109
    assert (found.ratio_to_benchmark, found.ratio_to_baseline) == (D("1.09"), D("0.931624"))
    assert (found.position, found.position_share) == (Position.BETWEEN, D("0.529412"))
    assert (found.gap, found.gap_to_baseline) == (D(900), D(-800))


@pytest.mark.parametrize(
    ("energy", "position"),
    [
        ("99.999999999999999999", Position.BETTER),
        ("100", Position.BETTER),
        ("100.000000000000000001", Position.BETWEEN),
        ("117", Position.BETWEEN),
        ("117.000000000000000001", Position.WORSE),
    ],
)
def test_the_position_is_decided_exactly_and_not_by_what_is_shown(energy: str, position: Position) -> None:
    assert standing(D(energy), D(1), D(100), D(117)).position is position


@pytest.mark.parametrize(
    ("per_t", "position", "difference"),
    [(-35, Position.BETTER, -5), (-30, Position.BETTER, 0), (-12, Position.BETWEEN, 18), (3, Position.WORSE, 33)],
)
def test_a_negative_level_has_a_difference_and_no_ratio(per_t: int, position: Position, difference: int) -> None:
    found = standing(D(per_t) * 1000, D(1000), D(-30), D(-10))
    assert found.ratio_to_benchmark is found.ratio_to_baseline is found.position_share is None
    assert (found.position, found.difference_to_benchmark, found.gap) == (position, D(difference), D(difference))


def test_a_level_of_zero_has_no_ratio_either() -> None:
    assert standing(D(5), D(1), D(0), D(10)).ratio_to_benchmark is None


def test_without_output_there_is_nothing_per_unit() -> None:
    with pytest.raises(ValueError, match="output above 0"):
        standing(D(5), D(0), D(1), D(2))


@pytest.mark.parametrize(
    ("per_t", "levels", "expected"),
    [
        (100, (100, 107, 117), 1),
        (107, (100, 107, 117), 2),
        (108, (100, 107, 117), 3),
        (118, (100, 107, 117), 0),
        (-115, (-160, -150, -110), 3),
        (70, (61, None, 72), 3),
        (14, (None, None, 14), 3),
        (10, (None, None, None), None),
    ],
)
def test_the_best_level_that_is_kept(per_t: int, levels: tuple[int | None, ...], expected: int | None) -> None:
    first, second, third = (None if level is None else D(level) for level in levels)
    assert limit_met(D(per_t), D(1), (first, second, third)) == expected


@pytest.mark.parametrize(
    ("level", "line", "holds"),
    [
        ("", "whatever is said", True),
        ("E <= 0.5 %", "water absorption E <= 0.5%", True),
        ("E <= 0.5 %", "E <= 0.2 %", True),
        ("E <= 0.2 %", "E <= 0.5 %", False),
        ("0.2 % < E <= 0.5 %", "E = 0.3 %", True),
        ("0.2 % < E <= 0.5 %", "0.2 %", False),
        ("0.5 % < E <= 10 %", "0.5% < E ≤ 10%", True),
        ("E > 10 %", "E > 10 %", True),
        ("E > 10 %", "0.5 % < E <= 10 %", False),
        ("500-800 t/d", "line design capacity 500-800 t/d", True),
        ("> 800 t/d", "line design capacity > 800 t/d", True),
        ("> 800 t/d", "800 t/d", False),
        ("capacity >= 50 t", "capacity 60 t", True),
        ("capacity >= 50 t", "50 t <= capacity < 70 t", True),
        ("50 t <= capacity < 70 t", "nominal capacity >= 50 t", False),
        ("30 t < capacity < 50 t", "30 t < nominal capacity < 50 t", True),
        ("SO2 > 13 %", "SO2 > 13%", True),
        ("with low-temperature heat recovery", "With low temperature heat recovery", True),
        ("with low-temperature heat recovery", "without low-temperature heat recovery", False),
        ("with low-temperature heat recovery", "", False),
        ("E > 10 %", "", False),
    ],
)
def test_a_level_holds_for_lines_within_its_condition(level: str, line: str, holds: bool) -> None:
    assert applies(level, line) is holds


def test_units_of_levels_and_of_outputs() -> None:
    assert level_units("kgce/t") == (D(1), "t")
    assert level_units("gce/kWh") == (D(1000), "kWh")
    assert level_units("kgoe/(t*energy factor)") == (D("0.7"), "t*energy factor")
    for wrong in ("kgce", "kgce/", "t/kgce", "J/t"):
        with pytest.raises(ValueError, match="unit of a level"):
            level_units(wrong)
    assert output_scale("万t", "t") == 10_000
    with pytest.raises(OutputUnitMismatch, match="accepted: m2"):
        output_scale("t", "m2")


def test_what_counts_for_a_line_and_with_which_sign() -> None:
    energy = {role: line_sign(role, Indicator.ENERGY, "") for role in Role}
    assert [role for role, sign in energy.items() if sign == -1] == [Role.SALE, Role.RECOVERED]
    assert energy[Role.INTERNAL] == 1, "what reaches the line, though it is inside the enterprise"
    assert line_sign(Role.RECOVERED, Indicator.ELECTRICITY, "") == 0, "power from waste heat is used all the same"
    assert line_sign(Role.FEEDSTOCK, Indicator.ENERGY, "feedstock energy deducted") == 0
    assert line_sign(Role.FEEDSTOCK, Indicator.ENERGY, "feedstock energy not deducted") == 1
