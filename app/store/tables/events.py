"""Events, and the webhooks they are delivered to."""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from app.store.tables.metadata import metadata, moment, required

event = Table(
    "event",
    metadata,
    Column("event_id", BigInteger, Identity(always=True), primary_key=True),
    Column("tx", BigInteger, nullable=False, server_default=text("((pg_current_xact_id())::text)::bigint")),
    moment("at", now=True),
    required("kind", Text),
    Column("enterprise", Text),
    required("region", Text),
    required("payload", JSONB),
    Index("event_order", "tx", "event_id"),
)

webhook = Table(
    "webhook",
    metadata,
    Column("webhook_id", Uuid, primary_key=True, server_default=text("gen_random_uuid()")),
    required("token_id", Integer),
    required("role", Text),
    required("scope", Text),
    required("url", Text),
    Column("description", Text, nullable=False, server_default=text("''::text")),
    required("kinds", ARRAY(Text)),
    required("secret", LargeBinary),
    Column("previous_secret", LargeBinary),
    moment("previous_until", null=True),
    Column("active", Boolean, nullable=False, server_default=text("true")),
    Column("disabled_why", Text),
    moment("failing_since", null=True),
    moment("created_at", now=True),
    moment("updated_at", now=True),
)

webhook_delivery = Table(
    "webhook_delivery",
    metadata,
    Column("delivery_id", BigInteger, Identity(always=True), primary_key=True),
    required("message_id", Text),
    required("webhook_id", Uuid, ForeignKey("webhook.webhook_id", ondelete="CASCADE")),
    required("kind", Text),
    moment("at"),
    required("payload", JSONB),
    Column("state", Text, nullable=False, server_default=text("'queued'::text")),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    moment("next_at", now=True),
    Column("last_status", Integer),
    Column("last_error", Text),
    moment("delivered_at", null=True),
    Index("webhook_delivery_due", "next_at", postgresql_where=text("state = 'queued'")),
    Index("webhook_delivery_of", "webhook_id", "delivery_id"),
)
