"""What holds for many is changed by who sees all of them; a silence says how far it reaches; webhooks follow rights.

Why: the policies said who sees a row, and so who may change it. A nation's factor, and the settings, contacts and
targets of a region are seen by those below as well, who must not change them. An enterprise that silences an orange
alert has not silenced the red one it may become. A webhook of a person keeps the person's rights, not those of the day
on which it was made. Locks: `alert`, the tables of factors and of regions' settings and `account`, for a moment.
Runs inside one transaction.
"""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

FACTOR = """(SELECT scope_role()) IN ('admin', 'supervisor') AND (enterprise IS NOT NULL
    OR starts_with(region, (SELECT scope_region()))
    OR (SELECT scope_role()) = 'admin' AND (SELECT scope_is_everything()))"""
REGION = "(SELECT scope_role()) IN ('admin', 'supervisor') AND starts_with(region, (SELECT scope_region()))"
KEPT = {
    **dict.fromkeys(("coal_factor", "co2_factor"), FACTOR),
    **dict.fromkeys(("alert_setting", "region_contact", "region_target"), REGION),
}
WAYS = {
    "INSERT": "WITH CHECK ({rule})",
    "UPDATE": "USING ({rule}) WITH CHECK ({rule})",
    "DELETE": "USING ({rule})",
}
FOLLOW = (
    """CREATE FUNCTION webhooks_follow() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
           SET search_path FROM CURRENT AS $$
       BEGIN
           DELETE FROM webhook_delivery WHERE state = 'queued'
               AND webhook_id IN (SELECT webhook_id FROM webhook WHERE token_id = -NEW.account_id);
           UPDATE webhook SET role = NEW.role, scope = NEW.scope, updated_at = now() WHERE token_id = -NEW.account_id;
           RETURN NULL;
       END $$""",
    """CREATE TRIGGER account_webhooks AFTER UPDATE ON account FOR EACH ROW
           WHEN ((OLD.role, OLD.scope) IS DISTINCT FROM (NEW.role, NEW.scope)) EXECUTE FUNCTION webhooks_follow()""",
)


def upgrade() -> None:
    for table, rule in KEPT.items():
        for way, shape in WAYS.items():
            op.execute(
                f"CREATE POLICY kept_{way.lower()} ON {table} AS RESTRICTIVE FOR {way} TO tcewatch_api "
                + shape.format(rule=rule)
            )
    op.execute(
        """ALTER TABLE alert ADD COLUMN silence_covers text NOT NULL DEFAULT 'red'
               CHECK (silence_covers IN ('orange', 'red'))"""
    )
    for statement in FOLLOW:
        op.execute(statement)


def downgrade() -> None:
    raise RuntimeError("migrations are forward only: restore a backup instead")
