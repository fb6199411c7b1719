"""Tables that are made while nobody waits."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, LargeBinary, Table, Text, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB

from app.store.tables.metadata import metadata, moment, required

job = Table(
    "job",
    metadata,
    Column("job_id", Uuid, primary_key=True, server_default=text("gen_random_uuid()")),
    required("token_id", Integer),
    required("path", Text),
    required("query", Text),
    required("format", Text),
    required("language", Text),
    Column("state", Text, nullable=False, server_default=text("'queued'::text")),
    Column("rows", BigInteger, nullable=False, server_default=text("0")),
    Column("problem", JSONB),
    Column("filename", Text),
    Column("content_type", Text),
    Column("size", BigInteger),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    moment("lease_until", null=True),
    moment("created_at", now=True),
    moment("started_at", null=True),
    moment("finished_at", null=True),
    moment("expires_at"),
    Index("job_waiting", "created_at", postgresql_where=text("state IN ('queued', 'running')")),
    Index("job_of", "token_id", "created_at"),
)

job_part = Table(
    "job_part",
    metadata,
    Column("job_id", Uuid, ForeignKey("job.job_id", ondelete="CASCADE"), primary_key=True),
    Column("part", Integer, primary_key=True, autoincrement=False),
    required("bytes", LargeBinary),
)
