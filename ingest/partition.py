"""Several ingest processes at one broker: which gateways are whose, and the subscriptions that follow from it.

Each gateway belongs to one process, by a hash of its id, and that process subscribes to the gateway's own topics.
Shared subscriptions would not do: what the broker has given to a member that dies waits until the same member is back.
Two processes on one topic are harmless, so a change of the number of processes starts the new ones first.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from ingest.registry import RegistryView
from ingest.wire import Channel, topic_of

log = logging.getLogger(__name__)

LOOK_EVERY_S = 30.0
PROCESSES_MAX = 1000


@dataclass(frozen=True, slots=True)
class Partition:
    """The share of process `number` (from 1) among `of` processes."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Partition:
        """`2/4` is the second of four. Raises ValueError."""
        match = re.fullmatch(r"(\d{1,4})/(\d{1,4})", text)
        number, of = (int(match[1]), int(match[2])) if match else (0, 0)
        if not 1 <= number <= of <= PROCESSES_MAX:
            raise ValueError("not the number of this process and of all, such as 2/4")
        return cls(number, of)

    def owns(self, gateway: str) -> bool:
        """Whether a gateway is this process's. The same in every process and every version."""
        return int.from_bytes(hashlib.sha256(gateway.encode()).digest()[:8]) % self.of == self.number - 1


def topics_of(gateways: Iterable[str]) -> list[str]:
    """What gateways publish on."""
    return [topic_of(gateway, channel) for gateway in gateways for channel in (Channel.DATA, Channel.STATUS)]


class Subscriber(Protocol):
    """The connection to the broker; `ingest.mqtt.BrokerLink` is one."""

    def only(self, wanted: Iterable[str], unwanted: Iterable[str]) -> None: ...


class OwnTopics:
    """The loop that keeps the subscriptions those of this process's gateways, as the registry changes."""

    def __init__(self, subscriber: Subscriber, registry: RegistryView, partition: Partition) -> None:
        self._subscriber = subscriber
        self._registry = registry
        self._partition = partition
        self._changed = asyncio.Event()

    def changed(self) -> None:
        """The registry has changed: look at once."""
        self._changed.set()

    async def run(self, until: asyncio.Event) -> None:
        """Until told to stop. While the registry cannot be read the subscriptions stay as they are."""
        stopping = asyncio.create_task(until.wait())
        stopping.add_done_callback(lambda _: self._changed.set())
        try:
            while not until.is_set():
                self._changed.clear()
                try:
                    await self.look()
                except Exception as error:  # noqa: BLE001  # whatever the trouble of the store, it is asked again
                    log.warning("registry not read for subscriptions", extra={"why": str(error)})
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), LOOK_EVERY_S)
        finally:
            stopping.cancel()

    async def look(self) -> None:
        """Once. Raises what the registry raises."""
        gateways = (await self._registry.current()).gateways
        own = [gateway for gateway in gateways if self._partition.owns(gateway)]
        others = [gateway for gateway in gateways if not self._partition.owns(gateway)]
        self._subscriber.only(topics_of(own), topics_of(others))
