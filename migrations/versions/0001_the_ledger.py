"""The ledger: registry, readings, factors, rollups.

Why: everything the service stands on, from nothing. Locks: none that matter, all tables are new.
Runs inside one transaction (TimescaleDB's create_hypertable allows that).

Sizes: a chunk of readings holds seven days. A county of 60 units with 300 meters each at a quarter of an hour writes
about 12 million rows a week; a larger site narrows new chunks with set_chunk_time_interval, nothing else depends on it.
The default index on time alone is not created: nothing reads by it and it costs a quarter of the write rate.
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

EXTENSIONS = """
CREATE EXTENSION IF NOT EXISTS timescaledb;
CREATE EXTENSION IF NOT EXISTS btree_gist;
"""

REGISTRY = """
CREATE TABLE region (
    code text PRIMARY KEY,
    parent text REFERENCES region,
    name_zh text NOT NULL,
    name_en text NOT NULL
);
CREATE TABLE enterprise (
    id text PRIMARY KEY CHECK (id ~ '^[0-9A-HJ-NPQRTUWXY]{18}$'),
    name text NOT NULL,
    region text NOT NULL REFERENCES region,
    industry text NOT NULL,
    contacts jsonb NOT NULL DEFAULT '[]',
    flags text[] NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX enterprise_region ON enterprise (region);
CREATE TABLE gateway (
    id text PRIMARY KEY CHECK (id ~ '^[A-Za-z0-9_-]{1,64}$'),
    enterprise text NOT NULL REFERENCES enterprise,
    name text NOT NULL,
    secret_sha256 bytea NOT NULL,
    active boolean NOT NULL DEFAULT true,
    state text NOT NULL DEFAULT 'never' CHECK (state IN ('never', 'online', 'offline')),
    state_at timestamptz,
    last_data_at timestamptz,
    last_seq bigint,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX gateway_enterprise ON gateway (enterprise);
CREATE TABLE carrier (
    code text PRIMARY KEY CHECK (code = lower(code)),
    name_zh text NOT NULL,
    name_en text NOT NULL,
    unit text NOT NULL,
    stat_code text
);
CREATE TABLE meter (
    meter_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    enterprise text NOT NULL REFERENCES enterprise,
    code text NOT NULL CHECK (code ~ '^[A-Za-z0-9_-]{1,64}$'),
    name text NOT NULL,
    gateway text NOT NULL REFERENCES gateway,
    carrier text NOT NULL REFERENCES carrier,
    kind text NOT NULL CHECK (kind IN ('register', 'interval', 'rate')),
    unit text NOT NULL,
    multiplier numeric NOT NULL DEFAULT 1 CHECK (multiplier > 0),
    rolls_over_at double precision CHECK (rolls_over_at > 0),
    expected_interval_s integer NOT NULL DEFAULT 900 CHECK (expected_interval_s BETWEEN 1 AND 2678400),
    max_rate_per_h double precision CHECK (max_rate_per_h > 0),
    role text NOT NULL CHECK (role IN ('purchase', 'sale', 'own_renewable', 'recovered', 'feedstock', 'internal')),
    level smallint NOT NULL DEFAULT 1 CHECK (level BETWEEN 1 AND 3),
    accuracy_class text,
    calibrated_until date,
    active boolean NOT NULL DEFAULT true,
    first_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (enterprise, code)
);
CREATE INDEX meter_gateway ON meter (gateway);
CREATE TABLE registry_version (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    version bigint NOT NULL
);
INSERT INTO registry_version (version) VALUES (1);
"""

# Ingest keeps the registry in memory. The version tells it when to read again, the notification tells it at once.
REGISTRY_TRIGGER = """
CREATE FUNCTION registry_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE registry_version SET version = version + 1;
    PERFORM pg_notify('registry', '');
    RETURN NULL;
END $$;
CREATE TRIGGER gateway_changed AFTER INSERT OR DELETE OR UPDATE OF enterprise, secret_sha256, active ON gateway
    FOR EACH STATEMENT EXECUTE FUNCTION registry_changed();
CREATE TRIGGER meter_changed AFTER INSERT OR DELETE OR UPDATE OF
    gateway, kind, unit, multiplier, rolls_over_at, expected_interval_s, max_rate_per_h, role, active, code ON meter
    FOR EACH STATEMENT EXECUTE FUNCTION registry_changed();
"""

FACTORS = """
CREATE TABLE factor_set (
    id text PRIMARY KEY,
    loaded_at timestamptz NOT NULL DEFAULT now(),
    sha256 text NOT NULL
);
CREATE TABLE coal_factor (
    factor_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    carrier text NOT NULL REFERENCES carrier,
    basis text NOT NULL CHECK (basis IN ('equivalent', 'equal')),
    kgce_per_unit numeric NOT NULL CHECK (kgce_per_unit >= 0),
    valid_from date NOT NULL,
    valid_to date,
    region text REFERENCES region,
    enterprise text REFERENCES enterprise,
    edition text NOT NULL,
    source text NOT NULL,
    verified boolean NOT NULL,
    CONSTRAINT coal_factor_no_overlap EXCLUDE USING gist (
        carrier WITH =, basis WITH =, (coalesce(region, '')) WITH =, (coalesce(enterprise, '')) WITH =,
        daterange(valid_from, valid_to) WITH &&)
);
CREATE TABLE co2_factor (
    factor_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    carrier text NOT NULL REFERENCES carrier,
    kgco2_per_unit numeric NOT NULL CHECK (kgco2_per_unit >= 0),
    dataset text NOT NULL,
    valid_from date NOT NULL,
    valid_to date,
    region text REFERENCES region,
    enterprise text REFERENCES enterprise,
    source text NOT NULL,
    verified boolean NOT NULL,
    CONSTRAINT co2_factor_no_overlap EXCLUDE USING gist (
        carrier WITH =, dataset WITH =, (coalesce(region, '')) WITH =, (coalesce(enterprise, '')) WITH =,
        daterange(valid_from, valid_to) WITH &&)
);
"""

READINGS = """
CREATE TABLE reading (
    ts timestamptz NOT NULL,
    meter_id integer NOT NULL,
    value double precision NOT NULL,
    quality smallint NOT NULL,
    received_at timestamptz NOT NULL
);
SELECT create_hypertable('reading', by_range('ts', INTERVAL '7 days'), create_default_indexes => false);
CREATE UNIQUE INDEX reading_key ON reading (meter_id, ts);
CREATE TABLE reading_revision (
    revision_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    meter_id integer NOT NULL,
    ts timestamptz NOT NULL,
    old_value double precision NOT NULL,
    old_quality smallint NOT NULL,
    new_value double precision NOT NULL,
    new_quality smallint NOT NULL,
    revised_at timestamptz NOT NULL,
    revised_by text NOT NULL
);
CREATE INDEX reading_revision_key ON reading_revision (meter_id, ts);
CREATE TABLE rejected_message (
    message_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    received_at timestamptz NOT NULL,
    door text NOT NULL,
    gateway text NOT NULL,
    topic text,
    content_type text NOT NULL,
    raw bytea NOT NULL,
    digest bytea NOT NULL,
    times integer NOT NULL DEFAULT 1,
    last_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX rejected_message_once ON rejected_message (gateway, digest);
CREATE TABLE rejected_reading (
    rejected_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id bigint NOT NULL REFERENCES rejected_message ON DELETE CASCADE,
    position integer,
    meter text,
    at text,
    value text,
    code text NOT NULL,
    detail text NOT NULL
);
CREATE INDEX rejected_reading_message ON rejected_reading (message_id);
CREATE INDEX rejected_message_gateway ON rejected_message (gateway, message_id);
CREATE TABLE touched (
    touched_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    meter_id integer[] NOT NULL,
    hour integer[],
    marked_at timestamptz NOT NULL DEFAULT now(),
    CHECK (hour IS NULL OR cardinality(hour) = cardinality(meter_id))
);
ALTER TABLE touched ALTER meter_id SET STORAGE EXTERNAL, ALTER hour SET STORAGE EXTERNAL;
CREATE TABLE held_reading (
    meter_id integer NOT NULL,
    ts timestamptz NOT NULL,
    why text NOT NULL,
    PRIMARY KEY (meter_id, ts)
);
"""

METER_ROLLUP = """
CREATE TABLE meter_{level} (
    meter_id integer NOT NULL,
    start timestamptz NOT NULL,
    quantity numeric NOT NULL,
    tce_equivalent numeric,
    tce_equal numeric,
    tco2 numeric,
    measured_us bigint NOT NULL,
    estimated_us bigint NOT NULL,
    held integer NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX meter_{level}_key ON meter_{level} (meter_id, start);
"""

ENTERPRISE_ROLLUP = """
CREATE TABLE enterprise_{level} (
    enterprise text NOT NULL,
    carrier text NOT NULL,
    start timestamptz NOT NULL,
    quantity numeric NOT NULL,
    quantity_net numeric NOT NULL,
    tce_equivalent numeric,
    tce_equivalent_net numeric,
    tce_equal numeric,
    tce_equal_net numeric,
    tco2 numeric,
    tco2_net numeric,
    measured_us bigint NOT NULL,
    estimated_us bigint NOT NULL,
    held integer NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX enterprise_{level}_key ON enterprise_{level} (enterprise, start, carrier);
"""

HOUR_HYPERTABLES = """
SELECT create_hypertable('meter_hour', by_range('start', INTERVAL '90 days'), create_default_indexes => false);
SELECT create_hypertable('enterprise_hour', by_range('start', INTERVAL '90 days'), create_default_indexes => false);
"""

ACCESS = """
CREATE TABLE api_token (
    token_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    role text NOT NULL CHECK (role IN ('admin', 'supervisor', 'enterprise')),
    scope text NOT NULL,
    token_sha256 bytea NOT NULL UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    last_used_at timestamptz,
    revoked_at timestamptz
);
CREATE TABLE audit (
    audit_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    actor text NOT NULL,
    action text NOT NULL,
    object_kind text NOT NULL,
    object_id text NOT NULL,
    outcome text NOT NULL,
    before jsonb,
    after jsonb
);
CREATE INDEX audit_object ON audit (object_kind, object_id);
"""

LEVELS = ("hour", "day", "month", "year")


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
    rollups = [shape.format(level=level) for level in LEVELS for shape in (METER_ROLLUP, ENTERPRISE_ROLLUP)]
    for script in (
        EXTENSIONS,
        REGISTRY,
        REGISTRY_TRIGGER,
        FACTORS,
        READINGS,
        *rollups,
        HOUR_HYPERTABLES,
        ACCESS,
    ):
        for statement in statements(script):
            op.execute(statement)


def downgrade() -> None:
    raise RuntimeError("migrations are forward only: restore a backup instead")
