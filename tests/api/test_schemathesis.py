"""Every operation of the document, asked by schemathesis with what fits its schemas and with what does not.

Two of its phases: fuzzing, and of the cases of its coverage phase (the edges of each schema, some 6,000) a seeded
sample of each operation. The stateful phase needs links that this document does not have; what a sequence of calls does
is in the other tests.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.config import GenerationConfig
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi import checks

from app.api.openapi import text
from app.store.access import create_token
from app.store.database import open_database
from tests.api.a_service import CITY, own_things, two_enterprises
from tests.e2e.service import Service

EXAMPLES, EDGES = 2, 8
"""Of each operation: fuzzed examples of each kind, and edges. Some thousand requests in all."""
ENDLESS = {"listenToEvents"}
"""A stream that never ends is no answer that can be looked at whole; tests/api/test_live.py listens to it."""
OF_THE_LOG_IN = {"logIn", "logOut", "logOutEverywhere", "changePassword"}
"""Wrong passwords lock an address, and the end of a session would end the run; tests/api/test_accounts.py has them."""
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
    checks.ignored_auth,
    checks.unsupported_method,
]
"""All that look at one answer but `positive_data_acceptance`: that a schema is kept does not make a body right. A
credit code has a check character, a month must have begun, a unit must fit its carrier: such a body is refused by 422.
`use_after_free` and `ensure_resource_availability` look at sequences of calls."""


@pytest.fixture(scope="module")
def service(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A real process on a database with two enterprises; its address, and an admin's token."""

    async def prepared() -> str:
        async with open_database(database_url, pool_size=2) as database:
            await two_enterprises(database)
            token = await create_token(database, role="admin", scope=CITY, name="the admin")
            await own_things(database)
            return token

    token = asyncio.run(prepared())
    env = {"TCEWATCH_DATABASE_URL": database_url, "TCEWATCH_RATE_LIMIT_PER_MIN": "0"}
    running = Service(env, tmp_path_factory.mktemp("schemathesis") / "log")
    running.start("--roles", "api,ingest")
    yield running.url, token
    running.stop()


GENERATION = GenerationConfig()
SCHEMA = schemathesis.openapi.from_dict(json.loads(text()))
OPERATIONS: dict[str, Any] = {
    result.ok().definition.raw["operationId"]: result.ok()
    for result in SCHEMA.get_all_operations()
    if isinstance(result, Ok)
}


def test_every_operation_of_the_document_is_understood() -> None:
    document = json.loads(text())
    named = {one["operationId"] for path in document["paths"].values() for one in path.values()}
    assert set(OPERATIONS) == named


@pytest.mark.parametrize("name", sorted(set(OPERATIONS) - ENDLESS - OF_THE_LOG_IN))
def test_no_answer_is_outside_of_the_document(service: tuple[str, str], name: str) -> None:
    url, token = service
    headers = {"Authorization": f"Bearer {token}"}
    asked(OPERATIONS[name], GenerationMode.POSITIVE, url, headers)
    # An operation without parameters cannot be asked wrongly.
    with suppress(Unsatisfiable):
        asked(OPERATIONS[name], GenerationMode.NEGATIVE, url, headers)
    modes = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]
    edges = list(SCHEMA.iter_coverage_cases(OPERATIONS[name], generation_modes=modes, generation_config=GENERATION))
    for case in random.Random(name).sample(edges, min(EDGES, len(edges))):
        looked_at(case, url, headers)


def asked(operation: Any, mode: GenerationMode, url: str, headers: dict[str, str]) -> None:
    @seed(20261124)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def each(case: Any) -> None:
        looked_at(case, url, headers)

    each()


def looked_at(case: Any, url: str, headers: dict[str, str]) -> None:
    answer = case.call(base_url=url, headers=headers, timeout=20)
    # A change whose If-Match no longer fits is refused before its body is looked at.
    looking = [check for check in CHECKS if answer.status_code != 412 or check is not checks.negative_data_rejection]
    case.validate_response(answer, checks=looking, headers=headers)
