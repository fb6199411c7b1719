"""The city: seeded, with sound credit codes, and every industry in the districts the table names."""

from __future__ import annotations

from collections import Counter

import pytest

from app.store.credit_code import checked
from simulators.city import DISTRICTS, MIX, PLACES, check_character, city
from simulators.plants import Industry

CITY = city(200, 11)


def test_the_same_seed_is_the_same_city_and_another_is_another() -> None:
    assert city(60, 5) == city(60, 5)
    assert {plan.enterprise for plan in city(60, 5)}.isdisjoint(plan.enterprise for plan in city(60, 6))


def test_a_larger_city_begins_with_the_smaller_one() -> None:
    assert city(200, 11)[:30] == city(30, 11)


def test_the_check_character_is_that_of_published_codes() -> None:
    """Codes of large companies, as they stand under their own documents."""
    for code in ("91350100M000100Y43", "9144030071526726XG"):
        assert check_character(code[:17]) == code[17]


def test_the_service_accepts_the_code_of_every_plant() -> None:
    assert [checked(plan.enterprise) for plan in CITY] == [plan.enterprise for plan in CITY]


def test_ids_and_names_are_there_once() -> None:
    for ids in ([p.enterprise for p in CITY], [p.gateway for p in CITY]):
        assert len(set(ids)) == len(CITY)
    assert len({plan.name for plan in city(60, 11)}) == 60


def test_the_code_of_a_plant_names_its_district() -> None:
    assert all(plan.enterprise[2:8] == plan.region for plan in CITY)


@pytest.mark.parametrize("units", [7, 12, 60])
def test_from_seven_plants_on_every_industry_is_there(units: int) -> None:
    assert {plan.industry for plan in city(units, 1)} == set(Industry)


def test_twenty_plants_have_the_mix_of_the_table() -> None:
    assert Counter(plan.industry for plan in city(20, 1)) == Counter(MIX)


def test_an_industry_stands_in_its_districts_and_in_all_of_them() -> None:
    for industry, districts in DISTRICTS.items():
        assert {plan.region for plan in CITY if plan.industry is industry} == set(districts)


def test_every_district_has_plants_and_a_name() -> None:
    assert {plan.region for plan in city(20, 1)} == set(PLACES)


def test_meters_of_a_plant_have_codes_of_their_own() -> None:
    for plan in CITY:
        codes = [meter.code for meter in plan.meters]
        assert len(set(codes)) == len(codes)
