"""How the key units of a region stand together, from their newest positions: for the county's warning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import asyncpg

from app.store.rollups import Connection

STANDING = """
SELECT count(*) AS units, coalesce(sum(p50), 0)::float8 AS projected, coalesce(sum(spent), 0)::float8 AS spent,
    coalesce(sum(assumed), 0)::float8 AS assumed, coalesce(sum(plan_to_date), 0)::float8 AS planned,
    coalesce(avg(recent_cover), 0)::float8 AS cover,
    coalesce(sum(amount), 0)::float8 AS budget, max(evaluated_at) AS evaluated_at,
    count(*) FILTER (WHERE tier = 'red') AS red, count(*) FILTER (WHERE tier = 'orange') AS orange,
    count(*) FILTER (WHERE tier = 'yellow') AS yellow, count(*) FILTER (WHERE tier = 'green') AS green,
    count(*) FILTER (WHERE spent > amount) AS exceeded
FROM budget_position JOIN enterprise ON enterprise.id = budget_position.enterprise
WHERE starts_with(enterprise.region, $1) AND year = $2 AND basis = $3
"""
TARGET = "SELECT base, incentive, reason, made_at FROM region_target WHERE region = $1 AND year = $2 AND basis = $3"
STANDING_ALERTS = """
SELECT count(*) FILTER (WHERE level = 'red') AS red, count(*) FILTER (WHERE level = 'orange') AS orange,
    count(*) FILTER (WHERE level = 'yellow') AS yellow
FROM alert JOIN enterprise ON enterprise.id = alert.enterprise
WHERE closed_at IS NULL AND level <> 'green' AND starts_with(enterprise.region, $1)
"""


@dataclass(frozen=True, slots=True)
class RegionStanding:
    """Sums over the units of a region that have a budget, and the region's own target if it has one."""

    units: Any
    target: Any
    alerts: Any


async def region_standing(
    connection: Connection | asyncpg.Pool, region: str, *, year: int, basis: str
) -> RegionStanding:
    return RegionStanding(
        await connection.fetchrow(STANDING, region, year, basis),
        await connection.fetchrow(TARGET, region, year, basis),
        await connection.fetchrow(STANDING_ALERTS, region),
    )
