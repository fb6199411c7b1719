"""Products, the levels their energy is held against, production lines and their monthly output.

Why: energy per unit of product needs a line with its product, its meters and its output; and dated levels, of which a
new edition may not overlap the one before. Locks: none that matter, all tables are new. An output is never changed:
what corrects it is its next revision.
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

PRODUCT = """
CREATE TABLE product (
    code text PRIMARY KEY CHECK (code = lower(code)),
    name_zh text NOT NULL,
    name_en text NOT NULL,
    industry text NOT NULL,
    unit text NOT NULL,
    accumulates boolean NOT NULL
)
"""
LEVEL = """
CREATE TABLE level (
    level_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('benchmark', 'limit')),
    product text NOT NULL REFERENCES product,
    indicator text NOT NULL CHECK (indicator IN ('energy', 'electricity', 'coal')),
    condition text NOT NULL DEFAULT '',
    unit text NOT NULL,
    basis text NOT NULL CHECK (basis IN ('equivalent', 'equal')),
    benchmark numeric,
    baseline numeric,
    level1 numeric,
    level2 numeric,
    level3 numeric,
    edition text NOT NULL,
    valid_from date NOT NULL,
    valid_to date CHECK (valid_to > valid_from),
    source text NOT NULL,
    verified boolean NOT NULL,
    note text NOT NULL DEFAULT '',
    origin text NOT NULL DEFAULT 'entered' CHECK (origin IN ('reference', 'entered')),
    entered_by text,
    entered_at timestamptz NOT NULL DEFAULT now(),
    CHECK (kind <> 'benchmark' OR (benchmark IS NOT NULL AND baseline > benchmark)),
    CHECK (kind <> 'limit' OR level3 IS NOT NULL),
    CONSTRAINT level_no_overlap EXCLUDE USING gist (
        kind WITH =, product WITH =, indicator WITH =, condition WITH =, daterange(valid_from, valid_to) WITH &&)
)
"""
LINE = """
CREATE TABLE line (
    line_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    enterprise text NOT NULL REFERENCES enterprise,
    code text NOT NULL CHECK (code ~ '^[A-Za-z0-9_-]{1,64}$'),
    name text NOT NULL,
    product text NOT NULL REFERENCES product,
    condition text NOT NULL DEFAULT '',
    capacity_per_year numeric NOT NULL CHECK (capacity_per_year > 0),
    unit text NOT NULL,
    active boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (enterprise, code)
)
"""
LINE_METER = """
CREATE TABLE line_meter (
    line_id integer NOT NULL REFERENCES line ON DELETE CASCADE,
    meter_id integer NOT NULL REFERENCES meter,
    share numeric NOT NULL CHECK (share > 0 AND share <= 1),
    PRIMARY KEY (line_id, meter_id)
)
"""
LINE_METER_BY_METER = "CREATE INDEX line_meter_meter ON line_meter (meter_id)"
LINE_OUTPUT = """
CREATE TABLE line_output (
    line_id integer NOT NULL REFERENCES line ON DELETE CASCADE,
    month date NOT NULL CHECK (extract(day FROM month) = 1),
    revision integer NOT NULL CHECK (revision > 0),
    quantity numeric NOT NULL CHECK (quantity >= 0),
    note text NOT NULL DEFAULT '',
    entered_by text NOT NULL,
    entered_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (line_id, month, revision)
)
"""
REFERENCE_SET = """
CREATE TABLE reference_set (
    name text PRIMARY KEY,
    sha256 text NOT NULL,
    loaded_at timestamptz NOT NULL DEFAULT now()
)
"""
SCOPE = (
    "SELECT closed_to_api('reference_set')",
    "SELECT open_to_all('product')",
    # A level holds for everybody, so only who supervises every enterprise there is keeps it.
    "ALTER TABLE level ENABLE ROW LEVEL SECURITY",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON level TO tcewatch_api",
    "CREATE POLICY scope ON level FOR SELECT TO tcewatch_api USING (true)",
    """CREATE POLICY kept ON level TO tcewatch_api
           USING ((SELECT scope_role()) IN ('admin', 'supervisor') AND (SELECT scope_is_everything()))""",
    "SELECT secure_by_enterprise('line')",
    "SELECT secure_through('line_meter', 'line_id', 'line', 'line_id')",
    "SELECT secure_through('line_output', 'line_id', 'line', 'line_id')",
)


def upgrade() -> None:
    for statement in (PRODUCT, LEVEL, LINE, LINE_METER, LINE_METER_BY_METER, LINE_OUTPUT, REFERENCE_SET, *SCOPE):
        op.execute(statement)


def downgrade() -> None:
    raise RuntimeError("migrations are forward only: restore a backup instead")
