"""Budgets and their revisions, what is excluded from them, and the list of them. Nothing here is ever overwritten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import asyncpg
from sqlalchemy import Select, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.access import write_audit
from app.store.database import Database
from app.store.entries import BudgetIn
from app.store.positions import own_months
from app.store.registry import Fields, NotThere, Page, plain
from app.store.tables.budgets import budget_exclusion, budget_position, budget_revision, budget_standing
from app.store.tables.registry import enterprise
from energy.budget import BudgetBasis, PlanSource, WrongBudget, checked_amount, checked_year, given_plan, shared_plan
from energy.interval import SiteCalendar
from energy.ordinary_year import DAYS, MONTHS

APPROVED, PROPOSED, REFUSED = "approved", "proposed", "refused"
ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))"
"""Two revisions entered at once get two numbers."""


class AlreadyDecided(ValueError):
    """A decision on a revision that needs none. Attributes: revision, state."""

    def __init__(self, revision: int, state: str) -> None:
        self.revision, self.state = revision, state
        super().__init__(f"revision {revision} was {state} before; enter another one instead")


class Overtaken(ValueError):
    """A proposal older than the revision in force. Attributes: revision, in_force."""

    def __init__(self, revision: int, in_force: int) -> None:
        self.revision, self.in_force = revision, in_force
        super().__init__(f"revision {revision} is older than revision {in_force}, which is in force; enter another one")


def key_of(enterprise_id: str, year: int, basis: str) -> str:
    return f"{enterprise_id}/{year}/{basis}"


@dataclass(frozen=True, slots=True)
class Plan:
    """A year's amount with its months."""

    amount: Decimal
    monthly: tuple[Decimal, ...]
    source: PlanSource


async def plan_of(pool: asyncpg.Pool, calendar: SiteCalendar, enterprise_id: str, year: int, body: BudgetIn) -> Plan:
    """What a body asks for: its own months, else those of the enterprise's earlier years, else by days.

    Raises WrongBudget.
    """
    checked_year(year)
    field, other = ("tco2", "tce") if body.basis is BudgetBasis.CO2 else ("tce", "tco2")
    amount = getattr(body, field)
    if amount is None or getattr(body, other) is not None:
        raise WrongBudget(field, f"a budget on the basis {body.basis} is given as {field} alone")
    checked_amount(amount, field)
    if body.monthly is not None:
        return Plan(amount, given_plan(amount, body.monthly), PlanSource.GIVEN)
    own = await own_months(pool, calendar, enterprise=enterprise_id, year=year, basis=body.basis)
    source = PlanSource.EVEN if own is None else PlanSource.HISTORY
    return Plan(amount, shared_plan(amount, DAYS if own is None else own), source)


# Revisions ------------------------------------------------------------------------------------------------------------


async def revise(
    connection: AsyncConnection,
    enterprise_id: str,
    year: int,
    basis: BudgetBasis,
    *,
    plan: Plan,
    reason: str,
    actor: str,
    now: datetime,
    approved: bool = True,
) -> tuple[Fields, bool]:
    """Another revision, and whether it is one: what stands already, in the same words, is answered as it is.

    An approved one is in force at once. Raises NotThere for an unknown enterprise.
    """
    await _lock(connection, enterprise_id, year, basis)
    if await connection.scalar(select(enterprise.c.id).where(enterprise.c.id == enterprise_id)) is None:
        raise NotThere("enterprise", enterprise_id)
    rows = await _revisions(connection, enterprise_id, year, basis)
    monthly, source = list(plan.monthly), str(plan.source)
    values = {"amount": plan.amount, "monthly": monthly, "plan_source": source, "reason": reason}
    values["state"] = APPROVED if approved else PROPOSED
    if rows and all(rows[-1][name] == value for name, value in values.items()):
        return rows[-1], False
    key = {"enterprise": enterprise_id, "year": year, "basis": str(basis), "revision": len(rows) + 1}
    entered = {"entered_by": actor, "entered_at": now}
    decided = {"decided_by": actor, "decided_at": now} if approved else {}
    new = insert(budget_revision).values(**key, **values, **entered, **decided).returning(budget_revision)
    made = dict((await connection.execute(new)).one()._mapping)
    action = "budget.revise" if approved else "budget.propose"
    await _write_trail(connection, actor, action, in_force(rows), made)
    return made, True


async def decide(
    connection: AsyncConnection,
    enterprise_id: str,
    year: int,
    basis: BudgetBasis,
    revision: int,
    *,
    approve: bool,
    note: str | None,
    actor: str,
    now: datetime,
) -> Fields:
    """Approves or refuses a proposal. Raises NotThere, AlreadyDecided, and Overtaken for a proposal that is too old."""
    await _lock(connection, enterprise_id, year, basis)
    rows = await _revisions(connection, enterprise_id, year, basis)
    found = next((row for row in rows if row["revision"] == revision), None)
    if found is None:
        raise NotThere("budget", f"{key_of(enterprise_id, year, basis)}/{revision}")
    if found["state"] != PROPOSED:
        raise AlreadyDecided(revision, found["state"])
    standing = in_force(rows)
    if approve and standing is not None and standing["revision"] > revision:
        raise Overtaken(revision, standing["revision"])
    state = APPROVED if approve else REFUSED
    values = {"state": state, "decided_by": actor, "decided_at": now, "decision_note": note}
    changed = update(budget_revision).where(budget_revision.c.revision_id == found["revision_id"]).values(**values)
    made = dict((await connection.execute(changed.returning(budget_revision))).one()._mapping)
    await _write_trail(connection, actor, "budget.approve" if approve else "budget.refuse", standing, made)
    return made


async def revisions(database: Database, enterprise_id: str, year: int, basis: BudgetBasis | None) -> list[Fields]:
    """Every revision, oldest first: of one basis, or of all."""
    query = select(budget_revision).where(budget_revision.c.enterprise == enterprise_id, budget_revision.c.year == year)
    if basis is not None:
        query = query.where(budget_revision.c.basis == str(basis))
    async with database.engine.connect() as connection:
        found = await connection.execute(query.order_by(budget_revision.c.basis, budget_revision.c.revision))
        return [dict(row._mapping) for row in found]


def in_force(rows: Sequence[Fields]) -> Fields | None:
    """The revision that counts: the newest approved one."""
    approved = [row for row in rows if row["state"] == APPROVED]
    return max(approved, key=lambda row: row["revision"]) if approved else None


async def _lock(connection: AsyncConnection, enterprise_id: str, year: int, basis: BudgetBasis) -> None:
    await connection.execute(text(ONE_AT_A_TIME), {"key": "budget/" + key_of(enterprise_id, year, basis)})


async def _revisions(connection: AsyncConnection, enterprise_id: str, year: int, basis: BudgetBasis) -> list[Fields]:
    table = budget_revision.c
    query = select(budget_revision).where(
        table.enterprise == enterprise_id, table.year == year, table.basis == str(basis)
    )
    return [dict(row._mapping) for row in await connection.execute(query.order_by(table.revision))]


async def _write_trail(
    connection: AsyncConnection, actor: str, action: str, before: Fields | None, made: Fields
) -> None:
    key = key_of(made["enterprise"], made["year"], made["basis"])
    await write_audit(connection, actor, action, "budget", key, before=_told(before), after=_told(made))


def _told(row: Fields | None) -> Fields | None:
    """What the trail keeps of a revision."""
    if row is None:
        return None
    kept = {name: row[name] for name in ("revision", "plan_source", "reason", "state", "decision_note")}
    return kept | {"amount": f"{row['amount']:f}", "monthly": [f"{month:f}" for month in row["monthly"]]}


# The list -------------------------------------------------------------------------------------------------------------


async def list_budgets(
    database: Database,
    *,
    scope: str | None,
    only: str | None,
    year: int | None,
    region: str | None,
    basis: BudgetBasis | None,
    limit: int,
    after: Sequence[str] | None,
) -> Page:
    """The budgets in force, by year, enterprise and basis, each with where it stood when last evaluated."""
    table = budget_revision.c
    keys = (table.year, table.enterprise, table.basis)
    query = _in_force_with_positions()
    for code in (scope, region):
        if code is not None:
            query = query.where(enterprise.c.region.startswith(code, autoescape=True))
    for column, wanted in ((enterprise.c.id, only), (table.year, year), (table.basis, basis and str(basis))):
        if wanted is not None:
            query = query.where(column == wanted)
    if after is not None:
        query = query.where(func.row(*keys) > func.row(int(after[0]), after[1], after[2]))
    async with database.engine.connect() as connection:
        rows = [dict(row._mapping) for row in await connection.execute(query.limit(limit + 1))]
    more = len(rows) > limit
    last = rows[limit - 1] if more else None
    following = None if last is None else f"{last['year']}\x1f{last['enterprise']}\x1f{last['basis']}"
    return Page(rows[:limit], following)


def _in_force_with_positions() -> Select[Any]:
    """The newest approved revision of each budget, beside its kept position, by year, enterprise and basis."""
    table, stood = budget_revision.c, budget_position.c
    keys = (table.year, table.enterprise, table.basis)
    of_it = (stood.enterprise == table.enterprise) & (stood.year == table.year) & (stood.basis == table.basis)
    said = (table.revision, table.amount, table.monthly, table.plan_source, table.reason)
    return (
        select(*keys, *said, stood.tier, stood.overrun_probability, stood.evaluated_at)
        .ext(distinct_on(*keys))
        .join_from(budget_revision, enterprise, table.enterprise == enterprise.c.id)
        .outerjoin(budget_position, of_it)
        .where(table.state == APPROVED)
        .order_by(*keys, table.revision.desc())
    )


async def list_by_probability(
    database: Database,
    *,
    scope: str | None,
    only: str | None,
    region: str | None,
    industry: str | None,
    tier: str | None,
    year: int,
    limit: int,
    after: Sequence[str] | None,
) -> Page:
    """Enterprises by the probability of their worst budget of the year, then those without one by id.

    The first part is read along an index. The key of a page is (probability, id); without a budget, ("", id).
    """
    wanted = [enterprise.c.region.startswith(code, autoescape=True) for code in (scope, region) if code is not None]
    if only is not None:
        wanted.append(enterprise.c.id == only)
    if industry is not None:
        wanted.append(enterprise.c.industry.startswith(industry, autoescape=True))
    rows: list[Fields] = []
    async with database.engine.connect() as connection:
        if after is None or after[0]:
            query = _judged(year, tier, after).where(*wanted).limit(limit + 1)
            rows += [dict(row._mapping) for row in await connection.execute(query)]
        if tier is None and len(rows) <= limit:
            query = _not_judged(year, after).where(*wanted).limit(limit + 1 - len(rows))
            rows += [dict(row._mapping) for row in await connection.execute(query)]
    shown = rows[:limit]
    if len(rows) <= limit:
        return Page(shown, None)
    last = shown[-1]["overrun_probability"]
    return Page(shown, f"{'' if last is None else repr(last)}\x1f{shown[-1]['id']}")


def _judged(year: int, tier: str | None, after: Sequence[str] | None) -> Select[Any]:
    """Enterprises with a budget of the year, likeliest to exceed it first, behind (probability, id)."""
    stood = budget_standing.c
    joined = (stood.enterprise == enterprise.c.id) & (stood.year == year)
    query = select(*enterprise.c, stood.overrun_probability, stood.tier).join_from(budget_standing, enterprise, joined)
    if tier is not None:
        query = query.where(stood.tier == tier)
    if after is not None:
        at = float(after[0])
        behind = (stood.overrun_probability == at) & (stood.enterprise > after[1])
        query = query.where((stood.overrun_probability < at) | behind)
    return query.order_by(stood.overrun_probability.desc(), stood.enterprise)


def _not_judged(year: int, after: Sequence[str] | None) -> Select[Any]:
    """Those without one, by id, behind ("", id)."""
    stood = budget_standing.c
    joined = (stood.enterprise == enterprise.c.id) & (stood.year == year)
    columns = [*enterprise.c, stood.overrun_probability, stood.tier]
    query = select(*columns).join_from(enterprise, budget_standing, joined, isouter=True)
    query = query.where(stood.enterprise.is_(None))
    if after is not None and not after[0]:
        query = query.where(enterprise.c.id > after[1])
    return query.order_by(enterprise.c.id)


# Exclusions -----------------------------------------------------------------------------------------------------------


async def exclusions(database: Database, enterprise_id: str, year: int, basis: BudgetBasis | None) -> list[Fields]:
    """The ledger of a year, withdrawn entries included, in order of entry."""
    table = budget_exclusion.c
    query = select(budget_exclusion).where(
        table.enterprise == enterprise_id, table.month >= date(year, 1, 1), table.month <= date(year, MONTHS, 1)
    )
    if basis is not None:
        query = query.where(table.basis == str(basis))
    async with database.engine.connect() as connection:
        return [dict(row._mapping) for row in await connection.execute(query.order_by(table.exclusion_id))]


async def exclude(connection: AsyncConnection, enterprise_id: str, fields: Fields, actor: str, now: datetime) -> Fields:
    """Enters what is taken off a month, with its evidence."""
    values = fields | {"enterprise": enterprise_id, "entered_by": actor, "entered_at": now}
    made = dict(
        (await connection.execute(insert(budget_exclusion).values(**values).returning(budget_exclusion))).one()._mapping
    )
    await write_audit(connection, actor, "budget.exclude", "budget", enterprise_id, after=plain(fields))
    return made


async def withdraw(
    connection: AsyncConnection, enterprise_id: str, year: int, exclusion: int, *, why: str, actor: str, now: datetime
) -> Fields:
    """Takes an entry back; it stays in the ledger. Raises NotThere for none, and AlreadyDecided for a second time."""
    table = budget_exclusion.c
    in_year = (table.month >= date(year, 1, 1)) & (table.month <= date(year, MONTHS, 1))
    is_it = (table.enterprise == enterprise_id) & (table.exclusion_id == exclusion) & in_year
    row = (await connection.execute(select(budget_exclusion).where(is_it).with_for_update())).one_or_none()
    if row is None:
        raise NotThere("exclusion", str(exclusion))
    if row.withdrawn_at is not None:
        raise AlreadyDecided(exclusion, "withdrawn")
    values = {"withdrawn_by": actor, "withdrawn_at": now, "withdrawn_why": why}
    changed = update(budget_exclusion).where(is_it).values(**values).returning(budget_exclusion)
    made: dict[str, Any] = dict((await connection.execute(changed)).one()._mapping)
    old, action = plain(dict(row._mapping)), "budget.withdraw-exclusion"
    await write_audit(connection, actor, action, "budget", enterprise_id, before=old, after=plain(made))
    return made
