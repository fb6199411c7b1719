"""The bodies of requests and answers, as the API document describes them. Unknown fields are refused, never ignored."""

from __future__ import annotations

import math
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from energy.interval import Level
from energy.reading import Kind, Role
from energy.rollup import Status
from energy.tce import Basis

T = TypeVar("T")

LevelWord = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]
CreditCode = Annotated[str, StringConstraints(max_length=64, pattern=r"^[^\x00]*$")]
CarrierCode = Annotated[str, StringConstraints(to_lower=True, max_length=64, pattern=r"^[A-Za-z0-9_]+$")]
RegionCode = Annotated[str, StringConstraints(pattern=r"^\d{2,12}$")]


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("must be a finite number")
    return value


Positive = Annotated[float, Field(gt=0), AfterValidator(_finite)]


class Body(BaseModel):
    """A request body."""

    model_config = ConfigDict(extra="forbid")


class Contact(Body):
    name: Name
    email: Annotated[str, StringConstraints(pattern=r"^[^@\s\x00]+@[^@\s\x00]+$", max_length=254)]
    language: Literal["zh-CN", "en"] = "zh-CN"


class EnterpriseIn(Body):
    id: CreditCode = Field(description="18-character unified social credit code; the check character is verified.")
    name: Name
    region: RegionCode
    industry: Annotated[str, StringConstraints(pattern=r"^[0-9A-Z]{1,6}$")] = Field(description="GB/T 4754-2017.")
    contacts: list[Contact] = Field(default_factory=list, max_length=50)
    flags: list[LevelWord] = Field(default_factory=list, max_length=50)


class EnterpriseChange(Body):
    name: Name | None = None
    region: RegionCode | None = None
    industry: Annotated[str, StringConstraints(pattern=r"^[0-9A-Z]{1,6}$")] | None = None
    contacts: list[Contact] | None = Field(default=None, max_length=50)
    flags: list[LevelWord] | None = Field(default=None, max_length=50)


class GatewayIn(Body):
    id: LevelWord = Field(description="Also its user name and client id at the broker, and its level in topics.")
    enterprise: CreditCode
    name: Name


class GatewayChange(Body):
    name: Name | None = None
    active: bool | None = Field(default=None, description="false shuts the gateway out at once.")


class MeterFields(Body):
    name: Name
    gateway: LevelWord
    carrier: CarrierCode
    kind: Kind = Kind.REGISTER
    unit: Annotated[str, StringConstraints(min_length=1, max_length=20)]
    multiplier: Annotated[Decimal, Field(gt=0, le=Decimal("1e9"), max_digits=18)] = Decimal(1)
    rolls_over_at: Positive | None = None
    expected_interval_s: Annotated[int, Field(ge=1, le=2_678_400)] = 900
    max_rate_per_h: Positive | None = None
    role: Role
    level: Literal[1, 2, 3] = 1
    accuracy_class: Annotated[str, StringConstraints(max_length=20)] | None = None
    calibrated_until: date | None = None


class MeterIn(MeterFields):
    enterprise: CreditCode
    code: LevelWord


class MeterChange(Body):
    name: Name | None = None
    gateway: LevelWord | None = None
    carrier: CarrierCode | None = None
    kind: Kind | None = None
    unit: Annotated[str, StringConstraints(min_length=1, max_length=20)] | None = None
    multiplier: Annotated[Decimal, Field(gt=0, le=Decimal("1e9"), max_digits=18)] | None = None
    rolls_over_at: Positive | None = None
    expected_interval_s: Annotated[int, Field(ge=1, le=2_678_400)] | None = None
    max_rate_per_h: Positive | None = None
    role: Role | None = None
    level: Literal[1, 2, 3] | None = None
    accuracy_class: Annotated[str, StringConstraints(max_length=20)] | None = None
    calibrated_until: date | None = None
    active: bool | None = None


MAY_BE_EMPTIED = frozenset({"rolls_over_at", "max_rate_per_h", "accuracy_class", "calibrated_until"})
"""Fields of a meter for which null is a value; for every other field null says nothing."""


def changes_of(body: Body) -> dict[str, Any]:
    """What a change names. A null counts where the field may be empty."""
    named = body.model_dump(exclude_unset=True)
    return {name: value for name, value in named.items() if value is not None or name in MAY_BE_EMPTIED}


class Listed(BaseModel, Generic[T]):
    items: list[T]
    next: str | None = Field(description="Cursor of the next page; null on the last.")


class RegionOut(BaseModel):
    code: str
    parent: str | None
    name_zh: str
    name_en: str


class EnterpriseOut(EnterpriseIn):
    model_config = ConfigDict(extra="ignore")
    created_at: datetime
    updated_at: datetime


class GatewayOut(BaseModel):
    id: str
    enterprise: str
    name: str
    active: bool
    state: Literal["never", "online", "offline"]
    state_at: datetime | None
    last_data_at: datetime | None
    last_seq: int | None
    created_at: datetime
    updated_at: datetime


class GatewaySecretOut(GatewayOut):
    secret: str = Field(description="Shown this once.")


class MeterOut(MeterFields):
    model_config = ConfigDict(extra="ignore")
    enterprise: str
    code: str
    active: bool
    first_at: datetime | None
    created_at: datetime
    updated_at: datetime
    multiplier: Any = Field(json_schema_extra={"type": "number"})


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


class RejectionOut(BaseModel):
    rejected_id: int
    message_id: int
    gateway: str
    door: str
    received_at: datetime
    times: int = Field(description="How often the same bytes came.")
    last_at: datetime
    position: int | None = Field(description="Index in the message; null when the whole message was refused.")
    meter: str | None
    at: str | None
    value: str | None
    code: str
    detail: str
    content_type: str
    raw: str | None = Field(description="The message's bytes in base64, if asked for.")


class Figures(BaseModel):
    tce: float | None = Field(description="Gross; null when missing, never 0.")
    tce_net: float | None = Field(description="Without own renewables and feedstock.")
    tco2: float | None
    tco2_net: float | None
    status: Status
    coverage: float = Field(ge=0, le=1)


class CarrierOut(Figures):
    carrier: str
    quantity: float | None
    quantity_net: float | None
    unit: str
    held: int
    reasons: list[str]


class MeterFigureOut(BaseModel):
    meter: str
    carrier: str
    role: Role
    quantity: float | None
    unit: str
    tce: float | None
    tco2: float | None
    status: Status
    coverage: float
    held: int


class BucketOut(Figures):
    start: datetime
    end: datetime
    held: int = Field(description="Readings held out of this bucket.")
    reasons: list[str] = Field(description="Why a figure is null although something was measured.")
    carriers: list[CarrierOut]
    meters: list[MeterFigureOut]


class EnergyOut(BaseModel):
    enterprise: str
    interval: Level
    basis: Basis
    by: str
    as_of: datetime = Field(description="Every reading committed before it is in the figures.")
    factor_set: str | None
    buckets: list[BucketOut]


class PeriodOut(Figures):
    start: datetime
    end: datetime
    tce_known: float = Field(description="What those with a figure add up to.")
    tco2_known: float
    enterprises: int
    measured: int = Field(description="Enterprises with a figure.")
    missing: list[str]
    unknown: list[str] = Field(description="Enterprises with data but without a factor.")
    held: int


class GatewaysOut(BaseModel):
    online: int
    late: int
    silent: int
    offline: int
    never: int


class OverviewOut(BaseModel):
    code: str
    name_zh: str
    name_en: str
    basis: Basis
    month: PeriodOut
    year: PeriodOut
    gateways: GatewaysOut


class FactorOut(BaseModel):
    kind: Literal["coal_equivalent", "co2"]
    factor_id: int
    carrier: str
    basis_or_dataset: str
    value: float
    unit: str
    valid_from: date
    valid_to: date | None
    region: str | None
    enterprise: str | None
    edition: str | None
    source: str
    verified: bool


class CarrierInfoOut(BaseModel):
    code: str
    name_zh: str
    name_en: str
    unit: str
    stat_code: str | None


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


class ProblemOut(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    instance: str
    errors: list[dict[str, Any]] | None = None


class BacklogOut(BaseModel):
    rows: int | None
    age_s: float | None


class ReadyOut(BaseModel):
    ready: bool
    database: bool
    broker: bool | None
    backlog: BacklogOut
    pending_readings: int
    pending_age_s: float
