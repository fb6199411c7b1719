"""Production lines, what they make, and the levels they are held against."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Numeric,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from app.store.tables.metadata import metadata, moment, required
from app.store.tables.registry import enterprise, meter

product = Table(
    "product",
    metadata,
    Column("code", Text, primary_key=True),
    required("name_zh", Text),
    required("name_en", Text),
    required("industry", Text),
    required("unit", Text),
    required("accumulates", Boolean),
)

level = Table(
    "level",
    metadata,
    Column("level_id", Integer, Identity(always=True), primary_key=True),
    required("kind", Text),
    required("product", Text, ForeignKey("product.code")),
    required("indicator", Text),
    Column("condition", Text, nullable=False, server_default=text("''::text")),
    required("unit", Text),
    required("basis", Text),
    *(Column(name, Numeric) for name in ("benchmark", "baseline", "level1", "level2", "level3")),
    required("edition", Text),
    required("valid_from", Date),
    Column("valid_to", Date),
    required("source", Text),
    required("verified", Boolean),
    Column("note", Text, nullable=False, server_default=text("''::text")),
    Column("origin", Text, nullable=False, server_default=text("'entered'::text")),
    Column("entered_by", Text),
    moment("entered_at", now=True),
)

level_correction = Table(
    "level_correction",
    metadata,
    Column("correction_id", Integer, Identity(always=True), primary_key=True),
    required("product", Text, ForeignKey("product.code")),
    required("indicator", Text),
    required("edition", Text),
    Column("condition", Text, nullable=False, server_default=text("''::text")),
    *(required(name, Text) for name in ("attribute", "how", "side")),
    *(required(name, Numeric) for name in ("base", "unit")),
    Column("most", Numeric),
    required("constant", Numeric),
    Column("needs", Text),
    *(Column(name, Numeric) for name in ("needs_above", "level1", "level2", "level3")),
    required("valid_from", Date),
    Column("valid_to", Date),
    required("source", Text),
    required("verified", Boolean),
    Column("origin", Text, nullable=False, server_default=text("'entered'::text")),
    Column("entered_by", Text),
    moment("entered_at", now=True),
)

line = Table(
    "line",
    metadata,
    Column("line_id", Integer, Identity(always=True), primary_key=True),
    required("enterprise", Text, ForeignKey(enterprise.c.id)),
    required("code", Text),
    required("name", Text),
    required("product", Text, ForeignKey("product.code")),
    Column("condition", Text, nullable=False, server_default=text("''::text")),
    required("capacity_per_year", Numeric),
    required("unit", Text),
    Column("active", Boolean, nullable=False, server_default=text("true")),
    Column("attributes", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    moment("created_at", now=True),
    moment("updated_at", now=True),
    UniqueConstraint("enterprise", "code"),
)

line_attribute = Table(
    "line_attribute",
    metadata,
    Column("entry_id", BigInteger, Identity(always=True), primary_key=True),
    required("line_id", Integer, ForeignKey("line.line_id", ondelete="CASCADE")),
    required("valid_from", Date),
    required("attributes", JSONB),
    Column("note", Text, nullable=False, server_default=text("''::text")),
    required("entered_by", Text),
    moment("entered_at", now=True),
    Index("line_attribute_line", "line_id", text("valid_from DESC"), text("entry_id DESC")),
)

line_meter = Table(
    "line_meter",
    metadata,
    Column("line_id", Integer, ForeignKey("line.line_id", ondelete="CASCADE"), primary_key=True),
    Column("meter_id", Integer, ForeignKey(meter.c.meter_id), primary_key=True),
    required("share", Numeric),
    Index("line_meter_meter", "meter_id"),
)

line_output = Table(
    "line_output",
    metadata,
    Column("line_id", Integer, ForeignKey("line.line_id", ondelete="CASCADE"), primary_key=True),
    Column("month", Date, primary_key=True),
    Column("revision", Integer, primary_key=True, autoincrement=False),
    required("quantity", Numeric),
    Column("note", Text, nullable=False, server_default=text("''::text")),
    required("entered_by", Text),
    moment("entered_at", now=True),
)
