"""The conventions of the contract, held against every operation of the document: also against those that come later."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from app.api.openapi import text
from tests.api.a_service import OWN, Api
from tests.api.test_answers_fit_the_document import address, needed

DOCUMENT: dict[str, Any] = json.loads(text())
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]
METHODS = ("get", "post", "put", "patch", "delete")
TONGUES = {"zh-CN", "en"}
JSON_KINDS = ("application/json", "application/problem+json")
FIGURES = {"tce", "tce_net", "tco2", "tco2_net", "quantity", "spent", "projected", "unit_energy"}
"""What is worked out from readings and coefficients."""
NOT_MADE_HERE = {
    "/api/v1/budgets": "plans, as people entered them; how they stand has evaluated_at",
    "/api/v1/enterprises": "the registry, sorted by a tce that is a figure in enterprises/{id}/energy",
    "/api/v1/enterprises/{enterprise}/budgets/{year}": "a plan, as people entered it",
    "/api/v1/lines/{line}/outputs": "as people entered them",
    "/api/v1/restatements": "each says itself when it was made, and from what",
}
"""Answers with a field of such a name that is no figure made when it is asked for, and why."""
WHOLE_LISTS = {
    "listRegions": "the caller's subtree",
    "listCarriers": "a reference table",
    "listProducts": "a reference table",
    "listCorrections": "a reference table",
    "listExclusions": "of one budget, at most some a month",
    "listStuck": "of one meter in a range that is bounded itself",
    "listAlertSettings": "one for each region that has its own",
    "getRegionContacts": "of one region",
    "listClosingDays": "of one region, a line for each change of its day",
    "getRegionTargets": "of one region",
    "listWebhooks": "a caller's own, of which there may be a few",
}
"""Lists of one page, and why they cannot grow long."""
NO_STRETCH = {"DifferenceOut": "its start is a part of the key of the stored row that differs"}


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in DOCUMENT["paths"].items():
        for method in METHODS:
            if method in methods and path.startswith("/api/v1"):
                yield path, method, methods[method]


def bodies(operation: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """What is sent and what is answered, each with where it stands."""
    parts = {"sent": operation["requestBody"]} if "requestBody" in operation else {}
    for where, part in (parts | operation["responses"]).items():
        for kind, content in part.get("content", {}).items():
            if kind in JSON_KINDS:
                yield f"{where} {kind}", content


def answered(path: str) -> dict[str, Any] | None:
    """The schema of what a GET answers as JSON."""
    content = DOCUMENT["paths"][path].get("get", {}).get("responses", {}).get("200", {}).get("content", {})
    schema: dict[str, Any] | None = content.get("application/json", {}).get("schema")
    return schema


def resolved(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    return SCHEMAS[schema["$ref"].rsplit("/", 1)[1]] if "$ref" in schema else schema


def parts_of(schema: Mapping[str, Any], seen: tuple[str, ...] = ()) -> Iterator[Mapping[str, Any]]:
    """The schema and all it is made of."""
    name = schema.get("$ref")
    if name in seen:
        return
    seen = (*seen, name) if name else seen
    whole = resolved(schema)
    yield whole
    inner = [*whole.get("properties", {}).values(), *whole.get("anyOf", ()), *whole.get("oneOf", ())]
    for one in (*inner, *([whole["items"]] if isinstance(whole.get("items"), dict) else [])):
        yield from parts_of(one, seen)


EVERY = [(path, method) for path, method, _ in operations()]
TABLES = [path for path, method, _ in operations() if method == "get" and answered(path) is not None]
FIGURED = [
    path for path in TABLES if any(FIGURES & set(part.get("properties", {})) for part in parts_of(answered(path) or {}))
]


@pytest.mark.parametrize(("path", "method"), EVERY)
def test_every_body_has_a_chinese_and_an_english_example_that_fits(path: str, method: str) -> None:
    for where, content in bodies(DOCUMENT["paths"][path][method]):
        assert set(content["examples"]) == TONGUES, where
        whole = {"components": DOCUMENT["components"], **content["schema"]}
        judge = Draft202012Validator(whole, format_checker=FormatChecker())
        for tongue, example in content["examples"].items():
            faults = [f"{fault.json_path}: {fault.message}" for fault in judge.iter_errors(example["value"])]
            assert faults == [], f"{where} {tongue}"


@pytest.mark.parametrize("path", FIGURED)
def test_figures_say_when_and_from_which_coefficients_they_were_made(path: str) -> None:
    properties = set(resolved(answered(path) or {}).get("properties", {}))
    assert (path in NOT_MADE_HERE) != ({"as_of", "factor_set"} <= properties)


def test_what_is_excepted_is_there() -> None:
    assert set(NOT_MADE_HERE) <= set(FIGURED)
    assert {operation["operationId"] for _, _, operation in operations()} >= set(WHOLE_LISTS)


@pytest.mark.parametrize(
    "name", [name for name, schema in SCHEMAS.items() if {"tce", "tce_net"} <= set(schema.get("properties", {}))]
)
def test_a_figure_has_its_status_and_coverage_and_a_quantity_its_unit(name: str) -> None:
    fields = set(SCHEMAS[name]["properties"])
    assert {"tco2", "tco2_net"} <= fields
    assert name in TOLD_AROUND or {"status", "coverage"} <= fields
    assert name in TOLD_AROUND or "quantity" not in fields or "unit" in fields


TOLD_AROUND = {"TonnesOut", "QuantityTonnesOut"}
"""Parts of an explanation: status, coverage and unit stand beside them, in what holds them."""


@pytest.mark.parametrize(
    "name", [name for name, schema in SCHEMAS.items() if {"start", "end"} & set(schema.get("properties", {}))]
)
def test_a_stretch_of_time_has_both_ends(name: str) -> None:
    assert (name in NO_STRETCH) != ({"start", "end"} <= set(SCHEMAS[name]["properties"]))


@pytest.mark.parametrize(("path", "method"), EVERY)
def test_a_range_has_both_bounds_and_a_list_its_pages(path: str, method: str) -> None:
    operation = DOCUMENT["paths"][path][method]
    asked = {parameter["name"] for parameter in operation.get("parameters", ()) if parameter["in"] == "query"}
    assert ("from" in asked) == ("to" in asked)
    schema = resolved(answered(path) or {}) if method == "get" else {}
    if "items" in schema.get("properties", {}):
        assert "next" in schema["properties"]
        paged = {"limit", "cursor"} <= asked
        assert paged != (operation["operationId"] in WHOLE_LISTS)


def moments(schema: Mapping[str, Any]) -> Iterator[str]:
    """Fields of a body that hold a time or a day."""
    for name, field in resolved(schema).get("properties", {}).items():
        kinds = [field, *field.get("anyOf", ())]
        if any(kind.get("format") in ("date", "date-time") for kind in kinds):
            yield name


DATED = [
    (path, method, name)
    for path, method, operation in operations()
    for _, content in bodies({"requestBody": operation.get("requestBody", {}), "responses": {}})
    if operation["operationId"] != "postReadings"
    for name in moments(content["schema"])
]


def test_there_are_bodies_with_times() -> None:
    assert len(DATED) > 10


@pytest.mark.parametrize(("path", "method", "name"), DATED)
async def test_a_bare_number_is_no_time(api: Api, path: str, method: str, name: str) -> None:
    """Seconds since 1970, or milliseconds, or a slip of the hand: nobody can tell."""
    content = DOCUMENT["paths"][path][method]["requestBody"]["content"]["application/json"]
    body = content["examples"]["en"]["value"]
    for value in (0, 1_795_396_500, "1795396500", True, "2026", "2026-11"):
        answer = await api.ask(
            method.upper(), address(path), json=body | {name: value}, params=needed(path) if method == "get" else None
        )
        assert answer.status_code == 422, f"{value!r}: {answer.text}"
        assert f"/body/{name}" in [fault["pointer"] for fault in answer.json()["errors"]], value


async def test_the_overview_is_as_of_the_oldest_mark(api: Api) -> None:
    before = (await api.get("regions/4453/overview")).json()
    await api.sql(
        """INSERT INTO touched (meter_id, marked_at)
           SELECT array_agg(meter_id), '2026-11-01T00:00Z' FROM meter WHERE enterprise = $1""",
        OWN,
    )
    waiting = (await api.get("regions/4453/overview")).json()
    assert before["as_of"] > waiting["as_of"] == "2026-11-01T08:00:00+08:00"
    assert waiting["factor_set"] == before["factor_set"]
    assert waiting["factor_set"].startswith("reference-")
