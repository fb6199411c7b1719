"""Which gateways fall to which process, and the subscriptions that follow."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest

from ingest.partition import OwnTopics, Partition
from ingest.registry import RegistryView
from tests.ingest.fakes import a_registry
from tests.wait import soon

NAMES = [f"gw-{number}" for number in range(3000)]


def test_every_gateway_falls_to_exactly_one_of_them_about_evenly() -> None:
    for of in (1, 2, 3, 7):
        owned = [{name for name in NAMES if Partition(number, of).owns(name)} for number in range(1, of + 1)]
        assert sum(map(len, owned)) == len(NAMES) == len(set().union(*owned))
        assert min(map(len, owned)) > len(NAMES) / of * 0.8


def test_where_a_gateway_falls_never_changes() -> None:
    """Another answer would move every gateway at the next upgrade."""
    assert [name for name in NAMES[:12] if Partition(2, 3).owns(name)] == SECOND_OF_THREE


SECOND_OF_THREE = ["gw-4", "gw-5", "gw-6", "gw-8", "gw-10"]


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "1/", "a/b", "1/0", "-1/2", "1/1001"])
def test_a_wrong_share_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="2/4"):
        Partition.parse(text)


class Subscriptions:
    def __init__(self) -> None:
        self.wanted: set[str] = set()
        self.unwanted: set[str] = set()

    def only(self, wanted: Iterable[str], unwanted: Iterable[str]) -> None:
        self.wanted, self.unwanted = set(wanted), set(unwanted)


async def test_subscriptions_follow_the_registry() -> None:
    registry, subscriptions, stop = a_registry(), Subscriptions(), asyncio.Event()
    view = RegistryView(registry)
    own = OwnTopics(subscriptions, view, Partition(1, 2))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(own.run(stop))
        await soon(lambda: bool(subscriptions.wanted or subscriptions.unwanted), "the registry was read")
        both = subscriptions.wanted | subscriptions.unwanted
        assert both == {f"energy/v1/{name}/{leaf}" for name in registry.gateways for leaf in ("data", "status")}
        assert not subscriptions.wanted & subscriptions.unwanted
        new = next(name for name in NAMES if Partition(1, 2).owns(name) and name not in registry.gateways)
        registry.gateway(new)
        view.stale()
        own.changed()
        await soon(lambda: f"energy/v1/{new}/data" in subscriptions.wanted, "the new gateway is subscribed to")
        registry.trouble = ConnectionError("gone")
        view.stale()
        own.changed()
        stop.set()
    assert f"energy/v1/{new}/status" in subscriptions.wanted
