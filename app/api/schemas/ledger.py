"""What stands in the ledger, and what was changed or found in it."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field

from app.api.schemas.shared import Reason
from app.store.entries import Body, Month
from energy.closing import FIRST_DAY, LAST_DAY


class ClosingDayIn(Body):
    from_month: Month = Field(description="The first month that is closed so: the running one or a later one.")
    day: Annotated[int, Field(ge=FIRST_DAY, le=LAST_DAY)] = Field(description="Of the month after.")
    reason: Reason


class ClosingDayOut(BaseModel):
    from_month: str
    day: int
    reason: str
    made_by: str
    made_at: datetime


class Cause(BaseModel):
    why: str
    who: str
    meters: list[str]


class MonthFigures(BaseModel):
    quantity: float | None
    quantity_net: float | None
    tce_equivalent: float | None
    tce_equivalent_net: float | None
    tce_equal: float | None
    tce_equal_net: float | None
    tco2: float | None
    tco2_net: float | None
    measured_us: int
    estimated_us: int
    held: int


class RestatementOut(BaseModel):
    restatement_id: int
    at: datetime
    enterprise: str
    month: datetime = Field(description="Its local start.")
    carrier: str
    causes: list[Cause]
    before: MonthFigures | None = Field(description="Null where nothing was known before.")
    after: MonthFigures | None


class VerificationOut(BaseModel):
    verification_id: int
    night: date
    started_at: datetime
    finished_at: datetime | None
    seed: int
    asked: int = Field(description="Enterprises the sample was to have.")
    enterprises: int
    passed_over: int = Field(description="Enterprises with readings whose figures were still to be computed.")
    meters: int
    readings: int
    buckets: int
    differences: int


class DifferenceOut(BaseModel):
    difference_id: int
    verification_id: int
    enterprise: str
    table_name: str
    key: str
    start: datetime
    column_name: str
    stored: str | None
    expected: str | None
    found_at: datetime
    gone_at: datetime | None


class ReadingOut(BaseModel):
    ts: datetime
    value: float
    quality: int
    received_at: datetime
    held: str | None = Field(description="Why it is out of the figures; null when it counts.")


class RevisionOut(BaseModel):
    revision_id: int
    ts: datetime
    old_value: float
    old_quality: int
    new_value: float
    new_quality: int
    revised_at: datetime
    revised_by: str


class AuditOut(BaseModel):
    audit_id: int
    at: datetime
    actor: str
    action: str
    object_kind: str
    object_id: str
    outcome: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
