"""The reports: the figures of the ledger in the tables that people hand in."""

from __future__ import annotations

import io
from typing import Any

import openpyxl
import pytest

from tests.api.a_service import CITY, FOREIGN, OWN, Api, is_problem

ZH = {"Accept-Language": "zh-CN"}


@pytest.fixture
async def october(api: Api) -> None:
    """The own enterprise bought electricity and sold some steam; of the other nothing is known."""
    for level, start, factor in (("month", "2026-09-30T16:00Z", 1), ("year", "2025-12-31T16:00Z", 10)):
        await api.sql(
            f"""INSERT INTO enterprise_{level} (enterprise, carrier, start, quantity, quantity_net, tce_equivalent,
                    tce_equivalent_net, tce_equal, tce_equal_net, tco2, tco2_net, measured_us, estimated_us)
                SELECT $1, 'electricity', $2::text::timestamptz, 1000, 1000, 122.9 * $3::int, 120 * $3::int, 285, 285,
                    441.9, 441.9, 1, 0""",
            OWN,
            start,
            factor,
        )
    await api.sql(
        """INSERT INTO meter_year (meter_id, start, quantity, tce_equivalent, tce_equal, tco2, measured_us,
               estimated_us)
           SELECT meter_id, '2025-12-31T16:00Z', 10000000, 1229, 2849.8, 4419, 1, 0 FROM meter WHERE enterprise = $1""",
        OWN,
    )


def sheets(content: bytes) -> dict[str, list[tuple[Any, ...]]]:
    book = openpyxl.load_workbook(io.BytesIO(content))
    return {sheet.title: list(sheet.iter_rows(values_only=True)) for sheet in book.worksheets}


@pytest.mark.usefixtures("october")
async def test_the_month_of_a_city(api: Api) -> None:
    answer = await api.get(f"reports/monthly/{CITY}?month=2026-10&format=xlsx", headers=ZH)
    assert answer.status_code == 200, answer.text
    book = sheets(answer.content)
    assert book["分县当月"][1][:7] == (CITY, "云浮市", 2, 1, 122.9, 120, 441.9)
    assert [row[0] for row in book["分县当月"][2:]] == ["445302", "445303", "445321", "445322", "445381"]
    assert book["重点用能单位"][1][0] == OWN
    assert book["重点用能单位"][1][9] == 1229
    assert [row[0] for row in book["无数据单位"][1:]] == [FOREIGN]
    assert book["重点用能单位"][2][4] is None, "what nobody measured is empty, never 0"
    body = (await api.get(f"reports/monthly/{CITY}?month=2026-10")).json()
    assert body["tables"][0]["title"] == "Regions, the month"
    assert body["factor_set"].startswith("reference-")


@pytest.mark.usefixtures("october")
async def test_the_year_of_an_enterprise(api: Api) -> None:
    answer = await api.get(f"reports/utilisation/{OWN}?year=2026&format=xlsx", headers=ZH)
    assert answer.status_code == 200, answer.text
    book = sheets(answer.content)
    assert [title.split(" ")[0] for title in book] == ["0", *(f"表{n}" for n in range(1, 12))]
    basics = dict(row[:2] for row in book["表1 基本情况"])
    assert basics["综合能源消费量 当量值 (tce)"] == 1229
    assert basics["综合能源消费量 等价值 (tce)"] == 2849.8
    assert basics["工业总产值 (万元)"] == "由用能单位填写"
    carrier = dict(zip(book["表2 能源消费结构"][0], book["表2 能源消费结构"][1], strict=True))
    assert (carrier["实物量"], carrier["折标系数 当量值 (kgce/单位)"]) == (10_000_000, 0.1229)
    assert book["表5 影响能耗变化因素"][10][:2] == ("2026-10", 120)
    assert book["表8 计量器具与设备"][1][0] == "E001"


@pytest.mark.parametrize("path", [f"monthly/{CITY}", f"utilisation/{OWN}"])
async def test_a_report_of_nothing_is_a_report(api: Api, path: str) -> None:
    for form in ("json", "xlsx"):
        assert (await api.get(f"reports/{path}?format={form}")).status_code == 200
    is_problem(await api.get(f"reports/{path}?format=csv"), 422, "invalid")


@pytest.mark.parametrize("month", ["2026-13", "2026", "26-10", "2026-1", "9999-01"])
async def test_a_month_is_a_month(api: Api, month: str) -> None:
    is_problem(await api.get(f"reports/monthly/{CITY}", params={"month": month}), 422, "bad-query")
