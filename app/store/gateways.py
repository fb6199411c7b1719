"""The state of gateways and their clocks as SQL, for lists, counts and filters. What it means: `ingest.liveness`."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Float, Update, and_, case, cast, func, literal, or_, select, update

from app.store.database import Database
from app.store.tables.registry import enterprise, gateway, meter
from ingest.fleet import Fleet
from ingest.liveness import (
    INTERVAL_S,
    LATE_AFTER_INTERVALS,
    SILENT_AFTER_INTERVALS,
    SILENT_AFTER_S,
    GatewayState,
)

AHEAD_S = 60
"""What the clocks of several processes may differ by."""
SECOND = literal(timedelta(seconds=1))
_own = and_(meter.c.gateway == gateway.c.id, meter.c.active)
_shortest = select(func.min(meter.c.expected_interval_s)).where(_own).scalar_subquery()
# The time of an interval is its beginning, and nobody can send it before its end.
_lag = (
    select(case((func.bool_and(meter.c.kind == "interval"), func.min(meter.c.expected_interval_s)), else_=0))
    .where(_own)
    .scalar_subquery()
)
SKEW_S: ColumnElement[float] = gateway.c.clock_skew_s - cast(func.coalesce(_lag, 0), Float)


def state_at(now: datetime) -> ColumnElement[str]:
    """`ingest.liveness.state_of` of each gateway."""
    interval_s = func.coalesce(_shortest, INTERVAL_S)
    age = literal(now) - gateway.c.last_data_at
    late_s = func.greatest(SILENT_AFTER_S, SILENT_AFTER_INTERVALS * interval_s)
    return case(
        (gateway.c.last_data_at.is_(None), GatewayState.NEVER.value),
        (
            and_(gateway.c.state == GatewayState.OFFLINE.value, gateway.c.state_at > gateway.c.last_data_at),
            GatewayState.OFFLINE.value,
        ),
        (age <= LATE_AFTER_INTERVALS * interval_s * SECOND, GatewayState.ONLINE.value),
        (age <= late_s * SECOND, GatewayState.LATE.value),
        else_=GatewayState.SILENT.value,
    )


def gateway_columns(now: datetime) -> list[ColumnElement[Any]]:
    """What everybody who sees a gateway may know of it."""
    said = {"state": gateway.c.state.label("said"), "state_at": gateway.c.state_at.label("said_at")}
    computed = {"clock_skew_s": SKEW_S.label("clock_skew_s")}
    hidden = ("secret_sha256",)
    plain = [(said | computed).get(column.name, column) for column in gateway.c if column.name not in hidden]
    return [*plain, state_at(now).label("state")]


async def gateway_states(database: Database, region: str, now: datetime) -> dict[str, int]:
    """How many active gateways of a region's subtree are in each state."""
    state = state_at(now).label("state")
    query = (
        select(state, func.count())
        .join_from(gateway, enterprise)
        .where(gateway.c.active, enterprise.c.region.startswith(region, autoescape=True))
        .group_by(state)
    )
    async with database.engine.connect() as connection:
        found = {row[0]: row[1] for row in await connection.execute(query)}
    return {each.value: found.get(each.value, 0) for each in GatewayState}


def _set_back(now: datetime) -> Update:
    """Data and word of gateways that were heard in the future, brought back to now in the same order. Our own clock was
    ahead then: left alone, who went silent since would be there until that moment comes."""
    by = func.greatest(gateway.c.last_data_at, gateway.c.state_at) - literal(now)
    latest = literal(now + timedelta(seconds=AHEAD_S))
    moments = (gateway.c.last_data_at, gateway.c.state_at)
    return (
        update(gateway)
        .where(or_(*(moment > latest for moment in moments)))
        .values({moment.name: case((moment > literal(now), moment - by), else_=moment) for moment in moments})
    )


class StoredFleet:
    """`ingest.fleet.FleetSource` on the database."""

    def __init__(self, database: Database, skew_max_s: float) -> None:
        self._database = database
        self._skew_max_s = skew_max_s

    async def look(self, now: datetime) -> Fleet:
        """See `ingest.fleet.FleetSource`."""
        async with self._database.engine.begin() as connection:
            ahead = (await connection.execute(_set_back(now))).rowcount
        off = select(gateway.c.id, SKEW_S).where(gateway.c.active, func.abs(SKEW_S) > self._skew_max_s)
        async with self._database.engine.connect() as connection:
            clocks = {row[0]: row[1] for row in await connection.execute(off.order_by(gateway.c.id))}
            measured = select(func.count()).where(gateway.c.active, gateway.c.clock_skew_s.is_not(None))
            count = int(await connection.scalar(measured) or 0)
        return Fleet(await gateway_states(self._database, "", now), clocks, count, ahead)
