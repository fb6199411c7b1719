"""Random harm in a random order at random moments, from a seed."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.faults.counting import goes_on
from tests.faults.harm import HARMS
from tests.faults.site import DOORS, Site, site

RESIDENT_MOST_KB = 400_000
"""What the service may hold at most, whatever happened to it: it starts with about 130 MB."""


@contextmanager
def harmed_ingest() -> Iterator[Callable[[int], str]]:
    """One stack and service for all runs; each run has gateways of its own."""
    with site() as here:

        def run(seed: int) -> str:
            return harmed(here, random.Random(seed))

        yield run


def harmed(here: Site, chance: random.Random) -> str:
    """One run. Raises AssertionError when something acknowledged is lost, doubled or wrong, or nothing goes on."""
    gateways = here.gateways(*DOORS)
    for one in gateways:
        one.start()
    goes_on(gateways, 1)
    harms = chance.choices(sorted(HARMS), k=chance.randint(1, 4))
    for harm in harms:
        time.sleep(chance.uniform(0.0, 0.4))  # the moment is what is random here
        HARMS[harm](here, chance)
    goes_on(gateways, 2)
    for one in gateways:
        one.stop()
    balance = here.account(gateways)
    assert balance.balanced, f"{harms}: {balance}"
    resident_kb = here.plant.service.resident_kb()
    assert resident_kb < RESIDENT_MOST_KB, f"{harms}: the service holds {resident_kb} kB"
    return f"{', '.join(harms)}: {balance}; {resident_kb // 1000} MB"
