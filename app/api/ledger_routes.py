"""What stands in the ledger: readings of a meter, revisions, and the trail."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from app.api.access import Reader, Supervising, Writer, sight, visible_meter, visible_region
from app.api.answers import (
    AskedFormat,
    Asking,
    AskingMany,
    Cursor,
    Limit,
    integer_key,
    json_answer,
    listed,
    number_key,
    time_key,
)
from app.api.deps import Deps
from app.api.parameters import bound_us, known_parameters
from app.api.problems import BadQuery
from app.api.schemas.ledger import (
    AuditOut,
    ClosingDayIn,
    ClosingDayOut,
    DifferenceOut,
    ReadingOut,
    RestatementOut,
    RevisionOut,
    VerificationOut,
)
from app.api.schemas.registry import CarrierInfoOut
from app.api.schemas.shared import Listed
from app.store import closings, listings, verifications
from energy.interval import Level, from_us

router = APIRouter(tags=["ledger"], dependencies=[Depends(known_parameters)])

Text = Annotated[str | None, Query(max_length=100, pattern=r"^[^\x00]*$")]
Bound = Annotated[str, Query(max_length=64)]


@router.get("/meters/{enterprise}/{code}/readings", operation_id="listMeterReadings", response_model=Listed[ReadingOut])
async def list_readings(
    enterprise: str,
    code: str,
    deps: Deps,
    caller: Reader,
    asking: AskingMany,
    start: Annotated[Bound, Query(alias="from")],
    end: Annotated[Bound, Query(alias="to")],
) -> Response:
    """Raw readings of [from, to) as the meter showed them, with why one is held out of the figures."""
    meter = await visible_meter(deps, caller, enterprise, code)
    zone = deps.calendar.zone
    bounds = [from_us(bound_us(bound, zone), zone) for bound in (start, end)]
    if bounds[0] >= bounds[1]:
        raise BadQuery("to", "it should be later than from; the range is [from, to)")
    page = await listings.readings(
        deps.database, meter["meter_id"], bounds[0], bounds[1], limit=asking.limit, after=time_key(asking.cursor)
    )
    return asking.answer(page.items, page.next, f"readings-{code}", ReadingOut)


@router.get(
    "/meters/{enterprise}/{code}/revisions", operation_id="listMeterRevisions", response_model=Listed[RevisionOut]
)
async def list_revisions(
    enterprise: str,
    code: str,
    deps: Deps,
    caller: Reader,
    asking: Asking,
) -> Response:
    """Values that were replaced, by whom and when."""
    meter = await visible_meter(deps, caller, enterprise, code)
    page = await listings.revisions(
        deps.database, meter["meter_id"], limit=asking.limit, after=number_key(asking.cursor)
    )
    return asking.answer(page.items, page.next, f"revisions-{code}", RevisionOut)


@router.get("/carriers", operation_id="listCarriers", response_model=Listed[CarrierInfoOut])
async def list_carriers(deps: Deps, caller: Reader, request: Request, asked: AskedFormat = None) -> Response:
    """Energy carriers and media, each with the unit its quantities are in."""
    return listed(request, await listings.carriers(deps.database), None, asked, "carriers", CarrierInfoOut)


@router.get("/audit", operation_id="listAudit", response_model=Listed[AuditOut])
async def list_audit(
    deps: Deps,
    caller: Writer,
    asking: Asking,
    object_kind: Text = None,
    object_id: Text = None,
) -> Response:
    """Who did what, newest first; also who asked for what was not theirs to see."""
    page = await listings.trail(
        deps.database, kind=object_kind, key=object_id, limit=asking.limit, after=number_key(asking.cursor)
    )
    return asking.answer(page.items, page.next, "audit", AuditOut)


@router.get("/restatements", operation_id="listRestatements", response_model=Listed[RestatementOut])
async def list_restatements(
    deps: Deps,
    caller: Reader,
    asking: Asking,
    region: Text = None,
    enterprise: Text = None,
    carrier: Text = None,
    month: Annotated[
        str | None, Query(max_length=64, description="The local month that was changed, as 2026-10.")
    ] = None,
    start: Annotated[str | None, Query(alias="from", max_length=64, description="Changes at or after it.")] = None,
    end: Annotated[str | None, Query(alias="to", max_length=64, description="Changes before it.")] = None,
) -> Response:
    """What changed a month after it was closed, newest first: by whom, why, and the figures before and after."""
    seen, zone = sight(caller), deps.calendar.zone
    month_us, since_us, until_us = [None if text is None else bound_us(text, zone) for text in (month, start, end)]
    if month_us is not None and deps.calendar.bucket_start(Level.MONTH, month_us) != month_us:
        raise BadQuery("month", "it should be a local month such as 2026-10")
    page = await closings.list_restatements(
        deps.database,
        scope=seen.scope,
        only=seen.only,
        region=region,
        enterprise_id=enterprise,
        carrier=carrier.lower() if carrier else None,
        month=None if month_us is None else from_us(month_us),
        since=None if since_us is None else from_us(since_us),
        until=None if until_us is None else from_us(until_us),
        limit=asking.limit,
        after=number_key(asking.cursor),
    )
    shown = [row | {"month": row["month"].astimezone(zone)} for row in page.items]
    return asking.answer(shown, page.next, "restatements", RestatementOut)


@router.get("/verifications", operation_id="listVerifications", response_model=Listed[VerificationOut])
async def list_verifications(
    deps: Deps, caller: Reader, request: Request, limit: Limit = 100, cursor: Cursor = None, asked: AskedFormat = None
) -> Response:
    """The nights on which a sample of the figures was computed from raw readings and compared, newest first."""
    page = await verifications.list_verifications(deps.database, limit=limit, after=integer_key(cursor))
    return listed(request, page.items, page.next, asked, "verifications", VerificationOut)


@router.get("/verifications/differences", operation_id="listDifferences", response_model=Listed[DifferenceOut])
async def list_differences(
    deps: Deps,
    caller: Reader,
    asking: Asking,
    everything: Annotated[bool, Query(alias="all", description="Also those that have gone.")] = False,
) -> Response:
    """Stored figures that are not what the readings say, newest first. There should be none."""
    seen = sight(caller)
    page = await verifications.list_differences(
        deps.database,
        scope=seen.scope,
        only=seen.only,
        everything=everything,
        limit=asking.limit,
        after=number_key(asking.cursor),
    )
    return asking.answer(page.items, page.next, "differences", DifferenceOut)


@router.get("/regions/{code}/closing-days", operation_id="listClosingDays", response_model=Listed[ClosingDayOut])
async def list_closing_days(code: str, deps: Deps, caller: Reader) -> Response:
    """On which day of the next the region's months are closed, newest first; without any as the region around it."""
    await visible_region(deps, caller, code)
    async with deps.database.engine.connect() as connection:
        found = await closings.closings_of(connection, code)
    return json_answer({"items": [row | {"from_month": f"{row['from_month']:%Y-%m}"} for row in found], "next": None})


@router.put("/regions/{code}/closing-days", operation_id="putClosingDay", response_model=Listed[ClosingDayOut])
async def put_closing_day(code: str, body: ClosingDayIn, deps: Deps, caller: Supervising) -> Response:
    """From a month on, the running one at the earliest: a month that is closed stays so."""
    await visible_region(deps, caller, code)
    async with deps.database.engine.begin() as connection:
        await closings.set_closing(
            connection,
            code,
            month=date.fromisoformat(f"{body.from_month}-01"),
            day=body.day,
            reason=body.reason,
            actor=caller.actor,
            running=deps.calendar.local_date(deps.now_us()).replace(day=1),
        )
    return await list_closing_days(code, deps, caller)
