"""Alerts, what happened to them, who is told, and the settings behind it.

Why: an alert is raised, told and closed over months, by several workers, through crashes; its state lives here.
Locks: none that matter, all tables are new.

`alert_open` allows one open alert a key whatever runs at once. `outbox_once` allows one notice an alert, number,
recipient and channel. History and evaluations are only ever added to: a trigger keeps them.
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

LEVEL = "CHECK ({column} IN ('green', 'yellow', 'orange', 'red'))"

TABLES = (
    """
CREATE TABLE alert_setting (
    region text NOT NULL REFERENCES region,
    version integer NOT NULL CHECK (version > 0),
    changes jsonb NOT NULL,
    reason text NOT NULL,
    made_by text NOT NULL,
    made_at timestamptz NOT NULL,
    PRIMARY KEY (region, version)
)""",
    """
CREATE TABLE region_contact (
    region text NOT NULL REFERENCES region,
    email text NOT NULL,
    name text NOT NULL,
    language text NOT NULL,
    PRIMARY KEY (region, email)
)""",
    """
CREATE TABLE region_target (
    region text NOT NULL REFERENCES region,
    year smallint NOT NULL CHECK (year BETWEEN 2000 AND 2100),
    basis text NOT NULL CHECK (basis IN ('equivalent', 'equal', 'co2')),
    base numeric NOT NULL CHECK (base > 0),
    incentive numeric NOT NULL CHECK (incentive > 0 AND incentive <= base),
    reason text NOT NULL,
    made_by text NOT NULL,
    made_at timestamptz NOT NULL,
    PRIMARY KEY (region, year, basis)
)""",
    f"""
CREATE TABLE alert (
    alert_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    enterprise text NOT NULL REFERENCES enterprise,
    kind text NOT NULL
        CHECK (kind IN ('trend', 'actual', 'period', 'data', 'benchmark', 'meter', 'integrity')),
    period text NOT NULL,
    subject text NOT NULL,
    phase text NOT NULL CHECK (phase IN ('inactive', 'pending', 'active', 'recovering', 'held', 'closed')),
    level text NOT NULL {LEVEL.format(column="level")},
    seq integer NOT NULL,
    over_since date[] NOT NULL CHECK (cardinality(over_since) = 3),
    under_since date[] NOT NULL CHECK (cardinality(under_since) = 3),
    fact boolean NOT NULL,
    data text NOT NULL CHECK (data IN ('ok', 'late', 'missing', 'suspect')),
    acked_until timestamptz,
    acked_by text,
    silenced_until timestamptz,
    silenced_by text,
    told text NOT NULL {LEVEL.format(column="told")},
    worst text NOT NULL {LEVEL.format(column="worst")},
    escalates_from date,
    steps_done integer NOT NULL DEFAULT 0,
    facts jsonb NOT NULL,
    opened_at timestamptz NOT NULL,
    raised_at timestamptz,
    changed_at timestamptz NOT NULL,
    closed_at timestamptz,
    outcome jsonb,
    CHECK ((phase = 'closed') = (closed_at IS NOT NULL))
)""",
    "CREATE UNIQUE INDEX alert_open ON alert (enterprise, kind, period, subject) WHERE closed_at IS NULL",
    "CREATE INDEX alert_standing ON alert (level) WHERE closed_at IS NULL AND level <> 'green'",
    """
CREATE TABLE alert_history (
    history_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    alert_id bigint NOT NULL REFERENCES alert,
    seq integer NOT NULL,
    "row" smallint,
    event text NOT NULL,
    phase_before text NOT NULL,
    phase_after text NOT NULL,
    level_before text NOT NULL,
    level_after text NOT NULL,
    day date NOT NULL,
    at timestamptz NOT NULL,
    actor text NOT NULL,
    comment text,
    inputs jsonb NOT NULL
)""",
    "CREATE INDEX alert_history_alert ON alert_history (alert_id, history_id)",
    """
CREATE TABLE alert_run (
    run_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    day date NOT NULL,
    why text NOT NULL CHECK (why IN ('daily', 'revised', 'asked')),
    started_at timestamptz NOT NULL,
    finished_at timestamptz,
    done_until text,
    evaluated integer NOT NULL DEFAULT 0,
    told integer NOT NULL DEFAULT 0
)""",
    "CREATE UNIQUE INDEX alert_run_daily ON alert_run (day) WHERE why = 'daily'",
    """
CREATE TABLE alert_evaluation (
    run_id bigint NOT NULL,
    enterprise text NOT NULL,
    about text NOT NULL,
    subject text NOT NULL,
    day date NOT NULL,
    as_of timestamptz NOT NULL,
    settings text NOT NULL,
    signals text NOT NULL,
    inputs jsonb NOT NULL
)""",
    "CREATE INDEX alert_evaluation_enterprise ON alert_evaluation (enterprise, day)",
    """
CREATE TABLE recipient (
    recipient_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner text NOT NULL,
    role text NOT NULL,
    email text NOT NULL,
    name text NOT NULL,
    language text NOT NULL,
    refused_times integer NOT NULL DEFAULT 0,
    bad_at timestamptz,
    bad_why text,
    UNIQUE (owner, email)
)""",
    """
CREATE TABLE outbox (
    outbox_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    alert_id bigint REFERENCES alert,
    digest_key text NOT NULL DEFAULT '',
    seq integer NOT NULL,
    recipient_id bigint NOT NULL REFERENCES recipient,
    channel text NOT NULL DEFAULT 'email',
    kind text NOT NULL,
    level text NOT NULL,
    delivery text NOT NULL CHECK (delivery IN ('immediate', 'grouped', 'daily', 'weekly')),
    payload jsonb NOT NULL,
    message_id text NOT NULL,
    "references" text,
    state text NOT NULL
        CHECK (state IN ('queued', 'sending', 'sent', 'retry', 'uncertain', 'failed', 'suppressed', 'merged')),
    attempts integer NOT NULL DEFAULT 0,
    doubts integer NOT NULL DEFAULT 0,
    plain boolean NOT NULL DEFAULT false,
    next_at timestamptz NOT NULL,
    lease_until timestamptz,
    lease_owner text,
    last_code integer,
    last_error text,
    digest_id bigint REFERENCES outbox,
    created_at timestamptz NOT NULL,
    sent_at timestamptz
)""",
    "CREATE UNIQUE INDEX outbox_once ON outbox (alert_id, digest_key, seq, recipient_id, channel) NULLS NOT DISTINCT",
    "CREATE INDEX outbox_due ON outbox (next_at) WHERE state IN ('queued', 'retry', 'sending', 'uncertain')",
    "CREATE INDEX outbox_recipient ON outbox (recipient_id, sent_at) WHERE state = 'sent'",
    "CREATE INDEX outbox_digest ON outbox (digest_id) WHERE digest_id IS NOT NULL",
    """
CREATE TABLE platform_alarm (
    alarm_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL,
    subject text NOT NULL,
    detail text NOT NULL,
    since timestamptz NOT NULL,
    last_at timestamptz NOT NULL,
    times integer NOT NULL DEFAULT 1,
    cleared_at timestamptz
)""",
    "CREATE UNIQUE INDEX platform_alarm_open ON platform_alarm (kind, subject) WHERE cleared_at IS NULL",
    """
CREATE FUNCTION only_added_to() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is only ever added to', TG_TABLE_NAME;
END $$""",
    """
CREATE TRIGGER alert_history_kept BEFORE UPDATE OR DELETE ON alert_history
    FOR EACH ROW EXECUTE FUNCTION only_added_to()""",
    """
CREATE TRIGGER alert_evaluation_kept BEFORE UPDATE OR DELETE ON alert_evaluation
    FOR EACH ROW EXECUTE FUNCTION only_added_to()""",
    "SELECT secure_by_enterprise('alert')",
    "SELECT secure_by_enterprise('alert_evaluation')",
    "SELECT secure_through('alert_history', 'alert_id', 'alert', 'alert_id')",
    "SELECT secure_through('alert_setting', 'region', 'region', 'code')",
    "SELECT secure_through('region_contact', 'region', 'region', 'code')",
    "SELECT secure_through('region_target', 'region', 'region', 'code')",
    # What waits to be mailed is the service's own; the API shows it to admins as the owner of the tables.
    "SELECT closed_to_api('alert_run')",
    "SELECT closed_to_api('recipient')",
    "SELECT closed_to_api('outbox')",
    "SELECT closed_to_api('platform_alarm')",
)


def upgrade() -> None:
    for statement in TABLES:
        op.execute(statement)


def downgrade() -> None:
    raise RuntimeError("migrations are forward only: restore a backup instead")
