"""Webhooks carry what happens out of the house: who made or changed one is in the trail, and their scope holds."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from app.store import events
from tests.api.a_service import CITY, FOREIGN, OWN, OWN_REGION, Api, an_api

HOOK = {"url": "https://hooks.example.com/in?key=secret", "kinds": ["alert"], "description": "ours"}


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[Api]:
    async with an_api(database_url) as api:
        yield api


@pytest.mark.parametrize("role", ["admin", "supervisor", "enterprise"])
async def test_every_write_of_a_webhook_leaves_a_line(api: Api, role: str) -> None:
    made = (await api.post("webhooks", HOOK, role=role)).json()
    path = f"webhooks/{made['id']}"
    await api.patch(path, {"kinds": ["data"]}, role=role)
    await api.post(f"{path}/secret", {}, role=role)
    sent = (await api.post(f"{path}/test", {}, role=role)).json()
    await api.post(f"{path}/deliveries/{sent['delivery_id']}/resend", {}, role=role)
    await api.delete(path, role=role)
    trail = (await api.get("audit", params={"object_kind": "webhook"})).json()["items"][::-1]
    assert [one["action"].removeprefix("webhook.") for one in trail] == [
        "create",
        "change",
        "new-secret",
        "test",
        "resend",
        "remove",
    ]
    assert {one["object_id"] for one in trail} == {made["id"]}
    assert all(one["actor"].endswith(f"the {role}") for one in trail)
    assert (trail[0]["before"], trail[0]["after"]["kinds"]) == (None, ["alert"])
    assert (trail[1]["before"]["kinds"], trail[1]["after"]["kinds"]) == (["alert"], ["data"])
    assert (trail[5]["before"]["url"], trail[5]["after"]) == ("https://hooks.example.com/in", None)
    assert made["secret"] not in str(trail)
    assert "key=secret" not in str(trail)
    where = {row[0] for row in await api.sql("SELECT region FROM audit WHERE object_kind = 'webhook'")}
    assert where == {CITY if role == "admin" else OWN_REGION}


async def test_a_webhook_hears_no_more_than_its_owner_may_see_now(api: Api) -> None:
    person = {
        "name": "li",
        "full_name": "Li",
        "role": "supervisor",
        "scope": CITY,
        "password": "correct horse 9 staple",
    }
    assert (await api.post("users", person)).status_code == 201
    logged_in = await api.ask("POST", "/api/v1/session", role=None, json={"name": "li", "password": person["password"]})
    csrf = {"X-CSRF-Token": logged_in.json()["csrf_token"]}
    made = await api.ask("POST", "/api/v1/webhooks", role=None, json=HOOK, headers=csrf)
    assert made.status_code == 201, made.text
    waiting = (
        "SELECT payload->>'enterprise' FROM webhook_delivery JOIN webhook USING (webhook_id) WHERE url = $1 ORDER BY 1"
    )
    await happen(api, FOREIGN)
    assert await api.sql(waiting, HOOK["url"]) == [(FOREIGN,)]
    assert (await api.patch("users/li", {"scope": OWN_REGION})).status_code == 200
    assert await api.sql(waiting, HOOK["url"]) == [], "what waited was meant for who saw all of it"
    await happen(api, FOREIGN)
    await happen(api, OWN)
    assert await api.sql(waiting, HOOK["url"]) == [(OWN,)]


async def happen(api: Api, enterprise: str) -> None:
    async with api.database.engine.begin() as connection:
        await events.record(connection, "alert.raised", enterprise, {})
