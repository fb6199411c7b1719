"""Events: told with the commit, in an order that nothing is inserted into, to those who may see them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from app.store import events
from app.store.database import Database, open_database
from app.store.events import BEGINNING, Event, Place
from tests.api.a_service import FOREIGN, OWN, OWN_REGION, two_enterprises


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with open_database(database_url, pool_size=3) as database:
        await two_enterprises(database)
        await database.pool.execute("TRUNCATE event, webhook_delivery, webhook")
        yield database


async def kinds(database: Database, place: Place = BEGINNING) -> list[str]:
    return [one.kind for one in await events.after(database.pool, place, 100)]


async def test_an_event_is_told_with_the_commit_and_not_without_it(database: Database) -> None:
    async with database.engine.begin() as connection:
        await events.record(connection, "alert.raised", OWN, {"tier": "red", "名": "云城"})
    async with database.engine.connect() as connection:
        await events.record(connection, "alert.resolved", OWN, {})
        await connection.rollback()
    (told,) = await events.after(database.pool, BEGINNING, 100)
    assert (told.kind, told.enterprise, told.region) == ("alert.raised", OWN, OWN_REGION)
    assert told.payload == {"tier": "red", "名": "云城"}


async def test_one_that_commits_late_is_not_passed_over(database: Database) -> None:
    async with database.pool.acquire() as early, database.pool.acquire() as late, late.transaction():
        await events.record(late, "alert.late", OWN, {})
        async with early.transaction():
            await events.record(early, "alert.early", FOREIGN, {})
        assert await kinds(database) == [], "an older transaction is still running"
    assert await kinds(database) == ["alert.late", "alert.early"]
    first = (await events.after(database.pool, BEGINNING, 1))[0]
    assert await kinds(database, first.place) == ["alert.early"]
    assert (await events.newest(database.pool)) > first.place


async def test_who_was_away_too_long_is_told_so(database: Database) -> None:
    for kind in ("alert.one", "alert.two", "alert.three"):
        async with database.pool.acquire() as connection:
            await events.record(connection, kind, OWN, {})
    first, second, third = await events.after(database.pool, BEGINNING, 100)
    assert await events.is_kept(database.pool, first.place)
    await database.pool.execute("UPDATE event SET at = at - interval '9 days'")
    await events.forget(database.pool, third.at)
    assert not await events.is_kept(database.pool, second.place)
    assert await events.is_kept(database.pool, third.place), "the newest stays"


async def test_webhooks_of_those_who_may_see_it_are_queued_in_the_same_transaction(database: Database) -> None:
    for role, scope, wanted in (
        ("supervisor", OWN_REGION, "alert"),
        ("supervisor", "445303", "alert"),
        ("enterprise", OWN, "alert.raised"),
        ("enterprise", OWN, "data"),
        ("admin", "4453", "alert.resolved"),
    ):
        await database.pool.execute(
            "INSERT INTO webhook (token_id, role, scope, url, kinds, secret) VALUES (1, $1, $2, $2, $3, 'x')",
            role,
            scope,
            [wanted],
        )
    async with database.engine.begin() as connection:
        await events.record(connection, "alert.raised", OWN, {"a": 1})
    queued = await database.pool.fetch(
        "SELECT role, scope, payload->'data'->>'a' AS a FROM webhook_delivery JOIN webhook USING (webhook_id)"
    )
    assert {tuple(row) for row in queued} == {("supervisor", OWN_REGION, "1"), ("enterprise", OWN, "1")}


@pytest.mark.parametrize(
    ("role", "scope", "seen"),
    [("admin", "4453", True), ("supervisor", "445302", True), ("supervisor", "445303", False)],
)
def test_a_region_sees_its_subtree(role: str, scope: str, seen: bool) -> None:
    told = Event(Place(1, 1), None, "alert.raised", OWN, OWN_REGION, {})  # type: ignore[arg-type]  # the time is not looked at
    assert told.visible_to(role, scope) is seen
    assert told.visible_to("enterprise", OWN)
    assert not told.visible_to("enterprise", FOREIGN)


@pytest.mark.parametrize("words", ["", "1", "1-", "-1-1", "1-1-1", "99999999999999999999-1", "a-b", "1-1\n"])
def test_a_place_that_was_never_given_out_is_none(words: str) -> None:
    assert Place.read(words) is None


def test_a_place_is_read_as_it_was_written() -> None:
    assert Place.read(str(Place(7342, 12))) == Place(7342, 12)
