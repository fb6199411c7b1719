"""The ledger: a group of readings becomes committed rows, verdicts, marks and kept refusals, in one transaction.

The unique index on (meter, time) decides what is new; the newest time seen of each meter (the watermark) only chooses
the way. A small group of rows above it is one statement; a large one goes by binary COPY; the others are first looked
up. When another writer was quicker, the index says so and the group is done again with every row looked up.

Rows travel as columns both ways: what stands in the ledger comes back as one string of bytes that numpy reads.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg
import msgspec
import numpy as np
import numpy.typing as npt

from app.store.database import plain_url
from app.store.gaps import follow_counts
from app.store.judging import Book, Int64s, Order, Standing, Verdicts, in_order, judge
from app.store.refusals import keep_refused
from ingest.batch import Code, Group, ReadingBatch, Verdict
from ingest.pipeline import LedgerUnavailable
from ingest.sequence import in_step
from ingest.skew import SkewWatch

Bools = npt.NDArray[np.bool_]

COPY_FROM_ROWS = 400
"""Below it one INSERT from arrays is quicker than COPY's extra round trips (measured, crossing at 300 to 500 rows)."""
CONTESTED_GROUPS = 16
"""How many groups without a row that was there already end the suspicion that another writer has the same meters."""
POSTGRES_EPOCH_US = 946_684_800_000_000
"""2000-01-01T00:00:00Z, where PostgreSQL's binary timestamps start, in microseconds since 1970."""
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
    "plan_cache_mode": "force_generic_plan",
}
BEGIN = "BEGIN"
BEGIN_AND_LOOK = "BEGIN; SET LOCAL plan_cache_mode = auto"
"""A plan made once saves half the time of a small statement; one that looks into many chunks has to know which."""

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
COPY_TEMPLATE = np.zeros(1, COPY_ROW)
COPY_TEMPLATE["fields"] = 5
COPY_TEMPLATE["ts_length"] = COPY_TEMPLATE["value_length"] = COPY_TEMPLATE["received_length"] = 8
COPY_TEMPLATE["meter_length"] = 4
COPY_TEMPLATE["quality_length"] = 2
INT4_OID = 23
COLUMNS = ("ts", "meter_id", "value", "quality", "received_at")

# Times travel as whole microseconds and become timestamps in the database: exact, and no datetime per reading. Columns
# travel as the text of an array (`array_of`): the driver would look at each number several times to find its shape.
MOMENT = "'epoch'::timestamptz + {us} * interval '1 microsecond'"
INSERT_NEW = f"""
INSERT INTO reading (ts, meter_id, value, quality, received_at)
SELECT {MOMENT.format(us="us")}, meter_id, value, quality, {MOMENT.format(us="$5::bigint")}
FROM unnest($1::text::bigint[], $2::text::int[], $3::text::float8[], $4::text::int2[])
    AS new (us, meter_id, value, quality)
"""
# Rows come back as bytes one behind the other: a record for each would cost more than finding it.
FOUND_ROW = np.dtype([("meter", ">i4"), ("ts", ">i8"), ("value", ">f8"), ("quality", ">i2")])
AS_BYTES = "string_agg(int4send(meter_id) || timestamptz_send(ts) || float8send(value) || int2send(quality), '')"
INSERT_IF_NEW = f"""
WITH inserted AS (
    {INSERT_NEW}
    ON CONFLICT (meter_id, ts) DO NOTHING RETURNING meter_id, ts, value, quality
)
SELECT {AS_BYTES} FROM inserted
"""
# A grid of meters and times is found by the index itself, one walk a chunk. The bounds let the planner leave out every
# chunk that cannot hold one of the keys.
FIND_GRID = f"""
SELECT {AS_BYTES} FROM reading
WHERE meter_id = ANY($2::int[])
  AND ts = ANY(ARRAY(SELECT {MOMENT.format(us="us")} FROM unnest($1::bigint[]) AS wanted (us)))
  AND ts BETWEEN {MOMENT.format(us="$3::bigint")} AND {MOMENT.format(us="$4::bigint")}
"""
# Keys that are no grid are joined, a stretch of time after the other: across many chunks the join asks each of them for
# each key.
FIND_KEYS = f"""
SELECT {AS_BYTES.replace("meter_id", "old.meter_id").replace("(ts)", "(old.ts)")}
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
    FROM unnest($1::text::bigint[], $2::text::int[], $3::text::float8[], $4::text::int2[],
                $6::text[], $7::float8[], $8::int2[])
        AS row (us, meter_id, value, quality, gateway, old_value, old_quality)
), history AS (
    INSERT INTO reading_revision
        (meter_id, ts, old_value, old_quality, new_value, new_quality, revised_at, revised_by)
    SELECT meter_id, ts, old_value, old_quality, value, quality, {MOMENT.format(us="$5::bigint")}, gateway FROM new
)
UPDATE reading SET value = new.value, quality = new.quality, received_at = {MOMENT.format(us="$5::bigint")}
FROM new WHERE reading.meter_id = new.meter_id AND reading.ts = new.ts
"""
MARK = "INSERT INTO touched (meter_id, hour) VALUES ($1::text::int[], $2::text::int[])"
NOTIFY = "NOTIFY touched"
WATERMARKS = """
SELECT wanted, (extract(epoch FROM (SELECT max(ts) FROM reading WHERE meter_id = wanted)) * 1000000)::bigint
FROM unnest($1::int[]) AS wanted
"""
# Locks in order of id, so that two writers never wait in a circle. first_seq is null unless the numbers are one run;
# a run that goes on from the last number (or repeats it first) needs nothing else.
HELD = """
    SELECT gateway.id, gateway.last_seq, heard.us, heard.first_seq, heard.final_seq, heard.skew_s
    FROM unnest({0}::text[], {1}::text::bigint[], {2}::text::bigint[], {3}::text::bigint[], {4}::text::float8[])
        AS heard (id, us, first_seq, final_seq, skew_s)
    JOIN gateway ON gateway.id = heard.id
    ORDER BY gateway.id FOR NO KEY UPDATE OF gateway
"""
HEAR = f"""
UPDATE gateway SET
    last_data_at = greatest(gateway.last_data_at, {MOMENT.format(us="held.us")}),
    last_seq = CASE WHEN held.last_seq BETWEEN held.first_seq - 1 AND held.first_seq
                    THEN held.final_seq ELSE held.last_seq END,
    clock_skew_s = coalesce(held.skew_s, gateway.clock_skew_s),
    clock_skew_at = CASE WHEN held.skew_s IS NULL THEN gateway.clock_skew_at ELSE {MOMENT.format(us="held.us")} END
FROM held WHERE gateway.id = held.id
"""
HEARD = f"""
WITH held AS ({HELD.format("$1", "$2", "$3", "$4", "$5")})
{HEAR} RETURNING gateway.id, held.last_seq
"""
# A small group of new rows whose gateways count on: all of it in one statement and one round trip. Where a count does
# not go on nothing is written, and the answer is false; $13 are the gateways that count at all.
ALL_AT_ONCE = f"""
WITH held AS ({HELD.format("$6", "$7", "$8", "$9", "$10")}), plain AS (
    SELECT coalesce(bool_and(coalesce(held.last_seq BETWEEN held.first_seq - 1 AND held.first_seq, false)
                             OR held.id <> ALL($13::text[])), true) AS ok FROM held
), inserted AS (
    {INSERT_NEW} WHERE (SELECT ok FROM plain)
), marked AS (
    INSERT INTO touched (meter_id, hour) SELECT $11::text::int[], $12::text::int[] WHERE (SELECT ok FROM plain)
), heard AS (
    {HEAR} AND (SELECT ok FROM plain)
)
SELECT ok, CASE WHEN ok THEN pg_notify('touched', '') END FROM plain
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
        self._reach(meters)
        return np.unique(meters[self.newest_us[meters] == 0])

    def learn(self, meter: int, newest_us: int | None) -> None:
        self.newest_us[meter] = NEVER_US if newest_us is None else newest_us

    def advance(self, meters: npt.NDArray[np.int32], at_us: Int64s) -> None:
        """Only after COMMIT: a watermark above what is stored would send a new row the wrong way."""
        self._reach(meters)
        np.maximum.at(self.newest_us, meters, at_us)

    def forget(self, meters: npt.NDArray[np.int32]) -> None:
        self._reach(meters)
        self.newest_us[meters] = 0

    def _reach(self, meters: npt.NDArray[np.int32]) -> None:
        top = int(meters.max(initial=0))
        if top >= len(self.newest_us):
            self.newest_us = np.concatenate([self.newest_us, np.zeros(top + 1 + 1024, np.int64)])


class CopyRows:
    """Rows of the ledger in PostgreSQL's binary COPY format, in memory that is used again for the next group.

    Lengths and counts of the fields are written once. The end of the data is a row whose count of fields is -1.
    """

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._rows = np.empty(0, COPY_ROW)
        self._end = 0

    def packed(self, rows: ReadingBatch, chosen: Int64s, received_us: int) -> memoryview:
        """The chosen rows, oldest first so that each chunk is filled in one go. Good until the next call."""
        count = len(chosen)
        self._reach(count + 1)
        chosen = chosen[np.argsort(rows.at_us[chosen], kind="stable")]
        part = self._rows[:count]
        part["ts"] = rows.at_us[chosen] - POSTGRES_EPOCH_US
        part["meter"] = rows.meter[chosen]
        part["value"] = rows.value[chosen]
        part["quality"] = rows.quality[chosen]
        part["received"] = received_us - POSTGRES_EPOCH_US
        self._rows["fields"][self._end] = len(COLUMNS)
        self._rows["fields"][count] = -1
        self._end = count
        return memoryview(self._bytes)[: len(COPY_HEADER) + count * COPY_ROW.itemsize + len(COPY_TRAILER)]

    def _reach(self, count: int) -> None:
        if count > len(self._rows):
            self._bytes = bytearray(COPY_HEADER + COPY_TEMPLATE.tobytes() * count)
            self._rows = np.frombuffer(self._bytes, COPY_ROW, offset=len(COPY_HEADER))
            self._end = 0


class ConflictsFound(Exception):
    """Rows of a group would replace other values, so nothing of it was kept. Attribute: rows, their places."""

    def __init__(self, rows: Sequence[int]) -> None:
        self.rows = rows
        super().__init__(f"{len(rows)} readings contradict what is stored")


Settle = Callable[[asyncpg.Connection, Verdicts], Awaitable[None]]
"""Writes more in the transaction of a group, knowing its verdicts."""


class ReadingLedger:
    """`ingest.pipeline.ReadingSink` on TimescaleDB, over one connection of its own.

    One ledger serves one writer task. It reconnects by itself; while it cannot, `save` raises LedgerUnavailable.
    """

    def __init__(self, database_url: str, *, command_timeout_s: float = COMMAND_TIMEOUT_S) -> None:
        self._url = plain_url(database_url)
        self._command_timeout_s = command_timeout_s
        self._connection: asyncpg.Connection | None = None
        self._watermarks = Watermarks.empty()
        self._skew = SkewWatch()
        self._rows = CopyRows()
        self._commit_asked = False
        self._contested = 0

    async def save(self, group: Group) -> Verdicts:
        """See `ReadingSink.save`."""
        self._commit_asked = False
        connection = await self._connected()
        try:
            if self._contested:
                return await self._save_contested(connection, group)
            try:
                return await self._save(connection, group)
            except asyncpg.UniqueViolationError:
                # Somebody else wrote one of these keys since the watermark was read.
                self._watermarks.forget(group.rows.meter)
                return await self._save_contested(connection, group)
        except Exception as error:
            if not is_unavailable(error):
                raise
            raise self._unavailable(error) from error

    async def _save_contested(self, connection: asyncpg.Connection, group: Group) -> Verdicts:
        """Another writer has these meters too: no row is taken for new before it has been looked up.

        So it stays for some groups after the last that met something, or each would be tried in vain first.
        """
        verdicts = await self._commit(connection, group, in_order(group.rows), look_up_all=True)
        met = bool((verdicts != Verdict.STORED).any())
        self._contested = CONTESTED_GROUPS if met else max(0, self._contested - 1)
        return verdicts

    async def save_again(self, group: Group, settle: Settle) -> Verdicts:
        """Commit rows that were refused before, and with them what `settle` writes about each of them.

        Nothing else is noted: the message was counted and kept when it came. Raises LedgerUnavailable.
        """
        self._commit_asked = False
        connection = await self._connected()
        try:
            return await self._commit(connection, group, in_order(group.rows), look_up_all=True, settle=settle)
        except Exception as error:
            if not is_unavailable(error):
                raise
            raise self._unavailable(error) from error

    def _unavailable(self, error: Exception) -> LedgerUnavailable:
        self._drop_connection()
        perhaps_kept = self._commit_asked and not was_answered(error)
        return LedgerUnavailable(str(error) or type(error).__name__, perhaps_kept=perhaps_kept)

    async def save_whole(self, group: Group) -> Verdicts:
        """Commit a group if none of its rows conflicts. Raises ConflictsFound, and then nothing of it was kept."""
        connection = await self._connected()
        return await self._commit(connection, group, in_order(group.rows), look_up_all=True, whole=True)

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

    async def _save(self, connection: asyncpg.Connection, group: Group) -> Verdicts:
        order = in_order(group.rows)
        await self._learn(connection, group.rows)
        if self._is_plain(group, order) and await self._commit_at_once(connection, group, order):
            return np.full(len(group.rows), Verdict.STORED, np.int8)
        return await self._commit(connection, group, order, look_up_all=False)

    def _is_plain(self, group: Group, order: Order) -> bool:
        """A small group with nothing to look up and nothing to refuse."""
        rows = group.rows
        return (
            0 < len(rows) < COPY_FROM_ROWS
            and not group.refusals
            and not len(order.repeat)
            and not self._not_newest(rows, order.first).any()
        )

    async def _commit_at_once(self, connection: asyncpg.Connection, group: Group, order: Order) -> bool:
        """Commits a plain group; False, and nothing is written, if a gateway's count does not go on."""
        rows, heard = group.rows, Heard.of(group, self._skew)
        meters, hours = touched_hours(rows, order, np.full(len(rows), Verdict.STORED, np.int8))
        columns = *_arrays(rows, order.first), _received_us(group), *heard.columns(), array_of(meters), array_of(hours)
        self._commit_asked = True
        kept = await connection.fetchval(ALL_AT_ONCE, *columns, list(heard.seqs))
        if kept:
            self._watermarks.advance(rows.meter, rows.at_us)
        return bool(kept)

    async def _commit(
        self,
        connection: asyncpg.Connection,
        group: Group,
        order: Order,
        *,
        look_up_all: bool,
        whole: bool = False,
        settle: Settle | None = None,
    ) -> Verdicts:
        rows = group.rows
        self._commit_asked = False
        late = order.first if look_up_all else order.first[self._not_newest(rows, order.first)]
        await connection.execute(BEGIN_AND_LOOK if len(late) else BEGIN)
        try:
            if settle is None:
                # First, also in the statement that does all at once: of two writers of one gateway the second waits
                # here, holding nothing, and not for a reading while the first waits for the gateway.
                await _note_gateways(connection, group, self._skew)
            book = await _store(connection, group, order, late, self._rows, look_up_all=look_up_all)
            if whole:
                _refuse_conflicts(book)
            told = await _mark(connection, rows, order, book)
            if settle is None:
                await keep_refused(connection, group, book.verdicts)
            else:
                await settle(connection, book.verdicts)
            self._commit_asked = True
            await connection.execute(f"{NOTIFY}; COMMIT" if told else "COMMIT")
        except BaseException:
            await _roll_back(connection)
            raise
        if len(rows):
            self._watermarks.advance(rows.meter, rows.at_us)
        return book.verdicts

    async def _learn(self, connection: asyncpg.Connection, rows: ReadingBatch) -> None:
        unknown = self._watermarks.unknown(rows.meter)
        if len(unknown):
            for meter, newest_us in await connection.fetch(WATERMARKS, unknown.tolist()):
                self._watermarks.learn(meter, newest_us)

    def _not_newest(self, rows: ReadingBatch, chosen: Int64s) -> Bools:
        return rows.at_us[chosen] <= self._watermarks.newest_us[rows.meter[chosen]]


async def _store(
    connection: asyncpg.Connection,
    group: Group,
    order: Order,
    late: Int64s,
    packer: CopyRows,
    *,
    look_up_all: bool,
) -> Book:
    """Looks up the late rows, inserts what is new, replaces what is revised; answers what became of each row."""
    rows = group.rows
    if not len(rows):
        return judge(rows, order, Standing.none())
    received_us = _received_us(group)
    standing = await _find(connection, rows, late)
    new = order.first
    if len(standing):
        known = np.zeros(len(rows), np.bool_)
        known[standing.rows] = True
        new = new[~known[new]]
    if look_up_all:
        taken = await _insert_if_new(connection, rows, new, received_us)
        standing = standing.and_also(await _find(connection, rows, taken))
    else:
        await _insert(connection, rows, new, received_us, packer)
    book = judge(rows, order, standing)
    await _revise(connection, group, book, received_us)
    return book


async def _roll_back(connection: asyncpg.Connection) -> None:
    """Leaves nothing half-done on the connection; one that cannot even do that is of no more use."""
    try:
        if not connection.is_closed():
            await connection.execute("ROLLBACK")
    except Exception:  # noqa: BLE001  # the error that led here is the one to tell
        connection.terminate()


def _received_us(group: Group) -> int:
    return max([message.received_at_us for message in group.messages])


def _refuse_conflicts(book: Book) -> None:
    conflicts = np.flatnonzero(book.verdicts == Verdict.CONFLICT).tolist()
    if conflicts:
        raise ConflictsFound(conflicts)


async def _find(connection: asyncpg.Connection, rows: ReadingBatch, chosen: Int64s) -> Standing:
    """What already stands under the keys of the chosen rows, which are in the order of their keys."""
    if not len(chosen):
        return Standing.none()
    at_us, meters = rows.at_us[chosen], rows.meter[chosen]
    times, numbers = np.unique(at_us), np.unique(meters)
    if len(times) * len(numbers) <= GRID_AT_MOST * len(chosen):
        bounds = int(times[0]), int(times[-1])
        found = [await connection.fetchval(FIND_GRID, times.tolist(), numbers.tolist(), *bounds)]
    else:
        found = await _find_by_stretch(connection, at_us, meters)
    read = np.frombuffer(b"".join(part for part in found if part), FOUND_ROW)
    places, wanted = _places(read, at_us, meters, times, numbers)
    return Standing(chosen[places], read["value"][wanted].astype(np.float64), read["quality"][wanted].astype(np.int16))


def _places(
    read: npt.NDArray[np.void],
    at_us: Int64s,
    meters: npt.NDArray[np.int32],
    times: Int64s,
    numbers: npt.NDArray[np.int32],
) -> tuple[Int64s, Bools]:
    """Where each row read has its key among those asked for, and which of the rows read were asked for at all.

    The keys are in order; `times` and `numbers` are the single times and meters in them, in order too.
    """

    def in_grid(meter: npt.NDArray[np.int32], us: Int64s) -> Int64s:
        return np.searchsorted(numbers, meter) * len(times) + np.searchsorted(times, us)

    asked = in_grid(meters, at_us)
    cells = in_grid(read["meter"].astype(np.int32), read["ts"].astype(np.int64) + POSTGRES_EPOCH_US)
    places = np.minimum(np.searchsorted(asked, cells), len(asked) - 1)
    wanted = asked[places] == cells
    return places[wanted], wanted


async def _find_by_stretch(
    connection: asyncpg.Connection, at_us: Int64s, meters: npt.NDArray[np.int32]
) -> list[bytes | None]:
    stretches = at_us // STRETCH_US
    found: list[bytes | None] = []
    for stretch in np.unique(stretches).tolist():
        here = stretches == stretch
        times = at_us[here]
        bounds = int(times.min()), int(times.max())
        found.append(await connection.fetchval(FIND_KEYS, times.tolist(), meters[here].tolist(), *bounds))
    return found


async def _insert(
    connection: asyncpg.Connection, rows: ReadingBatch, new: Int64s, received_us: int, packer: CopyRows
) -> None:
    """Rows believed to be new. Raises UniqueViolationError when one is not."""
    if len(new) >= COPY_FROM_ROWS:
        await _copy(connection, "reading", COLUMNS, packer.packed(rows, new, received_us))
    elif len(new):
        await connection.execute(INSERT_NEW, *_arrays(rows, new), received_us)


async def _copy(connection: asyncpg.Connection, table: str, columns: Sequence[str], content: memoryview) -> None:
    # asyncpg takes bytes for a path and reads a file in another thread; a view of memory it sends at once.
    source: Any = content
    await connection.copy_to_table(table, source=source, columns=columns, format="binary")


async def _insert_if_new(connection: asyncpg.Connection, rows: ReadingBatch, new: Int64s, received_us: int) -> Int64s:
    """Inserts what the index lets in and answers the rows whose key was taken meanwhile."""
    if not len(new):
        return new
    inserted = await connection.fetchval(INSERT_IF_NEW, *_arrays(rows, new), received_us)
    at_us, meters = rows.at_us[new], rows.meter[new]
    read = np.frombuffer(inserted or b"", FOUND_ROW)
    places, _ = _places(read, at_us, meters, np.unique(at_us), np.unique(meters))
    taken = np.ones(len(new), np.bool_)
    taken[places] = False
    return new[taken]


def _arrays(rows: ReadingBatch, chosen: Int64s) -> tuple[str, str, str, str]:
    return (
        array_of(rows.at_us[chosen]),
        array_of(rows.meter[chosen]),
        array_of(rows.value[chosen]),
        array_of(rows.quality[chosen]),
    )


def array_of(numbers: npt.NDArray[Any] | Sequence[float | None]) -> str:
    """The text of an array of finite numbers, which are exact in it; None is NULL."""
    plain = numbers.tolist() if isinstance(numbers, np.ndarray) else numbers
    return "{" + msgspec.json.encode(plain)[1:-1].decode() + "}"


async def _revise(connection: asyncpg.Connection, group: Group, book: Book, received_us: int) -> None:
    if not book.revised:
        return
    chosen = np.array([row for row, _, _ in book.revised.values()], np.int64)
    gateways = [group.messages[message].gateway for message in group.rows.message[chosen].tolist()]
    old_values = [value for _, value, _ in book.revised.values()]
    old_qualities = [quality for _, _, quality in book.revised.values()]
    await connection.execute(REVISE, *_arrays(group.rows, chosen), received_us, gateways, old_values, old_qualities)


async def _mark(connection: asyncpg.Connection, rows: ReadingBatch, order: Order, book: Book) -> bool:
    """The hours the rollup has to look at again, once each, committed together with the rows that touched them.

    Whether there are any.
    """
    meters, hours = touched_hours(rows, order, book.verdicts)
    if not len(meters):
        return False
    if len(meters) >= COPY_FROM_ROWS:
        mark = COPY_HEADER + b"\x00\x02" + int4_array(meters) + int4_array(hours) + COPY_TRAILER
        await _copy(connection, "touched", ("meter_id", "hour"), memoryview(mark))
    else:
        await connection.execute(MARK, array_of(meters), array_of(hours))
    return True


def touched_hours(
    rows: ReadingBatch, order: Order, verdicts: Verdicts
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Meter numbers and whole hours since 1970 of what was stored or revised, each pair once."""
    found = verdicts[order.by_key]
    changed = order.by_key[(found == Verdict.STORED) | (found == Verdict.REVISED)]
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


@dataclass(frozen=True, slots=True)
class Heard:
    """Which gateways a group is from: when each was last heard, and the numbers of its messages, if it counts."""

    last_us: dict[str, int]
    seqs: dict[str, list[int]]
    skews_s: list[float | None]

    @classmethod
    def of(cls, group: Group, skew: SkewWatch) -> Heard:
        last_us: dict[str, int] = {}
        seqs: dict[str, list[int]] = {}
        for message in group.messages:
            gateway, at_us, seq = message.gateway, message.received_at_us, message.seq
            if at_us > last_us.get(gateway, NEVER_US):
                last_us[gateway] = at_us
            if seq is not None:
                if gateway in seqs:
                    seqs[gateway].append(seq)
                else:
                    seqs[gateway] = [seq]
        fresh_us = freshest(group, list(last_us))
        skews_s = [
            None if at_us == NEVER_US else skew.note(name, last_us[name], at_us)
            for name, at_us in zip(last_us, fresh_us, strict=True)
        ]
        return cls(last_us, seqs, skews_s)

    def columns(self) -> tuple[list[str], str, str, str, str]:
        """Gateways, their times, first and last of the numbers where they are one run, new measures of the clock."""
        runs = [_run(self.seqs.get(name, ())) for name in self.last_us]
        return (
            list(self.last_us),
            array_of(list(self.last_us.values())),
            array_of([first for first, _ in runs]),
            array_of([final for _, final in runs]),
            array_of(self.skews_s),
        )


def freshest(group: Group, gateways: Sequence[str]) -> list[int]:
    """The newest time each gateway sent, NEVER_US without any. A clock far ahead shows in refusals only."""
    places = {name: place for place, name in enumerate(gateways)}
    senders = np.array([places[message.gateway] for message in group.messages], np.int64)
    found = np.full(len(gateways), NEVER_US)
    if len(group.rows):
        np.maximum.at(found, senders[group.rows.message], group.rows.at_us)
    for refusal in group.refusals:
        if refusal.code is Code.TIMESTAMP_IN_FUTURE and refusal.at is not None:
            ahead_us = int(datetime.fromisoformat(refusal.at).timestamp() * 1_000_000)
            place = senders[refusal.message]
            found[place] = max(int(found[place]), ahead_us)
    return [int(at_us) for at_us in found.tolist()]


async def _note_gateways(connection: asyncpg.Connection, group: Group, skew: SkewWatch) -> None:
    """Last data and the count of each gateway heard; gaps in the count are opened and filled."""
    heard = Heard.of(group, skew)
    if not heard.last_us:
        return
    rows = await connection.fetch(HEARD, *heard.columns())
    last_seqs: dict[str, int | None] = {row["id"]: row["last_seq"] for row in rows}
    astray = {
        name: seqs for name, seqs in heard.seqs.items() if name in last_seqs and not in_step(last_seqs[name], seqs)
    }
    if astray:
        await follow_counts(connection, last_seqs, astray)


def _run(seqs: Sequence[int]) -> tuple[int | None, int | None]:
    """First and last of numbers that go on one by one, each perhaps repeated; nothing for others."""
    return (seqs[0], seqs[-1]) if seqs and in_step(seqs[0], seqs) else (None, None)
