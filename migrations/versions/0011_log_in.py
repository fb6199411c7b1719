"""People log in, tokens can be rotated, and answers of creating calls are kept for those who ask twice.

Why: a person has a password and sessions that end; a program has a token whose successor may overlap with it for a
while. What either is recognised by is kept as a hash, and the API's role cannot read the hashes.
Locks: `api_token` for a moment; the other tables are new. Runs inside one transaction.
"""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

ACCOUNT = """
CREATE TABLE account (
    account_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE CHECK (name ~ '^[a-z0-9][a-z0-9._@-]{0,99}$'),
    full_name text NOT NULL DEFAULT '',
    role text NOT NULL CHECK (role IN ('admin', 'supervisor', 'enterprise')),
    scope text NOT NULL,
    password_hash text,
    active boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    password_set_at timestamptz,
    last_login_at timestamptz
)
"""
SESSION = """
CREATE TABLE login_session (
    session_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    session_sha256 bytea NOT NULL UNIQUE,
    account_id integer NOT NULL REFERENCES account ON DELETE CASCADE,
    created_at timestamptz NOT NULL,
    seen_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    address text NOT NULL,
    agent text NOT NULL
)
"""
SESSION_ACCOUNT = "CREATE INDEX login_session_account ON login_session (account_id)"
ATTEMPT = """
CREATE TABLE login_attempt (
    key text PRIMARY KEY,
    failures integer NOT NULL,
    last_at timestamptz NOT NULL
)
"""
OIDC = """
CREATE TABLE oidc_login (
    state_sha256 bytea PRIMARY KEY,
    nonce text NOT NULL,
    verifier text NOT NULL,
    created_at timestamptz NOT NULL
)
"""
IDEMPOTENCY = """
CREATE TABLE idempotent_answer (
    caller text NOT NULL,
    key text NOT NULL,
    request_sha256 bytea NOT NULL,
    started_at timestamptz NOT NULL,
    status integer,
    headers jsonb,
    body bytea,
    PRIMARY KEY (caller, key)
)
"""
SUCCESSOR = """
ALTER TABLE api_token ADD COLUMN previous_sha256 bytea UNIQUE, ADD COLUMN previous_until timestamptz,
    ADD COLUMN rotated_at timestamptz
"""
# The API's role may set a token's hash and not read it, so that the one before is kept is the table's own work.
KEEP_PREVIOUS = """
CREATE FUNCTION keep_previous_token() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.previous_sha256 := CASE WHEN NEW.previous_until > NEW.rotated_at THEN OLD.token_sha256 END;
    RETURN NEW;
END $$
"""
ON_ROTATION = """
CREATE TRIGGER token_rotated BEFORE UPDATE OF token_sha256 ON api_token
    FOR EACH ROW WHEN (NEW.rotated_at IS DISTINCT FROM OLD.rotated_at) EXECUTE FUNCTION keep_previous_token()
"""
SCOPES = (
    "SELECT closed_to_api('account')",
    "SELECT closed_to_api('login_session')",
    "SELECT closed_to_api('login_attempt')",
    "SELECT closed_to_api('oidc_login')",
    "SELECT closed_to_api('idempotent_answer')",
    # Admins keep the accounts and tokens of their region; nobody reads back what one is recognised by.
    """GRANT SELECT (account_id, name, full_name, role, scope, active, created_at, updated_at, password_set_at,
        last_login_at), INSERT, UPDATE ON account TO tcewatch_api""",
    """CREATE POLICY scope ON account TO tcewatch_api USING ((SELECT scope_role()) = 'admin' AND
        CASE role WHEN 'enterprise' THEN EXISTS (SELECT FROM enterprise AS parent WHERE parent.id = account.scope)
        ELSE starts_with(scope, (SELECT scope_region())) END)""",
    """GRANT SELECT (session_id, account_id, created_at, seen_at, expires_at, address, agent), DELETE
        ON login_session TO tcewatch_api""",
    """CREATE POLICY scope ON login_session TO tcewatch_api USING (
        EXISTS (SELECT FROM account AS parent WHERE parent.account_id = login_session.account_id))""",
    "GRANT SELECT (previous_until, rotated_at), INSERT, UPDATE ON api_token TO tcewatch_api",
    "DROP POLICY scope ON api_token",
    """CREATE POLICY scope ON api_token TO tcewatch_api USING ((SELECT scope_role()) = 'admin' AND
        CASE role WHEN 'enterprise' THEN EXISTS (SELECT FROM enterprise AS parent WHERE parent.id = api_token.scope)
        ELSE starts_with(scope, (SELECT scope_region())) END)""",
)


def upgrade() -> None:
    for statement in (
        ACCOUNT,
        SESSION,
        SESSION_ACCOUNT,
        ATTEMPT,
        OIDC,
        IDEMPOTENCY,
        SUCCESSOR,
        KEEP_PREVIOUS,
        ON_ROTATION,
        *SCOPES,
    ):
        op.execute(statement)


def downgrade() -> None:
    raise RuntimeError("migrations are forward only: restore a backup instead")
