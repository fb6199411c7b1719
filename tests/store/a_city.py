"""A small registry for tests of the store, written straight into the tables, and groups of readings for it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import asyncpg
import numpy as np

from app.store.database import plain_url
from ingest.batch import Door, Group, ReadingBatch, Received, Refusal

ENTERPRISE = "91445300MA4UXXXX0J"
GATEWAY = "gw-1"
SECRET = "s3cret"
T0_US = 1_795_396_500_000_000
"""2026-11-23T01:15:00Z"""


async def a_city(database_url: str, meters: Sequence[str] = ("E001", "E002", "E003")) -> dict[str, int]:
    """One enterprise, one gateway, some electricity meters. Answers code → meter number."""
    connection = await asyncpg.connect(plain_url(database_url))
    try:
        await connection.execute(
            "TRUNCATE enterprise, gateway, meter, reading, reading_revision, touched, rejected_message CASCADE"
        )
        await connection.execute(
            "INSERT INTO enterprise (id, name, region, industry) VALUES ($1, '云安水泥', '445303', '3011')", ENTERPRISE
        )
        await connection.execute(
            "INSERT INTO gateway (id, enterprise, name, secret_sha256) VALUES ($1, $2, 'one', $3)",
            GATEWAY,
            ENTERPRISE,
            hashlib.sha256(SECRET.encode()).digest(),
        )
        rows = [
            await connection.fetchrow(
                """INSERT INTO meter (enterprise, code, name, gateway, carrier, kind, unit, role)
                   VALUES ($1, $2, $2, $3, 'electricity', 'register', 'kWh', 'purchase') RETURNING code, meter_id""",
                ENTERPRISE,
                code,
                GATEWAY,
            )
            for code in meters
        ]
        return {row["code"]: row["meter_id"] for row in rows if row is not None}
    finally:
        await connection.close()


def a_group(
    rows: Sequence[tuple[int, int, float]],
    *,
    revise: bool = False,
    quality: int = 0,
    refusals: Sequence[Refusal] = (),
    seq: int | None = None,
) -> Group:
    """One message whose readings are (meter number, µs, value)."""
    message = Received(Door.HTTP, GATEWAY, None, "application/json", repr(rows).encode(), T0_US, seq)
    count = len(rows)
    batch = ReadingBatch(
        at_us=np.array([at_us for _, at_us, _ in rows], np.int64),
        meter=np.array([meter for meter, _, _ in rows], np.int32),
        value=np.array([value for _, _, value in rows], np.float64),
        quality=np.full(count, quality, np.int16),
        message=np.zeros(count, np.int32),
        position=np.arange(count, dtype=np.int32),
        revise=np.full(count, revise, np.bool_),
    )
    return Group([message], batch, refusals)
