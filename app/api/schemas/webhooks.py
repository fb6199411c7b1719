"""Webhooks and their deliveries."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StringConstraints

from app.store.entries import Body

EventWord = Annotated[str, StringConstraints(pattern=r"^[a-z]+([.][a-z-]+)*$", max_length=64)]
WebhookUrl = Annotated[str, StringConstraints(min_length=1, max_length=2000, pattern=r"^[^\x00]*$")]
WebhookWords = Annotated[str, StringConstraints(max_length=500, pattern=r"^[^\x00]*$")]


class WebhookIn(Body):
    url: WebhookUrl = Field(description="https:// and a public address.")
    kinds: list[EventWord] = Field(
        min_length=1, max_length=20, description="Families or whole kinds: alert, data.arrived."
    )
    description: WebhookWords = ""


class WebhookChange(Body):
    url: WebhookUrl | None = None
    kinds: list[EventWord] | None = Field(default=None, min_length=1, max_length=20)
    description: WebhookWords | None = None
    active: bool | None = Field(default=None, description="false stops it; what happens meanwhile is not queued.")


class WebhookOut(BaseModel):
    id: str
    url: str
    description: str
    kinds: list[str]
    active: bool
    disabled_why: str | None = Field(description="Why it was given up.")
    failing_since: datetime | None = Field(description="Since when every delivery failed.")
    previous_until: datetime | None = Field(description="Until then the secret before signs too.")
    created_at: datetime
    updated_at: datetime


class WebhookSecretOut(WebhookOut):
    secret: str = Field(description="Shown this once; whsec_ and base64.")


class DeliveryOut(BaseModel):
    delivery_id: int
    message_id: str = Field(description="The header webhook-id, the same at every attempt.")
    kind: str
    at: datetime
    state: Literal["queued", "delivered", "dead"]
    attempts: int
    next_at: datetime
    last_status: int | None
    last_error: str | None
    delivered_at: datetime | None
    payload: dict[str, Any] = Field(description="The body that is sent.")
