"""Writes the API document: `python -m app.api.openapi > openapi.json`."""

from __future__ import annotations

import json

from app.api.application import create_api


def text() -> str:
    """The document as it is committed."""
    return json.dumps(create_api(None).openapi(), ensure_ascii=False, indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    print(text(), end="")
