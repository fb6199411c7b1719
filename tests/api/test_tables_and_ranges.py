"""Ranges as people write them, figures as spreadsheets take them."""

from __future__ import annotations

import csv
import io
from typing import Any

import openpyxl
import pytest

from app.api.answers import cell
from tests.api.a_service import OWN, Api, is_problem
from tests.api.test_energy_routes import readings

PATH = f"enterprises/{OWN}/energy"


async def ends(api: Api, **params: str) -> list[tuple[str, str]]:
    answer = await api.get(PATH, params=params)
    assert answer.status_code == 200, answer.text
    return [(bucket["start"], bucket["end"]) for bucket in answer.json()["buckets"]]


@pytest.mark.parametrize(
    ("start", "end", "interval", "count", "first", "last"),
    [
        ("2026-10", "2026-11", "P1D", 31, "2026-10-01T00:00:00+08:00", "2026-11-01T00:00:00+08:00"),
        ("2025", "2026", "P1M", 12, "2025-01-01T00:00:00+08:00", "2026-01-01T00:00:00+08:00"),
        ("2026-11-23", "2026-11-24", "PT1H", 24, "2026-11-23T00:00:00+08:00", "2026-11-24T00:00:00+08:00"),
        ("2026-02", "2026-03", "P1D", 28, "2026-02-01T00:00:00+08:00", "2026-03-01T00:00:00+08:00"),
        (
            "2026-11-22T16:00:00Z",
            "2026-11-23T18:00:00Z",
            "P1D",
            2,
            "2026-11-23T00:00:00+08:00",
            "2026-11-25T00:00:00+08:00",
        ),
    ],
)
async def test_a_bare_month_is_the_local_month(
    api: Api, start: str, end: str, interval: str, count: int, first: str, last: str
) -> None:
    found = await ends(api, **{"from": start, "to": end, "interval": interval})
    assert (len(found), found[0][0], found[-1][1]) == (count, first, last)
    assert [later for later, _ in found[1:]] == [end for _, end in found[:-1]], "no gap and no overlap"


async def test_the_figures_as_a_spreadsheet_are_numbers(api: Api) -> None:
    await readings(api, [("2026-11-22T00:00", 0.0), ("2026-11-23T00:00", 100450.0)])
    params = {"from": "2026-11-22", "to": "2026-11-24", "format": "xlsx", "by": "meter"}
    answer = await api.get(PATH, params=params)
    assert answer.headers["content-type"].endswith("spreadsheetml.sheet")
    assert f'filename="energy-{OWN}.xlsx"' in answer.headers["content-disposition"]
    rows = list(openpyxl.load_workbook(io.BytesIO(answer.content)).worksheets[0].iter_rows(values_only=True))
    table = [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]
    assert (table[0]["meter"], table[0]["quantity"], table[0]["tce"]) == ("E001", 100450, 12.345305)
    assert [row["start"] for row in table] == ["2026-11-22T00:00:00+08:00", "2026-11-23T00:00:00+08:00"]
    assert table[1]["tce"] is None, "nobody measured the second day"


@pytest.mark.parametrize("by", ["total", "carrier", "meter"])
async def test_missing_days_have_their_line_in_a_table(api: Api, by: str) -> None:
    params = {"from": "2026-11-01", "to": "2026-11-04", "format": "csv", "by": by}
    rows = list(csv.DictReader(io.StringIO((await api.get(PATH, params=params)).content.decode("utf-8-sig"))))
    assert [row["start"][:10] for row in rows] == ["2026-11-01", "2026-11-02", "2026-11-03"]
    assert {row["tce"] for row in rows} == {""}
    assert {row["status"] for row in rows} == {"missing"}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\n=1", "'\n=1"),
        ("＝1+1", "'＝1+1"),
        ("a=1", "a=1"),
        ("", ""),
        (None, None),
        (-1.5, -1.5),
        (["=a"], '["=a"]'),
    ],
)
def test_a_spreadsheet_runs_nothing_that_somebody_wrote(value: Any, shown: Any) -> None:
    assert cell(value) == shown


async def test_a_name_that_looks_like_a_formula_stays_text_in_a_spreadsheet(api: Api) -> None:
    await api.patch(f"enterprises/{OWN}", {"name": "=HYPERLINK(1)"})
    answer = await api.get("enterprises", params={"format": "xlsx"})
    sheet = openpyxl.load_workbook(io.BytesIO(answer.content)).worksheets[0]
    (found,) = [one for row in sheet.iter_rows() for one in row if "HYPERLINK" in str(one.value)]
    assert (found.data_type, found.value) == ("s", "'=HYPERLINK(1)")


async def test_a_text_too_long_for_a_cell_is_not_lost_silently(api: Api) -> None:
    await api.sql(
        r"""WITH message AS (
               INSERT INTO rejected_message (received_at, door, gateway, content_type, raw, digest, last_at)
               VALUES (now(), 'http', 'gw-own', 'text/csv', repeat('x', 30000)::bytea, 'x', now())
               RETURNING message_id)
           INSERT INTO rejected_reading (message_id, code, detail) SELECT message_id, 'malformed', 'x' FROM message"""
    )
    is_problem(await api.get("rejections", params={"raw": "true", "format": "xlsx"}), 422, "bad-query")
    (row,) = csv.DictReader(
        io.StringIO((await api.get("rejections", params={"raw": "true", "format": "csv"})).content.decode("utf-8-sig"))
    )
    assert len(row["raw"]) == 40_000
    assert (await api.get("rejections", params={"format": "xlsx"})).status_code == 200
