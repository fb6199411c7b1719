"""The OpenAPI document: FastAPI's, with our errors in the place of its own, the forms of an answer, and examples.

What an operation may answer follows from what it is: its rule, its body, its parameters. So a route that comes later is
described as fully as the others, and a test compares the document with what is answered.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from app.api import problems
from app.api.access import reader
from app.api.answers import CSV_TYPE, PARQUET_TYPE, XLSX_TYPE
from app.api.examples import examples_of, parameter_example
from app.api.exports import PREFIX
from app.api.schemas.jobs import JobOut
from app.api.schemas.service import ProblemOut
from app.api.writes import IDEMPOTENCY_HEADER
from ingest.http import OPENAPI_PATH, PATH

VERSION = "1.0.0"
TITLE = "tcewatch"
DESCRIPTION = (
    "The open ledger of key energy users. Times are RFC 3339 with an offset; ranges are [from, to); a bare 2026-11 or "
    "2026-11-23 is the local month or day. What nobody measured is null, never 0. Errors are application/problem+json "
    "with a stable `code`. Lists answer {items, next}; give `next` back as `cursor`. Tables also come as CSV, XLSX and "
    "Parquet, by the Accept header or `format`: one page where `limit` or `cursor` is given, else all of it; "
    "`Prefer: respond-async` and what is too long to wait for become a job. Answers to GET have a weak ETag: "
    "If-None-Match is answered by 304."
)
LANGUAGE = {
    "name": "Accept-Language",
    "in": "header",
    "required": False,
    "description": "zh-CN or en, for titles and details.",
    "schema": {"type": "string"},
}
HELD = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "description": "The ETag of an answer that is held: 304 if it is still the same.",
    "schema": {"type": "string"},
}
WISH = {
    "name": "Prefer",
    "in": "header",
    "required": False,
    "description": "`respond-async`: make a job of it (202).",
    "schema": {"type": "string"},
}
KEY = {
    "name": IDEMPOTENCY_HEADER,
    "in": "header",
    "required": False,
    "description": "The same key with the same request within a day is done once and answered the same.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 202, "pattern": '^([!#-~]{1,200}|"[!#-~]{1,200}")$'},
}
SEEN = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "description": "The ETag of the object as it was read: 412 if it has changed since.",
    "schema": {"type": "string"},
}
WRITTEN = r"^[+-]?[0-9]{1,18}(\.[0-9]{1,17})?$"
"""A number as a string. Its bounds are those of the number beside it, which no pattern can say."""
METHODS = ("get", "post", "put", "patch", "delete")


def document(app: FastAPI) -> dict[str, Any]:
    """The document of the application's routes, and of the readings door beside them."""
    if app.openapi_schema is None:
        made = get_openapi(
            title=TITLE, version=VERSION, description=DESCRIPTION, routes=app.routes, openapi_version="3.1.0"
        )
        schemas = made["components"]["schemas"]
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        for model in (ProblemOut, JobOut):
            schemas[model.__name__] = model.model_json_schema()
        _write_numbers(schemas)
        routes = {(PREFIX + route.path, method): route for route in app.state.api_routes for method in route.methods}
        for path, method, operation in operations_of(made):
            operation["responses"].pop("422", None)
            if (path, method.upper()) in routes:
                _describe(path, method, operation, routes[path, method.upper()])
        made["paths"][PATH] = json.loads(json.dumps(OPENAPI_PATH))
        made["components"]["securitySchemes"]["gatewaySecret"] = {
            "type": "http",
            "scheme": "bearer",
            "description": "The secret a gateway was given when it was created.",
        }
        for path, _, operation in operations_of(made):
            if path.startswith(PREFIX):
                _exemplify(operation, made["components"])
        app.openapi_schema = made
    return app.openapi_schema


def operations_of(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method in METHODS:
            if method in methods:
                yield path, method, methods[method]


def _write_numbers(part: Any) -> None:
    """Says of each decimal that is taken as a number or as a string which strings are meant."""
    if isinstance(part, dict):
        ways = part.get("anyOf", [])
        kinds = {way.get("type") for way in ways}
        if "number" in kinds and "integer" not in kinds and {"type": "string"} in ways:
            ways[ways.index({"type": "string"})] = {"type": "string", "pattern": WRITTEN}
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        _write_numbers(inner)


def _describe(path: str, method: str, operation: dict[str, Any], route: APIRoute) -> None:
    answers = operation["responses"]
    parameters = operation.setdefault("parameters", [])
    asked = {parameter["name"] for parameter in parameters}
    parameters.append(LANGUAGE)
    if method == "get" and "text/event-stream" not in answers["200"].get("content", {}):
        parameters.append(HELD)
        answers["304"] = {"description": "The answer is the one of the ETag in If-None-Match"}
    if "format" in asked:
        parameters.append(WISH)
        _declare_forms(answers)
    if method == "post" and operation.get("security"):
        parameters.append(KEY)
    if method in ("put", "patch", "delete"):
        parameters.append(SEEN)
    for status, words in _refusals(path, method, operation, route, asked).items():
        content = {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemOut"}}}
        answers[status] = {"description": words, "content": content}


def _refusals(path: str, method: str, operation: dict[str, Any], route: APIRoute, asked: set[str]) -> dict[str, str]:
    """What may be answered besides: status → what it means here."""
    told = {
        "400": "The bytes are no HTTP request",
        "401": "No valid token",
        "408": "The request came too slowly",
        "422": "The request cannot be used",
        "429": "Too much at once",
        "431": "The headers are too large",
        "503": "Come again later",
    }
    if "{" in path:
        told["404"] = "Not there, or not for this token"
    if "format" in asked:
        told["406"] = "This form is not installed"
    if "requestBody" in operation:
        told |= {
            "400": "The bytes are no HTTP request, or the body cannot be read",
            "413": "The body is too large",
            "415": "The body is no JSON",
        }
    if method != "get" or operation["operationId"] == "getJobResult":
        told["409"] = "It is not as this needs it"
    if method in ("put", "patch", "delete"):
        told["412"] = "It has changed since the caller read it"
    if method != "get" or set(_rules(route.dependant)) - {"reader"}:
        told["403"] = "This token may not do that"
    return told


def _rules(dependant: Dependant) -> Iterator[str]:
    """Names of what decides who may ask: everything that stands on `reader`."""
    for part in dependant.dependencies:
        if part.call is reader or any(inner.call is reader for inner in part.dependencies):
            yield part.call.__name__ if part.call is not None else ""
        yield from _rules(part)


def _declare_forms(answers: dict[str, Any]) -> None:
    """A table's other forms, and the job that it becomes where it is too long to wait for."""
    content = answers["200"]["content"]
    content[CSV_TYPE] = {"schema": {"type": "string"}}
    for kind in (XLSX_TYPE, PARQUET_TYPE):
        content[kind] = {"schema": {"type": "string", "contentMediaType": kind}}
    answers["202"] = {
        "description": "A job that makes the table; its address is in Location",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/JobOut"}}},
    }


def _exemplify(operation: dict[str, Any], components: dict[str, Any]) -> None:
    """A Chinese and an English example of what is sent and of what is answered."""
    for parameter in operation.get("parameters", ()):
        found = parameter_example(parameter)
        if found is not None:
            parameter["example"] = found
    bodies = [operation["requestBody"]] if "requestBody" in operation else []
    for part in (*bodies, *operation["responses"].values()):
        for kind, content in part.get("content", {}).items():
            if kind in ("application/json", problems.MEDIA_TYPE) and "schema" in content:
                content["examples"] = examples_of(content["schema"], components)
