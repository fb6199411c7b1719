"""A way between two programs that can be cut, frozen, slowed or broken at a chosen moment."""

from __future__ import annotations

import asyncio
import random
import socket
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Self

CHUNK = 65_536
CALL_WITHIN_S = 10.0
LOST_SHARE, SENT_AGAIN_AFTER_S = 0.01, 0.2
"""A line that loses one packet in a hundred, as TCP shows it: nothing is missing, that share is a repetition late."""


class Proxy:
    """Forwards TCP connections from a port of its own to one address, in a thread and loop of its own."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._open: asyncio.Event
        self._server: asyncio.Server
        self._delay_s = 0.0
        self._bytes_per_s = float("inf")
        self._chance: random.Random | None = None
        self._refusing = False
        self._trap: bytes | None = None
        self.hindered = 0
        """How many chunks were made to wait: by a slow way, or because a packet was lost."""
        self.sprung = 0
        """How often a connection was cut because its client had said the words of the trap."""
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CALL_WITHIN_S)
        self._loop.close()

    # What can be done to it -----------------------------------------------------------------------------------------

    def cut(self) -> None:
        """Every connection is reset now; new ones go through."""
        self._soon(self._cut)

    def refuse(self, refusing: bool) -> None:
        """Nobody gets through any more, or again."""
        self._refusing = refusing
        if refusing:
            self.cut()

    def freeze(self) -> None:
        """The cable is pulled: connections stay open, not a byte goes through, nobody is told."""
        self._soon(lambda: self._open.clear())

    def thaw(self) -> None:
        self._soon(lambda: self._open.set())

    def slow(self, *, delay_s: float = 0.0, bytes_per_s: float = float("inf")) -> None:
        """Each chunk waits, and the way is as narrow as said; nothing given makes it fast again."""
        self._delay_s, self._bytes_per_s = delay_s, bytes_per_s

    def lose(self, chance: random.Random | None) -> None:
        """A line that loses packets, which TCP sends again after a while; None: one that loses nothing."""
        self._chance = chance

    def cut_after(self, words: bytes) -> None:
        """The next time a client says these words the server still hears them; its answer never comes back."""
        self._trap = words

    # The loop's side ------------------------------------------------------------------------------------------------

    def _call(self, doing: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(doing, self._loop).result(CALL_WITHIN_S)

    def _soon(self, doing: Callable[[], None]) -> None:
        async def do() -> None:
            doing()

        self._call(do())

    async def _listen(self) -> None:
        self._open = asyncio.Event()
        self._open.set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _end(self) -> None:
        self._server.close()
        self._cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _cut(self) -> None:
        for writer in self._writers:
            reset(writer)

    async def _serve(self, near_in: asyncio.StreamReader, near_out: asyncio.StreamWriter) -> None:
        me = asyncio.current_task()
        assert me is not None
        self._tasks.add(me)
        self._writers.add(near_out)
        far_out: asyncio.StreamWriter | None = None
        try:
            if self._refusing:
                return
            far_in, far_out = await asyncio.open_connection(*self._target)
            self._writers.add(far_out)
            deaf = asyncio.Event()
            async with asyncio.TaskGroup() as ways:
                ways.create_task(self._forward(near_in, far_out, deaf, trapped=True))
                ways.create_task(self._forward(far_in, near_out, deaf, trapped=False))
        except* (OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(me)
            for writer in filter(None, (near_out, far_out)):
                self._writers.discard(writer)
                reset(writer)

    async def _forward(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, deaf: asyncio.Event, *, trapped: bool
    ) -> None:
        """One direction until its end; the other is ended with it."""
        while chunk := await source.read(CHUNK):
            await self._open.wait()
            if self._delay_s or self._bytes_per_s != float("inf"):
                self.hindered += 1
                await asyncio.sleep(self._delay_s + len(chunk) / self._bytes_per_s)
            if self._chance is not None and self._chance.random() < LOST_SHARE:
                self.hindered += 1
                await asyncio.sleep(SENT_AGAIN_AFTER_S)
            if deaf.is_set():
                break
            springs = trapped and self._trap is not None and self._trap in chunk
            if springs:
                deaf.set()  # what the server answers from here on is not passed back
                self._trap = None
                self.sprung += 1
            sink.write(chunk)
            await sink.drain()
            if springs:
                await asyncio.sleep(0.05)  # the server acts on it before it learns that its client is gone
                break
        raise ConnectionResetError


def reset(writer: asyncio.StreamWriter) -> None:
    """Closed with RST, as a machine that lost its power answers afterwards."""
    with suppress(OSError):
        bare = writer.get_extra_info("socket")
        if bare is not None:
            bare.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    writer.transport.abort()
