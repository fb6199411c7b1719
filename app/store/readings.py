"""The ledger: a group of readings becomes committed rows, verdicts, marks and kept refusals, in one transaction.

The unique index on (meter, time) decides what is new; the newest time seen of each meter (the watermark) only chooses
the way: rows above it go straight to binary COPY, the others are first looked up. When another writer was quicker, the
index says so and the group is done again with every row looked up.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import asyncpg
import numpy as np
import numpy.typing as npt

from app.store.database import plain_url
from app.store.gaps import follow_counts
from ingest.batch import Code, Group, ReadingBatch, Received, Refusal, Verdict
from ingest.pipeline import LedgerUnavailable
from ingest.sequence import in_step

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Verdicts = npt.NDArray[np.int8]

COPY_FROM_ROWS = 200
"""Below it one INSERT from arrays is quicker than COPY's extra round trips (measured, crossing at 200 to 500 rows)."""
POSTGRES_EPOCH_US = 946_684_800_000_000
"""2000-01-01T00:00:00Z, where PostgreSQL's binary timestamps start, in microseconds since 1970."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HOUR_US = 3_600_000_000
NEVER_US = np.iinfo(np.int64).min
COMMAND_TIMEOUT_S = 60.0
# Every question on this connection names its keys: look them up in the index, whatever a new chunk's statistics say.
SESSION = {
    "application_name": "tcewatch-ingest",
    "timezone": "UTC",
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}

COPY_HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
COPY_TRAILER = b"\xff\xff"
COPY_ROW = np.dtype(
    [
        ("fields", ">i2"),
        ("ts_length", ">i4"),
        ("ts", ">i8"),
        ("meter_length", ">i4"),
        ("meter", ">i4"),
        ("value_length", ">i4"),
        ("value", ">f8"),
        ("quality_length", ">i4"),
        ("quality", ">i2"),
        ("received_length", ">i4"),
        ("received", ">i8"),
    ]
)
INT4_OID = 23
COLUMNS = ("ts", "meter_id", "value", "quality", "received_at")

# Times travel as whole microseconds and become timestamps in the database: exact, and no datetime per reading.
MOMENT = "'epoch'::timestamptz + {us} * interval '1 microsecond'"
INSERT_NEW = f"""
INSERT INTO reading (ts, meter_id, value, quality, received_at)
SELECT {MOMENT.format(us="us")}, meter_id, value, quality, {MOMENT.format(us="$5::bigint")}
FROM unnest($1::bigint[], $2::int[], $3::float8[], $4::int2[]) AS new (us, meter_id, value, quality)
"""
INSERT_IF_NEW = (
    INSERT_NEW
    + """
ON CONFLICT (meter_id, ts) DO NOTHING
RETURNING meter_id, (extract(epoch FROM ts) * 1000000)::bigint
"""
)
# A grid of meters and times is found by the index itself, one walk a chunk. The bounds let the planner leave out every
# chunk that cannot hold one of the keys.
FIND_GRID = f"""
SELECT meter_id, (extract(epoch FROM ts) * 1000000)::bigint, value, quality FROM reading
WHERE meter_id = ANY($2::int[])
  AND ts = ANY(ARRAY(SELECT {MOMENT.format(us="us")} FROM unnest($1::bigint[]) AS wanted (us)))
  AND ts BETWEEN {MOMENT.format(us="$3::bigint")} AND {MOMENT.format(us="$4::bigint")}
"""
# Keys that are no grid are joined, a stretch of time after the other: across many chunks the join asks each of them for
# each key.
FIND_KEYS = f"""
SELECT old.meter_id, (extract(epoch FROM old.ts) * 1000000)::bigint, old.value, old.quality
FROM (SELECT {MOMENT.format(us="us")} AS ts, meter_id
      FROM unnest($1::bigint[], $2::int[]) AS wanted (us, meter_id)) AS key
JOIN reading AS old ON old.meter_id = key.meter_id AND old.ts = key.ts
WHERE old.ts BETWEEN {MOMENT.format(us="$3::bigint")} AND {MOMENT.format(us="$4::bigint")}
"""
GRID_AT_MOST = 4
"""A grid with up to so many times the wanted keys is still quicker than the join."""
STRETCH_US = 7 * 86_400_000_000
REVISE = f"""
WITH new AS (
    SELECT {MOMENT.format(us="us")} AS ts, meter_id, value, quality, gateway, old_value, old_quality
    FROM unnest($1::bigint[], $2::int[], $3::float8[], $4::int2[], $6::text[], $7::float8[], $8::int2[])
        AS row (us, meter_id, value, quality, gateway, old_value, old_quality)
), history AS (
    INSERT INTO reading_revision
        (meter_id, ts, old_value, old_quality, new_value, new_quality, revised_at, revised_by)
    SELECT meter_id, ts, old_value, old_quality, value, quality, {MOMENT.format(us="$5::bigint")}, gateway FROM new
)
UPDATE reading SET value = new.value, quality = new.quality, received_at = {MOMENT.format(us="$5::bigint")}
FROM new WHERE reading.meter_id = new.meter_id AND reading.ts = new.ts
"""
MARK = "INSERT INTO touched (meter_id, hour) VALUES ($1::int[], $2::int[])"
NOTIFY = "SELECT pg_notify('touched', '')"
WATERMARKS = """
SELECT wanted, (extract(epoch FROM (SELECT max(ts) FROM reading WHERE meter_id = wanted)) * 1000000)::bigint
FROM unnest($1::int[]) AS wanted
"""
# Locks in order of id, so that two writers never wait in a circle. first_seq is null unless the numbers are one run;
# a run that goes on from the last number (or repeats it first) needs nothing else.
HEARD = f"""
WITH held AS (
    SELECT gateway.id, gateway.last_seq, heard.us, heard.first_seq, heard.final_seq
    FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[]) AS heard (id, us, first_seq, final_seq)
    JOIN gateway ON gateway.id = heard.id
    ORDER BY gateway.id FOR NO KEY UPDATE OF gateway
)
UPDATE gateway SET
    last_data_at = greatest(gateway.last_data_at, {MOMENT.format(us="held.us")}),
    last_seq = CASE WHEN held.last_seq BETWEEN held.first_seq - 1 AND held.first_seq
                    THEN held.final_seq ELSE held.last_seq END
FROM held WHERE gateway.id = held.id
RETURNING gateway.id, held.last_seq
"""
# A gateway that sends the same refused bytes again adds to the count, not to the pile.
KEEP_MESSAGE = f"""
INSERT INTO rejected_message (received_at, door, gateway, topic, content_type, raw, digest, last_at)
VALUES ({MOMENT.format(us="$1::bigint")}, $2, $3, $4, $5, $6, $7, {MOMENT.format(us="$1::bigint")})
ON CONFLICT (gateway, digest) DO UPDATE SET times = rejected_message.times + 1, last_at = excluded.last_at
RETURNING message_id, times
"""
METER_CODES = "SELECT meter_id, code FROM meter WHERE meter_id = ANY($1::int[])"
KEEP_READINGS = """
INSERT INTO rejected_reading (message_id, position, meter, at, value, code, detail)
SELECT * FROM unnest($1::bigint[], $2::int[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
"""

UNAVAILABLE_CLASSES = ("08", "53", "57", "40", "25", "58")
"""Connection, resources, operator, serialization, read-only and system: the database's state, not the rows."""
UNAVAILABLE_STATES = ("55P03",)


def is_unavailable(error: Exception) -> bool:
    """Whether the same group may succeed later. Everything else is about the rows themselves."""
    if isinstance(error, asyncpg.UniqueViolationError):
        return False
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        return state[:2] in UNAVAILABLE_CLASSES or state in UNAVAILABLE_STATES
    return isinstance(error, OSError | TimeoutError | asyncpg.InterfaceError | asyncpg.InternalClientError)


def was_answered(error: Exception) -> bool:
    """Whether the server itself said that it failed: then nothing was committed. A broken connection says nothing."""
    return isinstance(error, asyncpg.PostgresError) and not isinstance(
        error,
        asyncpg.PostgresConnectionError | asyncpg.AdminShutdownError | asyncpg.CrashShutdownError,
    )


@dataclass(slots=True)
class Watermarks:
    """Newest committed time per meter number, in microseconds. Only ever a hint: too low is slow, never wrong."""

    newest_us: Int64s

    @classmethod
    def empty(cls) -> Watermarks:
        return cls(np.zeros(0, np.int64))

    def unknown(self, meters: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        """Meters nothing is known of yet; zero stands for unknown."""
        top = int(meters.max(initial=0))
        if top >= len(self.newest_us):
            self.newest_us = np.concatenate([self.newest_us, np.zeros(top + 1 + 1024, np.int64)])
        return np.unique(meters[self.newest_us[meters] == 0])

    def learn(self, meter: int, newest_us: int | None) -> None:
        self.newest_us[meter] = NEVER_US if newest_us is None else newest_us

    def advance(self, meters: npt.NDArray[np.int32], at_us: Int64s) -> None:
        """Only after COMMIT: a watermark above what is stored would send a new row the wrong way."""
        np.maximum.at(self.newest_us, meters, at_us)

    def forget(self, meters: npt.NDArray[np.int32]) -> None:
        self.newest_us[meters] = 0


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


def copy_bytes(rows: ReadingBatch, chosen: Int64s, received_us: int) -> bytes:
    """Chosen rows in PostgreSQL's binary COPY format, oldest first so that each chunk is filled in one go."""
    chosen = chosen[np.argsort(rows.at_us[chosen], kind="stable")]
    packed = np.empty(len(chosen), COPY_ROW)
    packed["fields"] = len(COLUMNS)
    packed["ts_length"] = packed["value_length"] = packed["received_length"] = 8
    packed["meter_length"] = 4
    packed["quality_length"] = 2
    packed["ts"] = rows.at_us[chosen] - POSTGRES_EPOCH_US
    packed["meter"] = rows.meter[chosen]
    packed["value"] = rows.value[chosen]
    packed["quality"] = rows.quality[chosen]
    packed["received"] = received_us - POSTGRES_EPOCH_US
    return COPY_HEADER + packed.tobytes() + COPY_TRAILER


@dataclass(slots=True)
class Book:
    """The verdicts of one group while they are being found, and the old values of what is revised."""

    verdicts: Verdicts
    revised: dict[tuple[int, int], tuple[int, float, int]]
    """(meter, time) → (row that replaces, value before the group, quality before the group)."""

    def judge(self, rows: ReadingBatch, row: int, value: float, quality: int) -> tuple[float, int]:
        """A row whose key is taken by `value`: same, replaced or refused. Answers what then stands under the key."""
        new_value, new_quality = float(rows.value[row]), int(rows.quality[row])
        if new_value == value and (new_quality == quality or not rows.revise[row]):
            self.verdicts[row] = Verdict.DUPLICATE
            return value, quality
        if not rows.revise[row]:
            self.verdicts[row] = Verdict.CONFLICT
            return value, quality
        key = (int(rows.meter[row]), int(rows.at_us[row]))
        _, old_value, old_quality = self.revised.get(key, (row, value, quality))
        self.revised[key] = (row, old_value, old_quality)
        self.verdicts[row] = Verdict.REVISED
        return new_value, new_quality


class ConflictsFound(Exception):
    """Rows of a group would replace other values, so nothing of it was kept. Attribute: rows, their places."""

    def __init__(self, rows: Sequence[int]) -> None:
        self.rows = rows
        super().__init__(f"{len(rows)} readings contradict what is stored")


class ReadingLedger:
    """`ingest.pipeline.ReadingSink` on TimescaleDB, over one connection of its own.

    One ledger serves one writer task. It reconnects by itself; while it cannot, `save` raises LedgerUnavailable.
    """

    def __init__(self, database_url: str, *, command_timeout_s: float = COMMAND_TIMEOUT_S) -> None:
        self._url = plain_url(database_url)
        self._command_timeout_s = command_timeout_s
        self._connection: asyncpg.Connection | None = None
        self._watermarks = Watermarks.empty()
        self._commit_asked = False

    async def save(self, group: Group) -> Verdicts:
        """See `ReadingSink.save`."""
        connection = await self._connected()
        try:
            try:
                return await self._commit(connection, group, look_up_all=False)
            except asyncpg.UniqueViolationError:
                # Somebody else wrote one of these keys since the watermark was read.
                self._watermarks.forget(group.rows.meter)
                return await self._commit(connection, group, look_up_all=True)
        except Exception as error:
            if not is_unavailable(error):
                raise
            self._drop_connection()
            perhaps_kept = self._commit_asked and not was_answered(error)
            raise LedgerUnavailable(str(error) or type(error).__name__, perhaps_kept=perhaps_kept) from error

    async def save_whole(self, group: Group) -> Verdicts:
        """Commit a group if none of its rows conflicts. Raises ConflictsFound, and then nothing of it was kept.

        After that this ledger may hold watermarks of rows that were rolled back: close it and take another.
        """
        connection = await self._connected()
        async with connection.transaction():
            verdicts = await self._commit(connection, group, look_up_all=True)
            conflicts = np.flatnonzero(verdicts == Verdict.CONFLICT).tolist()
            if conflicts:
                raise ConflictsFound(conflicts)
        return verdicts

    async def close(self) -> None:
        if self._connection is not None and not self._connection.is_closed():
            await self._connection.close()
        self._connection = None

    async def _connected(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            try:
                self._connection = await asyncpg.connect(
                    self._url, timeout=10, command_timeout=self._command_timeout_s, server_settings=SESSION
                )
            except Exception as error:
                if not is_unavailable(error):
                    raise
                raise LedgerUnavailable(str(error) or type(error).__name__, perhaps_kept=False) from error
        return self._connection

    def _drop_connection(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
        self._connection = None

    async def _commit(self, connection: asyncpg.Connection, group: Group, *, look_up_all: bool) -> Verdicts:
        rows = group.rows
        self._commit_asked = False
        async with connection.transaction():
            order = in_order(rows)
            book = await self._store(connection, group, order, look_up_all=look_up_all)
            await _mark(connection, rows, order, book)
            await _keep_refused(connection, group, book)
            await _note_gateways(connection, group)
            self._commit_asked = True
        if len(rows):
            self._watermarks.advance(rows.meter, rows.at_us)
        return book.verdicts

    async def _store(self, connection: asyncpg.Connection, group: Group, order: Order, *, look_up_all: bool) -> Book:
        rows = group.rows
        book = Book(np.full(len(rows), Verdict.STORED, np.int8), {})
        if not len(rows):
            return book
        received_us = max(message.received_at_us for message in group.messages)
        await self._learn(connection, rows)
        late = order.first if look_up_all else order.first[self._not_newest(rows, order.first)]
        standing = await _find(connection, rows, late)
        new = order.first
        if standing:
            new = new[~np.isin(new, np.fromiter(standing, np.int64, len(standing)))]
        if look_up_all:
            taken = await _insert_if_new(connection, rows, new, received_us)
            standing |= await _find(connection, rows, taken)
        else:
            await _insert(connection, rows, new, received_us)
        _judge(rows, order, standing, book)
        await _revise(connection, group, book, received_us)
        return book

    async def _learn(self, connection: asyncpg.Connection, rows: ReadingBatch) -> None:
        unknown = self._watermarks.unknown(rows.meter)
        if len(unknown):
            for meter, newest_us in await connection.fetch(WATERMARKS, unknown.tolist()):
                self._watermarks.learn(meter, newest_us)

    def _not_newest(self, rows: ReadingBatch, chosen: Int64s) -> Bools:
        return rows.at_us[chosen] <= self._watermarks.newest_us[rows.meter[chosen]]


async def _find(connection: asyncpg.Connection, rows: ReadingBatch, chosen: Int64s) -> dict[int, tuple[float, int]]:
    """What already stands under the keys of the chosen rows: row → (value, quality)."""
    if not len(chosen):
        return {}
    at_us, meters = rows.at_us[chosen], rows.meter[chosen]
    times, numbers = np.unique(at_us), np.unique(meters)
    bounds = int(times[0]), int(times[-1])
    if len(times) * len(numbers) <= GRID_AT_MOST * len(chosen):
        found = await connection.fetch(FIND_GRID, times.tolist(), numbers.tolist(), *bounds)
    else:
        found = await _find_by_stretch(connection, at_us, meters)
    places = dict(zip(zip(meters.tolist(), at_us.tolist(), strict=True), chosen.tolist(), strict=True))
    return {places[meter, us]: (value, quality) for meter, us, value, quality in found if (meter, us) in places}


async def _find_by_stretch(
    connection: asyncpg.Connection, at_us: Int64s, meters: npt.NDArray[np.int32]
) -> list[asyncpg.Record]:
    stretches = at_us // STRETCH_US
    found: list[asyncpg.Record] = []
    for stretch in np.unique(stretches).tolist():
        here = stretches == stretch
        times = at_us[here]
        found += await connection.fetch(
            FIND_KEYS, times.tolist(), meters[here].tolist(), int(times.min()), int(times.max())
        )
    return found


async def _insert(connection: asyncpg.Connection, rows: ReadingBatch, new: Int64s, received_us: int) -> None:
    """Rows believed to be new. Raises UniqueViolationError when one is not."""
    if len(new) >= COPY_FROM_ROWS:
        source = io.BytesIO(copy_bytes(rows, new, received_us))
        await connection.copy_to_table("reading", source=source, columns=COLUMNS, format="binary")
    elif len(new):
        await connection.execute(INSERT_NEW, *_arrays(rows, new), received_us)


async def _insert_if_new(connection: asyncpg.Connection, rows: ReadingBatch, new: Int64s, received_us: int) -> Int64s:
    """Inserts what the index lets in and answers the rows whose key was taken meanwhile."""
    if not len(new):
        return new
    inserted = {tuple(key) for key in await connection.fetch(INSERT_IF_NEW, *_arrays(rows, new), received_us)}
    keys = zip(rows.meter[new].tolist(), rows.at_us[new].tolist(), strict=True)
    return new[np.fromiter((key not in inserted for key in keys), np.bool_, len(new))]


def _arrays(rows: ReadingBatch, chosen: Int64s) -> tuple[list[int], list[int], list[float], list[int]]:
    return (
        rows.at_us[chosen].tolist(),
        rows.meter[chosen].tolist(),
        rows.value[chosen].tolist(),
        rows.quality[chosen].tolist(),
    )


def _judge(rows: ReadingBatch, order: Order, standing: dict[int, tuple[float, int]], book: Book) -> None:
    """Verdicts of all rows whose key was taken, by the ledger or by an earlier row of the same group."""
    current = {row: book.judge(rows, row, *found) for row, found in standing.items()}
    for first, row in zip(order.first_of_repeat.tolist(), order.repeat.tolist(), strict=True):
        value, quality = current.get(first, (float(rows.value[first]), int(rows.quality[first])))
        current[first] = book.judge(rows, row, value, quality)


async def _revise(connection: asyncpg.Connection, group: Group, book: Book, received_us: int) -> None:
    if not book.revised:
        return
    chosen = np.array([row for row, _, _ in book.revised.values()], np.int64)
    gateways = [group.messages[message].gateway for message in group.rows.message[chosen].tolist()]
    old_values = [value for _, value, _ in book.revised.values()]
    old_qualities = [quality for _, _, quality in book.revised.values()]
    await connection.execute(REVISE, *_arrays(group.rows, chosen), received_us, gateways, old_values, old_qualities)


async def _mark(connection: asyncpg.Connection, rows: ReadingBatch, order: Order, book: Book) -> None:
    """The hours the rollup has to look at again, once each, committed together with the rows that touched them."""
    meters, hours = touched_hours(rows, order, book.verdicts)
    if not len(meters):
        return
    if len(meters) >= COPY_FROM_ROWS:
        source = io.BytesIO(COPY_HEADER + b"\x00\x02" + int4_array(meters) + int4_array(hours) + COPY_TRAILER)
        await connection.copy_to_table("touched", source=source, columns=("meter_id", "hour"), format="binary")
    else:
        await connection.execute(MARK, meters.tolist(), hours.tolist())
    await connection.execute(NOTIFY)


def touched_hours(
    rows: ReadingBatch, order: Order, verdicts: Verdicts
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Meter numbers and whole hours since 1970 of what was stored or revised, each pair once."""
    changed = order.by_key[np.isin(verdicts[order.by_key], (Verdict.STORED, Verdict.REVISED))]
    meters, hours = rows.meter[changed].astype(np.int64), rows.at_us[changed] // HOUR_US
    once = np.ones(len(changed), np.bool_)
    once[1:] = (meters[1:] != meters[:-1]) | (hours[1:] != hours[:-1])
    return meters[once], hours[once]


def int4_array(values: Int64s) -> bytes:
    """A field of type integer[] in PostgreSQL's binary form, its length in front."""
    packed = np.empty((len(values), 2), ">i4")
    packed[:, 0] = 4
    packed[:, 1] = values
    head = np.array([20 + packed.nbytes, 1, 0, INT4_OID, len(values), 1], ">i4")
    return head.tobytes() + packed.tobytes()


async def _keep_refused(connection: asyncpg.Connection, group: Group, book: Book) -> None:
    refusals = [*group.refusals, *await _conflicts(connection, group.rows, book)]
    by_message: dict[int, list[Refusal]] = {}
    for refusal in refusals:
        by_message.setdefault(refusal.message, []).append(refusal)
    for number, refused in by_message.items():
        message_id, times = await _keep_message(connection, group.messages[number])
        if times == 1:
            await connection.execute(KEEP_READINGS, *_refusal_columns(message_id, refused))


async def _keep_message(connection: asyncpg.Connection, message: Received) -> tuple[int, int]:
    row = await connection.fetchrow(
        KEEP_MESSAGE,
        message.received_at_us,
        message.door,
        message.gateway,
        message.topic,
        message.content_type,
        message.raw,
        hashlib.sha256(message.raw).digest(),
    )
    assert row is not None, "INSERT … ON CONFLICT DO UPDATE always answers its row"
    return row["message_id"], row["times"]


async def _conflicts(connection: asyncpg.Connection, rows: ReadingBatch, book: Book) -> list[Refusal]:
    refused = np.flatnonzero(book.verdicts == Verdict.CONFLICT)
    if not len(refused):
        return []
    found = await connection.fetch(METER_CODES, np.unique(rows.meter[refused]).tolist())
    codes = {row["meter_id"]: row["code"] for row in found}
    return [
        Refusal(
            message=int(rows.message[row]),
            position=int(rows.position[row]),
            meter=codes[int(rows.meter[row])],
            at=(EPOCH + timedelta(microseconds=int(rows.at_us[row]))).isoformat(),
            value=repr(float(rows.value[row])),
            code=Code.CONFLICT,
            detail="another value is stored under this meter and time; send revise to replace it",
        )
        for row in refused.tolist()
    ]


def _refusal_columns(message_id: int, refused: Sequence[Refusal]) -> tuple[list[object], ...]:
    return (
        [message_id] * len(refused),
        [refusal.position for refusal in refused],
        [refusal.meter for refusal in refused],
        [refusal.at for refusal in refused],
        [refusal.value for refusal in refused],
        [str(refusal.code) for refusal in refused],
        [refusal.detail for refusal in refused],
    )


async def _note_gateways(connection: asyncpg.Connection, group: Group) -> None:
    """Last data and the count of each gateway heard; gaps in the count are opened and filled."""
    heard: dict[str, int] = {}
    seen: dict[str, list[int]] = {}
    for message in group.messages:
        heard[message.gateway] = max(heard.get(message.gateway, 0), message.received_at_us)
        if message.seq is not None:
            seen.setdefault(message.gateway, []).append(message.seq)
    if not heard:
        return
    runs = [_run(seen.get(name, ())) for name in heard]
    rows = await connection.fetch(
        HEARD, list(heard), list(heard.values()), [first for first, _ in runs], [final for _, final in runs]
    )
    last_seqs: dict[str, int | None] = {row["id"]: row["last_seq"] for row in rows}
    astray = {name: seqs for name, seqs in seen.items() if name in last_seqs and not in_step(last_seqs[name], seqs)}
    if astray:
        await follow_counts(connection, last_seqs, astray)


def _run(seqs: Sequence[int]) -> tuple[int | None, int | None]:
    """First and last of numbers that go on one by one, each perhaps repeated; nothing for others."""
    return (seqs[0], seqs[-1]) if seqs and in_step(seqs[0], seqs) else (None, None)
