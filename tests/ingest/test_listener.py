"""The service's own listener on a real port: real clients and bare connections, a ledger in memory behind it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trustme
from paho.mqtt import client as paho
from paho.mqtt.enums import MQTTProtocolVersion

from app.stack.stack import Stack
from ingest import listener
from ingest.batch import Group
from ingest.listener import Bounds, ListenerDoor, is_filter, matches
from ingest.listening import ListenAt, read_address
from ingest.metrics import IngestMetrics
from ingest.packet import (
    V5,
    V311,
    Ack,
    ConnAck,
    Connect,
    Disconnect,
    Kind,
    Packet,
    PingReq,
    PingResp,
    Property,
    Publish,
    Reason,
    SubAck,
    Subscribe,
    UnsubAck,
    Unsubscribe,
    Will,
    encode,
    varying,
)
from ingest.pipeline import LedgerUnavailable, Limits, Pipeline
from ingest.resend import GatewayAway
from ingest.wire import resend
from tests.ingest.fakes import FakeLedger, FakeRegistry, Statuses, a_registry, counted, metrics
from tests.ingest.gateway import Gateway
from tests.ingest.messages import minutes_after
from tests.ingest.wire_client import WireClient
from tests.wait import eventually, soon

SECRET = "secret of gw-1"
DATA, STATUS, ACK, CMD = (f"energy/v1/gw-1/{leaf}" for leaf in ("data", "status", "ack", "cmd"))
BOTH = pytest.mark.parametrize("version", [V311, V5])


@dataclass
class Site:
    """A listener with fakes behind it, and a clock that only runs when told to."""

    ledger: FakeLedger
    registry: FakeRegistry
    statuses: Statuses
    measured: IngestMetrics
    pipeline: Pipeline
    door: ListenerDoor
    now_s: list[float]
    stop: asyncio.Event
    clients: list[WireClient] = field(default_factory=list)

    async def a_client(self, version: int = V5, tls: ssl.SSLContext | None = None) -> WireClient:
        client = await WireClient.to(self.door.port, version, tls)
        self.clients.append(client)
        return client

    async def a_gateway(self, version: int = V5, name: str = "gw-1", **more: Any) -> WireClient:
        """Logged in."""
        client = await self.a_client(version)
        assert (await client.greet(name, f"secret of {name}", **more)).reason == 0
        return client

    def ends(self, why: str) -> float:
        return counted(self.measured, "listener_ended_total", why=why)

    def later(self, seconds: float) -> None:
        self.now_s[0] += seconds


@contextlib.asynccontextmanager
async def site(
    bounds: Bounds | None = None, *, at: ListenAt | None = None, limits: Limits | None = None
) -> AsyncIterator[Site]:
    ledger, statuses, measured, stop, now_s = FakeLedger(), Statuses(), metrics(), asyncio.Event(), [1000.0]
    registry = a_registry()
    pipeline = Pipeline(ledger, registry, metrics=measured, limits=limits)
    await pipeline.registry.current()
    where = at or ListenAt("127.0.0.1", 0)
    door = ListenerDoor(
        where, pipeline, statuses, metrics=measured, bounds=bounds, context=where.context(), clock=lambda: now_s[0]
    )
    it = Site(ledger, registry, statuses, measured, pipeline, door, now_s, stop)
    closed = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(pipeline.run(closed))
        listening = tasks.create_task(door.run(stop))
        try:
            await soon(lambda: door.port, "the port is open")
            yield it
        finally:
            stop.set()
            ledger.open.set()
            ledger.trouble = lambda group: None
            ticking = tasks.create_task(_tick(now_s))
            await listening
            ticking.cancel()
            closed.set()
            for client in it.clients:
                client.leave()


async def _tick(now_s: list[float]) -> None:
    """The clock runs while the door waits for its last answers."""
    while True:
        await asyncio.sleep(0.01)
        now_s[0] += 0.01


def a_message(minute: int, seq: int | None = None, value: float = 1.0, **more: object) -> bytes:
    message: dict[str, object] = {"v": 1, "rows": [["E001", minutes_after(minute), value]], **more}
    return json.dumps(message if seq is None else {**message, "seq": seq}).encode()


def publish(number: int, payload: bytes, *, topic: str = DATA, qos: int = 1, **properties: Any) -> Publish:
    named = {Property[name].value: value for name, value in properties.items()}
    return Publish(topic, payload, qos, number if qos else 0, named)


def refusing(value: float) -> Callable[[Group], Exception | None]:
    return lambda group: ValueError("what is this") if bool((group.rows.value == value).any()) else None


# Acknowledged means committed -----------------------------------------------------------------------------------------


@BOTH
async def test_an_acknowledgement_comes_after_the_commit_and_in_order(version: int) -> None:
    async with site() as it:
        gateway = await it.a_gateway(version)
        it.ledger.open.clear()
        gateway.say(*(publish(minute + 1, a_message(minute)) for minute in range(300)))
        await soon(lambda: it.pipeline.pending_rows == 300, "all came in")
        gateway.say(PingReq())
        await gateway.first(PingResp)
        assert gateway.acknowledged == []
        it.ledger.open.set()
        await soon(lambda: len(gateway.acknowledged) == 300, "all are acknowledged")
        assert [number for number, _ in gateway.acknowledged] == list(range(1, 301))
        assert len(it.ledger.readings) == 300


@BOTH
async def test_nothing_is_acknowledged_while_the_ledger_is_down_and_all_of_it_after(version: int) -> None:
    async with site() as it:
        gateway = await it.a_gateway(version)
        it.ledger.trouble = lambda group: LedgerUnavailable("gone")
        gateway.say(*(publish(minute + 1, a_message(minute)) for minute in range(100)))
        await soon(lambda: it.ledger.attempts >= 2, "it was tried twice")
        assert gateway.acknowledged == []
        it.ledger.trouble = lambda group: None
        await soon(lambda: len(gateway.acknowledged) == 100, "all are acknowledged")
        assert len(it.ledger.readings) == 100


async def test_what_an_old_connection_sent_is_not_acknowledged_on_the_new_one() -> None:
    async with site() as it:
        old = await it.a_gateway()
        it.ledger.open.clear()
        old.say(publish(7, a_message(0)))
        await soon(lambda: it.pipeline.pending_rows, "it came in")
        new = await it.a_gateway()
        new.say(publish(7, a_message(0)), publish(8, a_message(1)))
        await soon(lambda: it.pipeline.pending_rows == 3, "all came in")
        it.ledger.open.set()
        await soon(lambda: len(new.acknowledged) == 2, "both are acknowledged")
        assert new.acknowledged == [(7, 0), (8, 0)]
        assert counted(it.measured, "stale_acks_total") == 1


async def test_a_status_and_readings_are_acknowledged_in_the_order_they_came() -> None:
    async with site() as it:
        gateway = await it.a_gateway()
        it.statuses.trouble = True
        gateway.say(publish(1, b'{"state":"online"}', topic=STATUS), publish(2, a_message(0)))
        await soon(lambda: it.ledger.readings, "the reading is stored")
        assert gateway.acknowledged == []
        it.statuses.trouble = False
        await soon(lambda: len(gateway.acknowledged) == 2, "both are acknowledged")
        assert [number for number, _ in gateway.acknowledged] == [1, 2]
        assert it.statuses.heard_of == [("gw-1", "online")]


async def test_what_is_wholly_refused_is_acknowledged_with_a_reason() -> None:
    async with site() as it:
        gateway = await it.a_gateway()
        foreign = json.dumps({"v": 1, "rows": [["S001", minutes_after(0), 1.0]]}).encode()
        some = json.dumps({"v": 1, "rows": [["S001", minutes_after(0), 1], ["E001", minutes_after(0), 1]]}).encode()
        gateway.say(publish(1, b"hello"), publish(2, foreign), publish(3, some), publish(4, b"", qos=1))
        await soon(lambda: len(gateway.acknowledged) == 4, "all are acknowledged")
        assert gateway.acknowledged == [
            (1, Reason.PAYLOAD_FORMAT_INVALID),
            (2, Reason.IMPLEMENTATION_SPECIFIC),
            (3, 0),
            (4, Reason.PAYLOAD_FORMAT_INVALID),
        ]
        assert sorted(it.ledger.codes) == ["foreign-meter", "foreign-meter", "malformed", "malformed"]


async def test_a_number_that_is_used_twice_at_once_hides_no_refusal() -> None:
    async with site() as it:
        gateway = await it.a_gateway()
        gateway.say(publish(7, b"hello"), publish(7, b"hello"), publish(7, a_message(0)))
        await soon(lambda: len(gateway.acknowledged) == 3, "all are acknowledged")
        assert [reason for _, reason in gateway.acknowledged][:2] == [Reason.PAYLOAD_FORMAT_INVALID] * 2
        gateway.say(publish(7, a_message(1)))
        await soon(lambda: len(gateway.acknowledged) == 4, "the next of this number is acknowledged")
        assert gateway.acknowledged[-1] == (7, 0)


async def test_a_poisonous_message_does_not_stop_the_others() -> None:
    async with site() as it:
        gateway = await it.a_gateway()
        it.ledger.trouble = refusing(666)
        gateway.say(*(publish(n, a_message(n, value=666 if n == 7 else 1)) for n in range(1, 20)))
        await soon(lambda: len(gateway.acknowledged) == 19, "all are acknowledged")
        assert [number for number, reason in gateway.acknowledged if reason] == [7]
        assert len(it.ledger.readings) == 18


async def test_messages_of_qos_0_are_stored_and_not_acknowledged() -> None:
    async with site() as it:
        gateway = await it.a_gateway()
        gateway.say(publish(0, a_message(0), qos=0), publish(9, a_message(1)))
        await soon(lambda: gateway.acknowledged, "the other is acknowledged")
        assert gateway.acknowledged == [(9, 0)]
        assert len(it.ledger.readings) == 2


async def test_a_stop_answers_what_is_in_and_says_good_bye() -> None:
    async with site() as it:
        gateway = await it.a_gateway(will=Will(STATUS, b'{"state":"offline"}', 1))
        it.ledger.open.clear()
        gateway.say(publish(1, a_message(0)))
        await soon(lambda: it.pipeline.pending_rows, "it came in")
        it.stop.set()
        it.ledger.open.set()
        await gateway.closed()
        assert gateway.acknowledged == [(1, 0)]
        assert gateway.farewell == Reason.SHUTTING_DOWN
    assert it.statuses.heard_of == [], "the gateway is not to blame"


# Receipts and commands ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [paho.MQTTv5, paho.MQTTv311])
async def test_a_paho_gateway_hears_its_receipts_and_commands(protocol: MQTTProtocolVersion) -> None:
    async with site() as it:
        gateway = await asyncio.to_thread(Gateway, "gw-1", SECRET, f"mqtt://127.0.0.1:{it.door.port}", protocol)
        try:
            await soon(lambda: gateway.connected, "the gateway is connected")
            assert await gateway.subscribe(ACK)
            assert await gateway.subscribe(CMD)
            sent = gateway.publish("data", a_message(0, seq=4711).decode())
            await soon(lambda: gateway.acknowledged.get(sent), "it is acknowledged")
            await soon(gateway.receipts, "the receipt is there")
            await it.door.command("gw-1", resend(5, 9))
            await soon(lambda: len(gateway.heard) == 2, "the command is heard")
        finally:
            await asyncio.to_thread(gateway.leave)
    assert gateway.receipts() == [{"seq": 4711, "stored": 1, "duplicate": 0, "revised": 0, "rejected": []}]
    assert gateway.heard[1][:2] == (CMD, {"resend": [5, 9]})


async def test_mosquitto_pub_is_acknowledged(stack_parts: Stack) -> None:
    program = stack_parts.mosquitto_pub()
    assert program is not None
    async with site() as it:
        for version in ("311", "5"):
            arguments = f"-V {version} -h 127.0.0.1 -p {it.door.port} -i gw-1 -u gw-1 -q 1 -t {DATA}".split()
            done = await asyncio.create_subprocess_exec(
                program, *arguments, "-P", SECRET, "-m", a_message(int(version)).decode()
            )
            assert await done.wait() == 0
        assert len(it.ledger.readings) == 2
        refused = await asyncio.create_subprocess_exec(
            program, *arguments, "-P", "wrong", "-m", "{}", stderr=asyncio.subprocess.DEVNULL
        )
        assert await refused.wait() != 0


async def test_the_receipt_goes_where_the_gateway_wants_it_with_its_correlation() -> None:
    async with site() as it:
        gateway = await it.a_gateway()
        own = "energy/v1/gw-1/answers"
        gateway.say(Subscribe(1, ((own, 1), (ACK, 0))))
        gateway.say(
            publish(1, a_message(0, 1), RESPONSE_TOPIC=own, CORRELATION_DATA=b"\x00seven"),
            publish(2, a_message(1, 2), RESPONSE_TOPIC="energy/v1/gw-2/ack", CORRELATION_DATA=b"8"),
            publish(3, b"meter,ts,value\n", CONTENT_TYPE="text/csv"),
        )
        await soon(lambda: len(gateway.of(Publish)) == 3, "all three are answered")
    [first] = gateway.messages(own)
    assert first.properties[Property.CORRELATION_DATA] == b"\x00seven"
    assert json.loads(first.payload)["seq"] == 1
    second, third = gateway.messages(ACK)
    assert second.properties == {Property.CONTENT_TYPE: "application/json", Property.CORRELATION_DATA: b"8"}
    assert [refusal["code"] for refusal in json.loads(third.payload)["rejected"]] == ["malformed"]


@pytest.mark.parametrize(
    "wanted", [DATA, STATUS, CMD, "energy/v1/gw-1/", "energy/v1/gw-1/../gw-2/ack", "energy/v1/gw-1/a//b"]
)
async def test_a_receipt_goes_to_no_topic_that_means_something_else(wanted: str) -> None:
    async with site() as it:
        gateway = await it.a_gateway()
        gateway.say(Subscribe(1, (("energy/v1/gw-1/#", 0),)))
        gateway.say(publish(1, a_message(0, 1), RESPONSE_TOPIC=wanted))
        await soon(lambda: gateway.of(Publish), "it is answered")
    assert [message.topic for message in gateway.of(Publish)] == [ACK]


async def test_a_gateway_hears_no_packet_larger_than_it_takes() -> None:
    async with site() as it:
        gateway = await it.a_client()
        gateway.say(Connect(V5, "gw-1", True, 60, "gw-1", SECRET.encode(), None, {Property.MAXIMUM_PACKET_SIZE: 400}))
        gateway.say(Subscribe(1, ((ACK, 0), (CMD, 0))))
        rows = [[f"NO{number}", minutes_after(number), 1] for number in range(50)]
        gateway.say(publish(1, json.dumps({"v": 1, "seq": 9, "rows": rows}).encode()))
        await soon(lambda: gateway.messages(ACK), "the receipt is there")
        longer: dict[str, Any] = {"RESPONSE_TOPIC": "energy/v1/gw-1/answers", "CORRELATION_DATA": bytes(400)}
        gateway.say(publish(2, a_message(0), **longer), publish(3, a_message(1)))
        await soon(lambda: len(gateway.messages(ACK)) == 2, "the message behind it is answered")
        assert gateway.acknowledged == [(1, Reason.IMPLEMENTATION_SPECIFIC), (2, 0), (3, 0)]
        with pytest.raises(GatewayAway):
            await it.door.command("gw-1", bytes(400))
    receipt = json.loads(gateway.messages(ACK)[0].payload)
    assert len(receipt["rejected"]) + receipt["rejected_more"] == 50
    assert receipt["rejected"]
    assert all(len(encode(packet, V5)) <= 400 for packet in gateway.heard)


async def test_only_who_listens_hears() -> None:
    async with site() as it:
        gateway = await it.a_gateway()
        with pytest.raises(GatewayAway):
            await it.door.command("gw-1", resend(1, 2))
        with pytest.raises(GatewayAway):
            await it.door.command("gw-2", resend(1, 2))
        gateway.say(Subscribe(1, (("energy/v1/gw-1/#", 0),)))
        gateway.say(publish(1, a_message(0)))
        await soon(lambda: gateway.messages(ACK), "the receipt is there")
        await it.door.command("gw-1", resend(1, 2))
        await soon(lambda: gateway.messages(CMD), "the command is there")
        gateway.say(Unsubscribe(2, ("energy/v1/gw-1/#", "energy/v1/gw-1/none")))
        assert (await gateway.first(UnsubAck)).reasons == (0, 0x11)
        gateway.say(publish(2, a_message(1)))
        await soon(lambda: len(gateway.acknowledged) == 2, "it is acknowledged")
    assert len(gateway.messages(ACK)) == 1


async def test_a_command_of_qos_1_waits_for_the_gateway() -> None:
    async with site() as it:
        gateway = await it.a_gateway()
        gateway.say(Subscribe(1, ((CMD, 1),)))
        await gateway.first(SubAck)
        sending = asyncio.create_task(it.door.command("gw-1", resend(1, 2)))
        await soon(lambda: gateway.messages(CMD), "the command is there")
        assert not sending.done()
        gateway.say(Ack(Kind.PUBACK, gateway.messages(CMD)[0].packet_id))
        await sending
        lost = asyncio.create_task(it.door.command("gw-1", resend(1, 2)))
        await soon(lambda: len(gateway.messages(CMD)) == 2, "the next command is there")
        gateway.drop()
        with pytest.raises(GatewayAway):
            await lost


# Who may come in, and what they may do --------------------------------------------------------------------------------

LOGINS = [
    ("gw-1", "wrong", None, Reason.BAD_LOGIN, 4),
    ("gw-1", "", None, Reason.BAD_LOGIN, 4),
    ("nobody", "secret of gw-1", None, Reason.BAD_LOGIN, 4),
    ("gw-1", "secret of gw-2", None, Reason.BAD_LOGIN, 4),
    ("gw-1", "secret of gw-1", "another", Reason.BAD_CLIENT_ID, 2),
    ("gw-1", "secret of gw-1", "", Reason.BAD_CLIENT_ID, 2),
    ("gw/1", "secret of gw-1", None, Reason.BAD_CLIENT_ID, 2),
]


@BOTH
@pytest.mark.parametrize(("name", "secret", "client_id", "reason", "code"), LOGINS)
async def test_who_is_not_known_is_refused(
    version: int, name: str, secret: str, client_id: str | None, reason: int, code: int
) -> None:
    async with site() as it:
        _let_refusals_go(it)
        client = await it.a_client(version)
        answer = await client.greet(name, secret, client_id=client_id)
        assert answer.reason == (reason if version == V5 else code)
        await client.closed()
        client.say(publish(1, a_message(0)))
    assert it.ledger.readings == {}


def _let_refusals_go(it: Site) -> None:
    """A wrong secret is answered late; here the clock is already later."""
    clock = it.door.clock
    it.door.clock = lambda: clock() + it.registry.questions * 10.0


async def test_without_a_name_and_without_a_secret_nobody_comes_in() -> None:
    async with site() as it:
        client = await it.a_client()
        client.say(Connect(V5, "gw-1", True, 60, "gw-1"))
        assert (await client.first(ConnAck)).reason == Reason.BAD_LOGIN
        other = await it.a_client()
        other.say(Connect(V5, "gw-1", True, 60, None, b"secret of gw-1"))
        assert (await other.first(ConnAck)).reason == Reason.BAD_LOGIN
        third = await it.a_client()
        greeting = Connect(V5, "gw-1", True, 60, "gw-1", SECRET.encode(), None, {Property.AUTH_METHOD: "SCRAM"})
        third.say(greeting)
        assert (await third.first(ConnAck)).reason == Reason.BAD_AUTH_METHOD


async def test_a_gateway_created_a_moment_ago_comes_in_with_what_it_said_meanwhile() -> None:
    async with site() as it:
        it.registry.gateway("gw-new", "fresh")
        meter = it.registry.meter("N1", "gw-new")
        client = await it.a_client()
        body = json.dumps({"v": 1, "rows": [["N1", minutes_after(0), 1.0]]}).encode()
        client.say(Connect(V5, "gw-new", True, 60, "gw-new", b"fresh"), publish(1, body, topic="energy/v1/gw-new/data"))
        await soon(lambda: client.acknowledged, "it is acknowledged")
    assert [number for number, _ in it.ledger.readings] == [meter.meter_id]


async def test_a_registry_that_cannot_be_asked_turns_away_only_who_is_not_known() -> None:
    async with site() as it:
        it.registry.trouble = OSError("no database")
        assert (await (await it.a_client()).greet("gw-new", "fresh")).reason == Reason.SERVER_UNAVAILABLE
        assert (await (await it.a_client(V311)).greet("gw-new", "fresh")).reason == 3
        await it.a_gateway()


@pytest.mark.parametrize("change", ["revoked", "rotated"])
async def test_a_secret_that_is_no_longer_valid_ends_the_open_connection(change: str) -> None:
    async with site() as it:
        gateway, other = await it.a_gateway(), await it.a_gateway(name="gw-2")
        if change == "revoked":
            del it.registry.gateways["gw-1"]
            it.registry.number += 1
        else:
            it.registry.gateway("gw-1", "another")
        it.pipeline.registry.stale()
        await gateway.closed()
        assert gateway.farewell == Reason.NOT_AUTHORIZED
        again = await it.a_client()
        assert (await again.greet("gw-2", "secret of gw-2")).reason == 0, "the others stay"
        assert not it.door.has("gw-1")
        assert other.farewell in (None, Reason.TAKEN_OVER)


@pytest.mark.parametrize("topic", ["energy/v1/gw-2/data", ACK, CMD, "energy/v1/gw-1/data/more", "else", "$SYS/x"])
async def test_a_foreign_topic_is_refused_and_nothing_of_it_stored(topic: str) -> None:
    async with site() as it:
        gateway = await it.a_gateway(V5)
        gateway.say(publish(1, a_message(0), topic=topic), publish(2, a_message(1)))
        await soon(lambda: len(gateway.acknowledged) == 2, "both are answered")
        assert gateway.acknowledged == [(1, Reason.NOT_AUTHORIZED), (2, 0)]
        older = await it.a_gateway(V311, name="gw-2")
        older.say(publish(1, a_message(0), topic=f"{topic}-1" if "gw-2" in topic else topic))
        await older.closed()
        assert older.acknowledged == []
    assert len(it.ledger.readings) == 1


@BOTH
async def test_a_gateway_subscribes_under_its_own_name_only(version: int) -> None:
    async with site() as it:
        gateway = await it.a_gateway(version)
        wanted = (ACK, "energy/v1/gw-1/#", "energy/v1/gw-1/+", "energy/v1/gw-2/ack", "energy/v1/+/ack", "#", "a#")
        gateway.say(Subscribe(5, tuple((pattern, 2 if version == V311 else 1) for pattern in wanted)))
        answer = await gateway.first(SubAck)
    refused = (Reason.NOT_AUTHORIZED,) * 3 + (Reason.TOPIC_FILTER_INVALID,) if version == V5 else (0x80,) * 4
    assert answer == SubAck(5, (1, 1, 1, *refused))


async def test_what_was_not_offered_is_refused_by_its_name() -> None:
    refusals: list[tuple[Packet, Reason]] = [
        (publish(1, a_message(0), qos=2), Reason.QOS_NOT_SUPPORTED),
        (publish(1, a_message(0), TOPIC_ALIAS=1), Reason.TOPIC_ALIAS_INVALID),
        (Subscribe(1, ((ACK, 1),), {Property.SUBSCRIPTION_ID: 3}), Reason.SUBSCRIPTION_IDS_NOT_SUPPORTED),
        (Connect(V5, "gw-1"), Reason.PROTOCOL_ERROR),
        (ConnAck(), Reason.PROTOCOL_ERROR),
        (Ack(Kind.PUBREL, 1), Reason.PROTOCOL_ERROR),
    ]
    async with site() as it:
        for packet, reason in refusals:
            gateway = await it.a_gateway()
            gateway.say(packet)
            await gateway.closed()
            assert gateway.farewell == reason, packet
            assert gateway.acknowledged == []
        older = await it.a_gateway(V311)
        older.say(publish(1, a_message(0), qos=2))
        await older.closed()
        shared = await it.a_gateway()
        shared.say(Subscribe(1, (("$share/g/energy/v1/gw-1/ack", 1),)))
        assert (await shared.first(SubAck)).reasons == (Reason.SHARED_NOT_SUPPORTED,)
    assert it.ledger.readings == {}


async def test_a_gateway_of_mqtt_5_is_told_what_it_may_expect() -> None:
    async with site(Bounds(window=50, packet_max_bytes=5000)) as it:
        client = await it.a_client()
        client.say(Connect(V5, "gw-1", False, 0, "gw-1", SECRET.encode(), None, {Property.SESSION_EXPIRY_S: 3600}))
        offers = (await client.first(ConnAck)).properties
    assert offers == {
        Property.RECEIVE_MAXIMUM: 50,
        Property.MAXIMUM_QOS: 1,
        Property.MAXIMUM_PACKET_SIZE: 5000,
        Property.SUBSCRIPTION_IDS_AVAILABLE: 0,
        Property.SHARED_AVAILABLE: 0,
        Property.SESSION_EXPIRY_S: 0,
        Property.SERVER_KEEP_ALIVE_S: 1200,
    }


# TLS ------------------------------------------------------------------------------------------------------------------


@dataclass
class Certificates:
    """An authority, and a listener that shows a certificate of it."""

    authority: trustme.CA
    folder: Path

    def at(self, *, with_clients: bool) -> ListenAt:
        server = self.authority.issue_cert("127.0.0.1", "localhost")
        certificate, key, clients = (self.folder / name for name in ("server.pem", "server.key", "clients.pem"))
        server.private_key_pem.write_to_path(key)
        server.cert_chain_pems[0].write_to_path(certificate)
        self.authority.cert_pem.write_to_path(clients)
        return ListenAt("127.0.0.1", 0, True, certificate, key, clients if with_clients else None)

    def client(self, name: str | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        if name is not None:
            self.authority.issue_cert(common_name=name).configure_cert(context)
        return context


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(trustme.CA(), tmp_path)


async def test_over_tls_as_without(certificates: Certificates) -> None:
    async with site(at=certificates.at(with_clients=False)) as it:
        gateway = await it.a_client(V5, certificates.client())
        assert (await gateway.greet("gw-1", SECRET)).reason == 0
        gateway.say(*(publish(minute + 1, a_message(minute)) for minute in range(100)))
        await soon(lambda: len(gateway.acknowledged) == 100, "all are acknowledged")
        with pytest.raises(ssl.SSLCertVerificationError):
            await it.a_client(V5, ssl.create_default_context())
        plain = await it.a_client()
        plain.say(Connect(V5, "gw-1", True, 60, "gw-1", SECRET.encode()))
        await plain.closed()
        assert plain.heard == []


async def test_with_client_certificates_a_gateway_needs_its_own_and_its_secret(certificates: Certificates) -> None:
    async with site(at=certificates.at(with_clients=True)) as it:
        own = await it.a_client(V5, certificates.client("gw-1"))
        assert (await own.greet("gw-1", SECRET)).reason == 0
        _let_refusals_go(it)
        wrong = await it.a_client(V5, certificates.client("gw-1"))
        assert (await wrong.greet("gw-1", "wrong")).reason == Reason.BAD_LOGIN
        foreign = await it.a_client(V5, certificates.client("gw-2"))
        assert (await foreign.greet("gw-1", SECRET)).reason == Reason.NOT_AUTHORIZED
        without = await it.a_client(V5, certificates.client())
        without.say(Connect(V5, "gw-1", True, 60, "gw-1", SECRET.encode()))
        await without.closed()
        assert without.heard == []
        stranger = Certificates(trustme.CA(), certificates.folder).client("gw-1")
        certificates.authority.configure_trust(stranger)
        unknown = await it.a_client(V5, stranger)
        unknown.say(Connect(V5, "gw-1", True, 60, "gw-1", SECRET.encode()))
        await unknown.closed()
        assert unknown.heard == []


async def test_a_renewed_certificate_is_shown_to_who_comes_and_parts_with_nobody(certificates: Certificates) -> None:
    async with site(at=certificates.at(with_clients=True)) as it:
        old = await it.a_client(V5, certificates.client("gw-1"))
        assert (await old.greet("gw-1", SECRET)).reason == 0
        renewed = Certificates(trustme.CA(), certificates.folder)
        renewed.at(with_clients=True)
        it.door.renew()
        new = await eventually(lambda: a_client_of(it, renewed), what="the new certificate is shown")
        assert new is not None
        assert (await new.greet("gw-2", "secret of gw-2")).reason == 0
        with pytest.raises(ssl.SSLCertVerificationError):
            await it.a_client(V5, certificates.client("gw-1"))
        trusting = certificates.client("gw-1")
        renewed.authority.configure_trust(trusting)
        foreign = await it.a_client(V5, trusting)  # the certificate of a gateway whose authority is no longer the one
        foreign.say(Connect(V5, "gw-1", True, 60, "gw-1", SECRET.encode()))
        await foreign.closed()
        assert foreign.heard == []
        old.say(publish(1, a_message(1)))
        await soon(lambda: len(old.acknowledged) == 1, "who was in before is served")


async def a_client_of(it: Site, certificates: Certificates) -> WireClient | None:
    try:
        return await it.a_client(V5, certificates.client("gw-2"))
    except ssl.SSLCertVerificationError:
        return None


async def test_a_changed_certificate_is_noticed_and_a_broken_one_changes_nothing(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("ingest.listener.CERTIFICATES_EVERY_S", 0.01)
    at = certificates.at(with_clients=False)
    assert at.certificate is not None
    async with site(at=at) as it:
        at.certificate.write_text("half of it")
        await soon(lambda: "the old one stays" in caplog.text, "it is said that the file is of no use")
        await it.a_client(V5, certificates.client())
        renewed = Certificates(trustme.CA(), certificates.folder)
        renewed.at(with_clients=False)
        await eventually(lambda: a_client_of(it, renewed), what="the new certificate is shown")


# The life of a connection ---------------------------------------------------------------------------------------------

OFFLINE = Will(STATUS, b'{"state":"offline"}', 1)


@BOTH
async def test_a_will_is_spoken_when_contact_is_lost_and_not_after_good_bye(version: int) -> None:
    async with site() as it:
        lost = await it.a_gateway(version, will=OFFLINE)
        lost.drop()
        await soon(lambda: it.statuses.heard_of, "the will is kept")
        polite = await it.a_gateway(version, "gw-2", will=Will("energy/v1/gw-2/status", OFFLINE.payload))
        polite.say(Disconnect())
        await polite.closed()
        assert it.statuses.heard_of == [("gw-1", "offline")]
        if version == V5:
            wilful = await it.a_gateway(version, will=OFFLINE)
            wilful.say(Disconnect(Reason.DISCONNECT_WITH_WILL))
            await soon(lambda: len(it.statuses.heard_of) == 2, "the will is spoken when asked for")


async def test_a_will_may_hold_readings() -> None:
    async with site() as it:
        gateway = await it.a_gateway(will=Will(DATA, a_message(0)))
        gateway.drop()
        await soon(lambda: len(it.ledger.readings) == 1, "the readings are stored")


@pytest.mark.parametrize("topic", ["energy/v1/gw-2/status", ACK, "else"])
async def test_a_will_on_a_foreign_topic_is_refused(topic: str) -> None:
    async with site() as it:
        client = await it.a_client()
        answer = await client.greet("gw-1", SECRET, will=Will(topic, b"{}"))
        assert answer.reason == Reason.NOT_AUTHORIZED
        twice = await it.a_client()
        assert (await twice.greet("gw-1", SECRET, will=Will(STATUS, b"{}", 2))).reason == Reason.QOS_NOT_SUPPORTED


@BOTH
async def test_a_second_connection_takes_over_and_no_will_is_spoken(version: int) -> None:
    async with site() as it:
        first = await it.a_gateway(version, will=OFFLINE)
        second = await it.a_gateway(version, will=OFFLINE)
        await first.closed()
        assert first.farewell == (Reason.TAKEN_OVER if version == V5 else None)
        second.say(publish(1, a_message(0)))
        await soon(lambda: second.acknowledged, "the second one is at work")
        assert counted(it.measured, "listener_gateways") == 1
    assert it.statuses.heard_of == []


async def test_silence_of_one_and_a_half_keep_alives_ends_the_connection() -> None:
    async with site() as it:
        gateway = await it.a_gateway(keep_alive_s=10, will=OFFLINE)
        it.later(14)
        gateway.say(PingReq())
        await gateway.first(PingResp)
        it.later(14.9)
        await _looked(it)
        assert not gateway.ended
        it.later(0.2)
        await gateway.closed()
        assert gateway.farewell == Reason.KEEP_ALIVE_TIMEOUT
    assert it.statuses.heard_of == [("gw-1", "offline")]


async def _looked(it: Site) -> None:
    """The door has looked at all connections once more: somebody who was over time is gone."""
    late = await it.a_client()
    for connection in it.door._all:
        if connection.stage.name == "GREETING":
            connection.began_s -= 1000
    await late.closed()


async def test_who_does_not_log_in_or_does_not_finish_a_packet_is_sent_away() -> None:
    async with site() as it:
        silent, slow = await it.a_client(), await it.a_gateway()
        slow.raw(encode(publish(1, a_message(0)), V5)[:20])
        await soon(lambda: any(one._reader.begun for one in it.door._all), "the beginning came")
        it.later(11)
        await silent.closed()
        assert silent.heard == []
        it.later(25)
        slow.raw(b"x")
        it.later(25)
        await slow.closed()
        assert slow.farewell == Reason.KEEP_ALIVE_TIMEOUT


@pytest.mark.parametrize(
    ("garbage", "reason"),
    [
        (b"\xff" * 50, Reason.PROTOCOL_ERROR),
        (b"GET / HTTP/1.1\r\n\r\n", Reason.PROTOCOL_ERROR),
        (b"\x32\x03\x00\x05ab", Reason.MALFORMED_PACKET),
        (b"\x30\x80\x80\x80\x80\x01", Reason.MALFORMED_PACKET),
    ],
)
async def test_garbage_ends_its_own_connection_and_no_other(garbage: bytes, reason: Reason) -> None:
    async with site() as it:
        other, gateway, stranger = await it.a_gateway(name="gw-2"), await it.a_gateway(), await it.a_client()
        gateway.say(publish(1, a_message(0)))
        gateway.raw(garbage)
        stranger.raw(garbage + bytes(300_000))
        await gateway.closed()
        await stranger.closed()
        assert gateway.farewell in (reason, Reason.MALFORMED_PACKET)
        assert stranger.heard == []
        other.say(PingReq())
        await other.first(PingResp)
        await soon(lambda: len(it.ledger.readings) == 1, "what came before the garbage is stored")


async def test_another_version_is_told_which_there_are() -> None:
    async with site() as it:
        client = await it.a_client(V311)
        client.raw(b"\x10\x0e\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x00")
        assert (await client.first(ConnAck)).reason == 1
        await client.closed()


async def test_a_packet_larger_than_agreed_is_refused_before_it_is_there() -> None:
    async with site(Bounds(packet_max_bytes=1000)) as it:
        gateway = await it.a_gateway()
        gateway.raw(encode(publish(1, bytes(2000)), V5)[:10])
        await gateway.closed()
        assert gateway.farewell == Reason.PACKET_TOO_LARGE
        client = await it.a_client()
        client.raw(b"\x10\xff\xff\x7f")
        await client.closed()


async def test_more_connections_than_there_may_be_are_turned_away() -> None:
    async with site(Bounds(connections_max=2)) as it:
        first, second = await it.a_gateway(), await it.a_gateway(name="gw-2")
        third = await it.a_client()
        await third.closed()
        assert it.ends("crowded") == 1
        first.say(Disconnect())
        await first.closed()
        await it.a_gateway()
        assert not second.ended


async def test_a_crowd_that_never_logs_in_keeps_no_gateway_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "STRANGERS_MAX", 20)
    async with site(Bounds(connections_max=30)) as it:
        here = await it.a_gateway(name="gw-2")
        crowd = [await it.a_client() for _ in range(60)]
        await soon(lambda: it.ends("crowded_out") == 40, "the older ones made room")
        await it.a_gateway()
        assert not here.ended
        await soon(lambda: sum(one.ended for one in crowd) >= 40, "they are gone")
        assert all(one.ended for one in crowd[:40])


async def test_a_crowd_that_never_shakes_hands_keeps_no_gateway_out(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With TLS nobody is a gateway before the handshake is done, and a socket that says nothing never does it."""
    monkeypatch.setattr(listener, "STRANGERS_MAX", 20)
    async with site(Bounds(connections_max=30), at=certificates.at(with_clients=False)) as it:
        here = await it.a_client(V5, certificates.client())
        assert (await here.greet("gw-2", "secret of gw-2")).reason == 0
        crowd = [await it.a_client() for _ in range(60)]
        await soon(lambda: it.ends("crowded_out") == 40, "the older ones made room")
        late = await it.a_client(V5, certificates.client())
        assert (await late.greet("gw-1", SECRET)).reason == 0
        await soon(lambda: all(one.ended for one in crowd[:40]), "they are gone")
        crowd[-1].raw(b"GET / HTTP/1.1\r\n\r\n")
        await soon(lambda: it.ends("no_handshake") == 1, "what is no handshake is counted")
        assert not here.ended


async def test_a_greeting_is_no_place_to_keep_things() -> None:
    async with site() as it:
        gateway, stranger = await it.a_client(), await it.a_client()
        will = Will(DATA, bytes(65_000), 1, False, {})
        assert (await gateway.greet("gw-1", SECRET, will=will)).reason == 0
        stranger.raw(b"\x10" + varying(100_000) + b"\x00\x04MQTT\x05")
        await stranger.closed()


# Room -----------------------------------------------------------------------------------------------------------------


async def test_a_gateway_of_mqtt_5_keeps_to_its_window() -> None:
    async with site(Bounds(window=10)) as it:
        gateway = await it.a_gateway()
        it.ledger.open.clear()
        gateway.say(*(publish(minute + 1, a_message(minute)) for minute in range(10)))
        await soon(lambda: it.pipeline.pending_rows == 10, "the window is full")
        gateway.say(publish(11, a_message(11)))
        it.ledger.open.set()
        await soon(lambda: len(gateway.acknowledged) >= 10, "the window is acknowledged")


async def test_a_window_that_is_overrun_at_once_ends_the_connection() -> None:
    async with site(Bounds(window=10)) as it:
        it.ledger.open.clear()
        gateway = await it.a_gateway()
        gateway.say(*(publish(minute + 1, a_message(minute)) for minute in range(11)))
        await gateway.closed()
        assert gateway.farewell == Reason.RECEIVE_MAXIMUM_EXCEEDED


async def test_a_gateway_of_mqtt_311_is_not_read_beyond_its_window_and_loses_nothing() -> None:
    async with site(Bounds(window=10)) as it:
        gateway = await it.a_gateway(V311)
        it.ledger.open.clear()
        count = 20_000
        for first in range(0, count, 1000):
            gateway.say(*(publish(n % 60_000 + 1, a_message(n - count)) for n in range(first, first + 1000)))
        await soon(lambda: it.pipeline.pending_rows >= 10, "the window is full")
        sending = asyncio.create_task(gateway.flushed())
        for _ in range(20):
            other = await it.a_gateway(name="gw-2")
            other.say(PingReq())
            await other.first(PingResp)
        assert it.pipeline.pending_rows < count / 4, "the rest waits in the socket"
        it.ledger.open.set()
        await soon(lambda: len(gateway.acknowledged) == count, "all are acknowledged", deadline_s=120)
        await sending
    assert [number for number, _ in gateway.acknowledged] == [n % 60_000 + 1 for n in range(count)]
    assert len(it.ledger.readings) == count


async def test_nobody_is_read_while_too_much_waits() -> None:
    async with site(limits=Limits(pending_max_rows=5)) as it:
        gateway, other = await it.a_gateway(), await it.a_gateway(name="gw-2")
        it.ledger.open.clear()
        gateway.say(*(publish(minute + 1, a_message(minute)) for minute in range(5)))
        await soon(lambda: it.pipeline.crowded, "too much waits")
        foreign = json.dumps({"v": 1, "rows": [["S001", minutes_after(0), 1.0]]}).encode()
        other.say(publish(1, foreign, topic="energy/v1/gw-2/data"))
        await soon(lambda: it.pipeline.pending_rows == 6, "the first message still came in")
        other.say(publish(2, foreign, topic="energy/v1/gw-2/data"))
        it.ledger.open.set()
        await soon(lambda: len(gateway.acknowledged) == 5 and len(other.acknowledged) == 2, "all are acknowledged")


# What is pure ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "topic", "fits"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a/c", False),
        ("a/+", "a/b", True),
        ("a/+", "a/b/c", False),
        ("a/#", "a/b/c", True),
        ("a/#", "a", True),
        ("#", "a/b", True),
        ("+/b", "a/b", True),
        ("a/b/c", "a/b", False),
        ("a", "a/b", False),
    ],
)
def test_a_filter_takes_in_its_topics(pattern: str, topic: str, fits: bool) -> None:
    assert matches(pattern, topic) is fits


@pytest.mark.parametrize(
    ("pattern", "sound"),
    [("a/+/b", True), ("#", True), ("a/#", True), ("", False), ("a#", False), ("#/a", False), ("a+/b", False)],
)
def test_wildcards_stand_alone(pattern: str, sound: bool) -> None:
    assert is_filter(pattern) is sound


def test_addresses_are_read() -> None:
    assert read_address("127.0.0.1:1883") == ("127.0.0.1", 1883, False)
    assert read_address("mqtt://0.0.0.0") == ("0.0.0.0", 1883, False)
    assert read_address("mqtts://[::1]:9999") == ("::1", 9999, True)
    for wrong in ("http://x:1", "mqtt://", "mqtt://x:99999", "mqtt://x/path", ":1883", "mqtt://x?cert=y"):
        with pytest.raises(ValueError, match=r"mqtt://|Port"):
            read_address(wrong)
