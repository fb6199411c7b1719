"""Regions, enterprises, gateways and meters, as the API document describes them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.store.entries import (
    AccuracyClass,
    Body,
    CarrierCode,
    Contact,
    Day,
    EnterpriseIn,
    Industry,
    IntervalS,
    LevelWord,
    MeterFields,
    Moment,
    Multiplier,
    Name,
    Positive,
    RegionCode,
    UnitWord,
    plain_words,
)
from energy.budget import Tier
from energy.reading import Kind, Role
from ingest.liveness import GatewayState


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
    calibrated_until: Day | None = None
    active: bool | None = None
    multiplier_from: Moment | None = Field(
        default=None,
        description="From when the multiplier holds; the past keeps its own. Without it all of history is corrected.",
    )


MAY_BE_EMPTIED = frozenset({"rolls_over_at", "max_rate_per_h", "accuracy_class", "calibrated_until"})
"""Fields of a meter for which null is a value; for every other field null says nothing."""


def changes_of(body: Body) -> dict[str, Any]:
    """What a change names. A null counts where the field may be empty."""
    named = plain_words(body.model_dump(exclude_unset=True))
    return {name: value for name, value in named.items() if value is not None or name in MAY_BE_EMPTIED}


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
    overrun_probability: float | None = Field(default=None, description="Of the worst budget of the running year.")
    tier: Tier | None = Field(default=None, description="Of the same; null without a budget.")


class GatewayOut(BaseModel):
    id: str
    enterprise: str
    name: str
    active: bool
    state: GatewayState = Field(
        description="online: data within two expected intervals. late: not yet. silent: nothing for a day, or four "
        "intervals of a slower one. offline: it said so after its last data, or the broker for it. never: no data yet."
    )
    said: Literal["never", "online", "offline"] = Field(description="Its own last word, or its last will.")
    said_at: datetime | None
    last_data_at: datetime | None
    clock_skew_s: float | None = Field(
        description="Receipt less time of its live readings, the median in seconds: positive when its clock is behind "
        "or it sends late, negative when it is ahead; null until a few live messages came."
    )
    clock_skew_at: datetime | None = Field(description="When that was last measured.")
    clock_off: bool | None = Field(description="Whether that is more than the service's bound.")
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
    multiplier: Any = Field(
        json_schema_extra={"type": "number"}, description="Until the first dated one; see the meter's multipliers."
    )


class MeterWithRefusedOut(MeterOut):
    refused_readings: int = Field(
        description="Readings for it that were refused and not stored since; `rejections/replay` tries them again."
    )


class CarrierInfoOut(BaseModel):
    code: str
    name_zh: str
    name_en: str
    unit: str
    stat_code: str | None
