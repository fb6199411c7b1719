"""A clock that is set under the service is noticed, counted, and told for an hour; one that only runs is not."""

from __future__ import annotations

import pytest

from ingest.clock import TOLD_FOR_S, ClockWatch
from tests.ingest.fakes import counted, metrics


@pytest.mark.parametrize("by_s", [-86_400.0, -3.0, 3.0, 3600.0])
def test_a_step_is_counted_once_and_told_for_an_hour(by_s: float, caplog: pytest.LogCaptureFixture) -> None:
    measured, wall_s, steady_s = metrics(), [1_795_396_500.0], [50.0]
    watch = ClockWatch(metrics=measured, wall=lambda: wall_s[0], steady=lambda: steady_s[0])

    def later(seconds: float) -> None:
        wall_s[0] += seconds
        steady_s[0] += seconds
        watch.look()

    for _ in range(100):
        wall_s[0] += 0.01  # a clock that is disciplined
        later(1.0)
    assert counted(measured, "clock_steps_total") == 0
    assert watch.warnings == []
    wall_s[0] += by_s
    later(1.0)
    later(1.0)
    assert counted(measured, "clock_steps_total") == 1
    assert [record.__dict__["by_s"] for record in caplog.records] == [pytest.approx(by_s)]
    assert f"set by {by_s:+.0f} s" in watch.warnings[0]
    later(TOLD_FOR_S + 1)
    assert watch.warnings == []
