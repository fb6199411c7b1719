"""Budgets, what is taken off them, and where they stand."""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Column,
    Date,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Numeric,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from app.store.tables.metadata import metadata, moment, required
from app.store.tables.registry import enterprise

budget_revision = Table(
    "budget_revision",
    metadata,
    Column("revision_id", BigInteger, Identity(always=True), primary_key=True),
    required("enterprise", Text, ForeignKey(enterprise.c.id)),
    required("year", SmallInteger),
    required("basis", Text),
    required("revision", Integer),
    required("amount", Numeric),
    required("monthly", ARRAY(Numeric)),
    required("plan_source", Text),
    required("reason", Text),
    required("state", Text),
    required("entered_by", Text),
    moment("entered_at", now=True),
    Column("decided_by", Text),
    moment("decided_at", null=True),
    Column("decision_note", Text),
    UniqueConstraint("enterprise", "year", "basis", "revision"),
    Index("budget_revision_year", "year", "enterprise"),
)

budget_exclusion = Table(
    "budget_exclusion",
    metadata,
    Column("exclusion_id", BigInteger, Identity(always=True), primary_key=True),
    required("enterprise", Text, ForeignKey(enterprise.c.id)),
    required("basis", Text),
    required("month", Date),
    required("kind", Text),
    required("amount", Numeric),
    required("evidence", Text),
    required("entered_by", Text),
    moment("entered_at", now=True),
    Column("withdrawn_by", Text),
    moment("withdrawn_at", null=True),
    Column("withdrawn_why", Text),
    Index("budget_exclusion_month", "enterprise", "basis", "month"),
)

projection_calibration = Table(
    "projection_calibration",
    metadata,
    Column("version", BigInteger, Identity(always=True), primary_key=True),
    required("last_year", SmallInteger),
    required("site_years", Integer),
    required("cover_before", Double),
    required("cover_after", Double),
    required("interval_widths", ARRAY(Double)),
    required("made_by", Text),
    moment("made_at"),
)

budget_position = Table(
    "budget_position",
    metadata,
    Column("enterprise", Text, ForeignKey(enterprise.c.id), primary_key=True),
    Column("year", SmallInteger, primary_key=True, autoincrement=False),
    Column("basis", Text, primary_key=True),
    required("revision", Integer),
    required("amount", Numeric),
    required("as_of", Date),
    moment("evaluated_at"),
    Column("spent", Numeric),
    required("excluded", Numeric),
    required("plan_to_date", Numeric),
    required("p10", Double),
    required("p50", Double),
    required("p90", Double),
    required("overrun_probability", Double),
    Column("crossing_earliest", Date),
    Column("crossing_expected", Date),
    Column("crossing_latest", Date),
    required("tier", Text),
    required("completeness", Double),
    required("recent_cover", Double),
    required("months", SmallInteger),
    Column("unmeasured_days", Double, nullable=False, server_default=text("0")),
    Column("assumed", Double, nullable=False, server_default=text("0")),
    Column("notes", ARRAY(Text), nullable=False, server_default=text("'{}'::text[]")),
)

budget_standing = Table(
    "budget_standing",
    metadata,
    Column("enterprise", Text, ForeignKey(enterprise.c.id), primary_key=True),
    Column("year", SmallInteger, primary_key=True),
    required("basis", Text),
    required("overrun_probability", Double),
    required("tier", Text),
    moment("evaluated_at"),
    Index("budget_standing_worst", "year", text("overrun_probability DESC"), "enterprise"),
    Index("budget_standing_tier", "year", "tier", text("overrun_probability DESC"), "enterprise"),
)
