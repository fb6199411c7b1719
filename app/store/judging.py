"""What becomes of each row of a group: new, the same again, another value. Pure.

Rows are judged in order of arrival, as if they had come one by one. A whole group is compared at once; only keys that a
group both repeats and revises are gone through row by row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ingest.batch import ReadingBatch, Verdict

Int64s = npt.NDArray[np.int64]
Verdicts = npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Order:
    """The rows of a batch by key: which come first under their key, and which repeat an earlier row's key.

    `by_key` lists all rows by meter, then time, then arrival.
    """

    by_key: Int64s
    first: Int64s
    repeat: Int64s
    first_of_repeat: Int64s


def in_order(rows: ReadingBatch) -> Order:
    """Sorts out repeated keys inside one batch; among equal keys the earliest arrival comes first."""
    order = np.lexsort((rows.at_us, rows.meter))
    meters, times = rows.meter[order], rows.at_us[order]
    fresh = np.ones(len(order), np.bool_)
    fresh[1:] = (meters[1:] != meters[:-1]) | (times[1:] != times[:-1])
    heads = np.maximum.accumulate(np.where(fresh, np.arange(len(order)), 0))
    return Order(order, order[fresh], order[~fresh], order[heads[~fresh]])


@dataclass(frozen=True, slots=True)
class Standing:
    """Rows of a batch whose key is taken in the ledger, and what stands there. Equally long columns."""

    rows: Int64s
    value: npt.NDArray[np.float64]
    quality: npt.NDArray[np.int16]

    @classmethod
    def none(cls) -> Standing:
        return cls(np.empty(0, np.int64), np.empty(0, np.float64), np.empty(0, np.int16))

    def __len__(self) -> int:
        return len(self.rows)

    def and_also(self, other: Standing) -> Standing:
        return Standing(
            np.concatenate([self.rows, other.rows]),
            np.concatenate([self.value, other.value]),
            np.concatenate([self.quality, other.quality]),
        )


@dataclass(slots=True)
class Book:
    """The verdicts of one group, and the old values of what is revised."""

    verdicts: Verdicts
    revised: dict[tuple[int, int], tuple[int, float, int]]
    """(meter, time) → (row that replaces, value before the group, quality before the group)."""


def judge(rows: ReadingBatch, order: Order, standing: Standing) -> Book:
    """The verdict of every row, given what stands under the keys of those that come first."""
    book = Book(np.full(len(rows), Verdict.STORED, np.int8), {})
    found = compared(rows, standing.rows, standing.value, standing.quality)
    book.verdicts[standing.rows] = found
    for place in np.flatnonzero(found == Verdict.REVISED).tolist():
        row = int(standing.rows[place])
        book.revised[_key(rows, row)] = row, float(standing.value[place]), int(standing.quality[place])
    if len(order.repeat):
        _judge_repeats(rows, order, standing, found, book)
    return book


def compared(
    rows: ReadingBatch, chosen: Int64s, value: npt.NDArray[np.float64], quality: npt.NDArray[np.int16]
) -> Verdicts:
    """Rows whose key is taken by `value`: the same, replaced or refused. Another quality alone changes nothing, unless
    the message asks to replace."""
    revise = rows.revise[chosen]
    same = (rows.value[chosen] == value) & ((rows.quality[chosen] == quality) | ~revise)
    verdicts = np.where(same, Verdict.DUPLICATE, np.where(revise, Verdict.REVISED, Verdict.CONFLICT))
    return verdicts.astype(np.int8)


def _judge_repeats(rows: ReadingBatch, order: Order, standing: Standing, found: Verdicts, book: Book) -> None:
    """Rows under a key that an earlier row of the group has already: that row stands there, or what it met."""
    value, quality = rows.value.copy(), rows.quality.copy()
    kept = found != Verdict.REVISED
    value[standing.rows[kept]], quality[standing.rows[kept]] = standing.value[kept], standing.quality[kept]
    firsts = order.first_of_repeat
    replaced = np.isin(firsts, firsts[rows.revise[order.repeat]])
    settled = order.repeat[~replaced], firsts[~replaced]
    book.verdicts[settled[0]] = compared(rows, settled[0], value[settled[1]], quality[settled[1]])
    current: dict[int, tuple[float, int]] = {}
    for first, row in zip(firsts[replaced].tolist(), order.repeat[replaced].tolist(), strict=True):
        stands = current.get(first, (float(value[first]), int(quality[first])))
        current[first] = _judge_one(rows, row, *stands, book)


def _judge_one(rows: ReadingBatch, row: int, value: float, quality: int, book: Book) -> tuple[float, int]:
    """One row whose key is taken by `value`. Answers what then stands under the key."""
    one = np.array([row])
    verdict = Verdict(compared(rows, one, np.array([value]), np.array([quality], np.int16))[0])
    book.verdicts[row] = verdict
    if verdict is not Verdict.REVISED:
        return value, quality
    _, old_value, old_quality = book.revised.get(_key(rows, row), (row, value, quality))
    book.revised[_key(rows, row)] = (row, old_value, old_quality)
    return float(rows.value[row]), int(rows.quality[row])


def _key(rows: ReadingBatch, row: int) -> tuple[int, int]:
    return int(rows.meter[row]), int(rows.at_us[row])
