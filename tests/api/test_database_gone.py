"""The database goes away and comes back: 503 meanwhile, and nobody has to start the service again."""

from __future__ import annotations

from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy.ext.asyncio import create_async_engine

from app.store.database import Database
from ingest.metrics import IngestMetrics
from tests.api.a_service import CITY, OWN, Api, is_problem

NOWHERE = "postgresql+asyncpg://nobody:hunter2@127.0.0.1:1/nothing"
ENERGY = f"enterprises/{OWN}/energy?from=2026-11-01&to=2026-11-02"
OTHERS = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""


@pytest.mark.parametrize("path", ["enterprises", ENERGY, f"regions/{CITY}/overview", "audit", "factors"])
async def test_without_a_database_every_question_is_a_503(api: Api, path: str) -> None:
    engine = create_async_engine(NOWHERE)
    api.app.state.deps = replace(api.app.state.deps, database=Database(engine, api.guarded.pool))
    answer = await api.get(path, headers={"accept-language": "zh-CN"})
    body = is_problem(answer, 503, "database-unavailable")
    assert body["title"] == "数据库不可用"
    assert answer.headers["retry-after"]
    assert "hunter2" not in answer.text
    await engine.dispose()


@pytest.mark.parametrize("path", [ENERGY, f"regions/{CITY}/overview", "enterprises?sort=-tce"])
async def test_without_the_second_way_to_the_database_figures_are_a_503(api: Api, path: str) -> None:
    await api.guarded.pool.close()
    is_problem(await api.get(path), 503, "database-unavailable")
    assert (await api.get("enterprises")).status_code == 200


@pytest.mark.parametrize("path", ["enterprises", ENERGY])
async def test_connections_that_were_cut_are_replaced(api: Api, path: str) -> None:
    assert (await api.get(path)).status_code == 200
    async with api.database.pool.acquire() as connection:
        await connection.fetchval(OTHERS)
    answers = [(await api.get(path)).status_code for _ in range(4)]
    assert set(answers) <= {200, 503}
    assert answers[-1] == 200


async def test_metrics_and_health_tell_no_secret(api: Api) -> None:
    metrics = CollectorRegistry()
    IngestMetrics(metrics)
    api.app.state.deps = replace(api.app.state.deps, metrics=metrics)
    answers = [await api.ask("GET", path, role=None) for path in ("/metrics", "/readyz", "/healthz")]
    assert [answer.status_code for answer in answers] == [200] * 3
    whole = "".join(answer.text for answer in answers)
    assert "# HELP" in whole
    for secret in (*api.tokens.values(), "gw_", "tw_", OWN, "gw-own", "postgresql"):
        assert secret not in whole
