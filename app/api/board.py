"""What many look at and few change, kept by the process: a region's figures and how it stands.

Figures are right for as long as their mark stands still (`figures_mark`, moved in the transaction of every change) and
shown for some seconds more while they are made anew behind the answer; what readings are due for grows with the clock,
so they are made anew behind an answer once a minute too. How gateways, budgets and alerts stand has no mark and is
renewed in the same way. So nobody waits for sums over thousands of enterprises because a minute ended or a reading
came. Whoever asks has been let in before: what is kept of a region is the same for everybody who may see it.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Any

KEPT_MAX = 512
OLDEST_S = 30.0
"""What has no mark and is older is no longer shown while it is brought up to date."""
AGES_S, OLDEST_MARKED_S = 60.0, 600.0
"""The same of what has a mark that stands still: from when it is made anew, and from when it is waited for."""
Make = Callable[[], Awaitable[Any]]


@dataclass(slots=True)
class Kept:
    """A value with the mark it belongs to. Times of the monotonic clock, s: `made_s` when its making began,
    `right_s` when it was last known to be right."""

    mark: Hashable
    made_s: float
    right_s: float
    value: Any


class Board:
    """Values by key. `fresh_s`: how long a value may be shown that is no longer known to be right; 0 shows none."""

    def __init__(self, fresh_s: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._fresh_s, self._clock = fresh_s, clock
        self._kept: OrderedDict[Hashable, Kept] = OrderedDict()
        self._making: dict[Hashable, asyncio.Lock] = {}
        self._behind: dict[Hashable, asyncio.Task[Any]] = {}

    @property
    def renewing(self) -> bool:
        """Whether something is being made anew behind an answer."""
        return bool(self._behind)

    async def marked(self, key: Hashable, mark: Hashable, make: Make) -> Any:
        """The value that belongs to the mark, or one that was right at most `fresh_s` ago while the new one is made.

        Made once however many ask for it, and behind answers no more often than every half of `fresh_s`; a value whose
        mark stands still is made anew once a minute.
        """
        kept, now_s = self._kept.get(key), self._clock()
        if kept is None or now_s - kept.made_s >= OLDEST_MARKED_S:
            return await self._once(key, lambda kept: self._clock() - kept.made_s < OLDEST_MARKED_S, mark, make)
        if kept.mark == mark:
            kept.right_s = now_s
        elif now_s - kept.right_s >= self._fresh_s:
            return await self._once(key, lambda kept: kept.mark == mark, mark, make)
        if now_s - kept.made_s >= (AGES_S if kept.mark == mark else self._fresh_s / 2):
            self._renew(key, mark, make)
        return kept.value

    async def recent(self, key: Hashable, make: Make) -> Any:
        """A value at most `fresh_s` old, or a little older while it is made anew."""
        if not self._fresh_s:
            return await make()
        kept = self._kept.get(key)
        age_s = OLDEST_S if kept is None else self._clock() - kept.made_s
        if kept is None or age_s >= OLDEST_S:
            return await self._once(key, lambda kept: self._clock() - kept.made_s < OLDEST_S, None, make)
        if age_s > self._fresh_s:
            self._renew(key, None, make)
        return kept.value

    async def _once(self, key: Hashable, good: Callable[[Kept], bool], mark: Hashable, make: Make) -> Any:
        """The value kept if it is good, else a new one. A crowd waits for the first of it."""
        kept = self._kept.get(key)
        if kept is not None and good(kept):
            self._kept.move_to_end(key)
            return kept.value
        async with self._making.setdefault(key, asyncio.Lock()):
            kept = self._kept.get(key)
            if kept is None or not good(kept):
                try:
                    await self._make(key, mark, make)
                finally:
                    if key not in self._kept:
                        self._making.pop(key, None)
            return self._kept[key].value

    def _renew(self, key: Hashable, mark: Hashable, make: Make) -> None:
        """Begins to make the value anew, unless that is under way."""
        if key not in self._behind:
            task = asyncio.create_task(self._make_behind(key, mark, make))
            self._behind[key] = task
            task.add_done_callback(lambda _: self._behind.pop(key, None))

    async def _make_behind(self, key: Hashable, mark: Hashable, make: Make) -> None:
        try:
            await self._make(key, mark, make)
        except Exception:  # noqa: BLE001  # whoever asks next makes it themselves and hears why it fails
            self._kept.pop(key, None)

    async def _make(self, key: Hashable, mark: Hashable, make: Make) -> None:
        """Makes a value and keeps it. It belongs to the moment before: what changes meanwhile may not be in it."""
        begun_s = self._clock()
        value = await make()
        self._kept[key] = Kept(mark, begun_s, begun_s, value)
        self._kept.move_to_end(key)
        while len(self._kept) > KEPT_MAX:
            gone, _ = self._kept.popitem(last=False)
            self._making.pop(gone, None)
