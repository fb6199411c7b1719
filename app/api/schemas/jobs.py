"""Reports, and tables that are made while nobody waits."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field


class ReportTableOut(BaseModel):
    key: str
    title: str
    columns: list[str] = Field(description="Each with its unit.")
    rows: list[list[str | float | int | None]]


class ReportOut(BaseModel):
    title: str
    as_of: datetime
    factor_set: str | None
    tables: list[ReportTableOut]


class JobOut(BaseModel):
    id: str
    path: str
    query: str
    format: str
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    rows: int = Field(description="Written so far.")
    result: str | None = Field(description="Where the file is, once the state is done.")
    problem: dict[str, Any] | None = Field(description="Why it failed: a problem document.")
    filename: str | None
    size: int | None = Field(description="Bytes.")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime = Field(description="Then job and file are removed.")
