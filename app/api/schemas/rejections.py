"""Readings that were refused, and another try with them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints

from app.api.schemas.shared import FilterWord
from app.store.entries import Body


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

    ids: list[Annotated[int, Field(ge=1, le=10**18)]] | None = Field(
        default=None, min_length=1, max_length=1000, description="`rejected_id` of the list."
    )
    gateway: FilterWord | None = None
    enterprise: FilterWord | None = None
    meter: FilterWord | None = None
    code: FilterWord | None = None
    start: FilterWord | None = Field(default=None, alias="from", description="Received from this moment on.")
    end: FilterWord | None = Field(default=None, alias="to", description="Received before this moment.")
    clock_was_wrong: bool = Field(
        default=False,
        description="The service's own clock was wrong when they came: their times are judged as if they came now.",
    )
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
