"""The clock of a gateway, from what it sends."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from ingest.skew import SAMPLES, SAMPLES_MIN, SkewWatch

SECOND_US = 1_000_000
QUARTER_S = 900
T0_S = 1_795_396_500


def heard(watch: SkewWatch, messages: Iterable[tuple[float, float]]) -> float | None:
    """Messages as (received, freshest reading) in seconds after T0; the last measure there was."""
    last = None
    for received_s, freshest_s in messages:
        found = watch.note("gw-1", int((T0_S + received_s) * SECOND_US), int((T0_S + freshest_s) * SECOND_US))
        last = last if found is None else found
    return last


def live(offset_s: float, count: int = 10, start: int = 0) -> list[tuple[float, float]]:
    return [(quarter * QUARTER_S + offset_s, quarter * QUARTER_S) for quarter in range(start, start + count)]


@pytest.mark.parametrize("offset_s", [2, 0, -7200, 3600, 86_400])
def test_a_clock_that_is_off_by_so_much_is_measured(offset_s: float) -> None:
    assert heard(SkewWatch(), live(offset_s)) == offset_s


def test_a_few_late_messages_do_not_matter() -> None:
    rng = random.Random(4)
    messages = [(at + (600 if rng.random() < 0.2 else 0), fresh) for at, fresh in live(2, 40)]
    assert heard(SkewWatch(), messages) == 2


def test_with_too_few_messages_nothing_is_said() -> None:
    assert heard(SkewWatch(), live(2, SAMPLES_MIN)) is None
    assert heard(SkewWatch(), live(2, SAMPLES_MIN + 1)) == 2


def test_a_history_sent_in_between_is_not_the_clock() -> None:
    history = [(9 * QUARTER_S + 10 + i, -86_400 * 30 + i * QUARTER_S) for i in range(100)]
    watch = SkewWatch()
    assert heard(watch, live(2)) == 2
    assert heard(watch, history) is None
    assert heard(watch, live(2, start=10)) == 2


def test_a_backlog_that_is_drained_is_not_the_clock() -> None:
    """Three days without a line; then all of it within a minute, oldest first, and live again."""
    watch = SkewWatch()
    heard(watch, live(2))
    back_s = 86_400 * 3
    drained = [(back_s + i * 0.2, i * QUARTER_S) for i in range(10, 280)]
    assert heard(watch, drained) == 2, "one late message, and none of those behind it"
    assert heard(watch, [(at + back_s, fresh + back_s) for at, fresh in live(2, start=10)]) == 2


def test_a_clock_that_was_ahead_and_is_set_right_is_right_at_once() -> None:
    watch = SkewWatch()
    assert heard(watch, live(-86_400)) == -86_400
    assert heard(watch, live(2, start=10)) == 2


@pytest.mark.parametrize("by_s", [-86_400, -3600, 3600, 86_400])
def test_a_server_whose_own_clock_is_set_measures_on(by_s: int) -> None:
    """Set back it would be deaf until the old time comes again; set ahead the median follows."""
    watch = SkewWatch()
    assert heard(watch, live(2)) == 2
    assert heard(watch, [(at + by_s, fresh) for at, fresh in live(2, SAMPLES, start=10)]) == 2 + by_s
    assert heard(watch, live(2, SAMPLES, start=10 + SAMPLES)) == 2


def test_the_same_message_again_is_no_measure() -> None:
    assert heard(SkewWatch(), [(at + i, 0) for at, _ in live(0, 1) for i in range(100)]) is None
