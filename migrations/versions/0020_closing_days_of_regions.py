"""The day on which months are closed, per region and from a month on.

Why: a county may need more days than its city, or fewer; and a month that is closed must stay so, whatever is set
later.
Locks: everything is new. Runs inside one transaction.
"""

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

REGION = "(SELECT scope_role()) IN ('admin', 'supervisor') AND starts_with(region, (SELECT scope_region()))"
STATEMENTS = (
    """
CREATE TABLE region_closing (
    region text NOT NULL REFERENCES region,
    from_month date NOT NULL CHECK (extract(day FROM from_month) = 1),
    day smallint NOT NULL CHECK (day BETWEEN 1 AND 28),
    reason text NOT NULL,
    made_by text NOT NULL,
    made_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (region, from_month)
)""",
    "SELECT secure_through('region_closing', 'region', 'region', 'code')",
    # A city's days are seen by its counties, which must not change them.
    *(
        f"CREATE POLICY kept_{way.lower()} ON region_closing AS RESTRICTIVE FOR {way} TO tcewatch_api {shape}"
        for way, shape in (
            ("INSERT", f"WITH CHECK ({REGION})"),
            ("UPDATE", f"USING ({REGION}) WITH CHECK ({REGION})"),
            ("DELETE", f"USING ({REGION})"),
        )
    ),
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    raise RuntimeError("migrations are forward only: restore a backup instead")
