"""Which factor holds when and for whom, and from a quantity to tonnes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from decimal import Decimal, Inexact

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy.reading import Role
from energy.tce import Basis, Co2Factor, CoalFactor, FactorBook, FactorOverlap, Signed, book, contribution

ONE, OTHER = "91445300MA4UXXXX0X", "91445300MA4UYYYY0Y"
START = date(2000, 1, 1)


def a_factor(
    kgce: str,
    name: str = "f",
    *,
    since: date = START,
    until: date | None = None,
    region: str | None = None,
    enterprise: str | None = None,
    basis: Basis = Basis.EQUIVALENT,
) -> CoalFactor:
    return CoalFactor(
        "electricity", basis, Decimal(kgce), since, until, region, enterprise, "GB/T 2589-2020", "table A.2", name
    )


def a_co2_factor(
    kgco2: str, name: str = "c", *, dataset: str = "default", region: str | None = None, since: date = START
) -> Co2Factor:
    return Co2Factor("electricity", Decimal(kgco2), dataset, since, None, region, None, "Guangdong grid, 2023", name)


def test_a_month_of_electricity_by_hand() -> None:
    """100,450 kWh: × 0.1229 = 12,345.305 kgce; × 0.28498 = 28,626.241 kgce; × 0.4419 = 44,388.855 kg of CO2."""
    factors = FactorBook(
        [a_factor("0.1229", "a"), a_factor("0.28498", "b", basis=Basis.EQUAL)], [a_co2_factor("0.4419", region="44")]
    )
    booking = book(factors, "electricity", Role.PURCHASE, Decimal(100_450), date(2026, 11, 1), region="445302")
    for found, tonnes in (
        (booking.tce_equivalent, "12.345305"),
        (booking.tce_equal, "28.626241"),
        (booking.tco2, "44.388855"),
    ):
        assert found == Signed(Decimal(tonnes), Decimal(tonnes))
    assert (booking.factor_ids, booking.missing) == (("a", "b", "c"), ())


def test_a_factor_holds_from_its_first_day_to_the_one_before_its_last() -> None:
    factors = FactorBook([a_factor("1", since=date(2021, 4, 1), until=date(2022, 1, 1))], [])
    days = [date(2021, 3, 31), date(2021, 4, 1), date(2021, 12, 31), date(2022, 1, 1)]
    found = [factors.lookup("electricity", Basis.EQUIVALENT, day) is not None for day in days]
    assert found == [False, True, True, False]


@pytest.mark.parametrize(
    ("enterprise", "region", "name"),
    [
        (ONE, "445302", "own"),
        (OTHER, "445302", "district"),
        (None, "445302", "district"),
        (OTHER, "445381", "city"),
        (OTHER, "4401", "province"),
        (OTHER, "11", "nation"),
        (None, None, "nation"),
    ],
)
def test_the_enterprise_comes_before_the_district_the_city_the_province_and_the_nation(
    enterprise: str | None, region: str | None, name: str
) -> None:
    factors = FactorBook(
        [
            a_factor("1", "nation"),
            a_factor("2", "own", enterprise=ONE),
            a_factor("3", "province", region="44"),
            a_factor("4", "district", region="445302"),
            a_factor("5", "city", region="4453"),
        ],
        [],
    )
    found = factors.lookup("electricity", Basis.EQUIVALENT, date(2026, 1, 1), enterprise=enterprise, region=region)
    assert found is not None
    assert found.factor_id == name


def test_where_the_narrower_factor_is_not_in_force_the_wider_one_is() -> None:
    factors = FactorBook([a_factor("1", "nation"), a_factor("2", "own", enterprise=ONE, since=date(2026, 7, 1))], [])
    names = []
    for day in (date(2026, 6, 30), date(2026, 7, 1)):
        found = factors.lookup("electricity", Basis.EQUIVALENT, day, enterprise=ONE)
        names.append(found and found.factor_id)
    assert names == ["nation", "own"]


def test_co2_factors_of_one_data_set_never_stand_in_for_another() -> None:
    factors = FactorBook([], [a_co2_factor("1", "late"), a_co2_factor("2", "early", dataset="first_batch_2013")])
    found = factors.lookup_co2("electricity", START, dataset="first_batch_2013")
    assert found is not None
    assert found.factor_id == "early"
    assert factors.lookup_co2("electricity", START, dataset="another") is None


@pytest.mark.parametrize(
    "make",
    [
        lambda: FactorBook([a_factor("1"), a_factor("2")], []),
        lambda: FactorBook([a_factor("1", since=date(2021, 1, 1)), a_factor("2", until=date(2021, 1, 2))], []),
        lambda: FactorBook([a_factor("1", region="44"), a_factor("2", region="44")], []),
        lambda: FactorBook([], [a_co2_factor("1"), a_co2_factor("2", since=date(2030, 1, 1))]),
    ],
)
def test_two_factors_for_one_day_are_refused(make: Callable[[], FactorBook]) -> None:
    with pytest.raises(FactorOverlap, match="both hold on"):
        make()


def test_factors_that_follow_each_other_or_are_for_others_do_not_overlap() -> None:
    turn = date(2021, 4, 1)
    factors = FactorBook(
        [
            a_factor("1", "later", since=turn),
            a_factor("1", "earlier", until=turn),
            a_factor("1", region="44"),
            a_factor("1", enterprise=ONE),
            a_factor("1", basis=Basis.EQUAL),
        ],
        [a_co2_factor("1"), a_co2_factor("1", region="44"), a_co2_factor("1", dataset="first_batch_2013")],
    )
    found = factors.lookup("electricity", Basis.EQUIVALENT, turn)
    assert found is not None
    assert found.factor_id == "later"


@pytest.mark.parametrize(
    ("role", "gross", "net"),
    [
        (Role.PURCHASE, 1, 1),
        (Role.SALE, -1, -1),
        (Role.RECOVERED, -1, -1),
        (Role.OWN_RENEWABLE, 1, 0),
        (Role.FEEDSTOCK, 1, 0),
        (Role.INTERNAL, 0, 0),
    ],
)
def test_what_a_role_counts_gross_and_net(role: Role, gross: int, net: int) -> None:
    assert contribution(role, Decimal("7.5")) == Signed(gross * Decimal("7.5"), net * Decimal("7.5"))


def test_without_a_factor_there_is_a_quantity_and_a_reason_but_no_tonnes() -> None:
    booking = book(FactorBook([], []), "biomass", Role.SALE, Decimal(3), date(2026, 1, 2))
    assert booking.quantity == Signed(Decimal(-3), Decimal(-3))
    assert (booking.tce_equivalent, booking.tce_equal, booking.tco2, booking.factor_ids) == (None, None, None, ())
    assert booking.missing == (
        "no equivalent factor for biomass on 2026-01-02",
        "no equal factor for biomass on 2026-01-02",
        "no CO2 factor for biomass in default on 2026-01-02",
    )


numbers = st.decimals(-(10**15), 10**15, places=9)


@given(numbers, st.decimals(0, 100, places=6), st.lists(numbers, min_size=1, max_size=5))
def test_tonnes_of_parts_add_up_to_the_tonnes_of_their_sum(first: Decimal, kgce: Decimal, more: list[Decimal]) -> None:
    factors = FactorBook([a_factor(str(kgce))], [])
    parts = [book(factors, "electricity", Role.PURCHASE, part, START).tce_equivalent for part in (first, *more)]
    whole = Signed(Decimal(0), Decimal(0))
    total = Signed(Decimal(0), Decimal(0))
    for part, tonnes in zip((first, *more), parts, strict=True):
        assert tonnes is not None
        total, whole = total + tonnes, whole + Signed(part, part)
    assert book(factors, "electricity", Role.PURCHASE, whole.gross, START).tce_equivalent == total


def test_what_would_have_to_be_rounded_raises() -> None:
    huge, tiny = (contribution(Role.PURCHASE, Decimal(number)) for number in ("1e200", "1e-5"))
    with pytest.raises(Inexact):
        huge + tiny
