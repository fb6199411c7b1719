"""Who may do what, who is logged in, and the trail of what was done."""

from __future__ import annotations

from sqlalchemy import (
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

api_token = Table(
    "api_token",
    metadata,
    Column("token_id", Integer, Identity(always=True), primary_key=True),
    required("name", Text),
    required("role", Text),
    required("scope", Text),
    Column("token_sha256", LargeBinary, nullable=False, unique=True),
    moment("created_at", now=True),
    moment("expires_at", null=True),
    moment("last_used_at", null=True),
    moment("revoked_at", null=True),
    Column("previous_sha256", LargeBinary, unique=True),
    moment("previous_until", null=True),
    moment("rotated_at", null=True),
)

account = Table(
    "account",
    metadata,
    Column("account_id", Integer, Identity(always=True), primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("full_name", Text, nullable=False, server_default=text("''::text")),
    required("role", Text),
    required("scope", Text),
    Column("password_hash", Text),
    Column("active", Boolean, nullable=False, server_default=text("true")),
    moment("created_at", now=True),
    moment("updated_at", now=True),
    moment("password_set_at", null=True),
    moment("last_login_at", null=True),
)

login_session = Table(
    "login_session",
    metadata,
    Column("session_id", BigInteger, Identity(always=True), primary_key=True),
    Column("session_sha256", LargeBinary, nullable=False, unique=True),
    Column("account_id", Integer, ForeignKey("account.account_id", ondelete="CASCADE"), nullable=False),
    moment("created_at"),
    moment("seen_at"),
    moment("expires_at"),
    required("address", Text),
    required("agent", Text),
    Index("login_session_account", "account_id"),
)

login_attempt = Table(
    "login_attempt",
    metadata,
    Column("key", Text, primary_key=True),
    required("failures", Integer),
    moment("last_at"),
)

oidc_login = Table(
    "oidc_login",
    metadata,
    Column("state_sha256", LargeBinary, primary_key=True),
    required("nonce", Text),
    required("verifier", Text),
    moment("created_at"),
)

idempotent_answer = Table(
    "idempotent_answer",
    metadata,
    Column("caller", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    required("request_sha256", LargeBinary),
    moment("started_at"),
    Column("status", Integer),
    Column("headers", JSONB(none_as_null=True)),
    Column("body", LargeBinary),
    Column("claim", Uuid, nullable=False, server_default=text("gen_random_uuid()")),
    Column("worked", Boolean, nullable=False, server_default=text("false")),
)

audit = Table(
    "audit",
    metadata,
    Column("audit_id", BigInteger, Identity(always=True), primary_key=True),
    moment("at", now=True),
    required("actor", Text),
    required("action", Text),
    required("object_kind", Text),
    required("object_id", Text),
    required("outcome", Text),
    Column("before", JSONB(none_as_null=True)),
    Column("after", JSONB(none_as_null=True)),
    Column("enterprise", Text),
    Column("region", Text),
    Column("actor_region", Text),
    Index("audit_object", "object_kind", "object_id"),
)
