"""What people say about a meter, as it comes and as it is answered."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from app.api.schemas.shared import Reason
from app.store.entries import Body, Moment, Multiplier, Name
from energy.consumption import HoldReason
from energy.reading import MAX_ABS_VALUE
from energy.record import Saying

Register = Annotated[float, Field(ge=0, le=MAX_ABS_VALUE)]


class ExchangeIn(Body):
    at: Moment
    old_final: Register = Field(description="What the old register showed at last, in the meter's raw unit.")
    new_initial: Register = Field(description="What the new register showed at first.")
    serial: Name | None = Field(default=None, description="The new register's serial number.")
    multiplier: Multiplier | None = Field(default=None, description="From the exchange on; null keeps the one before.")
    reason: Reason | None = None
    restates: bool = Field(default=False, description="Have later readings that stand already judged anew.")


class Recorded(BaseModel):
    recorded_at: datetime
    recorded_by: str
    revoked_at: datetime | None
    revoked_by: str | None


class ExchangeOut(Recorded):
    exchange_id: int
    at: datetime
    old_final: float
    new_initial: float
    serial: str | None
    multiplier: float | None
    reason: str | None
    revoked_because: str | None


class MultiplierOut(Recorded):
    multiplier_id: int
    valid_from: datetime
    multiplier: float
    exchange_id: int | None = Field(description="The exchange it came with.")


class ReadingDecisionIn(Body):
    ts: Moment = Field(description="Of the reading.")
    says: Saying = Field(
        description="real: it was so; rollover: the register began again at zero; reset: it lost its count and began "
        "again at `amount`; exchange: it is the new register's, and the exchange is recorded with it; discard: it was "
        "nothing."
    )
    amount: Register | None = Field(
        default=None,
        description="rollover: the register's range, else its rolls_over_at; reset: its new start, else 0.",
    )
    at: Moment | None = Field(
        default=None, description="exchange: when it was, not later than `ts`; without it, at `ts` itself."
    )
    old_final: Register | None = Field(default=None, description="exchange: what the old register showed at last.")
    new_initial: Register | None = Field(
        default=None, description="exchange: what the new register showed at first, else what the reading shows."
    )
    serial: Name | None = Field(default=None, description="exchange: the new register's serial number.")
    multiplier: Multiplier | None = Field(
        default=None, description="exchange: from then on; null keeps the one before."
    )
    reason: Reason


class DecisionOut(BaseModel):
    decision_id: int
    ts: datetime
    says: Saying
    amount: float | None
    exchange_id: int | None = Field(description="The exchange that was recorded with it.")
    reason: str
    decided_at: datetime
    decided_by: str
    revoked_at: datetime | None
    revoked_by: str | None
    revoked_because: str | None


class HeldOut(BaseModel):
    enterprise: str
    meter: str
    ts: datetime
    value: float | None = Field(description="Null where the record of an exchange contradicts the register.")
    quality: int | None
    reason: HoldReason
    waiting: bool = Field(description="No reading after it stands, and nobody has said what it was.")
    last_accepted_at: datetime | None
    last_accepted_value: float | None
    decision_id: int | None


class StuckOut(BaseModel):
    start: datetime = Field(description="The first reading of the value.")
    end: datetime = Field(description="The last one.")
    value: float
    readings: int


class DeletionIn(Body):
    start: Moment = Field(alias="from")
    end: Moment = Field(alias="to", description="Readings before it; the range is [from, to).")
    reason: Reason


class DeletionOut(BaseModel):
    deletion_id: int
    from_ts: datetime
    to_ts: datetime
    count: int
    reason: str
    deleted_at: datetime
    deleted_by: str


class DeletedReadingOut(BaseModel):
    deletion_id: int
    ts: datetime
    value: float
    quality: int
    received_at: datetime
