"""`kill -9` at every point between an evaluation and its mail: nothing lost, no duplicate but the one that is told of.

`make soak ONLY=alerts` lives a thousand such lives; here is one of each.
"""

from __future__ import annotations

import asyncio

import pytest

from tests.alerts.a_mail_server import MailServer, serving
from tests.alerts.an_outbox import an_outbox
from tests.alerts.killing import POINTS, Life, live


@pytest.mark.parametrize("point", POINTS)
async def test_a_killed_process_loses_nothing(database_url: str, point: str) -> None:
    with serving(MailServer()) as server:
        await live(database_url, server, Life(point, seed=POINTS.index(point)))


async def test_two_senders_share_one_outbox(database_url: str) -> None:
    async with an_outbox(database_url) as outbox:
        for number in range(40):
            await outbox.put(f"contact{number}@example.com", alert_id=await outbox.alert(period=str(number)))
        with serving(MailServer()) as server:
            sent = await asyncio.gather(*(outbox.sender(server.url).drain() for _ in range(4)))
        assert (sum(sent), len(server.kept), len(set(server.ids()))) == (40, 40, 40)
        assert set(await outbox.rows()) == {"sent"}
