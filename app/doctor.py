"""What is missing on this machine, and the command that mends it.

Each question is asked on its own and answers with a finding: a broken database hides no full disk. Nothing is changed.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import asyncpg
from alembic.script import ScriptDirectory
from sqlalchemy import make_url

from app.settings import PREFIX, Settings
from app.stack.packages import NEEDED_BYTES, can_unpack, complete
from app.stack.places import CACHE_VARIABLE, STATE_VARIABLE, cache_dir, state_dir
from app.stack.programs import Programs, on_machine
from app.stack.stack import docker_answers
from app.store.database import plain_url
from app.store.migrate import configuration

State = Literal["ok", "note", "missing"]

PYTHON = (3, 11)
ANSWER_WITHIN_S = 5.0
STATE_NEEDED_BYTES = 2_000_000_000
"""A year of hourly readings of 60 plants with its rollups takes about half of this."""
CLOCK_MAY_DIFFER = timedelta(seconds=5)
ELSEWHERE = frozenset({STATE_VARIABLE, CACHE_VARIABLE, f"{PREFIX}GATEWAY_SECRET", f"{PREFIX}TEST_DATA"})
"""Variables of our commands that are no settings of the service."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One question and its answer. `mend` is a command or a sentence, always there when something is missing."""

    what: str
    state: State
    detail: str
    mend: str | None = None


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """What a database says of itself. `revision` is None without our schema, `edition` None without TimescaleDB."""

    version: str
    timescaledb: str | None
    edition: str | None
    revision: str | None
    ahead: timedelta  # database clock minus ours


def examine(settings: Settings) -> list[Finding]:
    """Every finding, those of the machine first. Takes some seconds when a server does not answer."""
    return [
        python_version(sys.version_info[:3]),
        settings_given(os.environ),
        disk("state folder", state_dir(), STATE_NEEDED_BYTES, STATE_VARIABLE, free_bytes),
        disk("cache folder", cache_dir(), _cache_needs(cache_dir()), CACHE_VARIABLE, free_bytes),
        *programs(on_machine(), can_unpack(), docker_here=docker_answers()),
        *database(settings.database_url, newest_revision()),
        broker(settings.mqtt_url),
        http_port(settings.http_host, settings.http_port),
        Finding("Node.js and npm", "ok", "not needed"),
    ]


# the machine ----------------------------------------------------------------------------------------------------------


def python_version(found: tuple[int, ...]) -> Finding:
    text = ".".join(map(str, found))
    if found[:2] >= PYTHON:
        return Finding("Python", "ok", text)
    wanted = ".".join(map(str, PYTHON))
    return Finding("Python", "missing", f"{text}; {wanted} or newer is needed", "apt-get install python3 python3-venv")


def settings_given(environment: Mapping[str, str]) -> Finding:
    """The settings are checked before we are called; a misspelt name is what that check cannot see."""
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    given = {name for name in environment if name.startswith(PREFIX)}
    strange = sorted(given - known - ELSEWHERE)
    if strange:
        names = ", ".join(strange)
        return Finding("settings", "note", f"valid, but nothing reads {names}", f"unset {' '.join(strange)}")
    return Finding("settings", "ok", f"valid; given: {', '.join(sorted(given & known)) or 'none, all by default'}")


def free_bytes(folder: Path) -> int:
    """Free bytes where a folder is or would be made."""
    there = next(place for place in (folder, *folder.parents) if place.exists())
    return shutil.disk_usage(there).free


def disk(what: str, folder: Path, needed: int, variable: str, free: Callable[[Path], int]) -> Finding:
    """Whether there is room. Raises nothing: a folder that cannot be looked at is a finding."""
    try:
        found = free(folder)
    except OSError as error:
        return Finding(what, "missing", f"{folder}: {error.strerror}", f"export {variable}=/a/folder/you/own")
    detail = f"{folder}, {found // 1_000_000} MB free"
    if found >= needed:
        return Finding(what, "ok", detail)
    return Finding(
        what,
        "missing",
        f"{detail}; {needed // 1_000_000} MB are needed",
        f"free some space, or export {variable}=/a/folder/on/a/larger/disk",
    )


def _cache_needs(cache: Path) -> int:
    """Unpacked programs need no more room."""
    return 0 if any(complete(folder) for folder in cache.glob("debian-*")) else NEEDED_BYTES


def programs(own: Programs | str, why_not_unpack: str | None, *, docker_here: bool) -> Iterator[Finding]:
    """Where the local stack would take TimescaleDB and Mosquitto from, in the order in which it looks."""
    if isinstance(own, Programs):
        yield Finding("programs of this machine", "ok", f"{own.postgres_bin}, {own.mosquitto}")
    else:
        yield Finding("programs of this machine", "note", own)
    if why_not_unpack is None:
        yield Finding("packages to unpack (apt)", "ok", "Debian's packages can be unpacked into the cache folder")
    else:
        yield Finding("packages to unpack (apt)", "note", why_not_unpack)
    docker = "its daemon answers" if docker_here else "no daemon answers; it is only needed where nothing else serves"
    yield Finding("Docker", "ok" if docker_here else "note", docker)
    if isinstance(own, str) and why_not_unpack is not None and not docker_here:
        yield Finding(
            "a local stack",
            "missing",
            "neither programs, nor packages, nor Docker",
            "apt-get install postgresql-17-timescaledb mosquitto",
        )


# the servers ----------------------------------------------------------------------------------------------------------


def newest_revision() -> str:
    """The revision of the schema this program needs."""
    return str(ScriptDirectory.from_config(configuration()).get_current_head())


def database(url: str, newest: str) -> Iterator[Finding]:
    """Whether it answers, and if so what it is. Passwords are not shown."""
    address = make_url(url).render_as_string(hide_password=True)
    try:
        facts = asyncio.run(asked(url))
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        yield Finding("database", "missing", f"{address}: {_sentence(error)}", mend_database(error))
        return
    yield Finding("database", "ok", f"{address}, PostgreSQL {facts.version}")
    yield timescaledb(facts)
    yield schema(facts.revision, newest)
    yield clock(facts.ahead)


def mend_database(error: BaseException) -> str:
    if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError):
        return f"mend user and password in {PREFIX}DATABASE_URL"
    if isinstance(error, asyncpg.InvalidCatalogNameError):
        return f"createdb, or mend the name in {PREFIX}DATABASE_URL"
    return 'tcewatch stack up && eval "$(tcewatch stack env)"'


def timescaledb(facts: DatabaseFacts) -> Finding:
    if facts.timescaledb is None:
        return Finding("TimescaleDB", "missing", "not in this database", "psql -c 'CREATE EXTENSION timescaledb'")
    return Finding("TimescaleDB", "ok", f"{facts.timescaledb}, {facts.edition} edition; either edition will do")


def schema(found: str | None, newest: str) -> Finding:
    if found == newest:
        return Finding("schema", "ok", f"at revision {found}, the newest")
    at = "no schema yet" if found is None else f"at revision {found}"
    return Finding("schema", "missing", f"{at}; this program needs {newest}", "tcewatch migrate")


def clock(ahead: timedelta) -> Finding:
    """Readings are dated by meters and judged by our clock; what was written when is the database's."""
    detail = (
        f"the database's clock is {abs(ahead).total_seconds():.1f} s {'ahead' if ahead > timedelta() else 'behind'}"
    )
    if abs(ahead) <= CLOCK_MAY_DIFFER:
        return Finding("clocks", "ok", detail)
    return Finding("clocks", "missing", detail, "timedatectl set-ntp true, here and on the database's machine")


async def asked(url: str) -> DatabaseFacts:
    """Asks one database for its facts. Raises what asyncpg raises, or TimeoutError."""
    connection = await asyncpg.connect(plain_url(url), timeout=ANSWER_WITHIN_S)
    try:
        before = datetime.now(UTC)
        row: Any = await connection.fetchrow(
            """SELECT clock_timestamp() AS now, current_setting('server_version') AS version,
                      current_setting('timescaledb.license', true) AS edition,
                      (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb') AS timescaledb,
                      to_regclass('alembic_version') IS NOT NULL AS has_schema"""
        )
        middle = before + (datetime.now(UTC) - before) / 2
        revision = await connection.fetchval("SELECT version_num FROM alembic_version") if row["has_schema"] else None
    finally:
        await connection.close(timeout=ANSWER_WITHIN_S)
    return DatabaseFacts(row["version"], row["timescaledb"], row["edition"] or None, revision, row["now"] - middle)


def broker(url: str | None) -> Finding:
    """Whether somebody listens at the broker's address."""
    if url is None:
        return Finding("broker", "note", f"{PREFIX}MQTT_URL is not set: gateways can only use HTTP")
    parts = urlsplit(url)
    port = parts.port or (8883 if parts.scheme == "mqtts" else 1883)
    place = f"{parts.hostname}:{port}"
    try:
        socket.create_connection((parts.hostname or "", port), timeout=ANSWER_WITHIN_S).close()
    except OSError as error:
        return Finding(
            "broker", "missing", f"{place}: {_sentence(error)}", 'tcewatch stack up && eval "$(tcewatch stack env)"'
        )
    return Finding("broker", "ok", f"{place} answers")


def http_port(host: str, port: int) -> Finding:
    """Whether the service could listen there; 0 always finds a free port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return Finding(
                "HTTP port",
                "missing",
                f"{host}:{port} cannot be listened on: {_sentence(error)}",
                f"end the program that uses it (ss -ltnp), or export {PREFIX}HTTP_PORT=0",
            )
    return Finding("HTTP port", "ok", f"{host}:{port or 'any'} is free")


def _sentence(error: BaseException) -> str:
    return str(error) or ("no answer in time" if isinstance(error, TimeoutError) else type(error).__name__)
