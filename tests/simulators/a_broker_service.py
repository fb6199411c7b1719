"""The other side of the MQTT door: makes gateways' accounts at the broker and answers messages with receipts."""

from __future__ import annotations

import json
import secrets
from typing import Any
from urllib.parse import unquote, urlsplit

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

from tests.wait import until

CONTROL = "$CONTROL/dynamic-security/v1"


class BrokerService:
    """Answers every message with a receipt, but for the numbers in `withheld`, each only once."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.withheld: set[int] = set()
        self.silent = False
        self.heard: list[int] = []
        self.states: list[str] = []
        self.responses: list[tuple[str, bytes | None]] = []
        self._done = 0
        self._granted = False
        self._client = paho.Client(CallbackAPIVersion.VERSION2, f"tests-{secrets.token_hex(4)}", protocol=paho.MQTTv5)
        self._client.username_pw_set(unquote(parts.username or ""), unquote(parts.password or ""))
        self._client.on_message = self._on_message
        self._client.on_subscribe = self._on_subscribe
        self._client.connect(parts.hostname or "", parts.port or 1883)
        self._client.subscribe([("energy/v1/+/data", 1), ("energy/v1/+/status", 1), (f"{CONTROL}/response", 1)])
        self._client.loop_start()
        until(lambda: self._granted, what="subscriptions are granted")

    def account(self) -> tuple[str, str]:
        """A new gateway at the broker: its name and secret."""
        name, secret = f"gw-{secrets.token_hex(4)}", secrets.token_hex(8)
        own = f"energy/v1/{name}"
        rights = [
            *(("publishClientSend", f"{own}/{channel}") for channel in ("data", "status")),
            *(("publishClientReceive", f"{own}/{channel}") for channel in ("ack", "cmd")),
            *(("subscribeLiteral", f"{own}/{channel}") for channel in ("ack", "cmd")),
        ]
        acls = [{"acltype": kind, "topic": topic, "allow": True} for kind, topic in rights]
        self._ask(
            {"command": "createRole", "rolename": name, "acls": acls},
            {"command": "createClient", "username": name, "password": secret, "roles": [{"rolename": name}]},
        )
        return name, secret

    def tell(self, gateway: str, command: dict[str, Any]) -> None:
        self._client.publish(f"energy/v1/{gateway}/cmd", json.dumps(command), 1)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _ask(self, *commands: dict[str, Any]) -> None:
        before = self._done
        self._client.publish(CONTROL, json.dumps({"commands": commands}), 1)
        until(lambda: self._done > before, what="the broker carries out the commands")

    def _on_subscribe(self, client: Any, userdata: Any, mid: int, reasons: list[Any], properties: Any) -> None:
        self._granted = not any(reason.is_failure for reason in reasons)

    def _on_message(self, client: Any, userdata: Any, message: paho.MQTTMessage) -> None:
        if message.topic.startswith(CONTROL):
            self._done += 1
        elif message.topic.endswith("/status"):
            self.states.append(json.loads(message.payload)["state"])
        else:
            self._receive(message)

    def _receive(self, message: paho.MQTTMessage) -> None:
        body = json.loads(message.payload)
        self.heard.append(body["seq"])
        topic = getattr(message.properties, "ResponseTopic", message.topic.replace("/data", "/ack"))
        self.responses.append((topic, getattr(message.properties, "CorrelationData", None)))
        if self.silent or body["seq"] in self.withheld:
            self.withheld.discard(body["seq"])
            return
        receipt = {"seq": body["seq"], "stored": len(body["t"]), "duplicate": 0, "revised": 0, "rejected": []}
        self._client.publish(topic, json.dumps(receipt), 1)
