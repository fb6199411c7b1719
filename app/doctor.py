"""`tcewatch doctor`: what is missing for the service to run here, each with the command that mends it.

Looking changes nothing: no folder is made, no program fetched, and the broker is asked under a client id of its own, so
that the session of a running service stays as it is.
"""

from __future__ import annotations

import asyncio
import errno
import http.client
import json
import logging
import os
import platform
import secrets
import shutil
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import asyncpg
from prometheus_client import CollectorRegistry
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import create_async_engine

from app.settings import PREFIX, Settings, WrongSetting, unread
from app.stack import packages
from app.stack.database import NEEDED_BYTES as DATABASE_NEEDS_BYTES
from app.stack.places import CACHE_VARIABLE, STATE_VARIABLE, cache_dir, state_dir
from app.stack.programs import POSTGRES_MAJOR, Programs, on_machine
from app.stack.stack import docker_answers
from app.store.database import plain_url
from app.store.migrate import RoleMissing, SchemaMissing, require_schema
from ingest.broker_check import MESSAGES, UNSEEN, CheckFailed, Weakness
from ingest.broker_check import examine as examine_limits
from ingest.metrics import IngestMetrics
from ingest.mqtt import BrokerLink

State = Literal["ok", "note", "missing"]

OLDEST_PYTHON = (3, 11)
ANSWER_WITHIN_S = 5.0
CLOCK_TOLERANCE_S = 5.0
STACK_UP = 'tcewatch stack up && eval "$(tcewatch stack env)"'
DATABASE_MEND = f"export {PREFIX}DATABASE_URL=postgresql+asyncpg://USER:PASSWORD@HOST:PORT/DATABASE"
BROKER_MEND = f"export {PREFIX}MQTT_URL=mqtt://USER:PASSWORD@HOST:PORT"
INSTALL = f"apt-get install postgresql-{POSTGRES_MAJOR}-timescaledb mosquitto"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `missing` keeps the service from running here; a `note` does not. `mend` is a command."""

    what: str
    state: State
    detail: str
    mend: str | None = None

    def __str__(self) -> str:
        return f"{self.state:<8}{self.what}: {self.detail}" + (f"\n        mend: {self.mend}" if self.mend else "")


def examine(settings: Settings) -> list[Finding]:
    """Everything, in the order a person would mend it. Takes some seconds where a server does not answer."""
    servers = [*asyncio.run(examine_database(settings)), asyncio.run(examine_broker(settings)), examine_mail(settings)]
    without = any(finding.state == "missing" for finding in servers)
    limits = asyncio.run(examine_broker_limits(settings))
    listeners = [examine_http(settings), *examine_listener(settings)]
    strays = [Finding("settings", "note", line, f"unset {line.split()[0]}") for line in unread(os.environ)]
    return [*examine_machine(needs_stack=without), *strays, *servers, *limits, *listeners]


def wrong_settings(error: WrongSetting) -> list[Finding]:
    """A finding for each variable that cannot be used; with the machine's own these are all that can be said."""
    lines = str(error).splitlines()
    wrong = [Finding("settings", "missing", line, f"unset {line.split()[0]}") for line in lines]
    return [*wrong, *examine_machine(needs_stack=False)]


# The machine ----------------------------------------------------------------------------------------------------------


def examine_machine(*, needs_stack: bool) -> list[Finding]:
    """Python, room, and the programs of a local stack. Where servers are given elsewhere the stack is not needed."""
    unpacked = packages.complete(cache_dir() / f"debian-{packages.SUITE}")
    programs = judge_programs(
        on_machine(), packages.can_unpack(), unpacked=unpacked, docker=docker_answers(), needed=needs_stack
    )
    return [
        judge_python(sys.version_info[:3]),
        examine_folder("state folder", state_dir(), DATABASE_NEEDS_BYTES, STATE_VARIABLE, needed=needs_stack),
        examine_folder(
            "cache folder", cache_dir(), 0 if unpacked else packages.NEEDED_BYTES, CACHE_VARIABLE, needed=needs_stack
        ),
        programs,
    ]


def judge_python(version: tuple[int, ...]) -> Finding:
    found = ".".join(map(str, version))
    if version[:2] < OLDEST_PYTHON:
        return Finding("Python", "missing", f"{found}; 3.11 or newer is needed", "apt-get install python3 python3-venv")
    return Finding("Python", "ok", f"{found} ({platform.python_implementation()})")


def examine_folder(what: str, folder: Path, needed_bytes: int, variable: str, *, needed: bool) -> Finding:
    """Whether the folder can be written, or made, and has room."""
    standing = next(place for place in (folder, *folder.parents) if place.exists())
    writable = os.access(standing, os.W_OK | os.X_OK) and standing.is_dir()
    return judge_folder(
        what, folder, shutil.disk_usage(standing).free if writable else None, needed_bytes, variable, needed=needed
    )


def judge_folder(
    what: str, folder: Path, free_bytes: int | None, needed_bytes: int, variable: str, *, needed: bool
) -> Finding:
    """`free_bytes` None: the folder cannot be written."""
    state: State = "missing" if needed else "note"
    mend = f"export {variable}=/a/folder/with/room"
    if free_bytes is None:
        return Finding(what, state, f"{folder} cannot be written by this user", mend)
    room = f"{folder} has {free_bytes // 1_000_000} MB free"
    if free_bytes < needed_bytes:
        return Finding(what, state, f"{room}; {needed_bytes // 1_000_000} MB are needed", mend)
    return Finding(what, "ok", room)


def judge_programs(
    own: Programs | str, why_no_packages: str | None, *, unpacked: bool, docker: bool, needed: bool
) -> Finding:
    """The first of the ways a local stack can be had, in the order in which `tcewatch stack` tries them."""
    what = "programs of the local stack"
    if isinstance(own, Programs):
        return Finding(what, "ok", f"{own.source}: {own.postgres_bin}, {own.mosquitto}")
    if why_no_packages is None:
        when = "unpacked already" if unpacked else "fetched at the first start"
        return Finding(what, "ok" if unpacked else "note", f"packages of Debian 13, {when} ({own})")
    why = f"{own}; packages cannot be unpacked: {why_no_packages}"
    if docker:
        return Finding(what, "note", f"containers of a Docker daemon ({why})")
    return Finding(what, "missing" if needed else "note", f"{why}; no Docker daemon answers", INSTALL)


# The database ---------------------------------------------------------------------------------------------------------


async def examine_database(settings: Settings) -> list[Finding]:
    """Reachable, of the tested version, with TimescaleDB and the schema, and with our time."""
    try:
        address = make_url(settings.database_url).render_as_string(hide_password=True)
    except (ArgumentError, ValueError) as error:
        return [Finding("database", "missing", f"{PREFIX}DATABASE_URL is no address: {said(error)}", DATABASE_MEND)]
    try:
        connection = await asyncpg.connect(plain_url(settings.database_url), timeout=ANSWER_WITHIN_S)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        return [judge_no_database(address, error)]
    try:
        version = int(await connection.fetchval("SELECT current_setting('server_version_num')")) // 10_000
        found = [Finding("database", "ok", f"{address} answers"), judge_postgres(version)]
        found.append(await examine_timescale(connection, version))
        found.append(await examine_clock(connection, settings))
    finally:
        await connection.close()
    return [*found, await examine_schema(settings)]


def judge_no_database(address: str, error: Exception) -> Finding:
    if isinstance(error, asyncpg.InvalidPasswordError | asyncpg.InvalidAuthorizationSpecificationError):
        return Finding("database", "missing", f"{address} refuses the log-in: {error}", DATABASE_MEND)
    if isinstance(error, asyncpg.InvalidCatalogNameError):
        url = make_url(address)
        name, mend = url.database, f"createdb -h {url.host} -p {url.port or 5432} -U {url.username} {url.database}"
        return Finding("database", "missing", f"{address} has no database {name}", mend)
    detail = f"{address} does not answer: {said(error)}"
    return Finding("database", "missing", detail, stack_instead(f"{PREFIX}DATABASE_URL"))


def judge_postgres(major: int) -> Finding:
    if major != POSTGRES_MAJOR:
        return Finding("PostgreSQL", "note", f"PostgreSQL {major}; the tests run on {POSTGRES_MAJOR}")
    return Finding("PostgreSQL", "ok", f"PostgreSQL {major}")


async def examine_timescale(connection: asyncpg.Connection, postgres: int) -> Finding:
    installed = await connection.fetchval("SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'")
    available = await connection.fetchval("SELECT true FROM pg_available_extensions WHERE name = 'timescaledb'")
    if installed is None:
        return judge_no_timescale(postgres, available=bool(available))
    edition = await connection.fetchval("SHOW timescaledb.license")
    return Finding("TimescaleDB", "ok", f"{installed}, {edition} edition (the apache edition is enough)")


def judge_no_timescale(postgres: int, *, available: bool) -> Finding:
    if available:
        return Finding("TimescaleDB", "missing", "not yet part of this database", "tcewatch migrate")
    mend = f"apt-get install postgresql-{postgres}-timescaledb  # then shared_preload_libraries = 'timescaledb'"
    return Finding("TimescaleDB", "missing", "the database server does not have it", mend)


async def examine_clock(connection: asyncpg.Connection, settings: Settings) -> Finding:
    """The database's clock against the middle of the question's way there and back."""
    before = datetime.now(UTC)
    there: datetime = await connection.fetchval("SELECT clock_timestamp()")
    after = datetime.now(UTC)
    return judge_clock((there - (before + (after - before) / 2)).total_seconds(), settings.reading_max_ahead_s)


def judge_clock(ahead_s: float, max_ahead_s: int) -> Finding:
    """`ahead_s`: how far the database's clock is ahead of ours."""
    detail = f"the database's is {abs(ahead_s):.1f} s {'ahead of' if ahead_s >= 0 else 'behind'} this machine's"
    if abs(ahead_s) <= CLOCK_TOLERANCE_S:
        return Finding("clock", "ok", detail)
    state: State = "missing" if abs(ahead_s) > max_ahead_s else "note"
    return Finding("clock", state, detail, "timedatectl set-ntp true  # on both machines")


async def examine_schema(settings: Settings) -> Finding:
    engine = create_async_engine(settings.database_url)
    try:
        await require_schema(engine)
    except SchemaMissing as error:
        return Finding("schema", "missing", str(error).partition(";")[0], "tcewatch migrate")
    except RoleMissing as error:
        return Finding("schema", "missing", str(error).partition(";")[0], str(error).partition("runs: ")[2])
    finally:
        await engine.dispose()
    return Finding("schema", "ok", "at the newest revision")


# The broker and the mail server ---------------------------------------------------------------------------------------


class Reasons(logging.Handler):
    """Why there was no connection, as the link itself says it to the log."""

    def __init__(self) -> None:
        super().__init__()
        self.last = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.last = str(getattr(record, "why", None) or record.getMessage())


@contextmanager
def listening(name: str) -> Iterator[Reasons]:
    """What a logger says, kept for us and shown nowhere else."""
    logger, reasons = logging.getLogger(name), Reasons()
    propagates = logger.propagate
    logger.addHandler(reasons)
    logger.propagate = False
    try:
        yield reasons
    finally:
        logger.propagate = propagates
        logger.removeHandler(reasons)


async def examine_broker(settings: Settings) -> Finding:
    """A log-in with the service's own account, by the link that the service uses."""
    variable = f"{PREFIX}MQTT_URL"
    if settings.mqtt_url is None:
        return Finding("broker", "note", f"{variable} is not set: no gateway can use the broker door", STACK_UP)
    try:
        address, link = without_password(settings.mqtt_url), link_to(settings.mqtt_url)
    except ValueError as error:
        return Finding("broker", "missing", f"{variable} is no address: {said(error)}", BROKER_MEND)
    with listening("ingest.mqtt") as reasons:
        if await greeted(link, reasons):
            return Finding("broker", "ok", f"{address} takes our log-in")
    return judge_no_broker(address, reasons.last, stack_instead(variable))


async def examine_broker_limits(settings: Settings) -> list[Finding]:
    """Whether the broker keeps what it acknowledges, by experiment; nothing when it cannot be asked."""
    if settings.mqtt_url is None:
        return []
    try:
        weaknesses = await examine_limits(settings.mqtt_url)
    except CheckFailed as error:
        return [Finding("broker limits", "note", f"not examined: {error}")]
    return judge_limits(weaknesses)


def judge_limits(weaknesses: Sequence[Weakness]) -> list[Finding]:
    found = [Finding("broker limits", "note", one.what, one.mend) for one in weaknesses]
    kept = Finding("broker limits", "ok", f"{MESSAGES} messages acknowledged for a client that was away all came")
    return [*(found or [kept]), Finding("broker limits", "note", UNSEEN)]


def judge_no_broker(address: str, why: str, stack: str) -> Finding:
    if "refuses" in why:
        return Finding("broker", "missing", f"{address}: {why}", BROKER_MEND)
    return Finding("broker", "missing", f"{address} does not answer: {why or 'no greeting in time'}", stack)


def link_to(url: str) -> BrokerLink:
    """A link that leaves nothing at the broker."""
    client_id = f"tcewatch-doctor-{secrets.token_hex(4)}"
    return BrokerLink(url, client_id=client_id, metrics=IngestMetrics(CollectorRegistry()), session_expiry_s=0)


async def greeted(link: BrokerLink, reasons: Reasons) -> bool:
    """Whether the broker takes our log-in at the first attempt, in time."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    running = asyncio.create_task(link.run(stop))
    end_s = loop.time() + ANSWER_WITHIN_S
    while not (link.connected or reasons.last or running.done()) and loop.time() < end_s:  # noqa: ASYNC110  # no event tells
        await asyncio.sleep(0.02)
    connected = link.connected
    stop.set()
    await asyncio.wait((running,), timeout=ANSWER_WITHIN_S)
    return connected


def examine_mail(settings: Settings) -> Finding:
    """A TCP connection; whether mail is taken shows when it is sent."""
    variable = f"{PREFIX}SMTP_URL"
    if settings.smtp_url is None:
        return Finding("mail", "note", f"{variable} is not set: no mail is sent", STACK_UP)
    try:
        parts, address = urlsplit(settings.smtp_url), without_password(settings.smtp_url)
        port = parts.port or (465 if parts.scheme == "smtps" else 25)
    except ValueError as error:
        mend = f"export {variable}=smtp://HOST:PORT"
        return Finding("mail", "missing", f"{variable} is no address: {said(error)}", mend)
    try:
        socket.create_connection((parts.hostname or "", port), timeout=ANSWER_WITHIN_S).close()
    except OSError as error:
        return Finding("mail", "missing", f"{address} does not answer: {said(error)}", stack_instead(variable))
    return Finding("mail", "ok", f"{address} answers")


def without_password(url: str) -> str:
    parts = urlsplit(url)
    user = f"{parts.username}@" if parts.username else ""
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{user}{parts.hostname}{port}"


# The HTTP port --------------------------------------------------------------------------------------------------------


def examine_http(settings: Settings) -> Finding:
    """Free, or held by a tcewatch that answers."""
    host, port = settings.http_host, settings.http_port
    why = port_trouble(host, port)
    if why is None:
        return Finding("HTTP port", "ok", f"{host}:{port} is free" if port else "a free one is taken at the start")
    if why.errno == errno.EADDRINUSE and service_answers(host, port):
        return Finding("HTTP port", "ok", f"a tcewatch service answers on {host}:{port}")
    detail = f"{host}:{port} cannot be listened on: {said(why)}"
    if why.errno == errno.EADDRNOTAVAIL:
        return Finding("HTTP port", "missing", detail, f"export {PREFIX}HTTP_HOST=127.0.0.1")
    return Finding("HTTP port", "missing", detail, f"export {PREFIX}HTTP_PORT=0  # a free one, named in the log")


def examine_listener(settings: Settings) -> list[Finding]:
    """The MQTT listener, if there is to be one: its certificate, and its port as for HTTP."""
    at = settings.listen_at
    if at is None:
        return []
    try:
        at.context()
    except OSError as error:  # ssl.SSLError is one
        mend = f"export {PREFIX}MQTT_LISTEN_CERT=… {PREFIX}MQTT_LISTEN_KEY=…  # PEM files that belong together"
        return [Finding("MQTT listener", "missing", f"the certificate cannot be used: {error}", mend)]
    why = port_trouble(at.host, at.port)
    if why is None:
        return [Finding("MQTT listener", "ok", f"{at.host}:{at.port} is free")]
    if why.errno == errno.EADDRINUSE and service_answers(settings.http_host, settings.http_port):
        detail = f"{at.host}:{at.port} is listened on, and a tcewatch service answers by HTTP"
        return [Finding("MQTT listener", "ok", detail)]
    detail = f"{at.host}:{at.port} cannot be listened on: {said(why)}"
    return [Finding("MQTT listener", "missing", detail, f"export {PREFIX}MQTT_LISTEN=mqtt://127.0.0.1:1884")]


def port_trouble(host: str, port: int) -> OSError | None:
    """Why the service could not listen there; None if it could."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error
    return None


def service_answers(host: str, port: int) -> bool:
    """Whether what listens there says it is alive in the way our service does."""
    reach = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    connection = http.client.HTTPConnection(reach, port, timeout=ANSWER_WITHIN_S)
    try:
        connection.request("GET", "/healthz")
        body = json.loads(connection.getresponse().read(4096))
    except (OSError, ValueError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return isinstance(body, dict) and body.get("status") == "alive"


# Words ----------------------------------------------------------------------------------------------------------------


def stack_instead(variable: str) -> str:
    """The local stack in place of a server that does not answer; a variable that is set would win over it."""
    return f"unset {variable}; {STACK_UP}" if os.environ.get(variable) else STACK_UP


def said(error: Exception) -> str:
    return str(error) or type(error).__name__
