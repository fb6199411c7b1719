"""Problems, and whether the service is ready."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field


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
    warnings: list[str] = Field(
        description="What works but should be looked at, with what mends it: a broker that can lose messages, a clock."
    )
