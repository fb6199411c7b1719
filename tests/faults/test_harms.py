"""Whatever happens to the service, its database, its broker or the ways between them: what was acknowledged is stored,
once and as it was sent, and the service goes on by itself."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.faults.counting import CountingGateway, goes_on
from tests.faults.harm import HARMS
from tests.faults.site import DOORS, Site, site

MORE = 5
"""Messages each gateway gets its receipts for between two harms, so that they fall into the middle of the work."""


@pytest.fixture(scope="module")
def here() -> Iterator[Site]:
    with site() as made:
        yield made


@pytest.fixture
def gateways(here: Site) -> list[CountingGateway]:
    sending = here.gateways(*DOORS)
    for one in sending:
        one.start()
    return sending


@pytest.mark.parametrize("harm", sorted(HARMS))
def test_nothing_acknowledged_is_lost_or_doubled_by(harm: str, here: Site, gateways: list[CountingGateway]) -> None:
    chance = random.Random(harm)
    goes_on(gateways, MORE)
    for _ in range(2):
        HARMS[harm](here, chance)
        goes_on(gateways, MORE)
    for one in gateways:
        one.stop()
    balance = here.account(gateways)
    assert balance.balanced, str(balance)
    assert balance.stored == balance.acknowledged


def test_a_commit_whose_answer_was_lost_is_done_again_and_stored_once(here: Site) -> None:
    (gateway,) = here.gateways("http")
    before = here.to_database.sprung
    here.to_database.cut_after(b"COMMIT")
    gateway.start()
    goes_on([gateway], MORE)
    gateway.stop()
    assert here.to_database.sprung == before + 1
    balance = here.account([gateway])
    assert balance.balanced, str(balance)
