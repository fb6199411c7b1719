"""Restatements of closed months, and the nightly verification's runs and differences.

Why: a month is closed on a set day; what changes it later is kept with before and after, who and why. And every night a
sample of the rollups is computed from nothing and compared; what differs is kept until it is gone.
Locks: everything is new. Runs inside one transaction.
"""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
CREATE TABLE restatement (
    restatement_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    enterprise text NOT NULL REFERENCES enterprise ON DELETE CASCADE,
    month timestamptz NOT NULL,
    carrier text NOT NULL,
    before jsonb,
    after jsonb,
    causes jsonb NOT NULL,
    loading boolean NOT NULL DEFAULT false
)""",
    "CREATE INDEX restatement_of ON restatement (enterprise, month, carrier, restatement_id)",
    "SELECT secure_by_enterprise('restatement')",
    """
CREATE TABLE verification (
    verification_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    night date NOT NULL UNIQUE,
    started_at timestamptz NOT NULL,
    finished_at timestamptz,
    seed bigint NOT NULL,
    asked integer NOT NULL,
    enterprises integer NOT NULL DEFAULT 0,
    passed_over integer NOT NULL DEFAULT 0,
    meters bigint NOT NULL DEFAULT 0,
    readings bigint NOT NULL DEFAULT 0,
    buckets bigint NOT NULL DEFAULT 0,
    differences integer NOT NULL DEFAULT 0
)""",
    "SELECT open_to_all('verification')",
    """
CREATE TABLE verification_difference (
    difference_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    verification_id integer NOT NULL REFERENCES verification,
    enterprise text NOT NULL REFERENCES enterprise ON DELETE CASCADE,
    table_name text NOT NULL,
    key text NOT NULL,
    start timestamptz NOT NULL,
    column_name text NOT NULL,
    stored text,
    expected text,
    found_at timestamptz NOT NULL DEFAULT now(),
    gone_at timestamptz
)""",
    "CREATE INDEX verification_difference_open ON verification_difference (enterprise) WHERE gone_at IS NULL",
    "SELECT secure_by_enterprise('verification_difference')",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    raise RuntimeError("migrations are forward only: restore a backup instead")
