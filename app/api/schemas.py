"""The bodies of changes and answers, as the API document describes them. What is created: `app.store.entries`."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.store.entries import (
    AccuracyClass,
    Body,
    CarrierCode,
    Contact,
    EnterpriseIn,
    Industry,
    IntervalS,
    LevelWord,
    MeterFields,
    Multiplier,
    Name,
    Positive,
    RegionCode,
    UnitWord,
    plain_words,
)
from energy.interval import Level
from energy.reading import Kind, Role
from energy.rollup import Status
from energy.tce import Basis

T = TypeVar("T")
FilterWord = Annotated[str, StringConstraints(max_length=100, pattern=r"^[^\x00]*$")]


class EnterpriseChange(Body):
    name: Name | None = None
    region: RegionCode | None = None
    industry: Industry | None = None
    contacts: list[Contact] | None = Field(default=None, max_length=50)
    flags: list[LevelWord] | None = Field(default=None, max_length=50)


class GatewayChange(Body):
    name: Name | None = None
    active: bool | None = Field(default=None, description="false shuts the gateway out at once.")


class MeterChange(Body):
    name: Name | None = None
    gateway: LevelWord | None = None
    carrier: CarrierCode | None = None
    kind: Kind | None = None
    unit: UnitWord | None = None
    multiplier: Multiplier | None = None
    rolls_over_at: Positive | None = None
    expected_interval_s: IntervalS | None = None
    max_rate_per_h: Positive | None = None
    role: Role | None = None
    level: Literal[1, 2, 3] | None = None
    accuracy_class: AccuracyClass | None = None
    calibrated_until: date | None = None
    active: bool | None = None


MAY_BE_EMPTIED = frozenset({"rolls_over_at", "max_rate_per_h", "accuracy_class", "calibrated_until"})
"""Fields of a meter for which null is a value; for every other field null says nothing."""


def changes_of(body: Body) -> dict[str, Any]:
    """What a change names. A null counts where the field may be empty."""
    named = plain_words(body.model_dump(exclude_unset=True))
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


class EnterpriseListed(EnterpriseOut):
    tce: float | None = Field(default=None, description="Of the running year; only with `sort=-tce`.")
    coverage: float | None = Field(default=None, description="Of the running year; only with `sort=-tce`.")


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


class SequenceGapOut(BaseModel):
    first_seq: int
    last_seq: int
    noticed_at: datetime
    asked_at: datetime | None
    asked_times: int


class GatewayWithGapsOut(GatewayOut):
    gaps: list[SequenceGapOut] = Field(description="Numbers missing in its count of messages, lowest first.")


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


class MeterWithRefusedOut(MeterOut):
    refused_readings: int = Field(
        description="Readings for it that were refused and not stored since; `rejections/replay` tries them again."
    )


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
    enterprise: str | None = Field(description="Whose gateway it is; null when it is in no registry.")
    tried_at: datetime | None = Field(description="When it was last tried again.")
    replayed_at: datetime | None = Field(description="When another try stored it; null while it is still refused.")
    replayed_by: str | None
    replayed_as: Literal["stored", "duplicate", "revised", "read"] | None = Field(
        description="`read`: a message that could not be read as a whole; its readings stand for themselves since."
    )
    raw: str | None = Field(description="The message's bytes in base64, if asked for.")


class ReplayIn(Body):
    """Which refused readings to try again; without a filter all that the caller may see."""

    ids: list[Annotated[int, Field(ge=1, lt=2**63)]] | None = Field(
        default=None, min_length=1, max_length=1000, description="`rejected_id` of the list."
    )
    gateway: FilterWord | None = None
    enterprise: FilterWord | None = None
    meter: FilterWord | None = None
    code: FilterWord | None = None
    start: FilterWord | None = Field(default=None, alias="from", description="Received from this moment on.")
    end: FilterWord | None = Field(default=None, alias="to", description="Received before this moment.")
    limit: int = Field(default=100, ge=1, le=1000, description="Most messages in one request.")
    cursor: Annotated[str, StringConstraints(max_length=2000)] | None = Field(
        default=None, description="The `next` of the answer before."
    )


class StillRejected(BaseModel):
    rejected_id: int
    meter: str | None
    code: str
    detail: str


class ReplayOut(BaseModel):
    messages: int = Field(description="Messages that were tried again.")
    stored: int
    duplicate: int
    revised: int
    rejected: int
    still: list[StillRejected] = Field(description="Readings that are still refused, the first hundred of them.")
    next: str | None = Field(description="To go on with, when there are more messages.")


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
    co2_dataset: str = Field(description="The set of CO2 factors that made the CO2 figures.")
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
    co2_dataset: str
    month: PeriodOut
    year: PeriodOut
    gateways: GatewaysOut


class FactorOut(BaseModel):
    id: str = Field(description="As in `factors/{factor}` and in explanations of figures.")
    kind: Literal["coal_equivalent", "co2"]
    factor_id: int
    carrier: str
    basis: Basis | None = Field(description="Of a coal equivalent.")
    dataset: str | None = Field(description="Of a CO2 factor.")
    value: float
    unit: str
    heating_value_kj_per_unit: float | None = Field(description="The measured value it was worked out from.")
    carbon_content_tc_per_tj: float | None
    oxidation: float | None
    valid_from: date
    valid_to: date | None
    region: str | None
    enterprise: str | None
    edition: str | None
    source: str
    verified: bool
    origin: Literal["reference", "entered"]
    entered_by: str | None
    entered_at: datetime


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
