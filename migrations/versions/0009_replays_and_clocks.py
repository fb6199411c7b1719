"""What became of a refused reading when it was tried again, and how far a gateway's clock is off.

Why: a reading that was refused because the registry was wrong is stored once the registry is mended; it stays in the
list with when, by whom and as what. A gateway's clock is measured while its readings come in.
Locks: ACCESS EXCLUSIVE on rejected_reading and gateway for the moment the columns are added; nothing is rewritten. The
index is built while refusals wait, which on a list of millions takes seconds.
"""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """ALTER TABLE rejected_reading
               ADD tried_at timestamptz, ADD replayed_at timestamptz, ADD replayed_by text, ADD replayed_as text"""
    )
    op.execute("CREATE INDEX rejected_reading_open ON rejected_reading (meter) WHERE replayed_at IS NULL")
    op.execute("ALTER TABLE gateway ADD clock_skew_s double precision, ADD clock_skew_at timestamptz")


def downgrade() -> None:
    raise RuntimeError("migrations are forward only: restore a backup instead")
