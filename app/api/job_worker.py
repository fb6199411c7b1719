"""Makes the exports that were asked for as jobs: as the one who asked, by the routes that answer everybody."""

from __future__ import annotations

import asyncio
import json
import logging
import tempfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from fastapi import FastAPI
from starlette.types import Scope

from app.api.access import ON_BEHALF
from app.api.answers import Format
from app.api.exports import TYPES, Refused, asked_table, pieces, write
from app.store import jobs
from app.store.database import Database
from app.store.jobs import Claimed
from app.store.readings import is_unavailable
from app.store.waiting import first_of

log = logging.getLogger(__name__)

POLL_S = 2.0
LONGEST_WAIT_S = 30.0


class Abandoned(Exception):
    """The job was cancelled, or another worker has it."""


class JobWorker:
    """Works off jobs one by one until told to stop. Several may run, in one process or many."""

    def __init__(self, api: FastAPI, owner: Database, clock: Callable[[], datetime]) -> None:
        self._api, self._owner, self._clock = api, owner, clock

    async def run(self, until: asyncio.Event) -> None:
        """Never ends by itself; while the database is away it waits."""
        wait_s = POLL_S
        while not until.is_set():
            try:
                done = await self.one_job()
                wait_s = POLL_S
            except Exception as error:
                if not is_unavailable(error):
                    log.exception("a job could not be worked on")
                done, wait_s = False, min(2 * wait_s, LONGEST_WAIT_S)
            if not done:
                await first_of(wait_s, until)

    async def one_job(self) -> bool:
        """The next job, if there is one. Raises what the database raises."""
        now = self._clock()
        await jobs.expire(self._owner.pool, now)
        held = await jobs.claim(self._owner.pool, now)
        if held is None:
            return False
        try:
            await self._make(held)
        except Abandoned:
            log.info("job abandoned", extra={"job": str(held.job_id)})
        except Refused as refused:
            await self._fail(held, bytes(refused.answer.body).decode())
        except Exception as error:
            if is_unavailable(error):
                raise
            log.exception("job failed", extra={"job": str(held.job_id)})
            await self._fail(held, json.dumps({"code": "internal", "status": 500}))
        return True

    async def _make(self, held: Claimed) -> None:
        asked = asked_table(self._api, self._scope(held))
        if asked is None:
            await self._fail(held, json.dumps({"code": "not-found", "status": 404}))
            return
        form = Format(held.format)

        async def told(rows: int) -> None:
            if not await jobs.renew(self._owner.pool, held, rows, self._clock()):
                raise Abandoned

        with tempfile.TemporaryDirectory(prefix="tcewatch-job-") as folder:
            path = Path(folder) / "table"
            written = await write(pieces(self._api, asked), form, path, told)
            with path.open("rb") as file:
                await jobs.finish(
                    self._owner.pool,
                    held,
                    rows=written.rows,
                    filename=written.name,
                    content_type=TYPES[form],
                    file=file,
                    now=self._clock(),
                )

    async def _fail(self, held: Claimed, problem: str) -> None:
        await jobs.fail(self._owner.pool, held, problem, self._clock())

    def _scope(self, held: Claimed) -> Scope:
        """The request as it was made, by the token that made it."""
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "server": ("job", 0),
            "client": None,
            "root_path": "",
            "path": held.path,
            "raw_path": held.path.encode(),
            "query_string": held.query.encode("latin-1"),
            "headers": [(b"host", b"job"), (b"accept-language", held.language.encode("latin-1"))],
            "state": {},
            ON_BEHALF: held.token_id,
        }
