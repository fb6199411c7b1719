"""When a delivery is tried again, and when an endpoint is given up."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from app.webhooks.patience import GIVEN_UP_AFTER, WAITS_S, Attempt, judged, next_wait_s, why_disabled

NOW = datetime(2026, 11, 24, tzinfo=UTC)
FAILED = Attempt(500, "answered 500")


def test_waits_grow_and_end() -> None:
    waits = [next_wait_s(attempts, 0.0) for attempts in range(1, 11)]
    assert waits[:-1] == list(WAITS_S)
    assert sorted(WAITS_S) == list(WAITS_S)
    assert waits[-1] is None
    assert timedelta(days=3) < timedelta(seconds=sum(WAITS_S)) < GIVEN_UP_AFTER
    assert next_wait_s(1, 0.999) < 1.2 * WAITS_S[0]  # type: ignore[operator]  # the first failure has a next time


@pytest.mark.parametrize(("status", "delivered"), [(200, True), (204, True), (301, False), (404, False), (500, False)])
def test_only_2xx_is_a_delivery(status: int, delivered: bool) -> None:
    assert judged(status).delivered is delivered


def test_an_endpoint_is_given_up_after_days_of_failure_or_when_it_says_that_it_is_gone() -> None:
    assert why_disabled(FAILED, NOW - GIVEN_UP_AFTER + timedelta(seconds=1), NOW) is None
    assert why_disabled(FAILED, NOW - GIVEN_UP_AFTER, NOW) is not None
    assert why_disabled(FAILED, None, NOW) is None
    assert why_disabled(judged(410), NOW, NOW) == "answered 410 Gone"
