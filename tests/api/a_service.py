"""The API over a real database with two enterprises in two districts, asked in the same process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import httpx2
from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from sqlalchemy import text

from app.api.application import create_api
from app.api.deps import ApiDeps, Health
from app.api.feed import EventFeed
from app.rollup.explain import explain
from app.rollup.worker import RollupWorker
from app.store import registry
from app.store.access import create_token, digest
from app.store.database import Database, open_database
from app.store.entries import EnterpriseIn, GatewayIn, MeterIn, values_of
from app.store.ingest_registry import StoredRegistry
from app.store.readings import ReadingLedger
from app.store.rejections import Replayer
from app.store.scope import open_guarded
from energy.interval import SiteCalendar
from ingest.validate import Rules

OWN, FOREIGN, MISSING = "91445300MA4UXXXX0J", "91445303MA4UQ7KJ3D", "91445302MA4UTEE01U"
OWN_REGION, FOREIGN_REGION, CITY, MISSING_REGION = "445302", "445303", "4453", "445399"
WEBHOOK, JOB = "0b9f2a52-6a0f-4c2a-9d3f-5f1c8a7f0e11", "7c1d9d5e-3f5b-4f0a-8a51-0d9a1b2c3d4e"
NOW = datetime(2026, 11, 24, 1, 0, tzinfo=UTC)
EMPTY = """
TRUNCATE event, webhook, webhook_delivery, job, job_part;
TRUNCATE account, login_session, login_attempt, idempotent_answer,
    reading, reading_revision, held_reading, touched, meter_exchange, meter_multiplier, reading_decision,
    reading_deletion, deleted_reading, restatement, verification, verification_difference,
    rejected_message, rejected_reading, api_token, audit,
    meter_hour, meter_day, meter_month, meter_year,
    enterprise_hour, enterprise_day, enterprise_month, enterprise_year,
    budget_revision, budget_exclusion, budget_position, budget_standing;
TRUNCATE alert, alert_history, alert_evaluation, outbox, recipient, platform_alarm, alert_setting, region_contact,
    region_target, region_closing;
TRUNCATE line_output, line_meter, line_attribute, line; DELETE FROM level WHERE origin = 'entered';
DELETE FROM level_correction WHERE origin = 'entered';
DELETE FROM coal_factor WHERE origin = 'entered'; DELETE FROM co2_factor WHERE origin = 'entered';
DELETE FROM meter_multiplier; DELETE FROM meter_exchange;
DELETE FROM meter; DELETE FROM gateway; DELETE FROM enterprise
"""


A_FACTOR = """
INSERT INTO coal_factor (factor_id, carrier, basis, kgce_per_unit, valid_from, enterprise, edition, source, verified)
OVERRIDING SYSTEM VALUE VALUES (:number, 'biomass', 'equal', 0.5, '2026-01-01', :enterprise, 'test', 'by hand', true)
"""

A_BUDGET = """
INSERT INTO budget_revision (enterprise, year, basis, revision, amount, monthly, plan_source, reason, state, entered_by,
    decided_by, decided_at)
VALUES (:enterprise, 2026, 'equivalent', 1, 1200, array_fill(100::numeric, ARRAY[12]), 'even', 'first', 'approved',
    'test', 'test', '2026-01-01T00:00Z')
"""
AN_EXCLUSION = """
INSERT INTO budget_exclusion (exclusion_id, enterprise, basis, month, kind, amount, evidence, entered_by)
OVERRIDING SYSTEM VALUE VALUES (:number, :enterprise, 'equal', '2026-05-01', 'feedstock', 1, 'contract 7', 'test')
"""


A_LINE = """
INSERT INTO line (line_id, enterprise, code, name, product, capacity_per_year, unit)
OVERRIDING SYSTEM VALUE VALUES (:number, :enterprise, 'S1', 'stands', 'cement', 1, 't')
"""
SOMEBODY = """
WITH token AS (
    INSERT INTO api_token (token_id, name, role, scope, token_sha256)
    OVERRIDING SYSTEM VALUE
    VALUES (:number, 'kept', 'enterprise', :enterprise, sha256(convert_to(:enterprise, 'UTF8'))))
INSERT INTO account (name, role, scope) VALUES (:name, 'enterprise', :enterprise)
"""


AN_ALERT = """
INSERT INTO alert (alert_id, enterprise, kind, period, subject, phase, level, seq, over_since, under_since, fact, data,
    told, worst, facts, opened_at, raised_at, changed_at)
OVERRIDING SYSTEM VALUE VALUES (:number, :enterprise, 'trend', '2026', 'equivalent', 'active', 'orange', 2,
    '{NULL,NULL,NULL}', '{NULL,NULL,NULL}', false, 'ok', 'orange', 'orange', '{"p_over": 0.91}', :now, :now, :now)
"""


class Accounts:
    """The broker's accounts in memory; `trouble` is raised by the next change."""

    def __init__(self) -> None:
        self.secrets: dict[str, str] = {}
        self.shut: set[str] = set()
        self.trouble: Exception | None = None

    async def put(self, gateway: str, secret: str) -> None:
        self._fail()
        self.secrets[gateway] = secret
        self.shut.discard(gateway)

    async def disable(self, gateway: str) -> None:
        self._fail()
        self.shut.add(gateway)

    async def enable(self, gateway: str) -> None:
        self._fail()
        self.shut.discard(gateway)

    def _fail(self) -> None:
        if self.trouble is not None:
            raise self.trouble


class Healthy:
    """A health source that says what the test wants said."""

    def __init__(self) -> None:
        self.said = Health(True, None, 0, 0.0, 0, 0.0)

    async def health(self) -> Health:
        return self.said


@dataclass(slots=True)
class Api:
    """A client, the database behind it as its owner sees it and as the API does, and a token of each role."""

    app: FastAPI
    client: httpx2.AsyncClient
    database: Database
    guarded: Database
    accounts: Accounts
    healthy: Healthy
    tokens: dict[str, str] = field(default_factory=dict)

    async def ask(self, method: str, path: str, *, role: str | None = "admin", **more: Any) -> httpx2.Response:
        headers = dict(more.pop("headers", {}))
        if role is not None:
            headers["Authorization"] = f"Bearer {self.tokens[role]}"
        return await self.client.request(method, path, headers=headers, **more)

    async def get(self, path: str, *, role: str | None = "admin", **more: Any) -> httpx2.Response:
        return await self.ask("GET", f"/api/v1/{path}", role=role, **more)

    async def post(self, path: str, body: Mapping[str, Any], *, role: str = "admin") -> httpx2.Response:
        return await self.ask("POST", f"/api/v1/{path}", role=role, json=body)

    async def patch(self, path: str, body: Mapping[str, Any], *, role: str = "admin") -> httpx2.Response:
        return await self.ask("PATCH", f"/api/v1/{path}", role=role, json=body)

    async def put(self, path: str, body: Mapping[str, Any], *, role: str = "admin") -> httpx2.Response:
        return await self.ask("PUT", f"/api/v1/{path}", role=role, json=body)

    async def delete(self, path: str, *, role: str = "admin") -> httpx2.Response:
        return await self.ask("DELETE", f"/api/v1/{path}", role=role)

    async def rolled_up(self) -> None:
        """Works off every mark, as the worker does."""
        worker = RollupWorker(self.database, SiteCalendar(ZoneInfo("Asia/Shanghai")))
        await worker.catch_up()

    async def sql(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await self.database.pool.fetch(statement, *values)]


@asynccontextmanager
async def an_api(database_url: str) -> AsyncIterator[Api]:
    async with (
        open_database(database_url, pool_size=2) as database,
        open_guarded(database_url, pool_size=2) as guarded,
    ):
        accounts, healthy = Accounts(), Healthy()
        replayer = Replayer(database, ReadingLedger(database_url), StoredRegistry(database.pool), Rules())
        deps = ApiDeps(
            database=guarded,
            owner=database,
            calendar=SiteCalendar(ZoneInfo("Asia/Shanghai")),
            health=healthy,
            accounts=accounts,
            replayer=replayer,
            explain=explain,
            metrics=CollectorRegistry(),
            body_max_bytes=10_000,
            clock=lambda: NOW,
            feed=EventFeed(database_url, database),
        )
        app = create_api(deps)
        await two_enterprises(database)
        transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://service") as client:
            api = Api(app, client, database, guarded, accounts, healthy)
            for role, scope in (("admin", CITY), ("supervisor", OWN_REGION), ("enterprise", OWN)):
                api.tokens[role] = await create_token(database, role=role, scope=scope, name=f"the {role}")
            await database.pool.execute("UPDATE gateway SET secret_sha256 = $1 WHERE id = 'gw-own'", digest("gw_own"))
            api.tokens["gateway"] = "gw_own"
            await own_things(database)
            yield api
        await replayer.close()


async def own_things(database: Database) -> None:
    """Of the admin's token: a webhook with a delivery that was given up, and a job that is done."""
    token_id = await database.pool.fetchval("SELECT token_id FROM api_token WHERE name = 'the admin'")
    await database.pool.execute(
        """INSERT INTO webhook (webhook_id, token_id, role, scope, url, kinds, secret)
           VALUES ($1, $2, 'admin', '4453', 'https://hooks.example.com/', '{alert}', 'x')""",
        WEBHOOK,
        token_id,
    )
    await database.pool.execute(
        """INSERT INTO webhook_delivery (message_id, webhook_id, kind, at, payload, state)
           OVERRIDING SYSTEM VALUE VALUES ('msg_1', $1, 'alert.raised', now(), '{}', 'dead')""",
        WEBHOOK,
    )
    await database.pool.execute(
        """INSERT INTO job (job_id, token_id, path, query, format, language, state, rows, filename, content_type, size,
               expires_at) VALUES ($1, $2, '/api/v1/meters', 'format=csv', 'csv', 'en', 'done', 1, 'meters.csv',
               'text/csv', 3, now() + interval '1 day')""",
        JOB,
        token_id,
    )
    await database.pool.execute("INSERT INTO job_part VALUES ($1, 0, 'abc')", JOB)


async def two_enterprises(database: Database) -> None:
    """Each with one gateway and one electricity meter E001."""
    async with database.engine.begin() as connection:
        for statement in EMPTY.split(";"):
            await connection.execute(text(statement))
        for key, name, region, gateway in (
            (OWN, "云城水泥", OWN_REGION, "gw-own"),
            (FOREIGN, "云安陶瓷", FOREIGN_REGION, "gw-foreign"),
        ):
            company = EnterpriseIn(id=key, name=name, region=region, industry="3011")
            await registry.create_enterprise(connection, values_of(company), "test")
            made = GatewayIn(id=gateway, enterprise=key, name=gateway)
            await registry.create_gateway(connection, values_of(made), "test")
            meter = MeterIn.model_validate(a_meter(enterprise=key, gateway=gateway))
            await registry.create_meter(connection, values_of(meter), "test")
        for number, key in ((900_001, OWN), (900_002, FOREIGN)):
            for statement in (A_FACTOR, A_LINE):
                await connection.execute(text(statement), {"number": number, "enterprise": key})
            await connection.execute(text(A_BUDGET), {"enterprise": key})
            await connection.execute(text(AN_EXCLUSION), {"number": number, "enterprise": key})
            await connection.execute(text(AN_ALERT), {"number": number, "enterprise": key, "now": NOW})
            person = "person.own" if key == OWN else "person.foreign"
            await connection.execute(text(SOMEBODY), {"number": number, "enterprise": key, "name": person})


def a_meter(**changes: Any) -> dict[str, Any]:
    """The body of a meter, to be changed at will."""
    meter = {
        "enterprise": OWN,
        "code": "E001",
        "name": "total",
        "gateway": "gw-own",
        "carrier": "electricity",
        "kind": "register",
        "unit": "kWh",
        "role": "purchase",
    }
    return meter | changes


def is_problem(answer: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    """Asserts a problem document and answers it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["code"] == code
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    assert body["type"] == f"urn:tcewatch:problem:{code}"
    assert body["instance"].startswith("urn:uuid:")
    return body
