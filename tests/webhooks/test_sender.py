"""Webhooks over real connections: signed, repeated, given up, sent again by hand."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
import trustme

from app.store import events
from app.webhooks.patience import WAITS_S
from app.webhooks.sender import WebhookSender
from app.webhooks.signature import headers, read
from tests.api.a_service import FOREIGN, NOW, OWN, WEBHOOK, Api, an_api, is_problem


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[Api]:
    async with an_api(database_url) as api:
        await api.sql("DELETE FROM webhook WHERE webhook_id = $1", WEBHOOK)
        api.app.state.deps = _private(api)
        yield api


def _private(api: Api) -> Any:
    return replace(api.app.state.deps, webhooks_private=True)


class Receiver:
    """A server that keeps what it is sent and answers the statuses it is given, 204 at the end."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        body = await reader.readexactly(int(fields["content-length"]))
        self.got.append((fields, body))
        status = self.statuses.pop(0) if self.statuses else 204
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()


@asynccontextmanager
async def receiving(
    *statuses: int, tls: ssl.SSLContext | None = None, name: str = "127.0.0.1"
) -> AsyncIterator[Receiver]:
    receiver = Receiver(*statuses)
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0, ssl=tls)
    receiver.url = f"http{'s' if tls else ''}://{name}:{server.sockets[0].getsockname()[1]}/hook?x=1"
    async with server:
        yield receiver


async def endpoint(api: Api, url: str, role: str = "admin", **more: Any) -> dict[str, Any]:
    made = await api.post("webhooks", {"url": url, "kinds": ["alert"]} | more, role=role)
    assert made.status_code == 201, made.text
    body: dict[str, Any] = made.json()
    return body


async def happens(api: Api, kind: str = "alert.raised", enterprise: str = OWN) -> None:
    async with api.database.engine.begin() as connection:
        await events.record(connection, kind, enterprise, {"tier": "红"})


def sender(api: Api, at: datetime = NOW, trust: ssl.SSLContext | None = None, *, private: bool = True) -> WebhookSender:
    return WebhookSender(api.database, lambda: at, private_allowed=private, trust=trust)


async def deliveries(api: Api, made: dict[str, Any], role: str = "admin") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await api.get(f"webhooks/{made['id']}/deliveries", role=role)).json()["items"]
    return found


async def due(api: Api) -> None:
    """Times of the database, where a test has its own clock."""
    await api.sql("UPDATE webhook_delivery SET next_at = $1 WHERE state = 'queued'", NOW)


async def test_what_happens_is_sent_signed(api: Api) -> None:
    async with receiving() as receiver:
        made = await endpoint(api, receiver.url)
        await happens(api)
        await due(api)
        assert await sender(api).one_round() == 1
    ((fields, body),) = receiver.got
    message = json.loads(body)
    assert (message["type"], message["enterprise"], message["data"]) == ("alert.raised", OWN, {"tier": "红"})
    expected = headers([read(made["secret"])], fields["webhook-id"], int(NOW.timestamp()), body)
    assert {name: fields[name] for name in expected} == dict(expected)
    assert receiver.url.split("/")[2] == fields["host"]
    (told,) = await deliveries(api, made)
    assert (told["state"], told["last_status"], told["message_id"]) == ("delivered", 204, fields["webhook-id"])


async def test_after_a_change_of_the_secret_both_sign_for_a_day(api: Api) -> None:
    async with receiving() as receiver:
        made = await endpoint(api, receiver.url)
        changed = (await api.post(f"webhooks/{made['id']}/secret", {})).json()
        for at in (NOW, NOW + timedelta(hours=25)):
            await happens(api)
            await api.sql("UPDATE webhook_delivery SET next_at = $1 WHERE state = 'queued'", NOW)
            await sender(api, at).one_round()
    (both, body), (one, later) = receiver.got
    new, old = read(changed["secret"]), read(made["secret"])
    at_s = int(NOW.timestamp())
    assert both["webhook-signature"] == headers([new, old], both["webhook-id"], at_s, body)["webhook-signature"]
    assert one["webhook-signature"] == headers([new], one["webhook-id"], at_s + 90_000, later)["webhook-signature"]
    assert "secret" not in (await api.get(f"webhooks/{made['id']}")).json()


async def test_a_failure_is_repeated_until_it_is_dead_and_then_by_hand(api: Api) -> None:
    async with receiving(*[500] * 10) as receiver:
        made = await endpoint(api, receiver.url)
        await happens(api)
        await due(api)
        at = NOW
        for wait_s in (*WAITS_S, 0):
            assert await sender(api, at).one_round() == 1
            assert await sender(api, at).one_round() == 0, "not before its time"
            at += timedelta(seconds=1.2 * wait_s)
        (dead,) = (await api.get(f"webhooks/{made['id']}/deliveries?state=dead")).json()["items"]
        assert (dead["attempts"], dead["last_error"]) == (10, "answered 500")
        again = await api.post(f"webhooks/{made['id']}/deliveries/{dead['delivery_id']}/resend", {})
        assert again.status_code == 202
        await due(api)
        await sender(api, at).one_round()
        assert (await deliveries(api, made))[0]["state"] == "delivered"
    assert len({fields["webhook-id"] for fields, _ in receiver.got}) == 1


async def test_an_endpoint_that_only_fails_is_given_up_and_switched_on_again(api: Api) -> None:
    async with receiving(500, 500) as receiver:
        made = await endpoint(api, receiver.url)
        for at in (NOW, NOW + timedelta(days=5)):
            await happens(api)
            await api.sql("UPDATE webhook_delivery SET next_at = $1 WHERE attempts = 0", NOW)
            await sender(api, at).one_round()
            await api.sql("UPDATE webhook_delivery SET next_at = $1 WHERE attempts > 0", at + timedelta(days=9))
        given_up = (await api.get(f"webhooks/{made['id']}")).json()
        assert given_up["active"] is False
        assert "failed since" in given_up["disabled_why"]
        await happens(api)
        assert len(await deliveries(api, made)) == 2, "nothing is queued for it meanwhile"
        on = (await api.patch(f"webhooks/{made['id']}", {"active": True})).json()
        assert (on["active"], on["disabled_why"], on["failing_since"]) == (True, None, None)


async def test_nobody_hears_what_is_not_theirs_and_nothing_after_the_token_ended(api: Api) -> None:
    async with receiving() as receiver:
        made = await endpoint(api, receiver.url, "enterprise")
        await happens(api, enterprise=FOREIGN)
        assert await deliveries(api, made, "enterprise") == []
        await happens(api)
        await due(api)
        await api.sql("UPDATE api_token SET revoked_at = now() WHERE name = 'the enterprise'")
        assert await sender(api).one_round() == 0
    assert receiver.got == []


async def test_an_address_that_turns_inward_is_not_called(api: Api) -> None:
    async with receiving() as receiver:
        made = await endpoint(api, receiver.url)
        await happens(api)
        await due(api)
        await sender(api, private=False).one_round()
        (told,) = await deliveries(api, made)
        assert (told["state"], told["last_status"]) == ("queued", None)
        assert "https" in told["last_error"] or "public" in told["last_error"]
    assert receiver.got == []


async def test_a_redirect_is_not_followed_and_a_port_without_anybody_is_a_failure(api: Api) -> None:
    async with receiving(302) as receiver:
        first = await endpoint(api, receiver.url)
        spare = socket.create_server(("127.0.0.1", 0))
        nobody = await endpoint(api, f"http://127.0.0.1:{spare.getsockname()[1]}/")
        spare.close()
        await happens(api)
        await due(api)
        assert await sender(api).one_round() == 2
        assert (await deliveries(api, first))[0]["last_error"] == "answered 302"
        assert "ConnectError" in (await deliveries(api, nobody))[0]["last_error"]
    assert len(receiver.got) == 1


async def test_the_certificate_is_that_of_the_name_although_the_number_is_called(api: Api) -> None:
    authority = trustme.CA()
    tls, trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(tls)
    authority.configure_trust(trust)
    async with receiving(tls=tls, name="localhost") as receiver:
        made = await endpoint(api, receiver.url)
        await happens(api)
        await due(api)
        await sender(api, trust=trust).one_round()
        assert (await deliveries(api, made))[0]["state"] == "delivered"
        await happens(api)
        await due(api)
        await sender(api).one_round()
        assert "certificate" in (await deliveries(api, made))[0]["last_error"].lower()


async def test_a_test_is_sent_and_says_nothing(api: Api) -> None:
    async with receiving() as receiver:
        made = await endpoint(api, receiver.url)
        assert (await api.post(f"webhooks/{made['id']}/test", {})).status_code == 202
        await sender(api, NOW + timedelta(days=3650)).one_round()
    assert json.loads(receiver.got[0][1])["type"] == "webhook.test"


@pytest.mark.parametrize("url", ["http://10.0.0.1/", "https://127.0.0.1/", "https://user@example.com/", "nowhere"])
async def test_an_address_inside_is_refused_when_it_is_entered(api: Api, url: str) -> None:
    api.app.state.deps = replace(api.app.state.deps, webhooks_private=False)
    body = is_problem(await api.post("webhooks", {"url": url, "kinds": ["alert"]}), 422, "wrong-field")
    assert body["errors"][0]["pointer"] == "/body/url"
