"""Waiting for a fact instead of for luck: ask until it is so, fail with what was last seen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
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


async def soon(ask: Callable[[], T], what: str, *, deadline_s: float = 30.0) -> T:
    """`until` for tests that share a loop with what they wait for."""
    end = time.monotonic() + deadline_s
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline_s:.0f} s: {what}; last answer: {answer!r}")
        await asyncio.sleep(0.005)


async def eventually(
    ask: Callable[[], Awaitable[T]], *, what: str, deadline_s: float = 60.0, pause_s: float = 0.02
) -> T:
    """The same for what has to be awaited: other tasks go on meanwhile."""
    end = time.monotonic() + deadline_s
    while not (answer := await ask()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline_s:.0f} s: {what}; last answer: {answer!r}")
        await asyncio.sleep(pause_s)
    return answer
