"""Bodies and answers about alerts, as the API document describes them."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StringConstraints

from app.store.entries import Body, Email, Language, Name
from energy.budget import BudgetBasis

Words = Annotated[str, StringConstraints(min_length=1, max_length=2000, pattern=r"^[^\x00]*$")]
LevelName = Literal["green", "yellow", "orange", "red"]
KindName = Literal["trend", "actual", "period", "data", "benchmark", "meter", "integrity"]
PhaseName = Literal["inactive", "pending", "active", "recovering", "held", "closed"]
Tonnes = Annotated[Decimal, Field(gt=0, lt=Decimal("1e12"), max_digits=18)]


class AcknowledgeIn(Body):
    comment: Words = Field(description="What is done about it.")


class CommentIn(Body):
    comment: Words


class SilenceIn(Body):
    alert: Annotated[int, Field(ge=1, le=10**18)]
    days: Annotated[float, Field(gt=0, le=365)]
    reason: Words


class AlertSettingsIn(Body):
    changes: dict[Annotated[str, StringConstraints(max_length=64)], float | int | str] = Field(
        max_length=100, description="Everything that differs from the defaults; what is not named has its default."
    )
    reason: Words


class RegionContactIn(Body):
    name: Name
    email: Email
    language: Language = "zh-CN"


class RegionContactsIn(Body):
    contacts: list[RegionContactIn] = Field(max_length=50)


class RegionTargetIn(Body):
    basis: BudgetBasis = BudgetBasis.EQUIVALENT
    base: Tonnes = Field(description="基本目标: the most the region's key units may use in the year.")
    incentive: Tonnes = Field(description="激励目标: the better target that is rewarded; not above the base.")
    reason: Words


class AlertListed(BaseModel):
    id: int
    enterprise: str
    name: str
    region: str
    kind: KindName
    period: str = Field(description="The year of a budget; empty for what has no period.")
    subject: str = Field(description="A budget's basis, a meter's code, a production line; else empty.")
    phase: PhaseName
    level: LevelName
    worst: LevelName
    seq: int = Field(description="Number of the newest transition that could be told.")
    data: Literal["ok", "late", "missing", "suspect"]
    acked_until: datetime | None
    acked_by: str | None
    silenced_until: datetime | None
    silenced_by: str | None
    silence_covers: LevelName | None = Field(
        description="Highest level kept quiet: an enterprise's silence leaves out red."
    )
    opened_at: datetime
    raised_at: datetime | None
    changed_at: datetime
    closed_at: datetime | None
    outcome: dict[str, Any] | None = Field(description="When the period is closed: final figure, lead, true or false.")
    inputs: dict[str, Any] = Field(description="What the newest evaluation saw.")


class TransitionOut(BaseModel):
    history_id: int
    seq: int
    row: int | None = Field(description="Row of the transition table; null for a comment.")
    event: str
    phase_before: PhaseName
    phase_after: PhaseName
    level_before: LevelName
    level_after: LevelName
    day: date
    at: datetime
    actor: str
    comment: str | None
    inputs: dict[str, Any]


class NoticeOut(BaseModel):
    outbox_id: int
    seq: int
    kind: str
    level: LevelName
    delivery: Literal["immediate", "grouped", "daily", "weekly"]
    state: str = Field(description="`sent?`: twice nobody answered, so it may have arrived twice or not at all.")
    role: str
    email: str
    attempts: int
    doubts: int
    last_code: int | None
    last_error: str | None
    message_id: str
    created_at: datetime
    sent_at: datetime | None
    next_at: datetime | None
    digest_id: int | None


class AlertOut(AlertListed):
    history: list[TransitionOut]
    notices: list[NoticeOut]


class OutboxOut(NoticeOut):
    alert_id: int | None
    digest_key: str


class PlatformAlarmOut(BaseModel):
    alarm_id: int
    kind: str
    subject: str
    detail: str
    since: datetime
    last_at: datetime
    times: int
    cleared_at: datetime | None


class SettingOut(BaseModel):
    name: str
    value: float | int | str
    default: float | int | str
    unit: str
    meaning: str
    meaning_zh: str


class SettingsVersionOut(BaseModel):
    version: int
    changes: dict[str, float | int | str]
    reason: str
    made_by: str
    made_at: datetime


class CalibrationOut(BaseModel):
    version: int
    last_year: int = Field(description="The newest year it was fitted on.")
    site_years: int = Field(description="Closed years of enterprises; with fewer than 100 nothing is fitted.")
    cover_before: float = Field(description="Share of the 80 % intervals of fleets in general that held, 0 to 1.")
    cover_after: float = Field(description="The same once fitted, each calendar year judged by the others.")
    interval_widths: list[float] = Field(description="Width of the interval by complete months, 0 to 11.")
    made_by: str
    made_at: datetime


class AlertSettingsOut(BaseModel):
    region: str
    in_force: str = Field(description="Version in force here: `region/number` of the nearest region, or `default`.")
    settings: list[SettingOut]
    versions: list[SettingsVersionOut] = Field(description="This region's own versions, newest first.")
    calibration: CalibrationOut | None = Field(
        description="How the projection's intervals were fitted to closed years; null before the first fit."
    )


class RegionContactOut(BaseModel):
    name: str
    email: str
    language: str


class RegionTargetOut(BaseModel):
    year: int
    basis: BudgetBasis
    base: float
    incentive: float
    reason: str
    made_by: str
    made_at: datetime


class TargetOut(BaseModel):
    base: float
    incentive: float


class WarningOut(BaseModel):
    level: LevelName
    number: str = Field(description="What this region calls the colour, such as 一级; numbers run either way.")
    meaning: str
    meaning_zh: str
    reason: str
    reason_zh: str


class UnitsOut(BaseModel):
    """Units with a budget, by colour; `exceeded`: more is used already than the year's budget."""

    with_budget: int
    green: int
    yellow: int
    orange: int
    red: int
    exceeded: int
    projected: float
    spent: float
    assumed: float = Field(description="Of what is projected: for days that are over and were not measured.")
    planned: float
    budget: float
    cover: float
    evaluated_at: datetime | None


class StandingAlertsOut(BaseModel):
    yellow: int
    orange: int
    red: int
