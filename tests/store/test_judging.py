"""What becomes of each row, against the rule said the plain way: one row after the other."""

from __future__ import annotations

import random

import numpy as np
import pytest

from app.store.judging import Standing, in_order, judge
from ingest.batch import ReadingBatch, Verdict

Ledger = dict[tuple[int, int], tuple[float, int]]
Revised = dict[tuple[int, int], tuple[float, int, float, int]]
NAN = float("nan")


def one_by_one(rows: ReadingBatch, ledger: Ledger) -> tuple[list[Verdict], Revised]:
    """Verdicts, and (old value, old quality, new value, new quality) of every key that was replaced."""
    verdicts: list[Verdict] = []
    revised: Revised = {}
    standing = dict(ledger)
    for row in range(len(rows)):
        key = int(rows.meter[row]), int(rows.at_us[row])
        new, revise = (float(rows.value[row]), int(rows.quality[row])), bool(rows.revise[row])
        old = standing.setdefault(key, new)
        if old is new:
            verdicts.append(Verdict.STORED)
        elif old[0] == new[0] and (old[1] == new[1] or not revise):
            verdicts.append(Verdict.DUPLICATE)
        elif not revise:
            verdicts.append(Verdict.CONFLICT)
        else:
            first = revised.get(key, (*old, 0.0, 0))
            revised[key] = (first[0], first[1], *new)
            standing[key] = new
            verdicts.append(Verdict.REVISED)
    return verdicts, revised


def a_batch(rng: random.Random, count: int, keys: int) -> ReadingBatch:
    revises = [rng.random() < 0.3 for _ in range(4)]
    message = [rng.randrange(4) for _ in range(count)]
    return ReadingBatch(
        at_us=np.array([rng.randrange(keys) * 60_000_000 for _ in range(count)], np.int64),
        meter=np.array([rng.randrange(1, 4) for _ in range(count)], np.int32),
        value=np.array([float(rng.randrange(3)) for _ in range(count)]),
        quality=np.array([rng.randrange(2) for _ in range(count)], np.int16),
        message=np.array(message, np.int32),
        position=np.arange(count, dtype=np.int32),
        revise=np.array([revises[number] for number in message], np.bool_),
    )


def standing_under(rows: ReadingBatch, first: np.ndarray, ledger: Ledger) -> Standing:
    found = [(row, *ledger[key]) for row in first.tolist() if (key := (rows.meter[row], rows.at_us[row])) in ledger]
    return Standing(
        np.array([row for row, _, _ in found], np.int64),
        np.array([value for _, value, _ in found], np.float64),
        np.array([quality for _, _, quality in found], np.int16),
    )


@pytest.mark.parametrize("seed", range(150))
def test_a_group_is_judged_as_if_its_rows_had_come_one_by_one(seed: int) -> None:
    rng = random.Random(seed)
    rows = a_batch(rng, rng.choice((0, 1, 5, 40)), rng.choice((1, 3, 20)))
    keys = [(meter, minute * 60_000_000) for meter in range(1, 4) for minute in range(20)]
    ledger: Ledger = {key: (rng.choice((0.0, 1.0, 2.0, NAN)), rng.randrange(2)) for key in keys if rng.random() < 0.4}
    order = in_order(rows)
    book = judge(rows, order, standing_under(rows, order.first, ledger))
    verdicts, revised = one_by_one(rows, ledger)
    assert [Verdict(number) for number in book.verdicts.tolist()] == verdicts
    replaced = {
        key: (old_value, old_quality, float(rows.value[row]), int(rows.quality[row]))
        for key, (row, old_value, old_quality) in book.revised.items()
    }
    assert repr(sorted(replaced.items())) == repr(sorted(revised.items()))
