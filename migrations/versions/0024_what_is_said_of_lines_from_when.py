"""What is said of a line holds from a day on, and corrections of limits can be entered by hand.

Why: an attribute that changed (the clinker share of a cement, the grade of a feed) changed every month of the past with
it. Entries are never changed: what was known on a day stays answerable. Corrections are told from those of the
reference tables as levels are. Locks: `line` is read, `level_correction` altered, both for a moment. Runs inside one
transaction. `line.attributes` stays: it holds what was said for the latest day.
"""

from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
CREATE TABLE line_attribute (
    entry_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    line_id integer NOT NULL REFERENCES line ON DELETE CASCADE,
    valid_from date NOT NULL,
    attributes jsonb NOT NULL,
    note text NOT NULL DEFAULT '',
    entered_by text NOT NULL,
    entered_at timestamptz NOT NULL DEFAULT now()
)""",
    "CREATE INDEX line_attribute_line ON line_attribute (line_id, valid_from DESC, entry_id DESC)",
    """INSERT INTO line_attribute (line_id, valid_from, attributes, entered_by, entered_at)
       SELECT line_id, '2000-01-01', attributes, 'migrate', created_at FROM line WHERE attributes <> '{}'""",
    "SELECT secure_through('line_attribute', 'line_id', 'line', 'line_id')",
    "REVOKE UPDATE, DELETE ON line_attribute FROM tcewatch_api",
    """ALTER TABLE level_correction
           ADD COLUMN origin text NOT NULL DEFAULT 'entered' CHECK (origin IN ('reference', 'entered')),
           ADD COLUMN entered_by text,
           ADD COLUMN entered_at timestamptz NOT NULL DEFAULT now()""",
    "UPDATE level_correction SET origin = 'reference'",
    # A correction holds for everybody, so only who supervises every enterprise there is keeps it.
    "ALTER TABLE level_correction ENABLE ROW LEVEL SECURITY",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON level_correction TO tcewatch_api",
    "CREATE POLICY scope ON level_correction FOR SELECT TO tcewatch_api USING (true)",
    """CREATE POLICY kept ON level_correction TO tcewatch_api
           USING ((SELECT scope_role()) IN ('admin', 'supervisor') AND (SELECT scope_is_everything()))""",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    raise RuntimeError("migrations are forward only: restore a backup instead")
