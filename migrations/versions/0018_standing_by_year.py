"""How an enterprise stands, by year.

Why: there was one row an enterprise, and the budget of the next year, which is entered while this one runs, took its
place: the enterprise was in no list by probability until the new year. Locks: `budget_standing`, for a moment: it holds
a row an enterprise. Runs inside one transaction. The years before are filled in from what is kept of their budgets.
"""

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

STATEMENTS = (
    "ALTER TABLE budget_standing DROP CONSTRAINT budget_standing_pkey",
    "ALTER TABLE budget_standing ADD PRIMARY KEY (enterprise, year)",
    "DROP INDEX budget_standing_worst",
    "DROP INDEX budget_standing_tier",
    "CREATE INDEX budget_standing_worst ON budget_standing (year, overrun_probability DESC, enterprise)",
    "CREATE INDEX budget_standing_tier ON budget_standing (year, tier, overrun_probability DESC, enterprise)",
    """INSERT INTO budget_standing (enterprise, year, basis, overrun_probability, tier, evaluated_at)
       SELECT DISTINCT ON (enterprise, year) enterprise, year, basis, overrun_probability, tier, evaluated_at
       FROM budget_position
       ORDER BY enterprise, year, array_position(ARRAY['red', 'orange', 'yellow', 'green'], tier),
           overrun_probability DESC, basis
       ON CONFLICT DO NOTHING""",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    raise RuntimeError("migrations are forward only: restore a backup instead")
