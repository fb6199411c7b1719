"""The record: exchanges of registers, decisions on held readings, multipliers from a date on, deleted readings.

Why: what a register showed is a reading; why it showed it is something a person says, and it is kept as such with who
and when, never overwritten, only revoked. A mark may now say who caused it and why, for the record of what it changed.
Locks: `touched` is altered for a moment (two nullable columns), everything else is new. Runs inside one transaction.
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
CREATE TABLE meter_exchange (
    exchange_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    meter_id integer NOT NULL REFERENCES meter,
    at timestamptz NOT NULL,
    old_final double precision NOT NULL CHECK (old_final >= 0),
    new_initial double precision NOT NULL CHECK (new_initial >= 0),
    serial text,
    multiplier numeric CHECK (multiplier > 0),
    reason text,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    recorded_by text NOT NULL,
    revoked_at timestamptz,
    revoked_by text,
    revoked_because text
)""",
    "CREATE UNIQUE INDEX meter_exchange_once ON meter_exchange (meter_id, at) WHERE revoked_at IS NULL",
    "CREATE INDEX meter_exchange_meter ON meter_exchange (meter_id, exchange_id)",
    """
CREATE TABLE meter_multiplier (
    multiplier_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    meter_id integer NOT NULL REFERENCES meter,
    valid_from timestamptz NOT NULL,
    multiplier numeric NOT NULL CHECK (multiplier > 0),
    exchange_id integer REFERENCES meter_exchange,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    recorded_by text NOT NULL,
    revoked_at timestamptz,
    revoked_by text
)""",
    "CREATE UNIQUE INDEX meter_multiplier_once ON meter_multiplier (meter_id, valid_from) WHERE revoked_at IS NULL",
    """
CREATE TABLE reading_decision (
    decision_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    meter_id integer NOT NULL REFERENCES meter,
    ts timestamptz NOT NULL,
    says text NOT NULL CHECK (says IN ('real', 'rollover', 'reset', 'discard')),
    amount double precision,
    reason text NOT NULL,
    decided_at timestamptz NOT NULL DEFAULT now(),
    decided_by text NOT NULL,
    revoked_at timestamptz,
    revoked_by text,
    revoked_because text
)""",
    "CREATE UNIQUE INDEX reading_decision_once ON reading_decision (meter_id, ts) WHERE revoked_at IS NULL",
    """
CREATE TABLE reading_deletion (
    deletion_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    meter_id integer NOT NULL REFERENCES meter,
    from_ts timestamptz NOT NULL,
    to_ts timestamptz NOT NULL,
    count integer NOT NULL,
    reason text NOT NULL,
    deleted_at timestamptz NOT NULL DEFAULT now(),
    deleted_by text NOT NULL
)""",
    "CREATE INDEX reading_deletion_meter ON reading_deletion (meter_id, deletion_id)",
    """
CREATE TABLE deleted_reading (
    deletion_id integer NOT NULL REFERENCES reading_deletion,
    ts timestamptz NOT NULL,
    value double precision NOT NULL,
    quality smallint NOT NULL,
    received_at timestamptz NOT NULL,
    PRIMARY KEY (deletion_id, ts)
)""",
    "SELECT secure_by_meter('meter_exchange')",
    "SELECT secure_by_meter('meter_multiplier')",
    "SELECT secure_by_meter('reading_decision')",
    "SELECT secure_by_meter('reading_deletion')",
    "SELECT secure_through('deleted_reading', 'deletion_id', 'reading_deletion', 'deletion_id')",
    "ALTER TABLE touched ADD COLUMN cause text, ADD COLUMN actor text",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    raise RuntimeError("migrations are forward only: restore a backup instead")
