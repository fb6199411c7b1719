"""A plant registered by REST as a supervisor would do it, and the questions the tests ask about it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2

from tests.e2e.service import Service, run
from tests.wait import until

ENTERPRISE = "91445300MA4UXXXX0J"


@dataclass(slots=True)
class Plant:
    """One enterprise with its gateways' secrets and a client that holds the admin token."""

    service: Service
    env: dict[str, str]
    admin: httpx2.Client
    secrets: dict[str, str]

    def add_gateway(self, gateway: str) -> str:
        body = {"id": gateway, "enterprise": ENTERPRISE, "name": gateway}
        self.secrets[gateway] = self.post("gateways", body)["secret"]
        return self.secrets[gateway]

    def add_meter(self, code: str, gateway: str, **changes: Any) -> None:
        meter = {
            "enterprise": ENTERPRISE,
            "code": code,
            "name": f"meter {code}",
            "gateway": gateway,
            "carrier": "electricity",
            "kind": "register",
            "unit": "kWh",
            "multiplier": 1,
            "expected_interval_s": 900,
            "role": "purchase",
            "level": 1,
        }
        self.post("meters", meter | changes)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        answer = self.admin.post(f"/api/v1/{path}", json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()

    def get(self, path: str, **params: Any) -> Any:
        """A JSON answer whose numbers are exact decimals."""
        answer = self.admin.get(f"/api/v1/{path}", params=params)
        assert answer.status_code == 200, answer.text
        return json.loads(answer.text, parse_float=Decimal)

    def energy(self, interval: str, start: str, end: str, **params: Any) -> list[dict[str, Any]]:
        """All buckets of a range, asked for in pieces no longer than the service answers at once."""
        ranges = {"from": start, "to": end, "interval": interval}
        return list(self.get(f"enterprises/{ENTERPRISE}/energy", **ranges, **params)["buckets"])

    def push(self, gateway: str, body: object, *, secret: str | None = None) -> httpx2.Response:
        """One message by HTTP as a gateway sends it."""
        headers = {"Authorization": f"Bearer {secret or self.secrets[gateway]}"}
        if isinstance(body, bytes | str):
            return httpx2.post(f"{self.service.url}/api/v1/readings", content=body, headers=headers, timeout=60)
        return httpx2.post(f"{self.service.url}/api/v1/readings", json=body, headers=headers, timeout=60)

    def rolled_up(self) -> None:
        """Waits until no mark of the ledger is left."""
        until(lambda: self.backlog_rows() == 0, what="the rollup has worked off every mark", deadline_s=120)

    def backlog_rows(self) -> int:
        return int(httpx2.get(f"{self.service.url}/readyz", timeout=10).json()["backlog"]["rows"])


@contextmanager
def running_plant(env: dict[str, str], log: Path) -> Iterator[Plant]:
    """A service over an empty database with one enterprise in it; at the end it has to leave with status 0."""
    service = Service(env, log)
    service.start()
    made = run("token", "create", "--role", "admin", "--scope", "4453", "--name", "tests", env=env)
    token = made.stdout.strip()
    with httpx2.Client(base_url=service.url, headers={"Authorization": f"Bearer {token}"}, timeout=60) as admin:
        try:
            assert made.returncode == 0, made.stderr
            plant = Plant(service, env, admin, {})
            plant.post("enterprises", {"id": ENTERPRISE, "name": "示范钢厂", "region": "445302", "industry": "3120"})
            yield plant
        finally:
            status = service.stop()
    assert status == 0, service.log()
