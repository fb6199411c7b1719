"""A call with an `Idempotency-Key` says in the transaction of its work that the work was done.

Why: a process that was killed between that commit and keeping its answer left a key that could be used again.
Locks: `idempotent_answer` for a moment. Runs inside one transaction.
"""

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

STATEMENTS = (
    """ALTER TABLE idempotent_answer ADD COLUMN claim uuid NOT NULL DEFAULT gen_random_uuid(),
        ADD COLUMN worked boolean NOT NULL DEFAULT false""",
    # The table is closed to the API's role, which does the work: it may say this of a claim whose number it was given.
    """CREATE FUNCTION claim_worked(of_caller text, of_key text, of_claim uuid) RETURNS boolean LANGUAGE sql
        SECURITY DEFINER SET search_path FROM CURRENT AS $$
        UPDATE idempotent_answer SET worked = true WHERE caller = of_caller AND key = of_key AND claim = of_claim
        RETURNING true
    $$""",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    raise RuntimeError("migrations are forward only: restore a backup instead")
