"""Dated factors."""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal

from pydantic import BaseModel, Field

from energy.tce import Basis


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
