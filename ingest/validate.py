"""May this gateway report this meter, and can the meter show this value then? Pure, for a whole group at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat

import numpy as np
import numpy.typing as npt

from ingest.batch import Code, ReadingBatch, Received, Refusal
from ingest.decode import Decoded, Sheaf, positions, sheaf_of
from ingest.registry import MeterEntry, Registry
from ingest.wire import DETAILS, shown

VALUE_MAX = 1e12
"""No meter of an energy user shows more, in any unit: 1e12 kWh is what a whole country uses in a year."""
UNKNOWN = -1
DAY_US = 86_400_000_000
SECOND_US = 1_000_000

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Rules:
    """How far from the moment of receipt a reading may lie."""

    max_age_days: int = 3660
    max_ahead_s: int = 600


@dataclass(frozen=True, slots=True)
class Shelf:
    """The registry laid out for arrays: every meter has a slot, every enterprise one table from code to slot.

    meter, owner: int[slots], the meter's number and the number of the gateway that reports it.
    low, high: float64[slots], the range a value may have; `low` belongs to it, `high` does not.
    """

    numbers: Mapping[str, int]
    slots: Mapping[str, Mapping[str, int]]
    meter: npt.NDArray[np.int32]
    owner: Ints
    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]

    @classmethod
    def of(cls, registry: Registry) -> Shelf:
        numbers = {gateway: number for number, gateway in enumerate(registry.gateways)}
        meters: list[MeterEntry] = []
        by_enterprise: dict[str, dict[str, int]] = {}
        for entry in registry.gateways.values():
            if entry.enterprise not in by_enterprise:
                first = len(meters)
                meters.extend(entry.meters.values())
                by_enterprise[entry.enterprise] = {code: first + i for i, code in enumerate(entry.meters)}
        return cls(
            numbers,
            {name: by_enterprise[entry.enterprise] for name, entry in registry.gateways.items()},
            np.array([meter.meter_id for meter in meters], np.int32),
            np.array([numbers.get(meter.gateway, UNKNOWN) for meter in meters], np.int64),
            np.array([_range(meter)[0] for meter in meters], np.float64),
            np.array([_range(meter)[1] for meter in meters], np.float64),
        )


def _range(meter: MeterEntry) -> tuple[float, float]:
    if meter.kind != "register":
        return -VALUE_MAX, np.nextafter(VALUE_MAX, np.inf)
    # A register shows 0 to just below the number at which it starts again.
    return 0.0, np.nextafter(VALUE_MAX, np.inf) if meter.rolls_over_at is None else meter.rolls_over_at


@dataclass(frozen=True, slots=True)
class Admitted:
    """The sound rows of a group, all its refusals, and whether a newer registry might have judged otherwise.

    `meters`: the code of each sound row, as it was sent.
    """

    rows: ReadingBatch
    refusals: Sequence[Refusal]
    strangers: bool
    meters: Sequence[str]


def admit(messages: Sequence[Received], decoded: Sequence[Decoded], shelf: Shelf, rules: Rules) -> Admitted:
    """`admit_sheaf` for messages that were decoded one by one."""
    return admit_sheaf(messages, sheaf_of(decoded), shelf, rules)


def admit_sheaf(messages: Sequence[Received], sheaf: Sheaf, shelf: Shelf, rules: Rules) -> Admitted:
    """Part the rows of a group that may be stored from those that may not.

    The first thing wrong decides: the meter, then the time against the moment of receipt, then the value.
    """
    rows = _rows_of(sheaf)
    slots = _slots(messages, sheaf, shelf)
    verdicts = _judge(messages, sheaf.sizes, rows, slots, shelf, rules)
    bad = np.flatnonzero(verdicts)
    if not len(bad):
        numbers = shelf.meter[slots] if len(slots) else np.empty(0, np.int32)
        return Admitted(_numbered(rows, numbers), sheaf.refusals, False, sheaf.meters)
    strangers = bool(np.isin(verdicts[bad], (CODES.index(Code.UNKNOWN_METER), CODES.index(Code.FOREIGN_METER))).any())
    late = [_refusal(sheaf, rows, int(row), CODES[verdicts[row]]) for row in bad]
    sound = np.flatnonzero(verdicts == 0)
    numbers = shelf.meter[slots[sound]] if len(sound) else np.empty(0, np.int32)
    kept = ReadingBatch(
        rows.at_us[sound],
        numbers,
        rows.value[sound],
        rows.quality[sound],
        rows.message[sound],
        rows.position[sound],
        rows.revise[sound],
    )
    return Admitted(kept, [*sheaf.refusals, *late], strangers, [sheaf.meters[row] for row in sound.tolist()])


CODES: Sequence[Code] = (
    Code.CONFLICT,  # stands for "nothing wrong": only the ledger can find a conflict
    Code.UNKNOWN_METER,
    Code.FOREIGN_METER,
    Code.TIMESTAMP_IN_FUTURE,
    Code.TIMESTAMP_TOO_OLD,
    Code.OUT_OF_RANGE,
)


def _rows_of(sheaf: Sheaf) -> ReadingBatch:
    """The rows of all messages; the meters' numbers are not known yet."""
    total, count = len(sheaf.meters), len(sheaf.sizes)
    if total == count and min(sheaf.sizes, default=0) == 1:  # the commonest case of all: each message one reading
        message, revise = np.arange(count, dtype=np.int32), np.array(sheaf.revise, np.bool_)
        position = np.zeros(total, np.int32)
    else:
        sizes = np.array(sheaf.sizes, np.int64)
        message = np.repeat(np.arange(count, dtype=np.int32), sizes)
        revise = np.repeat(np.array(sheaf.revise, np.bool_), sizes)
        position = positions(sheaf.sizes)
    return ReadingBatch(
        sheaf.at_us,
        np.zeros(total, np.int32),
        sheaf.value,
        np.zeros(total, np.int16) if sheaf.quality is None else sheaf.quality,
        message,
        position if sheaf.position is None else sheaf.position,
        revise,
    )


def _numbered(rows: ReadingBatch, meter: npt.NDArray[np.int32]) -> ReadingBatch:
    return ReadingBatch(rows.at_us, meter, rows.value, rows.quality, rows.message, rows.position, rows.revise)


def _slots(messages: Sequence[Received], sheaf: Sheaf, shelf: Shelf) -> Ints:
    nothing: Mapping[str, int] = {}
    tables = [shelf.slots.get(message.gateway, nothing) for message in messages]
    if len(sheaf.meters) == len(tables) and min(sheaf.sizes, default=0) == 1:
        found = [table.get(meter, UNKNOWN) for table, meter in zip(tables, sheaf.meters, strict=True)]
        return np.array(found, np.int64)
    found = []
    at = 0
    for table, size in zip(tables, sheaf.sizes, strict=True):
        found.extend(map(table.get, sheaf.meters[at : at + size], repeat(UNKNOWN)))
        at += size
    return np.array(found, np.int64)


def _judge(
    messages: Sequence[Received], counts: Sequence[int], rows: ReadingBatch, slots: Ints, shelf: Shelf, rules: Rules
) -> npt.NDArray[np.int8]:
    """Index into CODES for each row."""
    verdicts = np.zeros(len(slots), np.int8)
    unknown = slots == UNKNOWN
    sizes = np.array(counts, np.int64)
    if not len(shelf.meter):
        verdicts[:] = CODES.index(Code.UNKNOWN_METER)
        return verdicts
    received_us = np.repeat(np.array([message.received_at_us for message in messages], np.int64), sizes)
    sender = np.repeat(np.array([shelf.numbers.get(message.gateway, UNKNOWN) for message in messages], np.int64), sizes)
    oldest_us = np.maximum(received_us - rules.max_age_days * DAY_US, 0)
    # Later lines overrule earlier ones, so the gravest stands last.
    verdicts[(rows.value < shelf.low[slots]) | (rows.value >= shelf.high[slots])] = CODES.index(Code.OUT_OF_RANGE)
    verdicts[rows.at_us < oldest_us] = CODES.index(Code.TIMESTAMP_TOO_OLD)
    verdicts[rows.at_us > received_us + rules.max_ahead_s * SECOND_US] = CODES.index(Code.TIMESTAMP_IN_FUTURE)
    verdicts[shelf.owner[slots] != sender] = CODES.index(Code.FOREIGN_METER)
    verdicts[unknown] = CODES.index(Code.UNKNOWN_METER)
    return verdicts


def _refusal(sheaf: Sheaf, rows: ReadingBatch, row: int, code: Code) -> Refusal:
    return Refusal(
        int(rows.message[row]),
        int(rows.position[row]),
        shown(sheaf.meters[row]),
        rfc3339(int(rows.at_us[row])),
        repr(float(rows.value[row])),
        code,
        DETAILS[code],
    )


def rfc3339(at_us: int) -> str:
    """An instant in UTC, also outside the years Python's dates know."""
    return f"{np.datetime64(at_us, 'us')}Z"
