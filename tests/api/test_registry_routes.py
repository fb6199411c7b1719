"""The registry by REST: created, listed, changed, and what a change sets off."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from decimal import Decimal

import openpyxl
import pytest

from app.store.credit_code import check_character
from tests.api.a_service import FOREIGN, OWN, Api, a_meter


def companies(count: int) -> list[str]:
    """So many sound credit codes."""
    stems = [f"91445302MA4U{number:05d}" for number in range(count)]
    return [stem + check_character(stem) for stem in stems]


async def test_an_enterprise_is_created_found_and_changed(api: Api) -> None:
    (key,) = companies(1)
    body = {
        "id": key,
        "name": "云城石材",
        "region": "445302",
        "industry": "3032",
        "contacts": [{"name": "李工", "email": "li@example.com"}],
        "flags": ["two_high"],
    }
    made = await api.post("enterprises", body)
    assert made.status_code == 201
    assert made.headers["location"] == f"/api/v1/enterprises/{key}"
    contacts = [{"name": "李工", "email": "li@example.com", "language": "zh-CN", "role": None}]
    shown = made.json()
    assert {name: shown[name] for name in body} == body | {"contacts": contacts}
    changed = await api.patch(f"enterprises/{key}", {"name": "云城石材二厂"})
    assert changed.json()["name"] == "云城石材二厂"
    assert (await api.get(f"enterprises/{key}")).json() == changed.json()


async def test_a_change_leaves_before_and_after_in_the_trail(api: Api) -> None:
    await api.patch(f"meters/{OWN}/E001", {"multiplier": 40, "calibrated_until": "2027-05-31"})
    line = (await api.get("audit", params={"object_kind": "meter", "object_id": f"{OWN}/E001"})).json()["items"][0]
    assert line["action"] == "meter.change"
    assert line["outcome"] == "done"
    assert "the admin" in line["actor"]
    assert line["before"] == {"multiplier": "1", "calibrated_until": None}
    assert line["after"] == {"multiplier": "40", "calibrated_until": "2027-05-31"}


@pytest.mark.parametrize(
    ("change", "marks"),
    [
        ({"multiplier": 40}, 1),
        ({"unit": "MWh"}, 1),
        ({"role": "internal"}, 1),
        ({"kind": "interval"}, 1),
        ({"rolls_over_at": 1000}, 1),
        ({"max_rate_per_h": 10}, 1),
        ({"expected_interval_s": 60}, 1),
        ({"carrier": "natural_gas_max", "unit": "m3"}, 1),
        ({"name": "another"}, 0),
        ({"multiplier": 1}, 0),
        ({"calibrated_until": "2027-05-31"}, 0),
        ({}, 0),
    ],
)
async def test_a_change_of_what_figures_are_made_of_marks_the_whole_history(
    api: Api, change: dict[str, object], marks: int
) -> None:
    answer = await api.patch(f"meters/{OWN}/E001", change)
    assert answer.status_code == 200, answer.text
    found = await api.sql(
        """SELECT touched.hour FROM touched, meter
           WHERE meter.meter_id = ANY (touched.meter_id) AND enterprise = $1""",
        OWN,
    )
    assert found == [(None,)] * marks


async def test_an_enterprise_that_moves_marks_its_meters(api: Api) -> None:
    await api.patch(f"enterprises/{OWN}", {"region": "445302"})
    assert await api.sql("SELECT FROM touched") == []
    await api.patch(f"enterprises/{OWN}", {"region": "445303"})
    assert await api.sql("SELECT hour FROM touched") == [(None,)]


async def test_a_null_empties_only_what_may_be_empty(api: Api) -> None:
    await api.patch(f"meters/{OWN}/E001", {"rolls_over_at": 1000, "max_rate_per_h": 5})
    answer = (await api.patch(f"meters/{OWN}/E001", {"rolls_over_at": None, "name": None})).json()
    assert (answer["rolls_over_at"], answer["max_rate_per_h"], answer["name"]) == (None, 5, "total")


async def test_a_multiplier_keeps_every_digit(api: Api) -> None:
    made = await api.post("meters", a_meter(code="E002", multiplier=0.1234567890123))
    assert json.loads(made.text, parse_float=Decimal)["multiplier"] == Decimal("0.1234567890123")


async def test_a_gateway_shows_the_numbers_that_are_missing(api: Api) -> None:
    await api.sql(
        """INSERT INTO sequence_gap (gateway, first_seq, last_seq, noticed_at, asked_at, asked_times) VALUES
           ('gw-own', 9, 9, '2026-11-24T00:00Z', NULL, 0),
           ('gw-own', 3, 4, '2026-11-23T00:00Z', '2026-11-23T00:01Z', 1)"""
    )
    gaps = (await api.get("gateways/gw-own")).json()["gaps"]
    assert [(gap["first_seq"], gap["last_seq"], gap["asked_times"]) for gap in gaps] == [(3, 4, 1), (9, 9, 0)]
    assert [gap["asked_at"] is None for gap in gaps] == [False, True]


async def test_a_gateways_secret_is_seen_once_and_reaches_the_broker(api: Api) -> None:
    made = (await api.post("gateways", {"id": "gw-new", "enterprise": OWN, "name": "new"})).json()
    assert api.accounts.secrets == {"gw-new": made["secret"]}
    stored = await api.sql("SELECT secret_sha256 FROM gateway WHERE id = 'gw-new'")
    assert stored == [(hashlib.sha256(made["secret"].encode()).digest(),)]
    seen = await api.get("gateways/gw-new")
    assert "secret" not in seen.text
    assert made["secret"] not in (await api.get("audit")).text
    turned = (await api.ask("POST", "/api/v1/gateways/gw-new/secret")).json()
    assert turned["secret"] != made["secret"]
    assert api.accounts.secrets == {"gw-new": turned["secret"]}


async def test_a_gateway_is_shut_out_and_let_in_at_the_broker_too(api: Api) -> None:
    assert (await api.patch("gateways/gw-own", {"active": False})).json()["active"] is False
    assert api.accounts.shut == {"gw-own"}
    await api.patch("gateways/gw-own", {"active": True})
    assert api.accounts.shut == set()


async def test_another_secret_does_not_let_a_gateway_in_again_that_was_shut_out(api: Api) -> None:
    await api.patch("gateways/gw-own", {"active": False})
    turned = (await api.ask("POST", "/api/v1/gateways/gw-own/secret")).json()
    assert turned["active"] is False
    assert api.accounts.secrets["gw-own"] == turned["secret"]
    assert api.accounts.shut == {"gw-own"}


@pytest.mark.parametrize("sort", ["id", "name", "-tce"])
async def test_pages_hold_every_enterprise_once_and_in_order(api: Api, sort: str) -> None:
    for number, key in enumerate(companies(9)):
        body = {"id": key, "name": f"name {number % 3}", "region": "445302", "industry": "3011"}
        assert (await api.post("enterprises", body)).status_code == 201
    await api.sql(
        """INSERT INTO enterprise_year (enterprise, carrier, start, quantity, quantity_net, tce_equivalent,
               tce_equivalent_net, tce_equal, tce_equal_net, tco2, tco2_net, measured_us, estimated_us)
           SELECT id, 'electricity', '2025-12-31T16:00Z', 1, 1, tce, tce, tce, tce, tce, tce, 1, 0
           FROM unnest($1::text[], $2::numeric[]) AS made (id, tce)""",
        [OWN, FOREIGN],
        [Decimal(5), Decimal("7.25")],
    )
    found, cursor = [], None
    for _ in range(11):
        page = await api.get("enterprises", params={"sort": sort, "limit": 4} | ({"cursor": cursor} if cursor else {}))
        found += page.json()["items"]
        cursor = page.json()["next"]
        if cursor is None:
            break
        assert 'rel="next"' in page.headers["link"]
    keys = [item["id"] for item in found]
    assert sorted(keys) == sorted({*companies(9), OWN, FOREIGN})
    if sort == "-tce":
        assert [(item["id"], item["tce"]) for item in found[:3]] == [
            (FOREIGN, 7.25),
            (OWN, 5),
            (min(companies(9)), None),
        ]
    else:
        names = [(item["name"], item["id"]) for item in found if item["name"].startswith("name")]
        assert names == sorted(names) or sort == "id"
        assert keys == sorted(keys) or sort == "name"


async def test_lists_are_filtered(api: Api) -> None:
    async def seen(path: str, **params: str) -> list[str]:
        items = (await api.get(path, params=params)).json()["items"]
        return [item.get("id", item.get("code")) for item in items]

    await api.post("meters", a_meter(code="W001", carrier="water_fresh", unit="m3"))
    assert await seen("enterprises", region="445303") == [FOREIGN]
    assert await seen("enterprises", region="4453") == [OWN, FOREIGN]
    assert await seen("enterprises", industry="99") == []
    assert await seen("gateways", enterprise=FOREIGN) == ["gw-foreign"]
    assert await seen("meters", enterprise=OWN) == ["E001", "W001"]
    assert await seen("meters", gateway="gw-own", carrier="electricity") == ["E001"]
    assert "445303" in await seen("regions")


async def test_a_table_comes_as_csv_that_excel_reads_and_runs_nothing(api: Api) -> None:
    await api.patch(f"enterprises/{OWN}", {"name": "=HYPERLINK(1)"})
    answer = await api.get("enterprises", headers={"accept": "text/csv"})
    assert answer.content.startswith(b"\xef\xbb\xbf")
    assert "attachment" in answer.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))
    assert [row["id"] for row in rows] == [OWN, FOREIGN]
    assert rows[0]["name"] == "'=HYPERLINK(1)"
    assert rows[1]["name"] == "云安陶瓷"


async def test_a_table_comes_as_xlsx(api: Api) -> None:
    answer = await api.get("meters", params={"format": "xlsx"})
    book = openpyxl.load_workbook(io.BytesIO(answer.content))
    rows = list(book.worksheets[0].iter_rows(values_only=True))
    assert rows[0].index("code") >= 0
    assert [row[rows[0].index("code")] for row in rows[1:]] == ["E001", "E001"]


async def test_an_empty_table_has_its_header(api: Api) -> None:
    answer = await api.get("rejections", params={"format": "csv"})
    assert answer.content.decode("utf-8-sig").startswith("rejected_id,message_id,gateway")


async def test_factors_carry_their_source_and_dates_read_as_dates(api: Api) -> None:
    items = (await api.get("factors", params={"carrier": "electricity"})).json()["items"]
    equivalent = [item for item in items if item["basis"] == "equivalent"]
    assert {item["value"] for item in equivalent} == {0.1229}
    assert all("GB/T 2589" in item["edition"] for item in equivalent)
    table = (await api.get("factors", params={"format": "csv"})).content.decode("utf-8-sig")
    assert {len(row["valid_from"]) for row in csv.DictReader(io.StringIO(table))} == {10}
