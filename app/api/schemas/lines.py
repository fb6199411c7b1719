"""Products, levels, production lines and their output."""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal

from pydantic import BaseModel, Field

from app.store.entries import LineFields
from energy.benchmark import Indicator
from energy.tce import Basis


class ProductOut(BaseModel):
    code: str
    name_zh: str
    name_en: str
    industry: str
    unit: str = Field(description="What it is counted in; a line may use a multiple of it.")
    accumulates: bool = Field(description="Whether months add up, as tonnes do and floor area does not.")


class LevelOut(BaseModel):
    id: int
    kind: Literal["benchmark", "limit"]
    product: str
    product_zh: str
    product_en: str
    industry: str
    indicator: Indicator
    condition: str
    unit: str
    basis: Basis
    benchmark: float | None = Field(description="标杆.")
    baseline: float | None = Field(description="基准.")
    level1: float | None
    level2: float | None
    level3: float | None = Field(description="The legal limit of existing plants.")
    edition: str
    valid_from: date
    valid_to: date | None
    source: str
    verified: bool
    note: str
    origin: Literal["reference", "entered"]
    entered_by: str | None
    entered_at: datetime


class LineChange(LineFields):
    active: bool = True
    restates: bool = Field(
        default=False,
        description="Closed months with an output may be judged anew: shares, product, condition, capacity and unit "
        "hold for all months, and a line that is not active is in none.",
    )


class LineAttributesOut(BaseModel):
    """What is said of a line; what is not said is not there."""

    altitude_m: float | None = None
    pressure_pa: float | None = None
    clinker_percent: float | None = None
    feed_grade_percent: float | None = None
    hot_metal_percent: float | None = None
    wet_quenching: bool | None = None
    oleum_20: bool | None = None
    sun_dried_salt: bool | None = None
    stainless: bool | None = None


class AttributesSaidOut(BaseModel):
    id: int
    valid_from: date
    attributes: LineAttributesOut
    note: str
    entered_by: str
    entered_at: datetime


class LineMeterOut(BaseModel):
    code: str
    share: float


class LineOut(BaseModel):
    id: int
    enterprise: str
    code: str
    name: str
    product: str
    industry: str
    condition: str
    capacity_per_year: float
    unit: str
    attributes: LineAttributesOut
    meters: list[LineMeterOut]
    active: bool
    created_at: datetime
    updated_at: datetime


class OutputOut(BaseModel):
    month: str
    quantity: float
    unit: str
    revision: int
    note: str
    entered_by: str
    entered_at: datetime
