"""How long it takes to evaluate every budget of a province: months and days read in bulk, projected, kept."""

from __future__ import annotations

import resource
import time
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import asyncpg

from alerts.engine import AlertEngine, Schedule
from app.store.alerts import StoredAlerts
from app.store.database import open_database
from app.store.outlooks import StoredPositions
from app.store.positions import evaluate, keep
from energy.interval import SiteCalendar
from tests.bench.figures import Sheet

ENTERPRISES = 10_000
BUDGETS_EACH = 3
AS_OF = date(2026, 11, 23)
CALENDAR = SiteCalendar(ZoneInfo("Asia/Shanghai"))
REGISTRY = (
    """
INSERT INTO enterprise (id, name, region, industry, contacts)
SELECT 'A' || lpad(i::text, 17, '0'), 'x', (SELECT min(code) FROM region), '3011',
    jsonb_build_array(jsonb_build_object('name', 'x', 'email', i || '@example.com', 'language', 'zh-CN'))
FROM generate_series(1, $1::int) AS i""",
    """
INSERT INTO gateway (id, enterprise, name, secret_sha256) SELECT 'g' || id, id, 'g', 'x' FROM enterprise""",
    """
INSERT INTO meter (enterprise, code, name, gateway, carrier, kind, unit, role, first_at)
SELECT id, 'E' || k, 'm', 'g' || id, 'electricity', 'register', 'kWh', 'purchase', '2022-12-20'
FROM enterprise, generate_series(1, 2) AS k""",
    """
INSERT INTO budget_revision (enterprise, year, basis, revision, amount, monthly, plan_source, reason, state, entered_by,
    decided_by, decided_at)
SELECT id, 2026, basis, 1, 3700 * (0.95 + random() * 0.15), array_fill(300::numeric, ARRAY[12]), 'even', 'x',
    'approved', 'x', 'x', now() FROM enterprise, unnest(ARRAY['equivalent', 'equal', 'co2']) AS basis""",
)
DAYS = ((date(2025, 10, 15), date(2025, 12, 15)), (date(2026, 9, 1), date(2026, 11, 22)))
"""The days that an evaluation looks at, and more: the last weeks, and what they are compared with a year before."""
READINGS = """
INSERT INTO reading (ts, meter_id, value, quality, received_at)
SELECT at AT TIME ZONE 'Asia/Shanghai', meter_id, 0, 0, at AT TIME ZONE 'Asia/Shanghai'
FROM meter, generate_series('2026-11-13 05:00'::timestamp, '2026-11-23 05:00'::timestamp, '1 day') AS at
"""
FIGURES = """
INSERT INTO enterprise_{level} (enterprise, carrier, start, quantity, quantity_net, tce_equivalent, tce_equivalent_net,
    tce_equal, tce_equal_net, tco2, tco2_net, measured_us, estimated_us)
SELECT enterprise.id, carrier, at AT TIME ZONE 'Asia/Shanghai', q, q, q, q, q, q, q, q,
    CASE carrier WHEN 'electricity' THEN 2 * extract(epoch FROM at + interval '1 {level}' - at) * 1000000 ELSE 0 END, 0
FROM enterprise, unnest(ARRAY['electricity', 'raw_coal', 'natural_gas']) AS carrier,
    generate_series($1::timestamp, $2::timestamp, '1 {level}') AS at,
    LATERAL (SELECT ({tonnes} * (1 + sin(extract(month FROM at)) / 10 + random() / 50))::numeric(20, 6) AS q) AS it
"""


async def many_budgets(database_url: str, enterprises: int = ENTERPRISES) -> None:
    """Four years of months and the days that an evaluation looks at, of three carriers; everybody is heard of."""
    async with open_database(database_url, pool_size=2) as database:
        pool: asyncpg.Pool = database.pool
        await pool.execute(REGISTRY[0], enterprises)
        for statement in REGISTRY[1:]:
            await pool.execute(statement)
        spans = [("month", date(2023, 1, 1), AS_OF, 100), *(("day", first, last, 3.3) for first, last in DAYS)]
        for level, first, last, tonnes in spans:
            bounds = (datetime(day.year, day.month, day.day) for day in (first, last))  # noqa: DTZ001  # local by definition
            await pool.execute(FIGURES.format(level=level, tonnes=tonnes), *bounds)
        await pool.execute(READINGS)
        await pool.execute("ANALYZE")


async def measure_positions(database_url: str, sheet: Sheet, enterprises: int = ENTERPRISES) -> None:
    async with open_database(database_url, pool_size=2) as database:
        started = time.perf_counter()
        count = 0
        async for found in evaluate(database.pool, CALENDAR, year=2026, as_of_us=CALENDAR.date_start_us(AS_OF)):
            async with database.pool.acquire() as connection, connection.transaction():
                await keep(connection, found, datetime.now(UTC))
            count += len(found)
        assert count == BUDGETS_EACH * enterprises
        sheet.note("positions_10k_s", time.perf_counter() - started)


async def measure_night(database_url: str, sheet: Sheet, enterprises: int = ENTERPRISES) -> None:
    """A whole evaluation as the engine does it each night: read, judged, history and notices written, grouped."""
    now = datetime(2026, 11, 23, 5, 30, tzinfo=CALENDAR.zone)
    async with open_database(database_url, pool_size=4) as database:
        source = StoredPositions(database.pool, CALENDAR)
        book = StoredAlerts(database.pool, domain="bench.example", zone=CALENDAR.zone)
        engine = AlertEngine(source, book, Schedule(CALENDAR.zone), clock=lambda: now)
        started = time.perf_counter()
        evaluated, _ = await engine.evaluate(AS_OF, why="asked", tell=True)
        seconds = time.perf_counter() - started
        assert evaluated == (BUDGETS_EACH + 1) * enterprises, "three budgets and the data of each"
        late = await database.pool.fetchval("SELECT count(*) FROM alert WHERE kind = 'data' OR data <> 'ok'")
        waiting = await database.pool.fetchval("SELECT count(*) FROM alert WHERE kind = 'trend'")
        assert late == 0 < waiting, "everybody is heard of, and some are on the way to exceed their budget"
        sheet.note("alerts_evaluate_10k_s", seconds)
        peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        sheet.note("alerts_evaluate_peak_mb", peak_kb / 1024)
