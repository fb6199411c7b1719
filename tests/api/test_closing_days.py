"""On which day months are closed, per region and from a month on; and which routes answer what was known on a day."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.a_service import CITY, OWN, OWN_REGION, Api, is_problem
from tests.api.test_answers_fit_the_document import DOCUMENT, PATHS, address, needed, params_of

COUNTY = f"regions/{OWN_REGION}/closing-days"


def a_day(**changes: Any) -> dict[str, Any]:
    return {"from_month": "2026-11", "day": 20, "reason": "the county's statistics come later"} | changes


async def test_a_county_closes_its_months_on_a_day_of_its_own(api: Api) -> None:
    made = await api.put(COUNTY, a_day(), role="supervisor")
    assert made.status_code == 200, made.text
    again = await api.put(COUNTY, a_day(day=15), role="supervisor")
    (only,) = again.json()["items"]
    assert (only["from_month"], only["day"]) == ("2026-11", 15)
    later = await api.put(COUNTY, a_day(from_month="2027-01", day=8))
    assert [(one["from_month"], one["day"]) for one in later.json()["items"]] == [("2027-01", 8), ("2026-11", 15)]
    trail = (await api.get("audit", params={"object_kind": "region"})).json()["items"]
    assert [one["after"]["day"] for one in trail if one["action"] == "region.closing-day"] == [8, 15, 20]


async def test_what_was_known_goes_by_the_regions_day(api: Api) -> None:
    """October is closed on 10 November by the setting, on the 20th where the county has said so before it began."""
    asked = {"from": "2026-09", "to": "2026-11", "interval": "P1M"}
    for county, known, reasons in (
        (False, "2026-11-12", [[], []]),
        (True, "2026-11-12", [[], ["not-closed:2026-10"]]),
        (True, "2026-11-20", [[], []]),
    ):
        if county:
            await api.sql(
                """INSERT INTO region_closing VALUES ($1, '2026-10-01', 20, 'x', 'x') ON CONFLICT DO NOTHING""",
                OWN_REGION,
            )
        answer = await api.get(f"enterprises/{OWN}/energy", params=asked | {"known_on": known})
        assert [
            [one for one in bucket["reasons"] if one.startswith("not-closed")] for bucket in answer.json()["buckets"]
        ] == reasons


async def test_a_closing_day_that_cannot_be_is_refused(api: Api) -> None:
    for body, code in (
        (a_day(from_month="2026-10"), "wrong-field"),
        (a_day(day=29), "invalid"),
        (a_day(day=0), "invalid"),
        (a_day(from_month="2026-13"), "invalid"),
        (a_day(reason=""), "invalid"),
    ):
        is_problem(await api.put(COUNTY, body), 422, code)
    is_problem(await api.put(COUNTY, a_day(), role="enterprise"), 403, "read-only")
    is_problem(await api.put(f"regions/{CITY}/closing-days", a_day(), role="supervisor"), 404, "not-found")
    assert await api.sql("SELECT FROM region_closing") == []


MONTH = {"month": "2026-10"}
CLOSED_ROUTES: list[tuple[str, dict[str, str]]] = [
    (f"enterprises/{OWN}/energy/explain", {"from": "2026-10", "interval": "P1M"}),
    (f"enterprises/{OWN}/benchmarks", MONTH),
    (f"regions/{CITY}/benchmarks", MONTH),
    (f"regions/{CITY}/overview", {}),
    ("enterprises", {}),
    (f"enterprises/{OWN}/quality", MONTH),
    (f"regions/{CITY}/quality", MONTH),
]


@pytest.mark.parametrize(("path", "needed"), CLOSED_ROUTES)
async def test_a_route_that_cannot_say_what_was_known_then_refuses_to_answer_what_is_known_now(
    api: Api, path: str, needed: dict[str, str]
) -> None:
    assert (await api.get(path, params=needed)).status_code == 200
    refused = is_problem(await api.get(path, params=needed | {"known_on": "2026-11-12"}), 422, "not-known-then")
    assert "enterprises/{id}/energy" in refused["detail"]


@pytest.mark.parametrize("path", [path for path in PATHS if path.startswith("/api/v1/")])
async def test_every_route_answers_what_was_known_on_a_day_or_says_that_it_cannot(api: Api, path: str) -> None:
    """None answers by what is known now; which can is in the document."""
    query = params_of(DOCUMENT["paths"][path]["get"], "query")
    answer = await api.ask("GET", address(path), params=needed(path) | {"known_on": "2026-11-12"})
    if "known_on" in query:
        assert answer.status_code == 422 or answer.json()["as_of"].startswith("2026-11-1"), answer.text
    else:
        is_problem(answer, 422, "not-known-then")


@pytest.mark.parametrize(("path", "needed"), [one for one in CLOSED_ROUTES if "explain" not in one[0]])
async def test_a_route_that_has_co2_by_the_default_set_alone_refuses_another(
    api: Api, path: str, needed: dict[str, str]
) -> None:
    other = {"co2_dataset": "first_batch_2013"}
    refused = is_problem(await api.get(path, params=needed | other), 422, "bad-query")
    assert "co2_dataset" in str(refused)


async def test_what_was_known_of_co2_by_another_set_is_refused_and_not_answered_by_the_default_one(api: Api) -> None:
    asked = {"from": "2026-09", "to": "2026-10", "interval": "P1M", "known_on": "2026-11-12"}
    path = f"enterprises/{OWN}/energy"
    is_problem(await api.get(path, params=asked | {"co2_dataset": "first_batch_2013"}), 422, "not-known-then")
    assert (await api.get(path, params=asked | {"co2_dataset": "default"})).json()["co2_dataset"] == "default"
    table = await api.get(path, params=asked | {"co2_dataset": "first_batch_2013", "format": "csv"})
    is_problem(table, 422, "not-known-then")
