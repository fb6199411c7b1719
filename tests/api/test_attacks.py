"""What somebody who means harm would try. SECURITY.md lists each attack with its test; the last test compares them."""

from __future__ import annotations

import ast
import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

from app.api.openapi import text
from app.store.registry import Fields
from tests.api.a_service import FOREIGN, FOREIGN_REGION, OWN, OWN_REGION, Api, is_problem
from tests.api.test_answers_fit_the_document import NEEDED, OPEN, WRITTEN, a_cursor, address, gets, params_of

ROOT = Path(__file__).parents[2]
DOCUMENT: Fields = json.loads(text())
SQL = (
    "' OR '1'='1",
    "x'; DROP TABLE enterprise; --",
    "1) UNION SELECT token_sha256 FROM api_token --",
    "\\'; --",
)
STREAMS = ("/api/v1/events",)
JSON_GETS = [(path, operation) for path, operation in gets() if path not in (*OPEN, *STREAMS)]


async def test_sql_in_a_parameter_is_a_word_like_any_other(api: Api) -> None:
    for path, operation in JSON_GETS:
        known = params_of(operation, "query")
        given = {name: NEEDED[name] for name in known if name in NEEDED}
        for name in known:
            for value in SQL:
                answer = await api.ask("GET", address(path), role="supervisor", params=given | {name: value})
                assert answer.status_code in (200, 403, 404, 422), f"{path} {name}={value}: {answer.text}"
                assert FOREIGN not in answer.text, f"{path} {name}={value}"
    assert await api.sql("SELECT count(*) FROM enterprise") == [(2,)]


async def test_sql_in_a_key_and_in_a_body_is_a_word_like_any_other(api: Api) -> None:
    for path, operation in JSON_GETS:
        given = {name: NEEDED[name] for name in params_of(operation, "query") if name in NEEDED}
        for name in WRITTEN.findall(path):
            answer = await api.ask("GET", address(path, **{name: SQL[0]}), role="supervisor", params=given)
            assert answer.status_code in (403, 404, 422), f"{path}: {answer.status_code} {answer.text}"
    for value in SQL:
        assert (await api.patch(f"enterprises/{OWN}", {"name": value})).json()["name"] == value
        is_problem(await api.patch(f"enterprises/{OWN}", {"region": value}), 422, "invalid")


async def test_a_forged_cursor_opens_nothing(api: Api) -> None:
    for path in ("enterprises", "gateways", "meters", "lines", "factors", "budgets", "tokens", "users", "audit"):
        for parts in ((FOREIGN[:3],), ("",), ("0",), (FOREIGN, "E0"), ("", ""), ("2026", FOREIGN, "equivalent")):
            answer = await api.get(path, role="supervisor", params={"cursor": a_cursor(*parts)})
            assert answer.status_code in (200, 403, 422), answer.text
            assert FOREIGN not in answer.text
            assert FOREIGN_REGION not in answer.text


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", f"enterprises/{OWN}", {"id": FOREIGN}),
        ("PATCH", f"enterprises/{OWN}", {"created_at": "2020-01-01T00:00:00Z"}),
        ("PATCH", "gateways/gw-own", {"secret_sha256": "x"}),
        ("PATCH", "gateways/gw-own", {"enterprise": FOREIGN}),
        ("PATCH", f"meters/{OWN}/E001", {"meter_id": 1}),
        ("PATCH", f"meters/{OWN}/E001", {"enterprise": FOREIGN}),
        ("PATCH", "users/person.own", {"password_hash": "x"}),
        ("PATCH", "users/person.own", {"account_id": 1}),
        ("POST", "tokens", {"name": "x", "role": "admin", "scope": OWN_REGION, "token_sha256": "x"}),
        ("POST", "tokens", {"name": "x", "role": "owner", "scope": OWN_REGION}),
    ],
)
async def test_a_field_that_is_not_to_be_set_is_refused(api: Api, method: str, path: str, body: Fields) -> None:
    is_problem(await api.ask(method, f"/api/v1/{path}", json=body), 422, "invalid")


def test_no_body_of_the_document_takes_unknown_fields() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    for path, operations in DOCUMENT["paths"].items():
        for method in {"post", "put", "patch"} & set(operations):
            content = operations[method].get("requestBody", {}).get("content", {})
            reference = content.get("application/json", {}).get("schema", {}).get("$ref")
            if reference is not None:
                schema = schemas[reference.rsplit("/", 1)[1]]
                assert schema["additionalProperties"] is False, f"{method} {path}"


@pytest.mark.parametrize("interval", ["PT1H", "P1D"])
async def test_a_huge_range_is_refused_before_it_is_computed(api: Api, interval: str) -> None:
    for bounds in ("from=0001&to=9999", "from=1900-01-01&to=2199-12-31"):
        answer = await api.get(f"enterprises/{OWN}/energy?{bounds}&interval={interval}")
        assert answer.status_code == 422, answer.text


@pytest.mark.parametrize("raw", [b"[" * 9000, b'{"a":' * 1500 + b"1" + b"}" * 1500, b'{"name": ' + b"[" * 4000])
async def test_a_deep_document_is_refused(api: Api, raw: bytes) -> None:
    headers = {"content-type": "application/json"}
    answer = await api.ask("POST", "/api/v1/enterprises", content=raw, headers=headers)
    assert answer.status_code in (400, 422), answer.text


async def test_a_name_cannot_add_a_header_to_an_export(api: Api) -> None:
    await api.patch(f"enterprises/{OWN}", {"name": 'x"\r\nX-Evil: 1\r\n\r\n<script>'})
    for path in ("enterprises?format=csv", f"enterprises/{OWN}/energy?from=2026-11-01&to=2026-11-02&format=csv"):
        answer = await api.get(path)
        assert answer.status_code == 200
        assert "x-evil" not in answer.headers
        assert re.fullmatch(r'attachment; filename="[A-Za-z0-9._-]+"', answer.headers["content-disposition"])
    answer = await api.get(f"enterprises/{OWN}%0d%0aX-Evil:%201/energy?from=2026-11-01&to=2026-11-02&format=csv")
    assert answer.status_code == 404
    assert "x-evil" not in answer.headers


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", "＝"])
async def test_a_name_cannot_become_a_formula(api: Api, start: str) -> None:
    name = f"{start}HYPERLINK(1)"
    await api.patch(f"enterprises/{OWN}", {"name": name})
    answer = await api.get("enterprises?format=csv", role="enterprise")
    rows = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))
    assert [row["name"] for row in rows] == ["'" + name]


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/enterprises/../tokens",
        "/api/v1/enterprises/%2e%2e/tokens",
        "/api/v1/enterprises/..%2ftokens",
        "/api/v1//tokens",
        "/api/v1/tokens/",
        "/api/v1/%74okens%00",
        "/docs/../../pyproject.toml",
        "/docs/%2e%2e/%2e%2e/pyproject.toml",
        "/docs/..%2f..%2fpyproject.toml",
        "/etc/passwd",
    ],
)
async def test_a_path_has_one_spelling(api: Api, path: str) -> None:
    answer = await api.client.request("GET", f"http://service{path}", headers={}, follow_redirects=False)
    assert answer.status_code in (401, 404), f"{answer.status_code} {answer.text[:200]}"
    assert "tokens" not in answer.text or answer.status_code == 401 or "is not there" in answer.text
    assert "[build-system]" not in answer.text


async def test_the_host_header_is_believed_nowhere(api: Api) -> None:
    answer = await api.get("enterprises?limit=1", headers={"host": "evil.example"})
    assert answer.headers["link"].startswith("</api/v1/enterprises?")
    assert "evil.example" not in str(answer.headers)


@pytest.mark.parametrize(
    "header", ["Bearer", "Bearer ", "Basic dHc6dHc=", "Bearer \xff\xfe", "Bearer " + "x" * 9000, "null"]
)
async def test_a_token_that_is_none_is_refused(api: Api, header: str) -> None:
    headers = [(b"authorization", header.encode("latin-1"))]
    answer = await api.client.request("GET", "/api/v1/enterprises", headers=headers)
    is_problem(answer, 401, "token-invalid")


async def test_a_method_is_what_the_request_line_says(api: Api) -> None:
    for name in ("x-http-method-override", "x-method-override", "x-http-method"):
        answer = await api.get(f"enterprises/{OWN}", headers={name: "DELETE"})
        assert answer.status_code == 200
    assert await api.sql("SELECT count(*) FROM enterprise") == [(2,)]


def test_security_md_names_a_test_for_every_attack() -> None:
    page = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", page)
    assert len(named) > 15
    for file, name in named:
        assert name in functions(ROOT / file), f"SECURITY.md names {name}, which is not in {file}"
    own = {name for name in functions(Path(__file__)) if not name.startswith("test_security_md")}
    assert own <= {name for file, name in named if file.endswith("test_attacks.py")}, "list it in SECURITY.md"


def functions(path: Path) -> set[str]:
    nodes: list[Any] = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    found = (node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return {name for name in found if name.startswith("test_")}
