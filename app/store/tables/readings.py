"""Readings as they came, what was refused, and what has to be computed again."""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import TIMESTAMP

from app.store.tables.metadata import metadata, moment, required

reading = Table(
    "reading",
    metadata,
    moment("ts"),
    required("meter_id", Integer),
    required("value", Double),
    required("quality", SmallInteger),
    moment("received_at"),
    Index("reading_key", "meter_id", "ts", unique=True),
)

reading_revision = Table(
    "reading_revision",
    metadata,
    Column("revision_id", BigInteger, Identity(always=True), primary_key=True),
    required("meter_id", Integer),
    moment("ts"),
    required("old_value", Double),
    required("old_quality", SmallInteger),
    required("new_value", Double),
    required("new_quality", SmallInteger),
    moment("revised_at"),
    required("revised_by", Text),
    Index("reading_revision_key", "meter_id", "ts"),
)

rejected_message = Table(
    "rejected_message",
    metadata,
    Column("message_id", BigInteger, Identity(always=True), primary_key=True),
    moment("received_at"),
    required("door", Text),
    required("gateway", Text),
    Column("topic", Text),
    required("content_type", Text),
    required("raw", LargeBinary),
    required("digest", LargeBinary),
    Column("times", Integer, nullable=False, server_default=text("1")),
    moment("last_at"),
    Index("rejected_message_once", "gateway", "digest", unique=True),
    Index("rejected_message_gateway", "gateway", "message_id"),
)

rejected_reading = Table(
    "rejected_reading",
    metadata,
    Column("rejected_id", BigInteger, Identity(always=True), primary_key=True),
    required("message_id", BigInteger, ForeignKey("rejected_message.message_id", ondelete="CASCADE")),
    Column("position", Integer),
    Column("meter", Text),
    Column("at", Text),
    Column("value", Text),
    required("code", Text),
    required("detail", Text),
    moment("tried_at", null=True),
    moment("replayed_at", null=True),
    Column("replayed_by", Text),
    Column("replayed_as", Text),
    Index("rejected_reading_message", "message_id"),
    Index("rejected_reading_open", "meter", postgresql_where=text("replayed_at IS NULL")),
)

touched = Table(
    "touched",
    metadata,
    Column("touched_id", BigInteger, Identity(always=True), primary_key=True),
    required("meter_id", ARRAY(Integer)),
    Column("hour", ARRAY(Integer)),
    moment("marked_at", now=True),
    Column("cause", Text),
    Column("actor", Text),
    CheckConstraint("hour IS NULL OR cardinality(hour) = cardinality(meter_id)"),
)

held_reading = Table(
    "held_reading",
    metadata,
    Column("meter_id", Integer, primary_key=True),
    Column("ts", TIMESTAMP(timezone=True), primary_key=True),
    required("why", Text),
)
