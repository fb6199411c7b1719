"""The service killed with -9 under callers that repeat a call until it is answered: what is asked for is made once."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Iterator

import asyncpg
import httpx2
import pytest

from app.store.database import plain_url
from app.store.once import IN_FLIGHT
from tests.e2e.a_plant import ENTERPRISE, Plant
from tests.faults.site import Site, site
from tests.wait import until

CALLERS, KILLS = 6, 5
BUDGET = f"/api/v1/enterprises/{ENTERPRISE}/budgets/2026"
PATH = f"{BUDGET}/exclusions"
DONE = {(201, None), (409, "answer-lost")}
"""How a repeated call ends: with the answer, or with word that it was carried out and its answer is gone."""
COMES_AGAIN = {(409, "idempotency-in-flight"), (503, "database-unavailable")}


@pytest.fixture
def here() -> Iterator[Site]:
    with site() as made:
        yield made


class Callers:
    """Threads that enter exclusions, one after the other, each under a key of its own; nothing else tells two apart."""

    def __init__(self, plant: Plant) -> None:
        self._plant = plant
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(n,), daemon=True) for n in range(CALLERS)]
        self.ended: list[tuple[str, int]] = []
        self.trouble: list[str] = []

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(120)

    def _call(self, caller: int) -> None:
        number = 0
        while not self._stop.is_set() and not self.trouble:
            name = f"caller {caller}, call {number}"
            self._until_answered(name, f"once-{caller}-{number}")
            number += 1

    def _until_answered(self, name: str, key: str) -> None:
        body = {"month": "2026-05", "basis": "equivalent", "kind": "feedstock", "amount": "0.001", "evidence": name}
        for _ in range(2_000):
            try:
                answer = self._plant.admin.post(PATH, json=body, headers={"Idempotency-Key": key})
            except httpx2.TransportError:
                threading.Event().wait(0.05)  # the pace of a caller whose call was cut off
                continue
            said = answer.status_code, answer.json().get("code")
            if said in DONE:
                self.ended.append((name, answer.status_code))
                return
            if said not in COMES_AGAIN:
                break
            threading.Event().wait(0.05)
        self.trouble.append(f"{name}: {answer.status_code} {answer.text[:300]}")


def test_a_killed_service_does_the_work_of_a_key_once(here: Site) -> None:
    budget = {"basis": "equivalent", "tce": 1000, "monthly": None, "reason": "to be kept"}
    assert here.plant.admin.put(BUDGET, json=budget).status_code == 201
    chance = random.Random(7)
    with Callers(here.plant) as callers:
        for _ in range(KILLS):
            enough = len(callers.ended) + chance.randint(5, 25)
            until(lambda: callers.trouble or len(callers.ended) >= enough, what="calls are answered", pause_s=0.001)  # noqa: B023
            here.plant.service.kill()
            # A minute later, without waiting for it: what was under way at the kill counts as cut off.
            here.sql(f"UPDATE idempotent_answer SET started_at = started_at - interval '{IN_FLIGHT.seconds + 1} s'")
            here.restart()
    assert not callers.trouble
    made = asyncio.run(_made(here.database_url))
    assert set(made.values()) == {1}, {name: times for name, times in made.items() if times > 1}
    assert {name for name, _ in callers.ended} == set(made)
    assert len(made) > KILLS * 5


async def _made(database_url: str) -> Counter[str]:
    sql = await asyncpg.connect(plain_url(database_url))
    try:
        return Counter({row["evidence"]: row["count"] for row in await sql.fetch(EXCLUSIONS)})
    finally:
        await sql.close()


EXCLUSIONS = "SELECT evidence, count(*) FROM budget_exclusion GROUP BY evidence"
