"""Whether a broker can lose messages that it has acknowledged: what its greeting tells, and what an experiment shows.

A broker answers a gateway's message before we have it. While we are away, or slower than the gateways, it keeps what
it has acknowledged only as far as its limits go, and drops the rest without a word: Mosquitto by default all but 1,000
messages a client. MQTT has no way to ask for that limit, so a client of our own goes away, has messages sent to it, and
counts what it finds on its return. What cannot be seen that way is said to be unseen. And whether the broker keeps
gateways apart: lets in nobody without a name, and takes accounts from us.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from ingest.metrics import IngestMetrics
from ingest.packet import (
    V5,
    Ack,
    ConnAck,
    Connect,
    Disconnect,
    Kind,
    Packet,
    PacketReader,
    Property,
    Publish,
    SubAck,
    Subscribe,
    encode,
)
from ingest.wire import ROOT

log = logging.getLogger(__name__)

MESSAGES = 2000
"""Sent to a client that is away: twice what Mosquitto keeps by default, and too little to be felt."""
AT_ONCE = 20
"""In flight to the broker at a time: what any broker takes."""
SESSION_S = 7 * 86_400
"""How long the service wants the broker to keep its messages while it is away."""
LEFTOVER_S = 60
"""What an experiment that broke off leaves behind is gone after so many seconds."""
ANSWER_WITHIN_S = 10.0
QUIET_S = 2.0
RETRY_S = 30.0
PACKET_LEAST = 256 * 1024
CONTROL = "$CONTROL/dynamic-security/v1"
HARMLESS = b'{"commands":[{"command":"getDefaultACLAccess"}]}'
DEFAULT_PORTS = {"mqtt": 1883, "mqtts": 8883}
UNSEEN = (
    "cannot be seen from outside: whether queues survive a crash of the broker (Mosquitto: persistence true, "
    "autosave_on_changes) and how many bytes they may hold (max_queued_bytes); deploy/mosquitto/mosquitto.conf shows "
    "them. A gateway that needs certainty waits for the receipt or uses the service's own listener"
)


class CheckFailed(Exception):
    """The broker could not be looked at. The text says why."""


@dataclass(frozen=True, slots=True)
class Weakness:
    """Something by which acknowledged messages can be lost or sent in vain, and the setting that mends it."""

    what: str
    mend: str

    def __str__(self) -> str:
        return f"{self.what}; {self.mend}"


@dataclass(frozen=True, slots=True)
class Experiment:
    """Of so many acknowledged messages to a client that was away, so many came; and whether its session was kept."""

    acknowledged: int
    came: int
    session_kept: bool


def judge_greeting(greeting: ConnAck) -> list[Weakness]:
    """What the CONNACK to a client that asks for SESSION_S and QoS 1 gives away (MQTT 5.0, 3.2.2.3)."""
    told = greeting.properties
    found: list[Weakness] = []
    if told.get(Property.MAXIMUM_QOS, 2) < 1:
        found.append(Weakness("the broker takes no QoS 1: it acknowledges nothing", "Mosquitto: max_qos 1 or 2"))
    kept_s = told.get(Property.SESSION_EXPIRY_S, SESSION_S)
    if kept_s < SESSION_S:
        found.append(
            Weakness(
                f"the broker keeps a session {kept_s} s after its client left, not {SESSION_S} s",
                "Mosquitto: persistent_client_expiration, unset or at least 7d",
            )
        )
    packet_max = told.get(Property.MAXIMUM_PACKET_SIZE)
    if packet_max is not None and packet_max < PACKET_LEAST:
        found.append(
            Weakness(
                f"the broker takes packets up to {packet_max} bytes only: a gateway that sends more is cut off",
                f"Mosquitto: max_packet_size at least {PACKET_LEAST}",
            )
        )
    if not told.get(Property.WILDCARDS_AVAILABLE, 1):
        found.append(
            Weakness(
                "the broker has no wildcard subscriptions", "set TCEWATCH_INGEST_PARTITION=1/1, or change the broker"
            )
        )
    return found


def judge_experiment(seen: Experiment) -> list[Weakness]:
    """What the experiment says of sessions and queues."""
    if not seen.session_kept:
        return [
            Weakness(
                "the broker forgets a client that is away: what comes meanwhile is lost",
                "allow persistent sessions (MQTT 5 Session Expiry) for the service's account",
            )
        ]
    if seen.came < seen.acknowledged:
        return [
            Weakness(
                f"of {seen.acknowledged} messages acknowledged for a client that was away {seen.came} came",
                "Mosquitto: max_queued_messages 2000000 (or 0) and max_queued_bytes 4294967296; "
                "other brokers: the length of a session's queue",
            )
        ]
    return []


def judge_rights(lets_in_anybody: bool, takes_accounts: bool) -> list[Weakness]:
    """Whether a gateway's topic is its own at this broker."""
    found: list[Weakness] = []
    if lets_in_anybody:
        found.append(
            Weakness(
                "the broker lets in clients without a name: anybody can send readings in any gateway's name",
                "Mosquitto: allow_anonymous false",
            )
        )
    if not takes_accounts:
        found.append(
            Weakness(
                "the broker takes no accounts from us: gateways cannot be created",
                "Mosquitto: plugin mosquitto_dynamic_security.so, as in deploy/mosquitto/mosquitto.conf",
            )
        )
    return found


# The experiment -------------------------------------------------------------------------------------------------------


class Wire:
    """One connection of the experiment: packets out, packets in."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._packets = PacketReader(V5)
        self._read: list[Packet] = []

    async def send(self, *packets: Packet) -> None:
        self._writer.write(b"".join(encode(packet, V5) for packet in packets))
        await self._writer.drain()

    async def next(self, within_s: float = ANSWER_WITHIN_S) -> Packet:
        """Raises TimeoutError, or CheckFailed when the broker closes the connection or says what is no packet."""
        async with asyncio.timeout(within_s):
            while not self._read:
                data = await self._reader.read(65_536)
                if not data:
                    raise CheckFailed("the broker closed the connection")
                self._read = self._packets.feed(data)
                if self._packets.error is not None:
                    raise CheckFailed(f"the broker's answer cannot be read: {self._packets.error}")
        return self._read.pop(0)

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError, ssl.SSLError):
            await self._writer.wait_closed()


@asynccontextmanager
async def connected(url: str, connect: Connect, ca_file: str | None) -> AsyncIterator[tuple[Wire, ConnAck]]:
    """A connection that was greeted. Raises OSError, TimeoutError, CheckFailed."""
    parts = urlsplit(url)
    context = ssl.create_default_context(cafile=ca_file) if parts.scheme == "mqtts" else None
    async with asyncio.timeout(ANSWER_WITHIN_S):
        reader, writer = await asyncio.open_connection(
            parts.hostname, parts.port or DEFAULT_PORTS.get(parts.scheme, 1883), ssl=context
        )
    wire = Wire(reader, writer)
    try:
        await wire.send(connect)
        greeting = await wire.next()
        if not isinstance(greeting, ConnAck):
            raise CheckFailed("the broker does not greet in MQTT 5")
        if greeting.reason:
            raise CheckFailed(f"the broker refuses the log-in with reason {greeting.reason:#x}")
        yield wire, greeting
    finally:
        await wire.close()


async def examine(url: str, *, ca_file: str | None = None, messages: int = MESSAGES) -> list[Weakness]:
    """Look at a broker with the service's account; leaves nothing there. Raises CheckFailed."""
    try:
        return await Examination(url, ca_file).run(messages)
    except (OSError, TimeoutError, ValueError) as error:
        raise CheckFailed(str(error) or type(error).__name__) from error


class Examination:
    """One look, under a client id of its own. What it leaves when it breaks off the broker forgets after LEFTOVER_S."""

    def __init__(self, url: str, ca_file: str | None) -> None:
        parts = urlsplit(url)  # a port that is no number shows when it is used
        self._url = url
        self._ca_file = ca_file
        self._username = None if parts.username is None else unquote(parts.username)
        self._password = None if parts.password is None else unquote(parts.password).encode()
        self._name = f"tcewatch-check-{secrets.token_hex(6)}"

    async def run(self, messages: int) -> list[Weakness]:
        topic = f"{ROOT}/{self._name}/check"
        async with self._connected(session_s=SESSION_S) as (_, greeting):
            found = judge_greeting(greeting)
        found += judge_rights(await self._lets_in_anybody(), await self._takes_accounts())
        if greeting.properties.get(Property.MAXIMUM_QOS, 2) < 1:
            await self._forgotten()
            return found  # the experiment needs what this broker does not have
        async with self._connected(session_s=LEFTOVER_S) as (wire, _):
            await _subscribe(wire, topic)
        async with self._connected("-sender", session_s=0) as (wire, _):
            acknowledged = await _publish(wire, topic, messages)
        async with self._connected(session_s=LEFTOVER_S, clean=False) as (wire, greeting):
            came = await _count(wire, acknowledged) if greeting.session_present else 0
        await self._forgotten()
        return found + judge_experiment(Experiment(acknowledged, came, greeting.session_present))

    async def _lets_in_anybody(self) -> bool:
        login = Connect(V5, f"{self._name}-nobody", True, 60, None, None)
        try:
            async with connected(self._url, login, self._ca_file) as (wire, _):
                await wire.send(Disconnect())
        except CheckFailed:
            return False
        return True

    async def _takes_accounts(self) -> bool:
        """Ask the dynamic-security plugin something harmless; who has none does not answer."""
        async with self._connected("-accounts", session_s=0) as (wire, _):
            await wire.send(Subscribe(1, ((f"{CONTROL}/response", 0),)), Publish(CONTROL, HARMLESS))
            try:
                while True:
                    packet = await wire.next(QUIET_S)
                    if isinstance(packet, Publish) and b"getDefaultACLAccess" in packet.payload:
                        return b'"error"' not in packet.payload
            except TimeoutError:
                return False

    async def _forgotten(self) -> None:
        """A clean start without a session: the broker keeps nothing of the name."""
        async with self._connected(session_s=0):
            pass

    @asynccontextmanager
    async def _connected(
        self, suffix: str = "", *, session_s: int, clean: bool = True
    ) -> AsyncIterator[tuple[Wire, ConnAck]]:
        properties: dict[int, int] = {Property.SESSION_EXPIRY_S: session_s, Property.RECEIVE_MAXIMUM: 65_535}
        login = Connect(V5, self._name + suffix, clean, 60, self._username, self._password, None, properties)
        async with connected(self._url, login, self._ca_file) as (wire, greeting):
            yield wire, greeting
            await wire.send(Disconnect())


async def _subscribe(wire: Wire, topic: str) -> None:
    await wire.send(Subscribe(1, ((topic, 1),)))
    answer = await wire.next()
    if not isinstance(answer, SubAck) or answer.reasons[0] >= 0x80:
        raise CheckFailed(f"the service's account may not subscribe to {topic}")


async def _publish(wire: Wire, topic: str, messages: int) -> int:
    """How many the broker has acknowledged and taken for somebody."""
    acknowledged = sent = answered = 0
    while answered < messages:
        some = range(sent, min(messages, answered + AT_ONCE))
        if some:
            await wire.send(*(Publish(topic, b"%d" % number, 1, number % 65_535 + 1) for number in some))
            sent = some.stop
        answer = await wire.next()
        if isinstance(answer, Ack) and answer.kind is Kind.PUBACK:
            answered += 1
            acknowledged += answer.reason == 0
    if not acknowledged:
        raise CheckFailed(f"the service's account may not publish on {topic}")
    return acknowledged


async def _count(wire: Wire, expected: int) -> int:
    """Messages that come until all are there or it is quiet, each counted once."""
    numbers: set[bytes] = set()
    while len(numbers) < expected:
        try:
            packet = await wire.next(QUIET_S)
        except TimeoutError:
            break
        if isinstance(packet, Publish):
            numbers.add(packet.payload)
            await wire.send(Ack(Kind.PUBACK, packet.packet_id))
    return len(numbers)


class BrokerCheck:
    """Looks once after the start, as soon as the broker answers, and keeps what it found for those who ask."""

    def __init__(self, url: str, *, metrics: IngestMetrics) -> None:
        self._url = url
        self._metrics = metrics
        self.weaknesses: Sequence[Weakness] = ()

    async def run(self, until: asyncio.Event) -> None:
        """Until it was done once, or told to stop."""
        while not until.is_set():
            try:
                self.weaknesses = await examine(self._url)
            except Exception as error:  # noqa: BLE001  # a broker that behaves oddly is no reason to stop
                log.info("broker not examined yet", extra={"why": str(error)})
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(until.wait(), RETRY_S)
            else:
                self._metrics.broker_weaknesses.set(len(self.weaknesses))
                for weakness in self.weaknesses:
                    log.warning(
                        "this broker can lose what it acknowledged, or mix up who sent it",
                        extra={"what": weakness.what, "mend": weakness.mend},
                    )
                log.info("broker examined", extra={"weaknesses": len(self.weaknesses), "unseen": UNSEEN})
                return
