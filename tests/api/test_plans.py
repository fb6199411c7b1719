"""What the routes of figures ask of the database, planned over years of data as the API's own role.

Every statement of a request is caught on its way and explained with the caller's scope: no table of readings or rollups
is read from end to end, and no chunk is touched that lies outside of the range asked for.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg
import pytest
from sqlalchemy import event

from app.store.scope import Scope, asked_by
from tests.api.a_service import CITY, OWN_REGION, Api, an_api
from tests.bench.asking import CARRIERS, DISTRICTS, REGISTRY, ROLLUP, SPANS, enterprise_ids

COUNT = 300
SINCE = {"year": "2001-01-01T00:00+08:00", "month": "2019-01-01T00:00+08:00", "day": "2025-10-01T00:00+08:00"}
HOURS_OF = 5
"""So many enterprises have hours, and their meters too: a year of them, in chunks of 90 days."""
FROM, TO = "2026-10-05", "2026-10-12"
TIMED = ("reading", *(f"{whose}_{level}" for whose in ("meter", "enterprise") for level in ("hour", *SPANS)))
HOURS = """
INSERT INTO {whose}_hour ({key}, start, quantity, tce_equivalent, tce_equal, tco2, measured_us, estimated_us {more})
SELECT {told}, start, 1, 1, 1, 1, 3600000000, 0 {ones}
FROM {source},
     generate_series('2025-11-01T00:00+08:00'::timestamptz, '2026-11-01T00:00+08:00', interval '1 hour') AS start
"""
ALIKE = ("quantity_net", "tce_equivalent_net", "tce_equal_net", "tco2_net")


@dataclass(frozen=True, slots=True)
class Question:
    """One statement as it went to the server."""

    text: str
    values: tuple[Any, ...]

    @property
    def reads(self) -> bool:
        """Whether it asks for rows; not what tells the server of a caller, and makes a connection as new again."""
        own = "set_config" in self.text or "pg_advisory_unlock_all" in self.text
        return self.text.lstrip().upper().startswith(("SELECT", "WITH")) and not own


@asynccontextmanager
async def listening(api: Api, pool_heard: list[Question]) -> AsyncIterator[list[Question]]:
    """What both ways to the guarded database are asked meanwhile."""
    heard: list[Question] = []

    def hear(_: Any, __: Any, statement: str, values: Any, *___: Any) -> None:
        heard.append(Question(statement, tuple(values)))

    engine = api.guarded.engine.sync_engine
    event.listen(engine, "before_cursor_execute", hear)
    pool_heard.clear()
    yield heard
    event.remove(engine, "before_cursor_execute", hear)
    heard += pool_heard


@pytest.fixture
def pool_heard(monkeypatch: pytest.MonkeyPatch) -> list[Question]:
    """What the guarded pool hears, which is the one that is set up for each who asks."""
    heard: list[Question] = []

    async def watch(connection: asyncpg.Connection) -> None:
        connection.add_query_logger(lambda one: heard.append(Question(one.query, tuple(one.args))))

    opens = asyncpg.create_pool

    def opened(*args: Any, setup: Any = None, **more: Any) -> Any:
        return opens(*args, setup=setup, init=None if setup is None else watch, **more)

    monkeypatch.setattr(asyncpg, "create_pool", opened)
    return heard


@pytest.fixture
async def years(database_url: str, pool_heard: list[Question]) -> AsyncIterator[tuple[Api, list[str]]]:
    async with an_api(database_url) as api:
        yield api, await found_years(api)


async def found_years(api: Api) -> list[str]:
    ids = enterprise_ids(COUNT)
    async with api.database.pool.acquire() as sql:
        await sql.execute("SET timezone = 'Asia/Shanghai'")
        for statement, more in zip(REGISTRY, (list(DISTRICTS), [], list(CARRIERS)), strict=True):
            await sql.execute(statement, ids, more)
        for level, span_s in SPANS.items():
            await sql.execute(ROLLUP.format(level=level, span=span_s), ids, list(CARRIERS), SINCE[level])
        of_enterprises = {
            "whose": "enterprise",
            "key": "enterprise, carrier",
            "told": "id, 'electricity'",
            "source": "unnest($1::text[]) AS told (id)",
            "more": "".join(f", {name}" for name in ALIKE),
            "ones": ", 1" * len(ALIKE),
        }
        source = "(SELECT meter_id FROM meter WHERE enterprise = ANY ($1::text[])) AS told"
        of_meters = {"whose": "meter", "key": "meter_id", "told": "meter_id", "source": source, "more": "", "ones": ""}
        for words in (of_enterprises, of_meters):
            await sql.execute(HOURS.format(**words), ids[:HOURS_OF])
        await sql.execute("ANALYZE")
    return ids


QUESTIONS = {
    "regions/{region}/overview": "enterprise_month",
    "enterprises?sort=-tce&limit=20": "enterprise_rank",
    "enterprises/{one}/energy?from=2025-12-01&to=2026-11-01&interval=P1D&by=total": "enterprise_day",
    "enterprises/{one}/energy?from=2025-12-01&to=2026-11-01&interval=P1D&by=carrier": "enterprise_day",
    "enterprises/{one}/energy?from=2020&to=2026&interval=P1M&by=total": "enterprise_month",
    f"enterprises/{{one}}/energy?from={FROM}&to={TO}&interval=PT1H&by=total": "enterprise_hour",
    f"enterprises/{{one}}/energy?from={FROM}&to={TO}&interval=PT1H&by=meter": "meter_hour",
}
"""Each with the table that its figures come from."""
SCOPES = {"admin": Scope("admin", region=CITY), "supervisor": Scope("supervisor", region=OWN_REGION)}


async def test_no_figure_is_found_by_reading_a_table_through(
    years: tuple[Api, list[str]], pool_heard: list[Question]
) -> None:
    api, ids = years
    seen = "SELECT id FROM enterprise WHERE region = $1 AND id = ANY ($2::text[])"
    ((mine,),) = await api.sql(seen, OWN_REGION, ids[:HOURS_OF])
    faults: list[str] = []
    for question, table in QUESTIONS.items():
        for role, scope in SCOPES.items():
            path = question.format(one=mine, region=scope.region)
            async with listening(api, pool_heard) as heard:
                answer = await api.get(path, role=role)
            assert answer.status_code == 200, answer.text
            read: set[str] = set()
            for asked in heard:
                if asked.reads:
                    faults += [f"{role} {path}: {fault}" for fault in await looked_into(api, scope, asked, read)]
            assert table in read, f"{path} came from {sorted(read)}"
    assert faults == []


async def looked_into(api: Api, scope: Scope, asked: Question, read: set[str]) -> list[str]:
    """What is wrong with a statement's plan; adds the tables that it read."""
    with asked_by(scope):
        async with api.guarded.pool.acquire() as connection:
            plan = await connection.fetchval(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {asked.text}", *asked.values)
    rows = await api.sql(
        "SELECT chunk_name, hypertable_name, range_start, range_end FROM timescaledb_information.chunks"
    )
    chunks = {row[0]: row[1:] for row in rows}
    faults = []
    for node in nodes(json.loads(plan)[0]["Plan"]):
        relation = node.get("Relation Name", "")
        table, begins, ends = chunks.get(relation, (relation, None, None))
        if not node.get("Actual Loops") or table not in (*TIMED, "enterprise_rank"):
            continue
        read.add(table)
        if node["Node Type"] == "Seq Scan":
            faults.append(f"{table} is read through: {asked.text}")
        if begins is not None and not (begins < moment(TO) and ends > moment(FROM)):
            faults.append(f"chunk {relation} of {begins} is outside: {asked.text}")
    return faults


def moment(day: str) -> datetime:
    return datetime.fromisoformat(f"{day}T00:00:00+08:00")


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)


async def test_a_table_that_is_read_through_would_be_found(
    years: tuple[Api, list[str]], pool_heard: list[Question]
) -> None:
    api, _ = years
    through = Question("SELECT sum(quantity) FROM enterprise_day WHERE tce_equivalent > $1", (0,))
    assert len(await looked_into(api, SCOPES["admin"], through, set())) == 1
    everywhere = Question("SELECT count(*) FROM meter_hour WHERE meter_id > $1", (0,))
    assert any("is outside" in fault for fault in await looked_into(api, SCOPES["admin"], everywhere, set()))
