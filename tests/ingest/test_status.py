"""What gateways say of themselves is kept in groups: ten thousand that come back at once do not wait in line."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ingest.status import AT_ONCE, Said, StatusDesk, Word
from tests.wait import soon


class Slow:
    """A sink that keeps nothing until it may, and can fail."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.groups: list[list[Word]] = []
        self.failures = 0

    async def heard(self, words: Sequence[Word]) -> None:
        self.groups.append(list(words))
        await self.open.wait()
        if self.failures:
            self.failures -= 1
            raise OSError("no database")


async def test_what_came_meanwhile_is_kept_together_and_each_gateways_last_word_holds() -> None:
    sink, stop, kept = Slow(), asyncio.Event(), list[int]()
    desk = StatusDesk(sink)

    def say(number: int, gateway: int, state: str) -> None:
        desk.put(Said(f"gw-{gateway}", state, number, lambda: kept.append(number)))

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(desk.run(stop))
        say(0, 0, "online")
        await soon(lambda: sink.groups, "the first is being kept")
        for number in range(1, 501):
            say(number, number % 100, "offline" if number > 400 else "online")
        assert kept == []
        sink.failures = 1
        sink.open.set()
        await soon(lambda: len(kept) == 501, "all are kept")
        stop.set()
    assert kept == list(range(501))
    first, again, rest = sink.groups
    assert first == again == [("gw-0", "online", 0)]
    assert sorted(rest) == sorted((f"gw-{number % 100}", "offline", number) for number in range(401, 501))


async def test_groups_are_bounded_and_a_stop_keeps_nobody_waiting() -> None:
    sink, stop = Slow(), asyncio.Event()
    desk = StatusDesk(sink)
    for number in range(AT_ONCE + 5):
        desk.put(Said(f"gw-{number}", "online", number, lambda: None))
    sink.open.set()
    sink.failures = 10**6
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        tasks.create_task(desk.run(stop))
        await soon(lambda: sink.groups, "the first group is tried")
        stop.set()
    assert {len(group) for group in sink.groups} == {AT_ONCE}
