"""The database itself decides who sees a row: whatever a query forgot, nothing foreign comes out."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass

import asyncpg
import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError, ProgrammingError
from typer.testing import CliRunner

from app.cli import app
from app.stack.stack import Addresses
from app.store.database import Database, open_database, plain_url
from app.store.scope import API_ROLE, NOTHING, Scope, asked_by, open_guarded
from tests.api.a_service import CITY, FOREIGN, FOREIGN_REGION, OWN, OWN_REGION, two_enterprises

HOW = """
Say in the table's migration who sees it, in one line:
  op.execute("SELECT secure_by_enterprise('TABLE')")   it has a column `enterprise`
  op.execute("SELECT secure_by_meter('TABLE')")        it has a column `meter_id`
  op.execute("SELECT secure_by_gateway('TABLE')")      it has a column `gateway`
  op.execute("SELECT secure_through('TABLE', 'line_id', 'line', 'id')")   whoever sees the parent's row
  op.execute("SELECT open_to_all('TABLE')")            reference data that everybody may read
  op.execute("SELECT closed_to_api('TABLE')")          for the service's own work alone
"""
TELLING = {"enterprise", "meter_id", "gateway", "region", "meter", "message_id", "alert_id", "line_id"}
OPEN_ALTHOUGH = {"touched": "a mark of the rollup names numbers of meters and hours, no figure"}
SUPERVISOR, COMPANY = Scope("supervisor", region=OWN_REGION), Scope("enterprise", enterprise=OWN)
ADMIN, COUNTY_ADMIN = Scope("admin", region=CITY), Scope("admin", region=OWN_REGION)
ROWS = """
INSERT INTO reading SELECT '2026-11-02T00:00Z', meter_id, 5, 0, now() FROM meter;
INSERT INTO held_reading SELECT meter_id, now(), 'fell' FROM meter;
INSERT INTO reading_revision (meter_id, ts, old_value, old_quality, new_value, new_quality, revised_at, revised_by)
    SELECT meter_id, now(), 1, 0, 2, 0, now(), gateway FROM meter;
INSERT INTO sequence_gap (gateway, first_seq, last_seq, noticed_at) SELECT id, 1, 2, now() FROM gateway;
INSERT INTO coal_factor (carrier, basis, kgce_per_unit, valid_from, enterprise, edition, source, verified)
    SELECT 'raw_coal', 'equivalent', 0.7, '2026-01-01', id, 'own', 'laboratory', true FROM enterprise;
INSERT INTO co2_factor (carrier, kgco2_per_unit, dataset, valid_from, enterprise, source, verified)
    SELECT 'raw_coal', 2, 'own', '2026-01-01', id, 'laboratory', true FROM enterprise;
INSERT INTO line_meter (line_id, meter_id, share)
    SELECT line_id, meter_id, 1 FROM line JOIN meter ON meter.enterprise = line.enterprise;
INSERT INTO line_output (line_id, month, revision, quantity, entered_by)
    SELECT line_id, '2026-10-01', 1, 1, 'x' FROM line;
WITH message AS (
    INSERT INTO rejected_message (received_at, door, gateway, content_type, raw, digest, last_at)
    SELECT now(), 'http', name, 'application/json', 'x', name::bytea, now()
    FROM unnest(ARRAY['gw-own', 'gw-foreign', 'gw-stranger']) AS each (name) RETURNING message_id)
INSERT INTO rejected_reading (message_id, code, detail) SELECT message_id, 'malformed', 'x' FROM message
"""
METER_ROWS = """INSERT INTO meter_{level} (meter_id, start, quantity, measured_us, estimated_us)
    SELECT meter_id, '2026-11-01T00:00Z', 1, 1, 0 FROM meter"""
ENTERPRISE_ROWS = """
INSERT INTO enterprise_{level} (enterprise, carrier, start, quantity, quantity_net, measured_us, estimated_us)
    SELECT id, 'electricity', '2026-11-01T00:00Z', 1, 1, 1, 0 FROM enterprise"""
LEVELS = ("hour", "day", "month", "year")
OWNERS = {
    "enterprise": "id",
    "rejected_reading": "(SELECT gateway FROM rejected_message AS m WHERE m.message_id = t.message_id)",
    **dict.fromkeys(("gateway", "meter", "coal_factor", "co2_factor", "line"), "enterprise"),
    **dict.fromkeys(
        ("line_meter", "line_output"), "(SELECT enterprise FROM line AS own WHERE own.line_id = t.line_id)"
    ),
    **dict.fromkeys((f"enterprise_{level}" for level in LEVELS), "enterprise"),
    **dict.fromkeys(("sequence_gap", "rejected_message"), "gateway"),
    **dict.fromkeys(
        ("reading", "held_reading", "reading_revision", *(f"meter_{level}" for level in LEVELS)),
        "(SELECT enterprise FROM meter AS m WHERE m.meter_id = t.meter_id)",
    ),
}
"""Table → whose a row is, as SQL."""


@dataclass(frozen=True, slots=True)
class City:
    owner: Database
    guarded: Database

    async def owners(self, table: str, scope: Scope | None) -> set[str | None]:
        """Whose rows a query without any filter shows. None: to the owner of the tables."""
        found = await self.owner.pool.fetch(f"SELECT ctid, tableoid, {OWNERS[table]} AS whose FROM {table} AS t")
        whose = {(row["tableoid"], row["ctid"]): row["whose"] for row in found}
        if scope is None:
            return set(whose.values())
        with asked_by(scope):
            seen = await self.guarded.pool.fetch(f"SELECT ctid, tableoid FROM {table}")
            async with self.guarded.engine.connect() as connection:
                count = await connection.scalar(text(f"SELECT count(*) FROM {table}"))
        assert count == len(seen), "both ways to the database show the same"
        return {whose[row["tableoid"], row["ctid"]] for row in seen}


@pytest.fixture
async def city(database_url: str) -> AsyncIterator[City]:
    async with open_database(database_url, pool_size=2) as owner, open_guarded(database_url, pool_size=1) as guarded:
        await two_enterprises(owner)
        await owner.pool.execute(
            "TRUNCATE sequence_gap; DELETE FROM coal_factor WHERE enterprise IS NOT NULL;"
            "DELETE FROM co2_factor WHERE enterprise IS NOT NULL"
        )
        for statement in (*ROWS.split(";"), *(shape.format(level=level) for level in LEVELS for shape in SHAPES)):
            await owner.pool.execute(statement)
        yield City(owner, guarded)
        await owner.pool.execute("DELETE FROM coal_factor WHERE enterprise IS NOT NULL")
        await owner.pool.execute("DELETE FROM co2_factor WHERE enterprise IS NOT NULL")


SHAPES = (METER_ROWS, ENTERPRISE_ROWS)


async def test_every_table_says_who_sees_it(database_url: str) -> None:
    connection = await asyncpg.connect(plain_url(database_url))
    found = await connection.fetch(
        """SELECT relname, relrowsecurity, has_any_column_privilege($1, oid, 'SELECT') AS read,
               has_any_column_privilege($1, oid, 'INSERT, UPDATE') OR has_table_privilege($1, oid, 'DELETE') AS write,
               ARRAY(SELECT attname::text FROM pg_attribute WHERE attrelid = pg_class.oid AND attnum > 0) AS columns,
               EXISTS (SELECT FROM pg_policy WHERE polrelid = pg_class.oid AND $1::regrole = ANY (polroles)) AS policy
           FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p')
           AND relname <> 'alembic_version'""",
        API_ROLE,
    )
    await connection.close()
    for row in found:
        if row["relname"] in OPEN_ALTHOUGH:
            continue
        guarded = row["relrowsecurity"] and (row["policy"] or not (row["read"] or row["write"]))
        reference = row["read"] and not row["write"] and not TELLING & set(row["columns"])
        assert guarded or reference, f"nobody decided who sees rows of {row['relname']}.\n{HOW}"


async def test_a_forgotten_filter_shows_nothing_foreign(city: City) -> None:
    for table in OWNERS:
        everything = await city.owners(table, None)
        own, foreign = ({"gw-own"}, {"gw-foreign"}) if everything & {"gw-own"} else ({OWN}, {FOREIGN})
        assert everything >= own | foreign, f"the test has to have foreign rows in {table}"
        common = everything & {None}
        for scope in (SUPERVISOR, COMPANY, COUNTY_ADMIN):
            strangers = everything & {"gw-stranger"} if scope is COUNTY_ADMIN else set()
            assert await city.owners(table, scope) == own | common | strangers, f"{table} for {scope}"
        assert await city.owners(table, ADMIN) == everything, table
        assert await city.owners(table, NOTHING) == common, table


async def test_what_one_caller_may_see_is_not_left_to_the_next(city: City) -> None:
    seen = []
    for scope in (ADMIN, SUPERVISOR, NOTHING, ADMIN, COMPANY):
        with asked_by(scope):
            seen.append(await city.guarded.pool.fetchval("SELECT count(*) FROM enterprise"))
    assert seen == [2, 1, 0, 2, 1]
    assert await city.guarded.pool.fetchval("SELECT count(*) FROM enterprise") == 0


async def test_nothing_is_written_outside_the_scope(city: City) -> None:
    moved = "UPDATE enterprise SET region = $1 WHERE id = $2"
    added = "INSERT INTO enterprise (id, name, region, industry) VALUES ('91445302MA4UTEE01U', 'x', $1, '3011')"
    await city.owner.pool.execute("TRUNCATE line_meter")
    with asked_by(COUNTY_ADMIN):
        assert await city.guarded.pool.execute(moved, OWN_REGION, FOREIGN) == "UPDATE 0"
        for values in ((moved, FOREIGN_REGION, OWN), (added, FOREIGN_REGION)):
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
                await city.guarded.pool.execute(*values)
        await city.owner.pool.execute("TRUNCATE enterprise CASCADE")
        await city.owner.pool.execute(added, OWN_REGION)
        await city.owner.pool.execute("UPDATE enterprise SET id = $1", OWN)
        assert await city.guarded.pool.fetchval("SELECT scope_is_everything()"), "no enterprise lies outside now"
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            await city.guarded.pool.execute(added, FOREIGN_REGION)


SHARED = (
    "UPDATE coal_factor SET kgce_per_unit = 9 WHERE enterprise IS NULL AND region IS NULL",
    "DELETE FROM coal_factor WHERE enterprise IS NULL AND region IS NULL",
    "DELETE FROM co2_factor WHERE enterprise IS NULL AND region IS NULL",
    "DELETE FROM alert_setting WHERE region = '4453'",
    "DELETE FROM region_contact WHERE region = '4453'",
    "UPDATE region_target SET base = 1, incentive = 1 WHERE region = '4453'",
)
INTO_SHARED = (
    """INSERT INTO coal_factor (carrier, basis, kgce_per_unit, valid_from, edition, source, verified)
       VALUES ('raw_coal', 'equivalent', 9, '2031-01-01', 'x', 'x', true)""",
    "INSERT INTO alert_setting VALUES ('4453', 7, '{}', 'x', 'x', now())",
    "INSERT INTO region_contact (region, email, name, language) VALUES ('4453', 'x@example.com', 'x', 'en')",
    "INSERT INTO region_target VALUES ('4453', 2027, 'equivalent', 1, 1, 'x', 'x', now())",
)


async def test_what_holds_for_many_is_not_changed_from_a_part_of_them(city: City) -> None:
    await city.owner.pool.execute("TRUNCATE alert_setting, region_contact, region_target")
    for statement in INTO_SHARED[1:]:
        await city.owner.pool.execute(statement)
    for scope in (NOTHING, COMPANY, SUPERVISOR, COUNTY_ADMIN):
        with asked_by(scope):
            for statement in SHARED:
                assert (await city.guarded.pool.execute(statement)).endswith(" 0"), (scope, statement)
            for statement in INTO_SHARED:
                with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
                    await city.guarded.pool.execute(
                        statement.replace("4453", "445302") if scope is COMPANY else statement
                    )
    with asked_by(Scope("supervisor", region=CITY)):
        for statement in SHARED[3:]:
            assert (await city.guarded.pool.execute(statement)).endswith(" 1"), statement
        for statement in INTO_SHARED[1:3]:
            await city.guarded.pool.execute(statement)
    await city.owner.pool.execute("TRUNCATE alert_setting, region_contact, region_target")


async def test_the_trail_and_the_tokens_are_kept_from_those_who_ask(city: City) -> None:
    asked = ("SELECT token_sha256 FROM api_token", "UPDATE audit SET actor = 'x'", "DELETE FROM audit")
    with asked_by(ADMIN):
        for statement in (*asked, "UPDATE registry_version SET version = 1"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await city.guarded.pool.execute(statement)
    with asked_by(SUPERVISOR):
        assert await city.guarded.pool.fetch("SELECT * FROM audit") == []
        assert await city.guarded.pool.fetch("SELECT token_id FROM api_token") == []


async def test_the_trail_is_seen_where_the_object_lies_and_where_the_actor_comes_from(city: City) -> None:
    await city.owner.pool.execute("TRUNCATE audit")
    line = "INSERT INTO audit (actor, action, object_kind, object_id, outcome) VALUES ('x', 'y', $1, $2, 'done')"
    for place in (("gateway", "gw-own"), ("meter", f"{FOREIGN}/E001"), ("enterprise", OWN), ("region", CITY)):
        await city.owner.pool.execute(line, *place)
    with asked_by(SUPERVISOR):
        await city.guarded.pool.execute(line, "meter", "nothing/E001")

    async def seen_by(scope: Scope) -> list[str]:
        with asked_by(scope):
            rows = await city.guarded.pool.fetch("SELECT object_id FROM audit ORDER BY audit_id")
            return [row["object_id"] for row in rows]

    assert await seen_by(COUNTY_ADMIN) == ["gw-own", OWN, "nothing/E001"]
    assert await seen_by(Scope("admin", region=FOREIGN_REGION)) == [f"{FOREIGN}/E001"]
    assert len(await seen_by(ADMIN)) == 5


async def test_a_single_object_is_found_by_its_key_whatever_the_scope(city: City) -> None:
    """The policies leave the indexes usable: no plan reads a whole table of figures for one enterprise."""
    asked = (
        "EXPLAIN SELECT * FROM enterprise_day WHERE enterprise = $1 AND start >= '2026-01-01' AND start < '2027-01-01'"
    )
    for scope in (ADMIN, SUPERVISOR, COMPANY):
        async with city.guarded.engine.connect() as connection:
            with asked_by(scope):
                await connection.execute(text("SET LOCAL enable_seqscan = off"))
                lines = (await connection.scalars(text(asked.replace("$1", f"'{OWN}'")))).all()
        assert "Index Cond: ((enterprise = " in "\n".join(map(str, lines)), lines


async def test_an_ordinary_owner_is_told_which_role_is_missing_and_works_once_it_is_there(stack: Addresses) -> None:
    """A server of its own role name is not to be had, so the role is kept from the user instead."""
    name = f"plain_{secrets.token_hex(4)}"
    server = await asyncpg.connect(plain_url(stack.database_url))
    await server.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'x'")
    await server.execute(f"CREATE DATABASE {name} OWNER {name}")
    base = make_url(stack.database_url).set(database=name)
    inside = await asyncpg.connect(base.set(drivername="postgresql").render_as_string(hide_password=False))
    await inside.execute("CREATE EXTENSION timescaledb; CREATE EXTENSION btree_gist")
    await inside.close()
    url = base.set(username=name, password="x").render_as_string(hide_password=False)
    environment = {"TCEWATCH_DATABASE_URL": url}
    try:
        refused = await asyncio.to_thread(CliRunner().invoke, app, ["migrate"], env=environment)
        assert refused.exit_code == 1
        assert f"GRANT {API_ROLE} TO {name};" in refused.output
        await server.execute(f"GRANT {API_ROLE} TO {name}")
        done = await asyncio.to_thread(CliRunner().invoke, app, ["migrate"], env=environment)
        assert done.exit_code == 0, done.output
        async with open_database(url, pool_size=1) as owner, open_guarded(url, pool_size=1) as guarded:
            await two_enterprises(owner)
            with asked_by(SUPERVISOR):
                assert await guarded.pool.fetchval("SELECT count(*) FROM meter") == 1
            async with guarded.engine.connect() as connection:
                with pytest.raises((DBAPIError, ProgrammingError)):
                    await connection.execute(text("SELECT token_sha256 FROM api_token"))
    finally:
        await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await server.execute(f"DROP ROLE {name}")
        await server.close()
