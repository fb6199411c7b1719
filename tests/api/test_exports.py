"""Whole tables in every form, in pieces that nobody notices, and as a job where it is long."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import openpyxl
import pytest
from pyarrow import parquet

from app.api import exports
from app.api.job_worker import JobWorker
from app.store import jobs
from tests.api.a_service import JOB, NOW, OWN, Api, is_problem

READINGS = f"meters/{OWN}/E001/readings?from=2026-01-01&to=2026-12-31"
COUNT = 2_345


@pytest.fixture
async def readings(api: Api) -> None:
    await api.sql(
        """INSERT INTO reading SELECT '2026-03-01T00:00Z'::timestamptz + i * interval '15 min', meter_id, i, 0, now()
           FROM meter, generate_series(1, $2) AS i WHERE enterprise = $1""",
        OWN,
        COUNT,
    )


def rows_of_csv(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode("utf-8-sig"))))


def rows_of_xlsx(content: bytes) -> list[list[Any]]:
    sheet = openpyxl.load_workbook(io.BytesIO(content), read_only=True).worksheets[0]
    return [list(row) for row in sheet.iter_rows(values_only=True)]


def rows_of_parquet(content: bytes) -> list[list[Any]]:
    table = parquet.read_table(io.BytesIO(content))
    return [table.column_names, *(list(row.values()) for row in table.to_pylist())]


READERS: dict[str, Callable[[bytes], list[list[Any]]]] = {
    "csv": rows_of_csv,
    "xlsx": rows_of_xlsx,
    "parquet": rows_of_parquet,
}


@pytest.mark.usefixtures("readings")
@pytest.mark.parametrize("form", READERS)
async def test_a_table_is_whole_without_a_limit_and_a_page_with_one(api: Api, form: str) -> None:
    whole = await api.get(f"{READINGS}&format={form}")
    assert whole.status_code == 200, whole.text
    rows = READERS[form](whole.content)
    assert rows[0] == ["ts", "value", "quality", "received_at", "held"]
    assert [float(row[1]) for row in rows[1:]] == [float(i) for i in range(1, COUNT + 1)]
    page = await api.get(f"{READINGS}&format={form}&limit=10")
    assert len(READERS[form](page.content)) == 11
    assert 'rel="next"' in page.headers["link"]


@pytest.mark.usefixtures("readings")
async def test_a_token_that_ends_meanwhile_ends_the_table(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "ROWS_A_PIECE", 100)
    pieces = exports.pieces(api.app, await asked(api, READINGS + "&format=csv"))
    assert len((await anext(pieces)).rows) == 100
    await api.sql("UPDATE api_token SET revoked_at = now()")
    with pytest.raises(exports.Refused):
        await anext(pieces)


async def asked(api: Api, address: str) -> exports.Asked:
    path, _, query = f"/api/v1/{address}".partition("?")
    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(b"authorization", f"Bearer {api.tokens['admin']}".encode())],
        "state": {},
        "app": api.app,
    }
    found = exports.asked_table(api.app, scope)
    assert found is not None
    return found


@pytest.mark.parametrize("form", sorted(READERS))
async def test_a_day_is_a_day_in_every_form(api: Api, form: str) -> None:
    await api.sql("UPDATE meter SET calibrated_until = '2027-03-01'")
    for address in (f"enterprises/{OWN}/quality?month=2026-10", "meters?"):
        rows = READERS[form]((await api.get(f"{address}&format={form}")).content)
        assert str(rows[1][rows[0].index("calibrated_until")])[:10] == "2027-03-01"


@pytest.mark.parametrize("interval", ["PT1H", "P1D", "P1M", "P1Y"])
async def test_a_series_in_pieces_is_the_series(api: Api, interval: str) -> None:
    params = f"from=2026-01-05T07:30:00Z&to=2026-03-02&interval={interval}&by=total"
    answer = (await api.get(f"enterprises/{OWN}/energy?{params}")).json()
    rows = rows_of_csv((await api.get(f"enterprises/{OWN}/energy?{params}&format=csv")).content)
    assert [row[:2] for row in rows[1:]] == [[bucket["start"], bucket["end"]] for bucket in answer["buckets"]]


async def test_a_range_that_nobody_needs_is_refused(api: Api) -> None:
    path = f"enterprises/{OWN}/energy?from=1971&to=2099&interval=PT1H&format=csv"
    is_problem(await api.get(path), 422, "range-too-long")


async def test_without_the_extra_parquet_is_a_clear_answer(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    body = is_problem(await api.get("meters?format=parquet"), 406, "format-not-installed")
    assert "tcewatch[parquet]" in body["detail"]


async def test_the_problem_of_a_table_is_the_problem_of_the_list(api: Api) -> None:
    for form in READERS:
        is_problem(await api.get(f"meters/{OWN}/E999/readings?from=2026&to=2027&format={form}"), 404, "not-found")
        is_problem(await api.get(f"meters?format={form}&carier=x"), 422, "bad-query")


def worker(api: Api, at: datetime = NOW) -> JobWorker:
    return JobWorker(api.app, api.database, lambda: at)


@pytest.mark.usefixtures("readings")
@pytest.mark.parametrize("form", READERS)
async def test_a_job_makes_the_same_file(api: Api, form: str) -> None:
    taken = await api.get(f"{READINGS}&format={form}", headers={"Prefer": "respond-async"})
    assert taken.status_code == 202, taken.text
    assert taken.headers["preference-applied"] == "respond-async"
    place = taken.headers["location"].removeprefix("/api/v1/")
    assert (await api.get(place)).json()["state"] == "queued"
    is_problem(await api.get(f"{place}/result"), 409, "job-not-done")
    assert await worker(api).one_job()
    job = (await api.get(place)).json()
    assert (job["state"], job["rows"], job["problem"]) == ("done", COUNT, None)
    result = await api.get(job["result"].removeprefix("/api/v1/"))
    assert READERS[form](result.content) == READERS[form]((await api.get(f"{READINGS}&format={form}")).content)
    assert job["filename"] in result.headers["content-disposition"]
    is_problem(await api.get(place, role="supervisor"), 404, "not-found")


@pytest.mark.usefixtures("readings")
async def test_what_is_too_long_to_wait_for_becomes_a_job(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "ROWS_AT_ONCE", COUNT - 1)
    assert (await api.get(f"{READINGS}&format=xlsx")).status_code == 202
    monkeypatch.setattr(exports, "ROWS_AT_ONCE", COUNT)
    assert (await api.get(f"{READINGS}&format=xlsx")).status_code == 200
    assert (await api.get(f"{READINGS}&format=csv")).status_code == 200, "CSV of any length streams"


async def test_a_job_asks_as_who_wanted_it(api: Api) -> None:
    taken = await api.get("enterprises?format=csv", role="supervisor", headers={"Prefer": "respond-async"})
    await worker(api).one_job()
    job = (await api.get(taken.headers["location"].removeprefix("/api/v1/"), role="supervisor")).json()
    result = await api.get(job["result"].removeprefix("/api/v1/"), role="supervisor")
    assert [row[0] for row in rows_of_csv(result.content)[1:]] == [OWN]


async def test_a_job_of_a_token_that_ended_fails_and_says_why(api: Api) -> None:
    await api.get("enterprises?format=csv", headers={"Prefer": "respond-async"})
    await api.sql("UPDATE api_token SET revoked_at = now() WHERE name = 'the admin'")
    await worker(api).one_job()
    assert await api.sql("SELECT state, problem->>'code' FROM job WHERE job_id <> $1", JOB) == [
        ("failed", "token-invalid")
    ]


async def test_a_worker_that_dies_leaves_the_job_to_another(api: Api) -> None:
    await api.get("enterprises?format=csv", headers={"Prefer": "respond-async"})
    lost = await jobs.claim(api.database.pool, NOW)
    assert lost is not None
    assert not await worker(api).one_job(), "another holds it"
    later = NOW + timedelta(seconds=jobs.LEASE_S + 1)
    assert await worker(api, later).one_job()
    assert not await jobs.renew(api.database.pool, lost, 5, later), "the first worker woke too late"
    assert await api.sql("SELECT state, attempts FROM job WHERE job_id <> $1", JOB) == [("done", 2)]


async def test_two_workers_share_the_work(api: Api) -> None:
    for _ in range(4):
        await api.get("enterprises?format=csv", headers={"Prefer": "respond-async"})
    for _ in range(2):
        assert all(await asyncio.gather(worker(api).one_job(), worker(api).one_job()))
    assert await api.sql("SELECT DISTINCT attempts, state FROM job WHERE job_id <> $1", JOB) == [(1, "done")]


async def test_a_job_is_cancelled_removed_and_expires(api: Api) -> None:
    taken = await api.get("enterprises?format=csv", headers={"Prefer": "respond-async"})
    place = f"/api/v1/{taken.headers['location'].removeprefix('/api/v1/')}"
    assert (await api.ask("DELETE", place)).status_code == 204
    assert (await api.ask("GET", place)).json()["state"] == "cancelled"
    assert not await worker(api).one_job()
    assert (await api.ask("DELETE", place)).status_code == 204
    is_problem(await api.ask("GET", place), 404, "not-found")
    await worker(api, datetime.now(UTC) + timedelta(days=2)).one_job()
    assert await api.sql("SELECT count(*) FROM job") == [(0,)]
    assert await api.sql("SELECT count(*) FROM job_part") == [(0,)]


async def test_a_token_cannot_queue_without_end(api: Api) -> None:
    for _ in range(jobs.WAITING_MAX):
        assert (await api.get("meters?format=csv", headers={"Prefer": "respond-async"})).status_code == 202
    answer = await api.get("meters?format=csv", headers={"Prefer": "respond-async"})
    is_problem(answer, 429, "too-many-jobs")
    assert answer.headers["retry-after"]
