"""Jobs: exports too long to wait for. They belong to the token that asked for them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Scope

from app.api.access import Reader, hidden
from app.api.answers import Asking, Format, json_answer, key_of
from app.api.deps import ApiDeps, Deps
from app.api.parameters import known_parameters
from app.api.problems import BadCursor
from app.api.schemas.jobs import JobOut
from app.api.schemas.shared import Listed
from app.store import jobs
from app.store.registry import Fields, NotThere

router = APIRouter(tags=["jobs"], dependencies=[Depends(known_parameters)])
FILES = {"application/octet-stream": {"schema": {"type": "string", "contentMediaType": "application/octet-stream"}}}


@router.get("/jobs", operation_id="listJobs", response_model=Listed[JobOut])
async def list_jobs(
    deps: Deps,
    caller: Reader,
    asking: Asking,
) -> Response:
    """The jobs of this token, newest first, until they expire a day after they were asked for."""
    page = await jobs.listed(deps.owner, caller.number, limit=asking.limit, after=_place(asking.cursor))
    return asking.answer([job_out(item) for item in page.items], page.next, "jobs", JobOut)


@router.get("/jobs/{job}", operation_id="getJob", response_model=JobOut)
async def get_job(job: str, deps: Deps, caller: Reader) -> Response:
    """How far it is. When `state` is `done`, `result` is the address of the file."""
    try:
        return json_answer(job_out(await jobs.one(deps.owner, caller.number, job)))
    except NotThere:
        raise await hidden(deps, caller, "job", job) from None


@router.get(
    "/jobs/{job}/result", operation_id="getJobResult", response_class=Response, responses={200: {"content": FILES}}
)
async def get_result(job: str, deps: Deps, caller: Reader) -> Response:
    """The file. 409 while the job is not done."""
    try:
        found = await jobs.result(deps.owner, caller.number, job)
    except NotThere:
        raise await hidden(deps, caller, "job", job) from None
    headers = {
        "Content-Disposition": f'attachment; filename="{found.filename}"',
        "Content-Length": str(found.size),
        "Cache-Control": "private, no-cache",
    }
    return StreamingResponse(jobs.parts(deps.owner, found), 200, headers, found.content_type)


@router.delete("/jobs/{job}", operation_id="endJob", status_code=204, response_class=Response)
async def end_job(job: str, deps: Deps, caller: Reader) -> Response:
    """Cancels a job that is not finished; removes a finished one with its file."""
    try:
        await jobs.end(deps.owner, caller.number, job, deps.clock())
    except NotThere:
        raise await hidden(deps, caller, "job", job) from None
    return Response(status_code=204)


async def make_job(request: Request, scope: Scope, form: Format) -> Mapping[str, Any]:
    """A job for a table that was just asked for, by whoever asked for it. Raises TooManyJobs."""
    deps: ApiDeps = request.app.state.deps
    query = [(name, value) for name, value in parse_qsl(scope["query_string"].decode("latin-1")) if name != "format"]
    fields = await jobs.create(
        deps.owner,
        request.state.caller.number,
        path=scope["path"],
        query=urlencode([*query, ("format", form.value)]),
        form=form.value,
        language=request.headers.get("accept-language", "en")[:100],
        now=deps.clock(),
    )
    return job_out(fields)


def job_out(fields: Fields) -> dict[str, Any]:
    done = fields["state"] == "done"
    return {
        **fields,
        "id": str(fields["id"]),
        "problem": None if fields["problem"] is None else json.loads(fields["problem"]),
        "result": f"/api/v1/jobs/{fields['id']}/result" if done else None,
    }


def _place(cursor: str | None) -> tuple[datetime, uuid.UUID] | None:
    words = key_of(cursor, 2)
    if words is None:
        return None
    try:
        at, number = datetime.fromisoformat(words[0]), uuid.UUID(words[1])
    except ValueError as error:
        raise BadCursor("the cursor belongs to another list") from error
    if at.tzinfo is None:
        raise BadCursor("the cursor belongs to another list")
    return at, number
