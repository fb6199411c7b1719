"""Dated factors of coal and CO2, and which reference tables are loaded."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Date, ForeignKey, Identity, Integer, Numeric, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB

from app.store.tables.metadata import metadata, moment, required
from app.store.tables.registry import carrier, enterprise, region

factor_set = Table(
    "factor_set",
    metadata,
    Column("id", Text, primary_key=True),
    moment("loaded_at", now=True),
    required("sha256", Text),
)

coal_factor = Table(
    "coal_factor",
    metadata,
    Column("factor_id", Integer, Identity(always=True), primary_key=True),
    required("carrier", Text, ForeignKey(carrier.c.code)),
    required("basis", Text),
    required("kgce_per_unit", Numeric),
    required("valid_from", Date),
    Column("valid_to", Date),
    Column("region", Text, ForeignKey(region.c.code)),
    Column("enterprise", Text, ForeignKey(enterprise.c.id)),
    required("edition", Text),
    required("source", Text),
    required("verified", Boolean),
    Column("origin", Text, nullable=False, server_default=text("'entered'::text")),
    Column("made_of", JSONB),
    Column("entered_by", Text),
    moment("entered_at", now=True),
)

co2_factor = Table(
    "co2_factor",
    metadata,
    Column("factor_id", Integer, Identity(always=True), primary_key=True),
    required("carrier", Text, ForeignKey(carrier.c.code)),
    required("kgco2_per_unit", Numeric),
    required("dataset", Text),
    required("valid_from", Date),
    Column("valid_to", Date),
    Column("region", Text, ForeignKey(region.c.code)),
    Column("enterprise", Text, ForeignKey(enterprise.c.id)),
    required("source", Text),
    required("verified", Boolean),
    Column("origin", Text, nullable=False, server_default=text("'entered'::text")),
    Column("made_of", JSONB),
    Column("entered_by", Text),
    moment("entered_at", now=True),
)

reference_set = Table(
    "reference_set",
    metadata,
    Column("name", Text, primary_key=True),
    required("sha256", Text),
    moment("loaded_at", now=True),
)
