"""Tokens, and that what one change does happens whole or not at all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from app.store import registry
from app.store.access import Caller, ScopeUnknown, TokenRole, caller_of, create_token
from app.store.database import Database, open_database
from app.store.entries import EnterpriseIn, GatewayIn, MeterIn, values_of
from app.store.registry import AlreadyThere, NotThere, WrongField
from energy.units import UnitMismatch

NOW = datetime(2026, 11, 24, tzinfo=UTC)
OURS, OTHER = "91445300MA4UXXXX0J", "91445303MA4UQ7KJ3D"


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with open_database(database_url, pool_size=2) as database:
        async with database.engine.begin() as connection:
            for table in ("audit", "touched", "api_token"):
                await connection.execute(text(f"TRUNCATE {table}"))
            for table in ("meter", "gateway", "enterprise"):
                await connection.execute(text(f"DELETE FROM {table}"))
        yield database


async def enterprise(database: Database, key: str = OURS, gateway: str = "gw-1") -> None:
    async with database.engine.begin() as connection:
        made = EnterpriseIn(id=key, name=key, region="445302", industry="3011")
        await registry.create_enterprise(connection, values_of(made), "test")
        await registry.create_gateway(connection, values_of(GatewayIn(id=gateway, enterprise=key, name="x")), "test")


async def meter(database: Database, **changes: object) -> None:
    fields = {
        "enterprise": OURS,
        "code": "E001",
        "name": "x",
        "gateway": "gw-1",
        "carrier": "electricity",
        "unit": "kWh",
        "role": "purchase",
    }
    async with database.engine.begin() as connection:
        await registry.create_meter(connection, values_of(MeterIn.model_validate(fields | changes)), "test")


async def count(database: Database, table: str) -> int:
    return int(await database.pool.fetchval(f"SELECT count(*) FROM {table}"))


async def test_a_transaction_goes_on_after_a_key_that_exists(database: Database) -> None:
    await enterprise(database)
    async with database.engine.begin() as connection:
        fields = values_of(EnterpriseIn(id=OURS, name="x", region="445302", industry="3011"))
        with pytest.raises(AlreadyThere):
            await registry.create_enterprise(connection, fields, "test")
        await registry.create_enterprise(connection, fields | {"id": OTHER}, "test")
    assert await count(database, "enterprise") == 2


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"enterprise": OTHER}, WrongField),
        ({"gateway": "gw-2"}, WrongField),
        ({"carrier": "moonlight"}, WrongField),
        ({"unit": "t"}, UnitMismatch),
    ],
)
async def test_a_meter_that_cannot_be_leaves_nothing_behind(
    database: Database, change: dict[str, str], error: type[Exception]
) -> None:
    await enterprise(database)
    before = await count(database, "audit")
    with pytest.raises(error):
        await meter(database, **change)
    assert (await count(database, "meter"), await count(database, "audit")) == (0, before)


async def test_a_gateway_of_another_enterprise_cannot_take_a_meter(database: Database) -> None:
    await enterprise(database)
    await enterprise(database, OTHER, "gw-2")
    await meter(database)
    with pytest.raises(WrongField, match="gateway"):
        await registry.change_meter(database, OURS, "E001", {"gateway": "gw-2"}, "test")


async def test_a_change_its_mark_and_its_trail_are_one(database: Database) -> None:
    await enterprise(database)
    await meter(database)
    before = await count(database, "audit")
    with pytest.raises(UnitMismatch):
        await registry.change_meter(database, OURS, "E001", {"unit": "m3", "multiplier": 2}, "test")
    assert (await count(database, "touched"), await count(database, "audit")) == (0, before)
    await registry.change_meter(database, OURS, "E001", {"multiplier": 2}, "test")
    assert (await count(database, "touched"), await count(database, "audit")) == (1, before + 1)


async def test_a_change_tells_ingest_that_its_picture_is_old(database: Database) -> None:
    await enterprise(database)
    version = await database.pool.fetchval("SELECT version FROM registry_version")
    await meter(database)
    assert await database.pool.fetchval("SELECT version FROM registry_version") > version


async def test_what_does_not_exist_cannot_be_changed(database: Database) -> None:
    with pytest.raises(NotThere):
        await registry.change_meter(database, OURS, "E001", {"name": "x"}, "test")
    with pytest.raises(NotThere):
        await registry.change_enterprise(database, OURS, {"name": "x"}, "test")


async def test_a_token_is_known_by_its_text_alone(database: Database) -> None:
    token = await create_token(database, role="supervisor", scope="445302", name="bureau")
    caller = await caller_of(database, token, NOW)
    assert caller is not None
    assert (caller.role, caller.scope, caller.name) == (TokenRole.SUPERVISOR, "445302", "bureau")
    assert await caller_of(database, token[:-1], NOW) is None
    assert await caller_of(database, "", NOW) is None


async def test_a_token_is_worth_nothing_after_its_day(database: Database) -> None:
    token = await create_token(database, role="admin", scope="4453", name="x", expires_at=NOW)
    assert await caller_of(database, token, NOW - timedelta(seconds=1)) is not None
    assert await caller_of(database, token, NOW) is None


@pytest.mark.parametrize(
    ("role", "scope"), [("supervisor", "445399"), ("admin", OURS), ("enterprise", "4453"), ("enterprise", OTHER)]
)
async def test_a_scope_that_does_not_exist_is_refused(database: Database, role: str, scope: str) -> None:
    await enterprise(database)
    with pytest.raises(ScopeUnknown, match=scope):
        await create_token(database, role=role, scope=scope, name="x")
    assert await count(database, "api_token") == 0


@pytest.mark.parametrize(
    ("role", "scope", "enterprise_seen", "region_seen"),
    [
        ("admin", "4453", True, True),
        ("supervisor", "445302", True, True),
        ("supervisor", "445303", False, False),
        ("supervisor", "44530", True, True),
        ("enterprise", OURS, True, False),
        ("enterprise", OTHER, False, False),
    ],
)
def test_what_a_caller_sees(role: str, scope: str, enterprise_seen: bool, region_seen: bool) -> None:
    caller = Caller(1, "x", TokenRole(role), scope)
    assert caller.sees_enterprise(OURS, "445302") is enterprise_seen
    assert caller.sees_region("445302") is region_seen
