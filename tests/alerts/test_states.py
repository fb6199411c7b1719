"""Every row of the transition table, with a fixed clock; and that nothing else happens."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import product
from pathlib import Path

import pytest

from alerts.rule import Level
from alerts.states import (
    OPEN,
    TRANSITIONS,
    Change,
    Data,
    Event,
    Phase,
    Signal,
    State,
    TransitionRefused,
    acknowledge,
    close,
    evaluate,
    expired,
    move,
    picture,
    silence,
)

GREEN, YELLOW, ORANGE, RED = Level.GREEN, Level.YELLOW, Level.ORANGE, Level.RED
FIRST = date(2026, 5, 4)
NOW = datetime(2026, 5, 4, 1, 0, tzinfo=UTC)


def says(on: Level, kept: Level | None = None, **more: object) -> Signal:
    """A trend's signal: seven evaluations each way."""
    return Signal(on, on if kept is None else kept, confirm_days=7, clear_days=7, **more)  # type: ignore[arg-type]


def days(state: State, *signals: Signal, first: date = FIRST) -> tuple[State, list[Change]]:
    changes: list[Change] = []
    for number, signal in enumerate(signals):
        state, found = evaluate(state, signal, first + timedelta(days=number))
        changes += found
    return state, changes


def rows(changes: list[Change]) -> list[int]:
    return [change.row for change in changes]


def active(level: Level) -> State:
    state, _ = days(State(), *[says(level)] * 7, first=FIRST - timedelta(days=30))
    assert (state.phase, state.level) == (Phase.ACTIVE, level)
    return state


def test_row_1_over_the_threshold_is_pending_and_tells_nobody() -> None:
    state, changes = days(State(), says(ORANGE))
    assert (state.phase, state.level, rows(changes)) == (Phase.PENDING, GREEN, [1])


def test_row_2_below_before_the_seventh_is_nothing() -> None:
    state, changes = days(State(), *[says(ORANGE)] * 6, says(GREEN))
    assert (state.phase, state.level, rows(changes)) == (Phase.INACTIVE, GREEN, [1, 2])


@pytest.mark.parametrize("level", [YELLOW, ORANGE, RED])
def test_row_3_the_seventh_in_a_row_raises(level: Level) -> None:
    state, changes = days(State(), *[says(level)] * 7)
    assert (state.phase, state.level, rows(changes)) == (Phase.ACTIVE, level, [1, 3])


def test_row_3_a_weaker_evaluation_among_the_seven_raises_what_all_reached() -> None:
    mixed = [says(RED), says(ORANGE), says(YELLOW), says(RED), says(ORANGE), says(RED), says(RED)]
    state, _ = days(State(), *mixed)
    assert state.level is YELLOW


def test_row_3_a_months_close_needs_no_seven() -> None:
    state, changes = days(State(), says(ORANGE, at_once=True))
    assert (state.phase, state.level, rows(changes)) == (Phase.ACTIVE, ORANGE, [3])


def test_row_4_a_higher_level_confirmed_resets_the_acknowledgement() -> None:
    acked = acknowledge(active(ORANGE), NOW, 30).after
    state, changes = days(acked, *[says(RED)] * 7)
    assert (state.phase, state.level, state.acked_until, rows(changes)) == (Phase.ACTIVE, RED, None, [4])


def test_row_5_below_what_keeps_it_the_alert_recovers_at_its_level() -> None:
    state, changes = days(active(ORANGE), says(GREEN))
    assert (state.phase, state.level, rows(changes)) == (Phase.RECOVERING, ORANGE, [5])


def test_between_the_thresholds_nothing_happens() -> None:
    before = active(ORANGE)
    state, changes = days(before, *[says(YELLOW, ORANGE)] * 20)
    assert (state.phase, state.level, state.seq, changes) == (Phase.ACTIVE, ORANGE, before.seq, [])


def test_row_6_again_over_it_is_active_without_a_number_of_its_own() -> None:
    recovering, _ = days(active(ORANGE), says(GREEN))
    state, changes = days(recovering, says(ORANGE), first=FIRST + timedelta(days=1))
    assert (state.phase, state.level, rows(changes)) == (Phase.ACTIVE, ORANGE, [6])
    assert state.seq == recovering.seq


@pytest.mark.parametrize(("kept", "phase"), [(GREEN, Phase.INACTIVE), (YELLOW, Phase.ACTIVE), (ORANGE, Phase.ACTIVE)])
def test_row_7_the_seventh_below_lowers_to_what_is_still_kept(kept: Level, phase: Phase) -> None:
    state, changes = days(active(RED), *[says(GREEN, kept)] * 7)
    assert (state.phase, state.level, rows(changes)) == (phase, kept, [5, 7])


@pytest.mark.parametrize("phase", OPEN)
def test_row_8_a_budget_that_is_exceeded_is_red_at_once(phase: Phase) -> None:
    state, changes = evaluate(replace(active(YELLOW), phase=phase), Signal(RED, RED, fact=True), FIRST)
    assert (state.phase, state.level, rows(list(changes))) == (Phase.ACTIVE, RED, [8])
    again, more = evaluate(state, Signal(RED, RED, fact=True), FIRST + timedelta(days=1))
    assert (again.level, again.seq, more) == (RED, state.seq, ())


@pytest.mark.parametrize("data", [Data.LATE, Data.MISSING, Data.SUSPECT])
@pytest.mark.parametrize("recovering", [False, True])
def test_row_9_without_data_the_level_is_held(data: Data, recovering: bool) -> None:
    before = days(active(RED), says(GREEN))[0] if recovering else active(RED)
    state, changes = days(before, *[says(GREEN, data=data)] * 40, first=FIRST + timedelta(days=1))
    assert (state.phase, state.level, state.data, rows(changes)) == (Phase.HELD, RED, data, [9])


def test_without_data_nothing_is_raised_and_a_pending_one_starts_again() -> None:
    pending, _ = days(State(), *[says(ORANGE)] * 6)
    state, changes = days(pending, *[says(ORANGE, data=Data.MISSING)] * 3, first=FIRST + timedelta(days=6))
    assert (state.phase, changes) == (Phase.PENDING, [])
    state, changes = days(state, *[says(ORANGE)] * 6, first=FIRST + timedelta(days=9))
    assert changes == []
    assert rows(days(state, says(ORANGE), first=FIRST + timedelta(days=15))[1]) == [3]


def test_row_10_with_the_data_back_it_goes_on_at_the_kept_level() -> None:
    held, _ = days(active(ORANGE), *[says(GREEN, data=Data.LATE)] * 9)
    state, changes = days(held, says(GREEN), first=FIRST + timedelta(days=9))
    assert (state.phase, state.level, rows(changes)) == (Phase.RECOVERING, ORANGE, [10, 5])
    state, changes = days(held, says(ORANGE), first=FIRST + timedelta(days=9))
    assert (state.phase, state.level, state.data, rows(changes)) == (Phase.ACTIVE, ORANGE, Data.OK, [10])


@pytest.mark.parametrize(("left", "phase"), [(GREEN, Phase.INACTIVE), (ORANGE, Phase.ACTIVE)])
def test_row_11_a_correction_withdraws_what_was_a_fact(left: Level, phase: Phase) -> None:
    exceeded, _ = evaluate(State(), Signal(RED, RED, fact=True), FIRST)
    state, changes = evaluate(exceeded, Signal(left, left), FIRST + timedelta(days=1))
    assert (state.phase, state.level, state.fact, rows(list(changes))) == (phase, left, False, [11])


def test_a_fact_is_not_held_for_want_of_data() -> None:
    exceeded, _ = evaluate(State(), Signal(RED, RED, fact=True), FIRST)
    state, changes = days(exceeded, Signal(GREEN, GREEN, data=Data.MISSING), first=FIRST + timedelta(days=1))
    assert (state.phase, state.level, changes) == (Phase.ACTIVE, RED, [])


def test_row_12_an_acknowledgement_lasts_its_days() -> None:
    change = acknowledge(active(ORANGE), NOW, 30)
    assert (change.row, change.after.phase, change.after.acked_until) == (12, Phase.ACTIVE, NOW + timedelta(days=30))
    assert expired(change.after, NOW + timedelta(days=29)) == ()


def test_row_13_the_acknowledgement_runs_out_while_active() -> None:
    acked = acknowledge(active(ORANGE), NOW, 30).after
    (change,) = expired(acked, NOW + timedelta(days=30))
    assert (change.row, change.after.phase, change.after.acked_until) == (13, Phase.ACTIVE, None)
    assert change.after.seq == acked.seq + 1
    assert expired(change.after, NOW + timedelta(days=60)) == ()


@pytest.mark.parametrize("phase", OPEN)
def test_row_14_a_silence_changes_no_level_and_runs_out_once(phase: Phase) -> None:
    before = replace(active(YELLOW), phase=phase)
    change = silence(before, NOW + timedelta(days=14))
    assert (change.row, change.after.phase, change.after.level) == (14, phase, before.level)
    (over,) = expired(change.after, NOW + timedelta(days=14))
    assert (over.row, over.event, over.after.silenced_until) == (14, Event.SILENCE_EXPIRED, None)


def test_row_14_a_silence_over_a_rise_lets_evaluation_go_on() -> None:
    silenced = silence(active(YELLOW), NOW + timedelta(days=14)).after
    state, changes = days(silenced, *[says(RED)] * 7)
    assert (state.level, rows(changes), state.silenced_until) == (RED, [4], NOW + timedelta(days=14))


@pytest.mark.parametrize("phase", OPEN)
def test_row_15_the_period_closes(phase: Phase) -> None:
    change = close(replace(active(YELLOW), phase=phase))
    assert (change.row, change.after.phase) == (15, Phase.CLOSED)


def test_what_is_not_in_the_table_is_refused() -> None:
    pairs = list(product(Phase, Event))
    refused = [pair for pair in pairs if pair not in TRANSITIONS]
    assert {row for row, _ in TRANSITIONS.values()} == set(range(1, 16))
    assert len(refused) + len(TRANSITIONS) == len(pairs)
    for phase, event in refused:
        with pytest.raises(TransitionRefused, match=f"{phase} takes no {event}"):
            move(State(phase=phase), event)


def test_nothing_that_is_closed_moves() -> None:
    assert not [event for phase, event in TRANSITIONS if phase is Phase.CLOSED]


def test_evaluating_a_day_again_changes_nothing() -> None:
    state = State()
    for number in range(40):
        signal = says(ORANGE if number < 20 else GREEN)
        state, _ = evaluate(state, signal, FIRST + timedelta(days=number))
        again, changes = evaluate(state, signal, FIRST + timedelta(days=number))
        assert (again, changes) == (state, ())


def test_sixty_days_around_the_threshold_raise_once() -> None:
    near = [says(ORANGE) if number % 9 else says(YELLOW, ORANGE) for number in range(1, 61)]
    _, changes = days(State(), *near)
    assert [change.row for change in changes if change.row in (3, 4, 7)] == [3]


def test_the_picture_in_the_readme_is_drawn_from_the_table() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    assert f"```mermaid\n{picture()}\n```" in readme
