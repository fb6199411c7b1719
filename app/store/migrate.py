"""Brings a database to the newest schema and loads the reference tables. Doing it twice changes nothing."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Sequence
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Table, delete, insert, select, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from app.store.coefficients import FACTOR_SET
from app.store.scope import API_ROLE
from app.store.tables.factors import co2_factor, coal_factor, factor_set, reference_set
from app.store.tables.lines import level, level_correction, product
from app.store.tables.readings import touched
from app.store.tables.registry import carrier, meter, region

REFERENCE = files("app.store") / "reference"
NATIONAL_TABLES = ("regions", "carriers", "coal_factors", "co2_factors")
LEVEL_TABLES = ("products", "levels", "corrections")
MEANING: dict[str, Any] = {"": None, "yes": True, "no": False}
# Two services may start at once: whoever comes second waits here and then finds everything done.
MIGRATION_LOCK = 0x7463_6577


class SchemaMissing(Exception):
    """The database has no schema, or an older one than this program needs."""


class RoleMissing(Exception):
    """The role the API works as does not exist and cannot be made, or may not be taken on. The text says what to do."""


async def require_schema(engine: AsyncEngine) -> None:
    """Raises SchemaMissing unless the database is at this program's newest revision or a later one; RoleMissing."""
    async with engine.connect() as connection:
        found = await connection.run_sync(lambda sync: MigrationContext.configure(sync).get_current_revision())
    known = [script.revision for script in ScriptDirectory.from_config(configuration()).walk_revisions()]
    if found is None or (found in known and found != known[0]):
        raise SchemaMissing(f"the schema is at {found or 'nothing'} and must be at {known[0]}; run: tcewatch migrate")
    async with engine.connect() as connection:
        await connection.run_sync(_take_on_api_role)


async def migrate(database_url: str) -> None:
    """The newest schema and reference tables. Raises RoleMissing, OSError or a database error when it cannot be had."""
    engine = create_async_engine(database_url)
    try:
        async with engine.connect() as connection:
            await connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": MIGRATION_LOCK})
            await connection.commit()
            await connection.run_sync(_make_api_role)
            await connection.run_sync(_upgrade)
            await connection.run_sync(_load_reference)
            await connection.run_sync(_load_levels)
            await connection.commit()
            await connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": MIGRATION_LOCK})
            await connection.commit()
    finally:
        await engine.dispose()


def _make_api_role(connection: Connection) -> None:
    """Roles belong to the whole server, so this is no part of the schema: a restored dump needs it too."""
    with suppress(DBAPIError), connection.begin_nested():
        if not connection.scalar(text("SELECT count(*) FROM pg_roles WHERE rolname = :name"), {"name": API_ROLE}):
            connection.execute(text(f"CREATE ROLE {API_ROLE} NOLOGIN"))
            connection.execute(text(f"GRANT {API_ROLE} TO CURRENT_USER"))
    _take_on_api_role(connection)
    connection.commit()


def _take_on_api_role(connection: Connection) -> None:
    """Tries it. Raises RoleMissing with the two statements an administrator of the server has to run."""
    try:
        with connection.begin_nested():
            connection.execute(text(f"SET LOCAL ROLE {API_ROLE}"))
            connection.execute(text("RESET ROLE"))
    except DBAPIError as error:
        if error.connection_invalidated:
            raise
        user = connection.scalar(text("SELECT quote_ident(current_user)"))
        raise RoleMissing(
            f"the API works as the role {API_ROLE}, and the database user {user} may not take it on ({error.orig}); "
            f"an administrator of the server runs: CREATE ROLE {API_ROLE} NOLOGIN; GRANT {API_ROLE} TO {user};"
        ) from error


def _upgrade(connection: Connection) -> None:
    command.upgrade(configuration(connection), "head")


def configuration(connection: Connection | None = None) -> Config:
    """Alembic's configuration as values; a file would hold the address a second time."""
    import migrations

    config = Config()
    config.set_main_option("script_location", str(Path(next(iter(migrations.__path__)))))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def reference_rows(name: str, *, empty: Sequence[str] = ()) -> list[dict[str, Any]]:
    """One reference table; an empty cell is None, or an empty text in the columns named; a flag is yes or no."""
    lines = (REFERENCE / f"{name}.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    return [
        {key: cell if key in empty else MEANING.get(cell, cell) for key, cell in row.items()}
        for row in csv.DictReader(lines)
    ]


def reference_digest(tables: Sequence[str] = NATIONAL_TABLES) -> str:
    digest = hashlib.sha256()
    for name in tables:
        digest.update((REFERENCE / f"{name}.csv").read_bytes())
    return digest.hexdigest()


def _load_reference(connection: Connection) -> None:
    """Factors of the reference tables are replaced as a whole; what was entered by hand stays, and goes before them."""
    digest = reference_digest()
    if connection.scalar(select(factor_set.c.id).where(factor_set.c.sha256 == digest)) is not None:
        return
    for table, name in ((region, "regions"), (carrier, "carriers")):
        _put(connection, table, reference_rows(name))
    for table, name in ((coal_factor, "coal_factors"), (co2_factor, "co2_factors")):
        connection.execute(delete(table).where(table.c.origin == "reference"))
        connection.execute(text(_around_entered(table)), [_typed(table, row) for row in reference_rows(name)])
    connection.execute(insert(factor_set).values(id=f"reference-{digest[:12]}", sha256=digest))
    if connection.scalar(text("SELECT EXISTS (SELECT FROM coal_factor WHERE origin = 'entered')")):
        connection.execute(text(FACTOR_SET))
    said = text("array_agg(meter_id), 'factors of the reference tables', 'migrate'")
    every_meter = select(said).select_from(meter).having(text("count(*) > 0"))
    connection.execute(insert(touched).from_select(["meter_id", "cause", "actor"], every_meter))


def _load_levels(connection: Connection) -> None:
    """Levels of the reference tables are replaced as a whole; one entered by hand on any of their days goes before."""
    digest = reference_digest(LEVEL_TABLES)
    if connection.scalar(select(reference_set.c.sha256).where(reference_set.c.name == "levels")) == digest:
        return
    _put(connection, product, [_typed(product, row) for row in reference_rows("products")])
    connection.execute(delete(level).where(level.c.origin == "reference"))
    rows = [
        _typed(level, row) | {"origin": "reference"} for row in reference_rows("levels", empty=("condition", "note"))
    ]
    connection.execute(upsert(level).on_conflict_do_nothing(), rows)
    connection.execute(delete(level_correction).where(level_correction.c.origin == "reference"))
    corrections = [
        _typed(level_correction, row) | {"origin": "reference"}
        for row in reference_rows("corrections", empty=("condition",))
    ]
    connection.execute(upsert(level_correction).on_conflict_do_nothing(), corrections)
    connection.execute(delete(reference_set).where(reference_set.c.name == "levels"))
    connection.execute(insert(reference_set).values(name="levels", sha256=digest))


def _around_entered(table: Table) -> str:
    """Puts a row in for the days on which nothing entered by hand holds for the same subject."""
    whose, value = ("basis", "kgce_per_unit") if table is coal_factor else ("dataset", "kgco2_per_unit")
    words = ["carrier", whose, value, "region", *(["edition"] if table is coal_factor else []), "source", "verified"]
    held = f"""SELECT range_agg(daterange(e.valid_from, e.valid_to)) FROM {table.name} AS e
        WHERE e.origin = 'entered' AND e.enterprise IS NULL AND e.carrier = :carrier AND e.{whose} = :{whose}
          AND e.region IS NOT DISTINCT FROM cast(:region AS text)"""
    return f"""INSERT INTO {table.name} ({", ".join(words)}, origin, valid_from, valid_to)
        SELECT {", ".join(f"cast(:{word} AS {_word_of(table, word)})" for word in words)}, 'reference',
               lower(part), upper(part)
        FROM unnest(datemultirange(daterange(cast(:valid_from AS date), cast(:valid_to AS date)))
                    - coalesce(({held}), '{{}}'::datemultirange)) AS part"""


def _word_of(table: Table, column: str) -> str:
    return str(table.c[column].type.compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]  # theirs


def _put(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    statement = upsert(table)
    key = next(iter(table.primary_key)).name
    rest = {column.name: statement.excluded[column.name] for column in table.c if column.name != key}
    connection.execute(statement.on_conflict_do_update(index_elements=[key], set_=rest), rows)


def _typed(table: Table, row: dict[str, Any]) -> dict[str, Any]:
    """Cells are text; the column says what they mean."""
    return {key: _cell(table.c[key].type.python_type, value) for key, value in row.items()}


def _cell(kind: type, value: Any) -> Any:
    if value is None or isinstance(value, kind):
        return value
    return kind.fromisoformat(value) if hasattr(kind, "fromisoformat") else kind(value)
