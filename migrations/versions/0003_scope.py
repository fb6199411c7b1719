"""Who may see a row is decided by the database as well: row-level security for whoever asks through the API.

Why: a query that forgets its filter must show nothing foreign. The API works as the role `tcewatch_api`, which owns
nothing and cannot log in; role, region and enterprise of the caller travel as settings of the transaction. Without
them nothing is seen. The service's own work runs as the owner of the tables, whom policies do not bind.

A table that comes later is closed to the API until its migration says who sees it, in one line each:

    SELECT secure_by_enterprise('budget')                            column `enterprise`
    SELECT secure_by_meter('meter_week')                             column `meter_id`
    SELECT secure_by_gateway('gateway_note')                         column `gateway`
    SELECT secure_through('line_output', 'line_id', 'line', 'id')    whoever sees the row of the parent
    SELECT open_to_all('benchmark')                                  reference data, read by everybody
    SELECT closed_to_api('secret_thing')                             nobody who asks through the API

Locks: policies lock each table for a moment against everything else. Runs inside one transaction.
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# An empty setting is what is left of one after its transaction: it counts as none.
CALLER = """
CREATE FUNCTION scope_role() RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS
    $$ SELECT nullif(current_setting('tcewatch.role', true), '') $$;
CREATE FUNCTION scope_region() RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS
    $$ SELECT nullif(current_setting('tcewatch.region', true), '') $$;
CREATE FUNCTION scope_enterprise() RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS
    $$ SELECT nullif(current_setting('tcewatch.enterprise', true), '') $$;
CREATE FUNCTION scope_home() RETURNS text LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER
    SET search_path FROM CURRENT AS $$
    SELECT coalesce(scope_region(), (SELECT region FROM enterprise WHERE id = scope_enterprise()))
$$;
CREATE FUNCTION scope_is_everything() RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER
    SET search_path FROM CURRENT AS $$
    SELECT scope_region() IS NOT NULL AND NOT EXISTS (
        SELECT FROM region WHERE NOT starts_with(region.code, scope_region())
        AND EXISTS (SELECT FROM enterprise WHERE enterprise.region = region.code))
$$;
CREATE FUNCTION is_stranger(gateway_id text) RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER
    SET search_path FROM CURRENT AS $$
    SELECT NOT EXISTS (SELECT FROM gateway WHERE gateway.id = gateway_id)
$$;
"""

# `scope_is_everything` is asked once a statement; whoever sees every enterprise pays nothing for a row. For the others
# the planner chooses between a look at the parent's key for each row and one hash of all visible parents.
WAYS = """
CREATE FUNCTION open_to_all(target regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('GRANT SELECT ON %s TO tcewatch_api', target);
END $$;
CREATE FUNCTION closed_to_api(target regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('REVOKE ALL ON %s FROM tcewatch_api', target);
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', target);
END $$;
CREATE FUNCTION secure_through(
    target regclass, key text, parent regclass, parent_key text, open_without boolean DEFAULT false
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', target);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO tcewatch_api', target);
    EXECUTE format(
        'CREATE POLICY scope ON %1$s TO tcewatch_api USING (%5$s (SELECT scope_is_everything())'
        ' OR EXISTS (SELECT FROM %3$s AS parent WHERE parent.%4$I = %1$s.%2$I))',
        target, key, parent, parent_key, CASE WHEN open_without THEN format('%s.%I IS NULL OR', target, key) END);
END $$;
CREATE FUNCTION secure_by_enterprise(target regclass) RETURNS void LANGUAGE sql AS
    $$ SELECT secure_through(target, 'enterprise', 'enterprise', 'id') $$;
CREATE FUNCTION secure_by_gateway(target regclass) RETURNS void LANGUAGE sql AS
    $$ SELECT secure_through(target, 'gateway', 'gateway', 'id') $$;
CREATE FUNCTION secure_by_meter(target regclass) RETURNS void LANGUAGE sql AS
    $$ SELECT secure_through(target, 'meter_id', 'meter', 'meter_id') $$;
REVOKE EXECUTE ON FUNCTION open_to_all, closed_to_api, secure_through, secure_by_enterprise, secure_by_gateway,
    secure_by_meter FROM PUBLIC;
"""

# What is written must lie in the scope itself: that no enterprise lies outside now is no leave to put one there.
REGISTRY = """
ALTER TABLE region ENABLE ROW LEVEL SECURITY;
GRANT SELECT ON region TO tcewatch_api;
CREATE POLICY scope ON region FOR SELECT TO tcewatch_api USING (
    starts_with(code, (SELECT scope_region())) OR starts_with((SELECT scope_home()), code));
ALTER TABLE enterprise ENABLE ROW LEVEL SECURITY;
GRANT SELECT, INSERT, UPDATE ON enterprise TO tcewatch_api;
CREATE POLICY scope ON enterprise TO tcewatch_api
    USING ((SELECT scope_is_everything()) OR id = (SELECT scope_enterprise())
        OR starts_with(region, (SELECT scope_region())))
    WITH CHECK (id = (SELECT scope_enterprise()) OR starts_with(region, (SELECT scope_region())));
ALTER FUNCTION registry_changed() SECURITY DEFINER SET search_path FROM CURRENT;
"""
SECURED = (
    *(f"SELECT secure_by_enterprise('{name}')" for name in ("gateway", "meter")),
    *(f"SELECT secure_by_enterprise('enterprise_{level}')" for level in ("hour", "day", "month", "year")),
    *(f"SELECT secure_by_meter('meter_{level}')" for level in ("hour", "day", "month", "year")),
    *(f"SELECT secure_by_meter('{name}')" for name in ("reading", "reading_revision", "held_reading")),
    "SELECT secure_by_gateway('sequence_gap')",
    *(
        f"SELECT secure_through('{name}', 'enterprise', 'enterprise', 'id', open_without => true)"
        for name in ("coal_factor", "co2_factor")
    ),
    *(f"SELECT open_to_all('{name}')" for name in ("carrier", "factor_set", "registry_version", "touched")),
    # A change of the registry marks meters. A mark names numbers only.
    "GRANT INSERT ON touched TO tcewatch_api",
)

# What an unknown gateway sent belongs to nobody: admins see it.
REJECTIONS = """
ALTER TABLE rejected_message ENABLE ROW LEVEL SECURITY;
GRANT SELECT, INSERT, UPDATE, DELETE ON rejected_message TO tcewatch_api;
CREATE POLICY scope ON rejected_message TO tcewatch_api USING (
    EXISTS (SELECT FROM gateway AS parent WHERE parent.id = rejected_message.gateway)
    OR (SELECT scope_role()) = 'admin' AND is_stranger(gateway));
ALTER TABLE rejected_reading ENABLE ROW LEVEL SECURITY;
GRANT SELECT, INSERT, UPDATE, DELETE ON rejected_reading TO tcewatch_api;
CREATE POLICY scope ON rejected_reading TO tcewatch_api USING (
    EXISTS (SELECT FROM rejected_message AS parent WHERE parent.message_id = rejected_reading.message_id));
"""

# A line of the trail is seen by the admins of where its object lies and of where its actor comes from. Nobody who asks
# through the API changes or removes a line.
TRAIL = """
ALTER TABLE audit ADD COLUMN enterprise text, ADD COLUMN region text, ADD COLUMN actor_region text;
CREATE FUNCTION placed_in_the_trail() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path FROM CURRENT AS $$
BEGIN
    IF NEW.enterprise IS NULL AND NEW.object_kind = 'gateway' THEN
        SELECT gateway.enterprise INTO NEW.enterprise FROM gateway WHERE gateway.id = NEW.object_id;
    ELSIF NEW.enterprise IS NULL AND NEW.region IS NULL THEN
        SELECT id INTO NEW.enterprise FROM enterprise WHERE id = split_part(NEW.object_id, '/', 1);
    END IF;
    IF NEW.region IS NULL AND NEW.object_kind = 'region' THEN
        NEW.region := NEW.object_id;
    ELSIF NEW.region IS NULL THEN
        SELECT enterprise.region INTO NEW.region FROM enterprise WHERE id = NEW.enterprise;
    END IF;
    NEW.actor_region := coalesce(NEW.actor_region, scope_home());
    RETURN NEW;
END $$;
CREATE TRIGGER audit_placed BEFORE INSERT OR UPDATE ON audit FOR EACH ROW EXECUTE FUNCTION placed_in_the_trail();
UPDATE audit SET region = NULL;
ALTER TABLE audit ENABLE ROW LEVEL SECURITY;
GRANT SELECT, INSERT ON audit TO tcewatch_api;
CREATE POLICY added ON audit FOR INSERT TO tcewatch_api WITH CHECK (true);
CREATE POLICY scope ON audit FOR SELECT TO tcewatch_api USING ((SELECT scope_role()) = 'admin' AND (
    (SELECT scope_is_everything()) OR starts_with(region, (SELECT scope_region()))
    OR starts_with(actor_region, (SELECT scope_region()))));
"""

# Of a token its admins see everything but what it is recognised by.
TOKENS = """
ALTER TABLE api_token ENABLE ROW LEVEL SECURITY;
GRANT SELECT (token_id, name, role, scope, created_at, expires_at, last_used_at, revoked_at) ON api_token
    TO tcewatch_api;
CREATE POLICY scope ON api_token FOR SELECT TO tcewatch_api USING ((SELECT scope_role()) = 'admin' AND
    CASE role WHEN 'enterprise' THEN EXISTS (SELECT FROM enterprise AS parent WHERE parent.id = api_token.scope)
    ELSE starts_with(scope, (SELECT scope_region())) END);
"""


def statements(script: str) -> list[str]:
    """One statement at a time: the driver prepares each, and a function body keeps its own semicolons."""
    parts, inside, current = [], False, []
    for line in script.splitlines():
        inside ^= line.count("$$") % 2 == 1
        current.append(line)
        if line.rstrip().endswith(";") and not inside:
            parts.append("\n".join(current).strip().rstrip(";"))
            current = []
    return [part for part in parts if part]


def upgrade() -> None:
    for script in (CALLER, WAYS, REGISTRY):
        for statement in statements(script):
            op.execute(statement)
    for statement in SECURED:
        op.execute(statement)
    for script in (REJECTIONS, TRAIL, TOKENS):
        for statement in statements(script):
            op.execute(statement)


def downgrade() -> None:
    raise RuntimeError("migrations are forward only: restore a backup instead")
