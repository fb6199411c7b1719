"""Which messages may be acknowledged now: in order, and only on the connection they came by. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(slots=True)
class Ticket:
    """Messages in line that came together: their connection, their packet ids there, and whether they are committed."""

    generation: int
    packet_ids: Sequence[int]
    settled: bool = False


class AckLine:
    """The messages of one connection that are not acknowledged yet, oldest first.

    MQTT wants acknowledgements in the order of the messages (MQTT-4.6.0-2), so one that is settled early waits for
    those before it. A packet id belongs to its connection: on the next it may name somebody else's message, so what
    is settled after a reconnect is dropped. The broker sends that message again.
    """

    def __init__(self) -> None:
        self._line: deque[Ticket] = deque()
        self._waiting = 0
        self.generation = 0

    def __len__(self) -> int:
        """Messages that wait."""
        return self._waiting

    def opened(self) -> None:
        """A new connection: nothing of the old one can be acknowledged any more."""
        self.generation += 1
        self._line.clear()
        self._waiting = 0

    def arrived(self, *packet_ids: int) -> Ticket:
        """Messages that came together and are settled together."""
        ticket = Ticket(self.generation, packet_ids)
        self._line.append(ticket)
        self._waiting += len(packet_ids)
        return ticket

    def settle(self, ticket: Ticket) -> bool:
        """The messages are committed. False if their connection is gone."""
        ticket.settled = True
        return ticket.generation == self.generation

    def ready(self) -> list[int]:
        """The packet ids to acknowledge now, in order; each is answered once."""
        packet_ids: list[int] = []
        while self._line and self._line[0].settled:
            packet_ids += self._line.popleft().packet_ids
        self._waiting -= len(packet_ids)
        return packet_ids
