"""The clock of the service's machine is set while readings arrive: back, ahead, and right again."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import httpx2
import pytest

from simulators.wire import Login, MqttDoor
from tests.faults.counting import CountingGateway, goes_on
from tests.faults.site import DOORS, Site, site
from tests.wait import until

HOUR_S, DAY_S = 3600, 86_400


@pytest.fixture(scope="module")
def here() -> Iterator[Site]:
    with site(TCEWATCH_RESEND_AFTER_S="1") as made:
        if not made.clock.can_be_set:
            pytest.skip("no C compiler: a clock of one's own cannot be made, so a step of it is not tested")
        yield made


@pytest.fixture(autouse=True)
def right_again(here: Site) -> Iterator[None]:
    yield
    here.clock.set(0)


def live(here: Site, gateway: CountingGateway, seq: int, value: float = 1.0) -> httpx2.Response:
    """A reading of this very moment, by the true time."""
    body = {"v": 1, "seq": seq, "ts": datetime.now(UTC).isoformat(), "vals": {gateway.meter: value}}
    return here.plant.push(gateway.gateway, body)


def steps(here: Site) -> int:
    text = httpx2.get(f"{here.plant.service.url}/metrics", timeout=10).text
    return next(
        int(float(line.split()[1]))
        for line in text.splitlines()
        if line.startswith("tcewatch_ingest_clock_steps_total")
    )


def state(here: Site, gateway: CountingGateway) -> dict[str, str]:
    found: dict[str, str] = here.plant.get(f"gateways/{gateway.gateway}")
    return found


@pytest.mark.parametrize("off_s", [-DAY_S, -HOUR_S, HOUR_S, DAY_S])
def test_whatever_the_clock_does_what_is_acknowledged_is_stored_once(here: Site, off_s: int) -> None:
    gateways = here.gateways(*DOORS)
    before = steps(here)
    for one in gateways:
        one.start()
    goes_on(gateways, 3)
    here.clock.set(off_s)
    until(lambda: steps(here) == before + 1, what="the step is noticed")
    goes_on(gateways, 3)
    assert any(f"set by {off_s:+d} s" in warning for warning in ready(here)["warnings"])
    here.clock.set(0)
    until(lambda: steps(here) == before + 2, what="the step back is noticed")
    goes_on(gateways, 3)
    for one in gateways:
        one.stop()
    balance = here.account(gateways)
    assert balance.balanced, str(balance)


def ready(here: Site) -> dict[str, list[str]]:
    found: dict[str, list[str]] = httpx2.get(f"{here.plant.service.url}/readyz", timeout=10).json()
    return found


def test_what_a_clock_that_is_behind_refuses_is_kept_and_stored_when_it_is_right(here: Site) -> None:
    (gateway,) = here.gateways("http")
    here.clock.set(-HOUR_S)
    refused = live(here, gateway, 1)
    assert [one["code"] for one in refused.json()["rejected"]] == ["timestamp-in-future"]
    here.clock.set(0)
    mended = here.plant.admin.post(
        "/api/v1/rejections/replay", json={"gateway": gateway.gateway, "clock_was_wrong": True}
    )
    assert (mended.status_code, mended.json()["stored"]) == (200, 1), mended.text
    assert live(here, gateway, 2, 2.0).json()["stored"] == 1


def test_who_was_heard_under_a_clock_that_was_ahead_is_not_there_for_a_day_more(here: Site) -> None:
    (gateway,) = here.gateways("http")
    here.clock.set(DAY_S)
    assert live(here, gateway, 1).json()["stored"] == 1
    ahead = datetime.fromisoformat(state(here, gateway)["last_data_at"])
    assert ahead > datetime.now(UTC) + timedelta(hours=23)
    here.clock.set(0)

    def brought_back() -> bool:
        return datetime.fromisoformat(state(here, gateway)["last_data_at"]) <= datetime.now(UTC)

    until(brought_back, what="its last data is no longer in the future", deadline_s=60)


def test_a_gap_is_asked_for_again_though_it_was_asked_for_in_the_future(here: Site) -> None:
    (gateway,) = here.gateways("http")
    here.clock.set(DAY_S)
    for seq in (1, 3):
        assert live(here, gateway, seq).json()["stored"] == 1
    here.sql(f"UPDATE sequence_gap SET asked_at = now() + interval '1 day' WHERE gateway = '{gateway.gateway}'")
    here.clock.set(0)
    asked: list[tuple[int, int]] = []
    broker = urlsplit(here.broker_url)
    login = Login(gateway.gateway, here.plant.secrets[gateway.gateway])
    door = MqttDoor(
        f"mqtt://{broker.hostname}:{broker.port}", login, on_resend=lambda first, last: asked.append((first, last))
    )
    until(lambda: (2, 2) in asked, what="it is asked for", deadline_s=60)
    door.close()
