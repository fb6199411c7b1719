"""A plant with meters and factors known by hand, and readings put straight into the ledger with their marks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import asyncpg

from app.rollup.worker import RollupWorker
from app.store.database import Database, open_database, plain_url
from energy.interval import SiteCalendar, from_us, to_us
from energy.tce import DEFAULT_CO2_DATASET as DATASET

PLANT = "91445300MA4UXXXX0X"
NEIGHBOUR = "91445300MA4UYYYY0Y"
ZONE = ZoneInfo("Asia/Shanghai")
CALENDAR = SiteCalendar(ZONE)
HOUR_US = 3_600_000_000
QUARTER_US = HOUR_US // 4

ROLLUPS = tuple(f"{whose}_{level}" for whose in ("meter", "enterprise") for level in ("hour", "day", "month", "year"))
# Row by row where reference factors hang on: TRUNCATE … CASCADE would take those with it.
EMPTY = f"""
TRUNCATE reading, touched, held_reading, meter_exchange, meter_multiplier, reading_decision, reading_deletion,
    deleted_reading, restatement, verification, verification_difference, region_closing, {", ".join(ROLLUPS)};
DELETE FROM coal_factor WHERE enterprise IS NOT NULL;
DELETE FROM co2_factor WHERE enterprise IS NOT NULL;
DELETE FROM meter; DELETE FROM gateway; DELETE FROM enterprise
"""
REGIONS = """
INSERT INTO region (code, parent, name_zh, name_en) VALUES
    ('4453', NULL, '云浮市', 'Yunfu'), ('445303', '4453', '云安区', 'Yun''an')
ON CONFLICT (code) DO NOTHING
"""
CARRIERS = """
INSERT INTO carrier (code, name_zh, name_en, unit) VALUES
    ('electricity', '电力', 'electricity', 'kWh'), ('raw_coal', '原煤', 'raw coal', 'kg')
ON CONFLICT (code) DO NOTHING
"""
FACTORS = (
    ("electricity", "equivalent", "0.1229"),
    ("electricity", "equal", "0.3"),
    ("raw_coal", "equivalent", "0.7143"),
    ("raw_coal", "equal", "0.7143"),
)
CO2_FACTORS = (("electricity", "0.4419"), ("raw_coal", "1.9003"))


def at(text: str) -> int:
    """Microseconds of a local time such as 2026-06-30T23:00."""
    return to_us(datetime.fromisoformat(text).replace(tzinfo=ZONE))


@dataclass(frozen=True, slots=True)
class Plant:
    """The database, a connection to look into it, and the address for more of them."""

    database: Database
    sql: asyncpg.Connection
    url: str

    def worker(self) -> RollupWorker:
        return RollupWorker(self.database, CALENDAR, poll_s=0.05, pause_s=0.01)

    async def meter(
        self,
        code: str,
        *,
        enterprise: str = PLANT,
        carrier: str = "electricity",
        kind: str = "register",
        unit: str = "kWh",
        multiplier: str = "1",
        role: str = "purchase",
        rolls_over_at: float | None = None,
        max_rate_per_h: float | None = None,
        expected_interval_s: int = 3600,
    ) -> int:
        """A meter of that kind; answers its number."""
        return int(
            await self.sql.fetchval(
                """INSERT INTO meter (enterprise, code, name, gateway, carrier, kind, unit, multiplier, role,
                                      rolls_over_at, max_rate_per_h, expected_interval_s)
                   VALUES ($1, $2, $2, 'gw-1', $3, $4, $5, $6, $7, $8, $9, $10) RETURNING meter_id""",
                enterprise,
                code,
                carrier,
                kind,
                unit,
                Decimal(multiplier),
                role,
                rolls_over_at,
                max_rate_per_h,
                expected_interval_s,
            )
        )

    async def send(self, meter: int, readings: Iterable[tuple[int, float]], *, quality: int = 0) -> None:
        """New or revised readings (µs, value) and their marks, in one transaction, as ingest does it."""
        listed = list(readings)
        times = [datetime.fromtimestamp(us // 1_000_000, ZONE).replace(microsecond=us % 1_000_000) for us, _ in listed]
        async with self.sql.transaction():
            await self.sql.executemany(
                """INSERT INTO reading (ts, meter_id, value, quality, received_at) VALUES ($1, $2, $3, $4, now())
                   ON CONFLICT (meter_id, ts) DO UPDATE SET value = excluded.value, quality = excluded.quality""",
                [(time, meter, value, quality) for time, (_, value) in zip(times, listed, strict=True)],
            )
            hours = sorted({us // HOUR_US for us, _ in listed})
            await self.sql.execute("INSERT INTO touched (meter_id, hour) VALUES ($1, $2)", [meter] * len(hours), hours)

    async def exchange(self, meter: int, at_us: int, old_final: float, new_initial: float) -> None:
        """On record, with its mark."""
        await self._said(
            """INSERT INTO meter_exchange (meter_id, at, old_final, new_initial, recorded_by)
               VALUES ($1, $2, $3, $4, 'test') ON CONFLICT DO NOTHING""",
            meter,
            at_us,
            [at_us - 1, at_us],
            old_final,
            new_initial,
        )

    async def decide(self, meter: int, at_us: int, says: str, amount: float | None) -> None:
        """What a reading was, on record, with its mark."""
        await self._said(
            """INSERT INTO reading_decision (meter_id, ts, says, amount, reason, decided_by)
               VALUES ($1, $2, $3, $4, 'by hand', 'test') ON CONFLICT DO NOTHING""",
            meter,
            at_us,
            [at_us],
            says,
            amount,
        )

    async def multiply(self, meter: int, since_us: int, multiplier: str, until_us: int) -> None:
        """Another multiplier from then on; marked up to the last reading there may be."""
        await self._said(
            """INSERT INTO meter_multiplier (meter_id, valid_from, multiplier, recorded_by)
               VALUES ($1, $2, $3, 'test') ON CONFLICT DO NOTHING""",
            meter,
            since_us,
            [*range(since_us, until_us, 6 * HOUR_US), until_us],
            Decimal(multiplier),
        )

    async def revoke(self, meter: int, until_us: int) -> None:
        """All that is on record of the meter, and the marks of what that touches."""
        async with self.sql.transaction():
            for table, moment in (
                ("meter_exchange", "at"),
                ("reading_decision", "ts"),
                ("meter_multiplier", "valid_from"),
            ):
                times = await self.sql.fetch(
                    f"UPDATE {table} SET revoked_at = now(), revoked_by = 'test' "
                    f"WHERE meter_id = $1 AND revoked_at IS NULL RETURNING {moment}",
                    meter,
                )
                for since_us in (to_us(row[0]) for row in times):
                    ends = (
                        [*range(since_us, until_us, 6 * HOUR_US), until_us]
                        if table == "meter_multiplier"
                        else [since_us - 1, since_us]
                    )
                    await self._mark(meter, ends)

    async def delete(self, meter: int, from_us: int, to_us: int) -> None:
        """Readings of a range, and their marks."""
        async with self.sql.transaction():
            gone = await self.sql.fetch(
                """DELETE FROM reading WHERE meter_id = $1 AND extract(epoch FROM ts) * 1000000 BETWEEN $2 AND $3
                   RETURNING (extract(epoch FROM ts) * 1000000)::bigint""",
                meter,
                from_us,
                to_us,
            )
            await self._mark(meter, [row[0] for row in gone])

    async def _said(self, statement: str, meter: int, at_us: int, marks_us: Sequence[int], *values: object) -> None:
        async with self.sql.transaction():
            await self.sql.execute(statement, meter, from_us(at_us), *values)
            await self._mark(meter, marks_us)

    async def _mark(self, meter: int, marks_us: Sequence[int]) -> None:
        hours = [us // HOUR_US for us in marks_us]
        if hours:
            await self.sql.execute("INSERT INTO touched (meter_id, hour) VALUES ($1, $2)", [meter] * len(hours), hours)

    async def mark_whole(self, *meters: int) -> None:
        await self.sql.execute("INSERT INTO touched (meter_id) VALUES ($1)", list(meters))

    async def figures(self, whose: str, level: str, **where: object) -> list[asyncpg.Record]:
        """Rows of a rollup table in order of time."""
        asked = " AND ".join(f"{name} = ${i}" for i, name in enumerate(where, 1)) or "true"
        return list(
            await self.sql.fetch(f"SELECT * FROM {whose}_{level} WHERE {asked} ORDER BY start", *where.values())
        )

    async def everything(self) -> dict[str, list[tuple[object, ...]]]:
        """All that rollups write, comparable as a whole."""
        tables = (*ROLLUPS, "held_reading")
        return {
            name: sorted((tuple(row) for row in await self.sql.fetch(f"SELECT * FROM {name}")), key=repr)
            for name in tables
        }


@asynccontextmanager
async def a_plant(database_url: str) -> AsyncIterator[Plant]:
    """Two enterprises without meters, the factors above and nothing else."""
    sql = await asyncpg.connect(plain_url(database_url))
    try:
        await sql.execute(EMPTY)
        await sql.execute(REGIONS)
        await sql.execute(CARRIERS)
        for enterprise in (PLANT, NEIGHBOUR):
            await sql.execute(
                "INSERT INTO enterprise (id, name, region, industry) VALUES ($1, $1, '445303', '3011')", enterprise
            )
            await set_factors(sql, enterprise)
        await sql.execute(
            "INSERT INTO gateway (id, enterprise, name, secret_sha256) VALUES ('gw-1', $1, 'one', '')", PLANT
        )
        async with open_database(database_url, pool_size=4) as database:
            yield Plant(database, sql, plain_url(database_url))
    finally:
        await sql.close()


async def set_factors(sql: asyncpg.Connection, enterprise: str) -> None:
    """The factors above as the enterprise's own, which come before every default."""
    for carrier, basis, kgce in FACTORS:
        await set_factor(sql, enterprise, carrier, basis, kgce, date(1990, 1, 1))
    for carrier, kgco2 in CO2_FACTORS:
        await sql.execute(
            """INSERT INTO co2_factor (carrier, kgco2_per_unit, dataset, valid_from, enterprise, source, verified)
               VALUES ($1, $2, $3, '1990-01-01', $4, 'by hand', true)""",
            carrier,
            Decimal(kgco2),
            DATASET,
            enterprise,
        )


async def set_factor(
    sql: asyncpg.Connection, enterprise: str, carrier: str, basis: str, kgce: str, since: date
) -> None:
    """From that day on this factor; the one before ends there."""
    await sql.execute(
        """UPDATE coal_factor SET valid_to = $4
           WHERE enterprise = $1 AND carrier = $2 AND basis = $3 AND valid_to IS NULL""",
        enterprise,
        carrier,
        basis,
        since,
    )
    await sql.execute(
        """INSERT INTO coal_factor
               (carrier, basis, kgce_per_unit, valid_from, enterprise, edition, source, verified)
           VALUES ($1, $2, $3, $4, $5, 'test', 'by hand', true)""",
        carrier,
        basis,
        Decimal(kgce),
        since,
        enterprise,
    )


def hourly(start: str, values: Sequence[float]) -> list[tuple[int, float]]:
    """Readings an hour apart from a local time on."""
    first = at(start)
    return [(first + i * HOUR_US, value) for i, value in enumerate(values)]
