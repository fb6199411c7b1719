"""A parameter that is not understood is told, never passed over."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest

from app.api.parameters import bound_us
from energy.interval import TimezoneMissing
from tests.api.a_service import OWN, Api, is_problem

ZONE = ZoneInfo("Asia/Shanghai")


def test_a_plus_sign_that_became_a_space_is_still_a_plus_sign() -> None:
    assert bound_us("2026-11-01T08:00:00 08:00", ZONE) == bound_us("2026-11-01T08:00:00+08:00", ZONE)


def test_a_time_without_an_offset_stays_refused() -> None:
    with pytest.raises(TimezoneMissing):
        bound_us("2026-11-01T08:00:00", ZONE)


@pytest.mark.parametrize("path", ["enterprises", "meters", f"enterprises/{OWN}", "factors", "regions"])
async def test_a_misspelt_parameter_is_refused_with_those_that_are_known(api: Api, path: str) -> None:
    answer = await api.get(path, params={"regoin": "445302"})
    body = is_problem(answer, 422, "bad-query")
    assert "regoin" in body["detail"]
    assert "known are" in body["detail"]


async def test_the_zone_may_be_named_when_it_is_the_services_own(api: Api) -> None:
    params = {"from": "2026-11-22", "to": "2026-11-24"}
    path = f"enterprises/{OWN}/energy"
    assert (await api.get(path, params=params | {"tz": "Asia/Shanghai"})).status_code == 200
    is_problem(await api.get(path, params=params | {"tz": "Europe/Berlin"}), 422, "bad-query")
