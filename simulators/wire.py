"""How a gateway in the field delivers: it keeps every message until the service's receipt for it has come.

Two doors with one way of use. Over MQTT the broker's own acknowledgement proves nothing (the broker has the message,
not the ledger), so a message is sent again until its receipt arrives on `energy/v1/{gateway}/ack`. Over HTTP the answer
is the receipt, and 429 and 503 mean: later, nothing was kept.
"""

import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import httpx2
import msgspec
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from simulators.message import Message, Packing

Receipt = dict[str, Any]
OnReceipt = Callable[[Message, Receipt], None]
OnResend = Callable[[int, int], None]

RESEND_AFTER_S = 15.0
SENT_KEPT = 1000
"""Messages a door keeps after their receipt, for a service that asks for them again."""
TURNED_AWAY = (429, 502, 503, 504)
LONGEST_PAUSE_S = 10.0


class DoorClosed(Exception):
    """The door cannot be used at all: wrong address, wrong secret, or nobody there for too long."""


class Door(Protocol):
    """One gateway's way to the service."""

    def deliver(self, messages: Iterable[Message], on_receipt: OnReceipt) -> None:
        """Send all of them and return when each has its receipt. Raises DoorClosed."""

    def close(self) -> None:
        """Say good-bye as a healthy gateway does."""


@dataclass(frozen=True, slots=True)
class Login:
    """Whose door it is: user name and client id are the gateway's id."""

    gateway: str
    secret: str


class _Command(msgspec.Struct):
    """Send [from, to] again."""

    resend: tuple[int, int]


_read_command = msgspec.json.Decoder(_Command).decode
_read_receipt = msgspec.json.Decoder(Receipt).decode


class HttpDoor:
    """POST to `{url}/api/v1/readings`, one message after the other."""

    def __init__(self, url: str, login: Login, *, patience_s: float = 120.0) -> None:
        self._client = httpx2.Client(base_url=url, headers={"Authorization": f"Bearer {login.secret}"}, timeout=60)
        self._patience_s = patience_s

    def deliver(self, messages: Iterable[Message], on_receipt: OnReceipt) -> None:
        for message in messages:
            on_receipt(message, self._post(message))

    def close(self) -> None:
        self._client.close()

    def _post(self, message: Message) -> Receipt:
        headers = {"Content-Type": message.content_type}
        if message.packing is not Packing.PLAIN:
            headers["Content-Encoding"] = message.packing.value
        give_up = time.monotonic() + self._patience_s
        pauses = (min(LONGEST_PAUSE_S, 0.1 * 2.0**tries) for tries in itertools.count())
        while True:
            try:
                answer = self._client.post("/api/v1/readings", content=message.body, headers=headers)
            except httpx2.TransportError as error:
                trouble, pause_s = f"the service does not answer: {error}", next(pauses)
            else:
                if answer.status_code in (200, 207, 422):
                    receipt: Receipt = answer.json()
                    return receipt
                trouble = f"the service answers {answer.status_code}: {answer.text[:300]}"
                if answer.status_code not in TURNED_AWAY:
                    raise DoorClosed(trouble)
                pause_s = retry_after_s(answer.headers.get("Retry-After"), next(pauses))
            if time.monotonic() > give_up:
                raise DoorClosed(trouble)
            time.sleep(min(pause_s, LONGEST_PAUSE_S))


def retry_after_s(header: str | None, otherwise: float) -> float:
    """Seconds of a Retry-After header; a date (RFC 9110 allows one) or nothing leaves the choice to us."""
    text = (header or "").strip()
    return float(text) if text.isascii() and text.isdigit() else otherwise


class MqttDoor:
    """QoS 1 on `energy/v1/{gateway}/data`, receipts on `…/ack`, commands on `…/cmd`, state and last will on `…/status`.

    At most `window` messages are without receipt at a time. One network thread of paho's serves the connection.
    """

    def __init__(
        self,
        url: str,
        login: Login,
        *,
        window: int = 4,
        version: int = 5,
        patience_s: float = 120.0,
        resend_after_s: float = RESEND_AFTER_S,
        on_resend: OnResend = lambda first, last: None,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname:
            raise DoorClosed(f"{url!r} is no broker address; it should be mqtt://host:port or mqtts://host:port")
        self._topic = f"energy/v1/{login.gateway}"
        self._version = version
        self._window = window
        self._patience_s = patience_s
        self._resend_after_s = resend_after_s
        self._on_resend = on_resend
        self._changed = threading.Condition()
        self._waiting: dict[int, tuple[Message, float]] = {}
        self._sent: dict[int, Message] = {}
        self._receipts: list[tuple[Message, Receipt]] = []
        self._online = False
        self._refused = ""
        self._heard_at = time.monotonic()
        self._client = self._paho(login, tls=parts.scheme == "mqtts")
        port = parts.port or (8883 if parts.scheme == "mqtts" else 1883)
        self._client.connect_async(unquote(parts.hostname), port, keepalive=30)
        self._client.loop_start()

    def deliver(self, messages: Iterable[Message], on_receipt: OnReceipt) -> None:
        self._heard_at = time.monotonic()
        for message in messages:
            self._wait(lambda: len(self._waiting) < self._window, on_receipt)
            self._send(message)
        self._wait(lambda: not self._waiting, on_receipt)

    def close(self) -> None:
        if self._online:
            self._client.publish(f"{self._topic}/status", b'{"state":"offline"}', 1).wait_for_publish(5)
        self._client.disconnect()
        self._client.loop_stop()

    def drop(self) -> None:
        """Vanish without a word, as a gateway that loses power: the broker sends the last will."""
        sock = self._client.socket()
        if sock is not None:
            sock.close()
        self._client.loop_stop()

    def _paho(self, login: Login, *, tls: bool) -> paho.Client:
        protocol = paho.MQTTv5 if self._version == 5 else paho.MQTTv311
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id=login.gateway, protocol=protocol)
        client.username_pw_set(login.gateway, login.secret)
        client.will_set(f"{self._topic}/status", b'{"state":"offline"}', 1)
        client.reconnect_delay_set(1, 10)
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        client.on_message = self._heard
        if tls:
            client.tls_set()
        return client

    def _send(self, message: Message) -> None:
        with self._changed:
            self._waiting[message.seq] = (message, time.monotonic())
            self._sent[message.seq] = message
            if len(self._sent) > SENT_KEPT:
                del self._sent[next(iter(self._sent))]
        if self._online:
            self._publish(message)

    def _publish(self, message: Message) -> None:
        properties = None
        if self._version == 5:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # untyped in paho
            properties.ResponseTopic = f"{self._topic}/ack"
            properties.CorrelationData = str(message.seq).encode()
        self._client.publish(f"{self._topic}/data", message.body, 1, properties=properties)

    def _wait(self, enough: Callable[[], bool], on_receipt: OnReceipt) -> None:
        """Hands receipts on until there is room; sends again what has waited too long."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._receipts or enough() or self._refused, timeout=1.0)
                receipts, self._receipts = self._receipts, []
                done, late = enough(), self._late()
            for message, receipt in receipts:
                on_receipt(message, receipt)
            for message in late:
                self._publish(message)
            if self._refused:
                raise DoorClosed(self._refused)
            if done:
                return
            if time.monotonic() - self._heard_at > self._patience_s:
                raise DoorClosed(f"no receipt for {self._patience_s:.0f} s; is the service running?")

    def _late(self) -> list[Message]:
        now = time.monotonic()
        late = [message for message, sent in self._waiting.values() if now - sent > self._resend_after_s]
        if not self._online:
            return []
        self._waiting |= {message.seq: (message, now) for message in late}
        return late

    # paho's thread ----------------------------------------------------------------------------------------------------

    def _connected(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            with self._changed:
                self._refused = f"the broker refuses the log-in of {self._topic.rpartition('/')[2]}: {reason}"
                self._changed.notify_all()
            return
        client.subscribe([(f"{self._topic}/ack", 1), (f"{self._topic}/cmd", 1)])
        client.publish(f"{self._topic}/status", b'{"state":"online"}', 1)
        with self._changed:
            self._online = True
            waiting = [message for message, _ in self._waiting.values()]
        for message in waiting:
            self._publish(message)

    def _disconnected(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        self._online = False

    def _heard(self, client: Any, userdata: Any, message: paho.MQTTMessage) -> None:
        """A receipt or a command. What is neither is left alone: an error here would end paho's thread."""
        try:
            if message.topic.endswith("/cmd"):
                first, last = _read_command(message.payload).resend
                self._send_again(first, last)
                self._on_resend(first, last)
            else:
                self._take(_read_receipt(message.payload))
        except msgspec.DecodeError:
            return

    def _send_again(self, first: int, last: int) -> None:
        with self._changed:
            asked = [message for seq, message in self._sent.items() if first <= seq <= last]
        for message in asked:
            self._publish(message)

    def _take(self, receipt: Receipt) -> None:
        with self._changed:
            self._heard_at = time.monotonic()
            seq = receipt.get("seq")
            found = self._waiting.pop(seq, None) if isinstance(seq, int) else None
            if found is not None:
                self._receipts.append((found[0], receipt))
                self._changed.notify_all()


def open_door(url: str, login: Login, **options: Any) -> Door:
    """The door of an address: mqtt:// and mqtts:// to a broker or listener, http:// and https:// to the service."""
    scheme = urlsplit(url).scheme
    if scheme in ("http", "https"):
        return HttpDoor(url, login, patience_s=options.get("patience_s", 120.0))
    return MqttDoor(url, login, **options)


def numbered(start: int = 1) -> Iterator[int]:
    """A gateway's message numbers."""
    return itertools.count(start)
