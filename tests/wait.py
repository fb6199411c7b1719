"""Waiting for a fact instead of for luck: ask until it is so, fail with what was last seen."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(ask: Callable[[], T], *, what: str, deadline_s: float = 60.0, pause_s: float = 0.05) -> T:
    """The first truthy answer. Raises AssertionError with the last answer when the deadline passes."""
    end = time.monotonic() + deadline_s
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline_s:.0f} s: {what}; last answer: {answer!r}")
        time.sleep(pause_s)
