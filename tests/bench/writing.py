"""The idempotent write alone, and the yardstick beside it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise

from app.store.readings import ReadingLedger
from ingest.batch import Group, ReadingBatch
from tests.bench.city import GROUP_ROWS, METERS, MINUTE_US, a_message, groups_of, joined, rows_of, take
from tests.bench.figures import Sheet
from tests.bench.ground import Ground, copy_seconds


async def yardstick(ground: Ground, sheet: Sheet, rows: int) -> float:
    """Rows per second of COPY now."""
    groups = await _fresh(ground, rows)
    rate = rows / await copy_seconds(ground.sql, groups[1:])
    sheet.note("copy_rows_s", rate)
    return rate


async def measure_write(ground: Ground, sheet: Sheet, rows: int) -> None:
    """New rows and then all of them again; beside another COPY, new rows with a tenth of the group before."""
    copy_rate = await yardstick(ground, sheet, rows)
    groups = await _fresh(ground, rows)
    ledger = ReadingLedger(ground.url)
    try:
        await _save_seconds(ledger, groups[:1])  # the connection is made and the watermarks are read
        sheet.note("write_dup0", rows / await _save_seconds(ledger, groups[1:]) / copy_rate)
        sheet.note("write_dup100", rows / await _save_seconds(ledger, groups[1:]) / copy_rate)
        copy_rate = await yardstick(ground, sheet, rows)
        groups = await _fresh(ground, rows)
        await _save_seconds(ledger, groups[:1])
        again = GROUP_ROWS // 10
        mixed = [joined(take(new, 0, GROUP_ROWS - again), take(old, 0, again)) for old, new in pairwise(groups)]
        sheet.note("write_dup10", rows / await _save_seconds(ledger, mixed) / copy_rate)
    finally:
        await ledger.close()


async def _fresh(ground: Ground, rows: int) -> list[ReadingBatch]:
    """An empty ledger, and a group to begin with before the groups to measure."""
    count = rows + GROUP_ROWS
    minutes = -(-count // METERS)
    first_us = ground.city.later(minutes)
    await ground.clear(first_us, first_us + minutes * MINUTE_US)
    return groups_of(rows_of(ground.city, first_us, count))


async def _save_seconds(ledger: ReadingLedger, groups: Sequence[ReadingBatch]) -> float:
    message = a_message(time.time_ns() // 1000)
    started = time.perf_counter()
    for rows in groups:
        await ledger.save(Group([message], rows, []))
    return time.perf_counter() - started
