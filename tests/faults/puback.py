"""A gateway at the service's own listener that takes the PUBACK for what it is there: the reading is committed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from urllib.parse import urlsplit

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from simulators.message import Message
from simulators.wire import DoorClosed, Login, OnReceipt

PATIENCE_S = 120.0
TURN_S = 0.5


class PubackDoor:
    """`simulators.wire.Door` over MQTT 3.1.1 without a subscription: no receipt is waited for.

    paho keeps what has no PUBACK yet and sends it again over the next connection.
    """

    def __init__(self, url: str, login: Login) -> None:
        parts = urlsplit(url)
        self._topic = f"energy/v1/{login.gateway}/data"
        self._changed = threading.Condition()
        self._acknowledged: set[int] = set()
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=login.gateway,
            clean_session=False,
            protocol=MQTTProtocolVersion.MQTTv311,
        )
        self._client.username_pw_set(login.gateway, login.secret)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_publish = self._published
        self._client.connect_async(parts.hostname or "", parts.port or 1883, keepalive=5)
        self._client.loop_start()

    def deliver(self, messages: Iterable[Message], on_receipt: OnReceipt) -> None:
        waiting = {self._client.publish(self._topic, message.body, 1).mid: message for message in messages}
        give_up = time.monotonic() + PATIENCE_S
        while waiting:
            with self._changed:
                self._changed.wait_for(lambda: self._acknowledged, timeout=TURN_S)
                heard, self._acknowledged = self._acknowledged, set()
            for mid in heard & waiting.keys():
                message = waiting.pop(mid)
                on_receipt(message, {"stored": message.count, "duplicate": 0})
            if time.monotonic() > give_up:
                raise DoorClosed(f"no PUBACK for {PATIENCE_S:.0f} s")

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _published(self, client: object, userdata: object, mid: int, reason: object, properties: object) -> None:
        with self._changed:
            self._acknowledged.add(mid)
            self._changed.notify_all()
