"""Figures of enterprises and regions."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, Field

from app.api.schemas.alerts import StandingAlertsOut, TargetOut, UnitsOut, WarningOut
from energy.interval import Level
from energy.reading import Role
from energy.rollup import Status
from energy.tce import Basis


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
    as_of: datetime = Field(description="Every reading committed before it is in the figures.")
    factor_set: str | None = Field(description="The coefficients that made the figures.")
    basis: Basis
    co2_dataset: str
    month: PeriodOut
    year: PeriodOut
    gateways: GatewaysOut
    target: TargetOut | None = Field(description="Of the year and basis; null where the region has none.")
    warning: WarningOut | None = Field(description="The 晴雨表 colour and why; null without a target or a budget.")
    units: UnitsOut
    alerts: StandingAlertsOut
