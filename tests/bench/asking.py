"""The API with a year of 4,000 enterprises behind it, asked 50 times a second, beside /healthz in the same run.

The overview is asked twice: while nothing changes, and while every second the figures of a hundred enterprises do.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg
import httpx2

from app.store.access import create_token
from app.store.credit_code import check_character
from app.store.database import open_database, plain_url
from tests.bench.figures import Sheet, p99

ENTERPRISES = 4_000
DISTRICTS = ("445302", "445303", "445321", "445322", "445381")
PER_S = 50
CARRIERS = ("electricity", "raw_coal")
MONTHS = 12
SECONDS = 10
YEAR_OF_DAYS = "enterprises/{enterprise}/energy?from=2025-12-01&to=2026-12-01&interval=P1D&by=total"
QUESTIONS = {
    "api_overview": "regions/4453/overview",
    "api_overview_moving": "regions/4453/overview",
    "api_list": "enterprises?sort=-tce&limit=100",
    "api_year_of_days": YEAR_OF_DAYS,
}


def enterprise_ids(count: int) -> list[str]:
    bodies = [f"91{DISTRICTS[n % len(DISTRICTS)]}MA5{n:06}" for n in range(count)]
    return [body + check_character(body) for body in bodies]


MOVING = "api_overview_moving"
CHANGE = """
UPDATE enterprise_{level} SET quantity = quantity + 1, tce_equivalent = tce_equivalent + 1
WHERE enterprise = ANY ($1::text[]) AND start = $2::text::timestamptz
"""
CHANGED = {"month": "2026-11-01T00:00+08:00", "year": "2026-01-01T00:00+08:00"}
REGISTRY = (
    """INSERT INTO enterprise (id, name, region, industry)
       SELECT id, 'enterprise ' || n, ($2::text[])[n % 5 + 1], '3011'
       FROM unnest($1::text[]) WITH ORDINALITY AS told (id, n)""",
    """INSERT INTO gateway (id, enterprise, name, secret_sha256, last_data_at)
       SELECT 'gw-' || n, id, 'gateway', sha256(id::bytea), now()
       FROM unnest($1::text[]) WITH ORDINALITY AS told (id, n) WHERE $2::text[] IS NOT NULL""",
    """INSERT INTO meter (enterprise, code, name, gateway, carrier, kind, unit, role, first_at)
       SELECT id, 'M' || place, 'meter', 'gw-' || n, carrier, 'register', carrier.unit, 'purchase', '2025-01-01T00:00Z'
       FROM unnest($1::text[]) WITH ORDINALITY AS told (id, n),
            unnest($2::text[]) WITH ORDINALITY AS used (carrier, place) JOIN carrier ON carrier.code = used.carrier""",
)
ROLLUP = """
INSERT INTO enterprise_{level} (enterprise, carrier, start, quantity, quantity_net, tce_equivalent, tce_equivalent_net,
    tce_equal, tce_equal_net, tco2, tco2_net, measured_us, estimated_us)
SELECT id, carrier, start, q, q, q * 0.0001229, q * 0.0001229, q * 0.000285, q * 0.000285, q * 0.0004419, q * 0.0004419,
       {span}::bigint * 1000000, 0
FROM unnest($1::text[]) WITH ORDINALITY AS told (id, n), unnest($2::text[]) AS used (carrier),
     generate_series('2025-01-01T00:00+08:00'::timestamptz, '2026-12-01T00:00+08:00', interval '1 {level}') AS start,
     LATERAL (SELECT ((n * 7919 + extract(epoch FROM start)::bigint / 86400) % 100000)::numeric / 8 AS q) AS figure
WHERE start >= $3::text::timestamptz
"""
SPANS = {"year": 31_536_000, "month": 2_592_000, "day": 86_400}
SINCE = {"year": "2025-01-01T00:00+08:00", "month": "2025-12-01T00:00+08:00", "day": "2025-12-01T00:00+08:00"}


async def found_year(sql: asyncpg.Connection, count: int = ENTERPRISES) -> list[str]:
    """Enterprises, each with a gateway and two meters, and their rollups of a year by day, month and year."""
    ids = enterprise_ids(count)
    await sql.execute("SET timezone = 'Asia/Shanghai'")
    await sql.execute(REGISTRY[0], ids, list(DISTRICTS))
    await sql.execute(REGISTRY[1], ids, [])
    await sql.execute(REGISTRY[2], ids, list(CARRIERS))
    for level, span_s in SPANS.items():
        await sql.execute(ROLLUP.format(level=level, span=span_s), ids, list(CARRIERS), SINCE[level])
    await sql.execute("ANALYZE")
    return ids


@dataclass(frozen=True, slots=True)
class Asker:
    """Asks one question so many times a second, each at its time whether or not the one before has been answered."""

    client: httpx2.AsyncClient

    async def delays_ms(self, addresses: Sequence[str]) -> list[float]:
        """Milliseconds from when each question was due until its answer was there."""
        begins = time.perf_counter() + 0.1
        return list(await asyncio.gather(*(self._one(begins + n / PER_S, one) for n, one in enumerate(addresses))))

    async def _one(self, due_s: float, address: str) -> float:
        await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
        answer = await self.client.get(address)
        if answer.status_code != 200:
            raise AssertionError(f"{address} answered {answer.status_code}: {answer.text[:300]}")
        return 1000 * (time.perf_counter() - due_s)


@asynccontextmanager
async def figures_moving(database_url: str, ids: Sequence[str], *, moving: bool) -> AsyncIterator[None]:
    """Meanwhile every second other enterprises' month and year change, as they do under a rollup."""
    if not moving:
        yield
        return
    over = asyncio.Event()

    async def move() -> None:
        sql = await asyncpg.connect(plain_url(database_url))
        for second in itertools.count():
            some = [ids[(second * 100 + n) % len(ids)] for n in range(100)]
            async with sql.transaction():
                for level, start in CHANGED.items():
                    await sql.execute(CHANGE.format(level=level), some, start)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), 1.0)
            if over.is_set():
                break
        await sql.close()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(move())
        yield
        over.set()


async def measure_api(database_url: str, url: str, ids: Sequence[str], token: str, sheet: Sheet) -> None:
    """Each question for some seconds, with /healthz before each as its yardstick."""
    headers = {"Authorization": f"Bearer {token}"}
    limits = httpx2.Limits(max_connections=20, max_keepalive_connections=20)
    count = PER_S * SECONDS
    async with httpx2.AsyncClient(base_url=url, headers=headers, limits=limits, timeout=30) as client:
        asker = Asker(client)
        for key, question in QUESTIONS.items():
            addresses = [f"/api/v1/{question.format(enterprise=ids[n * 37 % len(ids)])}" for n in range(count)]
            alive = await asker.delays_ms(["/healthz"] * (count // 2))
            async with figures_moving(database_url, ids, moving=key == MOVING):
                await asker.delays_ms(addresses[:5])
                delays = await asker.delays_ms(addresses)
            sheet.note(f"{key}_p50_ms", sorted(delays)[len(delays) // 2])
            sheet.note(f"{key}_p99_ms", p99(delays))
            sheet.note(f"{key}_p99_ratio", p99(delays) / p99(alive))
            sheet.note("healthz_p99_ms", p99(alive))


async def a_token(database_url: str) -> str:
    async with open_database(database_url, pool_size=1) as database:
        return await create_token(database, role="supervisor", scope="4453", name="bench")
