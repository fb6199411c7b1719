from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.rollup.a_plant import Plant, a_plant


@pytest.fixture
async def plant(database_url: str) -> AsyncIterator[Plant]:
    async with a_plant(database_url) as plant:
        yield plant
