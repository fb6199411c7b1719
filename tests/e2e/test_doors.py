"""One contract for all doors: the same message means the same, and is answered the same, by whichever way it comes.

A real service on a real database: by HTTP, through a real broker and at its own listener, in both versions of MQTT.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import httpx2
import pytest
from paho.mqtt import client as paho
from paho.mqtt.enums import MQTTProtocolVersion

from tests.e2e.a_plant import ENTERPRISE, Plant, running_plant
from tests.e2e.service import free_port
from tests.ingest.gateway import Gateway
from tests.wait import eventually, soon

Receipt = dict[str, Any]
START = datetime(2026, 11, 1, tzinfo=UTC)
DOORS = ["http", "broker-5", "broker-311", "listener-5", "listener-311"]
VERSIONS = {"5": paho.MQTTv5, "311": paho.MQTTv311}


class Refused(Exception):
    """The door does not let this gateway in, or not any more."""


class Way(Protocol):
    """A gateway that is in, through one of the doors."""

    async def send(self, body: bytes | dict[str, Any], content_type: str = "application/json") -> Receipt:
        """The receipt, after the commit. Raises Refused."""

    async def leave(self) -> None: ...


class HttpWay:
    def __init__(self, url: str, secret: str) -> None:
        self._client = httpx2.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {secret}"}, timeout=60)

    async def send(self, body: bytes | dict[str, Any], content_type: str = "application/json") -> Receipt:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = await self._client.post("/api/v1/readings", content=content, headers={"Content-Type": content_type})
        if answer.status_code == 401:
            raise Refused
        assert answer.status_code in (200, 207, 422), answer.text
        receipt: Receipt = answer.json()
        return receipt

    async def leave(self) -> None:
        await self._client.aclose()


class MqttWay:
    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway

    @classmethod
    async def open(cls, name: str, secret: str, url: str, protocol: MQTTProtocolVersion) -> MqttWay:
        gateway = await asyncio.to_thread(Gateway, name, secret, url, protocol)
        await soon(lambda: gateway.connected or gateway.refused, "the log-in is answered")
        if gateway.refused:
            await asyncio.to_thread(gateway.leave)
            raise Refused
        assert await gateway.subscribe(f"energy/v1/{name}/ack")
        assert await gateway.subscribe(f"energy/v1/{name}/cmd")
        return cls(gateway)

    async def send(self, body: bytes | dict[str, Any], content_type: str = "application/json") -> Receipt:
        gateway, before = self.gateway, len(self.gateway.receipts())
        more: dict[str, Any] = {} if content_type == "application/json" else {"ContentType": content_type}
        sent = gateway.publish("data", body, **more)
        await soon(
            lambda: (len(gateway.receipts()) > before and sent in gateway.acknowledged) or not gateway.connected,
            "receipt and acknowledgement are there",
        )
        if not gateway.connected:
            raise Refused
        return gateway.receipts()[-1]

    async def leave(self) -> None:
        await asyncio.to_thread(self.gateway.leave)


class City:
    """The running service, and how gateways reach it."""

    def __init__(self, plant: Plant, broker: str, listener: str) -> None:
        self.plant = plant
        self._urls = {"broker": broker, "listener": listener}

    def a_gateway(self) -> tuple[str, str]:
        """A new one with meter E-… and a rate P-…; its name and its secret."""
        name = f"gw-{secrets.token_hex(4)}"
        secret = self.plant.add_gateway(name)
        self.plant.add_meter(f"E-{name}", name, rolls_over_at=100_000)
        return name, secret

    async def enter(self, door: str, name: str, secret: str) -> Way:
        """Raises Refused."""
        kind, _, version = door.partition("-")
        if kind == "http":
            return HttpWay(self.plant.service.url, secret)
        return await MqttWay.open(name, secret, self._urls[kind], VERSIONS[version])


@pytest.fixture(scope="module")
def city(database_url: str, broker_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[City]:
    listener, broker = f"mqtt://127.0.0.1:{free_port()}", urlsplit(broker_url)
    env = {
        "TCEWATCH_DATABASE_URL": database_url,
        "TCEWATCH_MQTT_URL": broker_url,
        "TCEWATCH_MQTT_LISTEN": listener,
        "TCEWATCH_MQTT_CLIENT_ID": f"tcewatch-{secrets.token_hex(4)}",
        "TCEWATCH_RESEND_AFTER_S": "1",
    }
    folder: Path = tmp_path_factory.mktemp("doors")
    with running_plant(env, folder / "log") as plant:
        yield City(plant, f"mqtt://{broker.hostname}:{broker.port}", listener)


class At:
    """A gateway at a door: what the tests send and ask."""

    def __init__(self, city: City, door: str, name: str, secret: str, way: Way) -> None:
        self.city, self.door, self.name, self.secret, self.way = city, door, name, secret, way
        self.meter = f"E-{name}"

    def rows(self, *rows: tuple[int, float], **more: Any) -> dict[str, Any]:
        return {"v": 1, "rows": [[self.meter, moment(minute), value] for minute, value in rows], **more}

    def readings(self) -> list[float]:
        path = f"meters/{ENTERPRISE}/{self.meter}/readings"
        items = self.city.plant.get(path, **{"from": "2026-10-31", "to": "2026-11-05"})["items"]
        return [float(item["value"]) for item in items]


def moment(minute: int) -> str:
    return (START + timedelta(minutes=minute)).isoformat()


@pytest.fixture(params=DOORS)
async def at(request: pytest.FixtureRequest, city: City) -> AsyncIterator[At]:
    name, secret = city.a_gateway()
    way = await city.enter(request.param, name, secret)
    yield At(city, request.param, name, secret, way)
    await way.leave()


def counts(receipt: Receipt) -> tuple[int, int, int, list[str]]:
    codes = [refusal["code"] for refusal in receipt["rejected"]]
    return receipt["stored"], receipt["duplicate"], receipt["revised"], codes


async def test_all_forms_are_stored_before_they_are_answered(at: At) -> None:
    meter = at.meter
    columns = {"v": 1, "seq": 3, "meters": [meter] * 2, "t": [epoch_ms(4), epoch_ms(5)], "values": [4, 5], "q": [0, 2]}
    sent = [
        {"v": 1, "seq": 1, "ts": moment(1), "vals": {meter: 1.5}, "q": {meter: 1}},
        at.rows((2, 2.5), (3, 3.5), seq=2),
        columns,
    ]
    stored = 0
    for number, (body, count) in enumerate(zip(sent, (1, 2, 2), strict=True), 1):
        assert await at.way.send(body) == {
            "seq": number,
            "stored": count,
            "duplicate": 0,
            "revised": 0,
            "rejected": [],
        }
        stored += count
        assert len(at.readings()) == stored
    assert at.readings() == [1.5, 2.5, 3.5, 4, 5]


def epoch_ms(minute: int) -> int:
    return int((START + timedelta(minutes=minute)).timestamp() * 1000)


async def test_csv_and_packed_messages_are_taken_where_their_type_can_be_told(at: At) -> None:
    if at.door.endswith("311"):
        # MQTT 3.1.1 cannot say what a message is: it is JSON.
        assert counts(await at.way.send(f"meter,ts,value\n{at.meter},{moment(0)},1\n".encode()))[3] == ["malformed"]
        return
    table = f"meter,ts,value,quality\n{at.meter},{moment(0)},1,0\n{at.meter},{moment(1)},2,3\n".encode()
    assert counts(await at.way.send(table, "text/csv"))[:2] == (2, 0)
    if at.door != "http":  # there the packing stands in a header of its own
        packed = gzip.compress(json.dumps(at.rows((0, 1), (1, 2))).encode())
        assert counts(await at.way.send(packed, "application/json; encoding=gzip"))[:2] == (0, 2)


async def test_a_repetition_changes_nothing_and_another_value_only_when_it_says_so(at: At) -> None:
    assert counts(await at.way.send(at.rows((0, 10)))) == (1, 0, 0, [])
    assert counts(await at.way.send(at.rows((0, 10)))) == (0, 1, 0, [])
    assert counts(await at.way.send(at.rows((0, 11)))) == (0, 0, 0, ["conflict"])
    assert at.readings() == [10]
    assert counts(await at.way.send(at.rows((0, 11), (1, 12), revise=True))) == (1, 0, 1, [])
    assert at.readings() == [11, 12]
    history = at.city.plant.get(f"meters/{ENTERPRISE}/{at.meter}/revisions")["items"]
    assert [(float(one["old_value"]), float(one["new_value"])) for one in history] == [(10, 11)]


async def test_each_bad_reading_is_refused_by_its_name_and_kept_and_the_good_ones_stored(at: At) -> None:
    other, _ = at.city.a_gateway()
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    rows = [
        [at.meter, moment(0), 1],
        ["NOBODY", moment(0), 1],
        [f"E-{other}", moment(0), 1],
        [at.meter, "yesterday", 1],
        [at.meter, "2026-11-01T00:00:00", 1],
        [at.meter, tomorrow, 1],
        [at.meter, "1999-01-01T00:00:00Z", 1],
        [at.meter, moment(1), "many"],
        [at.meter, moment(2), 100_000],
        [at.meter],
        [at.meter, moment(3), 2],
    ]
    receipt = await at.way.send({"v": 1, "seq": 1, "rows": rows})
    refused = {refusal["i"]: refusal["code"] for refusal in receipt["rejected"]}
    assert refused == {
        1: "unknown-meter",
        2: "foreign-meter",
        3: "bad-timestamp",
        4: "timestamp-without-zone",
        5: "timestamp-in-future",
        6: "timestamp-too-old",
        7: "not-a-number",
        8: "out-of-range",
        9: "malformed",
    }
    assert receipt["stored"] == 2
    assert at.readings() == [1, 2]
    kept = at.city.plant.get("rejections", gateway=at.name)["items"]
    assert sorted(one["code"] for one in kept) == sorted(refused.values())


GARBAGE = [b"\xff\xfe\x00", b"{", b"[]", b"null", b'{"v":2}', b'{"v":1}', b"\x00" * 2000, b'{"v":1,"rows":[' * 500]


async def test_garbage_is_answered_and_does_no_harm(at: At) -> None:
    for garbage in GARBAGE:
        assert counts(await at.way.send(garbage)) == (0, 0, 0, ["malformed"]), garbage[:20]
    assert counts(await at.way.send(at.rows((0, 1)))) == (1, 0, 0, [])


async def test_a_new_secret_and_a_revocation_hold_at_once(at: At) -> None:
    await at.way.send(at.rows((0, 1)))
    fresh = at.city.plant.admin.post(f"/api/v1/gateways/{at.name}/secret").json()["secret"]
    await refused_in_the_end(at.way, at.rows((1, 2)))
    assert await is_shut(at, at.secret)
    way = await at.city.enter(at.door, at.name, fresh)
    assert counts(await way.send(at.rows((1, 2))))[:2] in ((1, 0), (0, 1))
    answer = at.city.plant.admin.patch(f"/api/v1/gateways/{at.name}", json={"active": False})
    assert answer.status_code == 200, answer.text
    await refused_in_the_end(way, at.rows((2, 3)))
    assert await is_shut(at, fresh)
    await way.leave()


async def is_shut(at: At, secret: str) -> bool:
    """Whether nobody gets in by this secret."""
    try:
        way = await at.city.enter(at.door, at.name, secret)
    except Refused:
        return True
    try:
        await way.send(at.rows((9, 9)))
    except Refused:
        return True
    finally:
        await way.leave()
    return False


async def refused_in_the_end(way: Way, body: dict[str, Any]) -> None:
    """The service learns of a change by a notification: a message that is faster than it may still be taken."""

    async def is_refused() -> bool:
        try:
            await way.send(body)
        except Refused:
            return True
        return False

    await eventually(is_refused, what="the secret is worth nothing any more", deadline_s=20)


async def test_a_missing_message_is_noticed_and_asked_for(at: At) -> None:
    for seq in (1, 2, 5):
        await at.way.send(at.rows((seq, seq), seq=seq))
    gaps = at.city.plant.get(f"gateways/{at.name}")["gaps"]
    assert [(gap["first_seq"], gap["last_seq"]) for gap in gaps] == [(3, 4)]
    if isinstance(at.way, MqttWay):
        heard = at.way.gateway.heard
        command: Callable[[], bool] = lambda: any(topic.endswith("/cmd") for topic, _, _ in list(heard))  # noqa: E731
        await soon(command, "it is asked for")
        assert next(body for topic, body, _ in heard if topic.endswith("/cmd")) == {"resend": [3, 4]}
    for seq in (3, 4):
        await at.way.send(at.rows((seq, seq), seq=seq))
    assert at.city.plant.get(f"gateways/{at.name}")["gaps"] == []
    assert at.readings() == [1, 2, 3, 4, 5]
