"""Budgets: their revisions, what is excluded from them, and how each stood when it was last evaluated.

Why: a budget is what an enterprise's figures are held against. Locks: none that matter, all tables are new.
A revision is never changed after it was decided, and never deleted: a trigger keeps both.
`budget_standing` is the worst of an enterprise's budgets of the running year, so that a list sorted by the probability
of an overrun is one read of an index.
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TABLES = (
    """
CREATE TABLE budget_revision (
    revision_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    enterprise text NOT NULL REFERENCES enterprise,
    year smallint NOT NULL CHECK (year BETWEEN 2000 AND 2100),
    basis text NOT NULL CHECK (basis IN ('equivalent', 'equal', 'co2')),
    revision integer NOT NULL CHECK (revision > 0),
    amount numeric NOT NULL CHECK (amount > 0),
    monthly numeric[] NOT NULL CHECK (cardinality(monthly) = 12),
    plan_source text NOT NULL CHECK (plan_source IN ('given', 'history', 'even')),
    reason text NOT NULL,
    state text NOT NULL CHECK (state IN ('proposed', 'approved', 'refused')),
    entered_by text NOT NULL,
    entered_at timestamptz NOT NULL DEFAULT now(),
    decided_by text,
    decided_at timestamptz,
    decision_note text,
    CHECK ((state = 'proposed') = (decided_at IS NULL)),
    UNIQUE (enterprise, year, basis, revision)
)""",
    """
CREATE FUNCTION budget_revision_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR OLD.state <> 'proposed' OR
       (OLD.enterprise, OLD.year, OLD.basis, OLD.revision, OLD.amount, OLD.monthly, OLD.reason, OLD.entered_by)
       IS DISTINCT FROM
       (NEW.enterprise, NEW.year, NEW.basis, NEW.revision, NEW.amount, NEW.monthly, NEW.reason, NEW.entered_by) THEN
        RAISE EXCEPTION 'a budget revision is kept for ever: enter another one';
    END IF;
    RETURN NEW;
END $$""",
    """
CREATE TRIGGER budget_revision_kept BEFORE UPDATE OR DELETE ON budget_revision
    FOR EACH ROW EXECUTE FUNCTION budget_revision_kept()""",
    "CREATE INDEX budget_revision_year ON budget_revision (year, enterprise)",
    """
CREATE TABLE budget_exclusion (
    exclusion_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    enterprise text NOT NULL REFERENCES enterprise,
    basis text NOT NULL CHECK (basis IN ('equivalent', 'equal', 'co2')),
    month date NOT NULL CHECK (extract(day FROM month) = 1),
    kind text NOT NULL CHECK (kind IN ('own_renewable', 'feedstock', 'listed_project')),
    amount numeric NOT NULL CHECK (amount > 0),
    evidence text NOT NULL,
    entered_by text NOT NULL,
    entered_at timestamptz NOT NULL DEFAULT now(),
    withdrawn_by text,
    withdrawn_at timestamptz,
    withdrawn_why text,
    CHECK ((withdrawn_at IS NULL) = (withdrawn_by IS NULL))
)""",
    "CREATE INDEX budget_exclusion_month ON budget_exclusion (enterprise, basis, month)",
    """
CREATE TABLE budget_position (
    enterprise text NOT NULL REFERENCES enterprise,
    year smallint NOT NULL,
    basis text NOT NULL,
    revision integer NOT NULL,
    amount numeric NOT NULL,
    as_of date NOT NULL,
    evaluated_at timestamptz NOT NULL,
    spent numeric,
    excluded numeric NOT NULL,
    plan_to_date numeric NOT NULL,
    p10 double precision NOT NULL,
    p50 double precision NOT NULL,
    p90 double precision NOT NULL,
    overrun_probability double precision NOT NULL CHECK (overrun_probability BETWEEN 0 AND 1),
    crossing_earliest date,
    crossing_expected date,
    crossing_latest date,
    tier text NOT NULL CHECK (tier IN ('green', 'yellow', 'orange', 'red')),
    completeness double precision NOT NULL,
    recent_cover double precision NOT NULL,
    months smallint NOT NULL,
    notes text[] NOT NULL DEFAULT '{}',
    PRIMARY KEY (enterprise, year, basis)
)""",
    """
CREATE TABLE budget_standing (
    enterprise text PRIMARY KEY REFERENCES enterprise,
    year smallint NOT NULL,
    basis text NOT NULL,
    overrun_probability double precision NOT NULL,
    tier text NOT NULL,
    evaluated_at timestamptz NOT NULL
)""",
    "CREATE INDEX budget_standing_worst ON budget_standing (overrun_probability DESC, enterprise)",
    "CREATE INDEX budget_standing_tier ON budget_standing (tier, overrun_probability DESC, enterprise)",
    "SELECT secure_by_enterprise('budget_revision')",
    "SELECT secure_by_enterprise('budget_exclusion')",
    "SELECT secure_by_enterprise('budget_position')",
    "SELECT secure_by_enterprise('budget_standing')",
)


def upgrade() -> None:
    for statement in TABLES:
        op.execute(statement)


def downgrade() -> None:
    raise RuntimeError("migrations are forward only: restore a backup instead")
