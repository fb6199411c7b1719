"""Where to find the test of each case in which programs of this kind are known to fail; each named test exists."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
CASES: dict[str, tuple[str, ...]] = {
    "a batch replayed, shuffled, split, late by an hour, forty days, over a month's and a year's end": (
        "rollup/test_what_others_lose.py::test_however_a_batch_comes_the_totals_are_the_same",
        "rollup/test_any_order.py::test_stored_figures_equal_a_recomputation_from_nothing",
        "energy/test_any_history.py::",
    ),
    "a register that rolls over, glitches to zero and back, or is exchanged without a record": (
        "rollup/test_what_others_lose.py::test_a_register_that_falls",
    ),
    "an exchange on record, and one that is found out later": (
        "rollup/test_what_others_lose.py::test_an_exchange_on_record_adds_old_and_new",
        "api/test_records.py::test_without_a_record_a_new_register_is_held_and_with_one_both_add_up",
        "api/test_records.py::test_a_held_reading_said_to_be_a_new_registers_is_counted_and_the_exchange_is_on_record",
    ),
    "six hours offline and one catch-up reading": (
        "rollup/test_what_others_lose.py::test_six_hours_offline_and_one_catch_up_reading_keep_the_energy_spread_and_marked",
    ),
    "one meter's backlog while all others are current": (
        "rollup/test_what_others_lose.py::test_a_meters_backlog_of_three_days_counts_while_all_others_are_current",
    ),
    "five hundred enterprises silent at once": (
        "alerts/test_engine.py::test_five_hundred_fall_silent_at_once_and_nobody_is_taken_to_save",
    ),
    "two evaluators at once, and a figure around the line": (
        "alerts/test_engine.py::test_two_engines_evaluate_once",
        "alerts/test_engine.py::test_one_open_alert_a_key_whatever_runs_at_once",
        "alerts/test_engine.py::test_sixty_nights_around_the_threshold_are_one_mail",
        "alerts/test_kills.py::test_two_senders_share_one_outbox",
    ),
    "killed between acknowledgement and commit, a full disk, a database that is gone": (
        "e2e/test_kills.py::test_killed_servers_lose_nothing_that_was_acknowledged",
        "e2e/test_listener_kills.py::test_what_the_listener_acknowledged_survives_kill_9",
        "e2e/test_no_disk.py::test_a_full_disk_is_a_503_that_kept_nothing_and_mends_itself",
        "faults/test_harms.py::test_nothing_acknowledged_is_lost_or_doubled_by",
        "api/test_database_gone.py::test_without_a_database_every_question_is_a_503",
    ),
    "enterprises worked out by hand, end to end through the API": (
        "e2e/test_worked_examples.py::test_what_is_worked_out_by_hand_is_what_is_answered",
    ),
    "a factor from the first of July": (
        "api/test_factors.py::test_a_factor_from_the_first_of_july_leaves_june_alone_and_both_editions_stay_visible",
    ),
    "an enterprise of another county": (
        "api/test_scopes.py::test_what_is_not_theirs_looks_to_them_as_if_it_did_not_exist",
    ),
    "very many notices in one night": (
        "alerts/test_engine.py::test_ten_thousand_turn_orange_in_one_night_and_everybody_gets_one_mail",
    ),
    "a stored figure that is broken": (
        "rollup/test_figures.py::test_a_stored_figure_broken_at_any_level_is_found_and_named_and_alerted",
        "rollup/test_figures.py::test_a_stored_row_that_is_gone_is_found",
    ),
    "entries that cannot be, alone and many at once": (
        "api/test_bad_entries.py::test_what_cannot_be_is_refused_with_its_code_and_leaves_nothing",
        "api/test_bad_entries.py::test_of_many_exchanges_at_one_instant_one_is_recorded",
    ),
}


@pytest.mark.parametrize(("case", "named"), CASES.items(), ids=list(CASES))
def test_each_case_has_its_tests(case: str, named: tuple[str, ...]) -> None:
    for name in named:
        path, _, wanted = name.partition("::")
        tree = ast.parse((TESTS / path).read_text(encoding="utf-8"))
        there = {
            node.name
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
        }
        assert wanted in there if wanted else there, f"{case}: {name} is gone"
