"""The quality of the data."""

from __future__ import annotations

from datetime import date, datetime

from pydantic import BaseModel, Field

from energy.quality import Calibration, Repair
from energy.reading import Role


class GapOut(BaseModel):
    start: datetime = Field(description="The last reading before it.")
    end: datetime | None = Field(description="The first reading after it; null: none has come.")
    mend_by: date = Field(description="Three working days after it began.")
    repair: Repair


class MeterQualityOut(BaseModel):
    meter: str
    name: str
    carrier: str
    role: Role
    level: int
    active: bool
    due: int = Field(description="Expected intervals of the month so far.")
    received: int
    completeness: float | None = Field(description="Expected intervals with a reading, of those due.")
    median_delay_s: float | None = Field(description="From the reading's time to its commit.")
    timeliness: float | None = Field(description="Share that came within the expected interval and the grace.")
    calibration: Calibration
    calibrated_until: date | None
    accuracy_class: str | None
    held: int
    held_share: float | None
    estimated_share: float | None = Field(description="Of the covered time.")
    days: float | None = Field(description="Sum of the month's days, in the carrier's normal unit.")
    month: float | None
    deviation: float | None = Field(description="Of the days from the month; 0 unless a figure was tampered with.")
    days_fit_month: bool | None = Field(description="Within 5 %.")
    in_order: bool = Field(description="In service, calibrated, and 90 % complete.")
    gaps: list[GapOut]


class FittingOut(BaseModel):
    """GB 17167: of the meters in the ledger those in order; which meters there should be is not known here."""

    energy: str
    level: int
    meters: int
    in_order: int
    rate: float
    required_rate: float
    met: bool
    edition: str
    verified: bool


class QualityOut(BaseModel):
    enterprise: str
    month: str
    as_of: datetime
    grace_s: int
    due: int
    received: int
    completeness: float | None
    complete: bool = Field(description="At least 90 %.")
    median_delay_s: float | None
    timeliness: float | None
    calibration_valid: int
    calibration_lapsed: int
    calibration_unknown: int
    held: int
    open_gaps: int
    overdue_gaps: int
    fitting: list[FittingOut]
    meters: list[MeterQualityOut]


class RegionQualityOut(BaseModel):
    region: str
    month: str
    as_of: datetime
    enterprises: int
    meters: int
    completeness: float | None = Field(description="Time covered by measured readings, of the time they were due for.")
    complete: bool
    complete_meters: int
    owing_meters: int
    estimated_share: float | None
    held: int
    calibration_valid: int
    calibration_lapsed: int
    calibration_unknown: int
