"""The ledger against a real database: verdicts, history, marks, and what another writer may do meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from app.store.database import plain_url
from app.store.readings import CONTESTED_GROUPS, COPY_FROM_ROWS, ConflictsFound, ReadingLedger
from ingest.batch import Code, Group, Refusal, Verdict
from ingest.pipeline import LedgerUnavailable
from tests.ingest.fakes import FakeLedger
from tests.store.a_city import T0_US, a_city, a_group

MINUTE_US = 60_000_000
S, D, R, C = Verdict.STORED, Verdict.DUPLICATE, Verdict.REVISED, Verdict.CONFLICT


@pytest.fixture
async def meters(database_url: str) -> dict[str, int]:
    return await a_city(database_url)


@pytest.fixture
async def ledger(database_url: str, meters: dict[str, int]) -> AsyncIterator[ReadingLedger]:
    ledger = ReadingLedger(database_url)
    yield ledger
    await ledger.close()


@pytest.fixture
async def sql(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(plain_url(database_url))
    yield connection
    await connection.close()


async def verdicts(ledger: ReadingLedger, group: Group) -> list[Verdict]:
    return [Verdict(number) for number in (await ledger.save(group)).tolist()]


def series(meter: int, count: int, *, start: int = 0, value: float = 100.0) -> list[tuple[int, int, float]]:
    return [(meter, T0_US + (start + i) * MINUTE_US, value + start + i) for i in range(count)]


@pytest.mark.parametrize("count", [1, 7, COPY_FROM_ROWS, 3 * COPY_FROM_ROWS])
async def test_the_second_time_every_row_is_a_duplicate_by_either_way(
    ledger: ReadingLedger, meters: dict[str, int], sql: asyncpg.Connection, count: int
) -> None:
    group = a_group(series(meters["E001"], count))
    assert await verdicts(ledger, group) == [S] * count
    assert await verdicts(ledger, group) == [D] * count
    assert await sql.fetchval("SELECT count(*) FROM reading") == count


async def test_another_value_is_refused_and_kept_with_the_meters_code(
    ledger: ReadingLedger, meters: dict[str, int], sql: asyncpg.Connection
) -> None:
    await ledger.save(a_group([(meters["E001"], T0_US, 5.0)]))
    assert await verdicts(ledger, a_group([(meters["E001"], T0_US, 6.0)])) == [C]
    kept = await sql.fetchrow("SELECT meter, at, value, code FROM rejected_reading")
    assert kept is not None
    assert dict(kept) == {"meter": "E001", "at": "2026-11-23T01:15:00+00:00", "value": "6.0", "code": "conflict"}
    assert await sql.fetchval("SELECT value FROM reading") == 5.0


async def test_a_revision_replaces_the_value_and_keeps_the_old_one_with_who_and_when(
    ledger: ReadingLedger, meters: dict[str, int], sql: asyncpg.Connection
) -> None:
    await ledger.save(a_group([(meters["E001"], T0_US, 5.0)]))
    assert await verdicts(ledger, a_group([(meters["E001"], T0_US, 6.0)], revise=True)) == [R]
    assert await verdicts(ledger, a_group([(meters["E001"], T0_US, 6.0)], revise=True)) == [D]
    history = await sql.fetch("SELECT old_value, new_value, revised_by FROM reading_revision")
    assert [dict(row) for row in history] == [{"old_value": 5.0, "new_value": 6.0, "revised_by": "gw-1"}]
    assert await sql.fetchval("SELECT value FROM reading") == 6.0


async def test_a_key_repeated_inside_one_message_is_judged_like_one_sent_later(
    ledger: ReadingLedger, meters: dict[str, int], sql: asyncpg.Connection
) -> None:
    meter = meters["E002"]
    rows = [(meter, T0_US, 1.0), (meter, T0_US, 1.0), (meter, T0_US, 2.0), (meter, T0_US + 1, 9.0)]
    assert await verdicts(ledger, a_group(rows)) == [S, D, C, S]
    assert await verdicts(ledger, a_group(rows[:3], revise=True)) == [D, D, R]
    assert (
        await sql.fetchval("SELECT value FROM reading WHERE ts = 'epoch'::timestamptz + $1 * interval '1 us'", T0_US)
        == 2.0
    )


async def test_late_rows_among_new_ones_are_stored_and_told_apart(
    ledger: ReadingLedger, meters: dict[str, int]
) -> None:
    meter = meters["E001"]
    await ledger.save(a_group(series(meter, 10, start=1000)))
    mixed = series(meter, 200, start=800) + series(meter, 300, start=1000)
    assert await verdicts(ledger, a_group(mixed)) == [S] * 200 + [D] * 10 + [S] * 290
    assert await verdicts(ledger, a_group(mixed)) == [D] * len(mixed)


async def test_a_quicker_writer_makes_duplicates_not_errors(
    ledger: ReadingLedger, database_url: str, meters: dict[str, int], sql: asyncpg.Connection
) -> None:
    other = ReadingLedger(database_url)
    meter = meters["E001"]
    await ledger.save(a_group(series(meter, 3)))
    await other.save(a_group(series(meter, 400, start=3)))
    # The first ledger still believes everything after its third row to be new.
    taken = [*series(meter, 300, start=3)[:-1], (meter, T0_US + 302 * MINUTE_US, -1.0), *series(meter, 5, start=403)]
    assert await verdicts(ledger, a_group(taken)) == [D] * 299 + [C] + [S] * 5
    assert await sql.fetchval("SELECT count(*) FROM reading") == 408
    await other.close()


async def test_refusals_marks_and_sequence_numbers_are_committed_with_the_rows(
    ledger: ReadingLedger, meters: dict[str, int], sql: asyncpg.Connection
) -> None:
    refusal = Refusal(0, 7, "E009", None, None, Code.UNKNOWN_METER, "no such meter")
    rows = [(meters["E001"], T0_US, 1.0), (meters["E001"], T0_US + 1, 1.0), (meters["E002"], T0_US, 1.0)]
    group = a_group(rows, refusals=[refusal], seq=4711)
    await ledger.save(group)
    await ledger.save(group)
    marks = await sql.fetch("SELECT meter_id, hour FROM touched")
    hour = T0_US // 3_600_000_000
    assert [(row["meter_id"], row["hour"]) for row in marks] == [([meters["E001"], meters["E002"]], [hour, hour])]
    kept: list[Any] = await sql.fetch("SELECT position, meter, code FROM rejected_reading")
    assert [tuple(row) for row in kept] == [(7, "E009", "unknown-meter")]
    assert await sql.fetchval("SELECT times FROM rejected_message") == 2
    assert await sql.fetchval("SELECT last_seq FROM gateway") == 4711


async def test_a_lost_session_is_made_again_and_the_same_group_succeeds(
    ledger: ReadingLedger, meters: dict[str, int], sql: asyncpg.Connection
) -> None:
    await ledger.save(a_group(series(meters["E001"], 1)))
    await sql.execute(
        """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
           WHERE application_name = 'tcewatch-ingest' AND datname = current_database()"""
    )
    group = a_group(series(meters["E001"], 2))
    # Whether the ledger meets the loss in its next commit or hears of it before is a matter of microseconds.
    with contextlib.suppress(LedgerUnavailable):
        assert await verdicts(ledger, group) == [D, S]
    assert await verdicts(ledger, group) in ([D, S], [D, D])


async def test_a_database_that_does_not_answer_has_certainly_kept_nothing(meters: dict[str, int]) -> None:
    nowhere = ReadingLedger("postgresql+asyncpg://nobody@127.0.0.1:1/nothing")
    with pytest.raises(LedgerUnavailable) as found:
        await nowhere.save(a_group(series(meters["E001"], 1)))
    assert not found.value.perhaps_kept


@pytest.mark.parametrize("seed", range(6))
async def test_the_ledger_holds_what_reading_by_reading_would_leave(
    ledger: ReadingLedger, meters: dict[str, int], sql: asyncpg.Connection, seed: int
) -> None:
    """Groups of every size, late and new, with repeats, revisions and contradictions, against the ledger in memory."""
    rng = random.Random(seed)
    fake = FakeLedger()
    for _ in range(8):
        size = rng.choice((1, 20, COPY_FROM_ROWS, 600))
        spread = rng.choice((size, size * 3, 60 * 24 * 40))
        rows = [
            (rng.choice(list(meters.values())), T0_US - rng.randrange(spread) * MINUTE_US, float(rng.randrange(2)))
            for _ in range(size)
        ]
        group = a_group(rows, revise=rng.random() < 0.3, quality=rng.randrange(2))
        assert (await ledger.save(group)).tolist() == (await fake.save(group)).tolist()
    stored = await sql.fetch("SELECT meter_id, extract(epoch FROM ts) * 1000000 AS us, value, quality FROM reading")
    assert {(row["meter_id"], int(row["us"])): (row["value"], row["quality"]) for row in stored} == fake.readings


async def test_a_small_group_of_a_gateway_that_skips_a_number_opens_the_gap_and_is_stored(
    ledger: ReadingLedger, meters: dict[str, int], sql: asyncpg.Connection
) -> None:
    meter = meters["E001"]
    for minute, seq in enumerate((1, 2, 5, 6)):
        group = a_group([(meter, T0_US + minute * MINUTE_US, 1.0)], seq=seq)
        assert await verdicts(ledger, group) == [S]
    gaps = await sql.fetch("SELECT first_seq, last_seq FROM sequence_gap")
    assert [tuple(row) for row in gaps] == [(3, 4)]
    assert await sql.fetchval("SELECT last_seq FROM gateway") == 6
    assert await sql.fetchval("SELECT count(*) FROM touched") == 4


async def test_a_small_group_that_another_writer_stored_is_found_to_be_there(
    ledger: ReadingLedger, database_url: str, meters: dict[str, int], sql: asyncpg.Connection
) -> None:
    other = ReadingLedger(database_url)
    meter = meters["E001"]
    await ledger.save(a_group(series(meter, 1)))
    await other.save(a_group(series(meter, 3)))
    assert await verdicts(ledger, a_group(series(meter, 4, start=1))) == [D, D, S, S]
    assert await sql.fetchval("SELECT count(*) FROM reading") == 5
    await other.close()


async def test_who_has_met_another_writer_looks_first_until_it_has_been_alone_for_a_while(
    ledger: ReadingLedger, database_url: str, meters: dict[str, int]
) -> None:
    other = ReadingLedger(database_url)
    meter, count = meters["E001"], 6 * CONTESTED_GROUPS
    await ledger.save(a_group(series(meter, 1)))
    await other.save(a_group(series(meter, count)))
    tried_in_vain = failures_of(ledger)
    for minute in range(1, 3 * CONTESTED_GROUPS):
        assert await verdicts(ledger, a_group(series(meter, 1, start=minute))) == [D]
    assert len(tried_in_vain) == 1
    for minute in range(count, count + CONTESTED_GROUPS):
        assert await verdicts(ledger, a_group(series(meter, 1, start=minute))) == [S]
    await other.save(a_group(series(meter, 1, start=count + CONTESTED_GROUPS)))
    assert await verdicts(ledger, a_group(series(meter, 1, start=count + CONTESTED_GROUPS))) == [D]
    assert len(tried_in_vain) == 2
    await other.close()


def failures_of(ledger: ReadingLedger) -> list[BaseException]:
    """The errors the database answers on the ledger's connection from now on."""
    failures: list[BaseException] = []

    def note(record: Any) -> None:
        if record.exception is not None:
            failures.append(record.exception)

    assert ledger._connection is not None
    ledger._connection.add_query_logger(note)
    return failures


async def test_the_same_refused_bytes_are_kept_once_and_counted(
    ledger: ReadingLedger, meters: dict[str, int], sql: asyncpg.Connection
) -> None:
    """Also when one group holds them several times; a refusal that was not known of them yet is added."""
    unknown = [Refusal(i, 0, "E009", None, None, Code.UNKNOWN_METER, "no such meter") for i in range(3)]
    group = a_group([])
    storm = Group([*group.messages] * 3, group.rows, unknown)
    await ledger.save(storm)
    await ledger.save(storm)
    assert await sql.fetchval("SELECT times FROM rejected_message") == 6
    more = Refusal(0, 1, "E001", None, "x", Code.NOT_A_NUMBER, "no number")
    await ledger.save(Group(group.messages, group.rows, [unknown[0], more]))
    kept = await sql.fetch("SELECT position, code FROM rejected_reading ORDER BY 1")
    assert [tuple(row) for row in kept] == [(0, "unknown-meter"), (1, "not-a-number")]


async def test_a_group_that_must_be_whole_leaves_nothing_behind_when_it_is_not(
    ledger: ReadingLedger, meters: dict[str, int], sql: asyncpg.Connection
) -> None:
    meter = meters["E001"]
    await ledger.save(a_group([(meter, T0_US, 5.0)]))
    with pytest.raises(ConflictsFound) as found:
        await ledger.save_whole(a_group([(meter, T0_US + 1, 1.0), (meter, T0_US, 6.0)]))
    assert found.value.rows == [1]
    assert await sql.fetchval("SELECT count(*) FROM reading") == 1
    # What was rolled back is not taken for stored.
    assert await verdicts(ledger, a_group([(meter, T0_US + 1, 1.0), (meter, T0_US, 5.0)])) == [S, D]


@pytest.mark.parametrize("sizes", [(3, 3), (3, 400), (400, 400)])
async def test_two_writers_of_the_same_readings_never_wait_for_each_other_in_a_circle(
    ledger: ReadingLedger, database_url: str, meters: dict[str, int], sql: asyncpg.Connection, sizes: tuple[int, int]
) -> None:
    """Each reading comes to both, in groups cut differently; it is stored by one and found by the other."""
    other = ReadingLedger(database_url)
    numbers, count = list(meters.values()), 1200
    rows = [(numbers[i % 3], T0_US + i * MINUTE_US, float(i)) for i in range(count)]

    async def write(writer: ReadingLedger, size: int) -> list[Verdict]:
        found: list[Verdict] = []
        for first in range(0, count, size):
            part = rows[first : first + size]
            found += await verdicts(writer, a_group(part if size == sizes[0] else part[::-1]))
        return found

    one, two = await asyncio.gather(write(ledger, sizes[0]), write(other, sizes[1]))
    assert one.count(S) + two.count(S) == count
    assert one.count(D) + two.count(D) == count
    assert await sql.fetchval("SELECT count(*) FROM reading") == count
    await other.close()
