"""Regions, enterprises, gateways and meters."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from app.api.access import (
    Reader,
    Sight,
    Writer,
    require_enterprise,
    require_region,
    sight,
    visible_enterprise,
    visible_gateway,
    visible_meter,
    visible_region,
)
from app.api.answers import AskedFormat, Asking, Cursor, Limit, json_answer, key_of, listed, number, object_answer
from app.api.deps import ApiDeps, Deps
from app.api.parameters import known_parameters
from app.api.problems import BadCursor
from app.api.schemas.registry import (
    EnterpriseChange,
    EnterpriseListed,
    EnterpriseOut,
    GatewayChange,
    GatewayOut,
    GatewaySecretOut,
    GatewayWithGapsOut,
    MeterChange,
    MeterOut,
    MeterWithRefusedOut,
    RegionOut,
    changes_of,
)
from app.api.schemas.shared import Listed
from app.store import budgets, registry
from app.store.energy import enterprise_totals
from app.store.entries import EnterpriseIn, GatewayIn, MeterIn, values_of
from app.store.registry import Fields, public
from app.store.rejections import waiting_for
from energy.budget import Tier
from energy.interval import Level, from_us
from energy.tce import Basis
from ingest.liveness import GatewayState

router = APIRouter(tags=["registry"], dependencies=[Depends(known_parameters)])

PROBABILITY = re.compile(r"[01]\.[0-9]{1,20}|[0-9](\.[0-9]{1,20})?e-[0-9]{1,3}")
"""As Python writes a number from 0 to 1."""
Text = Annotated[str | None, Query(max_length=100, pattern=r"^[^\x00]*$")]


class EnterpriseSort(StrEnum):
    """`-tce`: the largest of the running year first; `-overrun_probability`: the likeliest to exceed a budget of it."""

    ID = "id"
    NAME = "name"
    TCE = "-tce"
    OVERRUN = "-overrun_probability"


@router.get("/regions", operation_id="listRegions", response_model=Listed[RegionOut])
async def list_regions(deps: Deps, caller: Reader, request: Request, asked: AskedFormat = None) -> Response:
    """The regions of the caller's subtree, parents first."""
    seen = sight(caller)
    found = await registry.regions(deps.database, seen.scope) if seen.scope is not None else []
    return listed(request, found, None, asked, "regions", RegionOut)


@router.get("/regions/{code}", operation_id="getRegion", response_model=RegionOut)
async def get_region(code: str, deps: Deps, caller: Reader) -> Response:
    return json_answer(await visible_region(deps, caller, code))


@router.get("/enterprises", operation_id="listEnterprises", response_model=Listed[EnterpriseListed])
async def list_enterprises(
    deps: Deps,
    caller: Reader,
    request: Request,
    region: Text = None,
    industry: Text = None,
    tier: Annotated[Tier | None, Query(description="Of the worst budget of the running year.")] = None,
    sort: EnterpriseSort = EnterpriseSort.ID,
    limit: Limit = 100,
    cursor: Cursor = None,
    asked: AskedFormat = None,
) -> Response:
    """Enterprises of a region (with all below it), of an industry or of a colour, a page at a time."""
    seen = sight(caller)
    if sort is EnterpriseSort.TCE:
        items, following = await _by_tce(deps, seen, region, industry, tier, limit, cursor)
    elif sort is EnterpriseSort.OVERRUN:
        page = await budgets.list_by_probability(
            deps.database,
            scope=seen.scope,
            only=seen.only,
            region=region,
            industry=industry,
            tier=tier,
            year=_this_year(deps),
            limit=limit,
            after=_probability_key(cursor),
        )
        items, following = page.items, page.next
    else:
        page = await registry.list_enterprises(
            deps.database,
            scope=seen.scope,
            only=seen.only,
            region_code=region,
            industry=industry,
            tier=tier,
            year=_this_year(deps),
            sort=sort.value,
            limit=limit,
            after=key_of(cursor, 2 if sort is EnterpriseSort.NAME else 1),
        )
        items, following = page.items, page.next
    return listed(request, items, following, asked, "enterprises", EnterpriseListed)


def _this_year(deps: ApiDeps) -> int:
    return deps.calendar.local_date(deps.now_us()).year


def _probability_key(cursor: str | None) -> list[str] | None:
    words = key_of(cursor, 2)
    if words is not None and words[0] and not PROBABILITY.fullmatch(words[0]):
        raise BadCursor("the cursor belongs to another list")
    return words


TCE = re.compile(r"-?[0-9]{1,30}(\.[0-9]{1,40})?")


async def _by_tce(
    deps: ApiDeps,
    seen: Sight,
    region: str | None,
    industry: str | None,
    tier: str | None,
    limit: int,
    cursor: str | None,
) -> tuple[Sequence[Fields], str | None]:
    """Largest first; those without a figure come last. The cursor is the last figure seen, and whose it is."""
    now_us = deps.now_us()
    page = await registry.list_by_tce(
        deps.database,
        scope=seen.scope,
        only=seen.only,
        region_code=region,
        industry=industry,
        tier=tier,
        year=_this_year(deps),
        year_start=from_us(deps.calendar.bucket_start(Level.YEAR, now_us)),
        limit=limit,
        after=_tce_key(cursor),
    )
    totals = await enterprise_totals(
        deps.database.pool,
        enterprises=[item["id"] for item in page.items],
        level=Level.YEAR,
        start_us=now_us,
        basis=Basis.EQUIVALENT,
        calendar=deps.calendar,
        now_us=now_us,
    )
    items = [
        item | {"tce": number(totals[item["id"]].tce), "coverage": totals[item["id"]].coverage} for item in page.items
    ]
    return items, page.next


def _tce_key(cursor: str | None) -> list[str] | None:
    words = key_of(cursor, 2)
    if words is not None and words[0] and not TCE.fullmatch(words[0]):
        raise BadCursor("the cursor belongs to another list")
    return words


@router.post("/enterprises", operation_id="createEnterprise", status_code=201, response_model=EnterpriseOut)
async def create_enterprise(body: EnterpriseIn, deps: Deps, caller: Writer) -> Response:
    await require_region(deps, caller, body.region)
    async with deps.database.engine.begin() as connection:
        made = await registry.create_enterprise(connection, values_of(body), caller.actor)
    return json_answer(made, 201, {"Location": f"/api/v1/enterprises/{body.id}"})


@router.get("/enterprises/{enterprise}", operation_id="getEnterprise", response_model=EnterpriseOut)
async def get_enterprise(enterprise: str, deps: Deps, caller: Reader) -> Response:
    return json_answer(await visible_enterprise(deps, caller, enterprise))


@router.patch("/enterprises/{enterprise}", operation_id="changeEnterprise", response_model=EnterpriseOut)
async def change_enterprise(enterprise: str, body: EnterpriseChange, deps: Deps, caller: Writer) -> Response:
    await visible_enterprise(deps, caller, enterprise)
    if body.region is not None:
        await require_region(deps, caller, body.region)
    return json_answer(await registry.change_enterprise(deps.database, enterprise, changes_of(body), caller.actor))


@router.get("/gateways", operation_id="listGateways", response_model=Listed[GatewayOut])
async def list_gateways(
    deps: Deps,
    caller: Reader,
    asking: Asking,
    enterprise: Text = None,
    state: GatewayState | None = None,
) -> Response:
    """By id. `state` is worked out from the last data, the expected interval and the last will."""
    seen = sight(caller)
    page = await registry.list_gateways(
        deps.database,
        scope=seen.scope,
        only=seen.only,
        enterprise_id=enterprise,
        state=state,
        now=deps.clock(),
        limit=asking.limit,
        after=key_of(asking.cursor),
    )
    items = [_shown(deps, item) for item in page.items]
    return asking.answer(items, page.next, "gateways", GatewayOut)


OF_ITSELF = {
    "state",
    "said",
    "said_at",
    "last_data_at",
    "clock_skew_s",
    "clock_skew_at",
    "clock_off",
    "last_seq",
    "gaps",
}
"""What a gateway says and does, beside what is set of it."""


def _shown(deps: ApiDeps, gateway: Fields) -> Fields:
    """A gateway, and whether its clock is further off than may be."""
    skew_s = gateway["clock_skew_s"]
    return gateway | {"clock_off": None if skew_s is None else abs(skew_s) > deps.clock_skew_max_s}


async def _now(deps: ApiDeps, key: str) -> Fields:
    return _shown(deps, await registry.gateway_of(deps.database, key, deps.clock()))


@router.post("/gateways", operation_id="createGateway", status_code=201, response_model=GatewaySecretOut)
async def create_gateway(body: GatewayIn, deps: Deps, caller: Writer) -> Response:
    """The answer holds the secret, this once. The broker lets the gateway in before the answer comes."""
    await require_enterprise(deps, caller, body.enterprise)
    async with deps.database.engine.begin() as connection:
        _, secret = await registry.create_gateway(connection, values_of(body), caller.actor)
        if deps.accounts is not None:
            await deps.accounts.put(body.id, secret)
    made = await _now(deps, body.id)
    return json_answer(made | {"secret": secret}, 201, {"Location": f"/api/v1/gateways/{body.id}"})


@router.get("/gateways/{gateway}", operation_id="getGateway", response_model=GatewayWithGapsOut)
async def get_gateway(gateway: str, deps: Deps, caller: Reader, request: Request) -> Response:
    found = await visible_gateway(deps, caller, gateway)
    shown = _shown(deps, found) | {"gaps": await registry.gaps_of(deps.database, gateway)}
    return object_answer(request, shown, OF_ITSELF)


@router.patch("/gateways/{gateway}", operation_id="changeGateway", response_model=GatewayOut)
async def change_gateway(gateway: str, body: GatewayChange, deps: Deps, caller: Writer) -> Response:
    """`active: false` shuts the gateway out of every door at once; `true` lets it in with the secret it has."""
    await visible_gateway(deps, caller, gateway)
    changes = changes_of(body)
    async with deps.database.engine.begin() as connection:
        await registry.change_gateway(connection, gateway, changes, caller.actor)
        if deps.accounts is not None and "active" in changes:
            await (deps.accounts.enable if changes["active"] else deps.accounts.disable)(gateway)
    return json_answer(await _now(deps, gateway))


@router.post("/gateways/{gateway}/secret", operation_id="rotateGatewaySecret", response_model=GatewaySecretOut)
async def rotate_secret(gateway: str, deps: Deps, caller: Writer) -> Response:
    """Another secret; the old one is worth nothing from now on. A gateway that is shut out stays shut out."""
    await visible_gateway(deps, caller, gateway)
    async with deps.database.engine.begin() as connection:
        changed, secret = await registry.new_secret(connection, gateway, caller.actor)
        if deps.accounts is not None:
            await deps.accounts.put(gateway, secret)
            if not changed["active"]:
                # The broker lets in whoever is given a secret. Nobody knows this one until we answer.
                await deps.accounts.disable(gateway)
    return json_answer(await _now(deps, gateway) | {"secret": secret})


@router.get("/meters", operation_id="listMeters", response_model=Listed[MeterOut])
async def list_meters(
    deps: Deps,
    caller: Reader,
    asking: Asking,
    enterprise: Text = None,
    gateway: Text = None,
    carrier: Text = None,
) -> Response:
    seen = sight(caller)
    page = await registry.list_meters(
        deps.database,
        scope=seen.scope,
        only=seen.only,
        enterprise_id=enterprise,
        gateway_id=gateway,
        carrier_code=carrier.lower() if carrier else None,
        limit=asking.limit,
        after=key_of(asking.cursor, 2),
    )
    return asking.answer(page.items, page.next, "meters", MeterOut)


@router.post("/meters", operation_id="createMeter", status_code=201, response_model=MeterWithRefusedOut)
async def create_meter(body: MeterIn, deps: Deps, caller: Writer) -> Response:
    await require_enterprise(deps, caller, body.enterprise)
    async with deps.database.engine.begin() as connection:
        made = await registry.create_meter(connection, values_of(body), caller.actor)
    headers = {"Location": f"/api/v1/meters/{body.enterprise}/{body.code}"}
    return json_answer(await _with_refused(deps, made), 201, headers)


@router.get("/meters/{enterprise}/{code}", operation_id="getMeter", response_model=MeterWithRefusedOut)
async def get_meter(enterprise: str, code: str, deps: Deps, caller: Reader, request: Request) -> Response:
    found = await _with_refused(deps, public(await visible_meter(deps, caller, enterprise, code)))
    return object_answer(request, found, {"first_at", "refused_readings"})


@router.patch("/meters/{enterprise}/{code}", operation_id="changeMeter", response_model=MeterWithRefusedOut)
async def change_meter(enterprise: str, code: str, body: MeterChange, deps: Deps, caller: Writer) -> Response:
    """A change of what the figures are made of has the meter's whole history computed again."""
    await visible_meter(deps, caller, enterprise, code)
    changed = await registry.change_meter(deps.database, enterprise, code, changes_of(body), caller.actor)
    return json_answer(await _with_refused(deps, changed))


async def _with_refused(deps: ApiDeps, meter: Fields) -> Fields:
    """A meter, and how much of what came for it was refused: what a replay could store now."""
    return meter | {"refused_readings": await waiting_for(deps.database, meter["enterprise"], meter["code"])}
