"""Who pushes readings: regions, enterprises, gateways, meters and their carriers."""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    Date,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Numeric,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from app.store.tables.metadata import metadata, moment, required

region = Table(
    "region",
    metadata,
    Column("code", Text, primary_key=True),
    Column("parent", Text, ForeignKey("region.code")),
    required("name_zh", Text),
    required("name_en", Text),
)

enterprise = Table(
    "enterprise",
    metadata,
    Column("id", Text, primary_key=True),
    required("name", Text),
    required("region", Text, ForeignKey("region.code")),
    required("industry", Text),
    Column("contacts", JSONB, nullable=False, server_default=text("'[]'::jsonb")),
    Column("flags", ARRAY(Text), nullable=False, server_default=text("'{}'::text[]")),
    moment("created_at", now=True),
    moment("updated_at", now=True),
    Index("enterprise_region", "region"),
)

gateway = Table(
    "gateway",
    metadata,
    Column("id", Text, primary_key=True),
    required("enterprise", Text, ForeignKey("enterprise.id")),
    required("name", Text),
    required("secret_sha256", LargeBinary),
    Column("active", Boolean, nullable=False, server_default=text("true")),
    Column("state", Text, nullable=False, server_default=text("'never'::text")),
    moment("state_at", null=True),
    moment("last_data_at", null=True),
    Column("last_seq", BigInteger),
    moment("created_at", now=True),
    moment("updated_at", now=True),
    Column("clock_skew_s", Double),
    moment("clock_skew_at", null=True),
    Index("gateway_enterprise", "enterprise"),
)

sequence_gap = Table(
    "sequence_gap",
    metadata,
    Column("gateway", Text, ForeignKey("gateway.id", ondelete="CASCADE"), primary_key=True),
    Column("first_seq", BigInteger, primary_key=True, autoincrement=False),
    required("last_seq", BigInteger),
    moment("noticed_at"),
    moment("asked_at", null=True),
    Column("asked_times", Integer, nullable=False, server_default=text("0")),
)

carrier = Table(
    "carrier",
    metadata,
    Column("code", Text, primary_key=True),
    required("name_zh", Text),
    required("name_en", Text),
    required("unit", Text),
    Column("stat_code", Text),
)

meter = Table(
    "meter",
    metadata,
    Column("meter_id", Integer, Identity(always=True), primary_key=True),
    required("enterprise", Text, ForeignKey("enterprise.id")),
    required("code", Text),
    required("name", Text),
    required("gateway", Text, ForeignKey("gateway.id")),
    required("carrier", Text, ForeignKey("carrier.code")),
    required("kind", Text),
    required("unit", Text),
    Column("multiplier", Numeric, nullable=False, server_default=text("1")),
    Column("rolls_over_at", Double),
    Column("expected_interval_s", Integer, nullable=False, server_default=text("900")),
    Column("max_rate_per_h", Double),
    required("role", Text),
    Column("level", SmallInteger, nullable=False, server_default=text("1")),
    Column("accuracy_class", Text),
    Column("calibrated_until", Date),
    Column("active", Boolean, nullable=False, server_default=text("true")),
    moment("first_at", null=True),
    moment("created_at", now=True),
    moment("updated_at", now=True),
    UniqueConstraint("enterprise", "code"),
    Index("meter_gateway", "gateway"),
)

registry_version = Table(
    "registry_version",
    metadata,
    Column("only_row", Boolean, primary_key=True, server_default=text("true")),
    required("version", BigInteger),
)
