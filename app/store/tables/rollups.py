"""Figures of meters and enterprises, their changes after closing, and the nightly recomputation."""

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
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP

from app.store.tables.metadata import metadata, moment, required
from app.store.tables.registry import enterprise

LEVELS = ("hour", "day", "month", "year")

restatement = Table(
    "restatement",
    metadata,
    Column("restatement_id", BigInteger, Identity(always=True), primary_key=True),
    moment("at", now=True),
    required("enterprise", Text, ForeignKey(enterprise.c.id, ondelete="CASCADE")),
    moment("month"),
    required("carrier", Text),
    Column("before", JSONB),
    Column("after", JSONB),
    required("causes", JSONB),
    Column("loading", Boolean, nullable=False, server_default=text("false")),
    Index("restatement_of", "enterprise", "month", "carrier", "restatement_id"),
)

verification = Table(
    "verification",
    metadata,
    Column("verification_id", Integer, Identity(always=True), primary_key=True),
    Column("night", Date, nullable=False, unique=True),
    moment("started_at"),
    moment("finished_at", null=True),
    required("seed", BigInteger),
    required("asked", Integer),
    *(Column(name, Integer, nullable=False, server_default=text("0")) for name in ("enterprises", "passed_over")),
    *(Column(name, BigInteger, nullable=False, server_default=text("0")) for name in ("meters", "readings", "buckets")),
    Column("differences", Integer, nullable=False, server_default=text("0")),
)

verification_difference = Table(
    "verification_difference",
    metadata,
    Column("difference_id", BigInteger, Identity(always=True), primary_key=True),
    required("verification_id", Integer, ForeignKey("verification.verification_id")),
    required("enterprise", Text, ForeignKey(enterprise.c.id, ondelete="CASCADE")),
    required("table_name", Text),
    required("key", Text),
    moment("start"),
    required("column_name", Text),
    Column("stored", Text),
    Column("expected", Text),
    moment("found_at", now=True),
    moment("gone_at", null=True),
    Index("verification_difference_open", "enterprise", postgresql_where=text("gone_at IS NULL")),
)


def meter_rollup(level: str) -> Table:
    return Table(
        f"meter_{level}",
        metadata,
        required("meter_id", Integer),
        moment("start"),
        required("quantity", Numeric),
        Column("tce_equivalent", Numeric),
        Column("tce_equal", Numeric),
        Column("tco2", Numeric),
        required("measured_us", BigInteger),
        required("estimated_us", BigInteger),
        Column("held", Integer, nullable=False, server_default=text("0")),
        Index(f"meter_{level}_key", "meter_id", "start", unique=True),
    )


def enterprise_rollup(level: str) -> Table:
    return Table(
        f"enterprise_{level}",
        metadata,
        required("enterprise", Text),
        required("carrier", Text),
        moment("start"),
        required("quantity", Numeric),
        required("quantity_net", Numeric),
        Column("tce_equivalent", Numeric),
        Column("tce_equivalent_net", Numeric),
        Column("tce_equal", Numeric),
        Column("tce_equal_net", Numeric),
        Column("tco2", Numeric),
        Column("tco2_net", Numeric),
        required("measured_us", BigInteger),
        required("estimated_us", BigInteger),
        Column("held", Integer, nullable=False, server_default=text("0")),
        Index(f"enterprise_{level}_key", "enterprise", "start", "carrier", unique=True),
        *([Index(f"enterprise_{level}_start", "start")] if level in ("month", "year") else []),
    )


meter_rollups = {level: meter_rollup(level) for level in LEVELS}
enterprise_rollups = {level: enterprise_rollup(level) for level in LEVELS}

enterprise_rank = Table(
    "enterprise_rank",
    metadata,
    Column("start", TIMESTAMP(timezone=True), primary_key=True),
    Column("enterprise", Text, primary_key=True),
    Column("tce_equivalent", Numeric),
    Index("enterprise_rank_order", "start", text("tce_equivalent DESC"), "enterprise"),
)

figures_mark = Table(
    "figures_mark",
    metadata,
    Column("slot", SmallInteger, primary_key=True, autoincrement=False),
    required("version", BigInteger),
)
