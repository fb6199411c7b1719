"""Lines held against their levels."""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal

from pydantic import BaseModel, Field

from app.api.schemas.lines import LineAttributesOut, LineMeterOut
from energy.benchmark import Indicator, Position
from energy.correction import Attribute, How, Side
from energy.rollup import Status
from energy.tce import Basis


class LineLevelOut(BaseModel):
    id: int
    indicator: Indicator
    condition: str
    unit: str
    basis: Basis
    edition: str
    source: str
    verified: bool
    note: str = Field(description="What the standard says beside the numbers, such as its corrections.")


class BenchmarkLevelOut(LineLevelOut):
    benchmark: float
    baseline: float


class AppliedOut(BaseModel):
    attribute: Attribute
    value: float | bool = Field(description="As it is said of the line.")
    how: How
    level1: float | None = Field(description="What is added to level 1, or what it is multiplied with; null: neither.")
    level2: float | None
    level3: float | None
    source: str
    verified: bool


class LimitLevelOut(LineLevelOut):
    level1: float | None = Field(description="As the standard prints it.")
    level2: float | None
    level3: float | None
    corrections: list[AppliedOut] = Field(description="That the standard makes for what is said of the line.")
    corrected_level1: float | None = Field(description="What the line is held against.")
    corrected_level2: float | None
    corrected_level3: float | None


class CorrectionOut(BaseModel):
    id: int
    product: str
    indicator: Indicator
    edition: str
    condition: str
    attribute: Attribute
    how: How = Field(
        description="add: the level plus its amount for each point; times: the level x (`constant` + amount x points)."
    )
    side: Side
    base: float
    unit: float = Field(description="Of the attribute, a point.")
    most: float | None = Field(description="So many points at most.")
    constant: float
    needs: Attribute | None = Field(description="It holds only where this attribute is above `needs_above`.")
    needs_above: float | None
    level1: float | None = Field(description="A point's amount; null: the level is left as it is.")
    level2: float | None
    level3: float | None
    valid_from: date
    valid_to: date | None
    source: str
    verified: bool
    origin: Literal["reference", "entered"]
    entered_by: str | None
    entered_at: datetime


class OtherVerdictOut(BaseModel):
    kind: Literal["benchmark", "limit"]
    indicator: Indicator
    unit_energy: float
    unit: str
    edition: str
    position: Position | None
    limit_level: int | None


class JudgedOut(BaseModel):
    months: list[str] = Field(description="The months in the figures: those with output and energy.")
    output: float | None = Field(description="In the line's unit; what does not accumulate is the mean of the months.")
    tce_equivalent: float | None
    tce_equal: float | None
    tco2: float | None
    status: Status
    coverage: float
    complete: bool = Field(description="Every meter covered for 90 % of the time; only then it counts for a region.")
    kgce_per_unit_equivalent: float | None
    kgce_per_unit_equal: float | None
    kgco2_per_unit: float | None
    unit_energy: float | None = Field(description="In `unit` and on `basis`, as the level asks.")
    unit: str | None
    basis: Basis
    indicator: Indicator | None
    edition: str | None = Field(description="Of 标杆 and 基准.")
    benchmark: float | None = Field(description="标杆.")
    baseline: float | None = Field(description="基准.")
    ratio_to_benchmark: float | None = Field(description="null for a level at or below zero: see the difference.")
    ratio_to_baseline: float | None
    difference_to_benchmark: float | None
    difference_to_baseline: float | None
    position: Position | None
    position_share: float | None = Field(description="0 at 标杆, 1 at 基准.")
    gap_tce: float | None = Field(description="tce more than at 标杆; below zero less.")
    gap_to_baseline_tce: float | None
    standard: str | None = Field(description="Of the legal limit.")
    limit_level: int | None = Field(description="The best level kept: 1, 2 or 3; 0: above the legal limit.")
    difference_to_limit: float | None = Field(description="To level 3, the legal limit; below zero it is kept.")
    others: list[OtherVerdictOut] = Field(description="By other indicators, such as the electricity of clinker.")
    reasons: list[str] = Field(description="What is missing; of the running year with @month.")


class LineStandingOut(JudgedOut):
    id: int
    enterprise: str
    enterprise_name: str
    region: str
    code: str
    name: str
    industry: str
    product: str
    product_zh: str
    product_en: str
    condition: str
    capacity_per_year: float
    output_unit: str
    attributes: LineAttributesOut
    meters: list[LineMeterOut]
    benchmark_levels: list[BenchmarkLevelOut]
    limit_levels: list[LimitLevelOut]
    year: JudgedOut = Field(description="The running year up to the end of the month.")


class BenchmarksOut(BaseModel):
    enterprise: str
    month: str
    as_of: datetime
    factor_set: str | None = Field(description="The coefficients that made the figures.")
    lines: list[LineStandingOut]


class IndustryShareOut(BaseModel):
    industry: str
    unit: str
    lines: int
    capacity_per_year: float
    at_benchmark: float
    worse_than_baseline: float
    unknown: float = Field(description="Capacity of lines without enough data.")
    share_at_benchmark: float = Field(description="Of all capacity; what is unknown does not count as good.")


class RegionBenchmarksOut(BaseModel):
    region: str
    month: str
    as_of: datetime
    factor_set: str | None = Field(description="The coefficients that made the figures.")
    industries: list[IndustryShareOut]
    worse_than_baseline: list[LineStandingOut]
