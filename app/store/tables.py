"""The tables as SQLAlchemy sees them. The migrations make them; a test holds the two against each other."""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP

metadata = MetaData()
LEVELS = ("hour", "day", "month", "year")


def moment(name: str, *, null: bool = False, now: bool = False) -> Column[object]:
    default = text("now()") if now else None
    return Column(name, TIMESTAMP(timezone=True), nullable=null, server_default=default)


def required(name: str, kind: object, *args: object) -> Column[object]:
    return Column(name, kind, *args, nullable=False)  # type: ignore[arg-type]  # Column's own overloads are narrower


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
    required("carrier", Text, ForeignKey("carrier.code")),
    required("basis", Text),
    required("kgce_per_unit", Numeric),
    required("valid_from", Date),
    Column("valid_to", Date),
    Column("region", Text, ForeignKey("region.code")),
    Column("enterprise", Text, ForeignKey("enterprise.id")),
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
    required("carrier", Text, ForeignKey("carrier.code")),
    required("kgco2_per_unit", Numeric),
    required("dataset", Text),
    required("valid_from", Date),
    Column("valid_to", Date),
    Column("region", Text, ForeignKey("region.code")),
    Column("enterprise", Text, ForeignKey("enterprise.id")),
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
)

line = Table(
    "line",
    metadata,
    Column("line_id", Integer, Identity(always=True), primary_key=True),
    required("enterprise", Text, ForeignKey("enterprise.id")),
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

line_meter = Table(
    "line_meter",
    metadata,
    Column("line_id", Integer, ForeignKey("line.line_id", ondelete="CASCADE"), primary_key=True),
    Column("meter_id", Integer, ForeignKey("meter.meter_id"), primary_key=True),
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

meter_exchange = Table(
    "meter_exchange",
    metadata,
    Column("exchange_id", Integer, Identity(always=True), primary_key=True),
    required("meter_id", Integer, ForeignKey("meter.meter_id")),
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
    required("meter_id", Integer, ForeignKey("meter.meter_id")),
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
    required("meter_id", Integer, ForeignKey("meter.meter_id")),
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
    required("meter_id", Integer, ForeignKey("meter.meter_id")),
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

restatement = Table(
    "restatement",
    metadata,
    Column("restatement_id", BigInteger, Identity(always=True), primary_key=True),
    moment("at", now=True),
    required("enterprise", Text, ForeignKey("enterprise.id", ondelete="CASCADE")),
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
    required("enterprise", Text, ForeignKey("enterprise.id", ondelete="CASCADE")),
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

budget_revision = Table(
    "budget_revision",
    metadata,
    Column("revision_id", BigInteger, Identity(always=True), primary_key=True),
    required("enterprise", Text, ForeignKey("enterprise.id")),
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
    required("enterprise", Text, ForeignKey("enterprise.id")),
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

budget_position = Table(
    "budget_position",
    metadata,
    Column("enterprise", Text, ForeignKey("enterprise.id"), primary_key=True),
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
    Column("notes", ARRAY(Text), nullable=False, server_default=text("'{}'::text[]")),
)

budget_standing = Table(
    "budget_standing",
    metadata,
    Column("enterprise", Text, ForeignKey("enterprise.id"), primary_key=True),
    required("year", SmallInteger),
    required("basis", Text),
    required("overrun_probability", Double),
    required("tier", Text),
    moment("evaluated_at"),
    Index("budget_standing_worst", text("overrun_probability DESC"), "enterprise"),
    Index("budget_standing_tier", "tier", text("overrun_probability DESC"), "enterprise"),
)

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

alert_setting = Table(
    "alert_setting",
    metadata,
    Column("region", Text, ForeignKey("region.code"), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    required("changes", JSONB),
    required("reason", Text),
    required("made_by", Text),
    moment("made_at"),
)

region_contact = Table(
    "region_contact",
    metadata,
    Column("region", Text, ForeignKey("region.code"), primary_key=True),
    Column("email", Text, primary_key=True),
    required("name", Text),
    required("language", Text),
)

region_target = Table(
    "region_target",
    metadata,
    Column("region", Text, ForeignKey("region.code"), primary_key=True),
    Column("year", SmallInteger, primary_key=True, autoincrement=False),
    Column("basis", Text, primary_key=True),
    required("base", Numeric),
    required("incentive", Numeric),
    required("reason", Text),
    required("made_by", Text),
    moment("made_at"),
)

alert = Table(
    "alert",
    metadata,
    Column("alert_id", BigInteger, Identity(always=True), primary_key=True),
    required("enterprise", Text, ForeignKey("enterprise.id")),
    required("kind", Text),
    required("period", Text),
    required("subject", Text),
    required("phase", Text),
    required("level", Text),
    required("seq", Integer),
    required("over_since", ARRAY(Date)),
    required("under_since", ARRAY(Date)),
    required("fact", Boolean),
    required("data", Text),
    moment("acked_until", null=True),
    Column("acked_by", Text),
    moment("silenced_until", null=True),
    Column("silenced_by", Text),
    required("told", Text),
    required("worst", Text),
    Column("escalates_from", Date),
    Column("steps_done", Integer, nullable=False, server_default=text("0")),
    required("facts", JSONB),
    moment("opened_at"),
    moment("raised_at", null=True),
    moment("changed_at"),
    moment("closed_at", null=True),
    Column("outcome", JSONB),
    Index(
        "alert_open",
        "enterprise",
        "kind",
        "period",
        "subject",
        unique=True,
        postgresql_where=text("closed_at IS NULL"),
    ),
    Index("alert_standing", "level", postgresql_where=text("closed_at IS NULL AND level <> 'green'::text")),
)

alert_history = Table(
    "alert_history",
    metadata,
    Column("history_id", BigInteger, Identity(always=True), primary_key=True),
    required("alert_id", BigInteger, ForeignKey("alert.alert_id")),
    required("seq", Integer),
    Column("row", SmallInteger),
    required("event", Text),
    required("phase_before", Text),
    required("phase_after", Text),
    required("level_before", Text),
    required("level_after", Text),
    required("day", Date),
    moment("at"),
    required("actor", Text),
    Column("comment", Text),
    required("inputs", JSONB),
    Index("alert_history_alert", "alert_id", "history_id"),
)

alert_run = Table(
    "alert_run",
    metadata,
    Column("run_id", BigInteger, Identity(always=True), primary_key=True),
    required("day", Date),
    required("why", Text),
    moment("started_at"),
    moment("finished_at", null=True),
    Column("done_until", Text),
    Column("evaluated", Integer, nullable=False, server_default=text("0")),
    Column("told", Integer, nullable=False, server_default=text("0")),
    Index("alert_run_daily", "day", unique=True, postgresql_where=text("why = 'daily'::text")),
)

alert_evaluation = Table(
    "alert_evaluation",
    metadata,
    required("run_id", BigInteger),
    required("enterprise", Text),
    required("about", Text),
    required("subject", Text),
    required("day", Date),
    moment("as_of"),
    required("settings", Text),
    required("signals", Text),
    required("inputs", JSONB),
    Index("alert_evaluation_enterprise", "enterprise", "day"),
)

recipient = Table(
    "recipient",
    metadata,
    Column("recipient_id", BigInteger, Identity(always=True), primary_key=True),
    required("owner", Text),
    required("role", Text),
    required("email", Text),
    required("name", Text),
    required("language", Text),
    Column("refused_times", Integer, nullable=False, server_default=text("0")),
    moment("bad_at", null=True),
    Column("bad_why", Text),
    UniqueConstraint("owner", "email"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("outbox_id", BigInteger, Identity(always=True), primary_key=True),
    Column("alert_id", BigInteger, ForeignKey("alert.alert_id")),
    Column("digest_key", Text, nullable=False, server_default=text("''::text")),
    required("seq", Integer),
    required("recipient_id", BigInteger, ForeignKey("recipient.recipient_id")),
    Column("channel", Text, nullable=False, server_default=text("'email'::text")),
    required("kind", Text),
    required("level", Text),
    required("delivery", Text),
    required("payload", JSONB),
    required("message_id", Text),
    Column("references", Text),
    required("state", Text),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("doubts", Integer, nullable=False, server_default=text("0")),
    Column("plain", Boolean, nullable=False, server_default=text("false")),
    moment("next_at"),
    moment("lease_until", null=True),
    Column("lease_owner", Text),
    Column("last_code", Integer),
    Column("last_error", Text),
    Column("digest_id", BigInteger, ForeignKey("outbox.outbox_id")),
    moment("created_at"),
    moment("sent_at", null=True),
    Index(
        "outbox_once",
        "alert_id",
        "digest_key",
        "seq",
        "recipient_id",
        "channel",
        unique=True,
        postgresql_nulls_not_distinct=True,
    ),
    Index(
        "outbox_due",
        "next_at",
        postgresql_where=text("state IN ('queued', 'retry', 'sending', 'uncertain')"),
    ),
    Index("outbox_recipient", "recipient_id", "sent_at", postgresql_where=text("state = 'sent'::text")),
    Index("outbox_digest", "digest_id", postgresql_where=text("digest_id IS NOT NULL")),
)

platform_alarm = Table(
    "platform_alarm",
    metadata,
    Column("alarm_id", BigInteger, Identity(always=True), primary_key=True),
    required("kind", Text),
    required("subject", Text),
    required("detail", Text),
    moment("since"),
    moment("last_at"),
    Column("times", Integer, nullable=False, server_default=text("1")),
    moment("cleared_at", null=True),
    Index("platform_alarm_open", "kind", "subject", unique=True, postgresql_where=text("cleared_at IS NULL")),
)

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
