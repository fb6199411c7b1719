"""Factors that were entered by hand are told from those of the reference tables.

Why: a new reference table replaces its own rows and must leave alone what a supervisor entered or corrected; and a
measured heating value stays beside the factor it made. Locks: both factor tables for a moment; they are small.
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

STATEMENTS = [
    statement.format(table=table)
    for table in ("coal_factor", "co2_factor")
    for statement in (
        """ALTER TABLE {table}
               ADD COLUMN origin text NOT NULL DEFAULT 'entered' CHECK (origin IN ('reference', 'entered')),
               ADD COLUMN made_of jsonb,
               ADD COLUMN entered_by text,
               ADD COLUMN entered_at timestamptz NOT NULL DEFAULT now(),
               ADD CHECK (valid_to > valid_from)""",
        "UPDATE {table} SET origin = 'reference' WHERE enterprise IS NULL",
    )
]
# Runs as the owner: the name is that of all factors, whoever enters one of them.
FACTOR_SET = """
CREATE FUNCTION note_factor_set() RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT AS $$
    INSERT INTO factor_set (id, sha256, loaded_at)
    SELECT 'factors-' || left(digest, 12), digest, clock_timestamp()
    FROM (SELECT encode(sha256(convert_to(
              (SELECT string_agg(c::text, ';' ORDER BY factor_id) FROM coal_factor AS c)
              || (SELECT string_agg(c::text, ';' ORDER BY factor_id) FROM co2_factor AS c), 'UTF8')), 'hex') AS digest
         ) AS all_of_them
    ON CONFLICT (id) DO UPDATE SET loaded_at = excluded.loaded_at
$$
"""


def upgrade() -> None:
    op.execute(FACTOR_SET)
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    raise RuntimeError("migrations are forward only: restore a backup instead")
