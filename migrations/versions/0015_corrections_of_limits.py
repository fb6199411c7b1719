"""Corrections of legal limits as dated data, and the attributes of a line that they go by.

Why: a standard changes its limits with altitude, clinker share, feed grade and the like; a line is held against the
level that its own circumstances give. Locks: `line` is altered for a moment. Runs inside one transaction.
"""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
CREATE TABLE level_correction (
    correction_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    product text NOT NULL REFERENCES product,
    indicator text NOT NULL CHECK (indicator IN ('energy', 'electricity', 'coal')),
    edition text NOT NULL,
    condition text NOT NULL DEFAULT '',
    attribute text NOT NULL,
    how text NOT NULL CHECK (how IN ('add', 'times')),
    side text NOT NULL CHECK (side IN ('both', 'below', 'above')),
    base numeric NOT NULL,
    unit numeric NOT NULL CHECK (unit > 0),
    most numeric CHECK (most > 0),
    constant numeric NOT NULL,
    needs text,
    needs_above numeric,
    level1 numeric,
    level2 numeric,
    level3 numeric,
    valid_from date NOT NULL,
    valid_to date CHECK (valid_to > valid_from),
    source text NOT NULL,
    verified boolean NOT NULL,
    CHECK ((needs IS NULL) = (needs_above IS NULL)),
    CONSTRAINT level_correction_no_overlap EXCLUDE USING gist (product WITH =, indicator WITH =, edition WITH =,
        condition WITH =, attribute WITH =, daterange(valid_from, valid_to) WITH &&)
)""",
    "SELECT open_to_all('level_correction')",
    "ALTER TABLE line ADD COLUMN attributes jsonb NOT NULL DEFAULT '{}'",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    raise RuntimeError("migrations are forward only: restore a backup instead")
