"""A held reading may be decided to be the new register's after an exchange.

Why: who finds out that a register was exchanged says so of the reading that is held; the exchange and the decision are
one record, made and revoked together. Locks: `reading_decision` is altered for a moment. Runs inside one transaction.
"""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

STATEMENTS = (
    "ALTER TABLE reading_decision ADD COLUMN exchange_id integer REFERENCES meter_exchange",
    "ALTER TABLE reading_decision DROP CONSTRAINT reading_decision_says_check",
    """ALTER TABLE reading_decision ADD CONSTRAINT reading_decision_says_check
           CHECK (says IN ('real', 'rollover', 'reset', 'exchange', 'discard'))""",
    """ALTER TABLE reading_decision ADD CONSTRAINT reading_decision_exchange_check
           CHECK ((says = 'exchange') = (exchange_id IS NOT NULL))""",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    raise RuntimeError("migrations are forward only: restore a backup instead")
