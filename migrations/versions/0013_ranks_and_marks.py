"""Enterprises ranked by the tce of a year, and a mark that says when a region's figures may have changed.

Why: a list by tce reads one index instead of adding up every carrier of every enterprise, and an overview that was
computed is right for as long as its mark stands still. Both are kept by statement triggers, whoever writes the rollups.
The mark has sixteen rows, chosen by the writer's process, so that writers seldom wait for each other.
Locks: writers of enterprise_month and enterprise_year wait while indexes are built and totals added up; for 4,000
enterprises and a year that is a few seconds. Runs inside one transaction.
"""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

# A total that lacks a factor, or of which nothing was measured, is null and ranks after all others.
SUMS = """
SELECT start, enterprise, CASE WHEN bool_and(tce_equivalent IS NOT NULL) AND sum(measured_us + estimated_us) > 0
    THEN sum(tce_equivalent) END FROM enterprise_year
"""
RANK = (
    """
CREATE TABLE enterprise_rank (
    start timestamptz NOT NULL,
    enterprise text NOT NULL,
    tce_equivalent numeric,
    PRIMARY KEY (start, enterprise)
)""",
    "CREATE INDEX enterprise_rank_order ON enterprise_rank (start, tce_equivalent DESC, enterprise)",
    "INSERT INTO enterprise_rank {SUMS} GROUP BY start, enterprise",
    """
CREATE FUNCTION enterprises_ranked() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM enterprise_rank AS r USING (SELECT DISTINCT start, enterprise FROM changed) AS c
    WHERE r.start = c.start AND r.enterprise = c.enterprise;
    INSERT INTO enterprise_rank {SUMS}
    WHERE (start, enterprise) IN (SELECT start, enterprise FROM changed) GROUP BY start, enterprise
    ON CONFLICT (start, enterprise) DO UPDATE SET tce_equivalent = excluded.tce_equivalent;
    RETURN NULL;
END $$""",
    """
CREATE FUNCTION enterprises_unranked() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM enterprise_rank;
    RETURN NULL;
END $$""",
    *(
        f"CREATE TRIGGER ranked_{event.lower()} AFTER {event} ON enterprise_year"
        f" REFERENCING {age} TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION enterprises_ranked()"
        for event, age in (("INSERT", "NEW"), ("UPDATE", "NEW"), ("DELETE", "OLD"))
    ),
    "CREATE TRIGGER ranked_truncate AFTER TRUNCATE ON enterprise_year EXECUTE FUNCTION enterprises_unranked()",
    "SELECT secure_by_enterprise('enterprise_rank')",
)
MARK = (
    "CREATE TABLE figures_mark (slot smallint PRIMARY KEY, version bigint NOT NULL)",
    "INSERT INTO figures_mark SELECT slot, 1 FROM generate_series(0, 15) AS slot",
    "SELECT open_to_all('figures_mark')",
    """
CREATE FUNCTION figures_changed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    UPDATE figures_mark SET version = version + 1 WHERE slot = pg_backend_pid() % 16;
    RETURN NULL;
END $$""",
    *(
        f"CREATE TRIGGER {name} AFTER {event} ON {table} EXECUTE FUNCTION figures_changed()"
        for table in ("enterprise_month", "enterprise_year", "enterprise", "meter")
        for name, event in (("figures_written", "INSERT OR UPDATE OR DELETE"), ("figures_emptied", "TRUNCATE"))
    ),
)
BY_TIME = tuple(f"CREATE INDEX enterprise_{level}_start ON enterprise_{level} (start)" for level in ("month", "year"))


def upgrade() -> None:
    for statement in (*RANK, *MARK, *BY_TIME):
        op.execute(statement.replace("{SUMS}", SUMS))


def downgrade() -> None:
    raise RuntimeError("migrations are forward only: restore a backup instead")
