"""Every operation of the document, asked by schemathesis with what fits its schemas and with what does not.

Its phases: fuzzing, the coverage of each schema's edges, and sequences of calls by the links it infers from the
document (what one operation answers is what another asks for). All of its checks are on. What keeps its schemas is
given the names of things that are there (tests.api.what_is_there), and is then taken, or refused by a rule that no
schema can say; those are listed there, by operation and code.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import FlakyStrategyDefinition, Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.config import GenerationConfig
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode
from schemathesis.generation.stateful import run_state_machine_as_test
from schemathesis.specs.openapi import checks

from app.api.openapi import text
from app.api.problems import every_problem
from app.store.access import create_token
from app.store.database import open_database
from tests.api.a_service import CITY, own_things, two_enterprises
from tests.api.what_is_there import BY_RULE, usable
from tests.e2e.service import Service

EXAMPLES = 4
"""Fuzzed, of each operation and kind."""
SCENARIOS, STEPS = 30, 8
SEED = 20261124
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
    checks.positive_data_acceptance,
    checks.negative_data_rejection,
    checks.missing_required_header,
    checks.unsupported_method,
    checks.allow_header_conformance,
    checks.ignored_auth,
    checks.use_after_free,
    checks.ensure_resource_availability,
]


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


def test_every_rule_is_of_an_operation_and_a_problem_that_exist() -> None:
    codes = {code for _, code, _, _ in every_problem()}
    assert {name for name, _ in BY_RULE} <= set(OPERATIONS)
    assert {code for _, code in BY_RULE} <= codes


@pytest.mark.parametrize("name", sorted(set(OPERATIONS) - ENDLESS - OF_THE_LOG_IN))
def test_no_answer_is_outside_of_the_document(service: tuple[str, str], name: str) -> None:
    url, token = service
    headers = {"Authorization": f"Bearer {token}"}
    choosing = random.Random(name)
    modes = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]
    for mode in modes:
        # An operation without parameters cannot be asked wrongly.
        with suppress(Unsatisfiable):
            asked(OPERATIONS[name], mode, lambda case: looked_at(case, url, headers, choosing))
    for case in SCHEMA.iter_coverage_cases(OPERATIONS[name], generation_modes=modes, generation_config=GENERATION):
        looked_at(case, url, headers, choosing)


def asked(operation: Any, mode: GenerationMode, look: Callable[[Any], None]) -> None:
    @seed(SEED)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def each(case: Any) -> None:
        look(case)

    each()


def looked_at(case: Any, url: str, headers: dict[str, str], choosing: random.Random) -> None:
    if case.meta.generation.mode.is_positive:
        usable(case, name_of(case), choosing)
    answer = case.call(base_url=url, headers=headers, timeout=20)
    case.validate_response(answer, checks=checks_for(case, answer), headers=headers)


def name_of(case: Any) -> str:
    return str(case.operation.definition.raw["operationId"])


AGAINST_THE_DOCUMENT = "invalid"
"""What a request is called that its schema does not allow; every other 422 is a rule's about what is there."""


def checks_for(case: Any, answer: Any, *, after_others: bool = False) -> list[Any]:
    """All, but for what a rule refuses, and what an If-Match that no longer fits refuses before its body is read.

    `after_others`: in a sequence ids come from the answers before, whatever rule protects what they name.
    """
    skipped = []
    if answer.status_code == 412:
        skipped.append(checks.negative_data_rejection)
    code = answer.json()["code"] if answer.status_code == 422 else None
    if (name_of(case), code) in BY_RULE or (after_others and code not in (None, AGAINST_THE_DOCUMENT)):
        skipped.append(checks.positive_data_acceptance)
    return [check for check in CHECKS if check not in skipped]


def test_sequences_of_calls_stay_within_the_document(service: tuple[str, str], database_url: str) -> None:
    """What was made is there, what was removed is gone. Each sequence has its own token: it may revoke it."""
    url, _ = service
    left_out = sorted(ENDLESS | OF_THE_LOG_IN)
    machine = SCHEMA.exclude(operation_id=left_out).as_state_machine()
    done: Counter[int] = Counter()

    class Sequence(machine):  # type: ignore[misc, valid-type]  # made from the document
        def setup(self) -> None:
            self.choosing = random.Random(SEED)
            self.headers = {"Authorization": f"Bearer {asyncio.run(a_token(database_url))}"}

        def before_call(self, case: Any) -> None:
            if case.meta is None or case.meta.generation.mode.is_positive:
                usable(case, name_of(case), self.choosing, path=False)

        def get_call_kwargs(self, case: Any) -> dict[str, Any]:
            return {"base_url": url, "headers": self.headers, "timeout": 20}

        def validate_response(self, response: Any, case: Any, additional_checks: Any = None, **kwargs: Any) -> None:
            done[response.status_code // 100] += 1
            case.validate_response(
                response,
                checks=checks_for(case, response, after_others=True),
                headers=self.headers,
                transport_kwargs=kwargs,
                recorder=self.recorder,
            )

    for number in range(SCENARIOS):
        # What is answered depends on the sequences before; to Hypothesis that looks like a strategy that changes.
        with suppress(FlakyStrategyDefinition):
            run_state_machine_as_test(
                seed(SEED + number)(type(f"Sequence{number}", (Sequence,), {})),
                settings=settings(
                    max_examples=2,
                    stateful_step_count=STEPS,
                    deadline=None,
                    database=None,
                    phases=[Phase.generate],
                    suppress_health_check=list(HealthCheck),
                ),
            )
    assert done[2] > SCENARIOS, done


async def a_token(database_url: str) -> str:
    async with open_database(database_url, pool_size=1) as database:
        return await create_token(database, role="admin", scope=CITY, name="of a sequence")
