"""The broker the tests of the broker door speak to."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(scope="session")
def broker_url() -> str:
    """The stack's broker, as the administrator of its accounts. Without one these tests fail: they never skip."""
    url = os.environ.get("TCEWATCH_MQTT_URL")
    assert url, "TCEWATCH_MQTT_URL names no broker; `make test` starts one, or use `eval $(tcewatch stack env)`"
    return url
