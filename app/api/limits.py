"""How much one caller may ask: a number of requests in a window of a minute, told in every answer.

The fields are those of draft-ietf-httpapi-ratelimit-headers-11. A process counts for itself, because a count in the
database would be a write for every question: with several processes behind one address each lets a caller have its
share, so that together they never answer more than the limit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

WINDOW_S = 60
CALLERS_MAX = 10_000
"""Windows kept at a time; beyond it those that are over are dropped."""


def share_of(per_minute: int, processes: int) -> int:
    """What one of several processes lets a caller have; a limit stays one however many there are."""
    return max(1, per_minute // processes) if per_minute else 0


@dataclass(slots=True)
class Window:
    """What one caller has asked since its first request: `begins` in seconds of any steady clock."""

    begins: float
    asked: int = 0


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is left after this request."""

    key: str
    quota: int
    left: int
    resets_s: int

    @property
    def exceeded(self) -> bool:
        return self.left < 0

    def headers(self) -> dict[str, str]:
        left = max(self.left, 0)
        return {
            "RateLimit-Policy": f'"requests";q={self.quota};w={WINDOW_S}',
            "RateLimit": f'"requests";r={left};t={self.resets_s}',
        }


class RateLimits:
    """Counts requests by caller. `per_minute` 0 lets everything through and tells nothing."""

    def __init__(self, per_minute: int) -> None:
        self._quota = per_minute
        self._windows: dict[str, Window] = {}

    def take(self, key: str, now_s: float) -> Allowance | None:
        """Counts one request. None without a limit."""
        if not self._quota:
            return None
        window = self._windows.get(key)
        if window is None or not 0 <= now_s - window.begins < WINDOW_S:
            self._make_room(now_s)
            window = self._windows[key] = Window(now_s)
        window.asked += 1
        resets_s = max(1, math.ceil(window.begins + WINDOW_S - now_s))
        return Allowance(key, self._quota, self._quota - window.asked, resets_s)

    def give_back(self, key: str) -> None:
        """An answer that said nothing new costs nothing."""
        window = self._windows.get(key)
        if window is not None and window.asked:
            window.asked -= 1

    def _make_room(self, now_s: float) -> None:
        if len(self._windows) >= CALLERS_MAX:
            self._windows = {k: w for k, w in self._windows.items() if 0 <= now_s - w.begins < WINDOW_S}
