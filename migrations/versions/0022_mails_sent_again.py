"""When somebody had a failed mail sent again.

Why: its three days of trying begin anew then, while the time it was written stays.
Locks: `outbox` for a moment. Runs inside one transaction.
"""

from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE outbox ADD COLUMN resent_at timestamptz")


def downgrade() -> None:
    raise RuntimeError("migrations are forward only: restore a backup instead")
