"""The API document is the contract: what is committed is what the service says of itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.api.openapi import text

COMMITTED = Path(__file__).parents[2] / "openapi.json"
WITHOUT_A_TOKEN = ("logIn",)
METHODS = {"get", "post", "patch", "put", "delete"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    made: dict[str, Any] = json.loads(text())
    return made


def test_the_committed_document_is_the_services_own() -> None:
    assert COMMITTED.read_text(encoding="utf-8") == text(), "run: python -m app.api.openapi > openapi.json"


def test_every_operation_is_named_and_tells_its_problems(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    for path, operations in document["paths"].items():
        for method in METHODS & set(operations):
            operation = operations[method]
            assert operation["operationId"]
            if path.startswith("/api/v1"):
                assert operation["operationId"] in WITHOUT_A_TOKEN or operation["security"]
                assert "401" in operation["responses"]
                problem = operation["responses"]["401"]["content"]
                assert set(problem) == {"application/problem+json"}
    assert "HTTPValidationError" not in json.dumps(document)


def test_gateways_find_their_door_in_it(document: dict[str, Any]) -> None:
    assert document["paths"]["/api/v1/readings"]["post"]["operationId"] == "postReadings"


def test_no_body_is_named_by_where_it_stands_in_the_code(document: dict[str, Any]) -> None:
    assert [name for name in document["components"]["schemas"] if "__" in name] == []


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    def references(part: Any) -> set[str]:
        if isinstance(part, dict):
            own = {part["$ref"]} if isinstance(part.get("$ref"), str) else set()
            return own.union(*map(references, part.values()))
        return set().union(*map(references, part)) if isinstance(part, list) else set()

    schemas = document["components"]["schemas"]
    assert {reference.removeprefix("#/components/schemas/") for reference in references(document)} <= set(schemas)
