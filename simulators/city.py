"""A city of key energy users: which plants stand in which district. The same seed gives the same city."""

from simulators.noise import key_of
from simulators.plants import Industry, PlantPlan, meters_of, size_of

ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"
"""GB 32100-2015: digits and capital letters without I, O, S, V and Z."""

# Where the city's carbon-peaking plan sees each industry (clauses 15 to 19); stone and acid in 云城 and 云安.
DISTRICTS = {
    Industry.CEMENT: ("445302", "445303", "445381", "445322"),
    Industry.CERAMICS: ("445381", "445321", "445322"),
    Industry.STEEL: ("445302", "445381", "445321"),
    Industry.PAPER: ("445381", "445321"),
    Industry.STONE: ("445302", "445303"),
    Industry.ACID: ("445303", "445302"),
    Industry.PUBLIC: ("445302", "445321", "445322", "445381", "445303"),
}
PLACES = {"445302": "云城", "445303": "云安", "445321": "新兴", "445322": "郁南", "445381": "罗定"}
WORDS = (
    *("恒丰", "瑞达", "金岭", "鼎盛", "南江", "西江源", "云岭", "长河", "宏业", "泰和"),
    *("永固", "新峰", "联兴", "粤西", "华晟", "安泰", "嘉禾", "广源", "明珠", "东岸"),
)
TRADES = {
    Industry.CEMENT: "水泥有限公司",
    Industry.CERAMICS: "陶瓷有限公司",
    Industry.STEEL: "特钢有限公司",
    Industry.PAPER: "纸业有限公司",
    Industry.STONE: "石材有限公司",
    Industry.ACID: "硫酸化工有限公司",
    Industry.PUBLIC: "人民医院",
}
# Out of twenty plants; a smaller city takes the first ones and so has every industry from seven on.
MIX = (
    *(
        Industry.CEMENT,
        Industry.CERAMICS,
        Industry.STEEL,
        Industry.PAPER,
        Industry.STONE,
        Industry.ACID,
        Industry.PUBLIC,
    ),
    *(Industry.CERAMICS, Industry.STONE, Industry.CEMENT, Industry.CERAMICS, Industry.STONE, Industry.PAPER),
    *(Industry.STEEL, Industry.CERAMICS, Industry.STONE, Industry.CERAMICS, Industry.PUBLIC, Industry.CEMENT),
    Industry.STONE,
)


def check_character(first17: str) -> str:
    """The last character of a unified social credit code (GB 32100-2015: weights 3^i mod 31)."""
    total = sum(ALPHABET.index(letter) * pow(3, place, 31) for place, letter in enumerate(first17))
    return ALPHABET[-total % 31]


def city(units: int, seed: int) -> list[PlantPlan]:
    """So many plants over the five districts, from one number."""
    return [_plant(number, seed) for number in range(units)]


def _plant(number: int, seed: int) -> PlantPlan:
    industry = MIX[number % len(MIX)]
    key = key_of("city", seed, number)
    districts = DISTRICTS[industry]
    region = districts[(number // len(MIX) + MIX[: number % len(MIX)].count(industry)) % len(districts)]
    word = WORDS[(number + seed) % len(WORDS)]
    return PlantPlan(
        enterprise=_credit_code(industry, region, key),
        name=f"{PLACES[region]}{word}{_ordinal(number)}{TRADES[industry]}",
        region=region,
        industry=industry,
        gateway=f"gw-{number + 1:03d}",
        meters=meters_of(industry, size_of(key)),
        seed=key,
    )


def _ordinal(number: int) -> str:
    """Names repeat after some twenty plants; the second round is told apart as sister plants are."""
    return ("", "第二", "第三", "第四", "第五", "第六")[min(number // len(WORDS), 5)]


def _credit_code(industry: Industry, region: str, key: int) -> str:
    kind = "12" if industry is Industry.PUBLIC else "91"
    tail = "".join(ALPHABET[key_of(key, place) % 31] for place in range(7))
    first17 = f"{kind}{region}MA{tail}"
    return first17 + check_character(first17)
