"""The state of gateways as REST shows it, the same as the pure rule, and their clocks."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import Any

import pytest

from app.store.gateways import StoredFleet, gateway_states
from app.store.ingest_registry import StoredRegistry
from app.store.readings import ReadingLedger
from ingest.batch import Door, Group, Received
from ingest.decode import decode
from ingest.liveness import state_of
from ingest.validate import Rules, Shelf, admit
from tests.api.a_service import CITY, NOW, OWN, OWN_REGION, Api, a_meter, is_problem

NOW_US = round(NOW.timestamp() * 1_000_000)
SPANS_S = (0, 60, 119, 121, 1799, 1801, 86_399, 86_401, 86_400 * 4 + 5, 86_400 * 40)


async def test_the_list_says_what_the_rule_says(api: Api) -> None:
    rng = random.Random(11)
    expected = {}
    for number in range(60):
        key, interval_s = f"gw-{number:02}", rng.choice((60, 900, 86_400, None))
        data_at, said_at = (
            None if rng.random() < 0.15 else NOW - timedelta(seconds=rng.choice(SPANS_S)) for _ in range(2)
        )
        said = "never" if said_at is None else rng.choice(("online", "offline"))
        await api.sql(
            """INSERT INTO gateway (id, enterprise, name, secret_sha256, state, state_at, last_data_at)
               VALUES ($1, $2, 'x', $3, $4, $5, $6)""",
            *(key, OWN, key.encode(), said, said_at, data_at),
        )
        if interval_s is not None:
            for code, slower in (("A", 1), ("B", 3)):
                await api.post(
                    "meters",
                    a_meter(code=f"{code}{number}", gateway=key, expected_interval_s=interval_s * slower),
                )
        expected[key] = state_of(
            said=said, said_at=said_at, last_data_at=data_at, expected_interval_s=interval_s, now=NOW
        ).value
    found = {item["id"]: item["state"] for item in (await api.get("gateways", params={"limit": 100})).json()["items"]}
    assert {key: found[key] for key in expected} == expected
    assert set(found.values()) == {"online", "late", "silent", "offline", "never"}
    for state in set(found.values()):
        items = (await api.get("gateways", params={"state": state, "limit": 100})).json()["items"]
        assert {item["id"] for item in items} == {key for key, said in found.items() if said == state}
    counts = await gateway_states(api.database, CITY, NOW)
    assert counts == {state: [*found.values()].count(state) for state in counts}
    is_problem(await api.get("gateways", params={"state": "asleep"}), 422, "invalid")


async def test_what_gateways_say_of_themselves_is_kept_together(api: Api) -> None:
    for key in ("gw-a1", "gw-a2"):
        await api.sql(
            "INSERT INTO gateway (id, enterprise, name, secret_sha256) VALUES ($1, $2, 'x', $3)", key, OWN, key.encode()
        )
    at_us = NOW_US - 60_000_000
    await StoredRegistry(api.database.pool).heard(
        [("gw-a2", "offline", at_us), ("gw-nobody", "online", at_us), ("gw-a1", "online", NOW_US)]
    )
    found = [(await api.get(f"gateways/{key}")).json() for key in ("gw-a1", "gw-a2")]
    assert [one["said"] for one in found] == ["online", "offline"]
    assert datetime.fromisoformat(found[1]["said_at"]) == NOW - timedelta(seconds=60)


async def heard(api: Api, ledger: ReadingLedger, offset_s: float, *, kind: str = "register", count: int = 8) -> None:
    """A gateway whose readings come `offset_s` after the time they bear, a quarter of an hour apart."""
    await api.sql("UPDATE meter SET kind = $1 WHERE enterprise = $2", kind, OWN)
    shelf = Shelf.of(await StoredRegistry(api.database.pool).read())
    for quarter in range(count):
        received = NOW - timedelta(minutes=15 * (count - quarter))
        at = received - timedelta(seconds=offset_s)
        raw = f'{{"v":1,"ts":"{at.isoformat()}","vals":{{"E001":{quarter}}}}}'.encode()
        us = int(received.timestamp() * 1_000_000)
        message = Received(Door.HTTP, "gw-own", None, "application/json", raw, us)
        admitted = admit([message], [decode(message)], shelf, Rules())
        await ledger.save(Group([message], admitted.rows, admitted.refusals))


async def shown(api: Api) -> dict[str, Any]:
    found: dict[str, Any] = (await api.get("gateways/gw-own")).json()
    return found


@pytest.mark.parametrize(
    ("offset_s", "kind", "skew_s", "off"),
    [(2, "register", 2, False), (3600, "register", 3600, True), (902, "interval", 2, False)],
)
async def test_a_clock_is_measured_and_named_when_it_is_off(
    api: Api, database_url: str, offset_s: float, kind: str, skew_s: float, off: bool
) -> None:
    ledger = ReadingLedger(database_url)
    await heard(api, ledger, offset_s, kind=kind)
    await ledger.close()
    found = await shown(api)
    assert (found["clock_skew_s"], found["clock_off"]) == (skew_s, off)
    assert found["clock_skew_at"] == "2026-11-24T00:45:00Z"
    fleet = await StoredFleet(api.database, 120).look(NOW)
    assert fleet.clocks_off_s == ({"gw-own": skew_s} if off else {})
    assert fleet.clocks == 1


async def test_a_clock_so_far_ahead_that_all_is_refused_is_measured_all_the_same(api: Api, database_url: str) -> None:
    ledger = ReadingLedger(database_url)
    await heard(api, ledger, -86_400)
    await ledger.close()
    assert (await api.sql("SELECT count(*) FROM reading")) == [(0,)]
    found = await shown(api)
    assert (found["clock_skew_s"], found["clock_off"]) == (-86_400, True)


async def test_nothing_is_said_of_a_clock_nobody_has_seen(api: Api) -> None:
    found = await shown(api)
    assert (found["clock_skew_s"], found["clock_off"], found["state"]) == (None, None, "never")
    body = {"id": "gw-new", "enterprise": OWN, "name": "x"}
    assert (await api.post("gateways", body)).json()["state"] == "never"
    assert (await api.get(f"regions/{OWN_REGION}/overview")).status_code == 200


@pytest.mark.parametrize(
    ("data_s", "said", "said_s", "state"),
    [
        (86_400, "online", -60, "online"),
        (86_400, "offline", 86_410, "offline"),
        (86_410, "offline", 86_400, "online"),
        (-7200, "offline", 86_400, "offline"),
    ],
    ids=["data ahead", "offline after it", "data after offline", "only the word ahead"],
)
async def test_who_was_heard_in_the_future_is_brought_back_to_now(
    api: Api, data_s: int, said: str, said_s: int, state: str
) -> None:
    """Our clock was a day ahead and was set right: who is silent since then is not there for another day."""
    await api.sql(
        """INSERT INTO gateway (id, enterprise, name, secret_sha256, state, state_at, last_data_at)
           VALUES ('gw-x', $1, 'x', 'x', $2, $3, $4)""",
        *(OWN, said, NOW + timedelta(seconds=said_s), NOW + timedelta(seconds=data_s)),
    )
    fleet = StoredFleet(api.database, 120)
    assert (await fleet.look(NOW)).heard_ahead == 1
    assert (await fleet.look(NOW)).heard_ahead == 0
    found = (await api.get("gateways/gw-x")).json()
    assert found["state"] == state
    assert max(found["last_data_at"], found["said_at"]) == "2026-11-24T01:00:00Z"
    later = await gateway_states(api.database, CITY, NOW + timedelta(seconds=1801))
    assert later["online"] == 0
