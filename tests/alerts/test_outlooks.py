"""Positions from the tables: what budgets, figures and readings come to, and that a night over them is whole."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import asyncpg
import pytest

from alerts.evaluate import BudgetPosition, DataPosition, IntegrityPosition, MeterPosition, trend
from alerts.rule import DEFAULTS
from alerts.states import Data
from app.store.database import plain_url
from app.store.outlooks import Outage, StoredPositions
from energy.interval import SiteCalendar
from tests.alerts.an_outbox import CONTACTS, EMPTY, ENTERPRISE, REGION

ZONE = ZoneInfo("Asia/Shanghai")
DAY = date(2026, 7, 20)
NOW = datetime(2026, 7, 20, 5, 30, tzinfo=ZONE)
HOUR_US = 3_600_000_000


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(plain_url(database_url), min_size=1, max_size=4) as pool:
        await pool.execute(f"{EMPTY}, budget_position, budget_standing, reading, touched CASCADE")
        await pool.execute("TRUNCATE enterprise, gateway, meter, enterprise_day, enterprise_month CASCADE")
        await pool.execute(
            "INSERT INTO enterprise (id, name, region, industry, contacts) VALUES ($1, '云安示范水泥', $2, '3011', $3)",
            ENTERPRISE,
            REGION,
            json.dumps(CONTACTS),
        )
        await pool.execute(
            "INSERT INTO gateway (id, enterprise, name, secret_sha256) VALUES ('gw-1', $1, 'gw', 'x')", ENTERPRISE
        )
        await pool.execute(
            """INSERT INTO meter (enterprise, code, name, gateway, carrier, kind, unit, role, expected_interval_s,
                   first_at, created_at, calibrated_until)
               VALUES ($1, 'E001', 'total', 'gw-1', 'electricity', 'register', 'kWh', 'purchase', 3600, $2, $2, $3)""",
            ENTERPRISE,
            datetime(2025, 1, 1, tzinfo=ZONE),
            date(2026, 8, 10),
        )
        for year in (2025, 2026):
            await days(pool, year, Decimal(3 if year == 2025 else 4))
        await newest(pool, NOW - timedelta(minutes=40))
        yield pool


async def days(pool: asyncpg.Pool, year: int, tce: Decimal) -> None:
    """The same figure every day, as days and months."""
    for level in ("day", "month"):
        await pool.execute(
            f"""INSERT INTO enterprise_{level} (enterprise, carrier, start, quantity, quantity_net, tce_equivalent,
                    tce_equivalent_net, tce_equal, tce_equal_net, tco2, tco2_net, measured_us, estimated_us, held)
                SELECT $1, 'electricity', date_trunc('{level}', day) AT TIME ZONE 'Asia/Shanghai', sum($2::numeric),
                    sum($2::numeric), sum($2::numeric), sum($2::numeric), sum($2::numeric), sum($2::numeric),
                    sum($2::numeric), sum($2::numeric), sum(23 * 3600000000), sum(3600000000), 0
                FROM generate_series($3::timestamp, $4::timestamp, '1 day') AS day GROUP BY 3""",
            ENTERPRISE,
            tce,
            datetime(year, 1, 1),  # noqa: DTZ001  # a local day
            min(datetime(year, 12, 31), datetime(2026, 7, 19)),  # noqa: DTZ001  # a local day
        )


async def newest(pool: asyncpg.Pool, at: datetime) -> None:
    await pool.execute("TRUNCATE reading")
    await pool.execute(
        "INSERT INTO reading (ts, meter_id, value, quality, received_at) SELECT $1, meter_id, 1, 0, $1 FROM meter", at
    )


async def budget(pool: asyncpg.Pool, amount: int, revision: int = 1) -> None:
    await pool.execute(
        """INSERT INTO budget_revision (enterprise, year, basis, revision, amount, monthly, plan_source, reason, state,
               entered_by, decided_by, decided_at)
           VALUES ($1, 2026, 'equivalent', $3, $2::numeric, $4, 'even', 'test', 'approved', 'test', 'test', now())""",
        ENTERPRISE,
        Decimal(amount),
        revision,
        [Decimal(amount) / 12] * 12,
    )


async def positions(pool: asyncpg.Pool, now: datetime = NOW, day: date = DAY) -> list[object]:
    source = StoredPositions(pool, SiteCalendar(ZONE))
    return [one async for group in source.positions(day, now) for one in group]


async def test_a_budget_stands_where_its_figures_and_readings_put_it(pool: asyncpg.Pool) -> None:
    await budget(pool, 1200)
    (found,) = [one for one in await positions(pool) if isinstance(one, BudgetPosition)]
    assert (found.enterprise, found.region, found.year, found.basis) == (ENTERPRISE, REGION, 2026, "equivalent")
    assert (found.spent, found.budget, found.revision) == (Decimal(800), Decimal(1200), 1)
    assert found.spent_measured == pytest.approx(Decimal(800) * 23 / 24)
    assert [found.cover30, found.estimated30] == pytest.approx([23 / 24, 1 / 24])
    assert found.p_over is not None
    assert found.p_over > 0.95
    used = {month.month: month.used for month in found.months}
    assert used == {
        1: Decimal(124),
        2: Decimal(112),
        3: Decimal(124),
        4: Decimal(120),
        5: Decimal(124),
        6: Decimal(120),
    }
    assert (len(found.plan), found.late_s, found.as_of.isoformat()) == (12, 0.0, "2026-07-20T00:00:00+08:00")
    kept = await pool.fetchrow("SELECT overrun_probability FROM budget_position")
    assert kept is not None
    assert kept[0] == found.p_over


async def test_a_plant_that_was_connected_in_the_middle_of_the_year_says_what_is_assumed(pool: asyncpg.Pool) -> None:
    """First heard of on 21 May: 140 of 200 days were not measured, and 4 t a day are assumed for each."""
    await budget(pool, 1200)
    late = datetime(2026, 5, 21, tzinfo=ZONE)
    await pool.execute("DELETE FROM enterprise_day WHERE start < $1", late)
    await pool.execute("DELETE FROM enterprise_month WHERE start < $1", datetime(2026, 5, 1, tzinfo=ZONE))
    await pool.execute(
        """UPDATE enterprise_month SET (tce_equivalent_net, measured_us, estimated_us)
               = (44, 11 * 23 * 3600000000::bigint, 11 * 3600000000::bigint) WHERE start = $1""",
        datetime(2026, 5, 1, tzinfo=ZONE),
    )
    await pool.execute("UPDATE meter SET first_at = $1", late)
    (found,) = [one for one in await positions(pool) if isinstance(one, BudgetPosition)]
    assert (found.spent, found.measured_from) == (Decimal(240), date(2026, 5, 21))
    assert found.unmeasured_days == pytest.approx(140)
    assert found.unmeasured_share == pytest.approx(0.7)
    assert found.projected is not None
    assert 0 < found.assumed < found.projected - 240
    kept = await pool.fetchrow("SELECT unmeasured_days, assumed FROM budget_position")
    assert kept is not None
    assert tuple(kept) == (found.unmeasured_days, found.assumed)
    assert trend(DEFAULTS, found).data is Data.MISSING


async def test_a_feed_that_stopped_is_late_and_the_outage_of_the_service_is_not_its_fault(pool: asyncpg.Pool) -> None:
    await newest(pool, NOW - timedelta(days=8))
    (found,) = [one for one in await positions(pool) if isinstance(one, DataPosition)]
    assert (found.late_s, found.worst_meter, found.last_at) == (8 * 86_400 - 3600, "E001", NOW - timedelta(days=8))
    source = StoredPositions(pool, SiteCalendar(ZONE))
    source.outage = Outage(NOW - timedelta(days=8), NOW - timedelta(hours=1))
    group = [one async for group in source.positions(DAY, NOW) for one in group]
    (found,) = [one for one in group if isinstance(one, DataPosition)]
    assert found.late_s == 0.0


async def test_a_past_day_is_seen_with_the_readings_of_its_morning(pool: asyncpg.Pool) -> None:
    await budget(pool, 1200)
    later = await positions(pool, now=NOW + timedelta(days=40))
    assert [one.late_s for one in later if isinstance(one, DataPosition)] == [0.0]
    (found,) = [one for one in later if isinstance(one, BudgetPosition)]
    assert found.spent == 800


async def test_a_calibration_that_lapses_is_seen(pool: asyncpg.Pool) -> None:
    (found,) = [one for one in await positions(pool) if isinstance(one, MeterPosition)]
    assert (found.meter, found.calibrated_until) == ("E001", date(2026, 8, 10))


async def test_revised_budgets_are_found(pool: asyncpg.Pool) -> None:
    source = StoredPositions(pool, SiteCalendar(ZONE))
    before = await pool.fetchval("SELECT clock_timestamp()")
    assert await source.revised_since(before) == []
    await budget(pool, 1200)
    await budget(pool, 1300, revision=2)
    assert await source.revised_since(before) == [ENTERPRISE]
    (found,) = [one for one in await positions(pool) if isinstance(one, BudgetPosition)]
    assert (found.budget, found.revision) == (Decimal(1300), 2)


async def test_what_the_nightly_verification_found_is_seen_until_it_is_gone(pool: asyncpg.Pool) -> None:
    await pool.execute(
        """WITH night AS (INSERT INTO verification (night, started_at, seed, asked) VALUES ($2, now(), 1, 1)
               RETURNING verification_id)
           INSERT INTO verification_difference (verification_id, enterprise, table_name, key, start, column_name,
               stored, expected)
           SELECT verification_id, $1, 'meter_day', 'E001', now(), 'quantity', '1', '2' FROM night""",
        ENTERPRISE,
        DAY,
    )
    assert [one.differences for one in await positions(pool) if isinstance(one, IntegrityPosition)] == [1]
    earlier = await positions(pool, now=NOW + timedelta(days=3))
    assert [one for one in earlier if isinstance(one, IntegrityPosition)] == []
