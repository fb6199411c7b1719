"""All SQL of the rollups' writes: marks taken, readings read, hours replaced, longer buckets and enterprises summed.

Everything here happens inside one transaction of the caller, so a mark is gone exactly when its figures are there.
Sums are PostgreSQL's own sums of `numeric`: exact, and the same in any order.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeAlias

import asyncpg
import numpy as np
import numpy.typing as npt
from asyncpg.pool import PoolConnectionProxy

from app.store.numeric_wire import Numerics
from app.store.readings import COPY_HEADER, COPY_TRAILER, MOMENT, POSTGRES_EPOCH_US
from energy.consumption import Accepted
from energy.interval import DAY_US, HOUR_US, Level, from_us, to_us
from energy.reading import Kind, MeterRules, Role
from energy.record import NO_RECORD, Decision, Exchange, MeterRecord, Saying
from energy.tce import contribution
from energy.units import to_normal

Connection: TypeAlias = asyncpg.Connection | PoolConnectionProxy
"""A connection of one's own, or one lent by the pool."""
Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

WORD = {Level.HOUR: "hour", Level.DAY: "day", Level.MONTH: "month", Level.YEAR: "year"}
BELOW = {Level.DAY: Level.HOUR, Level.MONTH: Level.DAY, Level.YEAR: Level.MONTH}
"""What a longer bucket is summed from; hours come from readings."""
LOCK_CLASS = 0x7463_6501
LOCK_SLOTS = 512
"""Enterprises share this many advisory locks, so that a pass over thousands of them fits the server's lock table."""
MARKS_LOOKED_AT = 64
PIECE_BYTES = 1 << 18
NEARBY_US = 8 * DAY_US
"""Where the reading before a stretch is looked for first: two chunks of readings rather than all there are."""
BEGINNING_US = -62_135_596_800_000_000
"""0001-01-01: before any reading."""
END_US = 253_370_764_800_000_000
"""9999-01-01: after any reading."""
CHUNK_US = 90 * DAY_US
"""Roughly a chunk of meter_hour: rows are written a chunk after the other, which is what COPY likes."""


@dataclass(frozen=True, slots=True)
class MeterAccount:
    """A meter as the accounting sees it. `unit` is the meter's own, `normal_unit` its carrier's.

    `multiplier` holds until the record has another one.
    """

    meter_id: int
    code: str
    enterprise: str
    region: str
    carrier: str
    role: Role
    rules: MeterRules
    unit: str
    normal_unit: str
    multiplier: Decimal
    record: MeterRecord = NO_RECORD

    def multiplier_at(self, at_us: int) -> Decimal:
        """What a raw unit drawn at that instant is multiplied with."""
        return self.record.multiplier_at(at_us, self.multiplier)


@dataclass(frozen=True, slots=True)
class Mark:
    """Some of a row of `touched`; `hour` None: whole meters. `marked_us` is when the first of it was committed.

    `cause` and `actor` say what was done and by whom, where a person did it; else it was readings that came.
    """

    meter: list[int]
    hour: list[int] | None
    marked_us: int
    cause: str | None = None
    actor: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ReadingRows:
    """Readings of several windows in order of window and time: equally long arrays.

    `window` int32 place of the window asked for; `at_us` int64; `value` float64; `quality` int16; `held` as stored.
    """

    window: npt.NDArray[np.int32]
    at_us: Int64s
    value: npt.NDArray[np.float64]
    quality: npt.NDArray[np.int16]
    held: Bools


SETTINGS = """
SET LOCAL jit = off;
SET LOCAL work_mem = '64MB';
SET LOCAL enable_seqscan = off;
SET LOCAL enable_hashjoin = off;
SET LOCAL enable_mergejoin = off;
SET LOCAL enable_sort = off
"""
"""Every question here is a list of keys against an index. Fresh tables have no statistics, and a plan that reads all of
a table because it was small once would be kept by the prepared statement."""

CLAIM_SIZE = f"""
SELECT avg(cardinality(meter_id))::float8
FROM (SELECT meter_id FROM touched ORDER BY touched_id LIMIT {MARKS_LOOKED_AT}) AS waiting
"""
CLAIM = """
DELETE FROM touched WHERE touched_id IN (
    SELECT touched_id FROM touched WHERE touched_id <> ALL ($2::bigint[])
    ORDER BY touched_id LIMIT $1 FOR UPDATE SKIP LOCKED)
RETURNING meter_id, hour, (extract(epoch FROM marked_at) * 1000000)::bigint AS marked_us, cause, actor
"""
PUT_BACK = f"""
INSERT INTO touched (meter_id, hour, marked_at, cause, actor)
VALUES ($1::int[], $2::int[], {MOMENT.format(us="$3::bigint")}, $4, $5)
RETURNING touched_id
"""
ACCOUNTS = """
SELECT meter.*, enterprise.region, carrier.unit AS normal_unit
FROM meter JOIN enterprise ON enterprise.id = meter.enterprise JOIN carrier ON carrier.code = meter.carrier
WHERE meter_id = ANY ($1::int[])
"""
OWNERS = "SELECT DISTINCT enterprise FROM meter WHERE meter_id = ANY ($1::int[])"
EXCHANGES = """
SELECT meter_id, at, old_final, new_initial FROM meter_exchange
WHERE meter_id = ANY ($1::int[]) AND revoked_at IS NULL ORDER BY meter_id, at
"""
DECISIONS = """
SELECT meter_id, ts, says, amount FROM reading_decision
WHERE meter_id = ANY ($1::int[]) AND revoked_at IS NULL ORDER BY meter_id, ts
"""
MULTIPLIERS = """
SELECT meter_id, valid_from, multiplier FROM meter_multiplier
WHERE meter_id = ANY ($1::int[]) AND revoked_at IS NULL ORDER BY meter_id, valid_from
"""
LOCK = "SELECT pg_advisory_xact_lock($1, slot) FROM unnest($2::int[]) AS slot"

STANDS = "NOT EXISTS (SELECT FROM held_reading AS held WHERE held.meter_id = r.meter_id AND held.ts = r.ts)"
STRETCHES = f"""
(SELECT meter_id, {MOMENT.format(us="from_us")} AS begins, {MOMENT.format(us="to_us")} AS ends, place::int4 AS place
 FROM unnest($1::int[], $2::bigint[], $3::bigint[]) WITH ORDINALITY AS listed (meter_id, from_us, to_us, place)
 OFFSET 0) AS w
"""
"""The bounds are worked out once (OFFSET 0 keeps the planner from copying them into every comparison), so that they can
be looked up in an index and chunks outside them are left out."""


def _nearest(name: str, bound: str, order: str) -> str:
    """The accepted reading nearest to a bound on one side of it, not before $4.

    $4 is implied by the bound or makes it a search nearby; it lets whole chunks be left out before the first look-up.
    """
    return f"""LEFT JOIN LATERAL (
    SELECT r.ts, r.value, r.quality FROM reading AS r
    WHERE r.meter_id = w.meter_id AND r.ts {bound} AND r.ts >= $4 AND {STANDS}
    ORDER BY r.ts {order} LIMIT 1) AS {name} ON true"""


def _us(column: str) -> str:
    return f"(extract(epoch FROM {column}) * 1000000)::bigint"


BEFORE = f"""
SELECT {_us("previous.ts")}, {_us("anchor.ts")}, previous.value, previous.quality, {_us("held.since")},
       EXISTS (SELECT FROM meter_hour AS h WHERE h.meter_id = w.meter_id AND h.measured_us + h.estimated_us > 0
                  AND h.start >= w.begins - interval '2 hours' AND h.start < w.begins),
       (SELECT count(*) FROM (SELECT FROM held_reading AS h WHERE h.meter_id = w.meter_id AND h.ts > previous.ts
                              AND h.ts < w.begins AND h.why = 'register-fell' LIMIT 2) AS fell) = 2
FROM {STRETCHES}
{_nearest("previous", "< w.begins", "DESC")}
{_nearest("anchor", "<= previous.ts - interval '1 hour'", "DESC")}
CROSS JOIN LATERAL (SELECT min(h.ts) AS since FROM held_reading AS h
                    WHERE h.meter_id = w.meter_id AND h.ts > previous.ts AND h.ts < w.begins) AS held
ORDER BY w.place
"""
AFTER = f"""
SELECT {_us("next.ts")}, {_us("beyond.ts")}
FROM {STRETCHES}
{_nearest("next", ">= w.ends", "ASC")}
{_nearest("beyond", ">= next.ts + interval '1 hour'", "ASC")}
ORDER BY w.place
"""
FURTHER = f"""
SELECT {_us("next.ts")} FROM {STRETCHES} {_nearest("next", ">= w.begins", "ASC")} ORDER BY w.place
"""
READINGS = f"""
SELECT w.place, r.ts, r.value, r.quality FROM {STRETCHES}
CROSS JOIN LATERAL (SELECT ts, value, quality FROM reading
                    WHERE meter_id = w.meter_id AND ts >= w.begins AND ts <= w.ends
                      AND ts >= $4 AND ts <= $5 OFFSET 0) AS r
"""
READINGS_TOGETHER = """
SELECT meter_id, ts, value, quality FROM reading WHERE meter_id = ANY ($1::int[]) AND ts >= $2 AND ts <= $3
"""
TOGETHER = 8
"""So many stretches between the same hours are worth a question of their own."""
READING_ROW = np.dtype(
    [
        ("fields", ">i2"),
        ("number_length", ">i4"),
        ("number", ">i4"),
        ("ts_length", ">i4"),
        ("ts", ">i8"),
        ("value_length", ">i4"),
        ("value", ">f8"),
        ("quality_length", ">i4"),
        ("quality", ">i2"),
    ]
)
HELD = f"""
SELECT w.place, {_us("h.ts")} FROM {STRETCHES}
JOIN held_reading AS h ON h.meter_id = w.meter_id AND h.ts >= w.begins AND h.ts <= w.ends
ORDER BY w.place, h.ts
"""
FORGET_HELD = f"""
DELETE FROM held_reading AS h USING {STRETCHES} WHERE h.meter_id = w.meter_id AND h.ts >= w.begins AND h.ts < w.ends
"""
KEEP_HELD = f"""
INSERT INTO held_reading (meter_id, ts, why)
SELECT meter_id, {MOMENT.format(us="us")}, why
FROM unnest($1::int[], $2::bigint[], $3::text[]) AS new (meter_id, us, why)
"""
FORGET_HOURS = f"""
DELETE FROM meter_hour AS h USING {STRETCHES} WHERE h.meter_id = w.meter_id AND h.start >= w.begins AND h.start < w.ends
"""
FIGURES = ("quantity", "tce_equivalent", "tce_equal", "tco2")
TAKE_HOURS = (
    FORGET_HOURS
    + f"""
RETURNING h.meter_id, {_us("h.start")}, {", ".join(f"h.{name}" for name in FIGURES)},
          h.measured_us, h.estimated_us, h.held
"""
)
ENTERPRISE_FIGURES = tuple(f"{name}{side}" for side in ("", "_net") for name in FIGURES)
_CHANGE = "start timestamptz, measured_us bigint, estimated_us bigint, held integer, {figures}"
CHANGES = "".join(
    f"CREATE TEMPORARY TABLE IF NOT EXISTS {name}_change "
    f"({key}, {_CHANGE.format(figures=', '.join(f'{figure} numeric' for figure in figures))}) ON COMMIT DELETE ROWS;"
    for name, key, figures in (
        ("meter", "meter_id integer", FIGURES),
        ("enterprise", "pair integer", ENTERPRISE_FIGURES),
    )
)
HOUR_COLUMNS = ("meter_id", "start", "measured_us", "estimated_us", "held", *FIGURES)

METER_SUMS = """
INSERT INTO meter_{level} (meter_id, start, quantity, tce_equivalent, tce_equal, tco2, measured_us, estimated_us, held)
SELECT w.meter_id, w.begins, sum(quantity), {figures}, sum(measured_us), sum(estimated_us), sum(held)
FROM {buckets}
CROSS JOIN LATERAL (SELECT * FROM meter_{below} AS below WHERE below.meter_id = w.meter_id
                    AND below.start >= w.begins AND below.start < w.ends OFFSET 0) AS b
GROUP BY w.meter_id, w.begins
"""
FORGET_METER = """
DELETE FROM meter_{level} AS b USING {stretches}
WHERE b.meter_id = w.meter_id AND b.start >= w.begins AND b.start < w.ends
"""
FIRST_READINGS = """
UPDATE meter SET first_at = found.ts
FROM (SELECT w.meter_id, (SELECT min(r.ts) FROM reading AS r WHERE r.meter_id = w.meter_id) AS ts
      FROM unnest($1::int[]) AS w (meter_id)) AS found
WHERE meter.meter_id = found.meter_id AND meter.first_at IS DISTINCT FROM found.ts
"""

ENTERPRISE_STRETCHES = f"""
(SELECT enterprise, {MOMENT.format(us="from_us")} AS begins, {MOMENT.format(us="to_us")} AS ends
 FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS listed (enterprise, from_us, to_us) OFFSET 0) AS w
"""
FORGET_ENTERPRISE = """
DELETE FROM enterprise_{level} AS b USING {stretches}
WHERE b.enterprise = w.enterprise AND b.start >= w.begins AND b.start < w.ends
"""
# A carrier of which one meter has no factor has no figure: a part of a sum is never shown as the whole.
ENTERPRISE_SUMS = """
INSERT INTO enterprise_{level} (enterprise, carrier, start, quantity, quantity_net, {named},
                                measured_us, estimated_us, held)
SELECT w.enterprise, meter.carrier, b.start, {figures}, sum(b.measured_us), sum(b.estimated_us), sum(b.held)
FROM {stretches}
JOIN meter ON meter.enterprise = w.enterprise
JOIN unnest($4::text[], $5::int[], $6::int[]) AS sign (role, gross, net) ON sign.role = meter.role
CROSS JOIN LATERAL (SELECT * FROM meter_{level} AS mine WHERE mine.meter_id = meter.meter_id
                    AND mine.start >= w.begins AND mine.start < w.ends OFFSET 0) AS b
GROUP BY w.enterprise, meter.carrier, b.start
"""


def _whole_sum(column: str) -> str:
    return f"CASE WHEN count({column}) = count(*) THEN sum({column}) END"


def _signed_sums(column: str) -> str:
    """Gross and net. Nearly every meter adds to both, so only the exceptions cost more than one addition a figure."""
    added = f"sum({column}) FILTER (WHERE sign.gross = 1)"
    taken = f"sum({column}) FILTER (WHERE sign.gross = -1)"
    gross = f"(coalesce({added}, 0) - coalesce({taken}, 0))"
    apart = f"coalesce(sum({column} * (sign.gross - sign.net)) FILTER (WHERE sign.gross <> sign.net), 0)"
    whole = f"count({column}) = count(*)"
    return f"CASE WHEN {whole} THEN {gross} END, CASE WHEN {whole} THEN {gross} - {apart} END"


def _meter_sums(level: Level) -> str:
    figures = ", ".join(_whole_sum(name) for name in FIGURES[1:])
    return METER_SUMS.format(level=WORD[level], below=WORD[BELOW[level]], figures=figures, buckets=STRETCHES)


def _enterprise_sums(level: Level) -> str:
    named = ", ".join(f"{name}, {name}_net" for name in FIGURES[1:])
    figures = ", ".join(_signed_sums(f"b.{name}") for name in FIGURES)
    return ENTERPRISE_SUMS.format(level=WORD[level], named=named, figures=figures, stretches=ENTERPRISE_STRETCHES)


async def claim(connection: Connection, *, pairs: int, aside: Iterable[int]) -> list[Mark]:
    """The oldest marks nobody else works on, about as many as make `pairs` of meter and hour. Gone with the commit."""
    average = await connection.fetchval(CLAIM_SIZE)
    if average is None:
        return []
    rows = await connection.fetch(CLAIM, max(1, int(pairs / max(average, 1.0))), list(aside))
    return [Mark(*row) for row in rows]


async def put_back(connection: Connection, mark: Mark) -> int:
    """Leave a mark for later, with its age. Answers its number."""
    return int(await connection.fetchval(PUT_BACK, mark.meter, mark.hour, mark.marked_us, mark.cause, mark.actor))


async def accounts(connection: Connection, meters: Sequence[int]) -> dict[int, MeterAccount | ValueError]:
    """The meters that exist, by number; for one that cannot be accounted, why."""
    said = await records(connection, meters)
    rows = await connection.fetch(ACCOUNTS, meters)
    return {row["meter_id"]: _account(row, said.get(row["meter_id"], NO_RECORD)) for row in rows}


async def records(connection: Connection, meters: Sequence[int]) -> dict[int, MeterRecord]:
    """What is on the record of these meters; those of which nothing is are left out."""
    exchanges: dict[int, list[Exchange]] = {}
    for meter, at, old_final, new_initial in await connection.fetch(EXCHANGES, meters):
        exchanges.setdefault(meter, []).append(Exchange(to_us(at), old_final, new_initial))
    decisions: dict[int, list[Decision]] = {}
    for meter, ts, says, amount in await connection.fetch(DECISIONS, meters):
        decisions.setdefault(meter, []).append(Decision(to_us(ts), Saying(says), amount or 0.0))
    multipliers: dict[int, list[tuple[int, Decimal]]] = {}
    for meter, valid_from, multiplier in await connection.fetch(MULTIPLIERS, meters):
        multipliers.setdefault(meter, []).append((to_us(valid_from), multiplier))
    return {
        meter: MeterRecord(
            tuple(exchanges.get(meter, ())), tuple(decisions.get(meter, ())), tuple(multipliers.get(meter, ()))
        )
        for meter in {*exchanges, *decisions, *multipliers}
    }


def _account(row: asyncpg.Record, record: MeterRecord) -> MeterAccount | ValueError:
    try:
        return _sound_account(row, record)
    except ValueError as error:
        return error


def _sound_account(row: asyncpg.Record, record: MeterRecord) -> MeterAccount:
    to_normal(row["unit"], row["normal_unit"], Kind(row["kind"]))  # raises UnitMismatch
    rules = MeterRules(Kind(row["kind"]), row["expected_interval_s"], row["rolls_over_at"], row["max_rate_per_h"])
    named = ("meter_id", "code", "enterprise", "region", "carrier")
    return MeterAccount(
        **{name: row[name] for name in named},
        role=Role(row["role"]),
        rules=rules,
        unit=row["unit"],
        normal_unit=row["normal_unit"],
        multiplier=row["multiplier"],
        record=record,
    )


async def are_marked(connection: Connection, meters: Sequence[int]) -> bool:
    """Whether a mark that is not worked off names one of these meters."""
    return bool(await connection.fetchval("SELECT EXISTS (SELECT FROM touched WHERE meter_id && $1::int[])", meters))


async def owners(connection: Connection, meters: Sequence[int]) -> list[str]:
    """The enterprises of these meters."""
    return [row[0] for row in await connection.fetch(OWNERS, meters)]


async def lock_enterprises(connection: Connection, enterprises: Iterable[str]) -> None:
    """Nobody else recomputes these enterprises until the transaction ends. Always taken in the same order."""
    slots = sorted({lock_slot(enterprise) for enterprise in enterprises})
    await connection.execute(LOCK, LOCK_CLASS, slots)


def lock_slot(enterprise: str) -> int:
    """Which of the shared locks is an enterprise's."""
    return zlib.crc32(enterprise.encode()) % LOCK_SLOTS


Stretches = tuple[list[int], list[int], list[int]]
"""Meter numbers, and the microseconds at which each one's stretch begins and ends."""


@dataclass(frozen=True, slots=True)
class Before:
    """The last accepted reading before a stretch, and the time of the last one at least an hour before that.

    `reached`: figures are stored for the hours just before the stretch. `settled`: two registers that fell follow the
    last one, so whatever comes it is no spike.
    """

    last: Accepted | None
    anchor_us: int | None
    reached: bool
    settled: bool

    @classmethod
    def of(cls, row: asyncpg.Record) -> Before:
        last_us, anchor_us, value, quality, held_after_us, reached, settled = row
        last = None if last_us is None else Accepted(last_us, value, quality, held_after_us)
        return cls(last, anchor_us, reached, settled)


async def before(connection: Connection, stretches: Stretches) -> list[Before]:
    """What is accepted before each stretch.

    Most are near. Only for those that are not, all of the history is searched.
    """
    near = _moment(min(stretches[1], default=0) - NEARBY_US)
    found = [Before.of(row) for row in await connection.fetch(BEFORE, *stretches, near)]
    far = [place for place, one in enumerate(found) if one.anchor_us is None]
    if far:
        asked = [[column[place] for place in far] for column in stretches]
        rows = await connection.fetch(BEFORE, *asked, _moment(BEGINNING_US))
        for place, row in zip(far, rows, strict=True):
            found[place] = Before.of(row)
    return found


async def after(connection: Connection, stretches: Stretches) -> list[tuple[int | None, int | None]]:
    """For each stretch the times of (next, beyond); see app.rollup.windows.Neighbours."""
    earliest = _moment(min(stretches[2], default=0))
    return [(row[0], row[1]) for row in await connection.fetch(AFTER, *stretches, earliest)]


def _moment(at_us: int) -> datetime:
    """The time, or the nearest one that both ends can say."""
    return from_us(min(max(at_us, BEGINNING_US), END_US))


async def first_accepted(connection: Connection, stretches: Stretches) -> list[int | None]:
    """For each stretch the first accepted reading at or after its beginning."""
    earliest = _moment(min(stretches[1], default=0))
    return [row[0] for row in await connection.fetch(FURTHER, *stretches, earliest)]


async def read(connection: Connection, stretches: Stretches) -> ReadingRows:
    """All readings of the stretches, both ends included, in order of stretch and time."""
    meter, begins_us, ends_us = (np.array(column, np.int64) for column in stretches)
    alike, rest = _alike_bounds(meter, begins_us, ends_us)
    parts = [await _read_together(connection, places, meter, begins_us, ends_us) for places in alike]
    if len(rest):
        asked = tuple(column[rest].tolist() for column in (meter, begins_us, ends_us))
        bounds = _moment(int(begins_us[rest].min())), _moment(int(ends_us[rest].max()))
        rows = await _copied_out(connection, READINGS, *asked, *bounds)
        parts.append((rest[rows["number"].astype(np.int64) - 1] + 1, rows))
    if len(parts) == 1:
        window, rows = parts[0]
    else:
        window = np.concatenate([np.empty(0, np.int64), *(place for place, _ in parts)])
        rows = np.concatenate([np.empty(0, READING_ROW), *(rows for _, rows in parts)])
    at_us = rows["ts"].astype(np.int64) + POSTGRES_EPOCH_US
    order = _by_window_and_time(window, at_us)
    at_us, rows = at_us[order], rows[order]
    place = window[order].astype(np.int32)
    held = np.zeros(len(rows), np.bool_)
    found = await connection.fetch(HELD, *stretches)
    if found:
        _note_held(held, place, at_us, np.array(found, np.int64))
    return ReadingRows(place, at_us, rows["value"].astype(np.float64), rows["quality"].astype(np.int16), held)


def _by_window_and_time(window: Int64s, at_us: Int64s) -> Int64s:
    """The places of the rows in order of window and time.

    They come nearly in order of time, as they lie in the ledger, which a stable sort sees; and numpy counts numbers of
    16 bits instead of comparing them.
    """
    in_time = np.argsort(at_us, kind="stable")
    window = window[in_time]
    few = len(window) and int(window.max()) <= np.iinfo(np.uint16).max
    return in_time[np.argsort(window.astype(np.uint16) if few else window, kind="stable")]


def _alike_bounds(meter: Int64s, begins_us: Int64s, ends_us: Int64s) -> tuple[list[Int64s], Int64s]:
    """Stretches of many meters between the same hours, which one question reads; and the others, each asked for alone.

    One question for many meters costs a third of asking for each, and reads at most an hour too much at either end.
    """
    order = np.lexsort((meter, ends_us // HOUR_US, begins_us // HOUR_US))
    same = (np.diff(begins_us[order] // HOUR_US) == 0) & (np.diff(ends_us[order] // HOUR_US) == 0)
    groups = np.split(order, np.flatnonzero(~same) + 1)
    # A meter with two stretches in one group would get readings of the one into the other.
    alike = [g for g in groups if len(g) >= TOGETHER and len(np.unique(meter[g])) == len(g)]
    taken = np.concatenate([np.empty(0, np.int64), *alike])
    return alike, np.setdiff1d(np.arange(len(meter)), taken)


async def _read_together(
    connection: Connection, places: Int64s, meter: Int64s, begins_us: Int64s, ends_us: Int64s
) -> tuple[Int64s, npt.NDArray[Any]]:
    """The readings of these stretches, each with its place counted from 1."""
    bounds = _moment(int(begins_us[places].min())), _moment(int(ends_us[places].max()))
    rows = await _copied_out(connection, READINGS_TOGETHER, meter[places].tolist(), *bounds)
    numbers = meter[places]
    low = int(numbers.min())
    place_of = np.zeros(int(numbers.max()) - low + 1, np.int64)
    place_of[numbers - low] = places
    place = place_of[rows["number"].astype(np.int64) - low]
    at_us = rows["ts"].astype(np.int64) + POSTGRES_EPOCH_US
    inside = (at_us >= begins_us[place]) & (at_us <= ends_us[place])
    if bool(inside.all()):
        return place + 1, rows
    return place[inside] + 1, rows[inside]


async def _copied_out(connection: Connection, question: str, *asked: object) -> npt.NDArray[Any]:
    parts: list[bytes] = []

    async def take(part: bytes) -> None:  # a file would be written to in a thread, part by part
        parts.append(part)

    await connection.copy_from_query(question, *asked, output=take, format="binary")
    made = memoryview(b"".join(parts))
    return np.frombuffer(made[len(COPY_HEADER) : -len(COPY_TRAILER)], READING_ROW)


async def _in_pieces(made: bytes) -> AsyncIterator[bytes]:
    """Bytes on their way to COPY. A file would be read in a thread, piece by piece."""
    for first in range(0, len(made), PIECE_BYTES):
        yield made[first : first + PIECE_BYTES]


def _note_held(held: Bools, window: npt.NDArray[np.int32], at_us: Int64s, found: Int64s) -> None:
    """Both lists are sorted alike, so within one window a search by time finds the place."""
    for place in np.unique(found[:, 0]).tolist():
        first, last = np.searchsorted(window, [place, place + 1])
        times = found[found[:, 0] == place, 1]
        where = first + np.searchsorted(at_us[first:last], times)
        there = where < last
        where, times = where[there], times[there]
        held[where[at_us[where] == times]] = True


async def replace_held(connection: Connection, stretches: Stretches, held: Sequence[tuple[int, int, str]]) -> None:
    """In these stretches exactly these readings (meter, µs, why) are held."""
    await connection.execute(FORGET_HELD, *stretches)
    if held:
        await connection.execute(KEEP_HELD, *map(list, zip(*held, strict=True)))


@dataclass(frozen=True, slots=True, eq=False)
class OldHours:
    """Hours that were taken away: n rows with their figures, None where there was none."""

    meter: Int64s
    start_us: Int64s
    figures: tuple[list[Decimal | None], ...]
    measured_us: Int64s
    estimated_us: Int64s
    held: Int64s


async def take_hours(connection: Connection, stretches: Stretches) -> OldHours:
    """Take the meters' hours in these stretches away, and answer them."""
    rows = await connection.fetch(TAKE_HOURS, *stretches)
    columns = list(zip(*rows, strict=True)) if rows else [()] * 9
    whole = [np.array(columns[i], np.int64) for i in (0, 1, 6, 7, 8)]
    return OldHours(whole[0], whole[1], tuple(list(columns[i]) for i in range(2, 6)), *whole[2:])


async def forget_hours(connection: Connection, stretches: Stretches) -> None:
    """Take the meters' hours in these stretches away."""
    await connection.execute(FORGET_HOURS, *stretches)


async def add_hours(connection: Connection, rows: NumericRows) -> None:
    """New hours of meters, where none are."""
    if len(rows.known[0]):
        source = _in_pieces(numeric_bytes(rows))
        await connection.copy_to_table("meter_hour", source=source, columns=HOUR_COLUMNS, format="binary")


async def merge_meters(connection: Connection, levels: Mapping[Level, NumericRows], *, shrink: bool) -> None:
    """Add to the longer buckets of meters what their hours changed by. `shrink`: some may have nothing left."""
    columns = ("meter_id", "start", "measured_us", "estimated_us", "held", *FIGURES)
    for level, rows in levels.items():
        await _merge(connection, f"meter_{WORD[level]}", ("meter_id", "start"), columns, rows, shrink)


async def merge_enterprises(
    connection: Connection, levels: Mapping[Level, NumericRows], pairs: Sequence[tuple[str, str]], *, shrink: bool
) -> None:
    """Add to the buckets of enterprises what their meters changed by. A row's number is a place in `pairs`, from 1."""
    columns = ("pair", "start", "measured_us", "estimated_us", "held", *ENTERPRISE_FIGURES)
    for level, rows in levels.items():
        table, key = f"enterprise_{WORD[level]}", ("enterprise", "start", "carrier")
        await _merge(connection, table, key, columns, rows, shrink, pairs)


async def _merge(
    connection: Connection,
    table: str,
    key: Sequence[str],
    columns: Sequence[str],
    rows: NumericRows,
    shrink: bool,
    pairs: Sequence[tuple[str, str]] = (),
) -> None:
    if not len(rows.known[0]):
        return
    name = "enterprise_change" if pairs else "meter_change"
    await connection.copy_to_table(
        name, schema_name="pg_temp", source=_in_pieces(numeric_bytes(rows)), columns=columns, format="binary"
    )
    listed = ([enterprise for enterprise, _ in pairs], [carrier for _, carrier in pairs]) if pairs else ()
    origin = f"pg_temp.{name}"
    if pairs:
        origin += (
            " JOIN unnest($1::text[], $2::text[]) WITH ORDINALITY AS named (enterprise, carrier, pair) USING (pair)"
        )
    added = ["measured_us", "estimated_us", "held", *(c for c in columns if c in {*FIGURES, *ENTERPRISE_FIGURES})]
    names = ", ".join([*key, *added])
    sums = ", ".join(f"{column} = t.{column} + excluded.{column}" for column in added)
    await connection.execute(
        f"INSERT INTO {table} AS t ({names}) SELECT {names} FROM {origin} "  # our own names
        f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {sums}",
        *listed,
    )
    if shrink:
        same = " AND ".join(f"t.{column} = change.{column}" for column in key)
        await connection.execute(
            f"DELETE FROM {table} AS t USING (SELECT {', '.join(key)} FROM {origin}) AS change "
            f"WHERE {same} AND t.measured_us = 0 AND t.estimated_us = 0 AND t.held = 0",
            *listed,
        )
    await connection.execute(f"DELETE FROM pg_temp.{name}")


async def prepare(connection: Connection) -> None:
    """Settings of this transaction, and the tables changes are gathered in, which each connection has of its own."""
    await connection.execute(SETTINGS)
    await connection.execute(CHANGES)


@dataclass(frozen=True, slots=True, eq=False)
class NumericRows:
    """n rows of a rollup: a number (meter, or place in a list), start, times, held readings, and exact figures.

    `known` says where each figure is not null.
    """

    number: Int64s
    start_us: Int64s
    measured_us: Int64s
    estimated_us: Int64s
    held: Int64s
    figures: tuple[Numerics, ...]
    known: tuple[Bools, ...]


def numeric_bytes(rows: NumericRows) -> bytes:
    """The rows as PostgreSQL's binary COPY. Which figures are null decides a row's length, so like goes with like."""
    pattern = sum(
        (known.astype(np.int64) << i for i, known in enumerate(rows.known)), np.zeros(len(rows.number), np.int64)
    )
    parts = []
    chunk = rows.start_us // CHUNK_US
    for kind in np.unique(pattern).tolist():
        chosen = np.flatnonzero(pattern == kind)
        if chunk[chosen].min() != chunk[chosen].max():
            chosen = chosen[np.argsort(chunk[chosen], kind="stable")]
        parts.append(_alike(rows, chosen, kind))
    return b"".join((COPY_HEADER, *parts, COPY_TRAILER))


_FIXED = (("number", ">i4"), ("start", ">i8"), ("measured", ">i8"), ("estimated", ">i8"), ("held", ">i4"))


def _alike(rows: NumericRows, chosen: Int64s, known: int) -> bytearray:
    present = [bool(known >> i & 1) for i in range(len(rows.figures))]
    shape: list[Any] = [("fields", ">i2")]
    for name, form in _FIXED:
        shape += [(f"{name}_length", ">i4"), (name, form)]
    for i, (figure, there) in enumerate(zip(rows.figures, present, strict=True)):
        shape.append((f"figure{i}_length", ">i4"))
        if there:
            shape.append((f"figure{i}", [("head", ">i2", 4), ("digits", ">u2", figure.digits.shape[1])]))
    row: Any = np.zeros(1, np.dtype(shape))
    row["fields"] = len(_FIXED) + len(rows.figures)
    for name, form in _FIXED:
        row[f"{name}_length"] = np.dtype(form).itemsize
    for i, (figure, there) in enumerate(zip(rows.figures, present, strict=True)):
        row[f"figure{i}_length"] = row.dtype[f"figure{i}"].itemsize if there else -1
        if there:
            row[f"figure{i}"]["head"] = [figure.digits.shape[1], figure.weight, 0, figure.places]
    # What every row has alike is copied as bytes; only what differs is written field by field.
    made = bytearray(row.tobytes() * len(chosen))
    table: Any = np.frombuffer(made, row.dtype)
    every = slice(None) if len(chosen) == len(rows.number) and bool((np.diff(chosen) == 1).all()) else chosen
    columns = (rows.number, rows.start_us - POSTGRES_EPOCH_US, rows.measured_us, rows.estimated_us, rows.held)
    for (name, _), column in zip(_FIXED, columns, strict=True):
        table[name] = column[every]
    for i, (figure, there) in enumerate(zip(rows.figures, present, strict=True)):
        if there:
            _fill(table[f"figure{i}"], figure, every)
    return made


def _fill(column: Any, figure: Numerics, every: Int64s | slice) -> None:
    """One numeric a row: how many digits, their weight, the sign, the decimals; then the digits."""
    if bool(figure.sign.any()):
        column["head"][:, 2] = figure.sign[every]
    column["digits"] = figure.digits[every]


async def sum_meters(connection: Connection, level: Level, buckets: Stretches) -> None:
    """Each bucket (meter, start, end) becomes the sum of the next shorter ones in it, if there are any."""
    await connection.execute(_meter_sums(level), *buckets)


async def forget_meters(connection: Connection, level: Level, stretches: Stretches) -> None:
    """No bucket of the level is left that starts within the stretches."""
    await connection.execute(FORGET_METER.format(level=WORD[level], stretches=STRETCHES), *stretches)


async def sum_enterprises(
    connection: Connection, level: Level, stretches: tuple[list[str], list[int], list[int]]
) -> None:
    """All buckets that start within the stretches become the signed sums of the enterprise's meters."""
    where = ENTERPRISE_STRETCHES
    await connection.execute(FORGET_ENTERPRISE.format(level=WORD[level], stretches=where), *stretches)
    await connection.execute(_enterprise_sums(level), *stretches, *signs())


def signs() -> tuple[list[str], list[int], list[int]]:
    """Roles that count, with their signs (1, 0, -1) gross and net, as energy.tce has them."""
    by_role: Mapping[Role, tuple[int, int]] = {
        role: (int(signed.gross), int(signed.net)) for role in Role for signed in [contribution(role, Decimal(1))]
    }
    counting = [role for role, sign in by_role.items() if sign != (0, 0)]
    return [str(role) for role in counting], [by_role[r][0] for r in counting], [by_role[r][1] for r in counting]


async def note_first_readings(connection: Connection, meters: Sequence[int]) -> None:
    """Keep `meter.first_at`, from which on a meter owes readings."""
    await connection.execute(FIRST_READINGS, meters)


METER_COLUMNS = (*FIGURES, "measured_us", "estimated_us", "held")
ENTERPRISE_COLUMNS = (
    *(f"{name}{side}" for name in FIGURES for side in ("", "_net")),
    "measured_us",
    "estimated_us",
    "held",
)
BY_ENTERPRISE = """
SELECT enterprise, array_agg(meter_id ORDER BY meter_id) FROM meter WHERE $1::text IS NULL OR enterprise = $1
GROUP BY enterprise ORDER BY enterprise
"""


async def meters_by_enterprise(connection: Connection, enterprise: str | None) -> list[tuple[str, list[int]]]:
    """Enterprises with the numbers of their meters: all that have one, or the one asked for."""
    return [(row[0], row[1]) for row in await connection.fetch(BY_ENTERPRISE, enterprise)]


async def stored_meter(
    connection: Connection, level: Level, meter_id: int
) -> dict[int, tuple[Decimal | int | None, ...]]:
    """All rows of a meter: start in microseconds → METER_COLUMNS."""
    columns = ", ".join(METER_COLUMNS)
    rows = await connection.fetch(
        f"SELECT {_us('start')}, {columns} FROM meter_{WORD[level]} WHERE meter_id = $1", meter_id
    )
    return {row[0]: tuple(row)[1:] for row in rows}


async def stored_enterprise(
    connection: Connection, level: Level, enterprise: str
) -> dict[tuple[str, int], tuple[Decimal | int | None, ...]]:
    """All rows of an enterprise: (carrier, start in microseconds) → ENTERPRISE_COLUMNS."""
    columns = ", ".join(ENTERPRISE_COLUMNS)
    rows = await connection.fetch(
        f"SELECT carrier, {_us('start')}, {columns} FROM enterprise_{WORD[level]} WHERE enterprise = $1", enterprise
    )
    return {(row[0], row[1]): tuple(row)[2:] for row in rows}


async def stored_held(connection: Connection, meter_id: int) -> dict[int, str]:
    """Times of a meter's held readings, with the reason."""
    rows = await connection.fetch(f"SELECT {_us('ts')}, why FROM held_reading WHERE meter_id = $1", meter_id)
    return {row[0]: row[1] for row in rows}
