"""What people say about a meter: exchanges, multipliers, decisions, deletions."""

from __future__ import annotations

from sqlalchemy import Column, Double, ForeignKey, Identity, Index, Integer, Numeric, SmallInteger, Table, Text, text
from sqlalchemy.dialects.postgresql import TIMESTAMP

from app.store.tables.metadata import metadata, moment, required
from app.store.tables.registry import meter

meter_exchange = Table(
    "meter_exchange",
    metadata,
    Column("exchange_id", Integer, Identity(always=True), primary_key=True),
    required("meter_id", Integer, ForeignKey(meter.c.meter_id)),
    moment("at"),
    required("old_final", Double),
    required("new_initial", Double),
    Column("serial", Text),
    Column("multiplier", Numeric),
    Column("reason", Text),
    moment("recorded_at", now=True),
    required("recorded_by", Text),
    moment("revoked_at", null=True),
    Column("revoked_by", Text),
    Column("revoked_because", Text),
    Index("meter_exchange_once", "meter_id", "at", unique=True, postgresql_where=text("revoked_at IS NULL")),
    Index("meter_exchange_meter", "meter_id", "exchange_id"),
)

meter_multiplier = Table(
    "meter_multiplier",
    metadata,
    Column("multiplier_id", Integer, Identity(always=True), primary_key=True),
    required("meter_id", Integer, ForeignKey(meter.c.meter_id)),
    moment("valid_from"),
    required("multiplier", Numeric),
    Column("exchange_id", Integer, ForeignKey("meter_exchange.exchange_id")),
    moment("recorded_at", now=True),
    required("recorded_by", Text),
    moment("revoked_at", null=True),
    Column("revoked_by", Text),
    Index("meter_multiplier_once", "meter_id", "valid_from", unique=True, postgresql_where=text("revoked_at IS NULL")),
)

reading_decision = Table(
    "reading_decision",
    metadata,
    Column("decision_id", Integer, Identity(always=True), primary_key=True),
    required("meter_id", Integer, ForeignKey(meter.c.meter_id)),
    moment("ts"),
    required("says", Text),
    Column("amount", Double),
    Column("exchange_id", Integer, ForeignKey("meter_exchange.exchange_id")),
    required("reason", Text),
    moment("decided_at", now=True),
    required("decided_by", Text),
    moment("revoked_at", null=True),
    Column("revoked_by", Text),
    Column("revoked_because", Text),
    Index("reading_decision_once", "meter_id", "ts", unique=True, postgresql_where=text("revoked_at IS NULL")),
)

reading_deletion = Table(
    "reading_deletion",
    metadata,
    Column("deletion_id", Integer, Identity(always=True), primary_key=True),
    required("meter_id", Integer, ForeignKey(meter.c.meter_id)),
    moment("from_ts"),
    moment("to_ts"),
    required("count", Integer),
    required("reason", Text),
    moment("deleted_at", now=True),
    required("deleted_by", Text),
    Index("reading_deletion_meter", "meter_id", "deletion_id"),
)

deleted_reading = Table(
    "deleted_reading",
    metadata,
    Column("deletion_id", Integer, ForeignKey("reading_deletion.deletion_id"), primary_key=True, autoincrement=False),
    Column("ts", TIMESTAMP(timezone=True), primary_key=True),
    required("value", Double),
    required("quality", SmallInteger),
    moment("received_at"),
)
