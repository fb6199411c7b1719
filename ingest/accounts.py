"""Gateways' accounts in the broker, by Mosquitto's dynamic-security plugin, changed while the broker runs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import msgspec

from ingest.mqtt import BrokerLink, BrokerUnavailable
from ingest.packet import Publish
from ingest.wire import ROOT, is_level

__all__ = ["BrokerAccounts", "BrokerRefused", "BrokerUnavailable", "NameReserved"]

CONTROL = "$CONTROL/dynamic-security/v1"
ANSWER_TIMEOUT_S = 10.0
NOT_FOUND = ("Client not found", "Role not found")

Command = dict[str, Any]


class BrokerRefused(Exception):
    """The broker would not carry out a command. `command` names it, the text is the broker's."""

    def __init__(self, command: str, error: str) -> None:
        super().__init__(f"{command}: {error}")
        self.command = command
        self.error = error


class NameReserved(ValueError):
    """A gateway cannot have this id: it is the name the service itself logs in by. Attribute: gateway."""

    def __init__(self, gateway: str) -> None:
        self.gateway = gateway
        super().__init__(f"{gateway!r} is the service's own name at the broker")


class BrokerAccounts:
    """Accounts of gateways: user name and client id are the gateway's id, and its rights end at its own topics."""

    def __init__(self, link: BrokerLink) -> None:
        self._link = link
        self._asked: dict[str, asyncio.Future[Command]] = {}
        link.listen(f"{CONTROL}/response", self._answered, qos=0)

    async def put(self, gateway: str, secret: str) -> None:
        """Let a gateway in with this secret from now on; it may be there already. An old secret ends at once.

        Raises NameReserved for the service's own name, whose secret this would change.
        """
        if not is_level(gateway):
            raise ValueError(f"{gateway!r} cannot stand in a topic")
        if gateway == self._link.username:
            raise NameReserved(gateway)
        role, rights = role_of(gateway), rights_of(gateway)
        if await self._try("createRole", rolename=role, acls=rights) is not None:
            await self._do("modifyRole", rolename=role, acls=rights)
        account: Command = {"username": gateway, "clientid": gateway, "roles": [{"rolename": role}]}
        if await self._try("createClient", password=secret, **account) is not None:
            await self._do("modifyClient", password=secret, **account)
            await self._do("enableClient", username=gateway)

    async def disable(self, gateway: str) -> None:
        """Keep the account but let nobody in by it; who is in is thrown out. Unknown gateways are no error."""
        await self._do("disableClient", username=gateway, unless=NOT_FOUND)

    async def enable(self, gateway: str) -> None:
        """Let a disabled gateway in again. Raises BrokerRefused when the broker has no such account."""
        await self._do("enableClient", username=gateway)

    async def remove(self, gateway: str) -> None:
        """Take the account out; who is in is thrown out. Unknown gateways are no error."""
        await self._do("deleteClient", username=gateway, unless=NOT_FOUND)
        await self._do("deleteRole", rolename=role_of(gateway), unless=NOT_FOUND)

    async def _do(self, command: str, *, unless: Sequence[str] = (), **facts: Any) -> None:
        error = await self._try(command, **facts)
        if error is not None and error not in unless:
            raise BrokerRefused(command, error)

    async def _try(self, command: str, **facts: Any) -> str | None:
        """Carry out one command; what the broker says against it, or None. Raises BrokerUnavailable."""
        number = uuid4().hex
        answer: asyncio.Future[Command] = asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        try:
            asked = {"commands": [{"command": command, "correlationData": number, **facts}]}
            await self._link.publish(CONTROL, msgspec.json.encode(asked))
            error: str | None = (await asyncio.wait_for(answer, ANSWER_TIMEOUT_S)).get("error")
        except TimeoutError as error_:
            raise BrokerUnavailable(f"the broker did not answer {command} in time") from error_
        finally:
            del self._asked[number]
        return error

    def _answered(self, messages: Sequence[Publish]) -> None:
        for message in messages:
            try:
                answers = msgspec.json.decode(message.payload, type=dict[str, list[Command]]).get("responses", [])
            except msgspec.DecodeError:
                continue  # not for us: whatever it is, the command it might have answered runs into its time limit
            for answer in answers:
                asked = self._asked.get(str(answer.get("correlationData")))
                if asked is not None and not asked.done():
                    asked.set_result(answer)


def role_of(gateway: str) -> str:
    return f"gateway-{gateway}"


def rights_of(gateway: str) -> list[Command]:
    """What a gateway may do: publish its data and status, and hear what is under its own name."""
    own = f"{ROOT}/{gateway}"
    allowed = [
        ("publishClientSend", f"{own}/data"),
        ("publishClientSend", f"{own}/status"),
        ("publishClientReceive", f"{own}/#"),
        ("subscribePattern", f"{own}/#"),
        ("unsubscribePattern", f"{own}/#"),
    ]
    return [{"acltype": kind, "topic": topic, "priority": 0, "allow": True} for kind, topic in allowed]
