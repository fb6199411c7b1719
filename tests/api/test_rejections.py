"""Refused readings: found by what is known of them, and tried again once the registry is mended."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from app.store.ingest_registry import StoredRegistry
from app.store.readings import ReadingLedger
from app.store.rejections import Parcel, Replayer
from ingest.batch import Door, Group, Received
from ingest.decode import decode
from ingest.validate import Rules, Shelf, admit
from tests.api.a_service import NOW, OWN, Api, a_meter, is_problem

RECEIVED_US = int(NOW.timestamp() * 1e6)


def row(meter: str, hour: int, value: float) -> list[object]:
    return [meter, f"2026-11-23T{hour:02}:00:00+08:00", value]


async def send(api: Api, database_url: str, *bodies: Mapping[str, Any] | bytes, gateway: str = "gw-own") -> list[int]:
    """Messages through decode, registry and ledger, as a door would. Answers the verdicts of their sound rows."""
    ledger = ReadingLedger(database_url)
    shelf = Shelf.of(await StoredRegistry(api.database.pool).read())
    verdicts: list[int] = []
    for number, body in enumerate(bodies):
        raw = body if isinstance(body, bytes) else json.dumps({"v": 1, **body}).encode()
        message = Received(Door.HTTP, gateway, "/api/v1/readings", "application/json", raw, RECEIVED_US + number)
        admitted = admit([message], [decode(message)], shelf, Rules())
        verdicts += (await ledger.save(Group([message], admitted.rows, admitted.refusals))).tolist()
    await ledger.close()
    return verdicts


async def stored(api: Api) -> dict[tuple[str, int], float]:
    rows = await api.sql(
        """SELECT code, extract(hour FROM ts AT TIME ZONE 'Asia/Shanghai')::int, value
           FROM reading JOIN meter USING (meter_id) WHERE enterprise = $1""",
        OWN,
    )
    return {(code, hour): value for code, hour, value in rows}


async def replay(api: Api, role: str = "admin", **body: Any) -> dict[str, Any]:
    answer = await api.post("rejections/replay", body, role=role)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def counts(done: dict[str, Any]) -> tuple[int, int, int, int]:
    return done["stored"], done["duplicate"], done["revised"], done["rejected"]


async def test_what_an_unknown_meter_sent_is_stored_once_the_meter_is_there(api: Api, database_url: str) -> None:
    await send(api, database_url, {"rows": [row("E001", 1, 1), row("E009", 1, 5), row("E010", 1, 7)]})
    assert counts(await replay(api)) == (0, 0, 0, 2)
    made = await api.post("meters", a_meter(code="E009"))
    assert (made.status_code, made.json()["refused_readings"]) == (201, 1)
    done = await replay(api)
    assert (await api.get(f"meters/{OWN}/E009")).json()["refused_readings"] == 0
    assert counts(done) == (1, 0, 0, 1)
    assert [(one["meter"], one["code"]) for one in done["still"]] == [("E010", "unknown-meter")]
    assert await stored(api) == {("E001", 1): 1.0, ("E009", 1): 5.0}
    mended, other = sorted((await api.get("rejections")).json()["items"], key=lambda item: item["meter"])
    assert (mended["replayed_as"], mended["replayed_at"], mended["tried_at"]) == (
        "stored",
        "2026-11-24T01:00:00Z",
        "2026-11-24T01:00:00Z",
    )
    assert mended["replayed_by"].endswith(":the admin")
    assert (other["replayed_at"], other["tried_at"]) == (None, "2026-11-24T01:00:00Z")
    # The hours it touches are marked for the rollup, and the reading keeps the moment it first came.
    assert await api.sql("SELECT count(*) FROM touched") == [(2,)]
    assert await api.sql("SELECT count(*) FROM reading WHERE received_at < '2026-11-24T01:00:01Z'") == [(2,)]


async def test_asking_again_changes_nothing(api: Api, database_url: str) -> None:
    await send(api, database_url, {"rows": [row("E009", hour, hour) for hour in range(4)]})
    await api.post("meters", a_meter(code="E009"))
    first, second = await asyncio.gather(replay(api), replay(api))
    assert sorted([counts(first), counts(second)]) == [(0, 0, 0, 0), (4, 0, 0, 0)]
    assert counts(await replay(api)) == (0, 0, 0, 0)
    assert len(await stored(api)) == 4
    assert await api.sql("SELECT times FROM rejected_message") == [(1,)]


async def test_only_what_was_refused_is_tried_and_not_its_neighbours(api: Api, database_url: str) -> None:
    """The neighbour was revised since; sending its old value again would turn it back."""
    both = {"revise": True, "rows": [row("E001", 1, 1), row("E009", 1, 5)]}
    await send(api, database_url, both, {"revise": True, "rows": [row("E001", 1, 2)]})
    await api.post("meters", a_meter(code="E009"))
    assert counts(await replay(api)) == (1, 0, 0, 0)
    assert await stored(api) == {("E001", 1): 2.0, ("E009", 1): 5.0}


async def test_a_duplicate_counts_as_taken_and_a_conflict_stays(api: Api, database_url: str) -> None:
    await send(api, database_url, {"rows": [row("E009", 1, 5), row("E009", 2, 6)]})
    await api.post("meters", a_meter(code="E009"))
    await send(api, database_url, {"rows": [row("E009", 1, 5), row("E009", 2, 66)]})
    done = await replay(api)
    assert counts(done) == (0, 1, 0, 1)
    assert [(one["code"], "revise" in one["detail"]) for one in done["still"]] == [("conflict", True)]
    (kept,) = (await api.get("rejections", params={"open": "true"})).json()["items"]
    assert kept["code"] == "conflict"


async def test_a_reading_ahead_of_the_clock_is_judged_by_the_moment_it_came(api: Api, database_url: str) -> None:
    await send(api, database_url, {"rows": [["E001", "2026-11-24T08:00:00Z", 5]]})
    done = await replay(api)
    assert [one["code"] for one in done["still"]] == ["timestamp-in-future"]


async def test_a_message_refused_as_a_whole_is_tried_whole(api: Api, database_url: str) -> None:
    """As if a later version can read what this one could not."""
    await send(api, database_url, b"no json", {"rows": [row("E001", 1, 1), row("E009", 1, 5)]})
    await api.sql("DELETE FROM rejected_reading WHERE meter = 'E009'")
    await api.sql(
        """INSERT INTO rejected_reading (message_id, code, detail)
           SELECT message_id, 'malformed', 'old' FROM rejected_message WHERE raw <> 'no json'"""
    )
    done = await replay(api)
    assert counts(done) == (0, 1, 0, 2)
    assert {(one["code"], one["meter"]) for one in done["still"]} == {("malformed", None), ("unknown-meter", "E009")}
    items = (await api.get("rejections", params={"open": "false"})).json()["items"]
    assert [item["replayed_as"] for item in items] == ["read"]
    apart = (await api.get("rejections", params={"open": "true", "meter": "E009"})).json()["items"]
    assert [(item["position"], item["rejected_id"]) for item in apart] == [
        (1, next(one["rejected_id"] for one in done["still"] if one["meter"]))
    ]


async def test_filters_choose_what_is_listed_and_what_is_tried(api: Api, database_url: str) -> None:
    await send(api, database_url, {"rows": [row("E009", 1, 5)]}, {"rows": [row("E010", 1, 5), row("E001", 2, -1)]})
    await send(api, database_url, {"rows": [row("E009", 1, 5)]}, gateway="gw-foreign")

    async def meters(**params: str) -> list[str]:
        found = (await api.get("rejections", params=params)).json()["items"]
        return sorted(item["meter"] for item in found)

    assert await meters(enterprise=OWN) == ["E001", "E009", "E010"]
    assert await meters(gateway="gw-foreign") == ["E009"]
    assert await meters(meter="E009") == ["E009", "E009"]
    assert await meters(code="out-of-range") == ["E001"]
    assert await meters(**{"from": "2026-11-24", "to": "2026-11-25"}) == ["E001", "E009", "E009", "E010"]
    assert await meters(to="2026-11-24T01:00:00Z") == []
    for body, tried in (
        ({"enterprise": OWN}, 3),
        ({"gateway": "gw-foreign"}, 1),
        ({"meter": "E009"}, 2),
        ({"code": "out-of-range"}, 1),
        ({"from": "2026-11-24", "to": "2026-11-25"}, 4),
        ({"to": "2026-11-24T01:00:00Z"}, 0),
        ({}, 4),
    ):
        assert (await replay(api, **body))["rejected"] == tried, body
    number = (await api.get("rejections", params={"meter": "E010"})).json()["items"][0]["rejected_id"]
    assert (await replay(api, ids=[number]))["rejected"] == 1


async def test_a_long_list_is_gone_through_message_by_message(api: Api, database_url: str) -> None:
    await send(api, database_url, *({"rows": [row("E009", hour, hour)]} for hour in range(5)))
    await api.post("meters", a_meter(code="E009"))
    cursor, tried = None, []
    while True:
        done = await replay(api, limit=2, **({} if cursor is None else {"cursor": cursor}))
        tried.append(done["messages"])
        cursor = done["next"]
        if cursor is None:
            break
    assert tried == [2, 2, 1]
    assert len(await stored(api)) == 5


async def test_a_supervisor_tries_what_is_in_the_own_region_and_an_enterprise_nothing(
    api: Api, database_url: str
) -> None:
    for gateway in ("gw-own", "gw-foreign", "gw-stranger"):
        await send(api, database_url, {"rows": [row("E009", 1, 5)]}, gateway=gateway)
    is_problem(await api.post("rejections/replay", {}, role="enterprise"), 403, "read-only")
    assert (await replay(api, role="supervisor"))["messages"] == 1
    assert (await replay(api))["messages"] == 3
    trail = (await api.get("audit", params={"object_kind": "rejection"})).json()["items"]
    assert [(item["action"], item["after"]["messages"], item["after"]["rejected"]) for item in trail] == [
        ("rejections.replay", 3, 3),
        ("rejections.replay", 1, 1),
    ]


async def test_wrong_requests_are_told_what_is_wrong(api: Api) -> None:
    is_problem(await api.post("rejections/replay", {"gatway": "x"}), 422, "invalid")
    is_problem(await api.post("rejections/replay", {"from": "2026-11-24", "to": "2026-11-24"}), 422, "bad-query")
    is_problem(await api.post("rejections/replay", {"from": "2026-11-24T00:00:00"}), 422, "timezone-missing")
    is_problem(await api.post("rejections/replay", {"cursor": "x"}), 422, "bad-cursor")


async def test_a_try_that_broke_off_goes_on_where_it_was(api: Api, database_url: str) -> None:
    """The second message meets a database that is gone: the first stays stored, the second stays open."""
    await send(api, database_url, *({"rows": [row("E009", hour, hour)]} for hour in range(2)))
    await api.post("meters", a_meter(code="E009"))
    numbers = await api.sql("SELECT message_id, rejected_id FROM rejected_reading ORDER BY 1")
    ledger = ReadingLedger(database_url)
    replayer = Replayer(api.database, ledger, StoredRegistry(api.database.pool), Rules())
    parcels = [Parcel(message, [rejected]) for message, rejected in numbers]
    save, calls = ledger.save_again, 0

    async def save_once(group: Group, settle: Any) -> np.ndarray:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise ConnectionResetError("gone")
        return await save(group, settle)

    ledger.save_again = save_once  # type: ignore[method-assign]  # the fault of the second commit
    with contextlib.suppress(ConnectionResetError):
        await replayer.replay(parcels, actor="test", asked={}, now=NOW)
    await replayer.close()
    assert len(await stored(api)) == 1
    assert await api.sql("SELECT after ->> 'stored' FROM audit WHERE actor = 'test' AND object_kind = 'rejection'") == [
        ("1",)
    ]
    assert counts(await replay(api)) == (1, 0, 0, 0)


async def test_what_a_wrong_clock_of_ours_refused_is_stored_when_that_is_said(api: Api, database_url: str) -> None:
    """Our clock was a day behind: what came live lay in the future of its receipt, and by now does not."""
    ahead = {"rows": [["E001", "2026-11-24T08:30:00+08:00", 7.0], ["E001", "2026-11-25T08:30:00+08:00", 8.0]]}
    ledger = ReadingLedger(database_url)
    shelf = Shelf.of(await StoredRegistry(api.database.pool).read())
    raw = json.dumps({"v": 1, **ahead}).encode()
    day_us = 86_400_000_000
    message = Received(Door.HTTP, "gw-own", "/api/v1/readings", "application/json", raw, RECEIVED_US - day_us)
    admitted = admit([message], [decode(message)], shelf, Rules())
    await ledger.save(Group([message], admitted.rows, admitted.refusals))
    await ledger.close()
    assert counts(await replay(api, code="timestamp-in-future")) == (0, 0, 0, 2)
    done = await replay(api, code="timestamp-in-future", clock_was_wrong=True)
    assert counts(done) == (1, 0, 0, 1), "what lies in the future even now stays refused"
    assert await stored(api) == {("E001", 8): 7.0}
    trail = await api.sql("SELECT after FROM audit WHERE action = 'rejections.replay' ORDER BY audit_id DESC LIMIT 1")
    assert json.loads(trail[0][0])["asked"]["clock_was_wrong"] is True
