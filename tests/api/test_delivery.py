"""How an answer to GET leaves: tagged, packed, and not at all for who has it."""

from __future__ import annotations

import gzip

import pytest
import zstandard

from app.api.delivery import has_already, packing_of, tag_of
from tests.api.a_service import CITY, OWN, Api

PATHS = (
    "regions",
    f"regions/{CITY}/overview",
    "enterprises",
    f"enterprises/{OWN}",
    f"enterprises/{OWN}/energy?from=2026-11-01&to=2026-11-03",
    "meters?format=csv",
    "meters?format=xlsx",
    "meters?format=parquet",
)


@pytest.mark.parametrize("path", PATHS)
async def test_who_has_it_already_is_told_so(api: Api, path: str) -> None:
    first = await api.get(path)
    assert first.status_code == 200, first.text
    tag = first.headers["etag"]
    assert tag.startswith('W/"')
    again = await api.get(path, headers={"If-None-Match": f'"other", {tag}'})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == tag
    assert again.headers["cache-control"] == first.headers["cache-control"] == "private, no-cache"
    assert "Authorization" in again.headers["vary"]
    await api.sql("UPDATE meter SET name = 'another', code = 'E009'")
    await api.sql("UPDATE enterprise SET name = name || ' Ltd', updated_at = now()")
    changed = await api.get(path, headers={"If-None-Match": tag})
    same_facts = path.startswith(("regions", f"enterprises/{OWN}/energy"))
    assert changed.status_code == (304 if same_facts else 200)


async def test_a_problem_has_no_tag(api: Api) -> None:
    answer = await api.get("enterprises/nobody", headers={"If-None-Match": "*"})
    assert answer.status_code == 404
    assert "etag" not in answer.headers


@pytest.mark.parametrize(("accepted", "packing"), [("gzip", "gzip"), ("zstd", "zstd"), ("gzip, zstd", "zstd")])
async def test_a_long_answer_is_packed(api: Api, accepted: str, packing: str) -> None:
    async with api.client.stream(
        "GET",
        "/api/v1/carriers",
        headers={"Accept-Encoding": accepted, "Authorization": f"Bearer {api.tokens['admin']}"},
    ) as answer:
        raw = b"".join([part async for part in answer.aiter_raw()])
    plain = (await api.get("carriers", headers={"Accept-Encoding": "identity"})).content
    assert answer.headers["content-encoding"] == packing
    assert int(answer.headers["content-length"]) == len(raw) < len(plain)
    unpacked = (
        gzip.decompress(raw) if packing == "gzip" else zstandard.ZstdDecompressor().decompressobj().decompress(raw)
    )
    assert unpacked == plain


@pytest.mark.parametrize(
    ("accepted", "packing"),
    [
        ("", None),
        ("identity", None),
        ("br", None),
        ("gzip;q=0", None),
        ("gzip;q=0, *", "zstd"),
        ("*", "zstd"),
        ("gzip;q=1.0, zstd;q=0.5", "gzip"),
        ("GZIP", "gzip"),
    ],
)
def test_the_packing_wished_for_most(accepted: str, packing: str | None) -> None:
    assert packing_of(accepted) == packing


def test_when_it_was_looked_at_is_no_part_of_the_tag() -> None:
    one, other = b'{"as_of":"2026-11-23T09:00:00Z","tce":1}', b'{"as_of":"2026-11-23T09:01:00Z","tce":1}'
    assert tag_of("application/json", one) == tag_of("application/json", other)
    assert tag_of("application/json", one) != tag_of("application/json", one.replace(b"1}", b"2}"))
    assert tag_of("text/csv", one) != tag_of("text/csv", other)


@pytest.mark.parametrize(
    ("header", "held"), [("*", True), ('W/"a", "b"', True), ('"a"', True), ("", False), ("a", False)]
)
def test_the_comparison_is_the_weak_one(header: str, held: bool) -> None:
    assert has_already(header, 'W/"a"') is held
