"""When a delivery that failed is tried again, and when an endpoint is given up. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

WAITS_S = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""After each failure in turn: seconds, minutes, then hours; the ninth is followed by the last attempt. About three days
in all, the schedule that the Standard Webhooks specification gives as an example."""
SPREAD = 0.2
"""Up to a fifth longer, so that what failed together does not come back together."""
GIVEN_UP_AFTER = timedelta(days=5)
"""An endpoint that has only failed for so long is disabled."""
GONE = 410


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of one attempt: the status answered, None where nobody answered, and why it counts as failed."""

    status: int | None
    error: str | None

    @property
    def delivered(self) -> bool:
        return self.error is None


def judged(status: int) -> Attempt:
    """Only 2xx is a delivery; a redirect is not followed."""
    return Attempt(status, None if 200 <= status < 300 else f"answered {status}")


def next_wait_s(attempts: int, chance: float) -> float | None:
    """Seconds until the next attempt after so many (from 1); None when there is none. `chance` is in [0, 1)."""
    if attempts > len(WAITS_S):
        return None
    return WAITS_S[attempts - 1] * (1 + SPREAD * chance)


def why_disabled(attempt: Attempt, failing_since: datetime | None, now: datetime) -> str | None:
    """Whether the endpoint is given up after this failure, and why."""
    if attempt.status == GONE:
        return "answered 410 Gone"
    if failing_since is not None and now - failing_since >= GIVEN_UP_AFTER:
        return f"has only failed since {failing_since.isoformat()}"
    return None
