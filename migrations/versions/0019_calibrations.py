"""How wide the projection's intervals are, fitted to this fleet's own closed years, in versions.

Why: intervals that were fitted on fleets in general hold less or more often than promised on the fleet at hand. Each
fit is kept with the cover it reached; the newest is used. Rows are only ever added.
Locks: none on existing tables. Runs inside one transaction.
"""

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
CREATE TABLE projection_calibration (
    version bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    last_year smallint NOT NULL,
    site_years integer NOT NULL,
    cover_before double precision NOT NULL,
    cover_after double precision NOT NULL,
    interval_widths double precision[] NOT NULL CHECK (cardinality(interval_widths) = 12),
    made_by text NOT NULL,
    made_at timestamptz NOT NULL
)""",
    "SELECT open_to_all('projection_calibration')",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    raise RuntimeError("migrations are forward only: restore a backup instead")
