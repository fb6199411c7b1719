"""${message}

Why: . Locks: . Runs inside one transaction: yes.
"""

from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    pass


def downgrade() -> None:
    raise RuntimeError("migrations are forward only: restore a backup instead")
