"""Budgets, their positions and what is taken off."""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal

from pydantic import BaseModel, Field

from energy.budget import BudgetBasis, PlanSource, Tier


class RevisionOfBudgetOut(BaseModel):
    basis: BudgetBasis
    revision: int
    tce: float | None
    tco2: float | None
    monthly: list[float]
    plan_source: PlanSource
    reason: str
    state: Literal["proposed", "approved", "refused"]
    entered_by: str
    entered_at: datetime
    decided_by: str | None
    decided_at: datetime | None
    decision_note: str | None


class BudgetOut(BaseModel):
    enterprise: str
    year: int
    basis: BudgetBasis
    unit: Literal["tce", "tCO2"]
    tce: float | None = Field(description="The amount in force on a basis of coal equivalent; net.")
    tco2: float | None = Field(description="The amount in force on the basis `co2`; net.")
    monthly: list[float] | None = Field(description="Twelve months that add up to the amount.")
    plan_source: PlanSource | None
    revision: int | None = Field(description="The one in force: the newest approved; null while all are proposals.")
    reason: str | None
    approved_by: str | None
    approved_at: datetime | None
    revisions: list[RevisionOfBudgetOut] = Field(description="All of them on every basis, oldest first; none is lost.")


class BudgetRowOut(BaseModel):
    """A budget in force as one row, in the columns that `tcewatch import budgets` takes."""

    enterprise: str
    year: int
    basis: BudgetBasis
    tce: float | None
    tco2: float | None
    m01: float
    m02: float
    m03: float
    m04: float
    m05: float
    m06: float
    m07: float
    m08: float
    m09: float
    m10: float
    m11: float
    m12: float
    reason: str


class BudgetListed(BudgetRowOut):
    revision: int
    plan_source: PlanSource
    tier: Tier | None = Field(description="Where it stood when last evaluated.")
    overrun_probability: float | None
    evaluated_at: datetime | None


class QuantilesOut(BaseModel):
    p10: float
    p50: float
    p90: float


class CrossingOut(BaseModel):
    earliest: date | None
    expected: date | None
    latest: date | None


class PositionOut(BaseModel):
    enterprise: str
    year: int
    basis: BudgetBasis
    unit: Literal["tce", "tCO2"]
    revision: int
    budget: float
    as_of: datetime = Field(description="Figures count up to this moment.")
    factor_set: str | None = Field(description="The coefficients that made the figures.")
    spent: float | None = Field(description="Net, exclusions taken off; null when nothing was measured.")
    excluded: float = Field(description="Taken off by the exclusion ledger.")
    plan_to_date: float
    projection: QuantilesOut = Field(description="The year's total: its 10 %, 50 % and 90 % points.")
    overrun_probability: float = Field(ge=0, le=1)
    expected_overrun: float = Field(description="p50 less the budget; below zero when it is kept.")
    expected_crossing: date | None = Field(description="The day the budget is passed; null when not within the year.")
    crossing: CrossingOut = Field(description="The same with its 80 % range.")
    tier: Tier
    completeness: float = Field(ge=0, le=1, description="Measured share of the elapsed year.")
    recent_cover: float = Field(ge=0, le=1, description="Measured share of the last 30 days.")
    months: int = Field(description="Months that are over.")
    unmeasured_days: float = Field(
        ge=0, description="Of the days of the year that are over those without data; parts of days add up."
    )
    assumed: float = Field(
        ge=0, description="What the projection adds for these days, in the budget's unit; no part of `spent`."
    )
    measured_from: date | None = Field(description="The first day of the year with data; null without any.")
    notes: list[str] = Field(description="What was assumed: no-history, missing-days-added, no-factor.")


class ExclusionOut(BaseModel):
    exclusion_id: int
    enterprise: str
    basis: BudgetBasis
    month: date
    kind: Literal["own_renewable", "feedstock", "listed_project"]
    amount: float
    evidence: str
    entered_by: str
    entered_at: datetime
    withdrawn_by: str | None
    withdrawn_at: datetime | None
    withdrawn_why: str | None
