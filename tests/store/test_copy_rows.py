"""Rows packed for COPY, in memory that is used again."""

from __future__ import annotations

import struct

import numpy as np

from app.store.readings import COPY_HEADER, COPY_TRAILER, POSTGRES_EPOCH_US, CopyRows
from ingest.batch import ReadingBatch


def a_batch(count: int, first: int) -> ReadingBatch:
    number = np.arange(first, first + count)
    return ReadingBatch(
        at_us=(1_795_396_500_000_000 - number * 1_000_001).astype(np.int64),
        meter=number.astype(np.int32),
        value=(number * -0.5).astype(np.float64),
        quality=(number % 4).astype(np.int16),
        message=np.zeros(count, np.int32),
        position=np.arange(count, dtype=np.int32),
        revise=np.zeros(count, np.bool_),
    )


def by_hand(rows: ReadingBatch, chosen: list[int], received_us: int) -> bytes:
    """The format as PostgreSQL's manual has it, one row after the other, oldest first."""
    out = COPY_HEADER
    for row in sorted(chosen, key=lambda row: int(rows.at_us[row])):
        at_us = int(rows.at_us[row]) - POSTGRES_EPOCH_US
        out += struct.pack(">hiqii", 5, 8, at_us, 4, int(rows.meter[row]))
        out += struct.pack(">id", 8, float(rows.value[row])) + struct.pack(">ih", 2, int(rows.quality[row]))
        out += struct.pack(">iq", 8, received_us - POSTGRES_EPOCH_US)
    return out + COPY_TRAILER


def test_each_group_is_packed_whole_whatever_was_packed_before() -> None:
    packer = CopyRows()
    for first, count in enumerate((3, 1, 700, 0, 699, 700, 2, 701)):
        rows = a_batch(count + 2, first)
        chosen = list(range(1, count + 1))
        packed = packer.packed(rows, np.array(chosen, np.int64), 1_795_396_600_000_000 + first)
        assert bytes(packed) == by_hand(rows, chosen, 1_795_396_600_000_000 + first), (first, count)
