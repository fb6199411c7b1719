"""TimescaleDB for the local stack: made once, started on loopback, its folder mended after a crash."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
from pathlib import Path

import asyncpg

from app.stack.places import make_folder, server_user, write_for
from app.stack.process import Process, Server, free_port, last_lines, start, start_of, within, working_in
from app.stack.programs import Programs
from app.stack.trouble import StackTrouble

USER = DATABASE = "tcewatch"
START_DEADLINE_S = 60.0
ORPHAN_DEADLINE_S = 5.0
NEEDED_BYTES = 200_000_000
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # a socket's path may be longer than the kernel allows
    "shared_preload_libraries": "timescaledb",
    "timescaledb.telemetry_level": "off",
    "max_locks_per_transaction": "512",  # one lock a chunk: a year of history in one statement touches many
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "jit": "off",  # its compiler is left out of the unpacked packages: with it on, a costly query fails
    "max_worker_processes": "32",  # each database with the extension keeps one worker of its own
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class DatabaseServer(Server):
    """One PostgreSQL cluster below a folder."""

    name = "database"
    stop_signal = signal.SIGINT  # PostgreSQL's fast stop: sessions end, what is committed is written

    def __init__(self, folder: Path, programs: Programs) -> None:
        self._folder = folder
        self._data = folder / "data"
        self._programs = programs
        super().__init__(folder)

    def up(self) -> None:
        """Running and ready, with the database and its extension; reuses what runs."""
        if self.record.process() is None:
            self._make()
            self._mend()
            if self.record.process() is None:
                self._start()
        asyncio.run(self._prepare())

    def url(self, database: str = DATABASE, driver: str = "postgresql+asyncpg") -> str:
        return f"{driver}://{USER}:{self._password()}@127.0.0.1:{self.record.port()}/{database}"

    def _password(self) -> str:
        return (self._folder / "password").read_text(encoding="utf-8").strip()

    def _make(self) -> None:
        """initdb into a folder that gets its name only when it is whole."""
        if (self._data / "PG_VERSION").exists():
            return
        user = server_user()
        make_folder(self._folder, user)
        if shutil.disk_usage(self._folder).free < NEEDED_BYTES:
            raise StackTrouble(
                f"{self._folder} has less than {NEEDED_BYTES // 1_000_000} MB free: no room for a database"
            )
        for left_over in (self._data, half := self._folder / "data.half"):
            shutil.rmtree(left_over, ignore_errors=True)
        password = write_for(user, self._folder / "password", secrets.token_urlsafe(24))
        command = [
            *(self._programs.postgres_bin / "initdb", "-D", half, "-U", USER, "-E", "UTF8", "--locale=C.UTF-8"),
            *("--auth=scram-sha-256", f"--pwfile={password}", "--no-instructions"),
        ]
        process = start(command, self.log, user=user, environment=_environment())
        if not within(START_DEADLINE_S, lambda: not process.alive()) or not (half / "PG_VERSION").exists():
            process.end(signal.SIGKILL)
            raise StackTrouble(f"the database could not be made:\n{last_lines(self.log)}")
        half.rename(self._data)

    def _mend(self) -> None:
        """PostgreSQL's own pid file: its server is taken back when our record of it was lost; a stale file goes.

        A stale file whose number now belongs to another program would keep PostgreSQL from starting, and so would a
        session that did not notice the end of its server: it holds on to the shared memory.
        """
        pid_file = self._data / "postmaster.pid"
        try:
            lines = pid_file.read_text(encoding="utf-8").split("\n")
            pid, port = int(lines[0]), int(lines[3])
        except (OSError, ValueError, IndexError):
            pid, port = 0, 0
        started = start_of(pid)
        if started is not None and f" -D {self._data} " in _command_line(pid):
            self.record.write(Process(pid, started), port)
            return
        pid_file.unlink(missing_ok=True)
        for orphan in working_in(self._data.resolve()):
            orphan.end(signal.SIGTERM, timeout_s=ORPHAN_DEADLINE_S)

    def _start(self) -> None:
        port = free_port(self.record.port())
        options = [part for key, value in (SETTINGS | {"port": str(port)}).items() for part in ("-c", f"{key}={value}")]
        command = [self._programs.postgres_bin / "postgres", "-D", self._data, *options]
        process = start(command, self.log, user=server_user(), environment=_environment())
        self.record.write(process, port)
        if (
            not within(START_DEADLINE_S, lambda: asyncio.run(self._answers()) or not process.alive())
            or not process.alive()
        ):
            process.end(signal.SIGINT)
            raise StackTrouble(f"PostgreSQL did not start; the end of {self.log}:\n{last_lines(self.log)}")

    async def _answers(self) -> bool:
        try:
            connection = await asyncpg.connect(self.url("postgres", "postgresql"), timeout=5)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        await connection.close()
        return True

    async def _prepare(self) -> None:
        admin = await asyncpg.connect(self.url("postgres", "postgresql"), timeout=20)
        try:
            if not await admin.fetchval("SELECT true FROM pg_database WHERE datname = $1", DATABASE):
                await admin.execute(f"CREATE DATABASE {DATABASE}")
        finally:
            await admin.close()
        connection = await asyncpg.connect(self.url(driver="postgresql"), timeout=20)
        try:
            await connection.execute("SET client_min_messages = error; CREATE EXTENSION IF NOT EXISTS timescaledb")
        finally:
            await connection.close()


def _environment() -> dict[str, str]:
    """What a server needs, and nothing of the caller's PG… variables."""
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""
