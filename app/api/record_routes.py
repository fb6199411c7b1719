"""What people say about a meter: exchanges, multipliers, what a held reading was, readings that are to go."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from app.api.access import Reader, Supervising, Writer, sight, visible_meter
from app.api.answers import (
    AskedFormat,
    Asking,
    AskingMany,
    integer_key,
    json_answer,
    key_of,
    listed,
    number,
)
from app.api.deps import Deps
from app.api.parameters import bound_us, known_parameters
from app.api.problems import BadCursor, BadQuery
from app.api.schemas.records import (
    DecisionOut,
    DeletedReadingOut,
    DeletionIn,
    DeletionOut,
    ExchangeIn,
    ExchangeOut,
    HeldOut,
    MultiplierOut,
    ReadingDecisionIn,
    StuckOut,
)
from app.api.schemas.shared import Listed, Revocation
from app.store import records
from energy.consumption import HoldReason
from energy.interval import DAY_US, from_us

router = APIRouter(tags=["record"], dependencies=[Depends(known_parameters)])
METER = "/meters/{enterprise}/{code}"
Number = Annotated[int, "a record's number"]


@router.post(f"{METER}/exchanges", operation_id="recordExchange", status_code=201, response_model=ExchangeOut)
async def record_exchange(enterprise: str, code: str, body: ExchangeIn, deps: Deps, caller: Supervising) -> Response:
    """A register was replaced: the old one's final value and the new one's first one add up."""
    meter = await visible_meter(deps, caller, enterprise, code)
    made = await records.record_exchange(deps.database, meter, body.model_dump(), caller.actor, deps.clock())
    return json_answer(made, 201)


@router.get(f"{METER}/exchanges", operation_id="listExchanges", response_model=Listed[ExchangeOut])
async def list_exchanges(
    enterprise: str,
    code: str,
    deps: Deps,
    caller: Reader,
    asking: Asking,
) -> Response:
    """In the order they were recorded, the revoked ones too."""
    meter = await visible_meter(deps, caller, enterprise, code)
    page = await records.list_exchanges(
        deps.database, meter["meter_id"], limit=asking.limit, after=integer_key(asking.cursor)
    )
    return asking.answer(page.items, page.next, f"exchanges-{code}", ExchangeOut)


@router.post(f"{METER}/exchanges/{{exchange}}/revoke", operation_id="revokeExchange", response_model=ExchangeOut)
async def revoke_exchange(
    enterprise: str, code: str, exchange: int, body: Revocation, deps: Deps, caller: Supervising
) -> Response:
    """The exchange did not happen, or not so. The figures are computed again without it."""
    meter = await visible_meter(deps, caller, enterprise, code)
    return json_answer(
        await records.revoke_exchange(deps.database, meter, exchange, body.reason, caller.actor, deps.clock())
    )


@router.get(f"{METER}/multipliers", operation_id="listMultipliers", response_model=Listed[MultiplierOut])
async def list_multipliers(
    enterprise: str,
    code: str,
    deps: Deps,
    caller: Reader,
    asking: Asking,
) -> Response:
    """Multipliers that hold from a date on; before the first of them the meter's own one holds."""
    meter = await visible_meter(deps, caller, enterprise, code)
    page = await records.list_multipliers(
        deps.database, meter["meter_id"], limit=asking.limit, after=integer_key(asking.cursor)
    )
    shown = [row | {"multiplier": number(row["multiplier"])} for row in page.items]
    return asking.answer(shown, page.next, f"multipliers-{code}", MultiplierOut)


@router.post(
    f"{METER}/multipliers/{{multiplier}}/revoke", operation_id="revokeMultiplier", response_model=MultiplierOut
)
async def revoke_multiplier(
    enterprise: str, code: str, multiplier: int, body: Revocation, deps: Deps, caller: Writer
) -> Response:
    """The multiplier did not change then."""
    meter = await visible_meter(deps, caller, enterprise, code)
    return json_answer(
        await records.revoke_multiplier(deps.database, meter, multiplier, body.reason, caller.actor, deps.clock())
    )


@router.post(f"{METER}/decisions", operation_id="decideReading", status_code=201, response_model=DecisionOut)
async def decide(enterprise: str, code: str, body: ReadingDecisionIn, deps: Deps, caller: Supervising) -> Response:
    """Say what a reading was: real, a rollover, a reset, a new register's, or nothing.

    With an exchange, that exchange is recorded in the same transaction, and is revoked with the decision.
    """
    meter = await visible_meter(deps, caller, enterprise, code)
    fields = body.model_dump() | {"says": str(body.says)}
    return json_answer(await records.decide(deps.database, meter, fields, caller.actor, deps.clock()), 201)


@router.get(f"{METER}/decisions", operation_id="listDecisions", response_model=Listed[DecisionOut])
async def list_decisions(
    enterprise: str,
    code: str,
    deps: Deps,
    caller: Reader,
    asking: Asking,
) -> Response:
    """In the order they were taken, the revoked ones too."""
    meter = await visible_meter(deps, caller, enterprise, code)
    page = await records.list_decisions(
        deps.database, meter["meter_id"], limit=asking.limit, after=integer_key(asking.cursor)
    )
    return asking.answer(page.items, page.next, f"decisions-{code}", DecisionOut)


@router.post(f"{METER}/decisions/{{decision}}/revoke", operation_id="revokeDecision", response_model=DecisionOut)
async def revoke_decision(
    enterprise: str, code: str, decision: int, body: Revocation, deps: Deps, caller: Supervising
) -> Response:
    """Nobody says any more what the reading was: it is judged as if nobody ever had."""
    meter = await visible_meter(deps, caller, enterprise, code)
    return json_answer(
        await records.revoke_decision(deps.database, meter, decision, body.reason, caller.actor, deps.clock())
    )


Waiting = Annotated[
    bool, Query(description="Only those after which no reading stands and of which nobody has said what they were.")
]


@router.get("/held", operation_id="listHeld", response_model=Listed[HeldOut])
async def list_held(
    deps: Deps,
    caller: Reader,
    asking: Asking,
    enterprise: Annotated[str | None, Query(max_length=64, pattern=r"^[^\x00]*$")] = None,
    reason: HoldReason | None = None,
    waiting: Waiting = False,
) -> Response:
    """Readings held out of the figures, newest first, each with the reason and the last reading that stands."""
    seen = sight(caller)
    page = await records.list_held(
        deps.database,
        scope=seen.scope,
        only=seen.only,
        enterprise_id=enterprise,
        reason=None if reason is None else str(reason),
        waiting=waiting,
        limit=asking.limit,
        after=_keyed_time(asking.cursor),
    )
    return asking.answer(page.items, page.next, "held", HeldOut)


@router.get(f"{METER}/held", operation_id="listMeterHeld", response_model=Listed[HeldOut])
async def list_meter_held(
    enterprise: str,
    code: str,
    deps: Deps,
    caller: Reader,
    asking: Asking,
    waiting: Waiting = False,
) -> Response:
    """The same for one meter."""
    meter = await visible_meter(deps, caller, enterprise, code)
    seen = sight(caller)
    page = await records.list_held(
        deps.database,
        scope=seen.scope,
        only=seen.only,
        meter_id=meter["meter_id"],
        waiting=waiting,
        limit=asking.limit,
        after=_keyed_time(asking.cursor),
    )
    return asking.answer(page.items, page.next, f"held-{code}", HeldOut)


def _keyed_time(cursor: str | None) -> tuple[datetime, int] | None:
    """A time and a number, as a cursor keeps them."""
    words = key_of(cursor, 2)
    if words is None:
        return None
    try:
        at, number = datetime.fromisoformat(words[0]), int(words[1])
        if at.tzinfo is None or not 0 <= number < 1 << 31:
            raise ValueError(words)
    except ValueError as error:
        raise BadCursor("the cursor belongs to another list") from error
    return at, number


@router.post(f"{METER}/deletions", operation_id="deleteReadings", status_code=201, response_model=DeletionOut)
async def delete_readings(enterprise: str, code: str, body: DeletionIn, deps: Deps, caller: Writer) -> Response:
    """Take the readings of [from, to) out of the ledger. They are kept beside it, with who did it and why."""
    meter = await visible_meter(deps, caller, enterprise, code)
    return json_answer(await records.delete_readings(deps.database, meter, body.model_dump(), caller.actor), 201)


@router.get(f"{METER}/deletions", operation_id="listDeletions", response_model=Listed[DeletionOut])
async def list_deletions(
    enterprise: str,
    code: str,
    deps: Deps,
    caller: Reader,
    asking: Asking,
) -> Response:
    meter = await visible_meter(deps, caller, enterprise, code)
    page = await records.list_deletions(
        deps.database, meter["meter_id"], limit=asking.limit, after=integer_key(asking.cursor)
    )
    return asking.answer(page.items, page.next, f"deletions-{code}", DeletionOut)


@router.get(f"{METER}/deleted-readings", operation_id="listDeletedReadings", response_model=Listed[DeletedReadingOut])
async def list_deleted_readings(
    enterprise: str,
    code: str,
    deps: Deps,
    caller: Reader,
    asking: AskingMany,
    deletion: Annotated[int | None, Query(ge=1, lt=1 << 31, description="Only those of this deletion.")] = None,
) -> Response:
    """What was taken out, as the meter had shown it, by deletion and time."""
    meter = await visible_meter(deps, caller, enterprise, code)
    page = await records.deleted_readings(
        deps.database, meter["meter_id"], deletion, limit=asking.limit, after=_keyed_time(asking.cursor)
    )
    return asking.answer(page.items, page.next, f"deleted-{code}", DeletedReadingOut)


STUCK_SPAN_US = 400 * DAY_US
Bound = Annotated[str, Query(max_length=64)]


@router.get(f"{METER}/stuck", operation_id="listStuck", response_model=Listed[StuckOut])
async def list_stuck(
    enterprise: str,
    code: str,
    deps: Deps,
    caller: Reader,
    request: Request,
    start: Annotated[Bound, Query(alias="from")],
    end: Annotated[Bound, Query(alias="to")],
    hours: Annotated[float, Query(gt=0, le=10_000, description="How long one value must last at least.")] = 24,
    asked: AskedFormat = None,
) -> Response:
    """Stretches in which the meter showed one value again and again: a plant that stands still, or a meter that does.

    They are suspect and count all the same.
    """
    meter = await visible_meter(deps, caller, enterprise, code)
    zone = deps.calendar.zone
    bounds = bound_us(start, zone), bound_us(end, zone)
    if not bounds[0] < bounds[1] <= bounds[0] + STUCK_SPAN_US:
        raise BadQuery("to", "it should be later than from, by 400 days at most")
    runs = await records.stuck(deps.database, meter, from_us(bounds[0]), from_us(bounds[1]), hours=hours)
    shown = [
        {
            "start": from_us(run.start_us, zone),
            "end": from_us(run.end_us, zone),
            "value": run.value,
            "readings": run.count,
        }
        for run in runs
    ]
    return listed(request, shown, None, asked, f"stuck-{code}", StuckOut)
