"""The documentation pages come whole from the service itself."""

from __future__ import annotations

import re

import pytest

from tests.api.a_service import Api


async def test_every_part_of_the_page_is_served_here(api: Api) -> None:
    page = await api.ask("GET", "/docs", role=None)
    assert page.headers["content-type"].startswith("text/html")
    links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert {"/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css", "/docs/start.js", "/openapi.json"} == set(links)
    for link in links:
        assert (await api.ask("GET", link, role=None)).status_code == 200


async def test_the_policy_lets_nothing_in_from_outside(api: Api) -> None:
    answer = await api.ask("GET", "/docs", role=None)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert not re.search(r"https?:|\*", policy)
    assert "script-src 'self';" in policy
    assert "<script>" not in answer.text, "the policy would stop it"


@pytest.mark.parametrize("name", ["redoc.standalone.js", "..%2f__init__.py", "%2e%2e/consts.py", "nothing"])
async def test_nothing_else_is_served_from_there(api: Api, name: str) -> None:
    assert (await api.ask("GET", f"/docs/{name}", role=None)).status_code == 404
