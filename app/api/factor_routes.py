"""Dated coefficients: coal equivalents on both bases and CO2 factors, each with its source."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from app.api.access import Reader, Supervising, hidden, require_enterprise, sight
from app.api.answers import AskingMany, json_answer, key_of, number
from app.api.deps import ApiDeps, Deps
from app.api.parameters import known_parameters
from app.api.problems import BadCursor
from app.api.schemas.factors import FactorOut
from app.api.schemas.shared import Listed
from app.store import coefficients
from app.store.access import Caller, TokenRole
from app.store.coefficients import MADE_OF, Wanted
from app.store.entries import Day, FactorFields, FactorIn, values_of
from app.store.registry import Fields, NotThere, WrongField
from energy.tce import Basis

router = APIRouter(tags=["factors"], dependencies=[Depends(known_parameters)])

Text = Annotated[str | None, Query(max_length=100, pattern=r"^[^\x00]*$")]


@router.get("/factors", operation_id="listFactors", response_model=Listed[FactorOut])
async def list_factors(
    deps: Deps,
    caller: Reader,
    asking: AskingMany,
    carrier: Text = None,
    kind: Annotated[str | None, Query(pattern="^(coal_equivalent|co2)$")] = None,
    basis: Basis | None = None,
    dataset: Text = None,
    region: Text = None,
    enterprise: Text = None,
    on: Annotated[Day | None, Query(description="Only factors that hold on this day.")] = None,
) -> Response:
    """Dated coefficients with their source: coal equivalent on both bases, and CO2 by data set.

    An enterprise's own factors are seen by those who see the enterprise, the others by everybody.
    """
    seen = sight(caller)
    wanted = Wanted(carrier.lower() if carrier else None, kind, basis, dataset, region, enterprise, on)
    page = await coefficients.list_factors(
        deps.database, wanted, scope=seen.scope, only=seen.only, limit=asking.limit, after=_after(asking.cursor)
    )
    return asking.answer([factor_out(row) for row in page.items], page.next, "factors", FactorOut)


def _after(cursor: str | None) -> tuple[str, int] | None:
    words = key_of(cursor, 2)
    if words is None:
        return None
    if words[0] not in coefficients.KINDS or not words[1].isascii() or not words[1].isdigit() or len(words[1]) > 9:
        raise BadCursor("the cursor belongs to another list")
    return words[0], int(words[1])


@router.post("/factors", operation_id="createFactor", status_code=201, response_model=Listed[FactorOut])
async def create_factor(body: FactorIn, deps: Deps, caller: Supervising) -> Response:
    """Enter a factor. Exactly the hours on which it holds are computed again.

    A coal equivalent without `basis` is entered on both. Overlapping dates are refused with `factor-overlap`.
    """
    fields = values_of(body)
    await _may_keep(deps, caller, fields)
    async with deps.database.engine.begin() as connection:
        made = await coefficients.enter_factor(connection, fields, caller.actor, deps.calendar.zone)
    found = {"items": [factor_out(row) for row in made], "next": None}
    return json_answer(found, 201, {"Location": f"/api/v1/factors/{made[0]['id']}"})


@router.get("/factors/{factor}", operation_id="getFactor", response_model=FactorOut)
async def get_factor(factor: str, deps: Deps, caller: Reader) -> Response:
    return json_answer(factor_out(coefficients.shown(await _visible(deps, caller, factor))))


@router.put("/factors/{factor}", operation_id="changeFactor", response_model=FactorOut)
async def change_factor(factor: str, body: FactorFields, deps: Deps, caller: Supervising) -> Response:
    """Another value, other days or another source. What changes by it is computed again, and nothing else."""
    await _may_keep(deps, caller, await _visible(deps, caller, factor))
    async with deps.database.engine.begin() as connection:
        changed = await coefficients.change_factor(
            connection, factor, values_of(body), caller.actor, deps.calendar.zone
        )
    return json_answer(factor_out(changed))


@router.delete("/factors/{factor}", operation_id="removeFactor", status_code=204)
async def remove_factor(factor: str, deps: Deps, caller: Supervising) -> Response:
    """Take out a factor that was entered by hand; what held before holds again."""
    await _may_keep(deps, caller, await _visible(deps, caller, factor))
    async with deps.database.engine.begin() as connection:
        await coefficients.remove_factor(connection, factor, caller.actor, deps.calendar.zone)
    return Response(status_code=204)


def factor_out(row: Fields) -> dict[str, Any]:
    return {**row, **{name: number(row[name]) for name in ("value", *MADE_OF)}}


async def _visible(deps: ApiDeps, caller: Caller, key: str) -> Fields:
    try:
        found = await coefficients.factor_of(deps.database, key)
        owner = found["enterprise"]
        if owner is None or caller.sees_enterprise(owner, found["enterprise_region"]):
            return found
    except NotThere:
        pass
    raise await hidden(deps, caller, "factor", key)


async def _may_keep(deps: ApiDeps, caller: Caller, owner: Fields) -> None:
    """An enterprise's or a region's factor is kept by who sees it; a wider one, by an admin who sees every enterprise.

    Raises WrongField.
    """
    if owner["enterprise"] is not None:
        await require_enterprise(deps, caller, owner["enterprise"])
        return
    code = owner["region"] or ""
    if code.startswith(caller.scope):
        return
    if caller.role is not TokenRole.ADMIN or not await coefficients.sees_all(deps.database):
        whose = f"region {code!r}" if code else "the nation"
        raise WrongField("region", f"a factor of {whose} reaches beyond this token's scope {caller.scope}")
