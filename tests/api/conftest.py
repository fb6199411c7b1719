from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.api.a_service import Api, an_api


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[Api]:
    async with an_api(database_url) as api:
        yield api
