"""Faults: each changes what it says and nothing else, and the same seed gives the same fault."""

from __future__ import annotations

from collections import Counter
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulators.city import city
from simulators.faults import (
    DAY_MS,
    HOUR_MS,
    Fault,
    Window,
    described,
    disordered,
    doubled,
    drifted,
    gap,
    glitch_to_zero,
    lost_contact,
    rolled_over,
    stuck,
    troubles,
    with_faults,
)
from simulators.message import joined
from simulators.runner import gateways
from simulators.seasons import SLOT_S
from tests.simulators.a_stream import START, a_stream, bag, one_register, rows

START_MS = START * SLOT_S * 1000
FROM_10_TO_20 = Window(START_MS + 10 * HOUR_MS, START_MS + 20 * HOUR_MS)
FIRST_TWO = Window(START_MS + HOUR_MS, START_MS + 3 * HOUR_MS)

OF_TIME_ALONE: dict[str, Fault] = {
    "drift": partial(drifted, ms_per_day=1500.0, since_ms=START_MS),
    "rollover": partial(rolled_over, code="E001", offset=70_000.0, rolls_over_at=100_000.0),
    "gap": partial(gap, code="E001", window=FROM_10_TO_20),
    "stuck": partial(stuck, code="E001", window=FROM_10_TO_20, shown=5.0),
    "glitch": partial(glitch_to_zero, code="E001", window=FROM_10_TO_20),
}
OF_THE_NETWORK: dict[str, Fault] = {
    "double": partial(doubled, share=0.3, seed=1),
    "disorder": partial(disordered, reach=10, seed=1),
    "lost contact": partial(lost_contact, window=FROM_10_TO_20),
}


@pytest.mark.parametrize("fault", OF_TIME_ALONE.values(), ids=OF_TIME_ALONE)
@given(cut=st.integers(0, 192))
@settings(max_examples=20, deadline=None)
def test_a_fault_of_a_meter_or_clock_is_the_same_however_the_stream_is_cut(fault: Fault, cut: int) -> None:
    stream = a_stream()
    pieces = [fault(stream.take(slice(0, cut))), fault(stream.take(slice(cut, None)))]
    assert rows(joined(pieces)) == rows(fault(stream))


@pytest.mark.parametrize("fault", [*OF_TIME_ALONE.values(), *OF_THE_NETWORK.values()])
def test_a_fault_does_something_does_it_again_and_leaves_its_input_alone(fault: Fault) -> None:
    stream = a_stream()
    before = rows(stream)
    assert rows(fault(stream)) == rows(fault(stream)) != before
    assert rows(stream) == before


@pytest.mark.parametrize("fault", [*OF_TIME_ALONE.values(), *OF_THE_NETWORK.values()])
def test_nothing_to_send_stays_nothing(fault: Fault) -> None:
    assert rows(fault(a_stream().take(slice(0, 0)))) == []


@pytest.mark.parametrize("name", ["disorder", "lost contact"])
def test_disorder_and_lost_contact_lose_and_invent_nothing(name: str) -> None:
    assert bag(OF_THE_NETWORK[name](a_stream())) == bag(a_stream())


def test_the_share_that_comes_twice_comes_exactly_twice() -> None:
    counts = Counter(bag(doubled(a_stream(), 0.3, 1)).values())
    assert counts.keys() == {1, 2}
    assert bag(doubled(a_stream(), 1.0, 1)) == Counter(dict.fromkeys(rows(a_stream()), 2))
    assert bag(doubled(a_stream(), 0.0, 1)) == bag(a_stream())


@given(reach=st.integers(0, 30), seed=st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_nobody_overtakes_further_than_the_reach(reach: int, seed: int) -> None:
    register = one_register(*range(100))
    order = [int(value) for value in disordered(register, reach, seed).value]
    assert sorted(order) == list(range(100))
    for place, number in enumerate(order):
        assert all(number - later <= reach for later in order[place:])


def test_two_seeds_are_two_disorders() -> None:
    assert rows(disordered(a_stream(), 10, 1)) != rows(disordered(a_stream(), 10, 2))


def test_after_lost_contact_what_is_new_comes_first_and_the_backlog_after_it() -> None:
    sent = lost_contact(one_register(0, 1, 2, 3, 4), FIRST_TWO)
    assert sent.value.tolist() == [0, 3, 4, 1, 2]


def test_a_clock_gains_with_time_and_was_right_before() -> None:
    stream = one_register(0, 1, 2)
    since = START_MS + HOUR_MS
    gained = (drifted(stream, 24_000.0, since).at_ms - stream.at_ms).tolist()
    assert gained == [0, 0, 1000]
    assert (drifted(stream, -24_000.0, since).at_ms - stream.at_ms).tolist() == [0, 0, -1000]


def test_an_offset_brings_the_rollover_earlier_and_keeps_every_difference() -> None:
    shown = rolled_over(one_register(10, 20, 30, 40), "E001", offset=75.5, rolls_over_at=100.0).value.tolist()
    assert shown == [85.5, 95.5, 5.5, 15.5]


def test_in_a_gap_the_meter_says_nothing_and_then_catches_up() -> None:
    assert gap(one_register(0, 1, 2, 3, 4), "E001", FIRST_TWO).value.tolist() == [0, 3, 4]


def test_a_stuck_display_stands_still_and_is_right_again() -> None:
    assert stuck(one_register(0, 1, 2, 3, 4), "E001", FIRST_TWO, 0.0).value.tolist() == [0, 0, 0, 3, 4]


def test_a_glitch_shows_zero_and_returns_to_its_course() -> None:
    assert glitch_to_zero(one_register(7, 8, 9, 10), "E001", FIRST_TWO).value.tolist() == [7, 0, 0, 10]


@pytest.mark.parametrize("name", ["rollover", "gap", "stuck", "glitch"])
def test_a_fault_of_one_meter_leaves_the_others_alone(name: str) -> None:
    changed = OF_TIME_ALONE[name](a_stream())
    for code in a_stream().codes:
        if code != "E001":
            assert rows(changed.of_meter(code)) == rows(a_stream().of_meter(code))


def test_a_meter_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ValueError, match="not in tuple"):
        gap(a_stream(), "X999", FROM_10_TO_20)


def test_a_window_must_not_be_empty() -> None:
    with pytest.raises(ValueError, match="ends after it starts"):
        Window(5, 5)


def test_faults_one_after_the_other_are_as_one() -> None:
    both = [OF_TIME_ALONE["gap"], OF_THE_NETWORK["double"]]
    assert rows(with_faults(a_stream(), both)) == rows(both[1](both[0](a_stream())))


def test_a_city_has_each_trouble_once_and_the_rest_is_sound() -> None:
    plans = city(20, 1)
    found = troubles(plans, START_MS, START_MS + 30 * DAY_MS, seed=1)
    assert set(found) == {plan.gateway for plan in plans[:6]}
    kinds = {getattr(fault, "func", None) for faults in found.values() for fault in faults}
    assert kinds == {doubled, disordered, drifted, gap, glitch_to_zero, lost_contact}
    ways = gateways(plans, START, "http://127.0.0.1:1", {plan.gateway: "s" for plan in plans}, found)
    assert [bool(gateway.faults) for gateway in ways] == [True] * 6 + [False] * 14


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (OF_THE_NETWORK["double"], "doubled"),
        (OF_TIME_ALONE["gap"], "gap from 2025-06-02T10:00:00+08:00"),
        (OF_TIME_ALONE["glitch"], "glitch to zero from 2025-06-02T10:00:00+08:00"),
    ],
)
def test_a_fault_can_be_told_in_words(fault: Fault, words: str) -> None:
    assert described(fault) == words


def test_troubles_need_a_day_to_happen_in() -> None:
    with pytest.raises(ValueError, match="at least a day"):
        troubles(city(7, 1), START_MS, START_MS + DAY_MS - 1, seed=1)
