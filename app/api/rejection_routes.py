"""Refused readings: the list, and another try once the registry is mended."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from app.api.access import Reader, Supervising, sight
from app.api.answers import Asking, cursor_of, json_answer, number_key
from app.api.deps import Deps
from app.api.parameters import bound_us, known_parameters
from app.api.problems import BadQuery
from app.api.schemas.rejections import RejectionOut, ReplayIn, ReplayOut
from app.api.schemas.shared import Listed
from app.store import rejections
from app.store.rejections import Wanted
from energy.interval import from_us

router = APIRouter(tags=["ledger"], dependencies=[Depends(known_parameters)])

Text = Annotated[str | None, Query(max_length=100, pattern=r"^[^\x00]*$")]
Bound = Annotated[str | None, Query(max_length=64)]
Open = Annotated[bool | None, Query(alias="open", description="true: still refused; false: stored since.")]


def bounds(deps: Deps, start: str | None, end: str | None) -> tuple[datetime | None, datetime | None]:
    """Bounds of the receipt. Raises BadTime, TimezoneMissing, and BadQuery when they are the wrong way round."""
    zone = deps.calendar.zone
    first, last = (None if one is None else from_us(bound_us(one, zone), zone) for one in (start, end))
    if first is not None and last is not None and first >= last:
        raise BadQuery("to", "it should be later than from; the range is [from, to)")
    return first, last


@router.get("/rejections", operation_id="listRejections", response_model=Listed[RejectionOut])
async def list_rejections(
    deps: Deps,
    caller: Reader,
    asking: Asking,
    gateway: Text = None,
    enterprise: Text = None,
    meter: Text = None,
    code: Text = None,
    start: Annotated[Bound, Query(alias="from", description="Received from this moment on.")] = None,
    end: Annotated[Bound, Query(alias="to", description="Received before this moment.")] = None,
    is_open: Annotated[
        bool | None, Query(alias="open", description="true: still refused; false: stored since.")
    ] = None,
    raw: bool = False,
) -> Response:
    """Readings that were refused, newest first, each with its reason; for an admin also those of unknown gateways."""
    seen = sight(caller)
    first, last = bounds(deps, start, end)
    page = await rejections.rejections(
        deps.database,
        Wanted(gateway=gateway, enterprise=enterprise, meter=meter, code=code, start=first, end=last, open=is_open),
        scope=seen.scope,
        only=seen.only,
        strangers=caller.may_write,
        raw=raw,
        limit=asking.limit,
        after=number_key(asking.cursor),
    )
    return asking.answer(page.items, page.next, "rejections", RejectionOut)


@router.post("/rejections/replay", operation_id="replayRejections", response_model=ReplayOut)
async def replay_rejections(body: ReplayIn, deps: Deps, caller: Supervising) -> Response:
    """Readings that are still refused go through the whole way again, with the registry of now, oldest message first.

    What is then stored, or was there already, is marked and stays in the list; what is still refused says why. It may
    be asked for as often as one likes. `next` goes on where `limit` messages ended.
    """
    seen = sight(caller)
    first, last = bounds(deps, body.start, body.end)
    wanted = Wanted(body.ids, body.gateway, body.enterprise, body.meter, body.code, first, last)
    parcels, following = await rejections.chosen(
        deps.database,
        wanted,
        scope=seen.scope,
        only=seen.only,
        strangers=caller.may_write,
        limit=body.limit,
        after=number_key(body.cursor),
    )
    asked = body.model_dump(by_alias=True, exclude_none=True)
    done = await deps.replayer.replay(
        parcels, actor=caller.actor, asked=asked, now=deps.clock(), clock_was_wrong=body.clock_was_wrong
    )
    still = [
        {"rejected_id": one.rejected_id, "meter": one.meter, "code": one.code, "detail": one.detail}
        for one in done.still
    ]
    next_cursor = cursor_of(None if following is None else str(following))
    return json_answer(done.facts() | {"still": still, "next": next_cursor})
