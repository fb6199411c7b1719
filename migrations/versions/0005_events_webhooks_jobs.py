"""What is told outside as it happens: events, the webhooks that carry them, and jobs for long exports.

Why: an event is written in the transaction of what it tells of, so nothing is told that was rolled back and nothing is
kept quiet that was committed. `tx` orders events by transaction: a reader takes only those older than every transaction
still running (pg_snapshot_xmin), so that one which commits late is never passed over, and no writer waits for another.
Locks: none that matter, all tables are new. Runs inside one transaction.
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

EVENT = """
CREATE TABLE event (
    event_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tx bigint NOT NULL DEFAULT pg_current_xact_id()::text::bigint,
    at timestamptz NOT NULL DEFAULT now(),
    kind text NOT NULL CHECK (kind ~ '^[a-z]+([.][a-z-]+)*$'),
    enterprise text,
    region text NOT NULL,
    payload jsonb NOT NULL
)
"""
EVENT_ORDER = "CREATE INDEX event_order ON event (tx, event_id)"
WEBHOOK = """
CREATE TABLE webhook (
    webhook_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    token_id integer NOT NULL,
    role text NOT NULL,
    scope text NOT NULL,
    url text NOT NULL,
    description text NOT NULL DEFAULT '',
    kinds text[] NOT NULL CHECK (cardinality(kinds) > 0),
    secret bytea NOT NULL,
    previous_secret bytea,
    previous_until timestamptz,
    active boolean NOT NULL DEFAULT true,
    disabled_why text,
    failing_since timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
)
"""
DELIVERY = """
CREATE TABLE webhook_delivery (
    delivery_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id text NOT NULL,
    webhook_id uuid NOT NULL REFERENCES webhook ON DELETE CASCADE,
    kind text NOT NULL,
    at timestamptz NOT NULL,
    payload jsonb NOT NULL,
    state text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'delivered', 'dead')),
    attempts integer NOT NULL DEFAULT 0,
    next_at timestamptz NOT NULL DEFAULT now(),
    last_status integer,
    last_error text,
    delivered_at timestamptz
)
"""
DELIVERY_DUE = "CREATE INDEX webhook_delivery_due ON webhook_delivery (next_at) WHERE state = 'queued'"
DELIVERY_OF = "CREATE INDEX webhook_delivery_of ON webhook_delivery (webhook_id, delivery_id)"
# One call for whoever has something to tell, from any driver and from SQL.
RECORD = """
CREATE FUNCTION record_event(
    told_kind text, told_enterprise text, told_region text, told_payload jsonb
) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    place text := coalesce(told_region, (SELECT region FROM enterprise WHERE id = told_enterprise));
    made event;
BEGIN
    INSERT INTO event (kind, enterprise, region, payload)
    VALUES (told_kind, told_enterprise, place, told_payload) RETURNING * INTO made;
    INSERT INTO webhook_delivery (message_id, webhook_id, kind, at, payload)
    SELECT 'msg_' || replace(gen_random_uuid()::text, '-', ''), webhook_id, made.kind, made.at,
           jsonb_build_object('type', made.kind, 'timestamp', made.at, 'region', made.region,
                              'enterprise', made.enterprise, 'data', made.payload)
    FROM webhook
    WHERE active AND (made.kind = ANY (kinds) OR split_part(made.kind, '.', 1) = ANY (kinds))
      AND CASE WHEN role = 'enterprise' THEN scope = made.enterprise ELSE starts_with(made.region, scope) END;
    PERFORM pg_notify('event', '');
    RETURN made.event_id;
END $$
"""
JOB = """
CREATE TABLE job (
    job_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    token_id integer NOT NULL,
    path text NOT NULL,
    query text NOT NULL,
    format text NOT NULL,
    language text NOT NULL,
    state text NOT NULL DEFAULT 'queued'
        CHECK (state IN ('queued', 'running', 'done', 'failed', 'cancelled')),
    rows bigint NOT NULL DEFAULT 0,
    problem jsonb,
    filename text,
    content_type text,
    size bigint,
    attempts integer NOT NULL DEFAULT 0,
    lease_until timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    finished_at timestamptz,
    expires_at timestamptz NOT NULL
)
"""
JOB_WAITING = "CREATE INDEX job_waiting ON job (created_at) WHERE state IN ('queued', 'running')"
JOB_OF = "CREATE INDEX job_of ON job (token_id, created_at)"
JOB_PART = """
CREATE TABLE job_part (
    job_id uuid NOT NULL REFERENCES job ON DELETE CASCADE,
    part integer NOT NULL,
    bytes bytea NOT NULL,
    PRIMARY KEY (job_id, part)
)
"""
# What is exported is packed already, or goes out packed: the database need not try.
JOB_PART_PLAIN = "ALTER TABLE job_part ALTER bytes SET STORAGE EXTERNAL"


def upgrade() -> None:
    for statement in (
        EVENT,
        EVENT_ORDER,
        WEBHOOK,
        DELIVERY,
        DELIVERY_DUE,
        DELIVERY_OF,
        RECORD,
        JOB,
        JOB_WAITING,
        JOB_OF,
        JOB_PART,
        JOB_PART_PLAIN,
    ):
        op.execute(statement)
    # They belong to a token, not to a place: the service itself reads them and compares the token's number.
    for statement in (
        "SELECT closed_to_api('event')",
        "SELECT closed_to_api('webhook')",
        "SELECT closed_to_api('webhook_delivery')",
        "SELECT closed_to_api('job')",
        "SELECT closed_to_api('job_part')",
    ):
        op.execute(statement)


def downgrade() -> None:
    raise RuntimeError("migrations are forward only: restore a backup instead")
