"""What one day's figures say, kind by kind, at and around every threshold."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from alerts.evaluate import (
    BudgetPosition,
    DataPosition,
    IntegrityPosition,
    LinePosition,
    MeterPosition,
    MonthFigure,
    actual,
    benchmark,
    data,
    integrity,
    meter,
    period,
    signals,
    trend,
)
from alerts.rule import DEFAULTS, AlertSettings, Kind, Level, WrongRule
from alerts.states import Data

GREEN, YELLOW, ORANGE, RED = Level.GREEN, Level.YELLOW, Level.ORANGE, Level.RED
AS_OF = datetime(2026, 7, 1, tzinfo=UTC)


def a_position(**changes: object) -> BudgetPosition:
    sound = BudgetPosition(
        enterprise="91445300MA4UXXXX0J",
        region="445303",
        year=2026,
        basis="equivalent",
        day=date(2026, 7, 20),
        as_of=AS_OF,
        budget=Decimal(1000),
        revision=1,
        spent=Decimal(500),
        spent_measured=Decimal(500),
        planned=Decimal(500),
        p_over=0.1,
        projected=950.0,
        low80=900.0,
        high80=1000.0,
        crossing=None,
        cover30=1.0,
        estimated30=0.0,
        late_s=0.0,
    )
    return replace(sound, **changes)  # type: ignore[arg-type]  # names are checked by replace


@pytest.mark.parametrize(
    ("p_over", "on", "kept"),
    [
        (0.39, GREEN, GREEN),
        (0.40, GREEN, YELLOW),
        (0.55, GREEN, ORANGE),
        (0.65, YELLOW, ORANGE),
        (0.80, YELLOW, RED),
        (0.85, ORANGE, RED),
        (0.98, RED, RED),
        (1.0, RED, RED),
    ],
)
def test_the_trend_has_two_thresholds_a_level(p_over: float, on: Level, kept: Level) -> None:
    found = trend(DEFAULTS, a_position(p_over=p_over))
    assert (found.on, found.kept, found.confirm_days, found.data) == (on, kept, 7, Data.OK)


@pytest.mark.parametrize(
    ("day", "on"), [("02-28", GREEN), ("03-01", YELLOW), ("03-30", YELLOW), ("03-31", RED), ("12-31", RED)]
)
def test_no_orange_before_the_festival_has_passed(day: str, on: Level) -> None:
    found = trend(DEFAULTS, a_position(p_over=0.99, day=date.fromisoformat(f"2026-{day}")))
    assert (found.on, found.kept) == (on, RED)


def test_no_red_is_raised_on_estimates() -> None:
    assert trend(DEFAULTS, a_position(p_over=0.99, estimated30=0.051)).on is ORANGE
    assert actual(DEFAULTS, a_position(spent=Decimal(1001), spent_measured=Decimal(999))).on is ORANGE


def test_a_months_close_confirms_by_itself() -> None:
    assert trend(DEFAULTS, a_position(day=date(2026, 7, 5))).at_once
    assert not trend(DEFAULTS, a_position(day=date(2026, 7, 6))).at_once


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cover30": 0.9}, Data.OK),
        ({"cover30": 0.899}, Data.MISSING),
        ({"late_s": 6 * 3600.0}, Data.OK),
        ({"late_s": 6 * 3600.0 + 1}, Data.LATE),
        ({"p_over": None}, Data.MISSING),
    ],
)
def test_what_is_not_measured_is_not_judged(changes: dict[str, object], said: Data) -> None:
    position = a_position(**changes)
    assert trend(DEFAULTS, position).data is said
    assert actual(DEFAULTS, position).data is said
    assert period(DEFAULTS, position).data is said


@pytest.mark.parametrize(("unmeasured_days", "said"), [(66.0, Data.OK), (67.0, Data.MISSING), (200.0, Data.MISSING)])
def test_a_trend_of_assumed_energy_is_held(unmeasured_days: float, said: Data) -> None:
    """200 days are over on 20 July; a plant that was connected late in them is not red for what it may have used."""
    position = a_position(p_over=1.0, unmeasured_days=unmeasured_days, assumed=900.0)
    found = trend(DEFAULTS, position)
    assert (found.on, found.data) == (RED, said)
    assert trend(replace(DEFAULTS, unmeasured_max=1.0), position).data is Data.OK


def test_what_was_measured_alone_alarms_whatever_is_assumed_beside_it() -> None:
    position = a_position(spent=Decimal(1001), spent_measured=Decimal(1001), unmeasured_days=150.0, assumed=900.0)
    found = actual(DEFAULTS, position)
    assert (found.on, found.fact, found.data) == (RED, True, Data.OK)
    nearly = actual(DEFAULTS, a_position(spent=Decimal(951), spent_measured=Decimal(951), unmeasured_days=150.0))
    assert (nearly.on, nearly.data) == (ORANGE, Data.OK)


@pytest.mark.parametrize(
    ("spent", "planned", "day", "level", "fact"),
    [
        (799, 500, date(2026, 7, 20), GREEN, False),
        (800, 800, date(2026, 7, 20), GREEN, False),
        (800, 799, date(2026, 7, 20), YELLOW, False),
        (949, 500, date(2026, 7, 20), YELLOW, False),
        (950, 960, date(2026, 7, 20), ORANGE, False),
        (960, 950, date(2026, 12, 20), YELLOW, False),
        (1000, 900, date(2026, 7, 20), ORANGE, False),
        (1001, 900, date(2026, 7, 20), RED, True),
        (1001, 900, date(2026, 1, 20), RED, True),
    ],
)
def test_what_is_used_is_compared_with_the_budget(
    spent: int, planned: int, day: date, level: Level, fact: bool
) -> None:
    position = a_position(spent=Decimal(spent), spent_measured=Decimal(spent), planned=Decimal(planned), day=day)
    found = actual(DEFAULTS, position)
    assert (found.on, found.fact, found.confirm_days) == (level, fact, 1)


@pytest.mark.parametrize(
    ("used", "level"),
    [
        ([], GREEN),
        ([105], GREEN),
        ([106], YELLOW),
        ([106, 100], GREEN),
        ([106, 106], ORANGE),
        ([100, 106, 106], ORANGE),
        ([115, 115, 115], ORANGE),
        ([115, 115, 116], RED),
        ([150, 150, 50, 100], RED),
        ([150, 150, 50, 100, 100, 100], GREEN),
    ],
)
def test_months_and_quarters_are_compared_with_their_plan(used: list[int], level: Level) -> None:
    months = tuple(MonthFigure(number, Decimal(one), Decimal(100)) for number, one in enumerate(used, start=1))
    assert period(DEFAULTS, a_position(months=months)).on is level


@pytest.mark.parametrize(
    ("hours", "missed", "suspect", "level"),
    [
        (0, 0, 0.0, GREEN),
        (6, 0, 0.0, GREEN),
        (6.1, 0, 0.0, YELLOW),
        (7 * 24 - 1, 0, 0.05, YELLOW),
        (7 * 24, 0, 0.0, ORANGE),
        (0, 0, 0.051, ORANGE),
        (15 * 24, 0, 0.0, RED),
        (6, 3, 0.0, RED),
    ],
)
def test_silence_has_an_alert_of_its_own(hours: float, missed: int, suspect: float, level: Level) -> None:
    position = DataPosition("e", "445303", date(2026, 7, 1), AS_OF, hours * 3600, missed, suspect, "E001", None)
    assert data(DEFAULTS, position).on is level


@pytest.mark.parametrize(
    ("until", "level"),
    [
        ("2026-09-30", GREEN),
        ("2026-08-30", YELLOW),
        ("2026-07-31", ORANGE),
        ("2026-07-02", ORANGE),
        ("2026-07-01", RED),
    ],
)
def test_a_calibration_lapses(until: str, level: Level) -> None:
    position = MeterPosition("e", "445303", date(2026, 7, 1), "E001", date.fromisoformat(until))
    assert meter(DEFAULTS, position).on is level


@pytest.mark.parametrize(("ratio", "level"), [(1.0, GREEN), (1.01, YELLOW), (1.06, ORANGE), (1.16, RED)])
def test_a_line_is_compared_with_its_benchmark(ratio: float, level: Level) -> None:
    position = LinePosition("e", "445303", date(2026, 7, 1), "clinker", "2026-06", ratio, Decimal(3))
    assert benchmark(DEFAULTS, position).on is level


def test_a_difference_in_our_figures_is_an_alert() -> None:
    assert integrity(DEFAULTS, IntegrityPosition("e", "445303", date(2026, 7, 1), 3)).on is ORANGE
    assert integrity(DEFAULTS, IntegrityPosition("e", "445303", date(2026, 7, 1), 0)).on is GREEN


def test_every_position_speaks_of_its_kinds() -> None:
    assert [kind for kind, _ in signals(DEFAULTS, a_position())] == [Kind.TREND, Kind.ACTUAL, Kind.PERIOD]


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"trend_red_on": 1.1}, "trend_red_on"),
        ({"trend_red_on": float("nan")}, "trend_red_on"),
        ({"trend_orange_off": 0.9}, "trend_orange_off"),
        ({"trend_yellow_on": 0.9}, "trend_orange_on"),
        ({"confirm_days": 0}, "confirm_days"),
        ({"confirm_days": 2.5}, "confirm_days"),
        ({"confirm_days": "7"}, "confirm_days"),
        ({"confirm_days": True}, "confirm_days"),
        ({"orange_from": "02-30"}, "orange_from"),
        ({"escalate_red": "0:mayor"}, "escalate_red"),
        ({"escalate_red": "soon:county"}, "escalate_red"),
        ({"barometer_numbers": "red=1"}, "barometer_numbers"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(change: dict[str, object], where: str) -> None:
    with pytest.raises(WrongRule) as refused:
        DEFAULTS.changed(change)
    assert refused.value.setting == where
    assert str(refused.value).startswith(f"{where}: ")


def test_numbers_of_colours_run_the_way_the_region_wishes() -> None:
    assert DEFAULTS.barometer_names()[RED] == "一级"
    other = DEFAULTS.changed({"barometer_numbers": "red=Ⅲ,orange=Ⅱ,yellow=Ⅰ,green=0"})
    assert [other.barometer_names()[level] for level in Level] == ["0", "Ⅰ", "Ⅱ", "Ⅲ"]
    assert isinstance(other, AlertSettings)
