"""A history ends where it is told to, also inside an hour."""

from __future__ import annotations

import threading

import pytest

from simulators.city import city
from simulators.runner import _history, readings_of
from simulators.stream import Recorder

ORIGIN = 1_960_000


@pytest.mark.parametrize(("slots", "hours"), [(0, 0), (3, 0), (4, 1), (10, 2), (96, 24)])
def test_a_history_holds_the_whole_hours_of_its_span_and_ends(slots: int, hours: int) -> None:
    (plan,) = city(1, seed=7)
    recorder = Recorder(plan, ORIGIN)
    pieces = list(_history(recorder, ORIGIN + slots, threading.Event()))
    assert recorder.at_slot == ORIGIN + 4 * hours
    assert sum(map(len, pieces)) == readings_of([plan], 4 * hours)
