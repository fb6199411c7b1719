"""What the policies ask once a statement keeps its plan.

Why: a function in SQL with the rights of its owner is planned anew at each call, for every table with a policy in a
statement; that was a third of a short question. In PL/pgSQL the plan stays with the connection. What they answer is
unchanged. Locks: none that a reader meets. Runs inside one transaction.
"""

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

WAY = "LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path FROM CURRENT"
FUNCTIONS = (
    """
CREATE OR REPLACE FUNCTION scope_home() RETURNS text {WAY} AS $$
BEGIN
    RETURN coalesce(scope_region(), (SELECT region FROM enterprise WHERE id = scope_enterprise()));
END $$""",
    """
CREATE OR REPLACE FUNCTION scope_is_everything() RETURNS boolean {WAY} AS $$
BEGIN
    RETURN scope_region() IS NOT NULL AND NOT EXISTS (
        SELECT FROM region WHERE NOT starts_with(region.code, scope_region())
        AND EXISTS (SELECT FROM enterprise WHERE enterprise.region = region.code));
END $$""",
    """
CREATE OR REPLACE FUNCTION is_stranger(gateway_id text) RETURNS boolean {WAY} AS $$
BEGIN
    RETURN NOT EXISTS (SELECT FROM gateway WHERE gateway.id = gateway_id);
END $$""",
)


def upgrade() -> None:
    for function in FUNCTIONS:
        op.execute(function.replace("{WAY}", WAY))


def downgrade() -> None:
    raise RuntimeError("migrations are forward only: restore a backup instead")
