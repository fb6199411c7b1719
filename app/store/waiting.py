"""Waiting for whichever comes first."""

from __future__ import annotations

import asyncio


async def first_of(timeout_s: float | None, *events: asyncio.Event) -> None:
    """Returns when one of the events is set, at the latest after `timeout_s` (None: no limit)."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
