"""What was refused, kept with the message it came in: one row a message, one row a refused reading."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import asyncpg
import numpy as np

from app.store.judging import Verdicts
from ingest.batch import Code, Group, ReadingBatch, Received, Refusal, Verdict
from ingest.wire import DETAILS

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# A gateway that sends the same refused bytes again adds to the count, not to the pile.
KEEP_MESSAGES = """
INSERT INTO rejected_message (received_at, door, gateway, topic, content_type, raw, digest, times, last_at)
SELECT 'epoch'::timestamptz + us * interval '1 microsecond', door, gateway, topic, content_type, raw, digest, times,
       'epoch'::timestamptz + last_us * interval '1 microsecond'
FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bytea[], $7::bytea[], $8::int[],
            $9::bigint[]) AS new (us, door, gateway, topic, content_type, raw, digest, times, last_us)
ON CONFLICT (gateway, digest) DO UPDATE
SET times = rejected_message.times + excluded.times, last_at = greatest(rejected_message.last_at, excluded.last_at)
RETURNING message_id, gateway, digest, xmax = 0 AS fresh
"""
KNOWN_READINGS = """
SELECT message_id, position, code FROM rejected_reading
WHERE message_id = ANY($1::bigint[]) AND replayed_at IS NULL
"""
METER_CODES = "SELECT meter_id, code FROM meter WHERE meter_id = ANY($1::int[])"
KEEP_READINGS = """
INSERT INTO rejected_reading (message_id, position, meter, at, value, code, detail)
SELECT * FROM unnest($1::bigint[], $2::int[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
"""

Place = tuple[int | None, str]
"""Where a reading stood in its message (None: all of it), and why it was refused."""


@dataclass(slots=True)
class Parcel:
    """The same bytes of one gateway, however often a group holds them, and what was refused of them."""

    message: Received
    digest: bytes
    times: int = 0
    last_us: int = 0
    refused: dict[Place, Refusal] = field(default_factory=dict)


async def keep_refused(connection: asyncpg.Connection, group: Group, verdicts: Verdicts) -> None:
    """Keeps the refusals of a group and the conflicts the ledger found, in the transaction of the connection."""
    refusals = [*group.refusals, *await _conflicts(connection, group.rows, verdicts)]
    if not refusals:
        return
    parcels = parcels_of(group.messages, refusals)
    numbers = await _keep_messages(connection, parcels)
    old = [message_id for message_id, fresh in numbers.values() if not fresh]
    known = {tuple(row) for row in await connection.fetch(KNOWN_READINGS, old)} if old else set()
    columns = _columns(
        (numbers[parcel.message.gateway, parcel.digest][0], refusal)
        for parcel in parcels
        for place, refusal in parcel.refused.items()
        if (numbers[parcel.message.gateway, parcel.digest][0], *place) not in known
    )
    if columns:
        await connection.execute(KEEP_READINGS, *columns)


def parcels_of(messages: Sequence[Received], refusals: Iterable[Refusal]) -> list[Parcel]:
    """Refusals by the bytes they came in, in one order for all writers, so that two never wait in a circle."""
    by_message: dict[int, list[Refusal]] = {}
    for refusal in refusals:
        by_message.setdefault(refusal.message, []).append(refusal)
    parcels: dict[tuple[str, bytes], Parcel] = {}
    for number, refused in by_message.items():
        message = messages[number]
        digest = hashlib.sha256(message.raw).digest()
        parcel = parcels.setdefault((message.gateway, digest), Parcel(message, digest))
        parcel.times += 1
        parcel.last_us = max(parcel.last_us, message.received_at_us)
        for refusal in refused:
            parcel.refused.setdefault((refusal.position, str(refusal.code)), refusal)
    return [parcels[key] for key in sorted(parcels)]


async def _keep_messages(
    connection: asyncpg.Connection, parcels: Sequence[Parcel]
) -> dict[tuple[str, bytes], tuple[int, bool]]:
    """(gateway, digest) → the number under which the message is kept, and whether it is new."""
    messages = [parcel.message for parcel in parcels]
    rows = await connection.fetch(
        KEEP_MESSAGES,
        [message.received_at_us for message in messages],
        [str(message.door) for message in messages],
        [message.gateway for message in messages],
        [message.topic for message in messages],
        [message.content_type for message in messages],
        [message.raw for message in messages],
        [parcel.digest for parcel in parcels],
        [parcel.times for parcel in parcels],
        [parcel.last_us for parcel in parcels],
    )
    return {(row["gateway"], row["digest"]): (row["message_id"], row["fresh"]) for row in rows}


async def _conflicts(connection: asyncpg.Connection, rows: ReadingBatch, verdicts: Verdicts) -> list[Refusal]:
    refused = np.flatnonzero(verdicts == Verdict.CONFLICT)
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
            detail=DETAILS[Code.CONFLICT],
        )
        for row in refused.tolist()
    ]


def _columns(refused: Iterable[tuple[int, Refusal]]) -> tuple[list[object], ...]:
    rows = [(number, one.position, one.meter, one.at, one.value, str(one.code), one.detail) for number, one in refused]
    return tuple(list(column) for column in zip(*rows, strict=True))
