"""What a figure is made of."""

from __future__ import annotations

from datetime import date, datetime

from pydantic import BaseModel, Field

from energy.interval import Level
from energy.reading import Kind, Role
from energy.rollup import Status
from energy.tce import Basis


class TonnesOut(BaseModel):
    tce: float | None
    tce_net: float | None
    tco2: float | None
    tco2_net: float | None


class QuantityTonnesOut(TonnesOut):
    quantity: float | None
    quantity_net: float | None


class MeterTonnesOut(BaseModel):
    quantity: float | None
    tce: float | None
    tco2: float | None


class ShownOut(BaseModel):
    ts: datetime
    value: float
    quality: int
    held: str | None = Field(description="Why it is out of the figures; null when it counts.")


class RecordedExchangeOut(BaseModel):
    at: datetime
    old_final: float
    new_initial: float


class RecordedDecisionOut(BaseModel):
    ts: datetime
    says: str
    amount: float


class UsedFactorOut(BaseModel):
    id: str
    value: float
    valid_from: date
    valid_to: date | None
    region: str | None
    enterprise: str | None
    source: str


class UsedCoalFactorOut(UsedFactorOut):
    edition: str
    basis: Basis


class UsedCo2FactorOut(UsedFactorOut):
    dataset: str


class PieceOut(BaseModel):
    """quantity = raw × multiplier × unit_scale; tce and tco2 = quantity × the factor's value / 1000."""

    start: datetime
    end: datetime
    raw: float = Field(description="What the meter counted, in its own unit.")
    multiplier: float
    unit_scale: float = Field(description="Normal units of the carrier that one unit of the meter is.")
    quantity: float
    factor: UsedCoalFactorOut | None
    co2_factor: UsedCo2FactorOut | None
    tce: float | None
    tco2: float | None
    measured_s: float
    estimated_s: float


class MeterTreeOut(BaseModel):
    meter: str
    name: str
    role: Role
    kind: Kind
    unit: str
    level: int
    sign_gross: float = Field(description="1 adds, -1 subtracts, 0 does not count.")
    sign_net: float
    why: str
    agrees: bool
    stored: MeterTonnesOut
    recomputed: MeterTonnesOut
    status: Status
    measured_s: float
    estimated_s: float
    readings: int = Field(description="Readings inside the bucket, held ones too.")
    before: ShownOut | None = Field(description="The accepted reading before the bucket.")
    first: ShownOut | None = Field(description="The first accepted reading inside.")
    last: ShownOut | None
    after: ShownOut | None
    held: list[ShownOut]
    exchanges: list[RecordedExchangeOut]
    decisions: list[RecordedDecisionOut]
    pieces: list[PieceOut] = Field(description="Cut where the multiplier or a factor changes.")


class CarrierTreeOut(BaseModel):
    carrier: str
    unit: str
    agrees: bool
    stored: QuantityTonnesOut
    recomputed: QuantityTonnesOut
    meters: list[MeterTreeOut]


class UncountedOut(BaseModel):
    meter: str
    role: Role
    gross: bool = Field(description="Whether it is in the gross figure at all.")
    why: str


class ExplanationOut(BaseModel):
    enterprise: str
    interval: Level
    start: datetime
    end: datetime
    basis: Basis
    as_of: datetime
    waiting: bool = Field(description="Readings have come that the stored figure does not hold yet.")
    factor_set: str | None
    co2_dataset: str
    status: Status
    coverage: float
    agrees: bool = Field(description="Whether the stored figure is the recomputed one, to the last digit.")
    stored: TonnesOut
    recomputed: TonnesOut
    carriers: list[CarrierTreeOut]
    exclusions: list[UncountedOut] = Field(description="Meters that do not simply add to both figures, and why.")
