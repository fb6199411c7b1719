"""Enterprises summed before their hours are priced equal those summed after, to the last bit."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from app.rollup.pricing import EnterpriseFigures, Hours, Scales, alike, by_enterprise, priced
from app.rollup.recompute import Tariff
from app.store.factors import Factors
from app.store.numeric_wire import Wide, exact_product
from app.store.rollups import MeterAccount
from energy.reading import Kind, MeterRules, Role
from energy.tce import DEFAULT_CO2_DATASET, EXACT, Basis, Co2Factor, CoalFactor, FactorBook, contribution, emits
from tests.rollup.a_plant import CALENDAR, HOUR_US, NEIGHBOUR, PLANT

TURN = date(2025, 7, 1)
TURN_US = 1_751_299_200_000_000
"""The same as an instant: midnight of 1 July 2025 in the plant's zone."""
KGCE = {"electricity": (Decimal("0.1229"), Decimal("0.2905")), "gas": (Decimal("1.33"), Decimal("1.2143"))}
KGCO2 = Decimal("0.5366")


def tariff() -> Tariff:
    """Coal equivalents change on 1 July; gas has no CO2 factor."""
    bounds = (date(2020, 1, 1), TURN), (TURN, None)
    coal = [
        CoalFactor(carrier, basis, factor, *days, None, None, "e", "s", f"{carrier} {basis} {days[0]}")
        for carrier, factors in KGCE.items()
        for days, factor in zip(bounds, factors, strict=True)
        for basis in Basis
    ]
    co2 = [Co2Factor("electricity", KGCO2, DEFAULT_CO2_DATASET, date(2020, 1, 1), None, None, None, "s", "f")]
    return Tariff(Factors(FactorBook(coal, co2), (date(2020, 1, 1), TURN)), CALENDAR)


@st.composite
def accounts(draw: st.DrawFn) -> MeterAccount:
    carrier = draw(st.sampled_from(["electricity", "gas"]))
    unit = "kWh" if carrier == "electricity" else "m3"
    return MeterAccount(
        meter_id=0,
        code="m",
        enterprise=draw(st.sampled_from([PLANT, NEIGHBOUR])),
        region="445303",
        carrier=carrier,
        role=draw(st.sampled_from(list(Role))),
        rules=MeterRules(Kind.REGISTER, 900, None, None),
        unit=unit,
        normal_unit=unit,
        multiplier=draw(st.sampled_from([Decimal(1), Decimal("0.25")])),
    )


ROWS = st.dictionaries(
    st.tuples(st.integers(0, 7), st.integers(-3, 3)),
    st.tuples(st.integers(-(10**15), 10**15), st.integers(0, HOUR_US), st.integers(0, HOUR_US), st.integers(0, 3)),
    min_size=1,
    max_size=24,
)


@given(meters=st.lists(accounts(), min_size=8, max_size=8), rows=ROWS)
def test_hours_added_up_before_they_are_priced_make_the_same_enterprises(
    meters: list[MeterAccount], rows: dict[tuple[int, int], tuple[int, int, int, int]]
) -> None:
    keys = sorted(rows)
    nano, measured_us, estimated_us, held = (np.array([rows[key][i] for key in keys], np.int64) for i in range(4))
    meter, hour = (np.array([key[i] for key in keys], np.int64) for i in range(2))
    scales = [Scales(account, account.multiplier) for account in meters]
    hours = Hours(meter + 1, TURN_US + hour * HOUR_US, nano, measured_us, estimated_us, held, meter, scales)
    numbered = dict(enumerate(meters, 1))
    before = figures(by_enterprise(priced(alike(hours), tariff()), numbered))
    after = figures(by_enterprise(priced(hours, tariff()), numbered))
    assert before == after == by_hand(meters, rows)


def test_sums_beyond_63_bits_are_left_to_the_way_that_holds_them() -> None:
    number = 2**61
    account = MeterAccount(
        1,
        "m",
        PLANT,
        "445303",
        "gas",
        Role.PURCHASE,
        MeterRules(Kind.REGISTER, 900, None, None),
        "m3",
        "m3",
        Decimal(1),
    )
    zeros = np.zeros(4, np.int64)
    scales = [Scales(account, Decimal(1))] * 4
    hours = Hours(np.arange(1, 5), zeros + TURN_US, zeros + number, zeros, zeros, zeros, np.arange(4), scales)
    sums = by_enterprise(priced(alike(hours), tariff()), dict.fromkeys(range(1, 5), account))
    assert values(sums.gross.figures[0]) == [exact_product(Decimal(4 * number), Decimal("1e-9"))]


def figures(sums: EnterpriseFigures) -> dict[tuple[str, str, int], tuple[object, ...]]:
    """By enterprise, carrier and time: gross and net figures, None where unknown, and the whole numbers."""
    gross = sums.gross
    columns = [
        [value if sure else None for value, sure in zip(values(figure), known.tolist(), strict=True)]
        for side in (gross.figures, sums.net)
        for figure, known in zip(side, gross.known, strict=True)
    ]
    whole = [column.tolist() for column in (gross.measured_us, gross.estimated_us, gross.held)]
    keys = [(*sums.pairs[key - 1], us) for key, us in zip(gross.key.tolist(), gross.start_us.tolist(), strict=True)]
    assert keys == sorted(keys), "rows come in the order longer buckets are summed in"
    return dict(zip(keys, zip(*columns, *whole, strict=True), strict=True))


def values(figure: Wide) -> list[Decimal]:
    found = [
        sum(int(limb[i]) * 10 ** (8 * place) for place, limb in enumerate(figure.limbs)) for i in range(len(figure))
    ]
    return [EXACT.scaleb(Decimal(number), -figure.places) for number in found]


def by_hand(
    meters: list[MeterAccount], rows: dict[tuple[int, int], tuple[int, int, int, int]]
) -> dict[tuple[str, str, int], tuple[object, ...]]:
    found: dict[tuple[str, str, int], list[object]] = {}
    for (place, hour), (nano, *whole) in rows.items():
        account = meters[place]
        sign = contribution(account.role, Decimal(1))
        if sign.gross == 0 and sign.net == 0:
            continue
        quantity = EXACT.multiply(EXACT.multiply(Decimal(nano), Decimal("1e-9")), account.multiplier)
        kgce = KGCE[account.carrier][hour >= 0]
        kgco2 = (KGCO2 if account.carrier == "electricity" else None) if emits(account.role) else Decimal(0)
        per_unit = (Decimal(1000), kgce, kgce, kgco2)
        mine = [
            None if factor is None else EXACT.multiply(EXACT.multiply(quantity, factor), Decimal("1e-3") * side)
            for side in (sign.gross, sign.net)
            for factor in per_unit
        ]
        total = found.setdefault(
            (account.enterprise, account.carrier, TURN_US + hour * HOUR_US), [Decimal(0)] * 8 + [0] * 3
        )
        for i, part in enumerate([*mine, *whole]):
            total[i] = None if part is None or total[i] is None else total[i] + part  # type: ignore[operator]
    return {key: tuple(total) for key, total in found.items()}
