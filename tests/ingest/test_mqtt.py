"""The broker door against a real broker: receipts after the commit, nothing acknowledged before, rights kept."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

import pytest
from paho.mqtt import client as paho
from paho.mqtt.enums import MQTTProtocolVersion

from ingest.accounts import BrokerAccounts, BrokerRefused, NameReserved
from ingest.batch import Group
from ingest.metrics import IngestMetrics
from ingest.mqtt import BrokerDoor, BrokerLink, BrokerUnavailable
from ingest.pipeline import LedgerUnavailable, Limits, Pipeline
from ingest.wire import resend
from tests.ingest.fakes import FakeLedger, FakeRegistry, Statuses, a_registry, counted, metrics
from tests.ingest.gateway import Gateway, a_wire
from tests.ingest.messages import T0, minutes_after
from tests.wait import soon

SECRET = "a secret of the gateway"


@dataclass
class Site:
    """The service's side of the broker, with fakes behind it, and gateways on the other side."""

    url: str
    ledger: FakeLedger
    registry: FakeRegistry
    statuses: Statuses
    measured: IngestMetrics
    pipeline: Pipeline
    link: BrokerLink
    door: BrokerDoor
    accounts: BrokerAccounts
    gateways: list[Gateway] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    async def a_gateway(self, protocol: MQTTProtocolVersion = paho.MQTTv5) -> Gateway:
        """A new gateway with meter E001, its account in the broker, connected and listening to its own topics."""
        name = f"t-{secrets.token_hex(6)}"
        self.names.append(name)
        self.registry.gateway(name, enterprise=name)
        self.registry.meter("E001", name)
        await self.accounts.put(name, SECRET)
        gateway = self.connect(name, protocol=protocol)
        await soon(lambda: gateway.connected, "the gateway is connected")
        assert await gateway.subscribe(f"energy/v1/{name}/#" if protocol == paho.MQTTv5 else f"energy/v1/{name}/ack")
        return gateway

    def connect(
        self, name: str, secret: str = SECRET, protocol: MQTTProtocolVersion = paho.MQTTv5, client_id: str = ""
    ) -> Gateway:
        gateway = Gateway(name, secret, self.url, protocol, client_id)
        self.gateways.append(gateway)
        return gateway

    def stored_of(self, gateway: Gateway) -> int:
        meter = self.registry.meters[gateway.name]["E001"].meter_id
        return sum(number == meter for number, _ in self.ledger.readings)


@contextlib.asynccontextmanager
async def site(
    url: str,
    client_id: str | None = None,
    *,
    seen_by: str | None = None,
    registry: FakeRegistry | None = None,
    limits: Limits | None = None,
) -> AsyncIterator[Site]:
    """`seen_by` is the address of the broker as the service reaches it, when there is a wire between."""
    ledger, statuses, measured, stop = FakeLedger(), Statuses(), metrics(), asyncio.Event()
    registry = registry or a_registry()
    pipeline = Pipeline(ledger, registry, metrics=measured, limits=limits)
    name = client_id or f"t-ingest-{secrets.token_hex(4)}"
    link = BrokerLink(seen_by or url, client_id=name, metrics=measured, session_expiry_s=120)
    door = BrokerDoor(link, pipeline, statuses, metrics=measured)
    it = Site(url, ledger, registry, statuses, measured, pipeline, link, door, BrokerAccounts(link))
    async with asyncio.TaskGroup() as tasks:
        for part in (pipeline, link, door):
            tasks.create_task(part.run(stop))
        try:
            await soon(lambda: link.connected, "the service is connected")
            yield it
            for used in it.names:
                await it.accounts.remove(used)
        finally:
            for gateway in it.gateways:
                gateway.leave()
            stop.set()


def a_message(minute: int, seq: int | None = None, value: float = 1.0) -> dict[str, object]:
    message: dict[str, object] = {"v": 1, "rows": [["E001", minutes_after(minute), value]]}
    return message if seq is None else {**message, "seq": seq}


@pytest.mark.parametrize("protocol", [paho.MQTTv5, paho.MQTTv311])
async def test_the_receipt_comes_after_the_commit(broker_url: str, protocol: MQTTProtocolVersion) -> None:
    async with site(broker_url) as it:
        gateway = await it.a_gateway(protocol)
        it.ledger.open.clear()
        sent = gateway.publish("data", a_message(0, seq=7))
        await soon(lambda: gateway.acknowledged.get(sent), "the broker has the message")
        await soon(lambda: it.ledger.attempts > 0, "the commit is under way")
        assert gateway.receipts() == []
        assert it.door.unacknowledged > 0
        it.ledger.open.set()
        await soon(gateway.receipts, "the receipt is there")
        await soon(lambda: it.door.unacknowledged == 0, "the message is acknowledged")
    assert gateway.receipts() == [{"seq": 7, "stored": 1, "duplicate": 0, "revised": 0, "rejected": []}]


async def test_the_receipt_goes_where_the_gateway_wants_it_with_its_correlation(broker_url: str) -> None:
    async with site(broker_url) as it:
        gateway = await it.a_gateway()
        own = f"energy/v1/{gateway.name}/answers"
        gateway.publish("data", a_message(0), ResponseTopic=own, CorrelationData=b"\x00seven")
        await soon(lambda: [heard for heard in gateway.heard if heard[0] == own], "the receipt is there")
        gateway.publish("data", a_message(1), ResponseTopic="energy/v1/somebody-else/ack", CorrelationData=b"8")
        await soon(gateway.receipts, "the receipt for a foreign topic came on our own")
    correlations = {topic: correlation for topic, _, correlation in gateway.heard}
    assert correlations == {own: b"\x00seven", f"energy/v1/{gateway.name}/ack": b"8"}


async def test_csv_and_rubbish_are_answered(broker_url: str) -> None:
    async with site(broker_url) as it:
        gateway = await it.a_gateway()
        gateway.publish("data", f"meter,ts,value\nE001,{T0},5\n", ContentType="text/csv")
        gateway.publish("data", b"\xff\x00rubbish")
        gateway.publish("data", b"")
        gateway.publish("data", a_message(3), qos=0)
        await soon(lambda: len(gateway.receipts()) == 4, "all four are answered")
        await soon(lambda: it.door.unacknowledged == 0, "all are acknowledged")
    codes = [[refusal["code"] for refusal in receipt["rejected"]] for receipt in gateway.receipts()]
    assert codes == [[], ["malformed"], ["malformed"], []]


async def test_nothing_is_acknowledged_while_the_ledger_is_down_and_all_of_it_after(broker_url: str) -> None:
    async with site(broker_url) as it:
        gateway = await it.a_gateway()
        it.ledger.trouble = lambda group: LedgerUnavailable("gone")
        for minute in range(300):
            gateway.publish("data", a_message(minute, seq=minute))
        await soon(lambda: it.ledger.attempts >= 2 and it.door.unacknowledged >= 300, "all wait")
        assert gateway.receipts() == []
        it.ledger.trouble = lambda group: None
        await soon(lambda: len(gateway.receipts()) == 300, "all are answered")
        await soon(lambda: it.door.unacknowledged == 0, "all are acknowledged")
    assert [receipt["seq"] for receipt in gateway.receipts()] == list(range(300))
    assert it.stored_of(gateway) == 300


async def test_the_broker_is_not_read_while_too_much_waits(broker_url: str) -> None:
    async with site(broker_url, limits=Limits(pending_max_rows=10)) as it:
        gateway = await it.a_gateway()
        it.ledger.open.clear()
        for minute in range(10):
            gateway.publish("data", a_message(minute))
        await soon(lambda: it.pipeline.crowded, "as much waits as may")
        waiting = it.pipeline.pending_rows
        for minute in range(10, 60):
            gateway.publish("data", a_message(minute))
        await soon(lambda: len(gateway.acknowledged) == 60, "the broker has all of it")
        assert it.pipeline.pending_rows == waiting
        it.ledger.open.set()
        await soon(lambda: it.stored_of(gateway) == 60, "all is stored")
        await soon(lambda: it.door.unacknowledged == 0, "all are acknowledged")


async def test_a_cut_wire_loses_nothing_and_stores_nothing_twice(broker_url: str) -> None:
    async with a_wire(broker_url) as wire, site(broker_url, seen_by=wire.url) as it:
        gateway = await it.a_gateway()
        it.ledger.open.clear()
        for minute in range(200):
            gateway.publish("data", a_message(minute, seq=minute))
        await soon(lambda: it.door.unacknowledged >= 200, "all came in")
        wire.cut()
        await soon(lambda: not it.link.connected, "the service noticed")
        it.ledger.open.set()
        await soon(lambda: it.stored_of(gateway) == 200, "what had come in is committed")
        stale = counted(it.measured, "stale_acks_total")
        wire.mend()
        await soon(lambda: it.link.connected and len(gateway.receipts()) == 200, "the broker sent all of it again")
        await soon(lambda: it.door.unacknowledged == 0, "all are acknowledged")
    assert it.stored_of(gateway) == 200
    assert {receipt["duplicate"] for receipt in gateway.receipts()} == {1}
    assert stale == 0, "the line was emptied only by the new connection"


async def test_what_was_sent_while_the_service_was_away_is_there_when_it_is_back(broker_url: str) -> None:
    client_id = f"t-ingest-{secrets.token_hex(4)}"
    async with site(broker_url, client_id) as first:
        gateway = await first.a_gateway()
        first.names.clear()
        first.gateways.clear()
    for minute in range(50):
        gateway.publish("data", a_message(minute, seq=minute))
    await soon(lambda: len(gateway.acknowledged) == 50, "the broker has all of it")
    async with site(broker_url, client_id, registry=first.registry) as second:
        second.names.append(gateway.name)
        await soon(lambda: second.stored_of(gateway) == 50, "all is stored")
        await soon(lambda: len(gateway.receipts()) == 50, "all is answered")
        gateway.leave()


async def test_a_gateway_keeps_to_its_own_topics(broker_url: str) -> None:
    async with site(broker_url) as it:
        one, other = await it.a_gateway(), await it.a_gateway()
        foreign = one.publish("", a_message(0), topic=f"energy/v1/{other.name}/data")
        as_service = one.publish("ack", {"seq": 1})
        await soon(lambda: len(one.acknowledged) == 2, "the broker answered")
        assert not one.acknowledged[foreign]
        assert not one.acknowledged[as_service]
        assert not await one.subscribe(f"energy/v1/{other.name}/ack")
        assert not await one.subscribe("energy/v1/+/data")
        assert not await one.subscribe("#")
        wrong = it.connect(one.name, secret="wrong")
        await soon(lambda: wrong.refused, "a wrong secret is refused")
        under_another_id = it.connect(one.name, client_id="somebody")
        await soon(lambda: under_another_id.refused, "another client id is refused")
    assert it.stored_of(other) == 0


async def test_accounts_change_at_once(broker_url: str) -> None:
    async with site(broker_url) as it:
        gateway = await it.a_gateway()
        await it.accounts.put(gateway.name, "another secret")
        old = it.connect(gateway.name)
        await soon(lambda: old.refused, "the old secret is refused")
        new = it.connect(gateway.name, "another secret")
        await soon(lambda: new.connected, "the new secret lets in")
        await it.accounts.disable(gateway.name)
        await soon(lambda: not new.connected, "who was in is thrown out")
        locked = it.connect(gateway.name, "another secret")
        await soon(lambda: locked.refused, "nobody gets in")
        await it.accounts.enable(gateway.name)
        again = it.connect(gateway.name, "another secret")
        await soon(lambda: again.connected, "it may come again")
        await it.accounts.remove(gateway.name)
        await soon(lambda: not again.connected, "who was in is thrown out")
        await it.accounts.remove(gateway.name)
        with pytest.raises(BrokerRefused, match="not found"):
            await it.accounts.enable(gateway.name)


async def test_status_and_last_will_are_kept(broker_url: str) -> None:
    async with site(broker_url) as it:
        gateway = await it.a_gateway()
        it.statuses.trouble = True
        gateway.publish("status", {"state": "online"})
        gateway.publish("status", b"")
        gateway.publish("status", {"state": "sleepy"})
        await soon(lambda: counted(it.measured, "status_messages_total", state="online") == 1, "it came in")
        assert it.door.unacknowledged > 0
        it.statuses.trouble = False
        await soon(lambda: (gateway.name, "online") in it.statuses.heard_of, "it is kept")
        gateway.drop()
        await soon(lambda: (gateway.name, "offline") in it.statuses.heard_of, "the will is kept")
        await soon(lambda: it.door.unacknowledged == 0, "all are acknowledged")


async def test_a_command_reaches_the_gateway(broker_url: str) -> None:
    async with site(broker_url) as it:
        gateway = await it.a_gateway()
        await it.door.command(gateway.name, resend(5, 9))
        topic = f"energy/v1/{gateway.name}/cmd"
        await soon(lambda: [body for where, body, _ in gateway.heard if where == topic], "it is heard")
    assert [body for where, body, _ in gateway.heard if where == topic] == [{"resend": [5, 9]}]


async def test_a_poisonous_message_does_not_stop_the_others(broker_url: str) -> None:
    def poisoned(group: Group) -> Exception | None:
        return ValueError("what is this") if bool((group.rows.value == 666).any()) else None

    async with site(broker_url) as it:
        gateway = await it.a_gateway()
        it.ledger.trouble = poisoned
        for minute in range(20):
            gateway.publish("data", a_message(minute, seq=minute, value=666 if minute == 7 else 1))
        await soon(lambda: len(gateway.receipts()) == 20, "all are answered")
        await soon(lambda: it.door.unacknowledged == 0, "all are acknowledged")
    assert [receipt["seq"] for receipt in gateway.receipts() if receipt["rejected"]] == [7]


async def test_without_a_broker_the_link_goes_on_trying_and_says_so() -> None:
    measured, stop = metrics(), asyncio.Event()
    link = BrokerLink("mqtt://127.0.0.1:9", client_id="t-nobody", metrics=measured)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(link.run(stop))
        with pytest.raises(BrokerUnavailable):
            await link.publish("energy/v1/gw-1/cmd", b"{}")
        assert counted(measured, "broker_connected") == 0
        stop.set()


@pytest.mark.parametrize("url", ["http://127.0.0.1:1883", "mqtt://", "127.0.0.1:1883"])
def test_an_address_that_is_none_is_said_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="mqtt://user:password@host:port"):
        BrokerLink(url, client_id="t", metrics=metrics())


async def test_no_gateway_can_take_the_services_own_account(broker_url: str) -> None:
    async with site(broker_url) as it:
        own = unquote(urlsplit(broker_url).username or "")
        with pytest.raises(NameReserved):
            await it.accounts.put(own, "another secret")
