"""What a budget's position assumes for days that were not measured.

Why: the projection adds what such days ordinarily take, and nothing said how many they are and how much that is. Locks:
`budget_position`, for a moment: the columns have constant defaults, and the next evaluation fills them in. Runs inside
one transaction.
"""

from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """ALTER TABLE budget_position ADD COLUMN unmeasured_days double precision NOT NULL DEFAULT 0,
               ADD COLUMN assumed double precision NOT NULL DEFAULT 0"""
    )


def downgrade() -> None:
    raise RuntimeError("migrations are forward only: restore a backup instead")
