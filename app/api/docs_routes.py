"""The documentation pages: the API document in Swagger UI, without a byte from outside.

The assets are those of a pinned package; what runs in the page is a file of ours, so the policy forbids inline scripts.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

router = APIRouter(include_in_schema=False)

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""Swagger UI sets styles on its elements, which needs unsafe-inline for styles; scripts come from files alone."""
PAGE = """<!doctype html>
<html lang="zh-CN">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>tcewatch · API</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="ui">接口文档 · API document: <a href="/openapi.json">openapi.json</a></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""
START = """SwaggerUIBundle({
  url: "/openapi.json", dom_id: "#ui", deepLinking: true, filter: true, persistAuthorization: false,
  validatorUrl: null, docExpansion: "none", defaultModelsExpandDepth: 0
});
"""
ASSETS = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript"}


@router.get("/")
async def door() -> Response:
    """Who opens the address alone is shown what there is."""
    return RedirectResponse("/docs")


@router.get("/docs")
async def page() -> Response:
    return _answer(PAGE.encode(), "text/html")


@router.get("/docs/start.js")
async def start() -> Response:
    return _answer(START.encode(), "text/javascript")


@router.get("/docs/{asset}")
async def asset(asset: str) -> Response:
    """One of the package's files, by its exact name."""
    if asset not in ASSETS:
        raise HTTPException(404)
    return _answer(_content(asset), ASSETS[asset])


@cache
def _content(name: str) -> bytes:
    return (files("fastapi_offline") / "static" / name).read_bytes()


def _answer(content: bytes, kind: str) -> Response:
    headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-cache", "Referrer-Policy": "no-referrer"}
    return Response(content, 200, headers, f"{kind}; charset=utf-8")
