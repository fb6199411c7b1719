"""The list by tce: a page at a time, in the order of the figures, and nobody twice or not at all."""

from __future__ import annotations

import pytest

from app.store.credit_code import check_character
from tests.api.a_service import CITY, OWN, Api, is_problem

COUNT = 23


async def many(api: Api) -> list[str]:
    """Enterprises, of which some are equal, some lack a factor and some have nothing; in the order that is expected."""
    bodies = [f"9144530{n % 3}MA4X{n:05}" for n in range(COUNT)]
    ids = [body + check_character(body) for body in bodies]
    await api.sql(
        """INSERT INTO enterprise (id, name, region, industry)
           SELECT unnest, 'x', '445302', '3011' FROM unnest($1::text[])""",
        ids,
    )
    figures = {key: n // 3 * 10 for n, key in enumerate(ids) if n % 5}
    for carrier, part in (("electricity", 0.75), ("raw_coal", 0.25)):
        await api.sql(
            """INSERT INTO enterprise_year (enterprise, carrier, start, quantity, quantity_net, tce_equivalent,
                   tce_equivalent_net, measured_us, estimated_us)
               SELECT key, $3, '2025-12-31T16:00Z', 1, 1, nullif(tce, 0) * $4::numeric, tce * $4::numeric, 1, 0
               FROM unnest($1::text[], $2::numeric[]) AS told (key, tce)""",
            list(figures),
            list(figures.values()),
            carrier,
            part,
        )
    known = {key: tce for key, tce in figures.items() if tce}
    everybody = sorted(
        [*ids, *(key for (key,) in await api.sql("SELECT id FROM enterprise WHERE NOT id = ANY ($1)", ids))]
    )
    return sorted(known, key=lambda key: (-known[key], key)) + [key for key in everybody if key not in known]


@pytest.mark.parametrize("limit", [1, 4, 7, 100])
async def test_pages_are_the_whole_in_order(api: Api, limit: int) -> None:
    expected = await many(api)
    seen: list[str] = []
    asked: dict[str, str | int] = {"sort": "-tce", "limit": limit}
    cursor = None
    while True:
        body = (await api.get("enterprises", params=asked if cursor is None else asked | {"cursor": cursor})).json()
        seen += [item["id"] for item in body["items"]]
        cursor = body["next"]
        if cursor is None:
            break
    assert seen == expected


async def test_the_rank_follows_what_is_written(api: Api) -> None:
    first, second, *_ = await many(api)
    await api.sql("UPDATE enterprise_year SET tce_equivalent = 1000 WHERE enterprise = $1", second)
    assert (await api.get("enterprises?sort=-tce&limit=1")).json()["items"][0]["id"] == second
    await api.sql("DELETE FROM enterprise_year WHERE enterprise = $1", second)
    assert (await api.get("enterprises?sort=-tce&limit=1")).json()["items"][0]["id"] == first
    await api.sql("TRUNCATE enterprise_year")
    assert (await api.get("enterprises?sort=-tce")).json()["items"][0]["tce"] is None


@pytest.mark.parametrize("cursor", ["eA", "MR8", "H3g", "bmFuH3g"])
async def test_a_cursor_of_another_list_is_refused(api: Api, cursor: str) -> None:
    answer = await api.get("enterprises", params={"sort": "-tce", "cursor": cursor})
    assert answer.status_code in (200, 422)
    if answer.status_code == 422:
        is_problem(answer, 422, "bad-cursor")


async def test_a_mark_moves_with_every_change_of_a_figure(api: Api) -> None:
    async def mark() -> int:
        return int((await api.sql("SELECT sum(version) FROM figures_mark"))[0][0])

    before = await mark()
    await many(api)
    assert (middle := await mark()) > before
    await api.sql("UPDATE meter SET first_at = now() WHERE enterprise = $1", OWN)
    assert (after := await mark()) > middle
    await api.get(f"regions/{CITY}")
    assert await mark() == after
