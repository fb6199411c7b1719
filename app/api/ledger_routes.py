"""What stands in the ledger: readings of a meter, revisions, and the trail."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from app.api.access import Reader, Writer, visible_meter
from app.api.answers import AskedFormat, Cursor, Limit, listed, number_key, time_key
from app.api.deps import Deps
from app.api.parameters import bound_us, known_parameters
from app.api.problems import BadQuery
from app.api.schemas import AuditOut, CarrierInfoOut, Listed, ReadingOut, RevisionOut
from app.store import listings
from energy.interval import from_us

router = APIRouter(tags=["ledger"], dependencies=[Depends(known_parameters)])

Text = Annotated[str | None, Query(max_length=100, pattern=r"^[^\x00]*$")]
Bound = Annotated[str, Query(max_length=64)]


@router.get("/meters/{enterprise}/{code}/readings", operation_id="listMeterReadings", response_model=Listed[ReadingOut])
async def list_readings(
    enterprise: str,
    code: str,
    deps: Deps,
    caller: Reader,
    request: Request,
    start: Annotated[Bound, Query(alias="from")],
    end: Annotated[Bound, Query(alias="to")],
    limit: Limit = 1000,
    cursor: Cursor = None,
    asked: AskedFormat = None,
) -> Response:
    """Raw readings of [from, to) as the meter showed them, with why one is held out of the figures."""
    meter = await visible_meter(deps, caller, enterprise, code)
    zone = deps.calendar.zone
    bounds = [from_us(bound_us(bound, zone), zone) for bound in (start, end)]
    if bounds[0] >= bounds[1]:
        raise BadQuery("to", "it should be later than from; the range is [from, to)")
    page = await listings.readings(
        deps.database, meter["meter_id"], bounds[0], bounds[1], limit=limit, after=time_key(cursor)
    )
    return listed(request, page.items, page.next, asked, f"readings-{code}", ReadingOut)


@router.get(
    "/meters/{enterprise}/{code}/revisions", operation_id="listMeterRevisions", response_model=Listed[RevisionOut]
)
async def list_revisions(
    enterprise: str,
    code: str,
    deps: Deps,
    caller: Reader,
    request: Request,
    limit: Limit = 100,
    cursor: Cursor = None,
    asked: AskedFormat = None,
) -> Response:
    """Values that were replaced, by whom and when."""
    meter = await visible_meter(deps, caller, enterprise, code)
    page = await listings.revisions(deps.database, meter["meter_id"], limit=limit, after=number_key(cursor))
    return listed(request, page.items, page.next, asked, f"revisions-{code}", RevisionOut)


@router.get("/carriers", operation_id="listCarriers", response_model=Listed[CarrierInfoOut])
async def list_carriers(deps: Deps, caller: Reader, request: Request, asked: AskedFormat = None) -> Response:
    """Energy carriers and media, each with the unit its quantities are in."""
    return listed(request, await listings.carriers(deps.database), None, asked, "carriers", CarrierInfoOut)


@router.get("/audit", operation_id="listAudit", response_model=Listed[AuditOut])
async def list_audit(
    deps: Deps,
    caller: Writer,
    request: Request,
    object_kind: Text = None,
    object_id: Text = None,
    limit: Limit = 100,
    cursor: Cursor = None,
    asked: AskedFormat = None,
) -> Response:
    """Who did what, newest first; also who asked for what was not theirs to see."""
    page = await listings.trail(deps.database, kind=object_kind, key=object_id, limit=limit, after=number_key(cursor))
    return listed(request, page.items, page.next, asked, "audit", AuditOut)
