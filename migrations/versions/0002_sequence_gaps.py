"""Numbers that are missing in a gateway's count of messages.

Why: a gap is noticed in the transaction that stores what came after it, and asked for again until it is filled.
Locks: none that matter; the table is new, and its foreign key locks `gateway` for a moment against writers.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

SEQUENCE_GAP = """
CREATE TABLE sequence_gap (
    gateway text NOT NULL REFERENCES gateway ON DELETE CASCADE,
    first_seq bigint NOT NULL,
    last_seq bigint NOT NULL CHECK (last_seq >= first_seq),
    noticed_at timestamptz NOT NULL,
    asked_at timestamptz,
    asked_times integer NOT NULL DEFAULT 0,
    PRIMARY KEY (gateway, first_seq)
)
"""


def upgrade() -> None:
    op.execute(SEQUENCE_GAP)


def downgrade() -> None:
    raise RuntimeError("migrations are forward only: restore a backup instead")
