"""Budgets: plans and their revisions, proposals and decisions, the exclusion ledger, and how each budget stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from app.api.access import Reader, Supervising, sight, visible_enterprise
from app.api.answers import AskedFormat, Cursor, Limit, columns_of, json_answer, key_of, listed, number, sink_of
from app.api.deps import ApiDeps, Deps
from app.api.parameters import bound_us, known_parameters
from app.api.problems import BadCursor
from app.api.schemas.budgets import BudgetListed, BudgetOut, BudgetRowOut, ExclusionOut, PositionOut
from app.api.schemas.shared import Listed
from app.store import budgets, positions
from app.store.entries import BudgetDecisionIn, BudgetIn, ExclusionIn, WithdrawalIn, values_of
from app.store.region_totals import ledger_state
from app.store.registry import Fields, NotThere
from energy.budget import FIRST_YEAR, LAST_YEAR, BudgetBasis, Position, WrongBudget, checked_year
from energy.interval import from_us

router = APIRouter(tags=["budgets"], dependencies=[Depends(known_parameters)])

Basis = Annotated[
    BudgetBasis | None, Query(description="Without it: the budget on `equivalent`, or else the first there is.")
]
MONTHS = tuple(f"m{number:02}" for number in range(1, 13))


@router.get("/budgets", operation_id="listBudgets", response_model=Listed[BudgetListed])
async def list_budgets(
    deps: Deps,
    caller: Reader,
    request: Request,
    year: Annotated[int | None, Query(ge=FIRST_YEAR, le=LAST_YEAR)] = None,
    region: Annotated[str | None, Query(max_length=100, pattern=r"^[^\x00]*$")] = None,
    basis: BudgetBasis | None = None,
    limit: Limit = 100,
    cursor: Cursor = None,
    asked: AskedFormat = None,
) -> Response:
    """The budgets in force, by year and enterprise. As CSV or XLSX it is a file that can be imported again."""
    seen = sight(caller)
    page = await budgets.list_budgets(
        deps.database,
        scope=seen.scope,
        only=seen.only,
        year=year,
        region=region,
        basis=basis,
        limit=limit,
        after=_after(cursor),
    )
    model = BudgetListed if sink_of(request) is None else BudgetRowOut
    return listed(request, [_row(row) for row in page.items], page.next, asked, "budgets", model)


def _after(cursor: str | None) -> list[str] | None:
    words = key_of(cursor, 3)
    if words is not None and not (words[0].isascii() and words[0].isdigit() and len(words[0]) <= 4):
        raise BadCursor("the cursor belongs to another list")
    return words


@router.get("/enterprises/{enterprise}/budgets/{year}", operation_id="getBudget", response_model=BudgetOut)
async def get_budget(
    enterprise: str,
    year: str,
    deps: Deps,
    caller: Reader,
    request: Request,
    basis: Basis = None,
    asked: AskedFormat = None,
) -> Response:
    """The plan in force and every revision. As CSV or XLSX: the budgets in force, in the columns of an import."""
    await visible_enterprise(deps, caller, enterprise)
    rows = await _revisions(deps, enterprise, year, basis)
    sink = sink_of(request)
    if sink is not None:
        current = [found for one in BudgetBasis if (found := budgets.in_force(_of(rows, one))) is not None]
        return sink.take([_row(row) for row in current], columns_of(BudgetRowOut), "budget")
    return json_answer(_shown(enterprise, int(year), rows, basis))


async def _revisions(deps: ApiDeps, enterprise: str, year: str, basis: BudgetBasis | None) -> list[Fields]:
    """Raises NotThere when there is none."""
    found = await budgets.revisions(deps.database, enterprise, _year_or_gone(enterprise, year), basis)
    if not found:
        raise NotThere("budget", f"{enterprise}/{year}")
    return found


def _year_or_gone(enterprise: str, year: str) -> int:
    """A year in a path. What cannot be one has no budget either."""
    if not (len(year) == 4 and year.isascii() and year.isdigit() and FIRST_YEAR <= int(year) <= LAST_YEAR):
        raise NotThere("budget", f"{enterprise}/{year}")
    return int(year)


def _year_to_write(year: str) -> int:
    if not (len(year) == 4 and year.isascii() and year.isdigit()):
        raise WrongBudget("year", f"a year from {FIRST_YEAR} to {LAST_YEAR}, not {year[:20]}")
    return checked_year(int(year))


@router.put(
    "/enterprises/{enterprise}/budgets/{year}",
    operation_id="putBudget",
    response_model=BudgetOut,
    responses={201: {"model": BudgetOut, "description": "The first of this year on this basis"}},
)
async def put_budget(enterprise: str, year: str, body: BudgetIn, deps: Deps, caller: Supervising) -> Response:
    """Another revision, in force at once; with `approved: false` a proposal. The same again changes nothing.

    Without `monthly` the months follow the enterprise's own earlier years, or the calendar when there are none.
    """
    await visible_enterprise(deps, caller, enterprise)
    wanted = _year_to_write(year)
    plan = await budgets.plan_of(deps.database.pool, deps.calendar, enterprise, wanted, body)
    async with deps.database.engine.begin() as connection:
        made, fresh = await budgets.revise(
            connection,
            enterprise,
            wanted,
            body.basis,
            plan=plan,
            reason=body.reason,
            actor=caller.actor,
            now=deps.clock(),
            approved=body.approved,
        )
    await _evaluate(deps, enterprise, wanted)
    rows = await budgets.revisions(deps.database, enterprise, wanted, None)
    status = 201 if fresh and made["revision"] == 1 else 200
    return json_answer(_shown(enterprise, wanted, rows, body.basis), status)


async def _evaluate(deps: ApiDeps, enterprise: str, year: int) -> None:
    """What the lists show follows a change at once, not only with the next evaluation."""
    await positions.refresh(
        deps.database.pool, deps.calendar, years=[year], now_us=deps.now_us(), enterprises=[enterprise]
    )


@router.post(
    "/enterprises/{enterprise}/budgets/{year}/revisions/{revision}/decision",
    operation_id="decideBudget",
    response_model=BudgetOut,
)
async def decide_budget(
    enterprise: str, year: str, revision: int, body: BudgetDecisionIn, deps: Deps, caller: Supervising
) -> Response:
    """Approve or refuse a proposal. What was decided stays decided: another revision changes it."""
    await visible_enterprise(deps, caller, enterprise)
    wanted = _year_or_gone(enterprise, year)
    if not 0 < revision < 1_000_000:
        raise NotThere("budget", f"{enterprise}/{year}/{revision}")
    async with deps.database.engine.begin() as connection:
        await budgets.decide(
            connection,
            enterprise,
            wanted,
            body.basis,
            revision,
            approve=body.approve,
            note=body.note,
            actor=caller.actor,
            now=deps.clock(),
        )
    await _evaluate(deps, enterprise, wanted)
    rows = await budgets.revisions(deps.database, enterprise, wanted, None)
    return json_answer(_shown(enterprise, wanted, rows, body.basis))


@router.get(
    "/enterprises/{enterprise}/budgets/{year}/position", operation_id="getBudgetPosition", response_model=PositionOut
)
async def get_position(
    enterprise: str,
    year: str,
    deps: Deps,
    caller: Reader,
    basis: Basis = None,
    as_of: Annotated[
        str | None, Query(max_length=100, description="A moment or a local day; without it, now. Never later than now.")
    ] = None,
) -> Response:
    """What was spent, what the plan allowed, where the year will end and how sure that is."""
    await visible_enterprise(deps, caller, enterprise)
    now_us = deps.now_us()
    as_of_us = now_us if as_of is None else min(now_us, bound_us(as_of, deps.calendar.zone))
    rows = await _revisions(deps, enterprise, year, basis)
    current = _chosen(rows, basis)
    found = None
    if current is not None:
        found = await positions.position(
            deps.database.pool,
            deps.calendar,
            enterprise=enterprise,
            year=int(year),
            basis=BudgetBasis(current["basis"]),
            as_of_us=as_of_us,
        )
    if found is None:
        raise NotThere("budget", f"{enterprise}/{year}")
    made = {"factor_set": (await ledger_state(deps.database.pool, as_of_us)).factor_set}
    return json_answer(position_out(found, from_us(as_of_us, deps.calendar.zone).isoformat()) | made)


def position_out(found: Position, as_of: str) -> dict[str, Any]:
    budget, projection, crossing = found.budget, found.projection, found.crossing
    return {
        "enterprise": budget.enterprise,
        "year": budget.year,
        "basis": budget.basis,
        "unit": budget.basis.unit,
        "revision": budget.revision,
        "budget": number(budget.amount),
        "as_of": as_of,
        "spent": number(found.spent),
        "excluded": number(found.excluded),
        "plan_to_date": number(found.plan_to_date),
        "projection": {"p10": projection.low80, "p50": projection.projected, "p90": projection.high80},
        "overrun_probability": projection.p_over,
        "expected_overrun": projection.projected - float(budget.amount),
        "expected_crossing": crossing.expected,
        "crossing": {"earliest": crossing.earliest, "expected": crossing.expected, "latest": crossing.latest},
        "tier": found.tier,
        "completeness": found.completeness,
        "recent_cover": found.recent_cover,
        "months": found.months,
        "unmeasured_days": found.unmeasured_days,
        "assumed": found.assumed,
        "measured_from": found.measured_from,
        "notes": list(found.notes),
    }


# Exclusions -----------------------------------------------------------------------------------------------------------

EXCLUSIONS = "/enterprises/{enterprise}/budgets/{year}/exclusions"


@router.get(EXCLUSIONS, operation_id="listExclusions", response_model=Listed[ExclusionOut])
async def list_exclusions(
    enterprise: str,
    year: str,
    deps: Deps,
    caller: Reader,
    request: Request,
    basis: BudgetBasis | None = None,
    asked: AskedFormat = None,
) -> Response:
    """What is taken off the months of a year, with its evidence; withdrawn entries too."""
    await visible_enterprise(deps, caller, enterprise)
    found = await budgets.exclusions(deps.database, enterprise, _year_or_gone(enterprise, year), basis)
    items = [row | {"amount": number(row["amount"])} for row in found]
    return listed(request, items, None, asked, "exclusions", ExclusionOut)


@router.post(EXCLUSIONS, operation_id="createExclusion", status_code=201, response_model=ExclusionOut)
async def create_exclusion(enterprise: str, year: str, body: ExclusionIn, deps: Deps, caller: Supervising) -> Response:
    """Take an amount off a month that counts against budgets: it counts when the month is over."""
    await visible_enterprise(deps, caller, enterprise)
    wanted = _year_to_write(year)
    month = date.fromisoformat(f"{body.month}-01")
    if month.year != wanted:
        raise WrongBudget("month", f"{body.month} is no month of {wanted}")
    fields = values_of(body) | {"month": month}
    async with deps.database.engine.begin() as connection:
        made = await budgets.exclude(connection, enterprise, fields, caller.actor, deps.clock())
    await _evaluate(deps, enterprise, wanted)
    return json_answer(made | {"amount": number(made["amount"])}, 201)


@router.post(EXCLUSIONS + "/{exclusion}/withdraw", operation_id="withdrawExclusion", response_model=ExclusionOut)
async def withdraw_exclusion(
    enterprise: str, year: str, exclusion: int, body: WithdrawalIn, deps: Deps, caller: Supervising
) -> Response:
    """Take an entry back. It stays in the ledger with who, when and why."""
    await visible_enterprise(deps, caller, enterprise)
    wanted = _year_or_gone(enterprise, year)
    if not 0 < exclusion < 1 << 62:
        raise NotThere("exclusion", str(exclusion))
    async with deps.database.engine.begin() as connection:
        made = await budgets.withdraw(
            connection, enterprise, wanted, exclusion, why=body.reason, actor=caller.actor, now=deps.clock()
        )
    await _evaluate(deps, enterprise, wanted)
    return json_answer(made | {"amount": number(made["amount"])})


# How they look --------------------------------------------------------------------------------------------------------


def _of(rows: Sequence[Fields], basis: BudgetBasis) -> list[Fields]:
    return [row for row in rows if row["basis"] == basis]


def _chosen(rows: Sequence[Fields], basis: BudgetBasis | None) -> Fields | None:
    """The budget in force on the basis; without one asked for, the first there is."""
    bases = list(BudgetBasis) if basis is None else [basis]
    return next((found for one in bases if (found := budgets.in_force(_of(rows, one))) is not None), None)


def _shown(enterprise: str, year: int, rows: Sequence[Fields], basis: BudgetBasis | None) -> dict[str, Any]:
    current = _chosen(rows, basis)
    chosen = basis or BudgetBasis((current or rows[0])["basis"])
    found: Mapping[str, Any] = current or {}
    return {
        "enterprise": enterprise,
        "year": year,
        "basis": chosen,
        "unit": chosen.unit,
        **_amounts(found, chosen),
        "monthly": [number(month) for month in found["monthly"]] if found else None,
        "plan_source": found.get("plan_source"),
        "revision": found.get("revision"),
        "reason": found.get("reason"),
        "approved_by": found.get("decided_by"),
        "approved_at": found.get("decided_at"),
        "revisions": [_revision(row) for row in rows],
    }


def _revision(row: Fields) -> dict[str, Any]:
    shown = ("basis", "revision", "plan_source", "reason", "state", "entered_by", "entered_at")
    decision = ("decided_by", "decided_at", "decision_note")
    months = [number(month) for month in row["monthly"]]
    return {name: row[name] for name in shown + decision} | _amounts(row, row["basis"]) | {"monthly": months}


def _amounts(row: Mapping[str, Any], basis: str) -> dict[str, Any]:
    amount = number(row.get("amount"))
    return {"tce": None, "tco2": amount} if basis == BudgetBasis.CO2 else {"tce": amount, "tco2": None}


def _row(row: Fields) -> dict[str, Any]:
    """One line of the list, with its months side by side."""
    kept = {name: value for name, value in row.items() if name not in ("amount", "monthly")}
    months = dict(zip(MONTHS, map(number, row["monthly"]), strict=True))
    return kept | _amounts(row, row["basis"]) | months
