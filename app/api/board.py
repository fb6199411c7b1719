"""What many look at and few change, kept by the process: a region's figures and how it stands.

Figures are right for as long as their mark stands still (`figures_mark`, moved in the transaction of every change); how
gateways, budgets and alerts stand may be some seconds old, and is brought up to date behind the answer. Whoever asks
has been let in before: what is kept of a region is the same for everybody who may see it.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Any

KEPT_MAX = 512
OLDEST_S = 30.0
"""What is older is no longer shown while it is brought up to date."""
Make = Callable[[], Awaitable[Any]]
Kept = tuple[Any, float, Any]
"""A mark, when the value was made, and the value."""


class Board:
    """Values by key. `fresh_s`: how old what has no mark may be; 0 keeps nothing of the kind."""

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
        """The value that belongs to the mark; made once however many ask for it."""
        return await self._once(key, lambda kept: kept[0] == mark, mark, make)

    async def recent(self, key: Hashable, make: Make) -> Any:
        """A value at most `fresh_s` old, or a little older while it is made anew."""
        kept = self._kept.get(key)
        age_s = OLDEST_S if kept is None else self._clock() - kept[1]
        if not self._fresh_s:
            return await make()
        if kept is None or age_s >= OLDEST_S:
            return await self._once(key, lambda kept: self._clock() - kept[1] < OLDEST_S, None, make)
        if age_s > self._fresh_s and key not in self._behind:
            task = asyncio.create_task(self._renew(key, make))
            self._behind[key] = task
            task.add_done_callback(lambda _: self._behind.pop(key, None))
        return kept[2]

    async def _once(self, key: Hashable, good: Callable[[Kept], bool], mark: Hashable, make: Make) -> Any:
        """The value kept if it is good, else a new one. A crowd waits for the first of it."""
        kept = self._kept.get(key)
        if kept is not None and good(kept):
            self._kept.move_to_end(key)
            return kept[2]
        async with self._making.setdefault(key, asyncio.Lock()):
            kept = self._kept.get(key)
            if kept is None or not good(kept):
                try:
                    self._keep(key, mark, await make())
                finally:
                    if key not in self._kept:
                        self._making.pop(key, None)
            return self._kept[key][2]

    async def _renew(self, key: Hashable, make: Make) -> None:
        try:
            self._keep(key, None, await make())
        except Exception:  # noqa: BLE001  # whoever asks next makes it themselves and hears why it fails
            self._kept.pop(key, None)

    def _keep(self, key: Hashable, mark: Hashable, value: Any) -> None:
        self._kept[key] = (mark, self._clock(), value)
        self._kept.move_to_end(key)
        while len(self._kept) > KEPT_MAX:
            gone, _ = self._kept.popitem(last=False)
            self._making.pop(gone, None)
