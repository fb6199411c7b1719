"""The recipes and the supervisor's morning are run as they are written, against a real service with a city in it."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import httpx2
import openpyxl
import pytest

from app.store.access import create_token
from app.store.database import open_database, plain_url
from tests.bench.asking import found_year
from tests.e2e.service import Service

ROOT = Path(__file__).parents[2]
UNITS = 12
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
STANDINGS = """
INSERT INTO budget_standing (enterprise, year, basis, overrun_probability, tier, evaluated_at)
SELECT id, $2, 'equivalent', n / 20.0, CASE WHEN n > 9 THEN 'red' ELSE 'green' END, now()
FROM unnest($1::text[]) WITH ORDINALITY AS told (id, n)
"""


def blocks(page: str, language: str) -> list[str]:
    found = BLOCK.findall((ROOT / "docs" / page).read_text(encoding="utf-8"))
    return [block for kind, block in found if kind == language]


@pytest.fixture(scope="module")
def surroundings(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A service with a city, and what the pages tell their reader to have in the environment."""

    async def prepared() -> tuple[str, str, list[str]]:
        sql = await asyncpg.connect(plain_url(database_url))
        ids = await found_year(sql, UNITS)
        await sql.execute(STANDINGS, ids, 2026)
        await sql.close()
        async with open_database(database_url, pool_size=1) as database:
            supervisor = await create_token(database, role="supervisor", scope="4453", name="morning")
            return supervisor, await create_token(database, role="admin", scope="4453", name="admin"), ids

    token, admin, ids = asyncio.run(prepared())
    environment = {"TCEWATCH_DATABASE_URL": database_url, "TCEWATCH_VERIFY_SAMPLE": "0"}
    service = Service(environment, tmp_path_factory.mktemp("recipes") / "log")
    service.start("--roles", "api,worker")
    small = {"basis": "equivalent", "tce": 1, "reason": "so small that it is exceeded"}
    place = f"{service.url}/api/v1/enterprises/{ids[-1]}/budgets/2026"
    answer = httpx2.put(place, json=small, headers={"Authorization": f"Bearer {admin}"})
    assert answer.status_code < 300, answer.text
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    told = {"API": f"{service.url}/api/v1", "TOKEN": token, "ENTERPRISE": ids[-1], "REGION": "4453"}
    yield {**os.environ, **told, "PATH": path, "YEAR": "2026", "MONTH": "2026-10"}
    service.kill()  # its nightly work need not be waited for


def run(command: list[str], surroundings: dict[str, str], folder: Path) -> str:
    done = subprocess.run(
        command, env=surroundings, cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, f"{command[-1]}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("number", range(len(blocks("recipes.md", "bash"))))
def test_a_recipe_for_the_shell(surroundings: dict[str, str], tmp_path: Path, number: int) -> None:
    run(["bash", "-euo", "pipefail", "-c", blocks("recipes.md", "bash")[number]], surroundings, tmp_path)
    if number == 0:
        sheet = openpyxl.load_workbook(tmp_path / "days.xlsx").worksheets[0]
        assert sheet.max_row == 1 + 31 * 2, "31 days of two carriers"


@pytest.mark.parametrize("number", range(len(blocks("recipes.md", "python"))))
def test_a_recipe_in_python(surroundings: dict[str, str], tmp_path: Path, number: int) -> None:
    shown = run([sys.executable, "-c", blocks("recipes.md", "python")[number]], surroundings, tmp_path)
    if number == 0:
        assert len(shown.splitlines()) == UNITS
    if number == 1:
        assert len((tmp_path / "hours.csv").read_text(encoding="utf-8-sig").splitlines()) > 8_000


def test_the_query_of_excel_asks_what_there_is(surroundings: dict[str, str]) -> None:
    (query,) = blocks("recipes.md", "powerquery")
    path = re.search(r'RelativePath = "([^"]+)"', query)
    asked = dict(re.findall(r'(\w+) = "([^"]+)"', query.split("Query = [")[1].split("]")[0]))
    columns = re.findall(r'"(\w+)"', query.split("Source[items], {")[1].split("}")[0])
    assert path is not None
    headers = {"Authorization": f"Bearer {surroundings['TOKEN']}", "Accept-Language": "zh-CN"}
    answer = httpx2.get(f"{surroundings['API']}/{path[1]}", params=asked, headers=headers)
    assert answer.status_code == 200, answer.text
    assert set(columns) <= set(answer.json()["items"][0])


def test_a_supervisors_morning(surroundings: dict[str, str], tmp_path: Path) -> None:
    (morning,) = blocks("supervisor_morning.md", "bash")
    shown = run(["bash", "-euo", "pipefail", "-c", morning], surroundings, tmp_path)
    assert [line.split()[0] for line in shown.splitlines() if line[:6] in COUNTIES] == list(COUNTIES)
    worst = openpyxl.load_workbook(tmp_path / "worst.xlsx").worksheets[0]
    names = [cell.value for cell in worst[1]]
    assert worst.cell(2, names.index("id") + 1).value == surroundings["ENTERPRISE"], "the likeliest first"
    assert len(openpyxl.load_workbook(tmp_path / "month.xlsx").sheetnames) > 3


COUNTIES = ("445302", "445303", "445321", "445322", "445381")
